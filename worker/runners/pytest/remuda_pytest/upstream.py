"""When a suite must not be forked: one loader per slot, and the first one as their controller.

The first loader listens (Listener); the loader of a slot connects before its session starts
(Upstream), receives what xdist's controller would send its workers, and later streams its reports. So
--junitxml, the cache and the user's own hooks see one session also then. Only processes of the same
user are heard: reports are pickled.
"""

import os
import secrets
import selectors
import socket
import struct

from . import replay, wire, worker

CREDENTIALS = struct.Struct("3i")


class Listener:
    """The controller's side."""

    def __init__(self, host):
        self.host = host
        self.address = "remuda-pytest-%d-%s" % (os.getpid(), secrets.token_hex(8))
        self.socket = wire.Socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind("\0" + self.address)
        self.socket.listen(64)
        self.links = []
        host.selector.register(self.socket, selectors.EVENT_READ, self._on_connect)

    def _on_connect(self):
        connection, _ = self.socket.accept()
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        if CREDENTIALS.unpack(credentials)[1] != os.getuid():
            connection.close()
            return
        receiver = replay.Receiver(connection.detach())
        link = _Link(self.host, receiver)
        self.links.append(link)
        self.host.selector.register(receiver.descriptor, selectors.EVENT_READ, link.on_content)

    def drain(self):
        """The loaders of slots have ended: what they sent is here, even if a left-over holds the other end."""
        for link in self.links:
            while link.on_content():
                pass


class _Link:
    """One loader of a slot, as its controller sees it."""

    def __init__(self, host, receiver):
        self.host = host
        self.receiver = receiver
        self.node = None

    def on_content(self):
        """Handle what is there; whether there was anything."""
        if self.receiver is None:
            return False
        contents = self.receiver.receive()
        for content in contents or ():
            if content[0] == "hello":
                self._welcome(content[1], content[2])
            else:
                self.host.replay(content, self.node)
        if self.receiver.closed:
            self.host.selector.unregister(self.receiver.descriptor)
            os.close(self.receiver.descriptor)
            self.receiver = None
            if self.node is not None:
                worker.call_node_hook_safely(self.host.config, "pytest_testnodedown", node=self.node, error=None)
        return contents is not None

    def _welcome(self, number, environment):
        config = self.host.config
        self.node = worker.Node(config, number, environment, self.host.load.get("slots", 1))
        worker.call_node_hook_safely(config, "pytest_configure_node", node=self.node)
        coverage = config.pluginmanager.get_plugin("_cov")
        if coverage is not None and coverage.cov_controller is not None:
            self.node.workerinput.update(
                cov_master_host=socket.gethostname(),
                cov_master_topdir=coverage.cov_controller.topdir,
                cov_master_rsync_roots=[],
            )
        factory = getattr(config, "_tmp_path_factory", None)
        basetemp = str(factory.getbasetemp() / ("popen-" + self.node.gateway.id)) if factory else None
        replay.write_frame(self.receiver.descriptor, (self.node.workerinput, basetemp, self.host.level))


class Upstream:
    """The connection of a slot's loader to its controller."""

    def __init__(self, load):
        connection = wire.Socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(None)
        connection.connect("\0" + load["controller"])
        self.descriptor = connection.detach()
        replay.write_frame(self.descriptor, ("hello", _slot_number(), dict(os.environ)))
        self.workerinput, self.basetemp, self.level = replay.read_frame(self.descriptor)

    def prepare_early(self, early_config):
        """Coverage of other slots, measured already, must not be erased."""
        if hasattr(early_config.known_args_namespace, "cov_append"):
            early_config.known_args_namespace.cov_append = True

    def prepare(self, config):
        """Before pytest_configure: this session is a worker's."""
        config.workerinput = self.workerinput
        config.workeroutput = {}
        if self.basetemp is not None:
            config.option.basetemp = self.basetemp

    def sender(self, config):
        return replay.Sender(config, self.descriptor, self.level)


def _slot_number():
    """`gwN` -> N."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return int(name[2:]) if name[2:].isdigit() else 0
