//! What the daemon shall do: arguments with defaults filled in and the machine looked at.

use std::path::PathBuf;
use std::time::Duration;

use remuda_protocol::spec::canonical_labels;
use remuda_store::check_farm;
use uuid::Uuid;

use crate::cli::Arguments;
use crate::error::WorkerError;

/// How long before its lease ends an attempt is killed, so that it has ended when another may begin.
const MARGIN_PART: u32 = 6;

/// Settings of one daemon.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Redis address.
    pub url: String,
    /// Farm.
    pub farm: String,
    /// This process.
    pub worker: String,
    /// Host name.
    pub host: String,
    /// Slots.
    pub slots: u32,
    /// Canonical labels.
    pub labels: String,
    /// Lease asked for.
    pub lease: Duration,
    /// Limit of a drain.
    pub drain_timeout: Duration,
    /// State folder; an embedded worker's is in the folder of its run.
    pub state: Option<PathBuf>,
    /// Folder for its own files.
    pub scratch: Option<PathBuf>,
    /// Folder for whole outputs, shared with the one submitter of an embedded worker.
    pub outputs: Option<PathBuf>,
    /// Attempts inherit the daemon's environment.
    pub embedded: bool,
}

impl Settings {
    /// Fills in what was not said.
    ///
    /// # Errors
    /// [`WorkerError::Setting`] names what is wrong, or the store does what is wrong with the farm's name.
    pub fn new(args: Arguments) -> Result<Self, WorkerError> {
        check_farm(&args.farm)?; // before it names a folder
        let host =
            nix::unistd::gethostname().map_or_else(|_| "unknown".to_owned(), |h| h.to_string_lossy().into_owned());
        let state = match (args.embedded, args.state) {
            // its run's folder: a worker that takes the place of one that was killed gives back what that one held
            (true, _) => args.scratch.as_ref().map(|folder| folder.join("worker")),
            (false, Some(folder)) => Some(folder),
            (false, None) => default_state(&args.farm),
        };
        Ok(Self {
            url: args.redis,
            farm: args.farm,
            worker: Uuid::new_v4().to_string(),
            host,
            slots: parse_slots(&args.slots)?,
            labels: check_labels(&args.labels)?,
            lease: Duration::from_secs(args.lease),
            drain_timeout: Duration::from_secs(args.drain_timeout),
            state,
            scratch: args.scratch,
            outputs: args.outputs.filter(|_| args.embedded),
            embedded: args.embedded,
        })
    }

    /// The lease in ms.
    #[must_use]
    pub fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    /// How much earlier than its lease an attempt is killed.
    #[must_use]
    pub fn margin_ms(&self) -> u64 {
        u64::try_from((self.lease / MARGIN_PART).as_millis()).unwrap_or(u64::MAX)
    }
}

fn parse_slots(text: &str) -> Result<u32, WorkerError> {
    if text == "auto" {
        return Ok(std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)));
    }
    match text.parse() {
        Ok(n) if (1..=512).contains(&n) => Ok(n),
        _ => Err(WorkerError::Setting(format!("--slots is `{text}`; expected `auto` or a number from 1 to 512"))),
    }
}

fn check_labels(labels: &[String]) -> Result<String, WorkerError> {
    let fine = |l: &&String| l.is_empty() || !l.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    match labels.iter().find(fine) {
        Some(bad) => Err(WorkerError::Setting(format!(
            "--label is `{bad}`; expected letters, digits, `-`, `_` and `.`; repeat --label for several"
        ))),
        None => Ok(canonical_labels(labels)),
    }
}

fn default_state(farm: &str) -> Option<PathBuf> {
    // one that is empty or relative would be below whatever the current folder is
    let whole = |name| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let base = whole("XDG_STATE_HOME").or_else(|| whole("HOME").map(|home| home.join(".local/state")))?;
    Some(base.join("remuda").join("worker").join(farm))
}

#[cfg(test)]
mod tests {
    use super::parse_slots;

    #[test]
    fn slots_are_a_number_or_auto() {
        assert_eq!(parse_slots("3").unwrap(), 3);
        assert!(parse_slots("auto").unwrap() >= 1);
        assert!(parse_slots("0").unwrap_err().to_string().contains("--slots is `0`"));
    }
}
