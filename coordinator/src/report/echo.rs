//! What tasks print, passed on once each has ended: as it is, behind its item (`--tag`), in the order of the items
//! (`--keep-order`). Where errors go is the console's.

use std::io::{self, Write};

use remuda_protocol::item::Item;
use remuda_protocol::spec::JobSpec;

use super::Attempt;
use super::kept::{self, Broken, Kept};
use super::ordered::{Body, Ordered, Pieces};
use super::text::name;

/// How output is passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Each line behind its item and a tab.
    pub tag: bool,
    /// In the order of the tasks.
    pub ordered: bool,
    /// It is all that is shown of a run that is good: the command only tells something.
    pub alone: bool,
}

impl Manner {
    /// As the job's spec says; `None` if its output is not for passing on.
    #[must_use]
    pub fn of(spec: &JobSpec) -> Option<Self> {
        spec.echo.map(|echo| Self { tag: echo.tag, ordered: echo.ordered, alone: false })
    }
}

/// Where standard output of tasks goes.
pub struct Echo {
    out: Box<dyn Write + Send>,
    manner: Manner,
    kept: Kept,
    ordered: Ordered,
}

impl Echo {
    /// Output goes to `out`; `kept`: what of it lies in files.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, manner: Manner, kept: Kept) -> Self {
        Self { out, manner, kept, ordered: Ordered::default() }
    }

    /// Whether a run that is good has nothing else to show.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.manner.alone
    }

    /// A task has ended: what can be shown now, of whatever task.
    ///
    /// # Errors
    /// What waits could not be kept.
    pub fn take(&mut self, attempt: &Attempt) -> io::Result<Vec<Pieces>> {
        let tag = if self.manner.tag { Item::new(&attempt.id, 0).shown() + "\t" } else { String::new() };
        let files = self.kept.files_of(attempt);
        let mut pieces = Pieces::new();
        if files.is_empty() {
            let sections = attempt.detail.printed();
            pieces.extend(sections.map(|(title, body)| (title == "stderr", Body::Text(tagged(&tag, body)))));
            pieces.extend(missed(attempt).map(|text| (true, Body::Text(text.into_bytes()))));
        }
        let file = |(title, name): (String, String)| (title == "stderr", Body::File { name, tag: tag.clone() });
        pieces.extend(files.into_iter().map(file));
        if self.manner.ordered { self.ordered.push(attempt.task.1, pieces) } else { Ok(vec![pieces]) }
    }

    /// Whatever still waits.
    ///
    /// # Errors
    /// What waited is lost.
    pub fn rest(&mut self) -> io::Result<Vec<Pieces>> {
        self.ordered.rest()
    }

    /// Passes on what goes to standard output.
    ///
    /// # Errors
    /// The stream's.
    pub fn print(&mut self, body: Body) -> io::Result<Option<String>> {
        pour(&self.kept, body, &mut self.out)
    }

    /// Passes on what goes to standard error.
    ///
    /// # Errors
    /// The stream's.
    pub fn print_error(&self, body: Body, to: &mut dyn Write) -> io::Result<Option<String>> {
        pour(&self.kept, body, to)
    }
}

/// Writes output, and removes its file; returns what has to be said if that could not be read.
fn pour(kept: &Kept, body: Body, to: &mut dyn Write) -> io::Result<Option<String>> {
    let (name, tag) = match body {
        Body::Text(text) => return to.write_all(&text).and_then(|()| to.flush()).map(|()| None),
        Body::File { name, tag } => (name, tag),
    };
    let copied = kept.open(&name).map_err(Broken::Reading).and_then(|file| kept::copy(file, tag.as_bytes(), to));
    kept.remove(&name);
    match copied {
        Ok(()) => to.flush().map(|()| None),
        Err(Broken::Writing(error)) => Err(error),
        Err(Broken::Reading(error)) => Ok(Some(format!("output that was kept in a file is not whole: {error}\n"))),
    }
}

/// What is not among the output, and why.
fn missed(attempt: &Attempt) -> Option<String> {
    let (id, detail) = (name(&attempt.id), &attempt.detail);
    let remedy = "make room there, or set TMPDIR to a folder that has it";
    match (detail.dropped_bytes, detail.cut.as_str()) {
        _ if attempt.dropped => {
            Some(format!("the output of {id} was not kept: the job's budget for output is used up\n"))
        }
        (0, "") => None,
        (0, why) => Some(format!("the output of {id} is not as it was where it is no UTF-8: {why}; {remedy}\n")),
        (bytes, "") => Some(format!(
            "the output of {id} is not whole: {bytes} bytes of its middle were not kept; a run on an embedded Redis keeps everything\n"
        )),
        (bytes, why) => Some(format!(
            "the output of {id} is not whole: {bytes} bytes of its middle were not kept, because {why}; {remedy}\n"
        )),
    }
}

fn tagged(tag: &str, text: Vec<u8>) -> Vec<u8> {
    if tag.is_empty() {
        return text;
    }
    text.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [tag.as_bytes(), line].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{Shared, attempt};
    use remuda_protocol::item::row;
    use remuda_protocol::outcome::Outcome;

    #[test]
    fn a_tag_stands_before_every_line() {
        let manner = Manner { tag: true, ..Manner::default() };
        let mut echo = Echo::new(Box::new(Shared::default()), manner, Kept::default());
        let mut two = attempt(&row(["a", "b c"]), Outcome::Passed);
        two.detail.sections = vec![("stdout".into(), "one\ntwo".into()), ("stderr".into(), "bad\n".into())];
        let shown = echo.take(&two).unwrap();
        let text = |text: &str| Body::Text(text.into());
        assert_eq!(shown, [[(false, text("a b c\tone\na b c\ttwo")), (true, text("a b c\tbad\n"))]]);
    }

    #[test]
    fn output_that_was_not_kept_is_missed_aloud() {
        let said = |attempt: Attempt| missed(&attempt).unwrap();
        assert_eq!(missed(&attempt("a", Outcome::Passed)), None);
        assert!(
            said(Attempt { dropped: true, ..attempt("a", Outcome::Passed) })
                .starts_with("the output of a was not kept")
        );
        let mut cut = attempt("a", Outcome::Passed);
        cut.detail.dropped_bytes = 7;
        assert!(said(cut.clone()).starts_with("the output of a is not whole: 7 bytes"));
        assert!(said(cut.clone()).ends_with("a run on an embedded Redis keeps everything\n"));
        cut.detail.cut = "/x cannot be written: No space left on device".into();
        assert!(
            said(cut.clone()).contains("not kept, because /x cannot be written: No space left on device; make room")
        );
        cut.detail.dropped_bytes = 0;
        assert!(said(cut).starts_with("the output of a is not as it was where it is no UTF-8: /x cannot"));
    }

    #[test]
    fn files_are_passed_on_instead_of_sections_and_removed() {
        let (dir, kept, out) = (tempfile::tempdir().unwrap(), Kept::default(), Shared::default());
        kept.lies_in(dir.path().to_owned());
        let mut echo = Echo::new(Box::new(out.clone()), Manner { tag: true, ..Manner::default() }, kept);
        let mut whole = attempt("a", Outcome::Passed);
        whole.detail.sections = vec![("stdout".into(), "[...]".into())];
        whole.detail.files = vec![("stdout".into(), "7-0.out".into()), ("stderr".into(), "7-0.err".into())];
        std::fs::write(dir.path().join("7-0.out"), "one\ntwo").unwrap();
        let pieces = echo.take(&whole).unwrap().remove(0);
        let mut errors = Vec::new();
        let said: Vec<Option<String>> = pieces
            .into_iter()
            .map(|(error, body)| if error { echo.print_error(body, &mut errors) } else { echo.print(body) }.unwrap())
            .collect();
        assert_eq!((out.text().as_str(), errors.len()), ("a\tone\na\ttwo", 0));
        assert!(said[0].is_none() && said[1].as_ref().unwrap().contains("7-0.err: No such file"), "{said:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
