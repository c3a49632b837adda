//! What tasks printed and an embedded worker laid whole into the run's private folder: found, read in pieces, removed
//! when it has been passed on. Without such a folder (on a farm) nothing is ever found, whatever a detail says.
//!
//! `echo` and `results` pass it on, `console` lets go of what nobody wants. Never a whole file in memory.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::Attempt;

/// Read and written at once.
const PIECE: usize = 64 << 10;

/// The folder, once it is there.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<OnceLock<PathBuf>>);

impl Kept {
    /// The worker's files are in this folder.
    pub fn lies_in(&self, folder: PathBuf) {
        let _ = self.0.set(folder);
    }

    /// The files of an attempt: `stdout` or `stderr`, and a name in the folder.
    #[must_use]
    pub fn files_of(&self, attempt: &Attempt) -> Vec<(String, String)> {
        if self.0.get().is_none() {
            return Vec::new();
        }
        if !attempt.dropped {
            return attempt.detail.files.clone();
        }
        // its detail did not fit into the budget, but files have the names of their attempts
        let named = [("stdout", "out"), ("stderr", "err")]
            .map(|(title, end)| (title.to_owned(), format!("{}-{}.{end}", attempt.fence, attempt.task.1)));
        named.into_iter().filter(|(_, name)| self.path(name).is_ok_and(|path| path.exists())).collect()
    }

    /// Opens one of them.
    ///
    /// # Errors
    /// It is not there, and what it would be.
    pub fn open(&self, name: &str) -> io::Result<File> {
        let path = self.path(name)?;
        File::open(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
    }

    /// Removes one of them.
    pub fn remove(&self, name: &str) {
        let _ = self.path(name).and_then(std::fs::remove_file);
    }

    /// Removes all of an attempt.
    pub fn remove_all(&self, attempt: &Attempt) {
        self.files_of(attempt).iter().for_each(|(_, name)| self.remove(name));
    }

    /// A name leads nowhere else.
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let plain = Path::new(name).file_name().is_some_and(|last| last == name);
        let folder = self.0.get().filter(|_| plain);
        folder.map(|folder| folder.join(name)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` is no file of this run's private folder"))
        })
    }
}

/// Where copying ended early.
#[derive(Debug)]
pub enum Broken {
    /// What was kept cannot be read.
    Reading(io::Error),
    /// Who takes it does not.
    Writing(io::Error),
}

/// Copies everything in pieces, `tag` before each line.
///
/// # Errors
/// Which side failed.
pub fn copy(mut from: impl Read, tag: &[u8], to: &mut dyn Write) -> Result<(), Broken> {
    let mut to = BufWriter::with_capacity(PIECE, to);
    let (mut piece, mut begins) = (vec![0; PIECE], true);
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => return to.flush().map_err(Broken::Writing),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return to.flush().map_err(Broken::Writing).and(Err(Broken::Reading(error))),
        };
        let now = &piece[..count];
        if tag.is_empty() { to.write_all(now) } else { tagged(now, tag, &mut begins, &mut to) }
            .map_err(Broken::Writing)?;
    }
}

/// Writes bytes with the tag before each line; `begins`: the next byte is the first of a line.
fn tagged(bytes: &[u8], tag: &[u8], begins: &mut bool, to: &mut impl Write) -> io::Result<()> {
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if *begins {
            to.write_all(tag)?;
        }
        to.write_all(line)?;
        *begins = line.ends_with(b"\n");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::attempt;
    use remuda_protocol::outcome::Outcome;

    /// Gives a few bytes at a time, and then an error if there is one.
    struct Drops<'a>(&'a [u8], usize, bool);

    impl Read for Drops<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len());
            to[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            if count == 0 && self.2 { Err(io::Error::other("torn")) } else { Ok(count) }
        }
    }

    #[test]
    fn a_tag_stands_before_each_line_wherever_pieces_end() {
        let bytes = b"one\n\n\xfftwo\r\nlast";
        for size in 1..bytes.len() + 1 {
            let mut seen = Vec::new();
            copy(Drops(bytes, size, false), b"t\t", &mut seen).unwrap();
            assert_eq!(seen, b"t\tone\nt\t\nt\t\xfftwo\r\nt\tlast", "{size}");
            seen.clear();
            copy(Drops(bytes, size, false), b"", &mut seen).unwrap();
            assert_eq!(seen, bytes);
        }
    }

    #[test]
    fn what_cannot_be_read_on_has_been_passed_on_so_far() {
        let mut seen = Vec::new();
        assert!(matches!(copy(Drops(b"abc", 2, true), b"", &mut seen), Err(Broken::Reading(_))));
        assert_eq!(seen, b"abc");
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert!(matches!(copy(Drops(b"abc", 2, false), b"", &mut full), Err(Broken::Writing(_))));
    }

    #[test]
    fn nothing_outside_the_folder_is_read_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("precious"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(&outside, "x").unwrap();
        let mut evil = attempt("a", Outcome::Passed);
        let absolute = outside.display().to_string();
        evil.detail.files = ["../precious", &absolute, "..", ""].map(|name| ("stdout".into(), name.into())).into();
        let (kept, farm) = (Kept::default(), Kept::default());
        kept.lies_in(inside.clone());
        for (_, name) in &evil.detail.files {
            assert_eq!(kept.open(name).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        kept.remove_all(&evil);
        farm.remove_all(&evil);
        assert!(outside.exists() && farm.files_of(&evil).is_empty());
    }

    #[test]
    fn files_are_found_by_their_attempt_when_its_detail_was_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::default();
        kept.lies_in(dir.path().to_owned());
        let lost = Attempt { dropped: true, task: (0, 3), fence: 12, ..attempt("a", Outcome::Passed) };
        std::fs::write(dir.path().join("12-3.err"), "x").unwrap();
        assert_eq!(kept.files_of(&lost), [("stderr".to_owned(), "12-3.err".to_owned())]);
        kept.remove_all(&lost);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
