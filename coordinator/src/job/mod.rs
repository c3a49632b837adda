//! From what shall be done to a job: groups, lanes, limits and where each group's tasks come from. Pure, but for the
//! files that `files`, `place` and `rootdir` look at. Submitting is `submit`'s.

pub mod adhoc;
pub mod again;
pub mod cargo;
pub mod files;
pub mod frameworks;
pub mod go;
pub mod place;
pub mod pytest;
pub mod rootdir;
pub mod rows;
pub mod rspec;
pub mod template;

use std::collections::BTreeMap;
use std::path::Path;

use remuda_protocol::PROTOCOL;
use remuda_protocol::spec::{
    Adapter, BatchSpec, CANCEL_GRACE_MS, GroupBy, GroupKind, GroupSpec, Isolation, JobSpec, LaneSpec, MAX_ID_BYTES,
    Tree,
};

use crate::cli::{GroupByArg, IsolationArg, OnDisconnect};
use crate::config::file::GroupSettings;
use crate::config::layers::{Chosen, Origin};
use crate::config::values::{CommandText, Slots};
use crate::config::{GroupConfig, Layer, ProjectFile, What};
use crate::error::Error;
use rows::Rows;

const DAY_MS: u64 = 86_400_000;
const DETAIL_BUDGET: u64 = 64 << 20;
const SLOW_MS: u64 = 60_000;
const GRACE_MS: u64 = 10_000;
/// Most characters of a job's name.
const NAME_CHARS: usize = 200;

/// A job that can be submitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What workers read.
    pub spec: JobSpec,
    /// Groups whose tasks this coordinator adds.
    pub feeds: Vec<Feed>,
}

/// Tasks that this coordinator adds to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The group's number.
    pub group: u32,
    /// The lane's number in the job.
    pub lane: u32,
    /// The tasks.
    pub items: Items,
}

/// Where tasks come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Items {
    /// All known.
    Known(Vec<String>),
    /// One after the other, as they are read.
    Rows(Rows),
    /// A worker finds them.
    Collected,
}

/// A group before it has a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: GroupKind,
    /// How it runs.
    pub adapter: Adapter,
    /// Positions of the drafts it needs.
    pub needs: Vec<usize>,
    /// Its own settings.
    pub settings: GroupSettings,
    /// Its tasks.
    pub items: Items,
}

/// What a job is besides its groups.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Who asks.
    pub submitter: String,
    /// Key of its history, unless the settings name one.
    pub project: String,
    /// Its tree.
    pub tree: Tree,
    /// Whether Redis and worker are this program's own children.
    pub embedded: bool,
}

/// The chosen groups of `remuda.toml` as drafts.
///
/// # Errors
/// A glob is wrong or matches nothing.
pub fn drafts(file: &ProjectFile, chosen: &[usize]) -> Result<Vec<Draft>, Error> {
    let position = |need: &u32| chosen.iter().position(|&at| at == *need as usize);
    chosen
        .iter()
        .map(|&at| {
            let group = &file.groups[at];
            let (kind, adapter, items) = adapter_of(group, file.folder())?;
            let needs = group.needs.iter().filter_map(position).collect();
            Ok(Draft { name: group.name.clone(), kind, adapter, needs, settings: group.settings.clone(), items })
        })
        .collect()
}

fn adapter_of(group: &GroupConfig, folder: &Path) -> Result<(GroupKind, Adapter, Items), Error> {
    let command = |text: &CommandText| Adapter::Command { template: template::template(text) };
    Ok(match &group.what {
        What::Provision { up, count } => {
            (GroupKind::Provision, command(up), Items::Known((0..*count).map(|i| i.to_string()).collect()))
        }
        What::Command { command: text, items: Some(items) } => {
            (GroupKind::Tests, command(text), Items::Known(checked(items)?))
        }
        What::Command { command: text, items: None } => {
            (GroupKind::Tests, command(text), Items::Known(vec![once(text)]))
        }
        What::Files { command: text, files } => {
            (GroupKind::Tests, command(text), Items::Known(files::matching(&group.name, folder, files)?))
        }
        What::Framework(adapter) => (GroupKind::Tests, adapter.clone(), Items::Collected),
        What::Batch(batch) => {
            let mut items = checked(&batch.items)?;
            if !batch.files.is_empty() {
                items.extend(files::matching(&group.name, folder, &batch.files)?);
            }
            let (list, command) = (batch.list.as_ref().map(template::template), template::template(&batch.command));
            let spec = BatchSpec { list, items, command, id: batch.id.clone(), most: batch.most };
            (GroupKind::Tests, Adapter::Batch(spec), Items::Collected)
        }
        What::Abq { command } => (GroupKind::Tests, Adapter::Abq { argv: command.words() }, Items::Collected),
        What::Pytest { program, args } => {
            let settings = &group.settings;
            let adapter = pytest_adapter(program.words(), args.clone(), settings.isolation, settings.group_by);
            (GroupKind::Tests, adapter, Items::Collected)
        }
        What::Rspec { program, args } => {
            (GroupKind::Tests, rspec::adapter(program.words(), args.clone()), Items::Collected)
        }
    })
}

fn once(text: &CommandText) -> String {
    match text {
        CommandText::Line(line) => line.clone(),
        CommandText::Words(words) => template::command_line(words),
    }
}

/// Items that can be tasks.
///
/// # Errors
/// One is too long.
pub fn checked(items: &[String]) -> Result<Vec<String>, Error> {
    items.iter().enumerate().map(|(i, item)| check_item(i as u64 + 1, item).map(|()| item.clone())).collect()
}

/// Whether an item can be a task.
///
/// # Errors
/// It is too long.
pub fn check_item(number: u64, item: &str) -> Result<(), Error> {
    if item.len() <= MAX_ID_BYTES {
        return Ok(());
    }
    let shown: String = item.chars().take(40).collect();
    let problem = format!("has {} bytes; a task's name may have at most {MAX_ID_BYTES}", item.len());
    Err(Error::Item { number, shown: format!("{}…", shown.escape_debug()), problem })
}

fn pytest_adapter(
    program: Vec<String>,
    args: Vec<String>,
    isolation: Option<IsolationArg>,
    group_by: Option<GroupByArg>,
) -> Adapter {
    Adapter::Pytest {
        program,
        args,
        isolation: match isolation {
            Some(IsolationArg::Test) => Isolation::Test,
            _ => Isolation::Slot,
        },
        group_by: match group_by {
            Some(GroupByArg::Class) => GroupBy::Class,
            Some(GroupByArg::File) => GroupBy::File,
            _ => GroupBy::Test,
        },
    }
}

/// The value for one group: what was typed wins over the group's own, that over a file's.
fn pick<T: Clone>(general: Option<&Chosen<T>>, own: Option<&T>) -> Option<T> {
    match (general, own) {
        (Some(chosen), Some(_)) if !matches!(chosen.origin, Origin::File(..)) => Some(chosen.value.clone()),
        (_, Some(own)) => Some(own.clone()),
        (general, None) => general.map(|chosen| chosen.value.clone()),
    }
}

/// Makes the job. `look` finds the submitter's own variables.
///
/// # Errors
/// The groups do not fit together, or a variable that was asked for is not set.
pub fn build(
    head: Head,
    drafts: Vec<Draft>,
    settings: &Layer,
    pools: &BTreeMap<String, Vec<String>>,
    look: &dyn Fn(&str) -> Option<String>,
) -> Result<Plan, Error> {
    let mut spec = head_spec(head, settings, look)?;
    let locked = |name: &String| drafts.iter().any(|d| d.settings.locks.contains_key(name));
    spec.pools = pools.iter().filter(|(name, _)| locked(name)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let numbers = numbers(&drafts);
    let (mut feeds, mut lane) = (Vec::new(), 0);
    for draft in drafts {
        let group = u32::try_from(spec.groups.len()).unwrap_or(u32::MAX);
        let own = group_spec(&draft, &numbers, settings, look)?;
        if draft.items == Items::Collected {
            spec.groups.push(collector(&own, group + 1));
            spec.groups.push(GroupSpec {
                lanes: own.lanes.iter().map(|l| LaneSpec { warm: true, ..l.clone() }).collect(),
                ..own
            });
            feeds.push(Feed { group, lane, items: Items::Known(vec![draft.name]) });
            lane += 2;
        } else {
            spec.groups.push(own);
            feeds.push(Feed { group, lane, items: draft.items });
            lane += 1;
        }
    }
    spec.check()?;
    Ok(Plan { spec, feeds })
}

/// The number of each draft's own group; a collector takes the number before it.
fn numbers(drafts: &[Draft]) -> Vec<u32> {
    let mut next = 0;
    drafts
        .iter()
        .map(|draft| {
            next += if draft.items == Items::Collected { 2 } else { 1 };
            next - 1
        })
        .collect()
}

fn head_spec(head: Head, settings: &Layer, look: &dyn Fn(&str) -> Option<String>) -> Result<JobSpec, Error> {
    let detach = settings.on_disconnect.as_ref().is_some_and(|c| c.value == OnDisconnect::Detach);
    if detach && head.embedded {
        return Err(Error::Usage(
            "--on-disconnect detach needs a farm that goes on without this program: name one with --redis URL".into(),
        ));
    }
    let typed = settings.env.as_ref().is_some_and(|c| c.origin == Origin::Flag);
    let wanted = settings.env.as_ref().map(|c| c.value.0.clone()).unwrap_or_default();
    let max_slots = match settings.slots.as_ref().map(|c| c.value) {
        Some(Slots::Count(n)) if !head.embedded => n,
        _ => 0,
    };
    Ok(JobSpec {
        protocol: PROTOCOL,
        id: head.id,
        name: head.name.chars().take(NAME_CHARS).collect(),
        submitter: head.submitter,
        project: settings.project.as_ref().map_or(head.project, |c| c.value.clone()),
        priority: settings.priority.as_ref().map_or(0, |c| c.value),
        weight: 1,
        max_slots,
        deadline_ms: settings.deadline.as_ref().map(|c| c.value.ms()).filter(|ms| *ms > 0),
        max_failures: settings.maxfail.as_ref().map_or(0, |c| c.value),
        halt_soon: false,
        echo: None,
        fail_on_flaky: settings.fail_on_flaky.as_ref().is_some_and(|c| c.value),
        detach,
        retention_ms: DAY_MS,
        detail_budget: DETAIL_BUDGET,
        tree: head.tree,
        env: variables(&wanted, typed, look)?,
        pools: BTreeMap::new(),
        groups: Vec::new(),
    })
}

/// `NAME=VALUE` as it is, `NAME` from the submitter's own; one that is not set is an error only if it was typed.
fn variables(
    wanted: &[String],
    typed: bool,
    look: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut found = BTreeMap::new();
    for text in wanted {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), look(text)),
        };
        if name.is_empty() || name.contains('\0') {
            return Err(Error::Usage(format!("`{}` is not NAME or NAME=VALUE", text.escape_debug())));
        }
        match value {
            Some(value) => drop(found.insert(name.to_owned(), value)),
            None if typed => {
                return Err(Error::Usage(format!(
                    "--env {name}: this variable is not set here; export it, or write --env {name}=VALUE"
                )));
            }
            None => {}
        }
    }
    Ok(found)
}

fn group_spec(
    draft: &Draft,
    numbers: &[u32],
    settings: &Layer,
    look: &dyn Fn(&str) -> Option<String>,
) -> Result<GroupSpec, Error> {
    let own = &draft.settings;
    let mut labels = own.labels.clone();
    labels.extend(settings.labels.as_ref().map(|c| c.value.clone()).unwrap_or_default());
    labels.sort();
    labels.dedup();
    // provisioning that fails is not made better by silently doing it again
    let retries = if draft.kind == GroupKind::Provision {
        own.retries
    } else {
        pick(settings.retries.as_ref(), own.retries.as_ref())
    };
    let mut adapter = draft.adapter.clone();
    if let Adapter::Pytest { isolation, group_by, .. } | Adapter::Rspec { isolation, group_by, .. } = &mut adapter {
        let pytest = pytest_adapter(
            Vec::new(),
            Vec::new(),
            pick(settings.isolation.as_ref(), own.isolation.as_ref()),
            pick(settings.group_by.as_ref(), own.group_by.as_ref()),
        );
        if let Adapter::Pytest { isolation: i, group_by: g, .. } = pytest {
            (*isolation, *group_by) = (i, g);
        }
    }
    let grace = pick(settings.grace.as_ref(), own.grace.as_ref());
    Ok(GroupSpec {
        name: draft.name.clone(),
        kind: draft.kind,
        needs: draft.needs.iter().map(|&need| numbers[need]).collect(),
        collects: None,
        adapter,
        lanes: vec![LaneSpec { labels, locks: own.locks.clone(), warm: false }],
        retries: retries.unwrap_or(0),
        max_losses: pick(settings.max_losses.as_ref(), own.max_losses.as_ref()).unwrap_or(1),
        timeout_ms: pick(settings.timeout.as_ref(), own.timeout.as_ref()).map(|t| t.ms()).filter(|ms| *ms > 0),
        timeout_percent: 0,
        grace_ms: grace.map_or(GRACE_MS, |t| t.ms()),
        // who has said how long it takes to end knows why
        cancel_grace_ms: grace.map_or(CANCEL_GRACE_MS, |t| t.ms()),
        slow_ms: pick(settings.slow.as_ref(), own.slow.as_ref()).map_or(SLOW_MS, |t| t.ms()),
        env: variables(&own.env, false, look)?,
        only: Vec::new(),
        whole_output: false,
    })
}

/// The group of one task that finds the tests of group number `target`, behind the same gate, without its locks.
fn collector(own: &GroupSpec, target: u32) -> GroupSpec {
    GroupSpec {
        name: format!("{}@collect", own.name),
        kind: GroupKind::Collect,
        collects: Some(target),
        lanes: own.lanes.iter().map(|lane| LaneSpec { locks: BTreeMap::new(), warm: false, ..lane.clone() }).collect(),
        retries: 0,
        timeout_ms: None,
        ..own.clone()
    }
}

#[cfg(test)]
pub(crate) mod tests;
