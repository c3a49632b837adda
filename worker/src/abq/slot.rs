//! The side that is a runner to the daemon: a queue of tests in, results out; in between a native runner that is asked
//! for one test at a time, and replaced when it cannot go on.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::prctl;
use nix::unistd::setsid;
use serde_json::{Value, json};

use super::collect::{CONNECT_LIMIT, Load};
use super::native::Native;
use super::output::Destination;
use super::protocol::{self, Answer, Manifest, TestResult};
use super::sight::Look;
use super::verdict;
use crate::bridge::loader::Start;
use crate::bridge::orders::Order;
use crate::bridge::wire::Socket;
use crate::bridge::{ended_how, timeout};
use crate::warden::signals::Signals;

/// After a test of this length the daemon is told when the next one starts.
const LONG: Duration = Duration::from_millis(50);
/// How long a runner that has hung up may take for its end, which says more.
const HANG_UP_LIMIT: Duration = Duration::from_secs(2);
/// Between looks at a runner that may wait already.
const LOOKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// What a test without an answer is told.
const NEVER: &str = "the ABQ adapter never answered for this test (pytest-abq reports only the call phase: a skip or failure in set-up is lost); run it with the pytest adapter instead";

/// The test in hand.
struct Running {
    test: u32,
    /// Since when it is in hand, and when the native runner was asked.
    begun: Instant,
    asked: Option<Instant>,
    parts: Vec<TestResult>,
    next_look: Instant,
}

/// How far a native runner has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Started,
    Greeted,
    Ready,
}

struct Slot<'a> {
    load: &'a Load,
    manifest: &'a Manifest,
    env: Vec<(String, String)>,
    daemon: Socket,
    signals: Signals,
    to: Destination,
    queue: VecDeque<u32>,
    /// Nothing will come any more.
    last: bool,
    running: Option<Running>,
    native: Option<Native>,
    stage: Stage,
    /// Position of the last test it was asked for.
    reached: Option<u32>,
    /// Whether the daemon must be told when the next test starts.
    announce: bool,
}

/// Runs a slot; returns its exit code.
pub(super) fn run(start: Start, load: &Load, manifest: &Manifest) -> i32 {
    let _ = (setsid(), prctl::set_name(c"remuda-abq-slot"));
    let (Ok(signals), Ok(())) = (Signals::take(start.parent), prctl::set_child_subreaper(true)) else { return 3 };
    let Ok([daemon, out, err]) = <[OwnedFd; 3]>::try_from(start.fds) else { return 3 };
    let mut slot = Slot {
        load,
        manifest,
        env: start.env,
        daemon: Socket::new(daemon),
        signals,
        to: Rc::new([File::from(out), File::from(err)]),
        queue: VecDeque::new(),
        last: false,
        running: None,
        native: None,
        stage: Stage::Started,
        reached: None,
        announce: true,
    };
    let code = slot.serve();
    slot.kill();
    code
}

impl Slot<'_> {
    fn serve(&mut self) -> i32 {
        loop {
            self.advance();
            if self.last && self.running.is_none() && self.queue.is_empty() {
                self.retire();
                self.tell(&json!({"type": "done"}));
                return 0;
            }
            self.wait();
            if self.signals.read().stop || !(self.hear_daemon() || self.last) {
                return 1;
            }
            self.hear_native();
            self.check_limits(Instant::now());
        }
    }

    fn tell(&self, message: &Value) {
        let _ = self.daemon.send(message);
    }

    /// Takes the next test in hand, with a native runner that can still reach it.
    fn advance(&mut self) {
        while self.running.is_none() {
            let Some(test) = self.queue.pop_front() else { return self.announce = true };
            if self.native.is_some() && self.reached.is_some_and(|reached| reached >= test) {
                self.retire();
            }
            if self.native.is_none() {
                match Native::start(&self.load.argv, &self.env, false, Some(Rc::clone(&self.to))) {
                    Ok(native) => {
                        (self.native, self.stage, self.reached, self.announce) =
                            (Some(native), Stage::Started, None, true)
                    }
                    Err(message) => {
                        self.tell(&verdict::errored(test, "errored", &message, &[], 0.0));
                        continue;
                    }
                }
            }
            let now = Instant::now();
            self.running = Some(Running { test, begun: now, asked: None, parts: Vec::new(), next_look: now + LOOKS.0 });
            self.ask();
        }
    }

    /// Asks the native runner for the test in hand, if it is ready.
    fn ask(&mut self) {
        let (Stage::Ready, Some(native), Some(running)) = (self.stage, &mut self.native, &mut self.running) else {
            return;
        };
        let Some(test) = self.manifest.tests.get(running.test as usize) else {
            let message = "the manifest has no such test";
            return self.give_up("errored", message);
        };
        if running.asked.is_some() {
            return;
        }
        if self.reached.is_none() {
            native.output.pass();
        }
        let now = Instant::now();
        (running.asked, running.next_look, self.reached) = (Some(now), now + LOOKS.0, Some(running.test));
        let number = running.test;
        native.send(&protocol::test_case(test));
        if std::mem::take(&mut self.announce) {
            self.tell(&json!({"type": "started", "test": number}));
        }
    }

    fn wait(&self) {
        let now = Instant::now();
        let until = self.running.as_ref().and_then(|r| self.next_deadline(r));
        let wait = until.map_or(nix::poll::PollTimeout::NONE, |at| timeout(at.saturating_duration_since(now)));
        let daemon = self.daemon.open.then(|| self.daemon.as_fd());
        let native = self.native.iter().flat_map(Native::fds);
        let mut fds: Vec<PollFd<'_>> =
            native.chain(daemon).chain([self.signals.as_fd()]).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let _ = poll(&mut fds, wait);
    }

    fn next_deadline(&self, running: &Running) -> Option<Instant> {
        let limit = match running.asked {
            None => Some(running.begun + CONNECT_LIMIT),
            Some(asked) => self.limit().0.and_then(|limit| asked.checked_add(limit)),
        };
        let look = (running.asked.is_some() && self.native.as_ref().is_some_and(Native::is_watched))
            .then_some(running.next_look);
        [limit, look].into_iter().flatten().min()
    }

    /// How long a test may take until it is given up, and whether that is the group's own timeout.
    fn limit(&self) -> (Option<Duration>, bool) {
        let seconds = |s: f64| Duration::try_from_secs_f64(s).ok();
        match self.load.timeout {
            Some(timeout) => (seconds(timeout), true),
            // a runner that can be watched is not waiting for the next test, so the test still runs
            None if self.native.as_ref().is_some_and(Native::is_watched) => (None, false),
            None => (seconds(self.load.answer_seconds), false),
        }
    }

    /// Takes in what the daemon says; whether it is still there.
    fn hear_daemon(&mut self) -> bool {
        self.daemon.fill();
        loop {
            match self.daemon.next() {
                Ok(Some(message)) => self.obey(&message),
                Ok(None) => return self.daemon.open,
                Err(_) => return false,
            }
        }
    }

    fn obey(&mut self, message: &Value) {
        match Order::of(message) {
            Some(Order::Run(tests, _)) => self.queue.extend(tests),
            Some(Order::Drop(tests)) => {
                let dropped: Vec<u32> = tests.into_iter().filter(|n| self.queue.contains(n)).collect();
                self.queue.retain(|n| !dropped.contains(n));
                self.tell(&json!({"type": "dropped", "tests": dropped}));
            }
            Some(Order::Last) => self.last = true,
            None => {}
        }
    }

    fn hear_native(&mut self) {
        let Some(native) = &mut self.native else { return };
        native.look_after();
        while let Some(native) = &mut self.native {
            match native.next() {
                Ok(Some(message)) => {
                    if let Err(what) = self.on_message(message) {
                        return self.replace("errored", &format!("the ABQ adapter {what}"));
                    }
                }
                Ok(None) => break,
                Err(what) => return self.replace("errored", &format!("the ABQ adapter {what}")),
            }
        }
        let Some(native) = &mut self.native else { return };
        if native.hung_up() && native.status.is_none() {
            native.wait_for_end(&self.signals, HANG_UP_LIMIT);
        }
        if native.status.is_some() || native.hung_up() {
            let how = native.status.map(ended_how);
            self.lost(how);
        }
    }

    fn on_message(&mut self, message: Value) -> Result<(), String> {
        let Some(native) = &mut self.native else { return Ok(()) };
        match self.stage {
            Stage::Started => {
                native.introduced(&protocol::greeting(&message)?);
                native.send(&protocol::init(self.manifest));
                self.stage = Stage::Greeted;
            }
            Stage::Greeted => {
                self.stage = Stage::Ready;
                self.ask();
            }
            Stage::Ready => match (protocol::answer(&message)?, &mut self.running) {
                (Answer::Part(one), Some(running)) => running.parts.push(*one),
                (Answer::Done(all), Some(_)) => self.answered(all),
                // a second answer for a test that has had its own
                (_, None) => {}
            },
        }
        Ok(())
    }

    fn answered(&mut self, all: Vec<TestResult>) {
        let Some(running) = self.running.take() else { return };
        let answers: Vec<TestResult> = running.parts.into_iter().chain(all).collect();
        let tests = &self.manifest.tests;
        let foreign = |id: &str| tests.iter().any(|t| t.id == id);
        let asked = tests.get(running.test as usize).map_or("", |t| t.id.as_str());
        let result = verdict::result(running.test, asked, &answers, foreign);
        self.finish(running.asked, &result);
    }

    /// Reports what became of the test in hand, after all that it has printed.
    fn finish(&mut self, asked: Option<Instant>, result: &Value) {
        if let Some(native) = &mut self.native {
            native.output.drain();
        }
        self.announce |= asked.is_none_or(|at| at.elapsed() > LONG);
        self.tell(result);
    }

    /// The test in hand gets no answer any more.
    fn give_up(&mut self, outcome: &str, message: &str) {
        let Some(running) = self.running.take() else { return };
        let us = running.asked.map_or(0.0, |at| at.elapsed().as_secs_f64() * 1e6);
        let result = verdict::errored(running.test, outcome, message, &running.parts, us);
        self.finish(running.asked, &result);
    }

    /// Gives the test in hand up, and its native runner with it.
    fn replace(&mut self, outcome: &str, message: &str) {
        if let Some(native) = &mut self.native {
            if self.reached.is_none() {
                native.output.confess();
            }
            native.kill(&self.signals);
        }
        self.give_up(outcome, message);
        self.kill();
    }

    /// The native runner is gone.
    fn lost(&mut self, how: Option<String>) {
        let asked = self.running.as_ref().is_some_and(|r| r.asked.is_some());
        let message = match how {
            Some(how) if asked => format!("the test ended its process: {how}"),
            Some(how) => format!("the ABQ adapter ended before it took a test: {how}"),
            None => "the ABQ adapter closed its connection without an answer".to_owned(),
        };
        self.replace("errored", &message);
    }

    fn check_limits(&mut self, now: Instant) {
        let Some(running) = &mut self.running else { return };
        let Some(asked) = running.asked else {
            if now.saturating_duration_since(running.begun) >= CONNECT_LIMIT {
                let message = format!("the ABQ adapter did not get ready in {} s", CONNECT_LIMIT.as_secs());
                self.replace("errored", &message);
            }
            return;
        };
        let age = now.saturating_duration_since(asked);
        if now >= running.next_look {
            running.next_look = now + (age / 2).clamp(LOOKS.0, LOOKS.1);
            match self.native.as_mut().map_or(Look::Blind, Native::look) {
                // it waits for the next test and can have it
                Look::Waits => return self.give_up("errored", NEVER),
                Look::Busy => {}
                Look::Blind => self.native.iter_mut().for_each(Native::unwatch),
            }
        }
        let (Some(limit), own) = self.limit() else { return };
        if age >= limit {
            let seconds = limit.as_secs_f64();
            if own {
                self.replace(
                    "timed_out",
                    &format!("killed at its timeout after {seconds:.1} s without an answer of the ABQ adapter"),
                );
            } else {
                self.replace(
                    "errored",
                    &format!("no answer in {seconds:.0} s: {NEVER}; if it takes that long, give its group a timeout"),
                );
            }
        }
    }

    /// Ends the native runner as it wishes to be ended, unheard.
    fn retire(&mut self) {
        if let Some(native) = self.native.take() {
            native.retire(&self.signals);
        }
    }

    fn kill(&mut self) {
        if let Some(mut native) = self.native.take() {
            native.kill(&self.signals);
        }
    }
}
