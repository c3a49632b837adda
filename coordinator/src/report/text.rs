//! Small pieces of text that every report for people uses: status words, times, names without surprises, colours.

use std::time::Duration;

use remuda_protocol::item::{COLUMN, Item, NUMBER};
use remuda_protocol::outcome::{Outcome, XFAILED, XPASSED};

use super::Attempt;

/// Most characters of a name that are shown.
const SHOWN: usize = 400;

/// Whether to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Use them.
    pub colour: bool,
}

/// A colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Good.
    Green,
    /// Bad.
    Red,
    /// Doubtful.
    Yellow,
    /// Names.
    Cyan,
    /// Less important.
    Dim,
    /// Important.
    Bold,
}

impl Style {
    /// The text in a colour.
    #[must_use]
    pub fn paint(self, colour: Colour, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Green => "32;1",
            Colour::Red => "31;1",
            Colour::Yellow => "33;1",
            Colour::Cyan => "36",
            Colour::Dim => "2",
            Colour::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A status right-aligned in 12 columns.
    #[must_use]
    pub fn status(self, word: &str, colour: Colour) -> String {
        let pad = 12usize.saturating_sub(word.chars().count());
        format!("{}{}", " ".repeat(pad), self.paint(colour, word))
    }
}

/// Status word and colour of an attempt: the framework's own word where ours is coarser.
#[must_use]
pub fn word_of(attempt: &Attempt) -> (&'static str, Colour) {
    match attempt.detail.word.as_str() {
        XFAILED => ("XFAIL", Colour::Yellow),
        XPASSED => ("XPASS", Colour::Yellow),
        _ => status_word(attempt.outcome),
    }
}

/// Status word and colour of an outcome.
#[must_use]
pub fn status_word(outcome: Outcome) -> (&'static str, Colour) {
    match outcome {
        Outcome::Passed => ("PASS", Colour::Green),
        Outcome::Failed => ("FAIL", Colour::Red),
        Outcome::Errored => ("ERROR", Colour::Red),
        Outcome::TimedOut => ("TIMEOUT", Colour::Red),
        Outcome::Lost => ("LOST", Colour::Red),
        Outcome::Skipped => ("SKIP", Colour::Yellow),
        Outcome::Cancelled => ("CANCELLED", Colour::Yellow),
    }
}

/// `[   0.012s]`.
#[must_use]
pub fn took(us: u64) -> String {
    let ms = (us + 500) / 1000;
    format!("[{:>8}s]", format!("{}.{:03}", ms / 1000, ms % 1000))
}

/// `12.3s`, `4m05s`, `2h10m`.
#[must_use]
pub fn length(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    let seconds = tenths / 10;
    match seconds {
        0..60 => format!("{seconds}.{}s", tenths % 10),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A name on one line, without control characters, of a length that can be read; of a row its columns.
#[must_use]
pub fn name(id: &str) -> String {
    if id.is_empty() {
        return "''".to_owned();
    }
    let row = if id.contains([COLUMN, NUMBER]) { Item::new(id, 0).shown() } else { String::new() };
    let id = if row.is_empty() { id } else { &row };
    let mut text = String::new();
    for (i, c) in id.chars().enumerate() {
        if i == SHOWN {
            text.push_str(&format!("… ({} bytes)", id.len()));
            break;
        }
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}

/// The text with our own signs replaced by ASCII, for a terminal that cannot show them; names stay as they are.
#[must_use]
pub fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '█' => out.push('#'),
            '░' => out.push('.'),
            '─' => out.push('-'),
            '…' => out.push_str("..."),
            c => out.push(c),
        }
    }
    out
}

/// The end of a text, in so many columns.
#[must_use]
pub fn last_columns(text: &str, columns: usize) -> String {
    let len = text.chars().count();
    if len <= columns {
        return text.to_owned();
    }
    "…".chars().chain(text.chars().skip(len + 1 - columns.max(1))).collect()
}

/// The beginning of a text, in so many columns.
#[must_use]
pub fn first_columns(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

/// `1 test`, `2 tests`.
#[must_use]
pub fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Every line indented by four; nothing for an empty text.
#[must_use]
pub fn indent(text: &str) -> String {
    let mut out = String::new();
    for line in text.trim_end_matches('\n').lines() {
        out.push_str(if line.is_empty() { "" } else { "    " });
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_aligned_and_rounded() {
        assert_eq!(took(12_345), "[   0.012s]");
        assert_eq!(took(61_999_900), "[  62.000s]");
        let shown: Vec<String> =
            [0, 12_340, 59_960, 245_000, 7_800_000].map(|ms| length(Duration::from_millis(ms))).into();
        assert_eq!(shown, ["0.0s", "12.3s", "1m00s", "4m05s", "2h10m"]);
    }

    #[test]
    fn a_name_cannot_move_the_cursor_or_fill_the_screen() {
        assert_eq!(name("a\x1b[2J\nb"), "a\\u{1b}[2J\\nb");
        assert!(name(&"ä".repeat(50_000)).ends_with("… (100000 bytes)"));
        assert_eq!(name(""), "''");
        assert_eq!(name("7\u{1e}a\u{1f}b\n\u{1f}"), "a b\\n");
    }

    #[test]
    fn texts_are_cut_to_columns_at_either_end() {
        assert_eq!((last_columns("abcdef", 4), first_columns("abcdef", 4)), ("…def".into(), "abc…".into()));
        assert_eq!((last_columns("abc", 3), first_columns("äöü", 3)), ("abc".into(), "äöü".into()));
        assert_eq!(ascii("█░ ─…ä"), "#. -...ä");
    }

    #[test]
    fn colours_do_not_change_the_width() {
        assert_eq!(Style { colour: false }.status("PASS", Colour::Green), "        PASS");
        assert_eq!(Style { colour: true }.status("PASS", Colour::Green), "        \x1b[32;1mPASS\x1b[0m");
    }
}
