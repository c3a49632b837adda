//! The variables of an attempt (DESIGN §5): our names, and the aliases that suites already know. Never a shard
//! variable, never a credential.

use std::ffi::OsString;

/// What an attempt is told about itself.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Job id.
    pub job: &'a str,
    /// Task number.
    pub task: u32,
    /// Which attempt, 1 the first.
    pub attempt: u32,
    /// Worker id.
    pub worker: &'a str,
    /// Slot number unique in the job.
    pub place: u32,
    /// Slots of this worker.
    pub slots: u32,
    /// Items held, by pool.
    pub locks: &'a [(String, Vec<String>)],
    /// Submitter and project, for the database prefix.
    pub owner: (&'a str, &'a str),
}

/// Variables of the slot: the same for every attempt that a warm runner makes.
#[must_use]
pub fn of_slot(at: &Place<'_>) -> Vec<(String, String)> {
    let worker = format!("gw{}", at.place);
    // parallel_tests leaves the first one empty, and suites count on it
    let number = if at.place == 0 { String::new() } else { (at.place + 1).to_string() };
    vec![
        ("REMUDA_JOB".into(), at.job.into()),
        ("REMUDA_WORKER".into(), at.worker.into()),
        ("REMUDA_SLOT".into(), at.place.to_string()),
        ("REMUDA_SLOT_COUNT".into(), at.slots.to_string()),
        ("REMUDA_DB_PREFIX".into(), database_prefix(at)),
        ("TEST_ENV_NUMBER".into(), number),
        ("PYTEST_XDIST_WORKER".into(), worker),
        ("PYTEST_XDIST_WORKER_COUNT".into(), at.slots.to_string()),
        ("PYTEST_XDIST_TESTRUNUID".into(), at.job.into()),
        ("NEXTEST_RUN_ID".into(), at.job.into()),
    ]
}

/// Variables of one attempt.
#[must_use]
pub fn of_attempt(at: &Place<'_>) -> Vec<(String, String)> {
    let mut all = of_slot(at);
    all.extend(of_task(at.task, at.attempt).map(|(name, value)| (name.to_owned(), value)));
    all.push(("NEXTEST_ATTEMPT".into(), at.attempt.to_string()));
    all.extend(of_pools(at.locks));
    all
}

/// Which task it is and which attempt at it, counted from 1. Warm runners set the same before each test.
#[must_use]
pub fn of_task(task: u32, attempt: u32) -> [(&'static str, String); 2] {
    [("REMUDA_TASK", task.to_string()), ("REMUDA_ATTEMPT", attempt.to_string())]
}

/// `REMUDA_POOL_<NAME>`: the items held, in order.
pub fn of_pools(locks: &[(String, Vec<String>)]) -> impl Iterator<Item = (String, String)> + '_ {
    locks.iter().map(|(pool, items)| (format!("REMUDA_POOL_{}", variable(pool)), items.join(" ")))
}

fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// Submitter, project and slot, joined by what cannot occur in the parts.
fn database_prefix(at: &Place<'_>) -> String {
    let part = |s: &str| -> String {
        s.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect::<String>()
    };
    let squeeze = |s: String| s.split('_').filter(|p| !p.is_empty()).collect::<Vec<_>>().join("_");
    format!("{}__{}__{}", squeeze(part(at.owner.0)), squeeze(part(at.owner.1)), at.place)
}

/// The environment in which attempts start: all of it in an embedded run, else what a login needs; never our Redis.
pub fn base(embedded: bool, job: impl Iterator<Item = (String, String)>) -> Vec<(OsString, OsString)> {
    const LOGIN: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"];
    let own = |name: &str| name.starts_with("REMUDA_");
    let mut all: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| {
            let name = name.to_string_lossy();
            !own(&name) && (embedded || LOGIN.contains(&name.as_ref()))
        })
        .collect();
    for (name, value) in job {
        all.retain(|(n, _)| *n != *name);
        all.push((name.into(), value.into()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_tells_slot_eleven_of_one_from_slot_one_of_another() {
        let at = |project: &'static str, place| Place {
            job: "j",
            task: 0,
            attempt: 1,
            worker: "w",
            place,
            slots: 2,
            locks: &[],
            owner: ("me@host", project),
        };
        assert_eq!(database_prefix(&at("node1", 1)), "me_host__node1__1");
        assert_ne!(database_prefix(&at("node1", 11)), database_prefix(&at("node11", 1)));
    }

    #[test]
    fn pools_become_variables() {
        let locks = vec![("test-board".to_owned(), vec!["b1".to_owned(), "b2".to_owned()])];
        assert_eq!(of_pools(&locks).next().unwrap(), ("REMUDA_POOL_TEST_BOARD".to_owned(), "b1 b2".to_owned()));
    }
}
