//! `--results DIR`: the output of each task in files, in GNU parallel's layout: a folder for each column's number and
//! value (`DIR/1/ITEM`), and in it `seq`, `stdout` and `stderr`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use remuda_protocol::item::Item;
use remuda_protocol::spec::GroupKind;

use super::kept::Kept;
use super::{Attempt, Fact, Reporter};

/// Most bytes of a file name.
const MOST: usize = 255;

/// A folder that is being filled.
pub struct Results {
    folder: PathBuf,
    kept: Kept,
}

impl Results {
    /// Results below `folder`, which is made; `kept`: what lies in files.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(folder: &Path, kept: Kept) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), kept })
    }

    fn place(&self, item: &Item<'_>) -> PathBuf {
        let numbers = (1..).map(|n: usize| n.to_string());
        let parts = numbers.zip(&item.columns).flat_map(|(n, value)| [n, file_name(value)]);
        self.folder.join(parts.collect::<PathBuf>())
    }

    fn save(&self, attempt: &Attempt) -> io::Result<()> {
        let item = Item::new(&attempt.id, attempt.task.1);
        let folder = self.place(&item);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("seq"), item.number.to_string())?;
        let files = self.kept.files_of(attempt);
        for stream in ["stdout", "stderr"] {
            if let Some((_, name)) = files.iter().find(|(title, _)| title == stream) {
                io::copy(&mut self.kept.open(name)?, &mut File::create(folder.join(stream))?)?;
                continue;
            }
            let sections = attempt.detail.printed().filter(|s| files.is_empty() && s.0 == stream);
            std::fs::write(folder.join(stream), sections.flat_map(|s| s.1).collect::<Vec<u8>>())?;
        }
        Ok(())
    }
}

/// A value as one part of a path: parallel's escapes, and no part that leads elsewhere.
fn file_name(value: &str) -> String {
    let mut name = String::new();
    for c in value.chars() {
        match c {
            '\\' => name.push_str(r"\\"),
            '/' => name.push_str(r"\_"),
            '\t' => name.push_str(r"\t"),
            '\0' => name.push_str(r"\0"),
            c => name.push(c),
        }
    }
    match name.as_str() {
        "." => r"\.".into(),
        ".." => r"\.\.".into(),
        _ if name.len() > MOST => shortened(&name),
        _ => name,
    }
}

/// A name too long for a file system: its beginning, and a number that stands for the rest.
fn shortened(name: &str) -> String {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let end = (0..=MOST - 20).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    format!("{}…{hash:016x}", &name[..end])
}

impl Reporter for Results {
    fn fact(&mut self, fact: &Fact, _at: Duration) -> io::Result<()> {
        match fact {
            Fact::Ended(attempt) if attempt.kind == GroupKind::Tests && attempt.fence > 0 => self.save(attempt),
            _ => Ok(()),
        }
    }

    fn name(&self) -> &'static str {
        "the results"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::failed;
    use remuda_protocol::item::row;

    #[test]
    fn a_task_has_a_folder_of_its_columns() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = Results::new(&dir.path().join("out"), Kept::default()).unwrap();
        results.fact(&Fact::Ended(failed(&row(["a/b", ".."]))), Duration::ZERO).unwrap();
        let folder = dir.path().join(r"out/1/a\_b/2/\.\.");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!((read("seq"), read("stdout"), read("stderr")), ("1".into(), "hello\n".into(), String::new()));
    }

    #[test]
    fn a_value_cannot_lead_out_of_the_folder_or_be_too_long_for_it() {
        assert_eq!(file_name("../\\x\ty"), r"..\_\\x\ty");
        let long = file_name(&"ä".repeat(300));
        assert!(long.len() <= MOST && long != file_name(&"ä".repeat(301)), "{}", long.len());
    }
}
