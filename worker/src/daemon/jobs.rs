//! Job specs that this daemon knows: read once, checked once.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use remuda_protocol::spec::{JobSpec, Tree};
use remuda_store::StoreError;

use super::inbox::Message;
use super::{Daemon, LONG_PATIENCE};

/// Specs kept; those of jobs at work stay in any case.
const MOST_JOBS: usize = 64;

/// A job as the daemon knows it.
#[derive(Debug)]
pub(super) enum Job {
    Reading,
    Ready(Arc<JobSpec>),
    Refused(String),
}

/// What is known of a job.
pub(super) enum Found {
    Waiting,
    Ready(Arc<JobSpec>),
    Refused(String),
}

impl Daemon {
    /// The spec of a job, which is read at the first question.
    pub(super) fn job(&mut self, id: &str) -> Found {
        match self.jobs.get(id) {
            Some(Job::Ready(spec)) => Found::Ready(spec.clone()),
            Some(Job::Refused(why)) => Found::Refused(why.clone()),
            Some(Job::Reading) => Found::Waiting,
            None => {
                if self.jobs.len() >= MOST_JOBS {
                    let (slots, loaders) = (&self.slots, &self.loaders);
                    self.jobs.retain(|id, _| {
                        slots.iter().any(|s| s.work().is_some_and(|w| w.0 == *id))
                            || loaders.values().any(|l| l.job == *id)
                    });
                    self.deaths.clear();
                    self.unloadable.clear();
                }
                self.jobs.insert(id.to_owned(), Job::Reading);
                let (store, inbox, id) = (self.store.patient(LONG_PATIENCE), self.inbox.clone(), id.to_owned());
                tokio::spawn(async move {
                    let spec = store.spec(&id).await;
                    let _ = inbox.send(Message::Spec(id, spec));
                });
                Found::Waiting
            }
        }
    }

    /// Lets jobs that could not be run here be looked at again.
    pub(super) fn forget_refused(&mut self) {
        self.jobs.retain(|_, job| !matches!(job, Job::Refused(_)));
    }

    pub(super) fn on_spec(&mut self, id: &str, spec: Result<JobSpec, StoreError>) {
        let host = &self.settings.host;
        let job = match spec {
            Err(error) if error.is_outage() => {
                self.jobs.remove(id); // asked for again with the next look
                return;
            }
            Err(error) => Job::Refused(format!("worker on {host} failed to {error}")),
            Ok(spec) => match spec
                .check()
                .map_err(|e| format!("worker on {host}: {e}"))
                .and_then(|()| check_tree(&spec.tree, host))
            {
                Ok(()) => Job::Ready(Arc::new(spec)),
                Err(why) => Job::Refused(why),
            },
        };
        self.jobs.insert(id.to_owned(), job);
        self.outbox.ring();
    }
}

/// Files do not travel yet: the tree must be here, and be the same one.
fn check_tree(tree: &Tree, host: &str) -> Result<(), String> {
    let found = std::fs::metadata(Path::new(&tree.path)).map_err(|error| {
        format!("host {host} does not have the tree {} ({error}); expected the submitter's folder at the same path: share it, or run a worker where it is", tree.path)
    })?;
    let mark = format!("{}:{}", found.dev(), found.ino());
    if !tree.mark.is_empty() && tree.host == host && mark != tree.mark {
        return Err(format!(
            "host {host} has another folder at {}; expected the one that was submitted: submit again from there",
            tree.path
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tree_is_refused_by_host_and_path() {
        let tree = Tree { path: "/no/such/tree".into(), host: "a".into(), mark: String::new() };
        let why = check_tree(&tree, "lab7").unwrap_err();
        assert!(why.contains("lab7") && why.contains("/no/such/tree"), "{why}");
    }
}
