//! The side that is a runner to the daemon: a queue of tests in, results out; in between one process after another.
//!
//! A process that ends without a result for one of its tests has ended under the one that had begun; where that cannot
//! be seen, each of its tests is run again in a smaller batch, until the guilty one is alone.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::unistd::setsid;
use serde_json::{Value, json};

use super::child::Child;
use super::running::{Late, Running};
use super::verdict::result;
use super::{Ending, Event, Launch, SlotEnv, Suite, Verdict};
use crate::bridge::loader::Start;
use crate::bridge::orders::Order;
use crate::bridge::wire::Socket;
use crate::bridge::{ended_how, timeout};
use crate::environment;
use crate::warden::signals::Signals;
use crate::warden::tree::Children;

/// After a test of this length the daemon is told when the next one starts.
const LONG: Duration = Duration::from_millis(50);

struct Slot {
    suite: Box<dyn Suite>,
    env: SlotEnv,
    daemon: Socket,
    signals: Signals,
    queue: VecDeque<u32>,
    /// Task number and attempt, of tests that are in hand.
    of: HashMap<u32, (u32, u32)>,
    /// Tests that share a process with fewer others than before, because such a process ended under one of them.
    most: HashMap<u32, usize>,
    /// Failed attempts of tests that are tried again here.
    attempts: HashMap<u32, Vec<Verdict>>,
    /// The head of the queue waits so long for its next attempt.
    pause: Option<Instant>,
    /// Nothing will come any more.
    last: bool,
    running: Option<Running>,
    announce: bool,
    /// Results that go out together: whoever reads them is woken once.
    results: Vec<Value>,
}

/// Runs a slot; returns its exit code.
pub(super) fn run(start: Start, suite: Box<dyn Suite>) -> i32 {
    let _ = (setsid(), prctl::set_name(c"remuda-slot"));
    let (Ok(signals), Ok(())) = (Signals::take(start.parent), prctl::set_child_subreaper(true)) else { return 3 };
    let Ok([daemon, _out, _err]) = <[OwnedFd; 3]>::try_from(start.fds) else { return 3 };
    let env = SlotEnv { all: start.env.into_iter().map(|(n, v)| (n.into(), v.into())).collect() };
    let mut slot = Slot {
        suite,
        env,
        daemon: Socket::new(daemon),
        signals,
        queue: VecDeque::new(),
        of: HashMap::new(),
        most: HashMap::new(),
        attempts: HashMap::new(),
        pause: None,
        last: false,
        running: None,
        announce: true,
        results: Vec::new(),
    };
    let code = slot.serve();
    if let Some(running) = &mut slot.running {
        running.child.kill_all(&slot.signals);
    }
    code
}

impl Slot {
    fn serve(&mut self) -> i32 {
        loop {
            self.advance(Instant::now());
            self.flush();
            if self.last && self.running.is_none() && self.queue.is_empty() {
                self.tell(&json!({"type": "done"}));
                return 0;
            }
            self.wait();
            if self.signals.read().stop || !(self.hear() || self.last) {
                return 1;
            }
            self.look_after();
        }
    }

    fn tell(&mut self, message: &Value) {
        self.flush();
        let _ = self.daemon.send(message);
    }

    fn flush(&mut self) {
        match std::mem::take(&mut self.results).as_slice() {
            [] => {}
            [one] => drop(self.daemon.send(one)),
            several => drop(self.daemon.send(&json!({"type": "results", "items": several}))),
        }
    }

    /// Starts the next process, if none runs and there is work.
    fn advance(&mut self, now: Instant) {
        while self.running.is_none() {
            if self.pause.is_some_and(|until| until > now) {
                return;
            }
            self.pause = None;
            let Some(&head) = self.queue.front() else { return self.announce = true };
            if let Some(verdict) = self.suite.known(head) {
                self.queue.pop_front();
                self.finish(head, verdict, 0.0);
                continue;
            }
            let attempt = 1 + self.attempts.get(&head).map_or(0, |v| u32::try_from(v.len()).unwrap_or(u32::MAX));
            let most = |test: u32| self.most.get(&test).copied().unwrap_or(usize::MAX);
            let launched = self.suite.launch(&self.queue, &most, attempt, &self.env).and_then(|mut launch| {
                // a process of several tests is nobody's
                if let [only] = launch.tests[..]
                    && let Some((task, made)) = self.of.get(&only)
                {
                    launch.env.extend(environment::of_task(*task, *made).map(|(n, v)| (n.into(), v.into())));
                }
                let child = Child::start(&launch)?;
                Ok((launch, child))
            });
            match launched {
                Ok((launch, child)) => self.begin(launch, child),
                Err(message) => {
                    self.queue.pop_front();
                    self.finish(head, Verdict::errored(message), 0.0);
                }
            }
        }
    }

    fn begin(&mut self, launch: Launch, child: Child) {
        let open: HashSet<u32> = launch.tests.iter().copied().collect();
        self.queue.retain(|test| !open.contains(test));
        if std::mem::take(&mut self.announce)
            && let Some(first) = launch.tests.first()
        {
            self.tell(&json!({"type": "started", "test": first}));
        }
        // alone in its process, a test has begun with it
        let current = if let [only] = launch.tests[..] { Some((only, child.since)) } else { None };
        let last = child.since;
        self.running = Some(Running { launch, child, open, current, last, told: None, late: None });
    }

    fn wait(&self) {
        let now = Instant::now();
        let wait = self.next_deadline().map_or(PollTimeout::NONE, |at| timeout(at.saturating_duration_since(now)));
        let daemon = self.daemon.open.then(|| self.daemon.as_fd());
        let child = self.running.iter().flat_map(|r| r.child.fds());
        let mut fds: Vec<PollFd<'_>> =
            child.chain(daemon).chain([self.signals.as_fd()]).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let _ = poll(&mut fds, wait);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let Some(running) = &self.running else { return self.pause };
        if let Some((_, at)) = running.child.ended {
            return Some(at + running.launch.limits.leak.max(running.launch.limits.lingers));
        }
        match running.told {
            Some(told) => Some(told + running.launch.limits.grace),
            None => running.limit().map(|(at, _)| at),
        }
    }

    /// Takes in what the daemon says; whether it is still there.
    fn hear(&mut self) -> bool {
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
            Some(Order::Run(tests, of)) => {
                self.of.extend(tests.iter().copied().zip(of));
                self.queue.extend(tests);
            }
            Some(Order::Drop(tests)) => {
                // an attempt has been made of what is tried again
                let dropped: Vec<u32> = tests
                    .into_iter()
                    .filter(|test| self.queue.contains(test) && !self.attempts.contains_key(test))
                    .collect();
                self.queue.retain(|test| !dropped.contains(test));
                self.tell(&json!({"type": "dropped", "tests": dropped}));
            }
            Some(Order::Last) => self.last = true,
            None => {}
        }
    }

    /// Reads what the process has printed, minds its limits, and takes its end.
    fn look_after(&mut self) {
        let Some(running) = &mut self.running else { return };
        // the end first: what was written before it is read after it
        let children = running.child.reap();
        let mut events = Vec::new();
        let reader = &mut running.launch.reader;
        running.child.read(|stream, bytes| events.extend(reader.output(stream, bytes)));
        self.take(events);
        let Some(running) = &mut self.running else { return };
        let now = Instant::now();
        let Some((status, at)) = running.child.ended else { return running.mind_limits(now) };
        let leaking = !running.child.is_read();
        let limits = &running.launch.limits;
        if leaking && now < at + limits.leak || children != Children::None && now < at + limits.lingers {
            return;
        }
        if children != Children::None {
            running.child.kill_all(&self.signals);
            let reader = &mut running.launch.reader;
            let mut events = Vec::new();
            running.child.read(|stream, bytes| events.extend(reader.output(stream, bytes)));
            self.take(events);
        }
        let Some(mut running) = self.running.take() else { return };
        let ending = Ending {
            status,
            took: at.saturating_duration_since(running.child.since),
            leaked: leaking,
            killed: running.late.is_some(),
        };
        let events = running.launch.reader.end(&ending);
        self.running = Some(running);
        self.take(events);
        if let Some(running) = self.running.take() {
            self.close(running, &ending);
        }
    }

    fn take(&mut self, events: Vec<Event>) {
        for event in events {
            let Some(running) = &mut self.running else { return };
            let now = Instant::now();
            match event {
                Event::Started(test) if running.open.contains(&test) => {
                    running.current = Some((test, now));
                    if now.duration_since(running.last) > LONG || self.announce {
                        self.announce = false;
                        self.tell(&json!({"type": "started", "test": test}));
                    }
                }
                Event::Started(_) => {}
                Event::Ended(test, verdict) => {
                    if !running.open.remove(&test) {
                        continue;
                    }
                    let begun = running.current.take_if(|(t, _)| *t == test).map_or(running.last, |(_, at)| at);
                    running.last = now;
                    let seen = now.duration_since(begun);
                    let us = verdict.us.unwrap_or(seen.as_secs_f64() * 1e6);
                    self.judge(test, verdict, us);
                }
            }
        }
    }

    /// A process has ended: what it leaves without a result is blamed, or tried again.
    fn close(&mut self, mut running: Running, ending: &Ending) {
        if running.open.is_empty() {
            return;
        }
        let rest = running.launch.reader.rest();
        let order: Vec<u32> = running.launch.tests.iter().copied().filter(|t| running.open.contains(t)).collect();
        let guilty = match (running.late, running.current, &order[..]) {
            (Some(Late::Test(test, _)), ..) => Some(test),
            (_, Some((test, _)), _) if running.open.contains(&test) => Some(test),
            (_, _, [only]) if running.launch.tests.len() == 1 => Some(*only),
            _ => None,
        };
        let mut again: Vec<u32> = order.iter().copied().filter(|test| Some(*test) != guilty).collect();
        if let Some(test) = guilty {
            let mut verdict = match running.late {
                Some(Late::Test(_, limit) | Late::Whole(limit)) => {
                    let message = format!("killed at its timeout after {:.1} s", limit.as_secs_f64());
                    Verdict { message, ..Verdict::new("timed_out") }
                }
                None => Verdict::errored(format!("the test ended its process: {}", ended_how(ending.status))),
            };
            verdict.sections = rest;
            let since = running.current.filter(|(t, _)| *t == test).map_or(running.last, |(_, at)| at);
            self.judge(test, verdict, since.elapsed().as_secs_f64() * 1e6);
        } else {
            // it cannot be seen which one it was: smaller batches find it
            let half = (running.launch.tests.len() / 2).max(1);
            self.most.extend(again.iter().map(|test| (*test, half)));
        }
        again.reverse();
        for test in again {
            self.queue.push_front(test);
        }
    }

    /// A result: told, or tried again if the framework's own settings say so.
    fn judge(&mut self, test: u32, verdict: Verdict, us: f64) {
        let made = 1 + self.attempts.get(&test).map_or(0, |v| u32::try_from(v.len()).unwrap_or(u32::MAX));
        if verdict.is_failure() && made < self.suite.attempts(test) {
            let pause = self.suite.again(test, made).unwrap_or_default();
            self.attempts.entry(test).or_default().push(verdict);
            self.queue.push_front(test);
            self.pause = (!pause.is_zero()).then(|| Instant::now() + pause);
            return;
        }
        self.finish(test, verdict, us);
    }

    fn finish(&mut self, test: u32, mut verdict: Verdict, us: f64) {
        self.most.remove(&test);
        self.of.remove(&test);
        let earlier = self.attempts.remove(&test).unwrap_or_default();
        if !earlier.is_empty() {
            let of = earlier.len() + 1;
            for (n, past) in earlier.iter().enumerate() {
                let text: Vec<&str> = past.sections.iter().map(|(_, text)| text.as_str()).collect();
                let title = format!("attempt {} of {of}: {}", n + 1, past.message);
                verdict.sections.push((title, text.join("\n")));
            }
            if !verdict.is_failure() {
                verdict.word = "flaky";
                if self.suite.flaky_fails(test) {
                    verdict.outcome = "failed";
                    verdict.message = format!("passed only at attempt {of}, and a flaky test counts as failed here");
                }
            }
        }
        self.announce |= us > LONG.as_secs_f64() * 1e6;
        self.results.push(result(test, &verdict, us));
    }
}
