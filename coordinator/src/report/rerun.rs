//! The line that runs one task again. For people to paste; nothing here runs it.

use remuda_protocol::item::{self, Item};
use remuda_protocol::spec::{Adapter, JobSpec};

use crate::job::template::command_line;
use crate::job::{cargo, go};

/// The line for a task of a group, if there is one.
#[must_use]
pub fn line(spec: &JobSpec, group: u32, task: u32, id: &str) -> Option<String> {
    match &spec.groups.get(group as usize)?.adapter {
        Adapter::Pytest { program, .. } | Adapter::Rspec { program, .. } => {
            let mut words = program.clone();
            words.push(id.to_owned());
            Some(format!("remuda run -- {}", command_line(&words)))
        }
        Adapter::Command { template } => Some(item::command(template, &Item::new(id, task), 0)),
        Adapter::CargoNextest { program, args } => Some(cargo::rerun_nextest(program, args, id)),
        Adapter::CargoTest { program, args } => Some(cargo::rerun_test(program, args, id)),
        Adapter::GoTest { program, args } => Some(go::rerun(program, args, id)),
        Adapter::Batch(_) | Adapter::Abq { .. } => None,
    }
}
