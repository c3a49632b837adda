//! The state folder: which daemon ran here before, so that its work goes back at once instead of at its lease's end.
//!
//! A locked file proves that the predecessor is dead; several daemons of one farm on one host take numbered folders.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::error::WorkerError;

const MOST_DAEMONS: u32 = 64;
/// A warden is done within this time after its daemon's death.
const WARDEN: Duration = Duration::from_secs(15);

/// Held for the daemon's life.
#[derive(Debug)]
pub struct StateLock {
    _file: Flock<File>,
    /// For the daemon's own files; empty now, whatever a predecessor left in it.
    pub scratch: std::path::PathBuf,
    /// The daemon that held this folder before and did not leave properly.
    pub predecessor: Option<String>,
}

/// Waits until the warden of a dead predecessor has killed what it supervised.
fn wait_for_warden(pid: &str) {
    let path = Path::new("/proc").join(pid).join("cmdline");
    let begun = Instant::now();
    while begun.elapsed() < WARDEN && std::fs::read(&path).is_ok_and(|c| c.starts_with(b"remuda-warden")) {
        #[expect(clippy::disallowed_methods, reason = "nobody signals the end of a process that is not our child")]
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Takes the first free place under `folder` and writes `worker` into it.
///
/// # Errors
/// The folder cannot be made or written.
pub fn take(folder: &Path, worker: &str) -> Result<StateLock, WorkerError> {
    let machine = |error| WorkerError::Machine { what: "use the state folder", error };
    std::fs::create_dir_all(folder).map_err(machine)?;
    for n in 0..MOST_DAEMONS {
        let path = folder.join(format!("worker-{n}"));
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(machine)?;
        let Ok(mut file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
        let mut before = String::new();
        file.read_to_string(&mut before).map_err(machine)?;
        write(&mut file, worker).map_err(machine)?;
        let mut words = before.split_whitespace();
        let before = words.next().unwrap_or("").to_owned();
        if let Some(warden) = words.next() {
            wait_for_warden(warden);
        }
        let scratch = folder.join(format!("worker-{n}.files"));
        let _ = std::fs::remove_dir_all(&scratch);
        std::fs::create_dir_all(&scratch).map_err(machine)?;
        return Ok(StateLock { scratch, _file: file, predecessor: (!before.is_empty()).then_some(before) });
    }
    Err(WorkerError::Setting(format!("{MOST_DAEMONS} daemons use {} already", folder.display())))
}

impl StateLock {
    /// Notes the warden, so that a successor can wait until it has killed what we left.
    pub fn supervised_by(&mut self, worker: &str, warden: i32) {
        let _ = write(&mut self._file, &format!("{worker} {warden}"));
    }

    /// Notes that this daemon has left with nothing in its hands.
    pub fn leave(mut self) {
        let _ = write(&mut self._file, "");
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

fn write(file: &mut File, text: &str) -> std::io::Result<()> {
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_daemon_is_found_and_a_living_one_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = take(folder.path(), "one").unwrap();
        assert_eq!(first.predecessor, None);
        assert_eq!(take(folder.path(), "two").unwrap().predecessor, None);
        drop(first);
        assert_eq!(take(folder.path(), "three").unwrap().predecessor.as_deref(), Some("one"));
        take(folder.path(), "four").unwrap().leave();
        assert_eq!(take(folder.path(), "five").unwrap().predecessor, None);
    }
}
