//! The cases of a report as text, until all of them are known: a million tests must not be held in memory. In memory
//! while they are few, in a file without a name when they are many. `junit` says what they are.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use chrono::{DateTime, FixedOffset};
use quick_junit::{Report, TestCase, TestSuite};
use tempfile::SpooledTempFile;

use super::legal;
use crate::follow::view::TaskKey;

/// Bytes held in memory before a file is made.
const HELD: usize = 4 << 20;

/// Where a case stands, and what it counts as.
#[derive(Clone, Copy, Debug)]
struct Piece {
    at: u64,
    len: u32,
    counts: Counts,
}

/// What a case counts as, besides as a test.
#[derive(Clone, Copy, Debug)]
struct Counts {
    skipped: bool,
    errors: bool,
    failures: bool,
}

/// The cases of one group, by number of the task; the last word on each.
#[derive(Debug)]
struct Group {
    name: Arc<str>,
    pieces: Vec<Option<Piece>>,
}

/// All of them.
pub(super) struct Cases {
    text: BufWriter<SpooledTempFile>,
    end: u64,
    groups: BTreeMap<u32, Group>,
}

impl Cases {
    pub(super) fn new() -> Self {
        Self { text: BufWriter::new(SpooledTempFile::new(HELD)), end: 0, groups: BTreeMap::new() }
    }

    /// Keeps the case of a task, instead of one that it had.
    pub(super) fn put(&mut self, key: TaskKey, group: &Arc<str>, case: TestCase) -> io::Result<()> {
        let (text, counts) = written(case)?;
        self.text.write_all(text.as_bytes())?;
        let piece = Piece { at: self.end, len: u32::try_from(text.len()).unwrap_or(u32::MAX), counts };
        self.end += text.len() as u64;
        let pieces =
            &mut self.groups.entry(key.0).or_insert_with(|| Group { name: group.clone(), pieces: Vec::new() }).pieces;
        let at = key.1 as usize;
        if pieces.len() <= at {
            pieces.resize(at + 1, None);
        }
        pieces[at] = Some(piece);
        Ok(())
    }

    /// Whether one of them is a failure or an error.
    pub(super) fn any_bad(&self) -> bool {
        let mut pieces = self.groups.values().flat_map(|g| g.pieces.iter().flatten());
        pieces.any(|p| p.counts.errors || p.counts.failures)
    }

    /// The suites without their cases, with the numbers of those.
    pub(super) fn suites(&self, start: DateTime<FixedOffset>) -> Vec<TestSuite> {
        let suite = |group: &Group| {
            let mut suite = TestSuite::new(&*group.name);
            suite.set_timestamp(start);
            for piece in group.pieces.iter().flatten() {
                suite.tests += 1;
                suite.skipped += usize::from(piece.counts.skipped);
                suite.errors += usize::from(piece.counts.errors);
                suite.failures += usize::from(piece.counts.failures);
            }
            suite
        };
        self.groups.values().map(suite).collect()
    }

    /// Writes the cases of the suite of this number, in the order of their tasks.
    pub(super) fn copy(&mut self, suite: usize, out: &mut dyn Write) -> io::Result<()> {
        self.text.flush()?;
        let Some(group) = self.groups.values().nth(suite) else { return Ok(()) };
        let (text, mut case) = (self.text.get_mut(), Vec::new());
        for piece in group.pieces.iter().flatten() {
            text.seek(SeekFrom::Start(piece.at))?;
            case.resize(piece.len as usize, 0);
            text.read_exact(&mut case)?;
            out.write_all(&case)?;
        }
        text.seek(SeekFrom::End(0)).map(drop)
    }
}

/// A case as it stands in a report, whole lines.
fn written(case: TestCase) -> io::Result<(String, Counts)> {
    let mut suite = TestSuite::new("");
    suite.add_test_case(case);
    let counts = Counts { skipped: suite.skipped > 0, errors: suite.errors > 0, failures: suite.failures > 0 };
    let mut report = Report::new("");
    report.add_test_suite(suite);
    let text = legal(&report)?;
    let lines = between(&text, "        <testcase", "    </testsuite>");
    Ok((lines.to_owned(), counts))
}

/// What stands from the first of these up to the last of those.
pub(super) fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let begin = text.find(from).unwrap_or(text.len());
    let end = text.rfind(to).unwrap_or(text.len());
    text.get(begin..end).unwrap_or_default()
}
