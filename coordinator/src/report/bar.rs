//! The bar below the lines on a terminal: how far the run is and what runs. Only text; `console` writes it.

use super::Progress;
use super::console::counter_text;
use super::text::{Colour, Style, length, name};

/// Cells of the bar.
const CELLS: u32 = 24;
/// Units shown.
const UNITS: usize = 8;

/// What stands below the lines now.
#[derive(Debug, Default)]
pub struct Bar {
    lines: usize,
}

impl Bar {
    /// The text that takes the bar away.
    pub fn erase(&mut self) -> String {
        let up = if self.lines > 0 { format!("\x1b[{}A\r\x1b[J", self.lines) } else { String::new() };
        self.lines = 0;
        up
    }

    /// The text that puts the bar in place of the one before.
    pub fn draw(&mut self, now: &Progress, style: Style) -> String {
        let mut text = self.erase();
        let lines = render(now, style);
        self.lines = lines.len();
        // lines that are too long are cut by the terminal, so that the way up stays known
        text.push_str("\x1b[?7l");
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        text.push_str("\x1b[?7h");
        text
    }
}

fn render(now: &Progress, style: Style) -> Vec<String> {
    let filled = if now.total == 0 { 0 } else { u64::from(CELLS) * u64::from(now.done) / u64::from(now.total) };
    let filled = usize::try_from(filled).unwrap_or(0).min(CELLS as usize);
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(CELLS as usize - filled));
    let colour = if now.failed > 0 { Colour::Red } else { Colour::Green };
    let head = format!(
        "{} [ {} ] {} {}",
        style.status(now.phase, Colour::Cyan),
        length(now.elapsed),
        style.paint(colour, &bar),
        counter_text(now)
    );
    let mut lines = vec![head];
    for (id, age, place) in now.running.iter().take(UNITS) {
        let unit = format!("{:>12} [{:>8}] {} {}", "", length(*age), name(id), style.paint(Colour::Dim, place));
        lines.push(unit);
    }
    if now.running.len() > UNITS {
        lines.push(format!("{:>12} … and {} more", "", now.running.len() - UNITS));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn progress(done: u32, running: usize) -> Progress {
        let unit = |i: usize| (format!("t.py::test_{i}"), Duration::from_secs(2), "lab1/0".to_owned());
        Progress {
            elapsed: Duration::from_secs(12),
            phase: "Running",
            done,
            total: 48,
            complete: true,
            failed: 1,
            running: (0..running).map(unit).collect(),
            ..Progress::default()
        }
    }

    #[test]
    fn the_bar_shows_counts_and_at_most_eight_units() {
        let lines = render(&progress(24, 10), Style { colour: false });
        assert_eq!(lines[0], "     Running [ 12.0s ] ████████████░░░░░░░░░░░░ 24/48 done, 1 failed, 10 running");
        assert_eq!(lines[1], "             [    2.0s] t.py::test_0 lab1/0");
        assert_eq!((lines.len(), lines[9].trim()), (10, "… and 2 more"));
    }

    #[test]
    fn a_new_bar_takes_the_old_one_away() {
        let mut bar = Bar::default();
        assert!(bar.draw(&progress(1, 2), Style { colour: false }).starts_with("\x1b[?7l"));
        assert!(bar.draw(&progress(2, 0), Style { colour: false }).starts_with("\x1b[3A\r\x1b[J"));
        assert_eq!(bar.erase(), "\x1b[1A\r\x1b[J");
        assert_eq!(bar.erase(), "");
    }
}
