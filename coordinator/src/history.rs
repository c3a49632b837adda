//! What earlier runs took, for the plan of the next: on a farm in Redis, of embedded runs in the user's state folder.
//!
//! Only passed attempts teach. Set-up that a test paid for its file is learned as the file's, except from the first
//! test of a slot, which also paid for the session.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use remuda_protocol::id::file_of;
use remuda_protocol::outcome::Outcome;
use remuda_store::{History, Store, StoreError};

use crate::error::Error;
use crate::report::Attempt;

/// More tests than this are not remembered: a stream of a million items has no next run.
const MOST_TESTS: usize = 200_000;

/// The key of a group's history; workers use the same.
#[must_use]
pub fn key(project: &str, group: &str) -> String {
    format!("{project}/{group}")
}

/// The user's state folder of this program.
#[must_use]
pub fn state_folder(look: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let whole = |name| look(name).filter(|d| d.starts_with('/')).map(PathBuf::from);
    let base = whole("XDG_STATE_HOME").or_else(|| whole("HOME").map(|home| home.join(".local/state")));
    base.unwrap_or_else(std::env::temp_dir).join("remuda")
}

/// The folder of histories.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// The shelf in a state folder.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join("history") }
    }

    /// Ids that did not pass the last time; `None` if that is not known.
    #[must_use]
    pub fn unpassed(&self, key: &str) -> Option<BTreeSet<String>> {
        let path = self.path(key).with_extension("unpassed.json");
        std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }

    /// It is not known any more what did not pass: a run has begun, and may end without a word.
    pub fn forget_unpassed(&self, key: &str) {
        let _ = std::fs::remove_file(self.path(key).with_extension("unpassed.json"));
    }

    /// Replaces the ids that did not pass.
    ///
    /// # Errors
    /// The disk's.
    pub fn save_unpassed(&self, key: &str, ids: &BTreeSet<String>) -> Result<(), Error> {
        self.write(&self.path(key).with_extension("unpassed.json"), &serde_json::to_vec(ids).unwrap_or_default())
    }

    fn path(&self, key: &str) -> PathBuf {
        let readable: String =
            key.chars().rev().take(40).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let readable: String = readable.chars().rev().collect();
        self.folder.join(format!("{readable}-{:016x}.json", fnv(key.as_bytes())))
    }

    /// What is known; nothing if there is no file, or one that cannot be understood: history is only advice.
    #[must_use]
    pub fn load(&self, key: &str) -> History {
        std::fs::read(self.path(key)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Replaces what is known, whole or not at all.
    ///
    /// # Errors
    /// The disk's.
    pub fn save(&self, key: &str, history: &History) -> Result<(), Error> {
        self.write(&self.path(key), &serde_json::to_vec(history).unwrap_or_default())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let failed = |e| Error::io(format!("save the history in {}", self.folder.display()), e);
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        file.persist(path).map_err(|e| failed(e.error))?;
        Ok(())
    }
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What one run teaches, by group name.
#[derive(Debug, Default)]
pub struct Lessons {
    groups: HashMap<String, Lesson>,
    left_out: HashSet<String>,
    tests: usize,
}

#[derive(Debug, Default)]
struct Lesson {
    tests: Vec<(String, u64)>,
    skipped: Vec<String>,
    unpassed: BTreeSet<String>,
    costs: Vec<(String, u64)>,
    first_costs: Vec<(String, u64)>,
}

impl Lessons {
    /// Nothing is learned of this group: its tasks come as a stream, and no later run could put them in order.
    pub fn leave_out(&mut self, group: &str) {
        self.left_out.insert(group.to_owned());
    }

    /// Takes a result in. `first_in_slot`: nothing of this job ran in that slot before.
    pub fn learn(&mut self, attempt: &Attempt, first_in_slot: bool) {
        if self.tests >= MOST_TESTS || self.left_out.contains(&*attempt.group) {
            return;
        }
        self.tests += 1;
        let lesson = self.groups.entry(attempt.group.to_string()).or_default();
        match attempt.outcome {
            Outcome::Passed if attempt.fence != 0 => {}
            // skipped with its group: it has not run
            Outcome::Skipped if attempt.fence == 0 => {
                lesson.unpassed.insert(attempt.id.to_string());
                return;
            }
            Outcome::Passed | Outcome::Skipped => return lesson.skipped.push(attempt.id.to_string()),
            _ => {
                lesson.unpassed.insert(attempt.id.to_string());
                return;
            }
        }
        lesson.tests.push((attempt.id.to_string(), attempt.us.saturating_sub(attempt.wide_us)));
        if attempt.wide_us > 0 {
            let file = file_of(&attempt.id).to_owned();
            if first_in_slot {
                lesson.first_costs.push((file, attempt.wide_us))
            } else {
                lesson.costs.push((file, attempt.wide_us))
            }
        }
    }

    /// Groups that taught something.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    /// Adds what was learned of a group to what was known; only the files that were met are left in the answer.
    #[must_use]
    pub fn apply(&self, group: &str, mut known: History) -> History {
        let Some(lesson) = self.groups.get(group) else { return known };
        for (id, us) in &lesson.tests {
            known.learn(id, *us);
        }
        for (file, us) in &lesson.costs {
            known.learn_cost(file, *us);
        }
        for (file, us) in &lesson.first_costs {
            known.costs.entry(file.clone()).or_insert(*us);
        }
        known
    }

    /// What did not pass, after what was known of earlier runs: what this one did not run stays as it was.
    #[must_use]
    pub fn unpassed(&self, group: &str, mut known: BTreeSet<String>) -> BTreeSet<String> {
        let Some(lesson) = self.groups.get(group) else { return known };
        for id in lesson.tests.iter().map(|(id, _)| id).chain(&lesson.skipped) {
            known.remove(id);
        }
        known.extend(lesson.unpassed.iter().cloned());
        known
    }

    /// Saves everything on a shelf.
    ///
    /// # Errors
    /// The disk's.
    pub fn save_on(&self, shelf: &Shelf, project: &str) -> Result<(), Error> {
        for group in self.groups() {
            let key = key(project, group);
            shelf.save(&key, &self.apply(group, shelf.load(&key)))?;
            shelf.save_unpassed(&key, &self.unpassed(group, shelf.unpassed(&key).unwrap_or_default()))?;
        }
        Ok(())
    }

    /// Saves everything on a farm.
    ///
    /// # Errors
    /// The server's.
    pub async fn save_in(&self, store: &Store, project: &str) -> Result<(), StoreError> {
        for group in self.groups() {
            let key = key(project, group);
            let mut history = self.apply(group, store.history_load(&key).await?);
            let met: HashSet<&str> =
                self.groups.get(group).map(|l| l.tests.iter().map(|t| file_of(&t.0)).collect()).unwrap_or_default();
            history.tests.retain(|id, _| met.contains(file_of(id)));
            history.costs.retain(|scope, _| met.contains(file_of(scope)));
            store.history_save(&key, &history).await?;
            let known = store.unpassed_load(&key).await?.unwrap_or_default();
            store.unpassed_save(&key, &self.unpassed(group, known)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_folder_is_never_below_the_current_one() {
        let with = |state: &'static str, home: &'static str| {
            state_folder(&move |name| Some(if name == "HOME" { home } else { state }.to_owned()))
        };
        assert_eq!(with("/s", "/h"), Path::new("/s/remuda"));
        assert_eq!(with("", "/h"), Path::new("/h/.local/state/remuda"));
        assert!(with("", "").is_absolute() && with("s", "h").is_absolute());
    }
    use crate::report::testing::{attempt, failed};

    #[test]
    fn only_passes_teach_and_set_up_goes_to_the_file() {
        let mut lessons = Lessons::default();
        lessons.leave_out("stream");
        lessons.learn(&Attempt { group: "stream".into(), ..attempt("x", Outcome::Passed) }, false);
        assert_eq!(lessons.groups().count(), 0);
        lessons.learn(&failed("t.py::bad"), false);
        lessons.learn(&Attempt { us: 900, wide_us: 800, ..attempt("t.py::a", Outcome::Passed) }, true);
        lessons.learn(&Attempt { us: 600, wide_us: 500, ..attempt("u.py::b", Outcome::Passed) }, false);
        let known = History { tests: [("t.py::a".to_owned(), 300)].into(), costs: [("t.py".to_owned(), 200)].into() };
        let learned = lessons.apply("pytest", known);
        assert_eq!(learned.tests, [("t.py::a".to_owned(), 200), ("u.py::b".to_owned(), 100)].into());
        assert_eq!(learned.costs, [("t.py".to_owned(), 200), ("u.py".to_owned(), 500)].into());
    }

    #[test]
    fn what_did_not_pass_is_remembered_until_it_does() {
        let mut lessons = Lessons::default();
        for attempt in
            [failed("t.py::new"), attempt("t.py::healed", Outcome::Passed), attempt("t.py::x", Outcome::Skipped)]
        {
            lessons.learn(&attempt, false);
        }
        let ids = |ids: &[&str]| -> BTreeSet<String> { ids.iter().map(ToString::to_string).collect() };
        let known = ids(&["t.py::healed", "t.py::not-run", "t.py::x"]);
        assert_eq!(lessons.unpassed("pytest", known), ids(&["t.py::new", "t.py::not-run"]));
    }

    #[test]
    fn what_is_saved_can_be_loaded_and_nonsense_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(dir.path());
        assert_eq!(shelf.load("host/org/repo/pytest"), History::default());
        let history = History { tests: [("a".to_owned(), 1)].into(), ..History::default() };
        shelf.save("host/org/repo/pytest", &history).unwrap();
        assert_eq!(shelf.load("host/org/repo/pytest"), history);
        assert_eq!(shelf.load("host/org/repo/lint"), History::default());
        std::fs::write(shelf.path("host/org/repo/pytest"), "{").unwrap();
        assert_eq!(shelf.load("host/org/repo/pytest"), History::default());
    }
}
