//! `remuda retry`: what did not pass in a job, once more.

use std::collections::HashMap;

use remuda_protocol::spec::{GroupKind, JobSpec};
use remuda_store::Store;

use crate::cli::Global;
use crate::cli::verbs::Retry;
use crate::error::{Error, Exit};
use crate::farm::Farm;
use crate::job::{Feed, Items, Plan, again, place};
use crate::overview::Overview;
use crate::report::echo::Manner;
use crate::report::kept::Kept;
use crate::session::{self, Request};
use crate::visit::is_over;

use super::submit::refuse_reports;
use super::{outputs, variable, verbosity};

/// Does it.
///
/// # Errors
/// There is no such job, or it has not ended.
pub async fn run(global: &Global, args: &Retry) -> Result<Exit, Error> {
    if args.detach {
        refuse_reports("retry --detach", &args.outputs)?;
    }
    let farm = Farm::of(outputs(global, &args.outputs)?).await?;
    let head = farm.job(&args.of.job).await?;
    if !is_over(&head) {
        let id = &head.id;
        return Err(Error::Usage(format!(
            "job {id} has not ended; `remuda wait {id}` waits, `remuda cancel {id}` ends it"
        )));
    }
    let old = Overview::read(&farm.store, head).await?;
    let unpassed = old.unpassed(&farm.store).await?;
    let mut plan = plan_of(&farm.store, &old, args.detach).await?;
    plan.spec.fail_on_flaky |= args.outputs.fail_on_flaky;
    let Some(plan) = again::narrow(plan, &unpassed) else {
        eprintln!("nothing to do: everything in job {} passed", old.head.id);
        return Ok(Exit::Passed);
    };
    let request = Request {
        echo: Manner::of(&plan.spec),
        plan,
        settings: &farm.settings,
        verbosity: verbosity(global, 0),
        last_failed: false,
        live: false,
        kept: Kept::default(),
        halt: None,
        notes: vec![format!("what did not pass in job {}", old.head.id)],
        look: &variable,
    };
    if args.detach { session::submit(&request).await } else { session::run(request).await }
}

/// The whole job again, under a new id.
async fn plan_of(store: &Store, old: &Overview, detach: bool) -> Result<Plan, Error> {
    let spec =
        JobSpec { id: uuid::Uuid::new_v4().to_string(), submitter: place::submitter(), detach, ..old.spec.clone() };
    let collected: HashMap<u32, &str> = spec
        .groups
        .iter()
        .filter_map(|g| g.collects)
        .map(|target| (target, spec.groups[target as usize].name.as_str()))
        .collect();
    let (mut feeds, mut lane) = (Vec::new(), 0);
    for (group, own) in (0..).zip(&spec.groups) {
        let items = match own.kind {
            GroupKind::Collect => own.collects.map(|t| vec![spec.groups[t as usize].name.clone()]),
            _ if collected.contains_key(&group) => None,
            _ => Some(store.ids(&old.head.id, group, 0, old.state.groups[group as usize].added).await?),
        };
        feeds.extend(items.map(|items| Feed { group, lane, items: Items::Known(items) }));
        lane += u32::try_from(own.lanes.len()).unwrap_or(u32::MAX);
    }
    Ok(Plan { spec: spec.clone(), feeds })
}
