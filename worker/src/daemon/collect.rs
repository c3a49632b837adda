//! Collect tasks: start a loader, hear its manifest, add it to the group, keep the loader for the host's runners.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use remuda_protocol::outcome::{Detail, LIVE, Outcome};
use remuda_protocol::spec::{Adapter, GroupBy, GroupSpec, JobSpec};

use super::inbox::Message;
use super::slots::Assignment;
use super::{Daemon, LONG_PATIENCE, MOST_LOADERS};
use crate::abq;
use crate::adapter::{pytest, rspec};
use crate::environment;
use crate::frameworks;
use crate::heartbeat::Held;
use crate::loader::frames::FrameReceiver;
use crate::loader::messages::{FromRunner, Test, ToRunner};
use crate::loader::plan::{Order, Target, add_all, only, too_long, unique_ids};
use crate::loader::process::{self, Loader, Phase};
use crate::warden::boottime_now_ms;

/// The framework told what it was asked for (`--collect-only`), and nothing shall run.
const ANSWERED: i32 = 0;
/// pytest's exit code for "no tests collected".
const NOTHING: i32 = 5;
/// pytest's exit code for wrong usage; ours for ids that cannot be used.
const USAGE: i32 = 4;
/// Runners have no terminal.
const DEBUGGER: &str = "a debugger (--pdb, --trace) needs a terminal of its own, and tests that run side by side have \
                        none; leave it out, or run plain pytest for the test in question";

impl Daemon {
    /// Begins a collect task that has not begun.
    pub(super) async fn advance_collect(&mut self, slot: u32, spec: &JobSpec, group: u32) {
        let Some(front) = self.slots[slot as usize].queue.front_mut() else { return };
        if front.sent.is_some() {
            return;
        }
        front.sent = Some(0);
        front.started = Some(Instant::now());
        let target = spec.groups[group as usize].collects.unwrap_or_default();
        if let Err(error) = self.start_loader(spec, target, None, Some(slot)).await {
            self.refuse(slot, &format!("worker on {} could not start the collection: {error}", self.settings.host));
        }
    }

    /// Starts a loader of `group`: for a collect task of `collecting`, or because this host needs one.
    pub(super) async fn start_loader(
        &mut self,
        spec: &JobSpec,
        group: u32,
        owner: Option<u32>,
        collecting: Option<u32>,
    ) -> std::io::Result<()> {
        let id = self.next_serial();
        let index = self.free_index().ok_or_else(|| std::io::Error::other("too many suites are loaded"))?;
        let keeper = self.new_keeper_once(index, move |event| Message::Loader(id, event)).await?;
        let group_spec = &spec.groups[group as usize];
        let env: Vec<(String, String)> =
            spec.env.iter().chain(&group_spec.env).map(|(k, v)| (k.clone(), v.clone())).collect();
        keeper.base(
            environment::base(self.settings.embedded, env.iter().cloned()),
            std::path::Path::new(&spec.tree.path),
        )?;
        let (argv, settings) = self.loader_command(group_spec, spec, &env)?;
        let settings = if owner.is_some() { self.of_one_slot(settings, &spec.id, group) } else { settings };
        let own = owner.map(|slot| self.slot_environment(slot, spec)).unwrap_or_default();
        let (control, receiver) = process::start(&keeper, id, argv, own, &settings)?;
        self.hold_keeper(index, collecting);
        self.hear_loader(id, receiver);
        let loader = Loader {
            id,
            job: spec.id.clone(),
            group,
            owner,
            phase: Phase::Loading,
            keeper,
            keeper_index: index,
            unit: id,
            control,
            collecting,
            tests: Vec::new(),
            positions: std::collections::HashMap::new(),
            fork: Ok(()),
            controller: None,
            options: crate::loader::messages::Options::default(),
            answer: None,
            late: Vec::new(),
            stops: Vec::new(),
            stopped: String::new(),
            end: None,
            pending: std::collections::VecDeque::new(),
            retired: Vec::new(),
            alive: 0,
        };
        self.loaders.insert(id, loader);
        self.departures.loader_speaks(id);
        Ok(())
    }

    /// From now on this keeper lives as long as the worker beats; the collection it is for, if any, is in its hands.
    fn hold_keeper(&self, index: usize, collecting: Option<u32>) {
        let now = boottime_now_ms();
        self.deadlines.set(index, now + self.settings.lease_ms() - self.settings.margin_ms());
        self.heart.keep_keeper(index);
        if let Some(fence) = collecting.and_then(|slot| self.slots[slot as usize].queue.front().map(|a| a.fence)) {
            self.heart.hold(fence, Held { keeper: index, started_ms: now });
        }
    }

    /// What the loader says comes into the inbox, and last that it says no more.
    fn hear_loader(&self, id: u64, mut receiver: FrameReceiver) {
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            loop {
                let message = receiver.next().await;
                let last = message.is_none();
                if inbox.send(Message::Control(id, message)).is_err() || last {
                    return;
                }
            }
        });
    }

    fn free_index(&self) -> Option<usize> {
        let first = self.settings.slots as usize;
        (first..first + MOST_LOADERS).find(|i| self.loaders.values().all(|l| l.keeper_index != *i))
    }

    /// A loader that a single slot has for itself, because the suite must not be forked: it reports to the first one.
    fn of_one_slot(&self, mut settings: serde_json::Value, job: &str, group: u32) -> serde_json::Value {
        settings["fork"] = "never".into();
        let shared = self.loaders.values().find(|l| l.job == job && l.group == group && l.owner.is_none());
        if let Some(controller) = shared.and_then(|l| l.controller.clone()) {
            settings["controller"] = controller.into();
        }
        settings
    }

    fn slot_environment(&self, slot: u32, spec: &JobSpec) -> Vec<(String, String)> {
        let front = self.slots[slot as usize].queue.front();
        front
            .map(|a| {
                environment::of_slot(&super::commands::place_of(a, spec, &self.settings.worker, self.settings.slots))
            })
            .unwrap_or_default()
    }

    fn loader_command(
        &self,
        group: &GroupSpec,
        spec: &JobSpec,
        env: &[(String, String)],
    ) -> std::io::Result<(Vec<String>, serde_json::Value)> {
        let (job, tree) = (spec.id.as_str(), std::path::Path::new(&spec.tree.path));
        let path = env.iter().find(|(k, _)| k == "PATH").map(|(_, v)| v.into()).or_else(|| std::env::var_os("PATH"));
        let script_line = |name: &str| find_program(name, tree, path.as_deref()).and_then(|p| first_line(&p));
        let slots = self.settings.slots;
        let (argv, settings) = match &group.adapter {
            Adapter::Pytest { program, args, isolation, group_by } => {
                let line = script_line(program.first().map_or("pytest", String::as_str));
                let argv = pytest::loader_argv(program, &self.mains.pytest, line.as_deref());
                (argv, pytest::load_settings(args, program, *isolation, *group_by, slots, job))
            }
            Adapter::Rspec { program, args, isolation, group_by } => {
                let line = script_line(program.first().map_or("rspec", String::as_str));
                let argv =
                    rspec::loader_argv(program, &self.mains.rspec, line.as_deref()).map_err(std::io::Error::other)?;
                (argv, rspec::load_settings(args, *isolation, *group_by, slots, job))
            }
            Adapter::Abq { argv } => return Ok((abq::command(), abq::load_settings(argv, group.timeout_ms, job))),
            bridged @ (Adapter::CargoNextest { .. }
            | Adapter::CargoTest { .. }
            | Adapter::GoTest { .. }
            | Adapter::Batch(_)) => {
                let (timeout, grace) = (group.timeout_ms, group.grace_ms);
                let settings = frameworks::load_settings(bridged, timeout, grace, self.settings.slots, job);
                return Ok((frameworks::command(), settings));
            }
            Adapter::Command { .. } => return Err(std::io::Error::other("commands have no loader")),
        };
        if find_program(&argv[0], tree, path.as_deref()).is_none() {
            return Err(std::io::Error::other(format!(
                "`{}` is not on PATH; install it on this host, or name its full path",
                argv[0]
            )));
        }
        Ok((argv, settings))
    }

    pub(super) fn on_control(&mut self, id: u64, message: Option<FromRunner>) {
        match message {
            None => {
                self.departures.loader_said_all(id);
                self.tick_departures(Instant::now());
            }
            Some(FromRunner::ManifestPart { tests }) => {
                if let Some(loader) = self.loaders.get_mut(&id) {
                    loader.tests.extend(tests);
                }
            }
            Some(FromRunner::ManifestDone { fork, why, options, controller, .. }) => {
                if let Some(loader) = self.loaders.get_mut(&id) {
                    loader.fork = if fork { Ok(()) } else { Err(why.unwrap_or_default()) };
                    loader.options = options;
                    loader.controller = controller;
                }
                self.on_manifest(id);
            }
            Some(FromRunner::ManifestFailure { error, exit, output }) => {
                self.on_collect_failure(id, &error, exit, output)
            }
            Some(FromRunner::Forked { slot, pid, .. }) => self.on_forked(id, slot, pid),
            Some(FromRunner::Exited { slot, pid, status }) => self.on_runner_exit(slot, pid, status, id),
            Some(FromRunner::Finished { summary, error }) => self.on_finished(id, summary, error),
            _ => {}
        }
    }

    /// The manifest is whole: number the ids, and add them if this loader serves a collect task.
    fn on_manifest(&mut self, id: u64) {
        let Some(loader) = self.loaders.get_mut(&id) else { return };
        let ids = unique_ids(&loader.tests);
        loader.positions = ids.iter().cloned().zip(0..).collect();
        let mut tests = std::mem::take(&mut loader.tests);
        tests.iter_mut().take(loader.options.first).for_each(|test| test.first = true);
        if loader.options.group_by.as_deref().is_none_or(|by| by == "test") && tests.iter().any(|t| t.group.is_some()) {
            loader.options.group_by = Some("group".to_owned());
        }
        if loader.collecting.is_none() {
            loader.phase = Phase::Ready;
            return self.outbox.ring();
        }
        let debugger = loader.options.debugger.then(|| DEBUGGER.to_owned());
        if let Some(message) = debugger.or_else(|| too_long(&ids)) {
            self.end_collect(id, Outcome::Errored, &Detail { message, exit: Some(USAGE), ..Detail::default() });
            return self.kill_loader(id);
        }
        loader.phase = Phase::Adding;
        let Some(target) = self.target_of(id) else { return };
        let (tests, ids) = self.chosen(&target, tests, ids);
        let (store, inbox) = (self.store.patient(LONG_PATIENCE), self.inbox.clone());
        tokio::spawn(async move {
            let result = add_all(&store, &target, &tests, &ids).await;
            let _ = inbox.send(Message::Added(id, result));
        });
    }

    /// What the job wants of what was found.
    fn chosen(&self, target: &Target, tests: Vec<Test>, ids: Vec<String>) -> (Vec<Test>, Vec<String>) {
        match self.jobs.get(&target.job) {
            Some(super::jobs::Job::Ready(spec)) => only(tests, ids, &spec.groups[target.group as usize].only),
            _ => (tests, ids),
        }
    }

    fn target_of(&self, id: u64) -> Option<Target> {
        let loader = self.loaders.get(&id)?;
        let fence = self.collect_assignment(loader)?.fence;
        let Some(super::jobs::Job::Ready(spec)) = self.jobs.get(&loader.job) else { return None };
        let lane: usize = spec.groups[..loader.group as usize].iter().map(|g| g.lanes.len()).sum();
        let group = &spec.groups[loader.group as usize];
        let asked = |word: &str| match word {
            "class" => GroupBy::Class,
            "file" => GroupBy::File,
            _ => GroupBy::Test,
        };
        let group_by = match &group.adapter {
            Adapter::Pytest { group_by: GroupBy::Test, .. } | Adapter::Rspec { group_by: GroupBy::Test, .. } => {
                loader.options.group_by.as_deref().map_or(GroupBy::Test, asked)
            }
            Adapter::Pytest { group_by, .. } | Adapter::Rspec { group_by, .. } => *group_by,
            _ => GroupBy::Test,
        };
        let slots =
            loader.options.slots.as_ref().and_then(serde_json::Value::as_u64).and_then(|n| u32::try_from(n).ok());
        Some(Target {
            job: loader.job.clone(),
            group: loader.group,
            lane: u32::try_from(lane).unwrap_or(u32::MAX),
            fence,
            project: format!("{}/{}", spec.project, group.name),
            group_by,
            order: match group.adapter {
                Adapter::Abq { .. } => Order::Forward,
                _ if loader.options.ordered => Order::Strict,
                _ => Order::Free,
            },
            startup_us: loader.options.startup_us,
            limits: (loader.options.maxfail.unwrap_or(0), slots.unwrap_or(0)),
        })
    }

    fn collect_assignment(&self, loader: &Loader) -> Option<&Assignment> {
        self.slots[loader.collecting? as usize].queue.front()
    }

    pub(super) fn on_added(&mut self, id: u64, result: Result<u32, String>) {
        let Some(loader) = self.loaders.get_mut(&id) else { return };
        loader.phase = Phase::Ready;
        match result {
            Ok(_) => {
                let answer = loader.answer.clone();
                if answer.is_some() {
                    loader.control.send(&ToRunner::Finish, Vec::new());
                }
                let mut detail = answer.unwrap_or_default();
                if loader.options.live {
                    detail.properties.push((LIVE.to_owned(), "yes".to_owned()));
                }
                self.end_collect(id, Outcome::Passed, &detail);
            }
            Err(message) => {
                self.end_collect(id, Outcome::Errored, &Detail { message, ..Detail::default() });
                self.kill_loader(id);
            }
        }
        self.outbox.ring();
    }

    fn on_collect_failure(&mut self, id: u64, error: &serde_json::Value, exit: i32, output: String) {
        let Some(loader) = self.loaders.get_mut(&id) else { return };
        if matches!(exit, ANSWERED | NOTHING) && loader.collecting.is_some() {
            loader.tests.clear();
            loader.answer = Some(Detail { text: output, exit: Some(exit), ..Detail::default() });
            return self.on_manifest(id);
        }
        let message =
            error.get("message").and_then(serde_json::Value::as_str).unwrap_or("the collection failed").to_owned();
        if loader.collecting.is_none() {
            tracing::warn!(message, "a suite that was collected elsewhere cannot be loaded here");
            self.unloadable.insert((loader.job.clone(), loader.group));
        }
        self.end_collect(
            id,
            Outcome::Errored,
            &Detail { message, text: output, exit: Some(exit), ..Detail::default() },
        );
        self.kill_loader(id);
    }

    /// A loader that ended before it had served its collect task.
    pub(super) fn collect_ended_early(&mut self, loader: &Loader, detail: &Detail, given_back: bool) {
        let Some(slot) = loader.collecting else { return };
        if given_back {
            if let Some(back) = self.slots[slot as usize].queue.pop_front() {
                self.report(&back, None, 0, 0, &Detail::default());
            }
            return;
        }
        let why = if detail.message.is_empty() { "it ended by itself".to_owned() } else { detail.message.clone() };
        let detail = Detail { message: format!("the collection ended without a result: {why}"), ..detail.clone() };
        self.end_collect_of(slot, Outcome::Errored, &detail);
    }

    fn end_collect(&mut self, id: u64, outcome: Outcome, detail: &Detail) {
        if let Some(slot) = self.loaders.get_mut(&id).and_then(|l| l.collecting.take()) {
            self.end_collect_of(slot, outcome, detail);
        }
    }

    fn end_collect_of(&mut self, slot: u32, outcome: Outcome, detail: &Detail) {
        let Some(done) = self.slots[slot as usize].queue.pop_front() else { return };
        let us = done.started.map_or(Duration::ZERO, |s| s.elapsed());
        self.report(&done, Some(outcome), u64::try_from(us.as_micros()).unwrap_or(u64::MAX), 0, detail);
    }

    fn kill_loader(&self, id: u64) {
        if let Some(loader) = self.loaders.get(&id) {
            let _ = loader.keeper.kill(loader.unit, true);
        }
    }
}

/// A program on PATH, or a file of the tree.
fn find_program(name: &str, tree: &std::path::Path, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(tree.join(name)).filter(|p| p.is_file());
    }
    std::env::split_paths(path?).map(|folder| folder.join(name)).find(|p| p.is_file())
}

fn first_line(path: &std::path::Path) -> Option<String> {
    use std::io::{BufRead, BufReader, Read};
    let mut line = String::new();
    BufReader::new(std::fs::File::open(path).ok()?.take(1024)).read_line(&mut line).ok()?;
    Some(line.trim_end().to_owned())
}
