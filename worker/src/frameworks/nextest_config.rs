//! What `.config/nextest.toml` says of single tests. Which tests a filter means is asked of nextest itself, once for
//! each override; only the values are read here.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use super::capture::Record;
use super::nextest_filter::{Evaluator, value_of, values_of};
use super::nextest_list::List;
use super::nextest_platform::holds_here;
use crate::bridge::loader::{Failure, Link};

/// nextest's own defaults.
const SLOW_PERIOD: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(10);
const LEAK: Duration = Duration::from_millis(200);

/// What holds for one test.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules {
    pub(super) retries: Retries,
    pub(super) timeout: Option<Duration>,
    pub(super) pass_on_timeout: bool,
    pub(super) grace: Duration,
    pub(super) leak: Duration,
    pub(super) leak_fails: bool,
    pub(super) group: String,
    pub(super) extra_args: Vec<String>,
    pub(super) flaky_fails: bool,
}

/// How often a failed test is tried again, and after which pause.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Retries {
    pub(super) count: u32,
    delay: Duration,
    exponential: bool,
    most: Option<Duration>,
}

impl Retries {
    /// The pause after the so-manieth attempt.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        let factor = if self.exponential { 2_u32.saturating_pow(attempt.saturating_sub(1)) } else { 1 };
        let pause = self.delay.saturating_mul(factor);
        self.most.map_or(pause, |most| pause.min(most))
    }
}

/// An override with the tests that it concerns; `None`: all.
#[derive(Debug)]
struct Override {
    table: Table,
    tests: Option<HashSet<(String, String)>>,
}

/// The configuration in effect.
#[derive(Debug, Default)]
pub(super) struct Config {
    overrides: Vec<Override>,
    /// The profile's own settings and those it inherits, the nearest first.
    profiles: Vec<Table>,
    /// `max-threads` by group.
    pub(super) groups: HashMap<String, usize>,
    pub(super) max_fail: Option<u32>,
    pub(super) threads: Option<u32>,
    pub(super) notes: Vec<String>,
    /// `--retries` was typed: those are the run's own.
    no_retries: bool,
}

fn refuse(message: String) -> Failure {
    Failure { message, exit: 3, output: String::new() }
}

impl Config {
    pub(super) fn load(
        program: &[String],
        args: &[String],
        list: &List,
        records: &[Record],
        link: &mut Link,
    ) -> Result<Self, Failure> {
        let told = |name: &str| records.iter().find_map(|r| r.var(name)).map(str::to_owned);
        let profile = told("NEXTEST_PROFILE").unwrap_or_else(|| "default".to_owned());
        let root = told("NEXTEST_WORKSPACE_ROOT").map(PathBuf::from).unwrap_or_default();
        let tables = read_files(args, &root)?;
        let mut config = Self { no_retries: value_of(args, &["--retries"]).is_some(), ..Self::default() };
        for table in &tables {
            let groups = table.get("test-groups").and_then(Value::as_table);
            for (name, group) in groups.into_iter().flatten() {
                let most = group.get("max-threads").and_then(Value::as_integer).and_then(|n| usize::try_from(n).ok());
                // `num-cpus` limits nothing that slots do not limit already
                config.groups.extend(most.map(|most| (name.clone(), most)));
            }
        }
        let mut evaluator = None;
        for name in inherited(&tables, &profile) {
            for table in &tables {
                let Some(found) = table.get("profile").and_then(|p| p.get(&name)).and_then(Value::as_table) else {
                    continue;
                };
                refuse_scripts(&name, found)?;
                for one in found.get("overrides").and_then(Value::as_array).into_iter().flatten() {
                    let Some(table) = one.as_table() else { continue };
                    if !holds_here(table.get("platform")) {
                        continue;
                    }
                    let tests = match table.get("filter").and_then(Value::as_str) {
                        None => None,
                        Some(filter) => {
                            let evaluator = match &evaluator {
                                Some(evaluator) => evaluator,
                                None => evaluator.insert(Evaluator::new(program, args, list, &root, link)?),
                            };
                            Some(evaluator.tests(filter, link)?)
                        }
                    };
                    config.overrides.push(Override { table: table.clone(), tests });
                }
                config.profiles.push(found.clone());
            }
        }
        config.read_limits(args);
        Ok(config)
    }

    fn read_limits(&mut self, args: &[String]) {
        self.max_fail = match self.profile_value("fail-fast") {
            Some(Value::Boolean(false)) => None,
            Some(Value::Table(table)) => {
                table.get("max-fail").and_then(Value::as_integer).and_then(|n| u32::try_from(n).ok())
            }
            _ => Some(1),
        };
        let has = |names: &[&str]| args.iter().take_while(|w| *w != "--").any(|w| names.contains(&w.as_str()));
        if has(&["--no-fail-fast", "--nff"]) {
            self.max_fail = None;
        } else if has(&["--fail-fast", "--ff"]) {
            self.max_fail = Some(1);
        } else if let Some(most) = value_of(args, &["--max-fail"]) {
            self.max_fail = most.split(':').next().and_then(|n| n.parse().ok());
        }
        let threads = std::env::var("NEXTEST_TEST_THREADS").ok().and_then(|n| n.parse().ok());
        let set = self.profile_value("test-threads").and_then(Value::as_integer).and_then(|n| u32::try_from(n).ok());
        if value_of(args, &["-j", "--test-threads", "--jobs"]).is_none() {
            self.threads = threads.or(set);
        }
        if self.profile_value("global-timeout").is_some() {
            self.notes
                .push("nextest's global-timeout is not carried out; `--deadline` of remuda run is the same".into());
        }
        if self.overrides.iter().any(|o| o.table.contains_key("threads-required"))
            || self.profile_value("threads-required").is_some()
        {
            self.notes.push("nextest's threads-required is not carried out: each test takes one slot".into());
        }
    }

    fn profile_value(&self, name: &str) -> Option<&Value> {
        self.profiles.iter().find_map(|p| p.get(name))
    }

    /// What holds for one test.
    pub(super) fn rules(&self, binary: &str, test: &str) -> Rules {
        let key = (binary.to_owned(), test.to_owned());
        let concerned: Vec<&Table> = self
            .overrides
            .iter()
            .filter(|o| o.tests.as_ref().is_none_or(|t| t.contains(&key)))
            .map(|o| &o.table)
            .collect();
        let value = |name: &str| concerned.iter().find_map(|t| t.get(name)).or_else(|| self.profile_value(name));
        let (timeout, grace, pass_on_timeout) = slow_timeout(value("slow-timeout"));
        let (leak, leak_fails) = leak_timeout(value("leak-timeout"));
        let typed = std::env::var("NEXTEST_RETRIES").ok().and_then(|n| n.parse().ok());
        let retries = match typed {
            _ if self.no_retries => Retries::default(),
            Some(count) => Retries { count, ..Retries::default() },
            None => retries(value("retries")),
        };
        let extra = value("run-extra-args").and_then(Value::as_array).into_iter().flatten();
        Rules {
            retries,
            timeout,
            pass_on_timeout,
            grace,
            leak,
            leak_fails,
            group: value("test-group").and_then(Value::as_str).unwrap_or("@global").to_owned(),
            extra_args: extra.filter_map(Value::as_str).map(str::to_owned).collect(),
            flaky_fails: value("flaky-result").and_then(Value::as_str) == Some("fail"),
        }
    }
}

/// The files in effect, the strongest first.
fn read_files(args: &[String], root: &Path) -> Result<Vec<Table>, Failure> {
    let own = value_of(args, &["--config-file"]).map_or_else(|| root.join(".config/nextest.toml"), PathBuf::from);
    let tools =
        values_of(args, &["--tool-config-file"]).into_iter().filter_map(|v| v.split_once(':')).map(|(_, p)| p.into());
    let mut tables = Vec::new();
    for path in std::iter::once(own).chain(tools) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        tables.push(text.parse().map_err(|e| refuse(format!("{} cannot be read: {e}", path.display())))?);
    }
    Ok(tables)
}

/// A profile and those it inherits from, `default` last.
fn inherited(tables: &[Table], profile: &str) -> Vec<String> {
    let mut chain = vec![profile.to_owned()];
    while let Some(next) = chain.last().and_then(|name| {
        let of = |t: &Table| t.get("profile")?.get(name)?.get("inherits")?.as_str().map(str::to_owned);
        tables.iter().find_map(of)
    }) {
        if chain.contains(&next) {
            break;
        }
        chain.push(next);
    }
    if chain.iter().all(|name| name != "default") {
        chain.push("default".to_owned());
    }
    chain
}

fn refuse_scripts(profile: &str, table: &Table) -> Result<(), Failure> {
    if table.get("scripts").and_then(Value::as_array).is_some_and(|s| !s.is_empty()) {
        return Err(refuse(format!(
            "nextest's profile `{profile}` has scripts, and those are not carried out: make a group with `up` of the set-up and let the tests need it, or choose another profile"
        )));
    }
    Ok(())
}

fn retries(value: Option<&Value>) -> Retries {
    let count = |v: &Value| v.as_integer().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    match value {
        Some(Value::Table(table)) => Retries {
            count: table.get("count").map_or(0, count),
            delay: duration(table.get("delay")).unwrap_or_default(),
            exponential: table.get("backoff").and_then(Value::as_str) == Some("exponential"),
            most: duration(table.get("max-delay")),
        },
        Some(value) => Retries { count: count(value), ..Retries::default() },
        None => Retries::default(),
    }
}

/// After how long a test is ended, how long it may take for that, and whether it has passed then.
fn slow_timeout(value: Option<&Value>) -> (Option<Duration>, Duration, bool) {
    let Some(Value::Table(table)) = value else { return (None, GRACE, false) };
    let period = duration(table.get("period")).unwrap_or(SLOW_PERIOD);
    let after = table.get("terminate-after").and_then(Value::as_integer).and_then(|n| u32::try_from(n).ok());
    let grace = duration(table.get("grace-period")).unwrap_or(GRACE);
    let passes = table.get("on-timeout").and_then(Value::as_str) == Some("pass");
    (after.map(|n| period.saturating_mul(n)), grace, passes)
}

fn leak_timeout(value: Option<&Value>) -> (Duration, bool) {
    match value {
        Some(Value::Table(table)) => {
            let fails = table.get("result").and_then(Value::as_str) == Some("fail");
            (duration(table.get("period")).unwrap_or(LEAK), fails)
        }
        value => (duration(value).unwrap_or(LEAK), false),
    }
}

/// `1m 30s`, as humantime writes it.
fn duration(value: Option<&Value>) -> Option<Duration> {
    let text = value?.as_str()?;
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        total += match &rest[..letters] {
            "ms" | "msec" | "millis" => Duration::from_millis(number),
            "s" | "sec" | "secs" | "second" | "seconds" => Duration::from_secs(number),
            "m" | "min" | "mins" | "minute" | "minutes" => Duration::from_secs(number * 60),
            "h" | "hr" | "hour" | "hours" => Duration::from_secs(number * 3_600),
            "d" | "day" | "days" => Duration::from_secs(number * 86_400),
            "us" | "usec" => Duration::from_micros(number),
            "ns" | "nsec" => Duration::from_nanos(number),
            _ => return None,
        };
        rest = rest[letters..].trim_start();
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        text.parse::<Table>().unwrap()["v"].clone()
    }

    #[test]
    fn durations_are_read_as_nextest_does() {
        for (text, ms) in [("60s", 60_000), ("1m 30s", 90_000), ("500ms", 500), ("2h", 7_200_000), ("1m30s", 90_000)] {
            assert_eq!(duration(Some(&Value::String(text.into()))), Some(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(duration(Some(&Value::String("soon".into()))), None);
    }

    #[test]
    fn a_test_is_ended_only_where_it_says_so() {
        assert_eq!(slow_timeout(Some(&value("v = \"30s\""))).0, None);
        let limits = slow_timeout(Some(&value("v = { period = \"2s\", terminate-after = 3, grace-period = \"0s\" }")));
        assert_eq!(limits, (Some(Duration::from_secs(6)), Duration::ZERO, false));
    }

    #[test]
    fn pauses_between_attempts_grow_up_to_their_limit() {
        let fixed = retries(Some(&value("v = 3")));
        assert_eq!((fixed.count, fixed.pause(2)), (3, Duration::ZERO));
        let grows =
            retries(Some(&value("v = { backoff = \"exponential\", count = 4, delay = \"1s\", max-delay = \"3s\" }")));
        assert_eq!([1, 2, 3].map(|n| grows.pause(n).as_secs()), [1, 2, 3]);
    }
}
