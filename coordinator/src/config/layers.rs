//! The settings and their layers: flag > REMUDA_* > remuda.toml > user file > built-in default. Each value remembers
//! where it came from. Knows nothing of groups (`file`) and does nothing (`commands`).

use std::path::PathBuf;

use super::ConfigError;
use super::limits::Limit;
use super::reader::{Source, Table};
use super::values::{Slots, Span, Value, Variables};
use crate::cli::{Annotations, Flags, Global, GroupByArg, IsolationArg, OnDisconnect, StatusLevel};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// A variable.
    Variable(&'static str),
    /// A file and its line.
    File(PathBuf, usize),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag => write!(f, "command line"),
            Self::Variable(name) => write!(f, "{name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// A value that somebody chose, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])* $name:ident: $kind:ty, $variable:expr, $default:literal;)*) => {
        /// One layer of settings, or several merged.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Layer {
            $($(#[doc = $doc])* pub $name: Option<Chosen<$kind>>,)*
        }

        impl Layer {
            /// This layer over a lower one.
            #[must_use]
            pub fn over(self, lower: Self) -> Self {
                Self { $($name: self.$name.or(lower.$name),)* }
            }

            /// The layer of variables.
            ///
            /// # Errors
            /// One has a value that its setting cannot have.
            pub fn from_variables(look: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
                let mut layer = Self::default();
                // an empty one counts as none: so a pipeline hands on a secret that nobody has set
                $(if let Some(name) = $variable && let Some(text) = look(name).filter(|text| !text.is_empty()) {
                    let value = <$kind>::from_text(&text).map_err(|problem| ConfigError::Variable { name, problem })?;
                    layer.$name = Some(Chosen { value, origin: Origin::Variable(name) });
                })*
                Ok(layer)
            }

            /// The settings of a file's table.
            ///
            /// # Errors
            /// One has a wrong type or value.
            pub fn from_table(source: &Source, table: &mut Table<'_>) -> Result<Self, ConfigError> {
                let mut layer = Self::default();
                $(layer.$name = table.take::<$kind>(stringify!($name))?.map(|found| Chosen {
                    value: found.value,
                    origin: Origin::File(source.path.clone(), found.line),
                });)*
                Ok(layer)
            }

            /// Name, value and origin of each, for `--dry-run`.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, String, String)> {
                vec![$(match &self.$name {
                    Some(chosen) => (stringify!($name), without_password(chosen.value.show()), chosen.origin.to_string()),
                    None => (stringify!($name), $default.to_owned(), "default".to_owned()),
                },)*]
            }

            /// The variables that are settings.
            #[must_use]
            pub fn variables() -> Vec<&'static str> {
                let all: Vec<Option<&'static str>> = vec![$($variable,)*];
                all.into_iter().flatten().collect()
            }
        }
    };
}

settings! {
    /// The farm's Redis.
    redis: String, Some("REMUDA_REDIS_URL"), "embedded";
    /// The farm.
    farm: String, Some("REMUDA_FARM"), "default";
    /// Key of the history.
    project: String, Some("REMUDA_PROJECT"), "by git remote or folder";
    /// Places to run.
    slots: Slots, Some("REMUDA_SLOTS"), "auto";
    /// Failures forgiven.
    retries: u32, Some("REMUDA_RETRIES"), "0";
    /// Losses forgiven.
    max_losses: u32, Some("REMUDA_MAX_LOSSES"), "1";
    /// Kills a test.
    timeout: Span, Some("REMUDA_TIMEOUT"), "none";
    /// Says that a test is slow.
    slow: Span, Some("REMUDA_SLOW"), "60s";
    /// Between TERM and KILL.
    grace: Span, Some("REMUDA_GRACE"), "10s";
    /// Ends the run.
    deadline: Span, Some("REMUDA_DEADLINE"), "none";
    /// Stops after so many failures.
    maxfail: u32, Some("REMUDA_MAXFAIL"), "0";
    /// Flaky is failed.
    fail_on_flaky: bool, Some("REMUDA_FAIL_ON_FLAKY"), "false";
    /// JUnit file.
    junit: PathBuf, Some("REMUDA_JUNIT"), "none";
    /// Events file.
    events: PathBuf, Some("REMUDA_EVENTS"), "none";
    /// Page for a browser.
    html: PathBuf, Some("REMUDA_HTML"), "none";
    /// Summary as JSON.
    json: PathBuf, Some("REMUDA_JSON"), "none";
    /// Where failures are marked.
    annotations: Annotations, Some("REMUDA_ANNOTATIONS"), "none";
    /// What is shown as it happens.
    status_level: StatusLevel, Some("REMUDA_STATUS_LEVEL"), "slow; -v: all";
    /// What is shown again at the end.
    final_status_level: StatusLevel, Some("REMUDA_FINAL_STATUS_LEVEL"), "fail";
    /// Variables to pass on.
    env: Variables, Some("REMUDA_ENV"), "none; embedded: all";
    /// Labels a worker must have.
    labels: Vec<String>, Some("REMUDA_LABELS"), "none";
    /// Containment of runners.
    isolation: IsolationArg, Some("REMUDA_ISOLATION"), "slot";
    /// What stays together; no variable: REMUDA_GROUP_… are variables of attempts.
    group_by: GroupByArg, None, "test";
    /// Who is served first.
    priority: i32, Some("REMUDA_PRIORITY"), "0";
    /// Outlives the coordinator by.
    owner_grace: Span, Some("REMUDA_OWNER_GRACE"), "24h; 2m on a farm";
    /// When the coordinator is gone.
    on_disconnect: OnDisconnect, Some("REMUDA_ON_DISCONNECT"), "cancel";
    /// Patience when no worker fits.
    queue_timeout: Span, Some("REMUDA_QUEUE_TIMEOUT"), "5m";
    /// How many of the slowest to show.
    durations: usize, Some("REMUDA_DURATIONS"), "0";
}

/// An address as it may be shown.
fn without_password(text: String) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text };
    // of a socket, user and password are behind the path
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, host)) if !scheme.contains("unix") => ("…@", host),
        _ => ("", rest),
    };
    match rest.split_once('?') {
        Some((place, _)) => format!("{scheme}://{user}{place}?…"),
        None => format!("{scheme}://{user}{rest}"),
    }
}

/// A value that was typed.
#[must_use]
pub fn flag<T>(value: Option<T>) -> Option<Chosen<T>> {
    value.map(|value| Chosen { value, origin: Origin::Flag })
}

fn list<T>(value: Vec<T>) -> Option<Vec<T>> {
    if value.is_empty() { None } else { Some(value) }
}

impl Layer {
    /// The layer of flags.
    #[must_use]
    pub fn from_flags(global: &Global, flags: &Flags) -> Self {
        Self {
            redis: flag(global.redis.clone()),
            farm: flag(global.farm.clone()),
            slots: flag(flags.slots),
            retries: flag(flags.retries),
            max_losses: flag(flags.max_losses),
            timeout: flag(flags.timeout.and_then(Limit::time)),
            deadline: flag(flags.deadline),
            maxfail: flag(flags.maxfail.or(flags.exitfirst.then_some(1))),
            fail_on_flaky: flag(flags.outputs.fail_on_flaky.then_some(true)),
            junit: flag(flags.outputs.junit.clone()),
            events: flag(flags.outputs.events.clone()),
            html: flag(flags.outputs.html.clone()),
            json: flag(flags.outputs.json.clone()),
            annotations: flag(flags.outputs.annotations),
            status_level: flag(flags.outputs.status_level),
            final_status_level: flag(flags.outputs.final_status_level),
            env: flag(list(flags.env.clone()).map(Variables)),
            labels: flag(list(flags.label.clone())),
            priority: flag(flags.priority),
            owner_grace: flag(flags.owner_grace),
            on_disconnect: flag(flags.on_disconnect),
            queue_timeout: flag(flags.queue_timeout),
            durations: flag(flags.outputs.durations),
            ..Self::default()
        }
    }

    /// The two flags that only `run` has.
    #[must_use]
    pub fn with_runner_flags(mut self, isolation: Option<IsolationArg>, group_by: Option<GroupByArg>) -> Self {
        self.isolation = flag(isolation);
        self.group_by = flag(group_by);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &str) -> Layer {
        let source = Source { path: "remuda.toml".into(), text: text.into() };
        let table = source.parse().unwrap();
        Layer::from_table(&source, &mut Table::new(&source, String::new(), table.get_ref())).unwrap()
    }

    #[test]
    fn a_flag_wins_over_a_variable_over_a_file() {
        let flags = Layer::from_flags(&Global::default(), &Flags { retries: Some(3), ..Flags::default() });
        let variables =
            Layer::from_variables(&|name| (name == "REMUDA_RETRIES" || name == "REMUDA_SLOTS").then(|| "2".to_owned()))
                .unwrap();
        let merged = flags.over(variables).over(layer("retries = 1\nslots = 9\ntimeout = \"5m\""));
        let shown: Vec<_> =
            merged.list().into_iter().filter(|s| ["retries", "slots", "timeout", "farm"].contains(&s.0)).collect();
        let expected = [
            ("farm", "default", "default"),
            ("slots", "2", "REMUDA_SLOTS"),
            ("retries", "3", "command line"),
            ("timeout", "5m", "remuda.toml:3"),
        ];
        assert_eq!(shown, expected.map(|(name, value, origin)| (name, value.to_owned(), origin.to_owned())));
    }

    #[test]
    fn passwords_are_not_shown() {
        for (typed, shown) in [
            ("redis://me:p@ss@host:1/", "redis://…@host:1/"),
            ("redis://me:p?ss@host", "redis://…@host"),
            ("unix:///run/a@b.sock?user=me&pass=p@ss", "unix:///run/a@b.sock?…"),
            ("redis://host", "redis://host"),
        ] {
            let global = Global { redis: Some(typed.into()), ..Global::default() };
            assert_eq!(Layer::from_flags(&global, &Flags::default()).list()[0].1, shown);
        }
    }

    #[test]
    fn a_variable_with_a_bad_value_is_named() {
        let error = Layer::from_variables(&|name| (name == "REMUDA_TIMEOUT").then(|| "soon".to_owned())).unwrap_err();
        assert_eq!(error.to_string(), "REMUDA_TIMEOUT: `soon` is not a time; write 90s, 5m, 1h30m or 250ms");
    }

    #[test]
    fn no_name_is_both_a_setting_and_a_variable_of_attempts() {
        let attempt = [
            "REMUDA_JOB",
            "REMUDA_TASK",
            "REMUDA_ATTEMPT",
            "REMUDA_WORKER",
            "REMUDA_SLOT",
            "REMUDA_SLOT_COUNT",
            "REMUDA_DB_PREFIX",
            "REMUDA_OUTPUT",
            "REMUDA_ARTIFACTS",
            "REMUDA_SOCKET",
        ];
        for name in Layer::variables() {
            assert!(
                !attempt.contains(&name) && !name.starts_with("REMUDA_GROUP_") && !name.starts_with("REMUDA_POOL_"),
                "{name}"
            );
        }
    }
}
