//! `remuda logs`: what tasks printed, from the start and as it comes.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write as _};
use std::time::Duration;

use remuda_protocol::event::{Event, Sequence};
use remuda_protocol::lifecycle::JobState;
use remuda_protocol::outcome::{Detail, Outcome};
use remuda_store::{Message, Store};
use tokio::time::Instant;

use crate::cli::Global;
use crate::cli::verbs::Logs;
use crate::error::{Error, Exit};
use crate::farm::Farm;
use crate::follow::shown::left;
use crate::follow::view::TaskKey;
use crate::overview::Overview;
use crate::report::text::{length, name, status_word};

/// Records read in one go; details in one go.
const PAGE: u32 = 5_000;
const DETAILS: usize = 100;
/// How often a follower says that it looks.
const LOOK: Duration = Duration::from_secs(1);
/// So many looks later nothing is under way any more of what had ended before the first.
const LOOKS: u32 = 3;
/// How long workers may take to hear that somebody looks, and how long they are silent when they have said all.
const HEAR: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_millis(200);

/// Does it.
///
/// # Errors
/// There is no such job or task, or standard output is gone.
pub async fn run(global: &Global, args: &Logs) -> Result<Exit, Error> {
    let farm = Farm::connect(global).await?;
    let head = farm.job(&args.job).await?;
    // subscribed before the first look, so that nothing falls between the two
    let watch = farm.store.watch(&head.id, true).await?;
    let job = Overview::read(&farm.store, head).await?;
    let only = match &args.task {
        Some(text) => Some(job.find(&farm.store, text).await?).map(|f| (f.group, f.task)),
        None => None,
    };
    let mut shown = Shown {
        store: farm.store,
        job,
        only,
        tag: args.tag,
        names: HashMap::new(),
        seen: HashMap::new(),
        told: HashSet::new(),
        last: None,
    };
    let running = shown.so_far().await?;
    match (args.follow, running) {
        (true, _) => shown.follow(watch).await,
        (false, true) => shown.glance(watch).await,
        (false, false) => Ok(Exit::Passed),
    }
}

struct Shown {
    store: Store,
    job: Overview,
    only: Option<(u32, u32)>,
    tag: bool,
    names: HashMap<(u32, u32), String>,
    /// Attempts whose output is shown as it comes, by fence and task: how many bytes of it have been.
    seen: HashMap<(u64, u32), u64>,
    /// Attempts that were told whole at the start, while messages of them may still be under way.
    told: HashSet<(u64, u32)>,
    /// Whose output stands under the last heading.
    last: Option<(u32, u32)>,
}

impl Shown {
    /// What has ended, and the tails of what runs; whether anything does.
    async fn so_far(&mut self) -> Result<bool, Error> {
        let mut running = false;
        let groups: Vec<u32> = self.job.groups_with_tasks().collect();
        for group in groups {
            let added = self.job.state.groups[group as usize].added;
            let (from, to) = match self.only {
                Some((g, _)) if g != group => continue,
                Some((_, task)) => (task, task + 1),
                None => (0, added),
            };
            for first in (from..to).step_by(PAGE as usize) {
                let records = self.store.records(&self.job.head.id, group, first, PAGE.min(to - first)).await?;
                for part in records.chunks(DETAILS) {
                    let wanted: Vec<_> = part.iter().map(|r| (group, r.task, r.fence)).collect();
                    let details = self.store.details(&self.job.head.id, &wanted).await?;
                    for (record, detail) in part.iter().zip(details) {
                        match record.outcome {
                            Some(outcome) => {
                                let detail = detail.unwrap_or_default();
                                self.told.insert((record.fence, record.task));
                                self.ended((group, record.task), record.fence, outcome, record.us, &detail).await?
                            }
                            None if record.running => {
                                running = true;
                                self.catch_up((group, record.task), record.fence).await?;
                            }
                            None => {}
                        }
                    }
                }
            }
        }
        Ok(running)
    }

    /// What runs has printed more than Redis has if nobody looked until now: its workers send it as soon as they hear.
    async fn glance(&mut self, mut watch: remuda_store::Subscription) -> Result<Exit, Error> {
        self.store.look_at(&self.job.head.id, true).await?;
        let (mut patience, until) = (HEAR, Instant::now() + HEAR * 2);
        while let Ok(Some(message)) = tokio::time::timeout_at(until.min(Instant::now() + patience), watch.next()).await
        {
            if let Message::Output { group, task, fence, offset, bytes, .. } = message
                && self.wants((group, task))
            {
                self.piece((group, task), fence, offset, &bytes).await?;
                patience = QUIET;
            }
        }
        Ok(Exit::Passed)
    }

    async fn follow(&mut self, mut watch: remuda_store::Subscription) -> Result<Exit, Error> {
        let (mut look, mut looks) = (tokio::time::interval(LOOK), 0);
        let mut sequence = self.job.state.sequence;
        let mut over = JobState::from_word(&self.job.head.state).is_some_and(JobState::is_over);
        while !over {
            tokio::select! {
                message = watch.next() => match message {
                    Some(Message::Output { group, task, fence, offset, bytes, .. }) if self.wants((group, task)) => {
                        self.piece((group, task), fence, offset, &bytes).await?;
                    }
                    Some(Message::Events(at, batch)) if at > sequence => {
                        sequence = at;
                        over |= self.events(&batch).await?;
                    }
                    Some(_) => {}
                    None => {
                        watch = self.store.watch(&self.job.head.id, true).await?;
                        over |= self.missed(&mut sequence).await?;
                    }
                },
                _ = look.tick() => {
                    let seen = self.store.look_at(&self.job.head.id, true).await?;
                    looks += 1;
                    if looks > LOOKS && seen.sequence <= sequence {
                        self.told = HashSet::new(); // all that was under way has come
                    }
                    over |= JobState::from_word(&seen.state).is_some_and(JobState::is_over) && seen.sequence <= sequence;
                }
            }
        }
        Ok(Exit::Passed)
    }

    async fn missed(&mut self, sequence: &mut Sequence) -> Result<bool, Error> {
        let mut over = false;
        for (at, batch) in self.store.events_after(&self.job.head.id, *sequence).await? {
            *sequence = at;
            over |= self.events(&batch).await?;
        }
        Ok(over)
    }

    /// Shows what ended unseen; whether the job is over.
    async fn events(&mut self, batch: &str) -> Result<bool, Error> {
        let mut over = false;
        for event in Event::parse_batch(batch) {
            match event {
                Event::Ended { group, task, outcome, fence, us, .. }
                | Event::Tried { group, task, outcome, fence, us, .. }
                    if self.wants((group, task)) && !self.told.contains(&(fence, task)) =>
                {
                    let detail = self.store.details(&self.job.head.id, &[(group, task, fence)]).await?;
                    let detail = detail.into_iter().next().flatten().unwrap_or_default();
                    self.ended((group, task), fence, outcome, us, &detail).await?;
                }
                Event::Job { state, .. } => over |= JobState::from_word(&state).is_some_and(JobState::is_over),
                _ => {}
            }
        }
        Ok(over)
    }

    fn wants(&self, task: (u32, u32)) -> bool {
        let collects = self.job.spec.groups.get(task.0 as usize).is_none_or(|g| g.collects.is_some());
        self.only.map_or(!collects, |only| only == task)
    }

    /// A piece of live output. What came before it and was not heard is in the tail; what the tail had is not told again.
    async fn piece(&mut self, task: TaskKey, fence: u64, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        if self.told.contains(&(fence, task.1)) {
            return Ok(());
        }
        if offset > self.seen(fence, task) {
            self.catch_up(task, fence).await?;
        }
        let known = self.seen(fence, task).saturating_sub(offset);
        let new = usize::try_from(known).ok().and_then(|known| bytes.get(known..)).unwrap_or_default();
        self.seen.insert((fence, task.1), self.seen(fence, task).max(offset + bytes.len() as u64));
        self.print(task, new).await
    }

    fn seen(&self, fence: u64, task: TaskKey) -> u64 {
        self.seen.get(&(fence, task.1)).copied().unwrap_or(0)
    }

    /// What Redis keeps of an attempt's output so far, without what has been shown.
    async fn catch_up(&mut self, task: TaskKey, fence: u64) -> Result<(), Error> {
        let (end, tail) = self.store.tail(&self.job.head.id, task.0, task.1, fence).await?;
        let new = usize::try_from(end.saturating_sub(self.seen(fence, task))).unwrap_or(usize::MAX);
        if new > 0 {
            self.seen.insert((fence, task.1), end);
        }
        self.print(task, &tail[tail.len() - new.min(tail.len())..]).await
    }

    async fn ended(
        &mut self,
        task: TaskKey,
        fence: u64,
        outcome: Outcome,
        us: u64,
        detail: &Detail,
    ) -> Result<(), Error> {
        let seen = self.seen.remove(&(fence, task.1)).unwrap_or(0);
        let text = if seen > 0 { left(detail, seen).into_bytes() } else { self.whole(detail) };
        if text.is_empty() && (seen > 0 || self.only.is_none()) {
            return Ok(());
        }
        let how = format!(" ({}, {})", status_word(outcome).0.to_lowercase(), length(Duration::from_micros(us)));
        self.heading(task, &how).await?;
        self.body(task, &text).await
    }

    /// All that an attempt left.
    fn whole(&self, detail: &Detail) -> Vec<u8> {
        let mut text = detail.text.clone().into_bytes();
        for (title, body) in detail.printed() {
            if text.last().is_some_and(|byte| *byte != b'\n') {
                text.push(b'\n');
            }
            if detail.sections.len() > 1 && !self.tag {
                text.extend(format!("-- {title} --\n").bytes());
            }
            text.extend(body);
        }
        text
    }

    async fn print(&mut self, task: (u32, u32), bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.last != Some(task) {
            self.heading(task, "").await?;
        }
        self.body(task, bytes).await
    }

    async fn heading(&mut self, task: (u32, u32), more: &str) -> Result<(), Error> {
        self.last = Some(task);
        if self.tag {
            return Ok(());
        }
        let id = self.name(task).await?;
        say(format!("== {id}{more}\n").as_bytes())
    }

    async fn body(&mut self, task: (u32, u32), bytes: &[u8]) -> Result<(), Error> {
        if !self.tag {
            say(bytes)?;
            return if bytes.last().is_none_or(|b| *b == b'\n') { Ok(()) } else { say(b"\n") };
        }
        let id = self.name(task).await?;
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            say(&[id.as_bytes(), b"\t", line, b"\n"].concat())?;
        }
        Ok(())
    }

    async fn name(&mut self, task: (u32, u32)) -> Result<String, Error> {
        if let Some(known) = self.names.get(&task) {
            return Ok(known.clone());
        }
        let id = self.store.ids(&self.job.head.id, task.0, task.1, 1).await?.pop().unwrap_or_default();
        let shown = name(&id);
        if self.names.len() > PAGE as usize {
            self.names.clear();
        }
        self.names.insert(task, shown.clone());
        Ok(shown)
    }
}

fn say(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| Error::report("standard output", e))
}
