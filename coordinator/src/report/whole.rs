//! Files that are complete or not there: written beside their place and moved over it. What is no plain file (a
//! device, a pipe) is written as it is, and never replaced; `-` is standard output.

use std::io::{self, BufWriter, Write};
use std::path::Path;

/// What writes a file's content.
pub type Fill<'a> = dyn FnMut(&mut dyn Write) -> io::Result<()> + 'a;

/// Whether a path stands for standard output.
#[must_use]
pub fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Writes a whole file.
///
/// # Errors
/// The disk's, naming the file.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, &mut |out| out.write_all(bytes))
}

/// The same of what is too long to be held.
///
/// # Errors
/// The disk's, naming the file.
pub fn write_with(path: &Path, fill: &mut Fill<'_>) -> io::Result<()> {
    if is_standard_output(path) {
        let mut out = BufWriter::new(io::stdout().lock());
        return fill(&mut out).and_then(|()| out.flush());
    }
    place(path, fill).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

fn place(path: &Path, fill: &mut Fill<'_>) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return filled(std::fs::File::create(path)?, fill);
    }
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    // what a link leads to is replaced, not the link
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut beside = path.clone().into_os_string();
    beside.push(format!(".{}.tmp", std::process::id()));
    let written = std::fs::File::create(&beside)
        .and_then(|file| filled(file, fill))
        .and_then(|()| std::fs::rename(&beside, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn filled(file: std::fs::File, fill: &mut Fill<'_>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    fill(&mut out).and_then(|()| out.flush())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/report");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write(&link, b"new").unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
    }

    #[test]
    fn a_full_device_is_an_error_that_names_it_and_stays_a_device() {
        let error = write(Path::new("/dev/full"), b"x").unwrap_err();
        assert!(error.to_string().starts_with("/dev/full: No space left on device"), "{error}");
        assert!(!std::fs::metadata("/dev/full").unwrap().is_file());
    }
}
