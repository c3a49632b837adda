//! What tasks print, passed on once each has ended: as it is, behind its item (`--tag`), in the order of the items
//! (`--keep-order`). Where errors go is the console's.

use std::io::{self, Write};

use remuda_protocol::item::Item;

use super::Attempt;
use super::ordered::{Ordered, Pieces};
use super::text::name;

/// How output is passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Each line behind its item and a tab.
    pub tag: bool,
    /// In the order of the tasks.
    pub ordered: bool,
}

/// Where standard output of tasks goes.
pub struct Echo {
    out: Box<dyn Write + Send>,
    manner: Manner,
    ordered: Ordered,
}

impl Echo {
    /// Output goes to `out`.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, manner: Manner) -> Self {
        Self { out, manner, ordered: Ordered::default() }
    }

    /// A task has ended: what can be shown now, of whatever task.
    ///
    /// # Errors
    /// What waits could not be kept.
    pub fn take(&mut self, attempt: &Attempt) -> io::Result<Vec<Pieces>> {
        let sections = &attempt.detail.sections;
        let tag = if self.manner.tag { Item::new(&attempt.id, 0).shown() + "\t" } else { String::new() };
        let mut pieces: Pieces = sections.iter().map(|(title, body)| (title == "stderr", tagged(&tag, body))).collect();
        let id = name(&attempt.id);
        if attempt.detail.dropped_bytes > 0 {
            let bytes = attempt.detail.dropped_bytes;
            pieces
                .push((true, format!("the output of {id} is not whole: {bytes} bytes of its middle were not kept\n")));
        }
        if attempt.dropped {
            pieces.push((true, format!("the output of {id} was not kept: the job's budget for output is used up\n")));
        }
        if self.manner.ordered { self.ordered.push(attempt.task.1, pieces) } else { Ok(vec![pieces]) }
    }

    /// Whatever still waits.
    ///
    /// # Errors
    /// What waited is lost.
    pub fn rest(&mut self) -> io::Result<Vec<Pieces>> {
        self.ordered.rest()
    }

    /// Writes to standard output.
    ///
    /// # Errors
    /// The stream's.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush())
    }
}

fn tagged(tag: &str, text: &str) -> String {
    if tag.is_empty() {
        return text.to_owned();
    }
    text.split_inclusive('\n').map(|line| format!("{tag}{line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{Shared, attempt};
    use remuda_protocol::item::row;
    use remuda_protocol::outcome::Outcome;

    #[test]
    fn a_tag_stands_before_every_line() {
        let mut echo = Echo::new(Box::new(Shared::default()), Manner { tag: true, ordered: false });
        let mut two = attempt(&row(["a", "b c"]), Outcome::Passed);
        two.detail.sections = vec![("stdout".into(), "one\ntwo".into()), ("stderr".into(), "bad\n".into())];
        let shown = echo.take(&two).unwrap();
        assert_eq!(shown, [[(false, "a b c\tone\na b c\ttwo".to_owned()), (true, "a b c\tbad\n".to_owned())]]);
    }

    #[test]
    fn output_that_was_not_kept_is_missed_aloud() {
        let mut echo = Echo::new(Box::new(Shared::default()), Manner::default());
        let gone = Attempt { dropped: true, ..attempt("a", Outcome::Passed) };
        assert!(echo.take(&gone).unwrap()[0][0].1.starts_with("the output of a was not kept"));
        let mut cut = attempt("a", Outcome::Passed);
        cut.detail.dropped_bytes = 7;
        assert!(echo.take(&cut).unwrap()[0][0].1.starts_with("the output of a is not whole: 7 bytes"));
    }
}
