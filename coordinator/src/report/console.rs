//! The run on a console, after nextest's manner: a line for each thing worth a line, failures with their output as
//! they come and once more at the end. On a terminal a bar stands below the lines; elsewhere a counter now and then.

mod hosts;
mod results;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use remuda_protocol::spec::{GroupKind, JobSpec};

use super::bar::Bar;
use super::echo::Echo;
use super::finale::Finale;
use super::kept::Kept;
use super::ordered::{Body, Pieces};
use super::summary::Summary;
use super::text::{Colour, Style, ascii, count, length, name};
use super::workers::Workers;
use super::{Attempt, Fact, Progress, Reporter};
use crate::cli::StatusLevel;

/// How often the counter is printed where there is no terminal.
const COUNTER_EVERY: Duration = Duration::from_secs(15);

/// How it should look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// With colours.
    pub colour: bool,
    /// With a bar: it is a terminal.
    pub bar: bool,
    /// 0: failures; 1: passes too; 2: with their output.
    pub verbosity: u8,
    /// What runners print past a framework's capture is told as it comes.
    pub live: bool,
    /// What is shown as it happens, if not what the verbosity says.
    pub shown: Option<StatusLevel>,
    /// What is shown again at the end, if not failures.
    pub again: Option<StatusLevel>,
    /// Only ASCII signs of our own: the locale has no others.
    pub ascii: bool,
    /// Columns of the terminal, asked each time.
    pub columns: Option<fn() -> Option<usize>>,
}

impl Look {
    fn shows(&self, level: StatusLevel) -> bool {
        level <= self.shown.unwrap_or(if self.verbosity > 0 { StatusLevel::All } else { StatusLevel::Slow })
    }
}

/// A console.
pub struct Console<W: Write + Send> {
    out: W,
    echo: Option<Echo>,
    kept: Kept,
    look: Look,
    style: Style,
    spec: Arc<JobSpec>,
    many_groups: bool,
    bar: Bar,
    echo_failed: bool,
    finale: Finale,
    workers: Workers,
    /// Why groups were skipped.
    skipped: BTreeMap<Arc<str>, String>,
    counter_at: Duration,
    phase: &'static str,
}

impl<W: Write + Send> Console<W> {
    /// A console for a job; `kept`: output in files, which it lets go.
    pub fn new(out: W, look: Look, spec: Arc<JobSpec>, kept: Kept) -> Self {
        let many_groups = spec.groups.iter().filter(|g| g.kind != GroupKind::Collect).count() > 1;
        let style = Style { colour: look.colour };
        Self {
            out,
            echo: None,
            kept,
            look,
            style,
            spec,
            many_groups,
            bar: Bar::default(),
            echo_failed: false,
            finale: Finale::new(look.again.unwrap_or(StatusLevel::Fail)),
            workers: Workers::default(),
            skipped: BTreeMap::new(),
            counter_at: COUNTER_EVERY,
            phase: "",
        }
    }

    /// What tasks print goes on: standard output by `echo`, errors to the console.
    #[must_use]
    pub fn echoing(mut self, echo: Echo) -> Self {
        self.echo = Some(echo);
        self
    }

    /// A task's output once it has ended; `false` if output is not echoed.
    fn echoed(&mut self, attempt: &Attempt) -> io::Result<bool> {
        let Some(ready) = self.echo.as_mut().map(|echo| echo.take(attempt)) else {
            self.kept.remove_all(attempt); // the reports before this one have had it
            return Ok(false);
        };
        self.pass_on(ready?).map(|()| true)
    }

    fn pass_on(&mut self, ready: Vec<Pieces>) -> io::Result<()> {
        let Some(mut echo) = self.echo.take() else { return Ok(()) };
        let passed = ready.into_iter().flatten().try_for_each(|piece| self.pour(&mut echo, piece));
        self.echo = Some(echo);
        passed
    }

    fn pour(&mut self, echo: &mut Echo, (error, body): (bool, Body)) -> io::Result<()> {
        self.say("")?; // the bar must not stand there
        let poured = if error { echo.print_error(body, &mut self.out) } else { echo.print(body) };
        self.echo_failed |= poured.is_err() && !error;
        poured?.map_or(Ok(()), |trouble| self.say(&trouble))
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        if self.look.bar {
            self.out.write_all(self.bar.erase().as_bytes())?;
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// What is not a test's own text.
    fn say_own(&mut self, text: &str) -> io::Result<()> {
        if self.look.ascii { self.say(&ascii(text)) } else { self.say(text) }
    }

    fn line(&mut self, word: &str, colour: Colour, rest: &str) -> io::Result<()> {
        let text = format!("{} {rest}\n", self.style.status(word, colour));
        self.say_own(&text)
    }

    fn title(&self, group: &str, id: &str) -> String {
        let id = name(id);
        if self.many_groups { format!("{} {id}", self.style.paint(Colour::Cyan, group)) } else { id }
    }

    fn group(&mut self, group: &Arc<str>, kind: GroupKind, state: &str, reason: &str, tasks: u32) -> io::Result<()> {
        if state == "skipped" {
            self.skipped.insert(group.clone(), reason.to_owned());
        }
        match (kind, state) {
            (GroupKind::Tests, "sealed") if self.is_collected(group) => {
                let named = if self.many_groups { format!("{group}: ") } else { String::new() };
                self.line("Collected", Colour::Green, &format!("{named}{}", count(tasks.into(), "test")))
            }
            (_, "skipped" | "cancelled" | "failed") if !self.look.shows(StatusLevel::Fail) => Ok(()),
            (GroupKind::Tests | GroupKind::Provision, "skipped" | "cancelled") if self.many_groups => {
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                self.line(&state.to_uppercase(), Colour::Yellow, &format!("{group}{why}"))
            }
            (GroupKind::Provision, "succeeded") => self.line("Ready", Colour::Green, group),
            (_, "failed") if !reason.is_empty() && self.many_groups => {
                self.line("FAILED", Colour::Red, &format!("{group}: {reason}"))
            }
            _ => Ok(()),
        }
    }

    fn is_collected(&self, group: &str) -> bool {
        self.spec.groups.iter().any(|g| g.name == format!("{group}@collect"))
    }

    fn finished(&mut self, summary: &Summary) -> io::Result<()> {
        if let Some(echo) = &mut self.echo {
            let rest = echo.rest()?;
            self.pass_on(rest)?;
        }
        if summary.is_good() && self.only_tells() {
            return self.say("");
        }
        let several = self.workers.parts().len() > 1;
        let mut text = String::new();
        if several || (self.look.verbosity > 0 && !self.workers.parts().is_empty()) {
            text.push_str(&self.workers.table(summary.wall, summary.noun));
        }
        text.push_str(&format!("{}\n", self.style.paint(Colour::Dim, "────────────")));
        let colour = if summary.is_good() { Colour::Green } else { Colour::Red };
        text.push_str(&format!("{} {} {}\n", self.style.status("Summary", colour), summary.took(), summary.sentence()));
        text.push_str(&self.finale.text());
        if !summary.because.is_empty() {
            text.push_str(&format!("{} {}\n", self.style.status("Ended", Colour::Yellow), summary.because));
        }
        if !summary.log.is_empty() {
            text.push_str(&format!("{} {}\n", self.style.status("Log", Colour::Dim), summary.log));
        }
        self.say_own(&text)
    }

    fn only_tells(&self) -> bool {
        self.echo.as_ref().is_some_and(Echo::is_alone)
    }

    fn counter(&mut self, now: &Progress) -> io::Result<()> {
        if now.elapsed < self.counter_at {
            return Ok(());
        }
        self.counter_at = now.elapsed + COUNTER_EVERY;
        self.line(now.phase, Colour::Cyan, &format!("[ {} ] {}", length(now.elapsed), counter_text(now)))
    }
}

/// `120/540 done, 1 failed, 4 running, ETA 42.0s`.
#[must_use]
pub fn counter_text(now: &Progress) -> String {
    let more = if now.complete { "" } else { "+" };
    let mut text = format!("{}/{}{more} done", now.done, now.total);
    if now.failed > 0 {
        text.push_str(&format!(", {} failed", now.failed));
    }
    if !now.running.is_empty() {
        text.push_str(&format!(", {} running", now.running.len()));
    }
    if let Some(eta) = now.eta {
        text.push_str(&format!(", ETA {}", length(eta)));
    }
    if !now.waiting.is_empty() {
        text.push_str(&format!("; waiting: {}", now.waiting));
    }
    text
}

impl<W: Write + Send> Reporter for Console<W> {
    fn fact(&mut self, fact: &Fact, at: Duration) -> io::Result<()> {
        self.workers.fact(fact, at);
        match fact {
            Fact::Began { .. } if self.only_tells() => Ok(()),
            Fact::Began { job, name: title, redis, slots } => {
                let slots = slots.map(|n| format!("{} on ", count(n.into(), "slot"))).unwrap_or_default();
                self.line(
                    "Remuda",
                    Colour::Green,
                    &format!("{} ({slots}{redis}, job {})", name(title), &job[..8.min(job.len())]),
                )
            }
            Fact::Tried(attempt) => self.tried(attempt),
            Fact::Ended(attempt) => self.ended(attempt),
            Fact::Group { group, kind, state, reason, tasks } => self.group(group, *kind, state, reason, *tasks),
            Fact::Slow { .. } if !self.look.shows(StatusLevel::Slow) => Ok(()),
            Fact::Slow { group, id, age } => {
                let title = format!("[>{:>7}] {}", length(*age), self.title(group, id));
                self.line("SLOW", Colour::Yellow, &title)
            }
            Fact::Output { place, bytes, .. } => {
                let label = place.as_ref().map(|p| format!("{} | ", p.label())).unwrap_or_default();
                let text: String =
                    String::from_utf8_lossy(bytes).lines().map(|line| format!("{label}{line}\n")).collect();
                self.say(&text)
            }
            Fact::Host(report) => self.host(report),
            Fact::Note(text) => self.line("Note", Colour::Yellow, text),
            Fact::Finished(summary) => self.finished(summary),
            Fact::Added { .. } | Fact::Claimed { .. } | Fact::Back { .. } | Fact::Job { .. } => Ok(()),
        }
    }

    fn joins_late(&mut self) {
        self.workers.join_late();
    }

    fn leave(&mut self) {
        let _ = self.say("");
    }

    fn progress(&mut self, now: &Progress) -> io::Result<()> {
        if self.look.bar {
            let text = self.bar.draw(now, self.style, self.look.columns.and_then(|ask| ask()));
            let text = if self.look.ascii { ascii(&text) } else { text };
            self.out.write_all(text.as_bytes())?;
            return self.out.flush();
        }
        if now.phase != self.phase && !now.waiting.is_empty() {
            self.counter_at = now.elapsed; // why nothing happens is worth a line at once
        }
        self.phase = now.phase;
        self.counter(now)
    }

    fn name(&self) -> &'static str {
        if self.echo_failed { "standard output" } else { "the console" }
    }
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
