//! The whole output of a unit in files: nothing at all until the capture's head is full, then a file for each stream,
//! with everything from its first byte on.
//!
//! `unit` feeds it with what it feeds to `capture`, which bounds what is sent; the daemon says where the files are, and
//! removes them or names them to somebody who does. It must never fail or delay a unit: when a file cannot be written,
//! all of them go, the reason stays, and there is the capture.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::capture::{Capture, Stream};

/// What became of a unit's whole output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// Streams that are in files; none if all of the output is in the capture's head.
    pub streams: Vec<Stream>,
    /// Why it is not in files, although it should be.
    pub error: Option<String>,
}

/// The file of a stream; `stem` is what the files of one unit have in common.
#[must_use]
pub fn path(stem: &Path, stream: Stream) -> PathBuf {
    stem.with_extension(if stream == Stream::Err { "err" } else { "out" })
}

/// Writes a stream that is whole already.
///
/// # Errors
/// It cannot be written, and is not there.
pub fn write(stem: &Path, stream: Stream, bytes: &[u8]) -> Result<(), String> {
    let path = path(stem, stream);
    create(&path).and_then(|mut file| file.write_all(bytes)).map_err(|error| {
        let _ = std::fs::remove_file(&path);
        refused(&path, &error)
    })
}

/// Removes what there is of a unit's files.
pub fn remove(stem: &Path) {
    for stream in [Stream::Out, Stream::Err] {
        let _ = std::fs::remove_file(path(stem, stream));
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn refused(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

/// The files of a running unit.
#[derive(Debug)]
pub(super) struct Writing {
    stem: PathBuf,
    began: bool,
    files: Vec<(Stream, File)>,
    error: Option<String>,
}

impl Writing {
    pub(super) fn new(stem: PathBuf) -> Self {
        Self { stem, began: false, files: Vec::new(), error: None }
    }

    /// Takes what `capture` is about to get.
    pub(super) fn push(&mut self, capture: &Capture, stream: Stream, bytes: &[u8]) {
        if self.error.is_some() || (!self.began && capture.has_room(bytes.len())) {
            return;
        }
        let written = if self.began { Ok(()) } else { self.begin(capture) };
        if let Err(error) = written.and_then(|()| self.append(stream, bytes)) {
            self.files.clear();
            remove(&self.stem); // what little room there is, others need
            self.error = Some(error);
        }
    }

    /// All that there was until now, which is in the head.
    fn begin(&mut self, capture: &Capture) -> Result<(), String> {
        self.began = true;
        capture.head().try_for_each(|(stream, bytes)| self.append(stream, bytes))
    }

    fn append(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), String> {
        let path = || path(&self.stem, stream);
        if !self.files.iter().any(|(of, _)| *of == stream) {
            let file = create(&path()).map_err(|error| refused(&path(), &error))?;
            self.files.push((stream, file));
        }
        let file = self.files.iter_mut().find(|(of, _)| *of == stream);
        let written = file.map_or(Ok(()), |(_, file)| file.write_all(bytes));
        written.map_err(|error| refused(&path(), &error))
    }

    pub(super) fn finish(self) -> Whole {
        Whole { streams: self.files.into_iter().map(|(stream, _)| stream).collect(), error: self.error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output as the keeper takes it.
    struct Fed {
        capture: Capture,
        writing: Writing,
    }

    impl Fed {
        fn new(stem: &Path) -> Self {
            Self { capture: Capture::new(10, 4), writing: Writing::new(stem.to_owned()) }
        }

        fn push(&mut self, stream: Stream, bytes: &[u8]) {
            self.writing.push(&self.capture, stream, bytes);
            self.capture.push(stream, 0, bytes);
        }
    }

    fn read(stem: &Path, stream: Stream) -> Vec<u8> {
        std::fs::read(path(stem, stream)).unwrap()
    }

    #[test]
    fn what_fits_into_the_head_makes_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut fed = Fed::new(&dir.path().join("1-2"));
        fed.push(Stream::Out, b"12345");
        fed.push(Stream::Err, b"67890");
        assert_eq!(fed.writing.finish(), Whole::default());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn beyond_the_head_both_streams_are_whole_whatever_the_pieces() {
        for chunk in [1, 3, 5, 10, 11, 100] {
            let dir = tempfile::tempdir().unwrap();
            let stem = dir.path().join("1-2");
            let mut fed = Fed::new(&stem);
            let all: Vec<u8> = (0..=255).collect();
            for bytes in all.chunks(chunk) {
                fed.push(Stream::Out, bytes);
                fed.push(Stream::Err, &bytes[..1]);
            }
            assert_eq!(fed.writing.finish().streams.len(), 2);
            let firsts: Vec<u8> = all.chunks(chunk).map(|bytes| bytes[0]).collect();
            assert_eq!((read(&stem, Stream::Out), read(&stem, Stream::Err)), (all, firsts), "{chunk}");
            remove(&stem);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_folder_that_has_gone_is_an_error_once_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let stem = dir.path().join("gone/1-2");
        let mut fed = Fed::new(&stem);
        fed.push(Stream::Out, &[b'x'; 11]);
        std::fs::create_dir(dir.path().join("gone")).unwrap();
        fed.push(Stream::Out, b"y");
        let whole = fed.writing.finish();
        assert_eq!(whole.streams, []);
        assert!(whole.error.unwrap().contains("1-2.out cannot be written: No such file"));
        assert_eq!(std::fs::read_dir(dir.path().join("gone")).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_takes_the_file_away() {
        let dir = tempfile::tempdir().unwrap();
        let stem = dir.path().join("1-2");
        let mut fed = Fed::new(&stem);
        fed.push(Stream::Err, &[b'x'; 11]);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        fed.writing.files[0].1 = full;
        fed.push(Stream::Err, b"y");
        assert!(
            fed.writing.finish().error.unwrap().ends_with("cannot be written: No space left on device (os error 28)")
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
