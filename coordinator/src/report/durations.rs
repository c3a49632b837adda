//! `--durations N`: the slowest, after pytest's manner.

use std::io::{self, Write};
use std::time::Duration;

use remuda_protocol::spec::GroupKind;

use super::text::{name, took};
use super::{Fact, Reporter};

/// Keeps the slowest.
pub struct Durations<W: Write + Send> {
    out: W,
    most: usize,
    slowest: Vec<(u64, String)>,
}

impl<W: Write + Send> Durations<W> {
    /// The `most` slowest.
    pub fn new(out: W, most: usize) -> Self {
        Self { out, most, slowest: Vec::new() }
    }

    fn keep(&mut self) {
        self.slowest.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        self.slowest.truncate(self.most);
    }
}

impl<W: Write + Send> Reporter for Durations<W> {
    fn fact(&mut self, fact: &Fact, _at: Duration) -> io::Result<()> {
        match fact {
            Fact::Ended(attempt) if attempt.kind == GroupKind::Tests && attempt.fence > 0 => {
                self.slowest.push((attempt.us, attempt.id.to_string()));
                if self.slowest.len() > self.most * 2 + 64 {
                    self.keep();
                }
            }
            Fact::Finished(_) => {
                self.keep();
                if self.slowest.is_empty() {
                    return Ok(());
                }
                let mut text = format!("{:>12} {}\n", "Slowest", self.slowest.len());
                for (us, id) in &self.slowest {
                    text.push_str(&format!("{:>12} {} {}\n", "", took(*us), name(id)));
                }
                self.out.write_all(text.as_bytes())?;
            }
            _ => {}
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        "the slowest"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Attempt;
    use crate::report::testing::attempt;
    use remuda_protocol::outcome::Outcome;

    #[test]
    fn the_slowest_come_first() {
        let mut out = Vec::new();
        let mut durations = Durations::new(&mut out, 2);
        for (id, us) in [("a", 1_000), ("b", 3_000_000), ("c", 20_000)] {
            durations.fact(&Fact::Ended(Attempt { us, ..attempt(id, Outcome::Passed) }), Duration::ZERO).unwrap();
        }
        durations.fact(&Fact::Finished(Default::default()), Duration::ZERO).unwrap();
        drop(durations);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "     Slowest 2\n             [   3.000s] b\n             [   0.020s] c\n"
        );
    }
}
