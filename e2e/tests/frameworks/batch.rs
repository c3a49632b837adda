//! The `batch` template: the recipes of `examples/`, each compared with its framework alone.

use std::path::{Path, PathBuf};

use crate::support::{Outcomes, Seen, built, command, example, remuda};

fn outcomes(list: &[(&str, &str)]) -> Outcomes {
    list.iter().map(|(id, outcome)| ((*id).to_owned(), (*outcome).to_owned())).collect()
}

/// What a framework alone prints.
fn alone(folder: &Path, line: &str, path: &Path) -> String {
    let output = command("sh", folder).args(["-c", line]).env("PATH", path).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// `PATH` with a folder of `target` before it.
fn path_with(folder: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(folder);
    let own = own.canonicalize().unwrap_or_else(|_| panic!("{} is missing: run `make setup`", own.display()));
    format!("{}:{}", own.display(), std::env::var("PATH").unwrap()).into()
}

fn run(folder: &Path, path: &Path) -> Seen {
    let seen = remuda(folder, &[], &[("PATH", path)]);
    assert_eq!(seen.exit, Some(1), "{}", seen.console);
    seen
}

#[test]
fn node_test() {
    let (folder, path) = (example("node"), path_with("."));
    let seen = run(&folder, &path);
    let expected = [
        ("test/crashes.test.mjs", "failed"),
        ("test/later.test.mjs", "skipped"),
        ("test/slow.test.mjs", "passed"),
        ("test/sums.test.mjs", "passed"),
        ("test/wrong.test.mjs", "failed"),
    ];
    assert_eq!(seen.outcomes, outcomes(&expected), "{}", seen.console);
    assert_eq!(seen.message("test/wrong.test.mjs"), "adds wrongly: 4 == 5");
    let tap = alone(&folder, "node --test --test-reporter=tap", &path);
    for line in ["not ok 1 - ", "# SKIP there is no bank", "# TODO", "not ok 8 - adds wrongly", "# fail 2"] {
        assert!(tap.contains(line), "`{line}` in {tap}");
    }
}

#[test]
fn bats() {
    let (folder, path) = (example("bats"), path_with("."));
    let seen = run(&folder, &path);
    let expected = [
        ("broken.bats", "failed"),
        ("later.bats", "skipped"),
        ("slow.bats", "passed"),
        ("sums.bats", "passed"),
        ("wrong.bats", "failed"),
    ];
    assert_eq!(seen.outcomes, outcomes(&expected), "{}", seen.console);
    assert!(seen.message("wrong.bats").starts_with("adds wrongly [2 + 2]: "), "{}", seen.console);
    let tap = alone(&folder, "bats test", &path);
    assert_eq!(tap.lines().filter(|l| l.starts_with("not ok")).count(), 2, "{tap}");
    assert!(tap.contains("1..7") && tap.contains("needs a bank # skip there is no bank"), "{tap}");
}

#[test]
fn minitest() {
    let (folder, path) = (example("minitest"), path_with("."));
    let seen = run(&folder, &path);
    let expected = [
        ("ProcessTest#test_ends_its_process", "errored"),
        ("ProcessTest#test_is_its_neighbour", "passed"),
        ("SumsTest#test_adds", "passed"),
        ("SumsTest#test_adds_wrongly", "failed"),
        ("SumsTest#test_divides_by_nothing", "errored"),
        ("SumsTest#test_needs_a_bank", "skipped"),
        ("SumsTest#test_takes_its_time", "passed"),
    ];
    assert_eq!(seen.outcomes, outcomes(&expected), "{}", seen.console);
    assert_eq!(seen.message("ProcessTest#test_ends_its_process"), "the test ended its process: exit code 3");
    let text = alone(&folder, "ruby all.rb --exclude /ends_its_process/", &path);
    assert!(text.contains("6 runs, 3 assertions, 1 failures, 1 errors, 1 skips"), "{text}");
}

#[test]
fn robot() {
    let (folder, path) = (example("robot"), path_with("robot/bin"));
    let seen = run(&folder, &path);
    let expected = [
        ("Tests.Process.Ends Its Process", "errored"),
        ("Tests.Process.Is Its Neighbour", "passed"),
        ("Tests.Sums.Adds", "passed"),
        ("Tests.Sums.Adds Wrongly", "failed"),
        ("Tests.Sums.Is Not A Keyword", "failed"),
        ("Tests.Sums.Needs A Bank", "skipped"),
        ("Tests.Sums.Takes Its Time", "passed"),
    ];
    assert_eq!(seen.outcomes, outcomes(&expected), "{}", seen.console);
    let text = alone(
        &folder,
        "python3 -m robot --exclude none --suite Sums --output NONE --log NONE --report NONE tests",
        &path,
    );
    assert!(text.contains("5 tests, 2 passed, 2 failed, 1 skipped"), "{text}");
}

#[test]
fn test_unit() {
    let (folder, path) = (example("test-unit"), path_with("."));
    let seen = run(&folder, &path);
    let expected = [
        ("ProcessTest#test_ends_its_process", "errored"),
        ("ProcessTest#test_is_its_neighbour", "passed"),
        ("SumsTest#test_adds", "passed"),
        ("SumsTest#test_adds_wrongly", "failed"),
        ("SumsTest#test_divides_by_nothing", "errored"),
        ("SumsTest#test_needs_a_bank", "skipped"),
        ("SumsTest#test_takes_its_time", "passed"),
    ];
    assert_eq!(seen.outcomes, outcomes(&expected), "{}", seen.console);
    let text = alone(&folder, "ruby all.rb --ignore-name test_ends_its_process", &path);
    assert!(text.contains("6 tests, 3 assertions, 1 failures, 1 errors, 0 pendings, 1 omissions"), "{text}");
}

#[test]
fn gtest() {
    let (folder, path, built) = (example("gtest"), path_with("."), built("gtest"));
    let seen = remuda(&folder, &[], &[("PATH", &path), ("GTEST_BUILD", &built)]);
    let expected = [
        ("Process.Aborts", "errored"),
        ("Process.IsItsNeighbour", "passed"),
        ("Small/Table.Doubles/0", "passed"),
        ("Small/Table.Doubles/1", "passed"),
        ("Small/Table.Doubles/2", "passed"),
        ("Sums.Adds", "passed"),
        ("Sums.AddsWrongly", "failed"),
        ("Sums.DISABLED_Divides", "skipped"),
        ("Sums.NeedsABank", "skipped"),
        ("Sums.TakesItsTime", "passed"),
        ("Sums.Throws", "failed"),
    ];
    assert_eq!(seen.outcomes, outcomes(&expected), "{}", seen.console);
    assert_eq!(seen.results["Sums.NeedsABank"]["detail"]["reason"], "there is no bank");
    let line = format!("{}/sums --gtest_filter=-Process.Aborts", built.display());
    let text = alone(&folder, &line, &path);
    for line in ["[  PASSED  ] 6 tests.", "[  SKIPPED ] 1 test", "[  FAILED  ] 2 tests", "YOU HAVE 1 DISABLED TEST"] {
        assert!(text.contains(line), "`{line}` in {text}");
    }
}

/// A copy of an example with the packages that `make setup` has prepared.
fn with_packages(name: &str) -> tempfile::TempDir {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/node").join(name).join("node_modules");
    let packages =
        packages.canonicalize().unwrap_or_else(|_| panic!("{} is missing: run `make setup`", packages.display()));
    let folder = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(example(name).join(".")).arg(folder.path()).status();
    assert!(copied.unwrap().success());
    std::os::unix::fs::symlink(packages, folder.path().join("node_modules")).unwrap();
    folder
}

#[test]
fn vitest() {
    let (folder, path) = (with_packages("vitest"), path_with("."));
    let seen = run(folder.path(), &path);
    let expected = [
        ("test/broken.test.js", "failed"),
        ("test/later.test.js", "skipped"),
        ("test/slow.test.js", "passed"),
        ("test/sums.test.js", "passed"),
        ("test/wrong.test.js", "failed"),
    ];
    assert_eq!(seen.outcomes, outcomes(&expected), "{}", seen.console);
    assert!(seen.message("test/wrong.test.js").starts_with("adds wrongly: two and two"), "{}", seen.console);
    let text = alone(folder.path(), "npx vitest run --no-color", &path);
    assert!(text.contains("2 failed | 2 passed | 1 skipped (5)"), "{text}");
}

#[test]
fn cucumber() {
    let (folder, path) = (with_packages("cucumber"), path_with("."));
    let seen = run(folder.path(), &path);
    let expected = [
        ("features/process.feature:3", "errored"),
        ("features/process.feature:6", "passed"),
        ("features/sums.feature:13", "skipped"),
        ("features/sums.feature:16", "failed"),
        ("features/sums.feature:19", "passed"),
        ("features/sums.feature:29", "passed"),
        ("features/sums.feature:3", "passed"),
        ("features/sums.feature:30", "passed"),
        ("features/sums.feature:8", "failed"),
    ];
    assert_eq!(seen.outcomes, outcomes(&expected), "{}", seen.console);
    let text = alone(folder.path(), "npx cucumber-js features/sums.feature", &path);
    assert!(text.contains("7 scenarios (1 failed, 1 undefined, 1 skipped, 4 passed)"), "{text}");
}

/// A group whose command is a small script of the test's own.
fn scripted(script: &str, more: &str) -> (tempfile::TempDir, Seen) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("run.py"), script).unwrap();
    let items: Vec<String> = (0..20).map(|n| format!("\"t{n}\"")).collect();
    let group = format!(
        "[groups.own]\nadapter = \"batch\"\nitems = [{}]\ncommand = \"python3 run.py {{json}} {{items}}\"\n{more}",
        items.join(", ")
    );
    std::fs::write(folder.path().join("remuda.toml"), group).unwrap();
    let seen = remuda(folder.path(), &[], &[]);
    (folder, seen)
}

const HEAD: &str = "import json, os, sys, time
file, ids = sys.argv[1], sys.argv[2:]
open('starts', 'a').write(' '.join(ids) + '\\n')
def tell(**what): open(file, 'a').write(json.dumps(what) + '\\n')
";

#[test]
fn a_batch_that_crashes_is_split_until_the_guilty_test_is_alone() {
    let script =
        format!("{HEAD}if 't13' in ids: os._exit(9)\n[tell(id=i, outcome='passed', seconds=0.001) for i in ids]\n");
    let (folder, seen) = scripted(&script, "");
    assert_eq!(seen.outcomes.len(), 20, "{}", seen.console);
    let bad: Vec<_> = seen.outcomes.iter().filter(|(_, o)| *o != "passed").collect();
    assert_eq!(bad, [(&"t13".to_owned(), &"errored".to_owned())], "{}", seen.console);
    assert_eq!(seen.message("t13"), "the test ended its process: exit code 9");
    let starts = std::fs::read_to_string(folder.path().join("starts")).unwrap();
    assert!(starts.lines().any(|line| line == "t13") && starts.lines().count() < 20, "{starts}");
}

#[test]
fn a_test_that_is_not_in_the_report_is_an_error_that_says_so() {
    let script =
        format!("{HEAD}tell(id='other', outcome='passed')\n[tell(id=i, outcome='passed') for i in ids if i != 't7']\n");
    let (_folder, seen) = scripted(&script, "");
    assert_eq!(seen.of("t7"), "errored", "{}", seen.console);
    assert!(seen.message("t7").starts_with("the report does not name this test"), "{}", seen.message("t7"));
    assert_eq!(seen.outcomes.values().filter(|o| *o == "passed").count(), 19);
}

#[test]
fn a_test_that_hangs_in_a_batch_is_found_and_only_it_is_timed_out() {
    let script = format!("{HEAD}[(time.sleep(100) if i == 't4' else tell(id=i, outcome='passed')) for i in ids]\n");
    let (_folder, seen) = scripted(&script, "timeout = \"2s\"\ngrace = \"100ms\"\n");
    assert_eq!(seen.of("t4"), "timed-out", "{}", seen.console);
    assert_eq!(seen.outcomes.values().filter(|o| *o == "passed").count(), 19, "{}", seen.console);
}

#[test]
fn a_costly_start_makes_batches_large() {
    let script = format!("{HEAD}time.sleep(0.3)\n[tell(id=i, outcome='passed', seconds=0.0001) for i in ids]\n");
    let (folder, seen) = scripted(&script, "");
    assert_eq!(seen.exit, Some(0), "{}", seen.console);
    let starts = std::fs::read_to_string(folder.path().join("starts")).unwrap();
    assert!(starts.lines().count() <= 6, "{starts}");
}
