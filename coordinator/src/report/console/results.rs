//! One result on the console: its line, what it left behind, and what of it is shown again at the end.

use std::io::{self, Write};

use remuda_protocol::outcome::{Outcome, UNCAPTURED};
use remuda_protocol::spec::GroupKind;

use super::Console;
use crate::cli::StatusLevel;
use crate::report::left::output;
use crate::report::text::{Colour, name, status_word, took, word_of};
use crate::report::{Attempt, finale, rerun};

impl<W: Write + Send> Console<W> {
    pub(super) fn ended(&mut self, attempt: &Attempt) -> io::Result<()> {
        if attempt.kind == GroupKind::Collect {
            self.look.live |= attempt.lets_output_through();
            return match attempt.outcome.is_failure() {
                true => self.collection_failed(attempt),
                false if attempt.is_answer() => self.say(&format!("{}\n", attempt.detail.text.trim_end())),
                false => Ok(()),
            };
        }
        let echoed = self.echoed(attempt)?;
        if attempt.fence == 0 && attempt.outcome != Outcome::Skipped {
            return Ok(()); // never ran: the summary counts it
        }
        let (word, colour) = word_of(attempt);
        let flaky = format!("FLAKY {}/{}", attempt.number, attempt.of.max(attempt.number));
        let (word, colour) = if attempt.is_flaky() { (flaky.as_str(), Colour::Yellow) } else { (word, colour) };
        let mut title = format!("{} {}", time_of(attempt), self.title(&attempt.group, &attempt.id));
        let of_group = self.skipped.get(&attempt.group).filter(|_| attempt.fence == 0).cloned();
        let why = of_group.unwrap_or_else(|| attempt.why());
        let why = if attempt.outcome == Outcome::Skipped { why } else { String::new() };
        if !why.is_empty() {
            title.push_str(&format!(" ({})", name(&why)));
        }
        let slow_ms = self.spec.groups.get(attempt.task.0 as usize).map_or(0, |g| g.slow_ms);
        let level = finale::level(attempt, slow_ms);
        // what ran when the run was ended: of a test that hangs it is all that is known
        let again = if attempt.was_ended() { StatusLevel::Fail } else { level };
        self.remember(attempt, again, word, colour, &title);
        if !self.look.shows(level) {
            return Ok(());
        }
        self.line(word, colour, &title)?;
        if level == StatusLevel::Fail {
            return self.left(attempt, echoed);
        }
        if self.look.verbosity >= 2 && !echoed { self.left(attempt, false) } else { Ok(()) }
    }

    pub(super) fn tried(&mut self, attempt: &Attempt) -> io::Result<()> {
        self.kept.remove_all(attempt); // only a task's last attempt is passed on
        if !self.look.shows(StatusLevel::Retry) {
            return Ok(());
        }
        let (word, _) = status_word(attempt.outcome);
        let title = format!(
            "{} {} (attempt {}: {word})",
            took(attempt.us),
            self.title(&attempt.group, &attempt.id),
            attempt.number
        );
        self.line("RETRY", Colour::Yellow, &title)?;
        self.left(attempt, false)
    }

    /// What an attempt left behind, without what has been shown of it.
    fn left(&mut self, attempt: &Attempt, echoed: bool) -> io::Result<()> {
        let live = self.look.live;
        self.say(&output(attempt, |title| !(echoed || live && UNCAPTURED.contains(&title))))
    }

    fn collection_failed(&mut self, attempt: &Attempt) -> io::Result<()> {
        let group = attempt.group.strip_suffix("@collect").unwrap_or(&attempt.group).to_owned();
        let title = format!("{} collecting {group}: {}", took(attempt.us), name(&attempt.why()));
        self.line("ERROR", Colour::Red, &title)?;
        // the framework's own words, as they are
        let long = Some(attempt.detail.text.as_str()).filter(|text| text.trim() != attempt.detail.message.trim());
        let text = long.into_iter().chain(attempt.detail.sections.iter().map(|s| s.1.as_str()));
        let text: String = text.filter(|t| !t.trim().is_empty()).map(|t| format!("{}\n", t.trim_end())).collect();
        self.say(&text)
    }

    fn remember(&mut self, attempt: &Attempt, level: StatusLevel, word: &str, colour: Colour, title: &str) {
        let (spec, style) = (&self.spec, self.style);
        self.finale.keep(level, || {
            let mut text = format!("{} {title}\n", style.status(word, colour));
            let pad = " ".repeat(13);
            if level != StatusLevel::Fail || attempt.was_ended() {
                return text;
            }
            let why = attempt.why();
            if !why.is_empty() {
                text.push_str(&format!("{pad}{}\n", name(&why)));
            }
            if let Some(line) = rerun::line(spec, attempt.task.0, attempt.task.1, &attempt.id) {
                text.push_str(&format!("{pad}{}\n", style.paint(Colour::Dim, &name(&line))));
            }
            text
        });
    }
}

/// How long an attempt took, if anybody knows: what was cancelled has often not been timed.
fn time_of(attempt: &Attempt) -> String {
    let time = took(attempt.us);
    if (attempt.outcome, attempt.us) == (Outcome::Cancelled, 0) { " ".repeat(time.len()) } else { time }
}
