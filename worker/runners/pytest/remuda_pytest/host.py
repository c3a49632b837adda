"""The loader's wait for the daemon: forks runners on request, forwards how they end, ends the session.

A `select` loop over the control socket and one pair of pipes for each runner. No runner can block it:
it never waits for one and reads only what is there. It must not run a test, except when forking is
forbidden and the loader itself becomes the runner.
"""

import os
import random
import selectors
import signal
import time
import traceback

from . import manifest, monitor, options, replay, runner, safety, temporary, thaw, unchanging, upstream, wire, worker
from .slot import Slot

# How long reports of runners may gather before the loader replays them.
REST = 0.002


class Host:
    def __init__(self, control, load, untouched_random):
        self.control = control
        self.load = load
        self.untouched_random = untouched_random
        self.asked = {}
        self.config = None
        self.served = False
        self.ending = False
        self.summary = None
        self.failed = None
        self.upstream = None
        self.controller = None
        self.reader = wire.Reader(control)
        self.selector = selectors.DefaultSelector()
        self.slots = {}
        self.latest = {}
        self.watch = safety.Watch()

    def serve(self, session, plugin):
        """From the end of collection until the daemon says `finish`."""
        self.session = session
        self.plugin = plugin
        self.replayer = replay.Replayer(session)
        state = random.getstate()
        self.seeded = state if state != self.untouched_random else None
        unchanging.remember(session)
        self.level = replay.wanted(self.config)
        self.why = self._why_not_fork()
        self.watch.stop()
        if self.why is not None and self.upstream is None:
            self.controller = upstream.Listener(self)
        self._send_manifest()
        self.served = True
        self.selector.register(self.control, selectors.EVENT_READ, self._on_control)
        self.replayer.mute()
        self.folder = temporary.Shared(self.config)
        if self.why is None:
            thaw.freeze()
        else:
            thaw.thaw()
        self._wait()
        if self.controller is not None:
            self.controller.drain()
        self._end_session()

    def _wait(self):
        while not (self.ending and not self.slots):
            for key, _ in self.selector.select():
                key.data()
            if len(self.selector.get_map()) > 1:
                # Reports come one by one: let some gather instead of waking up for each.
                time.sleep(REST)

    def configured(self, config):
        self.config = config
        if self.upstream is None:
            self.watch.look_at(config)

    def _why_not_fork(self):
        wish = self.load.get("fork")
        if wish == "never":
            return "the job asks for no forks"
        return None if wish == "always" else self.watch.why_not_fork()

    def _send_manifest(self):
        uncollected = self.plugin.uncollected
        for part in manifest.parts(self.session.items, uncollected):
            wire.send(self.control, part)
        message = {
            "type": "manifest_done",
            "count": len(self.session.items) + len(uncollected),
            "deselected": self.plugin.deselected,
            "fork": self.why is None,
            "why": self.why,
            "options": options.wanted(self.config, self.session.items, self.asked, self.level > replay.FAILURES),
        }
        if self.controller is not None:
            message["controller"] = self.controller.address
        wire.send(self.control, message)

    # What the daemon says.

    def _on_control(self):
        for message in self.reader.receive(block=False):
            kind = message.get("type")
            if kind == "fork":
                self._fork(message, [self.reader.descriptors.popleft() for _ in range(3)])
            elif kind == "stopped" and message["slot"] in self.latest:
                self.latest[message["slot"]].stopped = True
            elif kind == "finish":
                self.ending = True
        if self.reader.closed:
            self._abandon()

    def _abandon(self):
        """The daemon is gone: end every tree, then this process."""
        for slot in self.slots.values():
            # The monitor sees the end of file and kills its tree.
            slot.channel.close()
        for slot in self.slots.values():
            try:
                os.waitpid(slot.monitor, 0)
            except ChildProcessError:
                pass
        os._exit(1)

    # Forking.

    def _fork(self, message, descriptors):
        node = worker.Node(self.config, message["number"], message["env"], self.load.get("slots", 1))
        slot = Slot(message["slot"], node)
        try:
            worker.call_node_hook(self.config, "pytest_configure_node", node=slot.node)
            if self.why is not None:
                self._become_runner(slot, message["env"], descriptors)
                return
            self._fork_monitor(slot, message["env"], descriptors)
        except Exception as error:
            traceback.print_exc()
            self._tell_exited(slot, 1 << 8, "the fork failed: %s: %s" % (type(error).__name__, error))
        finally:
            for descriptor in descriptors:
                _close(descriptor)

    def _fork_monitor(self, slot, environment, descriptors):
        slot.channel, theirs = wire.pair()
        reports, write_reports = os.pipe()
        runner.flush()
        slot.monitor = monitor.fork()
        if slot.monitor == 0:
            self._in_monitor(slot, environment, descriptors, theirs, reports, write_reports)
        theirs.close()
        os.close(write_reports)
        worker.forget_unraisable(self.config)
        slot.channel.setblocking(False)
        slot.reports = replay.Receiver(reports)
        self.slots[slot.slot] = self.latest[slot.slot] = slot
        self.selector.register(slot.channel, selectors.EVENT_READ, lambda: self._on_monitor(slot))
        self.selector.register(reports, selectors.EVENT_READ, lambda: self._on_reports(slot))

    def _in_monitor(self, slot, environment, descriptors, theirs, reports, write_reports):
        """The child of the loader; never returns."""
        try:
            self._close_others()
            slot.channel.close()
            os.close(reports)
            monitor.set_process_name("remuda-monitor")
            monitor.leave_group()
            monitor.become_subreaper()
            pid = monitor.fork()
            if pid == 0:
                theirs.close()
                monitor.leave_group()
                monitor.die_with_parent()
                self._in_runner(slot, environment, descriptors, write_reports)
            for descriptor in descriptors + [write_reports]:
                os.close(descriptor)
            monitor.watch(theirs, pid)
        except BaseException:
            traceback.print_exc()
        finally:
            runner.flush()
            os._exit(1)

    def _close_others(self):
        """A fork must hold neither the control socket nor the pipes of other runners."""
        self.selector.close()
        self.control.close()
        for descriptor in self.reader.descriptors:
            # Those of the next fork, asked for in the same breath.
            os.close(descriptor)
        for other in self.slots.values():
            other.channel.close()
            if other.reports is not None:
                os.close(other.reports.descriptor)

    def _in_runner(self, slot, environment, descriptors, write_reports):
        """The grandchild; never returns."""
        code = 1
        try:
            monitor.set_process_name("remuda-" + slot.node.gateway.id)
            connection = wire.connect_descriptor(descriptors[0])
            worker.redirect(descriptors[1], descriptors[2])
            relay = replay.Sender(self.config, write_reports, self.level)
            self._run_tests(slot, environment, connection, relay)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            runner.flush()
            os._exit(code)

    def _run_tests(self, slot, environment, connection, relay):
        worker.become(self.config, slot.node, environment, self.seeded)
        thaw.in_runner()
        running = self._runner(slot, connection, relay)
        try:
            running.run()
        except runner.Fork:
            # A test of its own process: it has reported, only the session's end is left.
            self._leave(running)
            return
        self._leave(running)
        relay.finished(self.config.workeroutput)
        running.done()

    def _leave(self, running):
        """A hook that fails at a runner's end is nobody's test, and must not be lost with the runner."""
        try:
            worker.leave(self.config, self.session)
        except Exception as error:
            running.tell_late(error, "pytest_sessionfinish", "session")

    def _become_runner(self, slot, environment, descriptors):
        """Forking is forbidden: this process is the runner of its only slot."""
        wire.send(self.control, {"type": "forked", "slot": slot.slot, "pid": os.getpid(), "runner": os.getpid()})
        connection = wire.connect_descriptor(os.dup(descriptors[0]))
        worker.redirect(os.dup(descriptors[1]), os.dup(descriptors[2]))
        self.load["isolation"] = "slot"
        relay = None
        if self.upstream is not None:
            slot.node.workerinput = self.upstream.workerinput
            relay = self.upstream.sender(self.config)
        worker.become(self.config, slot.node, environment, self.seeded, ends_session=True)
        running = self._runner(slot, connection, relay)
        running.run()
        self.plugin.runner = None
        if self.upstream is None:
            # From here on this session is its own controller.
            del self.config.workerinput
        running.done()
        connection.close()
        self._tell_exited(slot, 0, None)

    def _runner(self, slot, connection, relay):
        running = runner.Runner(self.session, connection, slot.page, relay, self.load, self.seeded is not None)
        running.uncollected = self.plugin.uncollected
        self.plugin.runner = running
        return running

    # What a monitor says.

    def _on_monitor(self, slot):
        data = b""
        try:
            data = slot.channel.recv(4096)
        except BlockingIOError:
            return
        except ConnectionError:
            pass
        if not data:
            self._monitor_ended(slot)
            return
        slot.buffer += data
        while len(slot.buffer) >= monitor.STATUS.size:
            pid, status = monitor.STATUS.unpack_from(slot.buffer)
            slot.buffer = slot.buffer[monitor.STATUS.size :]
            if slot.runner == 0:
                slot.runner = pid
                message = {"type": "forked", "slot": slot.slot, "pid": slot.monitor, "runner": pid}
                wire.send(self.control, message)
            else:
                slot.status = status

    def _monitor_ended(self, slot):
        _, status = os.waitpid(slot.monitor, 0)
        self.selector.unregister(slot.channel)
        slot.channel.close()
        while self._on_reports(slot):
            pass
        self._forget_reports(slot)
        if slot.status is None:
            # The monitor itself was killed.
            slot.status = status or signal.SIGKILL
        worker.call_node_hook_safely(self.config, "pytest_testnodedown", node=slot.node, error=slot.trouble())
        self._report_crash(slot)
        if self.slots.get(slot.slot) is slot:
            del self.slots[slot.slot]
        self._tell_exited(slot, slot.status, None)

    def _report_crash(self, slot):
        """A test that took its runner with it has failed, also for the reports of this session."""
        current = slot.current()
        if current is not None:
            self.replayer.crashed(current, slot)

    def _on_reports(self, slot):
        """Replay what one runner has sent; whether there was anything."""
        if slot.reports is None:
            return False
        contents = slot.reports.receive()
        for content in contents or ():
            self.replay(content, slot.node)
        if slot.reports.closed:
            self._forget_reports(slot)
        return contents is not None

    def replay(self, content, node):
        """A plugin that fails on a report must not end the session of all runners."""
        try:
            self.replayer.replay(content, node)
        except Exception:
            traceback.print_exc()

    def _forget_reports(self, slot):
        if slot.reports is not None:
            self.selector.unregister(slot.reports.descriptor)
            os.close(slot.reports.descriptor)
            slot.reports = None

    def _tell_exited(self, slot, status, error):
        message = {
            "type": "exited",
            "slot": slot.slot,
            "pid": slot.monitor or os.getpid(),
            "runner": slot.runner or os.getpid(),
            "status": status,
        }
        if slot.current() is not None:
            message["test"] = slot.current()
        if error:
            message["error"] = error
        wire.send(self.control, message)

    # The end.

    def _end_session(self):
        self.replayer.release()
        replay.forget_stop(self.session)
        self.folder.forget_unused()
        self.failed = self.session.testsfailed
        if self.upstream is None:
            self.summary = self.replayer.record_summary()

    def tell_end(self, code, trouble):
        """`trouble`: what was raised where pytest catches nothing any more, in the hooks of the session's end."""
        text, error = "", trouble or self._unexplained(code)
        if self.upstream is not None:
            # The controller's session is the one that tells the end.
            self.upstream.sender(self.config).finished(self.config.workeroutput)
            code = 0
        elif self.summary is not None:
            text = self.summary.getvalue().strip("\n")
        message = {"type": "finished", "summary": text, "exit": code}
        if error:
            message["error"] = error
        wire.send(self.control, message)

    def _unexplained(self, code):
        """An exit code that no test accounts for: a plugin or a hook of the suite has decided it at the end."""
        if self.upstream is not None or (code, self.session.testsfailed) == (1 if self.failed else 0, self.failed):
            return None
        return "pytest ended with exit code %d, for a reason that is no test (it may be above)" % code


def _close(descriptor):
    try:
        os.close(descriptor)
    except OSError:
        pass
