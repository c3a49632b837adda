//! Where the log of a run goes: the user's state folder, or a temporary file where there is none to write to. Only
//! files; what is written there is `report::log`'s.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;

use crate::report::log::LogFile;

/// Logs of runs that are kept.
const LOGS: usize = 50;
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

/// The log of a job; the oldest of the folder go. A run is not worse for a folder that cannot be written.
#[must_use]
pub fn open(state: &Path, job: &str) -> RunLog {
    let job = &job[..8.min(job.len())];
    let error = match in_state(&state.join("runs"), job) {
        Ok((file, path)) => {
            return RunLog { file: LogFile::new(Box::new(file)), path: path.display().to_string(), note: None };
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
            file: LogFile::new(Box::new(io::sink())),
            path: String::new(),
            note: Some(format!("{why} and no log, for which there is no temporary folder either")),
        },
    }
}

fn in_state(folder: &Path, job: &str) -> io::Result<(std::fs::File, PathBuf)> {
    std::fs::create_dir_all(folder)?;
    let stamp = chrono::Local::now().format("%Y%m%d-%H%M%S");
    let path = folder.join(format!("{stamp}-{job}.log"));
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .collect();
    names.sort();
    for old in names.iter().take(names.len().saturating_sub(LOGS - 1)) {
        let _ = std::fs::remove_file(old);
    }
    let mut file = std::fs::File::create(&path)?;
    writeln!(file, "{HEAD}")?;
    Ok((file, path))
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

    #[test]
    fn the_oldest_logs_go() {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir(state.path().join("runs")).unwrap();
        for n in 0..LOGS + 3 {
            std::fs::write(state.path().join(format!("runs/{n:04}.log")), "").unwrap();
        }
        let log = open(state.path(), "0123456789");
        assert!(log.note.is_none() && log.path.ends_with("-01234567.log"), "{}", log.path);
        assert_eq!(std::fs::read_dir(state.path().join("runs")).unwrap().count(), LOGS);
        assert!(!state.path().join("runs/0003.log").exists() && state.path().join("runs/0004.log").exists());
    }
}
