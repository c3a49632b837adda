//! The bar below the lines on a terminal: how far the run is and what runs. Only text; `console` writes it.

use super::Progress;
use super::console::counter_text;
use super::text::{Colour, Style, first_columns, last_columns, length, name};

/// Cells of the bar.
const CELLS: usize = 24;
/// A terminal with fewer columns gets no room to the left.
const NARROW: usize = 60;
/// Fewest cells of a bar, and fewest columns of a name, that are worth showing.
const SHORTEST: usize = 8;
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

    /// The text that puts the bar in place of the one before, in so many columns.
    pub fn draw(&mut self, now: &Progress, style: Style, columns: Option<usize>) -> String {
        let mut text = self.erase();
        let lines = render(now, style, columns);
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

fn render(now: &Progress, style: Style, columns: Option<usize>) -> Vec<String> {
    let columns = columns.unwrap_or(usize::MAX);
    let pad = if columns < NARROW { 0 } else { 12 };
    let mut lines = vec![head(now, style, columns, pad)];
    let indent = pad + 1;
    for (id, age, place) in now.running.iter().take(UNITS) {
        let time = format!("[{:>8}]", length(*age));
        let room = columns.saturating_sub(indent + time.len() + 2);
        // where both do not fit, the name is worth more
        let place = if room < place.chars().count() + SHORTEST { "" } else { place.as_str() };
        let id = last_columns(&name(id), room.saturating_sub(place.chars().count()));
        lines.push(format!("{:indent$}{time} {id} {}", "", style.paint(Colour::Dim, place)));
    }
    if now.running.len() > UNITS {
        lines.push(format!("{:indent$}… and {} more", "", now.running.len() - UNITS));
    }
    lines
}

fn head(now: &Progress, style: Style, columns: usize, pad: usize) -> String {
    let (time, counts) = (format!("[ {} ]", length(now.elapsed)), counter_text(now));
    let used = now.phase.len().max(pad) + time.chars().count() + 3;
    let cells = columns.saturating_sub(used + counts.chars().count()).min(CELLS);
    let cells = if cells < SHORTEST { 0 } else { cells };
    let filled = if now.total == 0 { 0 } else { cells * now.done.min(now.total) as usize / now.total as usize };
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(cells - filled));
    let colour = if now.failed > 0 { Colour::Red } else { Colour::Green };
    let bar = if cells == 0 { String::new() } else { format!("{} ", style.paint(colour, &bar)) };
    let phase = format!("{}{}", " ".repeat(pad.saturating_sub(now.phase.len())), style.paint(Colour::Cyan, now.phase));
    let room = if cells == 0 { columns.saturating_sub(used - 1) } else { usize::MAX };
    format!("{phase} {time} {bar}{}", first_columns(&counts, room))
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
        let lines = render(&progress(24, 10), Style { colour: false }, None);
        assert_eq!(lines[0], "     Running [ 12.0s ] ████████████░░░░░░░░░░░░ 24/48 done, 1 failed, 10 running");
        assert_eq!(lines[1], "             [    2.0s] t.py::test_0 lab1/0");
        assert_eq!((lines.len(), lines[9].trim()), (10, "… and 2 more"));
    }

    #[test]
    fn every_line_fits_into_forty_columns() {
        let mut now = progress(24, 10);
        now.running[0].0 = "tests/a/very/long/path/test_module.py::TestClass::test_the_end".into();
        now.running[1].2 = "a-host-with-a-long-name.example/12".into();
        for columns in [40, 59, 60, 80] {
            for line in render(&now, Style { colour: false }, Some(columns)) {
                assert!(line.trim_end().chars().count() <= columns, "{columns}: {line}");
            }
        }
        let lines = render(&now, Style { colour: false }, Some(40));
        assert!(lines[0].starts_with("Running [ 12.0s ] 24/48 done"), "{}", lines[0]);
        assert!(lines[1].ends_with("test_the_end lab1/0"), "{}", lines[1]);
        assert!(render(&now, Style { colour: false }, Some(80))[0].contains("████"));
    }

    #[test]
    fn a_new_bar_takes_the_old_one_away() {
        let mut bar = Bar::default();
        assert!(bar.draw(&progress(1, 2), Style { colour: false }, None).starts_with("\x1b[?7l"));
        assert!(bar.draw(&progress(2, 0), Style { colour: false }, None).starts_with("\x1b[3A\r\x1b[J"));
        assert_eq!(bar.erase(), "\x1b[1A\r\x1b[J");
        assert_eq!(bar.erase(), "");
    }
}
