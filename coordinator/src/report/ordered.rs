//! Output in the order of the tasks: what comes early waits, in memory up to a bound and then in a file that nobody
//! else sees; what is in a file already stays there. For `--keep-order`; what is done with the output is the console's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Most bytes that wait in memory.
const MOST_IN_MEMORY: usize = 8 << 20;

/// What a task printed: whether on standard error, and what.
pub type Pieces = Vec<(bool, Body)>;

/// Output of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// As it shall be shown.
    Text(Vec<u8>),
    /// All of it in a file, which waits where it is.
    File {
        /// Its name in the run's folder.
        name: String,
        /// Before each line.
        tag: String,
    },
}

impl Body {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            Self::File { .. } => &[],
        }
    }
}

enum Held {
    Memory(Pieces),
    Disk { at: u64, lens: Vec<(bool, u32)> },
}

/// The outputs that wait for those before them.
#[derive(Default)]
pub struct Ordered {
    next: u32,
    waiting: BTreeMap<u32, Held>,
    in_memory: usize,
    file: Option<File>,
    end: u64,
}

impl Ordered {
    /// Takes the output of the task `number` (from 0), and returns what can be shown now.
    ///
    /// # Errors
    /// The file's.
    pub fn push(&mut self, number: u32, pieces: Pieces) -> io::Result<Vec<Pieces>> {
        if number < self.next {
            return Ok(vec![pieces]); // it ended twice, after a server had lost its last second
        }
        let held = self.hold(pieces)?;
        self.waiting.insert(number, held);
        let mut ready = Vec::new();
        while let Some(held) = self.waiting.remove(&self.next) {
            self.next += 1;
            ready.push(self.fetch(held)?);
        }
        Ok(ready)
    }

    /// Whatever still waits, in order.
    ///
    /// # Errors
    /// The file's.
    pub fn rest(&mut self) -> io::Result<Vec<Pieces>> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_values().map(|held| self.fetch(held)).collect()
    }

    fn hold(&mut self, pieces: Pieces) -> io::Result<Held> {
        let bytes: usize = pieces.iter().map(|p| p.1.bytes().len()).sum();
        let in_file = pieces.iter().any(|p| matches!(p.1, Body::File { .. }));
        if in_file || self.in_memory + bytes <= MOST_IN_MEMORY {
            self.in_memory += bytes;
            return Ok(Held::Memory(pieces));
        }
        if self.file.is_none() {
            self.file = Some(tempfile::tempfile()?);
        }
        let Some(file) = &mut self.file else { return Ok(Held::Memory(pieces)) };
        let at = file.seek(SeekFrom::Start(self.end))?;
        let mut lens = Vec::with_capacity(pieces.len());
        for (error, text) in pieces.iter().map(|p| (p.0, p.1.bytes())) {
            file.write_all(text)?;
            lens.push((error, u32::try_from(text.len()).unwrap_or(u32::MAX)));
        }
        self.end += bytes as u64;
        Ok(Held::Disk { at, lens })
    }

    fn fetch(&mut self, held: Held) -> io::Result<Pieces> {
        match (held, &mut self.file) {
            (Held::Memory(pieces), _) => {
                self.in_memory -= pieces.iter().map(|p| p.1.bytes().len()).sum::<usize>();
                Ok(pieces)
            }
            (Held::Disk { at, lens }, Some(file)) => {
                file.seek(SeekFrom::Start(at))?;
                let mut pieces = Vec::new();
                for (error, len) in lens {
                    let mut bytes = vec![0; len as usize];
                    file.read_exact(&mut bytes)?;
                    pieces.push((error, Body::Text(bytes)));
                }
                Ok(pieces)
            }
            (Held::Disk { .. }, None) => Ok(Pieces::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ready: Vec<Pieces>) -> String {
        ready.iter().flatten().map(|p| String::from_utf8_lossy(p.1.bytes())).collect()
    }

    fn body(text: &str) -> Body {
        Body::Text(text.into())
    }

    #[test]
    fn what_comes_early_waits_for_those_before_it() {
        let mut ordered = Ordered::default();
        assert_eq!(text(ordered.push(1, vec![(false, body("b"))]).unwrap()), "");
        assert_eq!(text(ordered.push(0, vec![(false, body("a"))]).unwrap()), "ab");
        assert_eq!(text(ordered.push(3, vec![(true, body("d"))]).unwrap()), "");
        assert_eq!(text(ordered.rest().unwrap()), "d");
    }

    #[test]
    fn what_does_not_fit_into_memory_comes_back_from_the_disk_whole() {
        let mut ordered = Ordered::default();
        let big = |c: &str| vec![(false, body(&c.repeat(3 << 20))), (true, body(&c.to_uppercase()))];
        for (number, c) in [(5, "e"), (4, "d"), (3, "c"), (2, "b"), (1, "a")] {
            assert!(ordered.push(number, big(c)).unwrap().is_empty());
        }
        assert!(ordered.in_memory <= MOST_IN_MEMORY && ordered.end > 0);
        let ready = ordered.push(0, Pieces::new()).unwrap();
        let firsts: String = ready.iter().flatten().map(|p| char::from(p.1.bytes()[0])).collect();
        assert_eq!(firsts, "aAbBcCdDeE");
        assert!(ready.iter().flatten().all(|p| p.0 == (p.1.bytes().len() == 1)));
        assert_eq!(ordered.in_memory, 0);
    }

    #[test]
    fn a_file_waits_where_it_is() {
        let mut ordered = Ordered::default();
        let file = || (false, Body::File { name: "7-1.out".into(), tag: "x\t".into() });
        assert!(ordered.push(2, vec![(false, body(&"c".repeat(MOST_IN_MEMORY)))]).unwrap().is_empty());
        assert!(ordered.push(1, vec![file(), (true, body("note"))]).unwrap().is_empty());
        assert!(ordered.file.is_none());
        let ready = ordered.push(0, Pieces::new()).unwrap();
        assert_eq!((ready.len(), &ready[1]), (3, &vec![file(), (true, body("note"))]));
        assert_eq!(ordered.in_memory, 0);
    }
}
