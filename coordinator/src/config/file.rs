//! `remuda.toml`: settings, `[groups.NAME]` and `[pools.NAME]`, checked against each other. What a group becomes in
//! a job is `job`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use remuda_protocol::graph;
use remuda_protocol::spec::Adapter;

use super::frameworks::{self, BatchGroup};
use super::layers::Layer;
use super::mistakes::Mistakes;
use super::reader::{Located, Source, Table, nearest};
use super::values::{CommandText, Span, Variables};
use super::{ConfigError, Spot, values::Value};
use crate::cli::{GroupByArg, IsolationArg};

/// The project's file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its top-level settings.
    pub settings: Layer,
    /// Its groups, as written.
    pub groups: Vec<GroupConfig>,
    /// Its pools.
    pub pools: BTreeMap<String, Pool>,
}

/// Exclusive things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Their names.
    pub items: Vec<String>,
    /// Where it stands.
    pub line: usize,
}

/// What a group runs.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// `count` tasks of a command.
    Provision {
        /// The command.
        up: CommandText,
        /// How many.
        count: u32,
    },
    /// A command for each item, or once.
    Command {
        /// The command.
        command: CommandText,
        /// The items; `None` for once.
        items: Option<Vec<String>>,
    },
    /// A command for each file.
    Files {
        /// The command.
        command: CommandText,
        /// Globs.
        files: Vec<String>,
    },
    /// pytest.
    Pytest {
        /// What starts it.
        program: CommandText,
        /// Its arguments.
        args: Vec<String>,
    },
    /// RSpec.
    Rspec {
        /// What starts it.
        program: CommandText,
        /// Its arguments.
        args: Vec<String>,
    },
    /// A framework with a bridge of its own, and its arguments.
    Framework(Adapter),
    /// Ids in a template.
    Batch(BatchGroup),
    /// An ABQ adapter.
    Abq {
        /// What starts it.
        command: CommandText,
    },
}

/// A group as written.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupConfig {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub line: usize,
    /// What it runs.
    pub what: What,
    /// Positions of the groups that must succeed first.
    pub needs: Vec<u32>,
    /// Its own settings.
    pub settings: GroupSettings,
}

/// Settings that a group may have of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSettings {
    /// Failures forgiven.
    pub retries: Option<u32>,
    /// Losses forgiven.
    pub max_losses: Option<u32>,
    /// Kills a test.
    pub timeout: Option<Span>,
    /// Says that a test is slow.
    pub slow: Option<Span>,
    /// Between TERM and KILL.
    pub grace: Option<Span>,
    /// Items of pools that a task holds.
    pub locks: BTreeMap<String, u32>,
    /// Labels a worker must have.
    pub labels: Vec<String>,
    /// Variables.
    pub env: Vec<String>,
    /// Containment of runners.
    pub isolation: Option<IsolationArg>,
    /// What stays together.
    pub group_by: Option<GroupByArg>,
}

impl ProjectFile {
    /// Reads and checks it.
    ///
    /// # Errors
    /// The mistakes that are in it.
    pub fn parse(source: &Source) -> Result<Self, ConfigError> {
        let document = source.parse()?;
        let mut table = Table::new(source, String::new(), document.get_ref());
        let mut mistakes = Mistakes::default();
        let settings = mistakes.keep(Layer::from_table(source, &mut table));
        mistakes.keep(table.not_yet(&["environments", "hooks", "sync"]));
        let pools = mistakes.keep(read_pools(source, &mut table));
        let mut groups = Vec::new();
        let mut needs = Vec::new();
        for (name, line, inner) in mistakes.keep(table.take_tables("groups", "groups: [groups.NAME]")) {
            if let Some((group, wanted)) = mistakes.keep(read_group(source, name, line, inner).map(Some)) {
                groups.push(group);
                needs.push(wanted);
            }
        }
        mistakes.keep(table.finish());
        mistakes.end()?;
        let mut file = Self { path: source.path.clone(), settings, groups, pools };
        file.resolve(needs)?;
        Ok(file)
    }

    /// Its folder, in which its groups run.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// The named groups with everything they need, in the order of the file; all for no names.
    ///
    /// # Errors
    /// A name that no group has.
    pub fn select(&self, wanted: &[String]) -> Result<Vec<usize>, ConfigError> {
        let mut chosen = vec![wanted.is_empty(); self.groups.len()];
        let mut todo = Vec::new();
        for name in wanted {
            todo.push(self.position(name, "command line".to_owned())?);
        }
        while let Some(at) = todo.pop() {
            if !std::mem::replace(&mut chosen[at], true) {
                todo.extend(self.groups[at].needs.iter().map(|&need| need as usize));
            }
        }
        Ok((0..chosen.len()).filter(|&i| chosen[i]).collect())
    }

    fn position(&self, name: &str, whence: String) -> Result<usize, ConfigError> {
        let names = || self.groups.iter().map(|g| g.name.as_str());
        names().position(|n| n == name).ok_or_else(|| ConfigError::UnknownGroup {
            whence,
            name: name.to_owned(),
            nearest: nearest(name, names()).map(str::to_owned),
            known: names().collect::<Vec<_>>().join(", "),
        })
    }

    fn resolve(&mut self, needs: Vec<Located<Vec<String>>>) -> Result<(), ConfigError> {
        let mut numbers = Vec::new();
        for wanted in &needs {
            let whence = format!("{}:{}", self.path.display(), wanted.line);
            let found: Result<Vec<u32>, _> = wanted
                .value
                .iter()
                .map(|n| self.position(n, whence.clone()).map(|i| u32::try_from(i).unwrap_or(u32::MAX)))
                .collect();
            let mut found = found?;
            found.sort_unstable();
            found.dedup();
            numbers.push(found);
        }
        if let Some(circle) = graph::find_cycle(&numbers) {
            let names: Vec<&str> = circle.iter().map(|&g| self.groups[g].name.as_str()).collect();
            return Err(ConfigError::Cycle {
                path: self.path.clone(),
                line: needs[circle[0]].line,
                circle: names.join(" -> "),
            });
        }
        for (group, needs) in self.groups.iter_mut().zip(numbers) {
            group.needs = needs;
        }
        self.check_locks()
    }

    fn check_locks(&self) -> Result<(), ConfigError> {
        for group in &self.groups {
            for (pool, &wanted) in &group.settings.locks {
                let problem = match self.pools.get(pool) {
                    None => match nearest(pool, self.pools.keys().map(String::as_str)) {
                        Some(near) => format!("there is no pool `{pool}`; the nearest is `{near}`"),
                        None => format!("there is no pool `{pool}`; define it: [pools.{pool}] items = [\"a\", \"b\"]"),
                    },
                    Some(p) if wanted as usize > p.items.len() => {
                        format!(
                            "wants {wanted} of pool `{pool}`, which has {} (line {}); lock fewer, or add items",
                            p.items.len(),
                            p.line
                        )
                    }
                    Some(_) => continue,
                };
                let table = format!("[groups.{}]", group.name);
                let at = Spot { path: self.path.clone(), line: group.line, key: "locks".into(), table };
                return Err(ConfigError::Value { at: Box::new(at), problem });
            }
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn check_name(source: &Source, line: usize, what: &str, name: &str) -> Result<(), ConfigError> {
    if is_name(name) {
        return Ok(());
    }
    let problem = "a name may only have letters, digits, `-`, `_` and `.`".to_owned();
    let at = Spot { path: source.path.clone(), line, key: name.to_owned(), table: format!("[{what}]") };
    Err(ConfigError::Value { at: Box::new(at), problem })
}

fn read_pools(source: &Source, table: &mut Table<'_>) -> Result<BTreeMap<String, Pool>, ConfigError> {
    let (mut pools, mut mistakes) = (BTreeMap::new(), Mistakes::default());
    for (name, line, inner) in table.take_tables("pools", "pools: [pools.NAME]")? {
        let pool =
            mistakes.keep(check_name(source, line, "pools", name).and_then(|()| read_pool(line, inner)).map(Some));
        pools.extend(pool.map(|pool| (name.to_owned(), pool)));
    }
    mistakes.end().map(|()| pools)
}

fn read_pool(line: usize, mut inner: Table<'_>) -> Result<Pool, ConfigError> {
    let items = inner.take::<Vec<String>>("items")?;
    let count = inner.take::<u32>("count")?;
    let items = match (items, count) {
        (Some(items), None) => items.value,
        (None, Some(count)) if count.value <= 10_000 => (0..count.value).map(|i| i.to_string()).collect(),
        (None, Some(count)) => return Err(inner.value_error("count", count.line, "at most 10000".into())),
        (Some(_), Some(count)) => {
            return Err(inner.value_error("count", count.line, "a pool has either items or a count".into()));
        }
        (None, None) => {
            return Err(inner.missing("items", line, "a pool has `items = [\"a\", \"b\"]` or `count = 2`".into()));
        }
    };
    check_items(&inner, line, &items)?;
    inner.finish()?;
    Ok(Pool { items, line })
}

fn check_items(table: &Table<'_>, line: usize, items: &[String]) -> Result<(), ConfigError> {
    for (i, item) in items.iter().enumerate() {
        if items[..i].contains(item) {
            return Err(table.value_error("items", line, format!("`{item}` is there twice")));
        }
        // these separate items where a claim names what it holds
        if item.is_empty() || item.contains([';', '|', '=', ',', '\n', '\0']) {
            return Err(table.value_error(
                "items",
                line,
                format!("`{}` may not be empty or have any of ; | = ,", item.escape_debug()),
            ));
        }
    }
    Ok(())
}

fn read_group(
    source: &Source,
    name: &str,
    line: usize,
    mut table: Table<'_>,
) -> Result<(GroupConfig, Located<Vec<String>>), ConfigError> {
    check_name(source, line, "groups", name)?;
    table.not_yet(&["down", "ready", "affinity", "environments", "outputs"])?;
    let needs = table.take::<Vec<String>>("needs")?.unwrap_or(Located { value: Vec::new(), line });
    let settings = GroupSettings {
        retries: value(table.take("retries")?),
        max_losses: value(table.take("max_losses")?),
        timeout: value(table.take("timeout")?),
        slow: value(table.take("slow")?),
        grace: value(table.take("grace")?),
        locks: table.take_counts("locks")?.into_iter().collect(),
        labels: value(table.take("labels")?).unwrap_or_default(),
        env: value(table.take::<Variables>("env")?).map(|v| v.0).unwrap_or_default(),
        isolation: None,
        group_by: None,
    };
    let mut group = GroupConfig {
        name: name.to_owned(),
        line,
        what: What::Abq { command: CommandText::Words(Vec::new()) },
        needs: Vec::new(),
        settings,
    };
    group.what = read_what(&mut table, line, &mut group.settings)?;
    table.finish()?;
    Ok((group, needs))
}

pub(super) fn value<T>(found: Option<Located<T>>) -> Option<T> {
    found.map(|f| f.value)
}

fn read_what(table: &mut Table<'_>, line: usize, settings: &mut GroupSettings) -> Result<What, ConfigError> {
    let adapter = table.take::<String>("adapter")?;
    let up = table.take::<CommandText>("up")?;
    let Some(adapter) = adapter else {
        let Some(up) = up else {
            return Err(table.missing(
                "adapter",
                line,
                "a group has an `adapter` (command, files, pytest, rspec, cargo-nextest, cargo-test, go-test, batch, abq) or `up`"
                    .into(),
            ));
        };
        let count = value(table.take::<u32>("count")?).unwrap_or(1);
        return Ok(What::Provision { up: up.value, count });
    };
    if up.is_some() {
        return Err(table.value_error("adapter", adapter.line, "a group has either an adapter or `up`".into()));
    }
    if let Some(found) = frameworks::read(&adapter.value, table, line)? {
        return Ok(found);
    }
    match adapter.value.as_str() {
        "command" => {
            Ok(What::Command { command: required(table, line, "command")?, items: value(table.take("items")?) })
        }
        "files" => {
            Ok(What::Files { command: required(table, line, "command")?, files: required(table, line, "files")? })
        }
        "abq" => Ok(What::Abq { command: required(table, line, "command")? }),
        "pytest" => {
            settings.isolation = value(table.take("isolation")?);
            settings.group_by = value(table.take("group_by")?);
            let program = value(table.take("program")?).unwrap_or(CommandText::Words(vec!["pytest".into()]));
            Ok(What::Pytest { program, args: value(table.take("args")?).unwrap_or_default() })
        }
        "rspec" => {
            settings.isolation = value(table.take("isolation")?);
            settings.group_by = value(table.take("group_by")?);
            let program = value(table.take("program")?).unwrap_or(CommandText::Words(vec!["rspec".into()]));
            Ok(What::Rspec { program, args: value(table.take("args")?).unwrap_or_default() })
        }
        other => {
            let known = [&["command", "files", "pytest", "rspec"][..], &frameworks::KNOWN, &["abq"]].concat();
            let near =
                nearest(other, known.iter().copied()).map(|n| format!("; the nearest is `{n}`")).unwrap_or_default();
            let problem = format!("there is no adapter `{other}` (known: {}){near}", known.join(", "));
            Err(table.value_error("adapter", adapter.line, problem))
        }
    }
}

pub(super) fn required<T: Value>(table: &mut Table<'_>, line: usize, key: &'static str) -> Result<T, ConfigError> {
    match table.take(key)? {
        Some(found) => Ok(found.value),
        None => Err(table.missing(key, line, format!("is missing; expected {}", T::WHAT))),
    }
}
