//! `remuda run -- cargo nextest run …` and `cargo test …`: recognises them, reads those of the user's own flags that
//! Remuda carries out itself, and writes the line that runs one test again. What a flag means to cargo or nextest is
//! theirs: the arguments travel as they are to the worker, whose bridge leaves out what only tells or only counts.

use remuda_protocol::spec::Adapter;

use super::frameworks::Called;
use super::template::command_line;
use crate::config::values::Slots;

/// Flags that choose tests among those that are built, with a value.
const FILTER_VALUES: &[&str] = &["-E", "--filterset", "--filter-expr", "--partition", "--skip"];
/// Flags that choose what is built to run, with a value.
const TARGET_VALUES: &[&str] = &["--bin", "--test", "--example", "--bench"];
/// The same without one.
const TARGETS: &[&str] = &["--lib", "--bins", "--tests", "--examples", "--benches", "--all-targets", "--doc"];
/// Other flags with a value.
const VALUES: &[&str] = &[
    "-p",
    "--package",
    "--exclude",
    "-F",
    "--features",
    "--build-jobs",
    "--cargo-profile",
    "--target",
    "--target-dir",
    "--manifest-path",
    "--cargo-message-format",
    "--message-format",
    "--config",
    "-Z",
    "--config-file",
    "--user-config-file",
    "--tool-config-file",
    "-P",
    "--profile",
    "-j",
    "--test-threads",
    "--jobs",
    "--retries",
    "--flaky-result",
    "--max-fail",
    "--no-tests",
    "--failure-output",
    "--success-output",
    "--status-level",
    "--final-status-level",
    "--show-progress",
    "--max-progress-running",
    "--message-format-version",
    "--color",
    "--run-ignored",
    "--platform-filter",
    "--lockfile-path",
];
/// What makes the command something else than a run of tests, or one that must stay whole.
const WHOLE: &[&str] = &[
    "-h",
    "--help",
    "-V",
    "--version",
    "--no-run",
    "--debugger",
    "--tracer",
    "--stress-count",
    "--stress-duration",
    "--rerun",
    "-R",
    "--archive-file",
    "--binaries-metadata",
    "--cargo-metadata",
    "--no-capture",
    "--nocapture",
    "--list",
    "--bench",
    "--benches",
    "--unit-graph",
    "--build-plan",
];

/// Recognises `cargo nextest run` and `cargo test`.
#[must_use]
pub fn recognise(words: &[String]) -> Option<Called> {
    let first = words.first()?;
    let base = first.rsplit('/').next().unwrap_or(first);
    let mut at = usize::from(words.get(1).is_some_and(|w| w.starts_with('+'))) + 1;
    if base == "cargo-nextest" && words.get(at).is_none_or(|w| w != "nextest") {
        at -= 1;
    } else if base != "cargo" && base != "cargo-nextest" {
        return None;
    }
    let is = |at: usize, names: &[&str]| words.get(at).is_some_and(|w| names.contains(&w.as_str()));
    let nextest = base == "cargo-nextest" || is(at, &["nextest"]);
    let run = if nextest { at + 1 } else { at };
    if nextest && !is(run, &["run", "r"]) || !nextest && !is(run, &["test", "t"]) {
        return None;
    }
    let args = words[run + 1..].to_vec();
    if args.iter().any(|word| WHOLE.contains(&word.split('=').next().unwrap_or(word))) {
        return None;
    }
    let known = Known::read(&args);
    Some(if nextest {
        let adapter = Adapter::CargoNextest { program: words[..run].to_vec(), args };
        let maxfail = known.maxfail;
        Called { name: "cargo-nextest", adapter, slots: known.jobs, retries: known.retries, maxfail, verbosity: 0 }
    } else {
        let adapter = Adapter::CargoTest { program: words[..=run].to_vec(), args };
        Called { name: "cargo-test", adapter, slots: known.threads, retries: None, maxfail: None, verbosity: 0 }
    })
}

#[derive(Debug, Default, PartialEq)]
struct Known {
    jobs: Option<Slots>,
    threads: Option<Slots>,
    retries: Option<u32>,
    maxfail: Option<u32>,
}

impl Known {
    fn read(args: &[String]) -> Self {
        let mut found = Self::default();
        let mut words = args.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            match name {
                "-j" | "--jobs" | "--test-threads" | "--retries" | "--max-fail" => {
                    let value = value.or_else(|| words.next()).unwrap_or("");
                    match name {
                        "--retries" => found.retries = value.parse().ok(),
                        "--max-fail" => found.maxfail = value.split(':').next().and_then(|n| n.parse().ok()),
                        _ => {
                            let slots = value.parse::<u32>().ok().filter(|n| *n > 0).map(Slots::Count);
                            found.jobs = slots;
                            found.threads = if name == "--test-threads" { slots } else { found.threads };
                        }
                    }
                }
                "--fail-fast" | "--ff" => found.maxfail = Some(1),
                _ if name.len() > 2 && name.starts_with("-j") => {
                    found.jobs = name[2..].parse::<u32>().ok().filter(|n| *n > 0).map(Slots::Count);
                }
                _ => {}
            }
        }
        found
    }
}

/// The user's arguments without those that choose tests; `targets`: without those that choose programs, too.
fn without_filters(args: &[String], targets: bool) -> (Vec<String>, Vec<String>) {
    let (mut kept, mut after) = (Vec::new(), Vec::new());
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            let mut rest = words.by_ref().peekable();
            while let Some(word) = rest.next() {
                match word.as_str() {
                    "--skip" => drop(rest.next()),
                    "--ignored" | "--include-ignored" => after.push(word.clone()),
                    _ => {}
                }
            }
            break;
        }
        let name = word.split('=').next().unwrap_or(word);
        let alone = name.len() == word.len();
        let drop_it = FILTER_VALUES.contains(&name)
            || !word.starts_with('-')
            || targets
                && (TARGETS.contains(&name)
                    || TARGET_VALUES.contains(&name)
                    || ["-p", "--package", "--workspace", "--all", "--exclude"].contains(&name));
        let valued = [FILTER_VALUES, TARGET_VALUES, VALUES].iter().any(|table| table.contains(&name));
        let value = if alone && valued { words.next() } else { None };
        if !drop_it {
            kept.push(word.clone());
            kept.extend(value.cloned());
        }
    }
    (kept, after)
}

/// The line that runs one test again with nextest.
#[must_use]
pub fn rerun_nextest(program: &[String], args: &[String], id: &str) -> String {
    let (binary, test) = id.split_once(' ').unwrap_or((id, ""));
    let (mut kept, after) = without_filters(args, false);
    if !after.is_empty() {
        kept.extend(["--run-ignored".to_owned(), "all".to_owned()]);
    }
    kept.extend(["-E".to_owned(), format!("binary_id(={binary}) and test(={test})")]);
    let words: Vec<String> = program.iter().cloned().chain(["run".to_owned()]).chain(kept).collect();
    format!("remuda run -- {}", command_line(&words))
}

/// The line that runs one test again with `cargo test`.
#[must_use]
pub fn rerun_test(program: &[String], args: &[String], id: &str) -> String {
    let (binary, test) = id.split_once(' ').unwrap_or((id, ""));
    let (package, target) = binary.split_once("::").unwrap_or((binary, ""));
    let (mut words, after) = without_filters(args, true);
    words.extend(["-p".to_owned(), package.to_owned()]);
    match target.split_once('/') {
        Some((kind, name)) => words.extend([format!("--{kind}"), name.to_owned()]),
        None if target.is_empty() => words.push("--lib".to_owned()),
        None if target == "doc" => words.push("--doc".to_owned()),
        None => words.extend(["--test".to_owned(), target.to_owned()]),
    }
    if target == "doc" {
        // rustdoc takes a filter apart at its blanks: `src/lib.rs - add (line 5)` is told by its item
        words.extend(
            test.split(" - ")
                .nth(1)
                .and_then(|t| t.split(' ').next())
                .filter(|t| !t.starts_with('('))
                .map(str::to_owned),
        );
    } else if !test.is_empty() {
        words.extend(["--".to_owned(), "--exact".to_owned(), test.to_owned()]);
        words.extend(after);
    }
    let words: Vec<String> = program.iter().cloned().chain(words).collect();
    format!("remuda run -- {}", command_line(&words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn cargo_is_recognised_however_it_is_called() {
        for (line, program, args) in [
            ("cargo nextest run", 2, 0),
            ("cargo +nightly nextest r --release", 3, 1),
            ("/usr/bin/cargo-nextest nextest run a", 2, 1),
            ("cargo test", 2, 0),
            ("cargo +1.88 t --lib -- --skip x", 3, 4),
        ] {
            let called = recognise(&words(line)).unwrap_or_else(|| panic!("{line}"));
            let (Adapter::CargoNextest { program: p, args: a } | Adapter::CargoTest { program: p, args: a }) =
                called.adapter
            else {
                panic!("{line}")
            };
            assert_eq!((p.len(), a.len()), (program, args), "{line}");
        }
        for line in [
            "cargo build",
            "cargo nextest list",
            "cargo test --no-run",
            "cargo nextest run --debugger gdb",
            "cargo test -- --list",
        ] {
            assert_eq!(recognise(&words(line)), None, "{line}");
        }
    }

    #[test]
    fn the_users_flags_mean_what_they_mean_to_nextest() {
        let called = recognise(&words("cargo nextest run -j 3 --retries=2 --max-fail 4:wait --no-fail-fast")).unwrap();
        assert_eq!((called.slots, called.retries, called.maxfail), (Some(Slots::Count(3)), Some(2), Some(4)));
        // cargo's own -j is about building
        assert_eq!(recognise(&words("cargo test -j 3")).unwrap().slots, None);
        assert_eq!(recognise(&words("cargo test -- --test-threads=1")).unwrap().slots, Some(Slots::Count(1)));
    }

    #[test]
    fn one_test_runs_again_as_it_was_built() {
        let program = words("cargo nextest");
        let args = words("--release -p ledger name --features a,b -E all() --partition hash:1/2");
        assert_eq!(
            rerun_nextest(&program, &args, "ledger::it a::b"),
            "remuda run -- cargo nextest run --release -p ledger --features a,b -E 'binary_id(=ledger::it) and test(=a::b)'"
        );
        let program = words("cargo test");
        let args = words("--release --lib name -- --skip x --ignored");
        assert_eq!(
            rerun_test(&program, &args, "ledger::bin/cli a::b"),
            "remuda run -- cargo test --release -p ledger --bin cli -- --exact a::b --ignored"
        );
        assert_eq!(
            rerun_test(&program, &args, "ledger::doc src/lib.rs - add (line 5)"),
            "remuda run -- cargo test --release -p ledger --doc add"
        );
    }
}
