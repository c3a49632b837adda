//! History: what earlier runs of a project's group took, kept by file so that a million tests stay affordable.

use std::collections::{BTreeMap, BTreeSet};

use remuda_protocol::id::file_of;

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::{pairs, text};

const FIELDS_A_CALL: usize = 200;
/// A history that nobody adds to for this long goes.
const KEEP_SECONDS: i64 = 90 * 24 * 3600;

/// Learned times of one project and group.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct History {
    /// Expected time by test id, µs.
    pub tests: BTreeMap<String, u64>,
    /// Set-up of wide fixtures by file or class, µs.
    #[serde(default)]
    pub costs: BTreeMap<String, u64>,
}

impl History {
    /// Learns a duration: half old, half new, so that a loaded day fades.
    pub fn learn(&mut self, id: &str, us: u64) {
        self.tests.entry(id.to_owned()).and_modify(|old| *old = u64::midpoint(*old, us)).or_insert(us);
    }

    /// Learns what a scope's fixtures cost.
    pub fn learn_cost(&mut self, scope: &str, us: u64) {
        self.costs.entry(scope.to_owned()).and_modify(|old| *old = u64::midpoint(*old, us)).or_insert(us);
    }
}

impl Store {
    /// Ids that did not pass when `project` last ran them; `None` if that is not known.
    ///
    /// # Errors
    /// The server's.
    pub async fn unpassed_load(&self, project: &str) -> Result<Option<BTreeSet<String>>, StoreError> {
        let answer = self.read("history", redis::pipe().get(self.keys().unpassed(project))).await?;
        Ok(answer.first().and_then(|v| serde_json::from_str(&text(v)).ok()))
    }

    /// It is not known any more what did not pass: a run has begun, and may end without a word.
    ///
    /// # Errors
    /// The server's.
    pub async fn unpassed_forget(&self, project: &str) -> Result<(), StoreError> {
        self.read("history", redis::pipe().del(self.keys().unpassed(project))).await.map(drop)
    }

    /// Replaces the ids that did not pass.
    ///
    /// # Errors
    /// The server's.
    pub async fn unpassed_save(&self, project: &str, ids: &BTreeSet<String>) -> Result<(), StoreError> {
        let (key, body) = (self.keys().unpassed(project), serde_json::to_string(ids).unwrap_or_default());
        self.read("history", redis::pipe().set(&key, body).expire(&key, KEEP_SECONDS)).await.map(drop)
    }

    /// Loads the history kept under `project`; empty if there is none.
    ///
    /// # Errors
    /// The server's.
    pub async fn history_load(&self, project: &str) -> Result<History, StoreError> {
        let answer = self.read("history", redis::pipe().hgetall(self.keys().history(project))).await?;
        let mut history = History::default();
        for (_, value) in answer.into_iter().next().map(pairs).unwrap_or_default() {
            if let Ok(part) = serde_json::from_str::<History>(&text(&value)) {
                history.tests.extend(part.tests);
                history.costs.extend(part.costs);
            }
        }
        Ok(history)
    }

    /// Stores a history under `project`, file by file: one field of the hash holds all tests of a file. Files it does not mention stay.
    ///
    /// # Errors
    /// The server's.
    pub async fn history_save(&self, project: &str, history: &History) -> Result<(), StoreError> {
        let mut files: BTreeMap<&str, History> = BTreeMap::new();
        for (id, us) in &history.tests {
            files.entry(file_of(id)).or_default().tests.insert(id.clone(), *us);
        }
        for (scope, us) in &history.costs {
            files.entry(file_of(scope)).or_default().costs.insert(scope.clone(), *us);
        }
        let fields: Vec<(&str, String)> =
            files.into_iter().filter_map(|(file, part)| Some((file, serde_json::to_string(&part).ok()?))).collect();
        for chunk in fields.chunks(FIELDS_A_CALL) {
            let key = self.keys().history(project);
            self.read("history", redis::pipe().hset_multiple(&key, chunk).expire(&key, KEEP_SECONDS)).await?;
        }
        Ok(())
    }
}
