//! cargo-nextest and `cargo test` on `examples/cargo`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::{Outcomes, built, command, example, remuda};

/// What nextest alone says of each test, by id as Remuda writes it.
fn nextest_alone(args: &[&str], env: &[(&str, &Path)]) -> Outcomes {
    let mut run = command("cargo", &example("cargo"));
    run.args(["nextest", "run", "--message-format", "libtest-json"])
        .args(args)
        .env("NEXTEST_EXPERIMENTAL_LIBTEST_JSON", "1")
        .env("CARGO_TARGET_DIR", built("cargo"));
    for (name, value) in env {
        run.env(name, value);
    }
    let output = run.output().unwrap();
    let mut outcomes = Outcomes::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let (Some(name), Some(word)) = (event["name"].as_str(), event["event"].as_str()) else { continue };
        let outcome = match word {
            "ok" => "passed",
            "ignored" => "skipped",
            "failed" if event["reason"] == "time limit exceeded" => "timed-out",
            "failed" => "failed",
            _ => continue,
        };
        // `ledger::process$aborts#2` is a second attempt; the kind of a program is not told
        let (binary, test) = name.split_once('$').unwrap();
        let binary = match binary {
            "ledger::ledger" => "ledger",
            "ledger::ledger-cli" => "ledger::bin/ledger-cli",
            other => other,
        };
        let test = test.split('#').next().unwrap();
        outcomes.insert(format!("{binary} {test}"), outcome.to_owned());
    }
    assert!(!outcomes.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    outcomes
}

#[test]
fn nextest_says_the_same_of_every_test_alone_and_through_remuda() {
    let target = built("cargo");
    let seen = remuda(
        &example("cargo"),
        &["--", "cargo", "nextest", "run", "--no-fail-fast"],
        &[("CARGO_TARGET_DIR", &target)],
    );
    assert_eq!(seen.exit, Some(1), "{}", seen.console);
    assert_eq!(seen.outcomes, nextest_alone(&["--no-fail-fast"], &[]), "{}", seen.console);
    assert_eq!(seen.message("ledger::process aborts"), "killed by SIGABRT");
    assert_eq!(
        seen.message("ledger tests::adds_wrongly"),
        "assertion `left == right` failed: two and two; left: 4; right: 5"
    );
    let rerun = "remuda run -- cargo nextest run --no-fail-fast -E 'binary_id(=ledger::process) and test(=exits)'";
    assert!(seen.console.contains(rerun), "{}", seen.console);
}

#[test]
fn nextests_profile_is_honoured() {
    let (target, args) = (built("cargo"), ["-P", "strict", "--test", "config"]);
    let run = |alone: bool| {
        let scratch = tempfile::tempdir().unwrap();
        let env = [("CARGO_TARGET_DIR", target.as_path()), ("LEDGER_SCRATCH", scratch.path())];
        if alone {
            return nextest_alone(&args, &env);
        }
        let words: Vec<&str> = ["--", "cargo", "nextest", "run"].into_iter().chain(args).collect();
        let seen = remuda(&example("cargo"), &words, &env);
        assert!(
            seen.message("ledger::config hangs").starts_with("killed at its timeout after 1.0 s"),
            "{}",
            seen.console
        );
        let flaky = &seen.results["ledger::config flaky"]["detail"];
        assert_eq!(flaky["word"], "flaky", "{flaky}");
        seen.outcomes
    };
    let through = run(false);
    assert_eq!(through["ledger::config flaky"], "passed");
    assert_eq!(through["ledger::config hangs"], "timed-out");
    assert_eq!(through, run(true));
}

#[test]
fn filters_fail_fast_and_nothing_to_run_are_nextests() {
    let target = built("cargo");
    let env = [("CARGO_TARGET_DIR", target.as_path())];
    let only =
        remuda(&example("cargo"), &["--", "cargo", "nextest", "run", "-E", "test(=adds) + test(/^serial_/)"], &env);
    assert_eq!(only.outcomes, nextest_alone(&["-E", "test(=adds) + test(/^serial_/)"], &[]), "{}", only.console);
    let passed = only.outcomes.values().filter(|o| *o == "passed").count();
    assert_eq!(passed, 3, "{}", only.console);
    assert_eq!(only.exit, Some(0), "{}", only.console);
    let ignored = remuda(&example("cargo"), &["--", "cargo", "nextest", "run", "--run-ignored", "only"], &env);
    assert_eq!(ignored.outcomes, nextest_alone(&["--run-ignored", "only"], &[]));
    let first = remuda(&example("cargo"), &["-n", "1", "--", "cargo", "nextest", "run", "--lib"], &env);
    assert!(first.console.contains("stopped after the allowed number of failures"), "{}", first.console);
    let nothing = remuda(&example("cargo"), &["--", "cargo", "nextest", "run", "no-such-test"], &env);
    assert_eq!(nothing.exit, Some(5), "{}", nothing.console);
    let broken = remuda(&example("cargo"), &["--", "cargo", "nextest", "run", "-E", "nonsense("], &env);
    assert!(broken.console.contains("nonsense("), "{}", broken.console);
    assert_eq!(broken.exit, Some(1), "{}", broken.console);
}

/// Lines `NAME=value` without what must differ: ids of runs, and our own variables.
fn environment(file: &Path) -> BTreeSet<String> {
    const OWN: &[&str] = &[
        "REMUDA_",
        "PYTEST_XDIST",
        "TEST_ENV_NUMBER",
        "NEXTEST_RUN_ID",
        "NEXTEST_ATTEMPT_ID",
        "NEXTEST_TEST_GLOBAL_SLOT",
        "LEDGER_ENVIRONMENT",
        "XDG_STATE_HOME",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_=",
    ];
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().filter(|line| !OWN.iter().any(|own| line.starts_with(own))).map(str::to_owned).collect()
}

#[test]
fn a_test_has_the_environment_that_nextest_gives_it() {
    let (target, scratch) = (built("cargo"), tempfile::tempdir().unwrap());
    let test = ["-E", "test(=writes_down_its_environment)"];
    let (alone, through) = (scratch.path().join("alone"), scratch.path().join("through"));
    let env =
        |file: &'static str| [("CARGO_TARGET_DIR", target.clone()), ("LEDGER_ENVIRONMENT", scratch.path().join(file))];
    let as_paths =
        |env: &[(&'static str, std::path::PathBuf)]| env.iter().map(|(n, p)| (*n, p.clone())).collect::<Vec<_>>();
    for (file, is_alone) in [("alone", true), ("through", false)] {
        let owned = as_paths(&env(file));
        let env: Vec<(&str, &Path)> = owned.iter().map(|(n, p)| (*n, p.as_path())).collect();
        if is_alone {
            let args: Vec<&str> = ["-j", "2"].into_iter().chain(test).collect();
            nextest_alone(&args, &env);
        } else {
            let words: Vec<&str> = ["--", "cargo", "nextest", "run"].into_iter().chain(test).collect();
            assert_eq!(remuda(&example("cargo"), &words, &env).exit, Some(0));
        }
    }
    // what tells nextest itself to speak JSON is set for the run alone
    let own = |line: &String| !line.starts_with("NEXTEST_EXPERIMENTAL_LIBTEST_JSON");
    let alone: BTreeSet<String> = environment(&alone).into_iter().filter(own).collect();
    assert_eq!(environment(&through), alone);
    let text = std::fs::read_to_string(scratch.path().join("through")).unwrap();
    let own = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    assert_eq!((own("REMUDA_TASK="), own("REMUDA_ATTEMPT=")), (Some("0".into()), Some("1".into())));
}

#[test]
fn cargo_test_gives_every_test_its_own_verdict_even_where_one_ends_the_process() {
    let target = built("cargo");
    let env = [("CARGO_TARGET_DIR", target.as_path())];
    let seen = remuda(&example("cargo"), &["--", "cargo", "test"], &env);
    assert_eq!(seen.exit, Some(1), "{}", seen.console);
    let mut expected = libtest_alone();
    // alone, the abort takes all of its program's tests with it
    for (test, outcome) in [
        ("aborts", "errored"),
        ("exits", "errored"),
        ("leaves", "passed"),
        ("runs_in_its_package", "passed"),
        ("takes_its_time", "passed"),
        ("the_program_adds", "passed"),
        ("writes_down_its_environment", "passed"),
    ] {
        expected.insert(format!("ledger::process {test}"), outcome.to_owned());
    }
    expected.insert("ledger::custom".to_owned(), "passed".to_owned());
    assert_eq!(seen.outcomes, expected, "{}", seen.console);
    assert_eq!(seen.message("ledger::process aborts"), "the test ended its process: killed by SIGABRT");
    assert_eq!(seen.message("ledger tests::never_panics"), "test did not panic as expected at src/lib.rs:51:8");
    assert!(seen.console.contains("remuda run -- cargo test -p ledger --doc add"), "{}", seen.console);
}

/// What `cargo test` alone says, but for the program whose process is ended.
fn libtest_alone() -> Outcomes {
    let output = command("cargo", &example("cargo"))
        .args(["test", "--no-fail-fast", "--color", "never"])
        .env("CARGO_TARGET_DIR", built("cargo"))
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    // both streams in their order would need a terminal: the parts on stdout come in the order of the headings on stderr
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let headings = errors.lines().filter_map(|l| match l.trim() {
        l if l.starts_with("Running unittests src/lib.rs") => Some("ledger"),
        l if l.starts_with("Running unittests src/main.rs") => Some("ledger::bin/ledger-cli"),
        l if l.starts_with("Running tests/config.rs") => Some("ledger::config"),
        l if l.starts_with("Running tests/process.rs") => Some("ledger::process"),
        l if l.starts_with("Doc-tests") => Some("ledger::doc"),
        _ => None,
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut outcomes = Outcomes::new();
    for (program, part) in headings.zip(text.split("\nrunning ").skip(1)) {
        for line in part.lines() {
            let Some((name, word)) = line.strip_prefix("test ").and_then(|l| l.rsplit_once(" ... ")) else { continue };
            let outcome = if word == "ok" {
                "passed"
            } else if word == "FAILED" {
                "failed"
            } else {
                "skipped"
            };
            let name = name.trim_end_matches(" - should panic");
            if program != "ledger::process" {
                outcomes.insert(format!("{program} {name}"), outcome.to_owned());
            }
        }
    }
    assert!(outcomes.len() >= 15, "{errors}\n{text}");
    outcomes
}

#[test]
fn arguments_of_cargo_and_libtest_choose_what_runs() {
    let target = built("cargo");
    let env = [("CARGO_TARGET_DIR", target.as_path())];
    let words = ["--", "cargo", "test", "-q", "--test", "config", "serial", "--", "--skip", "two", "--nocapture"];
    // libtest's own --nocapture is for the eyes: such a run stays whole
    assert_eq!(remuda(&example("cargo"), &words, &env).outcomes.len(), 1);
    let chosen = remuda(&example("cargo"), &words[..words.len() - 1], &env);
    let ran: Vec<&str> = chosen.outcomes.keys().map(String::as_str).collect();
    assert_eq!(ran, ["ledger::config serial_one", "ledger::config serial_three"], "{}", chosen.console);
    let ignored = remuda(&example("cargo"), &["--", "cargo", "test", "--lib", "--", "--ignored"], &env);
    assert_eq!(ignored.of("ledger tests::needs_a_bank"), "failed", "{}", ignored.console);
    assert_eq!(ignored.outcomes.len(), 1);
}
