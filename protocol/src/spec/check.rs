//! What of a spec no later stage can repair, and the errors that say so.

use super::{GroupSpec, JobSpec, MAX_GROUPS, MAX_LANES};
use crate::graph::{self, GraphError};

/// A spec that cannot run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// Of another protocol version.
    #[error("the job speaks protocol {found}, this program speaks {PROTOCOL}", PROTOCOL = crate::PROTOCOL)]
    Protocol {
        /// The job's.
        found: u32,
    },
    /// Too many groups.
    #[error("{found} groups, at most {MAX_GROUPS} fit in a job")]
    Groups {
        /// How many.
        found: usize,
    },
    /// Too many lanes.
    #[error("{found} lanes, at most {MAX_LANES} fit in a job")]
    Lanes {
        /// How many.
        found: usize,
    },
    /// A lock names no pool.
    #[error("group `{group}` locks pool `{pool}`, which is not defined")]
    UnknownPool {
        /// The group.
        group: String,
        /// The pool.
        pool: String,
    },
    /// A lock wants more than there is.
    #[error("group `{group}` locks {wanted} of pool `{pool}`, which has {has}")]
    PoolTooSmall {
        /// The group.
        group: String,
        /// The pool.
        pool: String,
        /// How many it wants.
        wanted: u32,
        /// How many there are.
        has: usize,
    },
    /// A name that would not survive in a key, a variable or a label list.
    #[error("{what} `{name}` may only have letters, digits, `-`, `_` and `.`")]
    Name {
        /// What it names.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The graph is wrong.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl JobSpec {
    /// Checks what no later stage can repair.
    ///
    /// # Errors
    /// The first [`SpecError`] found.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.protocol != crate::PROTOCOL {
            return Err(SpecError::Protocol { found: self.protocol });
        }
        if self.groups.len() > MAX_GROUPS {
            return Err(SpecError::Groups { found: self.groups.len() });
        }
        let lanes = self.groups.iter().map(|g| g.lanes.len()).sum();
        if lanes > MAX_LANES {
            return Err(SpecError::Lanes { found: lanes });
        }
        for pool in self.pools.keys() {
            check_name("pool", pool)?;
        }
        for group in &self.groups {
            self.check_locks(group)?;
            group.lanes.iter().flat_map(|l| &l.labels).try_for_each(|l| check_name("label", l))?;
        }
        let names: Vec<String> = self.groups.iter().map(|g| g.name.clone()).collect();
        let needs: Vec<Vec<u32>> = self.groups.iter().map(|g| g.needs.clone()).collect();
        Ok(graph::check(&names, &needs)?)
    }

    fn check_locks(&self, group: &GroupSpec) -> Result<(), SpecError> {
        for (pool, &wanted) in group.lanes.iter().flat_map(|l| &l.locks) {
            let Some(items) = self.pools.get(pool) else {
                return Err(SpecError::UnknownPool { group: group.name.clone(), pool: pool.clone() });
            };
            if wanted as usize > items.len() {
                let (group, pool, has) = (group.name.clone(), pool.clone(), items.len());
                return Err(SpecError::PoolTooSmall { group, pool, wanted, has });
            }
        }
        Ok(())
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), SpecError> {
    let fine = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if fine { Ok(()) } else { Err(SpecError::Name { what, name: name.to_owned() }) }
}
