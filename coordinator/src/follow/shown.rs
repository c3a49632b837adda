//! What of a test's output has been shown while it ran. Live output may be late, or get lost; the whole of it comes
//! with the result, and what nobody has seen by then is told just before the result is.
//!
//! `Shown` is for output past a framework's capture only; what was captured stands under the result. Pure.

use std::collections::HashMap;

use remuda_protocol::outcome::{Detail, UNCAPTURED};

use crate::report::Attempt;

/// Sections whose text is shown as it comes.
const LIVE: [&str; 4] = ["stdout", "stderr", UNCAPTURED[0], UNCAPTURED[1]];

/// Bytes shown, by fence, task and whether of stderr.
#[derive(Debug, Default)]
pub struct Shown(HashMap<(u64, u32, bool), usize>);

impl Shown {
    /// A piece is shown.
    pub fn note(&mut self, fence: u64, task: u32, error: bool, bytes: usize) {
        *self.0.entry((fence, task, error)).or_default() += bytes;
    }

    /// The attempt has ended: what has not been shown of its output, and whether it is of stderr.
    pub fn rest(&mut self, attempt: &Attempt) -> Vec<(bool, String)> {
        let mut rest = Vec::new();
        for (title, error) in UNCAPTURED.into_iter().zip([false, true]) {
            let seen = self.0.remove(&(attempt.fence, attempt.task.1, error)).unwrap_or(0);
            for (_, text) in attempt.detail.sections.iter().filter(|(t, _)| t == title) {
                // of a text without its middle it is not known where what was shown ends
                let unseen = if attempt.detail.dropped_bytes > 0 && seen > 0 { "" } else { after(text, seen) };
                if !unseen.is_empty() {
                    rest.push((error, unseen.to_owned()));
                }
            }
        }
        rest
    }
}

/// Of what an attempt left, what is still to be told to somebody who was shown `seen` bytes of its output as it came.
#[must_use]
pub fn left(detail: &Detail, seen: u64) -> String {
    let (live, rest): (Vec<_>, Vec<_>) = detail.sections.iter().partition(|(title, _)| LIVE.contains(&title.as_str()));
    let printed: usize = live.iter().map(|(_, text)| bytes(text)).sum();
    let missed = (printed as u64 + detail.dropped_bytes).saturating_sub(seen);
    let mut text = detail.text.clone();
    match live.as_slice() {
        // of a text without its middle it is not known where what was shown ends
        _ if missed == 0 || detail.dropped_bytes > 0 => {}
        [(_, only)] => text.push_str(after(only, printed - usize::try_from(missed).unwrap_or(printed))),
        // how much was shown of each stream is not known: better twice than never
        both => both.iter().for_each(|(title, body)| text.push_str(&format!("-- {title} --\n{body}"))),
    }
    rest.iter().for_each(|(title, body)| text.push_str(&format!("-- {title} --\n{body}")));
    text
}

fn bytes(text: &str) -> usize {
    text.chars().map(length).sum()
}

/// What was no UTF-8 was one byte.
fn length(c: char) -> usize {
    if c == char::REPLACEMENT_CHARACTER { 1 } else { c.len_utf8() }
}

/// The text without its first `bytes`.
fn after(text: &str, bytes: usize) -> &str {
    let mut left = bytes;
    for (at, c) in text.char_indices() {
        if left == 0 {
            return &text[at..];
        }
        left = left.saturating_sub(length(c));
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::attempt;
    use remuda_protocol::outcome::Outcome;

    #[test]
    fn a_follower_is_told_at_the_end_what_was_not_shown() {
        let of = |sections: &[(&str, &str)], dropped_bytes| Detail {
            text: "E\n".into(),
            sections: sections.iter().map(|(t, s)| ((*t).into(), (*s).into())).collect(),
            dropped_bytes,
            ..Detail::default()
        };
        assert_eq!(left(&of(&[("stdout", "one\ntwo\n")], 0), 8), "E\n");
        assert_eq!(left(&of(&[("stdout", "one\n\u{fffd}two\n")], 0), 5), "E\ntwo\n");
        assert_eq!(left(&of(&[("stdout", "a\n"), ("stderr", "b\n")], 0), 4), "E\n");
        assert_eq!(left(&of(&[("stdout", "a\n"), ("stderr", "b\n")], 0), 2), "E\n-- stdout --\na\n-- stderr --\nb\n");
        assert_eq!(left(&of(&[("stdout", "a\n")], 9), 5), "E\n");
        assert_eq!(left(&of(&[("Captured stdout call", "c\n")], 0), 5), "E\n-- Captured stdout call --\nc\n");
    }

    #[test]
    fn what_was_shown_is_not_told_again_and_what_got_lost_is() {
        let mut ended = attempt("t", Outcome::Passed);
        (ended.fence, ended.task) = (7, (0, 3));
        ended.detail.sections =
            vec![(UNCAPTURED[0].into(), "one\ntwö\n".into()), (UNCAPTURED[1].into(), "\u{fffd}x\n".into())];
        let mut shown = Shown::default();
        assert_eq!(shown.rest(&ended), [(false, "one\ntwö\n".to_owned()), (true, "\u{fffd}x\n".to_owned())]);
        shown.note(7, 3, false, 4);
        shown.note(7, 3, true, 3);
        shown.note(8, 3, true, 1);
        assert_eq!(shown.rest(&ended), [(false, "twö\n".to_owned())]);
        shown.note(7, 3, false, 3);
        ended.detail.dropped_bytes = 1;
        assert_eq!(shown.rest(&ended), [(true, "\u{fffd}x\n".to_owned())]);
    }
}
