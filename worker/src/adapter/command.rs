//! The `command` adapter: one process for each item; its exit code is the verdict.

use remuda_protocol::item::{self, Item};
use remuda_protocol::outcome::{Detail, Outcome};
use remuda_protocol::spec::Template;

use crate::warden::{Exited, Reason, Stream};

/// Most text of one stream in a detail, bytes; beyond it the middle is cut.
const STREAM_BYTES: usize = 128 * 1024;

/// The command line of one task: its id, its number and its slot's number in the job.
#[must_use]
pub fn argv(template: &Template, id: &str, index: u32, slot: u32) -> Vec<String> {
    item::argv(template, &Item::new(id, index), slot)
}

/// The verdict on a command that ended; `None`: it was given back, not judged.
#[must_use]
pub fn judge(exited: &Exited) -> (Option<Outcome>, Detail) {
    let mut detail =
        Detail { exit: exited.code, signal: exited.signal, dropped_bytes: exited.dropped_bytes, ..output(exited) };
    let outcome = match exited.reason {
        Reason::Exit => match (exited.code, exited.signal) {
            (Some(0), _) => Outcome::Passed,
            (Some(code), _) => {
                detail.message = format!("exit code {code}");
                Outcome::Failed
            }
            (None, signal) => {
                detail.message = format!("killed by {}", signal_name(signal.unwrap_or(0)));
                Outcome::Failed
            }
        },
        Reason::Timeout => {
            detail.message = format!("killed at its timeout after {:.1} s", Seconds(exited.wall_us));
            Outcome::TimedOut
        }
        Reason::Spawn => {
            detail.message = exited.error.clone().unwrap_or_else(|| "the command could not be started".to_owned());
            Outcome::Errored
        }
        Reason::Killed | Reason::Lease => return (None, detail),
    };
    if exited.strays > 0 && outcome != Outcome::Passed {
        detail.reason = format!("{} processes that it left behind were killed", exited.strays);
    }
    (Some(outcome), detail)
}

struct Seconds(u64);

impl std::fmt::Display for Seconds {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (self.0 as f64 / 1e6).fmt(f)
    }
}

/// A signal's name.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned())
}

fn output(exited: &Exited) -> Detail {
    let (out, err) = parts(exited, true);
    let mut sections = Vec::new();
    for (name, bytes) in [("stdout", out), ("stderr", err)] {
        if !bytes.is_empty() {
            // what was kept is short already, and says itself what was not
            sections.push((name.to_owned(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Detail { sections, ..Detail::default() }
}

/// What was captured of standard output and of standard error, byte for byte.
#[must_use]
pub fn streams(exited: &Exited) -> (Vec<u8>, Vec<u8>) {
    parts(exited, false)
}

fn parts(exited: &Exited, noted: bool) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err, mut at) = (Vec::new(), Vec::new(), 0_usize);
    for piece in &exited.pieces {
        let len = usize::try_from(piece.len).unwrap_or(usize::MAX);
        if piece.stream == Stream::Dropped {
            let note = if noted { format!("\n[... {len} bytes dropped ...]\n") } else { String::new() };
            (if err.is_empty() { &mut out } else { &mut err }).extend_from_slice(note.as_bytes());
            continue;
        }
        let end = at.saturating_add(len).min(exited.output.len());
        let bytes = &exited.output[at..end];
        (if piece.stream == Stream::Out { &mut out } else { &mut err }).extend_from_slice(bytes);
        at = end;
    }
    (out, err)
}

/// Text of at most 128 KiB, the middle cut out; bytes that are not UTF-8 are shown as such.
#[must_use]
pub fn clipped(bytes: &[u8]) -> String {
    if bytes.len() <= STREAM_BYTES {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let half = STREAM_BYTES / 2;
    let (head, tail) = (&bytes[..half], &bytes[bytes.len() - half..]);
    let cut = bytes.len() - STREAM_BYTES;
    format!("{}\n[... {cut} bytes cut ...]\n{}", String::from_utf8_lossy(head), String::from_utf8_lossy(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_one_word_of_argv() {
        let template = Template::Argv(vec!["echo".into(), "{}".into(), "{/}".into(), "n={#}".into()]);
        assert_eq!(argv(&template, "a b/c;d.txt", 4, 0), ["echo", "a b/c;d.txt", "c;d.txt", "n=5"]);
    }

    #[test]
    fn an_item_is_quoted_in_a_shell_line() {
        let template = Template::Shell("cat {} | wc -l > {.}.n".into());
        assert_eq!(argv(&template, "it's.txt", 0, 0)[2], r"cat 'it'\''s.txt' | wc -l > 'it'\''s'.n");
    }

    #[test]
    fn what_was_dropped_is_told_once_and_right() {
        let piece = |stream, len| crate::warden::Piece { stream, ms: 0, len };
        let exited = Exited {
            id: 1,
            code: Some(0),
            signal: None,
            reason: Reason::Exit,
            error: None,
            wall_us: 0,
            user_us: 0,
            system_us: 0,
            max_rss_kib: 0,
            strays: 0,
            dropped_bytes: 5_000,
            whole: crate::warden::Whole::default(),
            pieces: vec![piece(Stream::Out, 65_536), piece(Stream::Dropped, 5_000), piece(Stream::Out, 65_536)],
            output: vec![b'x'; 131_072],
        };
        let text = &judge(&exited).1.sections[0].1;
        assert_eq!((text.matches("[... 5000 bytes dropped ...]").count(), text.matches("cut").count()), (1, 0));
    }

    #[test]
    fn braces_of_the_shell_stay() {
        let template = Template::Shell("f() { echo {} ${X}; }".into());
        assert_eq!(argv(&template, "x", 0, 0)[2], "f() { echo x ${X}; }");
    }
}
