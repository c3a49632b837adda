//! Whole outputs of commands, where the group wants them and the worker is an embedded one: which attempt's output goes
//! into files, and what its detail then says.
//!
//! `commands` asks when it hands an attempt on and when that has ended; the keeper writes what is more than it holds
//! (`warden::whole`), this module what text in Redis cannot carry. The submitter takes the files away; what it will
//! never hear of is removed here. Nothing here may end an attempt: without a file there is the cut output, and a reason.

use std::path::{Path, PathBuf};

use remuda_protocol::outcome::{Detail, Outcome};
use remuda_protocol::spec::{GroupSpec, JobSpec};
use remuda_store::TaskResult;

use super::slots::Assignment;
use crate::adapter::command;
use crate::warden::{Exited, Stream, whole};

/// Output that is no longer than this weighs hardly more than the names of its files.
const SMALL: u64 = 256;
/// What a detail has besides output: exit code, names of files, a line that says why.
const DETAIL: u64 = 128;

/// The folder, and how much of the job's room for details is used.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    folder: Option<PathBuf>,
    /// Bytes of output in details so far. An embedded worker has one job.
    told: u64,
}

impl Outputs {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, told: 0 }
    }

    /// What the files of an attempt have in common, if its output is wanted whole.
    pub(super) fn stem(&self, group: &GroupSpec, attempt: &Assignment) -> Option<PathBuf> {
        self.folder.as_deref().filter(|_| group.whole_output).map(|folder| stem(folder, attempt.fence, attempt.task))
    }

    /// The detail of an attempt that ended, with its output where that can be had whole.
    pub(super) fn place(
        &mut self,
        spec: &JobSpec,
        attempt: &Assignment,
        exited: &Exited,
        outcome: Option<Outcome>,
        mut detail: Detail,
    ) -> Detail {
        let group = &spec.groups[attempt.group as usize];
        let Some(stem) = self.stem(group, attempt) else { return with_raw(detail, exited) };
        let heavy = self.is_heavy(weight(&detail), spec.detail_budget, outcome);
        match kept(&stem, exited, heavy) {
            Ok(streams) if streams.is_empty() => {}
            Ok(streams) => {
                detail.dropped_bytes = 0;
                detail.files = streams.into_iter().map(|stream| named(&stem, stream)).collect();
                if heavy {
                    detail.sections.iter_mut().for_each(|(_, text)| *text = left_out(text.len()));
                    detail.sections.retain(|_| self.told < spec.detail_budget / 8 * 7);
                }
            }
            Err(error) => detail.cut = error,
        }
        self.told += weight(&detail) + DETAIL;
        detail
    }

    /// Whether so much output should rather not be in a detail. Failures may use more of the budget, what is short all
    /// but the last of it: a detail that does not fit is dropped, and then the names of its files say whose they are.
    fn is_heavy(&self, weight: u64, budget: u64, outcome: Option<Outcome>) -> bool {
        let eighths = match weight {
            0 => return false,
            1..=SMALL => 7,
            _ if outcome.is_some_and(Outcome::is_failure) => 6,
            _ => 4,
        };
        self.told + weight > budget / 8 * eighths
    }

    /// Removes the files of an attempt of which nobody will hear.
    pub(super) fn forget(&self, attempt: &Assignment) {
        if let Some(folder) = &self.folder {
            whole::remove(&stem(folder, attempt.fence, attempt.task));
        }
    }

    /// The same, of a result that was refused.
    pub(super) fn forget_result(&self, result: &TaskResult) {
        if let Some(folder) = &self.folder {
            whole::remove(&stem(folder, result.fence, result.task));
        }
    }
}

/// What no file has and is no text goes along as it is, if it is all there.
fn with_raw(mut detail: Detail, exited: &Exited) -> Detail {
    let (out, err) = command::streams(exited);
    for (title, bytes) in [("stdout", out), ("stderr", err)] {
        if exited.dropped_bytes == 0 && std::str::from_utf8(&bytes).is_err() {
            detail.keep_raw(title, &bytes);
        }
    }
    detail
}

fn stem(folder: &Path, fence: u64, task: u32) -> PathBuf {
    folder.join(format!("{fence}-{task}"))
}

/// The streams that are in files; those of a short output are written only if a text could not say the same, or is not
/// wanted.
fn kept(stem: &Path, exited: &Exited, heavy: bool) -> Result<Vec<Stream>, String> {
    if let Some(error) = &exited.whole.error {
        // what the capture holds may be all of it, and text
        return if exited.dropped_bytes == 0 && is_text(exited) { Ok(Vec::new()) } else { Err(error.clone()) };
    }
    if !exited.whole.streams.is_empty() || (!heavy && is_text(exited)) {
        return Ok(exited.whole.streams.clone());
    }
    let (out, err) = command::streams(exited);
    let mut streams = Vec::new();
    for (stream, bytes) in [(Stream::Out, out), (Stream::Err, err)] {
        if !bytes.is_empty() {
            whole::write(stem, stream, &bytes).inspect_err(|_| whole::remove(stem))?;
            streams.push(stream);
        }
    }
    Ok(streams)
}

fn is_text(exited: &Exited) -> bool {
    let (out, err) = command::streams(exited);
    std::str::from_utf8(&out).is_ok() && std::str::from_utf8(&err).is_ok()
}

fn named(stem: &Path, stream: Stream) -> (String, String) {
    let title = if stream == Stream::Err { "stderr" } else { "stdout" };
    let file = whole::path(stem, stream);
    (title.to_owned(), file.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// Bytes of a detail's output in JSON, or more.
fn weight(detail: &Detail) -> u64 {
    let bytes = detail.sections.iter().flat_map(|(_, text)| text.bytes());
    bytes.map(|byte| if byte < b' ' { 6 } else { 1 + u64::from(matches!(byte, b'"' | b'\\')) }).sum()
}

fn left_out(bytes: usize) -> String {
    format!("[... {bytes} bytes left out: the job's budget for output is used up ...]\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warden::{Piece, Reason, Whole};

    fn outputs(told: u64) -> Outputs {
        Outputs { folder: None, told }
    }

    #[test]
    fn room_is_kept_for_failures_and_for_what_is_short() {
        let (passed, failed) = (Some(Outcome::Passed), Some(Outcome::Failed));
        assert!(!outputs(0).is_heavy(4000, 8000, passed) && outputs(0).is_heavy(4001, 8000, passed));
        assert!(!outputs(2000).is_heavy(4000, 8000, failed) && outputs(2001).is_heavy(4000, 8000, failed));
        assert!(!outputs(6900).is_heavy(100, 8000, passed) && outputs(6901).is_heavy(100, 8000, passed));
        assert!(!outputs(9000).is_heavy(0, 8000, passed), "nothing was printed");
    }

    #[test]
    fn a_weight_is_never_less_than_the_json() {
        let text = "a \"quoted\" \\ \u{1b}[0m\n\0 ä\u{7f}".to_owned();
        let json = serde_json::to_string(&text).unwrap().len() as u64;
        let detail = Detail { sections: vec![("stdout".into(), text)], ..Detail::default() };
        assert!((json - 2..json + 8).contains(&weight(&detail)), "{} of {json}", weight(&detail));
    }

    fn spec(whole: bool, budget: u64) -> JobSpec {
        let group = serde_json::json!({"name": "g", "kind": "tests", "needs": [], "collects": null, "adapter": "command",
            "template": {"argv": ["x"]}, "lanes": [], "retries": 0, "max_losses": 1, "timeout_ms": null, "grace_ms": 1,
            "slow_ms": 1, "env": {}, "whole_output": whole});
        serde_json::from_value(
            serde_json::json!({"protocol": 1, "id": "j", "name": "n", "submitter": "s", "project": "p",
            "priority": 0, "weight": 1, "max_slots": 0, "deadline_ms": null, "max_failures": 0, "detach": false,
            "retention_ms": 1, "detail_budget": budget, "tree": {"path": "/", "host": "h", "mark": ""}, "env": {},
            "pools": {}, "groups": [group]}),
        )
        .unwrap()
    }

    fn attempt() -> Assignment {
        let (job, id) = (String::new(), String::new());
        let (fence, group, task, attempt, place, locks) = (7, 0, 3, 1, 0, Vec::new());
        Assignment {
            fence,
            job,
            group,
            task,
            id,
            attempt,
            place,
            locks,
            sent: None,
            started: None,
            abort: None,
            kill_at: None,
            misfit: false,
        }
    }

    fn exited(out: &[u8], err: &[u8], whole: Whole, dropped_bytes: u64) -> Exited {
        let piece = |stream, bytes: &[u8]| Piece { stream, ms: 0, len: bytes.len() as u64 };
        Exited {
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
            dropped_bytes,
            whole,
            pieces: vec![piece(Stream::Out, out), piece(Stream::Err, err)],
            output: [out, err].concat(),
        }
    }

    /// The detail, and what lies in the folder.
    fn placed(spec: &JobSpec, exited: &Exited) -> (Detail, Vec<(String, Vec<u8>)>) {
        let dir = tempfile::tempdir().unwrap();
        let mut outputs = Outputs::new(Some(dir.path().to_owned()));
        let (outcome, detail) = command::judge(exited);
        let detail = outputs.place(spec, &attempt(), exited, outcome, detail);
        let files = detail.files.iter().map(|(_, name)| name.clone());
        let read = |name: String| (name.clone(), std::fs::read(dir.path().join(name)).unwrap_or_default());
        let files: Vec<_> = files.map(read).collect();
        outputs.forget(&attempt());
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "an attempt of which nobody hears leaves nothing"
        );
        (detail, files)
    }

    #[test]
    fn short_text_needs_no_file_and_what_is_none_does() {
        let (text, none) = (exited(b"a", b"b", Whole::default(), 0), exited(b"a\xff", b"b", Whole::default(), 0));
        assert_eq!(placed(&spec(true, 1 << 20), &text).0, command::judge(&text).1);
        let raw = vec![("stdout".to_owned(), "a\u{ff}".to_owned())];
        assert_eq!(placed(&spec(false, 1 << 20), &none).0, Detail { raw, ..command::judge(&none).1 });
        let (detail, files) = placed(&spec(true, 1 << 20), &none);
        assert_eq!(detail.sections[0].1, "a\u{fffd}");
        assert_eq!(files, [("7-3.out".to_owned(), b"a\xff".to_vec()), ("7-3.err".to_owned(), b"b".to_vec())]);
    }

    #[test]
    fn what_the_keeper_wrote_is_named_and_nothing_is_missed() {
        let long = exited(b"a", b"", Whole { streams: vec![Stream::Out], error: None }, 9);
        let (detail, _) = placed(&spec(true, 1 << 20), &long);
        assert_eq!((detail.dropped_bytes, detail.files), (0, vec![("stdout".to_owned(), "7-3.out".to_owned())]));
    }

    #[test]
    fn what_could_not_be_written_is_cut_with_a_reason_unless_it_is_all_there() {
        let failed = || Whole { streams: Vec::new(), error: Some("no room".to_owned()) };
        let (cut, _) = placed(&spec(true, 1 << 20), &exited(b"a", b"", failed(), 9));
        assert_eq!((cut.dropped_bytes, cut.cut.as_str(), cut.files.len()), (9, "no room", 0));
        assert_eq!(placed(&spec(true, 1 << 20), &exited(b"a", b"", failed(), 0)).0.cut, "");
    }

    #[test]
    fn text_for_which_there_is_no_room_lies_in_a_file() {
        let text = exited(&[b'x'; 1000], b"", Whole::default(), 0);
        let (detail, files) = placed(&spec(true, 1000), &text);
        assert!(detail.sections[0].1.starts_with("[... 1000 bytes left out"));
        assert_eq!(files, [("7-3.out".to_owned(), vec![b'x'; 1000])]);
    }
}
