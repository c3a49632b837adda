//! `go test` on `examples/go`.

use crate::support::{Outcomes, command, example, remuda};

/// What `go test -json` says of each test, alone; `args` as a user would type them.
fn alone(args: &[&str]) -> Outcomes {
    let output = command("go", &example("go")).args(["test", "-json", "-count=1"]).args(args).output().unwrap();
    let mut outcomes = Outcomes::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let (Some(package), Some(test), Some(word)) =
            (event["Package"].as_str(), event["Test"].as_str(), event["Action"].as_str())
        else {
            continue;
        };
        let outcome = match word {
            "pass" => "passed",
            "fail" => "failed",
            "skip" => "skipped",
            _ => continue,
        };
        if !test.contains('/') {
            outcomes.insert(format!("{package} {test}"), outcome.to_owned());
        }
    }
    outcomes
}

#[test]
fn go_test_gives_every_test_its_own_verdict_even_where_one_ends_the_process() {
    let seen = remuda(&example("go"), &["--", "go", "test", "./..."], &[]);
    assert_eq!(seen.exit, Some(1), "{}", seen.console);
    let mut expected = alone(&["./sums"]);
    assert_eq!(expected.len(), 11);
    // alone, whoever ends the process takes what comes after it with it
    for (test, outcome) in [
        ("TestBefore", "passed"),
        ("TestExits", "failed"),
        ("TestPanics", "failed"),
        ("TestAfter", "passed"),
        ("TestLineWithoutEnd", "passed"),
    ] {
        expected.insert(format!("example.org/ledger/process {test}"), outcome.to_owned());
    }
    assert_eq!(seen.outcomes, expected, "{}", seen.console);
    assert_eq!(seen.message("example.org/ledger/sums TestAddWrongly"), "two and two: 4");
    assert!(seen.message("example.org/ledger/process TestPanics").starts_with("panic: no more money"));
    let parts = seen.results["example.org/ledger/sums TestTable"]["detail"]["subtests"].as_array().unwrap().clone();
    assert_eq!(parts.len(), 3, "{parts:?}");
    assert!(
        seen.console.contains("remuda run -- go test -run '^TestTable$' example.org/ledger/sums"),
        "{}",
        seen.console
    );
}

#[test]
fn gos_own_flags_choose_what_runs() {
    let args = ["-run", "TestTable/n=[13]|TestParallel", "-v", "./..."];
    let words: Vec<&str> = ["--", "go", "test"].into_iter().chain(args).collect();
    let seen = remuda(&example("go"), &words, &[]);
    assert_eq!(seen.outcomes, alone(&args), "{}", seen.console);
    assert_eq!(seen.exit, Some(0), "{}", seen.console);
}

#[test]
fn a_package_that_cannot_be_built_is_an_error_of_its_own() {
    let seen = remuda(&example("go"), &["--", "go", "test", "-tags", "broken", "./broken", "./sums"], &[]);
    assert_eq!(seen.exit, Some(1));
    assert_eq!(seen.of("example.org/ledger/broken"), "errored", "{}", seen.console);
    assert!(seen.message("example.org/ledger/broken").contains("undefined: undefined"), "{}", seen.console);
    assert_eq!(seen.of("example.org/ledger/sums TestAdd"), "passed");
}
