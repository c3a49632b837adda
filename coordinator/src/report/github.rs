//! `--annotations github`: failures as workflow commands, which GitHub Actions shows beside the code, and a summary of
//! the run for its page. Knows GitHub's two formats; where they go is the caller's.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use remuda_protocol::id::file_of;
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::{GroupKind, JobSpec};

use super::text::{length, name};
use super::{Attempt, Fact, Reporter, Summary, rerun};

/// Failures that the page lists.
const LISTED: usize = 200;
/// Most characters of a failure's text in a command; GitHub cuts at about this.
const TEXT: usize = 4_000;

/// The reporter.
pub struct Github<W: Write + Send> {
    out: W,
    page: Option<Box<dyn Write + Send>>,
    spec: Arc<JobSpec>,
    /// The repository's folder; the tree, if that is not known.
    root: PathBuf,
    rows: Vec<String>,
    more: usize,
}

impl<W: Write + Send> Github<W> {
    /// Commands to `out`, the summary to `page`. `workspace`: the repository's folder.
    pub fn new(out: W, page: Option<Box<dyn Write + Send>>, spec: Arc<JobSpec>, workspace: Option<&str>) -> Self {
        let tree = Path::new(&spec.tree.path);
        let root = workspace.map(Path::new).filter(|w| tree.starts_with(w)).unwrap_or(tree).to_owned();
        Self { out, page, spec, root, rows: Vec::new(), more: 0 }
    }

    fn command(&mut self, kind: &str, attempt: &Attempt, message: &str) -> io::Result<()> {
        let mut properties = Vec::new();
        if let Some((file, line)) = place(attempt) {
            let path = Path::new(&self.spec.tree.path).join(file);
            let path = path.strip_prefix(&self.root).unwrap_or(&path);
            properties.push(format!("file={}", property(&path.to_string_lossy())));
            properties.extend(line.map(|line| format!("line={line}")));
        }
        properties.push(format!("title={}", property(&name(&attempt.id))));
        let line = format!("::{kind} {}::{}\n", properties.join(","), data(message));
        self.out.write_all(line.as_bytes())?;
        self.out.flush()
    }

    fn ended(&mut self, attempt: &Attempt) -> io::Result<()> {
        let bad = attempt.outcome.is_failure() || attempt.outcome == Outcome::Lost;
        if bad {
            let text = if attempt.detail.text.trim().is_empty() { attempt.why() } else { attempt.detail.text.clone() };
            let tail: String = text.chars().rev().take(TEXT).collect();
            let tail: String = tail.chars().rev().collect();
            self.command("error", attempt, tail.trim_end())?;
        } else if attempt.is_flaky() {
            self.command("warning", attempt, &format!("flaky: passed at attempt {}", attempt.number))?;
        } else {
            return Ok(());
        }
        if self.rows.len() == LISTED {
            self.more += 1;
            return Ok(());
        }
        let word = if bad { attempt.outcome.word() } else { "flaky" };
        let again = rerun::line(&self.spec, attempt.task.0, attempt.task.1, &attempt.id).unwrap_or_default();
        self.rows.push(format!(
            "| {word} | `{}` | {} | `{}` |\n",
            cell(&attempt.id),
            cell(&attempt.why()),
            cell(&again)
        ));
        Ok(())
    }

    fn finished(&mut self, summary: &Summary) -> io::Result<()> {
        let Some(page) = &mut self.page else { return Ok(()) };
        let sign = if summary.is_good() { "✅" } else { "❌" };
        let mut text =
            format!("### {sign} {}\n\n{} in {}\n\n", cell(&self.spec.name), summary.sentence(), length(summary.wall));
        if !summary.because.is_empty() {
            text.push_str(&format!("Ended: {}\n\n", cell(&summary.because)));
        }
        if !self.rows.is_empty() {
            text.push_str("| | test | why | again |\n|---|---|---|---|\n");
            self.rows.iter().for_each(|row| text.push_str(row));
            text.push('\n');
        }
        if self.more > 0 {
            text.push_str(&format!("… and {} more\n", self.more));
        }
        page.write_all(text.as_bytes())?;
        page.flush()
    }
}

/// File and line of a failure: where the framework says it is, else the file in the test's name.
fn place(attempt: &Attempt) -> Option<(&str, Option<u32>)> {
    let location = attempt.detail.location.as_str();
    if !location.is_empty() {
        return Some(match location.rsplit_once(':') {
            Some((file, line)) if line.parse::<u32>().is_ok() => (file, line.parse().ok()),
            _ => (location, None),
        });
    }
    Some(file_of(&attempt.id)).filter(|file| *file != &*attempt.id && file.contains('.')).map(|file| (file, None))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A text that stays in its cell of a table.
fn cell(text: &str) -> String {
    name(text).replace('|', "\\|").replace('`', "'").replace('<', "&lt;")
}

impl<W: Write + Send> Reporter for Github<W> {
    fn fact(&mut self, fact: &Fact, _at: Duration) -> io::Result<()> {
        match fact {
            Fact::Ended(attempt) if attempt.kind != GroupKind::Collect || attempt.outcome != Outcome::Passed => {
                self.ended(attempt)
            }
            Fact::Finished(summary) => self.finished(summary),
            _ => Ok(()),
        }
    }

    fn name(&self) -> &'static str {
        "the annotations"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{Shared, attempt, failed, spec_of_each};

    fn shown(attempts: Vec<Attempt>) -> (String, String) {
        let (mut out, page) = (Vec::new(), Shared::default());
        let mut github = Github::new(&mut out, Some(Box::new(page.clone())), spec_of_each("test"), Some("/"));
        for attempt in attempts {
            github.fact(&Fact::Ended(attempt), Duration::ZERO).unwrap();
        }
        let summary = Summary { noun: "test", counts: [1, 1, 0, 0, 0, 0, 0], exit: 1, ..Summary::default() };
        github.fact(&Fact::Finished(summary), Duration::ZERO).unwrap();
        drop(github);
        (String::from_utf8(out).unwrap(), page.text())
    }

    #[test]
    fn a_failure_names_file_and_line_and_its_text_stays_on_one_line() {
        let mut bad = failed("tests/t.py::test[a,b]");
        bad.detail.location = "tests/t.py:12".into();
        bad.detail.text = "100%\nE assert".into();
        let (commands, page) = shown(vec![bad, attempt("tests/t.py::fine", Outcome::Passed)]);
        let expected = "::error file=src/tests/t.py,line=12,title=tests/t.py%3A%3Atest[a%2Cb]::100%25%0AE assert\n";
        assert_eq!(commands, expected);
        assert!(page.starts_with("### ❌ n\n\n2 tests: 1 passed, 1 failed"), "{page}");
        assert!(page.contains("| failed | `tests/t.py::test[a,b]` | assert 1 == 2 |"), "{page}");
    }

    #[test]
    fn a_path_is_the_repositorys_however_the_framework_gives_it() {
        for (location, path) in [("/src/t.py:3", "src/t.py"), ("t.py:3", "src/t.py"), ("/lib/x.py:3", "lib/x.py")] {
            let mut bad = failed("t.py::test");
            bad.detail.location = location.into();
            let (commands, _) = shown(vec![bad]);
            assert!(commands.starts_with(&format!("::error file={path},line=3,")), "{commands}");
        }
        let mut out = Vec::new();
        let mut github = Github::new(&mut out, None, spec_of_each("test"), None);
        let mut bad = failed("t.py::test");
        bad.detail.location = "/src/t.py:3".into();
        github.fact(&Fact::Ended(bad), Duration::ZERO).unwrap();
        assert!(out.starts_with(b"::error file=t.py,line=3,"));
    }

    #[test]
    fn a_flaky_test_is_a_warning_and_a_command_has_no_file() {
        let flaky = Attempt { number: 2, earlier: vec![Outcome::Failed], ..attempt("a | b", Outcome::Passed) };
        let (commands, page) = shown(vec![flaky]);
        assert_eq!(commands, "::warning title=a | b::flaky: passed at attempt 2\n");
        assert!(page.contains(r"| flaky | `a \| b` |"), "{page}");
    }
}
