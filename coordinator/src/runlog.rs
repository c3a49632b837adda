//! Where the log of a run goes: the user's state folder, or a temporary file where there is none to write to; and which
//! older ones make room for it. Only files; what is written there is `report::log`'s.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use tracing_subscriber::EnvFilter;

use crate::report::log::LogFile;

/// Logs of runs that are kept.
const LOGS: usize = 50;
/// What the kept ones may take together: a log goes when newer ones take so much.
const BYTES: u64 = 1 << 30;
/// No log is kept for longer.
const AGE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// What stands above all else.
const HEAD: &str = "# seconds host/slot what";

/// A log that was opened.
pub struct RunLog {
    /// Takes lines.
    pub file: LogFile,
    /// Where it is, for people; empty if it is nowhere.
    pub path: String,
    /// What the user should know: the state folder cannot be written.
    pub note: Option<String>,
}

impl RunLog {
    /// No log: nothing happens that is not told elsewhere.
    #[must_use]
    pub fn nowhere() -> Self {
        Self { file: LogFile::new(Box::new(io::sink())), path: String::new(), note: None }
    }
}

/// The log of a job; old ones of the folder go. A run is not worse for a folder that cannot be written.
#[must_use]
pub fn open(state: &Path, job: &str) -> RunLog {
    let job = &job[..8.min(job.len())];
    let error = match in_state(&state.join("runs"), job) {
        Ok((file, path)) => {
            return RunLog { file: LogFile::new(file), path: path.display().to_string(), note: None };
        }
        Err(error) => error,
    };
    let why = format!("cannot write in {}: {error}; this run leaves no history", state.display());
    match temporary(job) {
        Ok((file, path)) => RunLog {
            file: LogFile::new(Box::new(file)),
            path: path.display().to_string(),
            note: Some(format!("{why}, and its log is {}", path.display())),
        },
        Err(_) => RunLog {
            note: Some(format!("{why} and no log, for which there is no temporary folder either")),
            ..RunLog::nowhere()
        },
    }
}

fn in_state(folder: &Path, job: &str) -> io::Result<(Box<dyn Write + Send>, PathBuf)> {
    std::fs::create_dir_all(folder)?;
    for old in surplus(logs(folder)?) {
        remove(&old);
    }
    let stamp = chrono::Local::now().format("%Y%m%d-%H%M%S");
    let path = folder.join(format!("{stamp}-{job}.log"));
    let mut file = File::create(&path)?;
    writeln!(file, "{HEAD}")?;
    // who tidies up leaves alone what is locked; a file system without locks only loses that
    let file: Box<dyn Write + Send> = match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(file) => Box::new(Held(file)),
        Err((file, _)) => Box::new(file),
    };
    Ok((file, path))
}

/// A log that a run still writes.
struct Held(Flock<File>);

impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A log of an earlier run.
struct Old {
    path: PathBuf,
    bytes: u64,
    age: Duration,
}

/// The logs of a folder, newest first: their names begin with the moment.
fn logs(folder: &Path) -> io::Result<Vec<Old>> {
    let now = SystemTime::now();
    let mut all: Vec<Old> = std::fs::read_dir(folder)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let (path, about) = (entry.path(), entry.metadata().ok()?);
            let age = now.duration_since(about.modified().ok()?).unwrap_or_default();
            let is_log = path.extension().is_some_and(|e| e == "log");
            is_log.then_some(Old { path, bytes: about.len(), age })
        })
        .collect();
    all.sort_by(|a, b| b.path.cmp(&a.path));
    Ok(all)
}

/// Which of them, newest first, make room for one more.
fn surplus(logs: Vec<Old>) -> Vec<PathBuf> {
    let mut newer = 0;
    let old = logs.into_iter().enumerate().filter(|(number, log)| {
        let goes = *number >= LOGS - 1 || newer >= BYTES || log.age > AGE;
        newer = newer.saturating_add(log.bytes);
        goes
    });
    old.map(|(_, log)| log.path).collect()
}

/// Removes a log that no run writes any more.
fn remove(path: &Path) {
    if let Ok(file) = File::open(path)
        && let Ok(_mine) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
    {
        let _ = std::fs::remove_file(path);
    }
}

fn temporary(job: &str) -> io::Result<(std::fs::File, PathBuf)> {
    let file = tempfile::Builder::new().prefix(&format!("remuda-{job}-")).suffix(".log").tempfile()?;
    let (mut file, path) = file.keep()?;
    writeln!(file, "{HEAD}")?;
    Ok((file, path))
}

/// What this program itself has to say goes into the log.
pub fn trace_into(log: &LogFile) {
    let filter = EnvFilter::try_from_env("REMUDA_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = log.clone();
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || log.clone()).with_ansi(false).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state folder with a log of each of these names.
    fn state_with(names: impl IntoIterator<Item = String>) -> tempfile::TempDir {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir(state.path().join("runs")).unwrap();
        for name in names {
            std::fs::write(state.path().join("runs").join(name), "").unwrap();
        }
        state
    }

    #[test]
    fn the_oldest_logs_go() {
        let state = state_with((0..LOGS + 3).map(|n| format!("{n:04}.log")));
        let log = open(state.path(), "0123456789");
        assert!(log.note.is_none() && log.path.ends_with("-01234567.log"), "{}", log.path);
        assert_eq!(std::fs::read_dir(state.path().join("runs")).unwrap().count(), LOGS);
        assert!(!state.path().join("runs/0003.log").exists() && state.path().join("runs/0004.log").exists());
    }

    #[test]
    fn a_log_goes_after_ninety_days_and_not_while_a_run_writes_it() {
        let state = state_with(["0.log", "1.log", "2.log"].map(str::to_owned));
        let at = |name: &str| state.path().join("runs").join(name);
        let long_ago = SystemTime::now() - AGE - Duration::from_secs(60);
        for name in ["0.log", "1.log"] {
            File::options().write(true).open(at(name)).unwrap().set_modified(long_ago).unwrap();
        }
        let written = Flock::lock(File::open(at("0.log")).unwrap(), FlockArg::LockSharedNonblock).unwrap();
        let first = open(state.path(), "01");
        assert_eq!([at("0.log"), at("1.log"), at("2.log")].map(|p| p.exists()), [true, false, true]);
        drop(written);
        drop(open(state.path(), "02"));
        assert_eq!([at("0.log"), PathBuf::from(&first.path)].map(|p| p.exists()), [false, true]);
        File::options().write(true).open(&first.path).unwrap().set_modified(long_ago).unwrap();
        drop(open(state.path(), "03"));
        assert!(Path::new(&first.path).exists(), "its run has not ended");
    }

    #[test]
    fn what_newer_logs_leave_no_room_for_goes() {
        let log = |name: &str, bytes| Old { path: name.into(), bytes, age: Duration::ZERO };
        let gone = surplus(vec![log("d", 1), log("c", BYTES), log("b", 1), log("a", 0)]);
        assert_eq!(gone, [PathBuf::from("b"), PathBuf::from("a")]);
        assert!(surplus(vec![log("whole", 2 * BYTES)]).is_empty(), "the last run can be read");
    }
}
