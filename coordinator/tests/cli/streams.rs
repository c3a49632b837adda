//! Where the program writes to may close, fill up or know no UTF-8: the run ends or goes on with a clear word.

use std::io::Read as _;
use std::process::Stdio;

use super::support::{Farm, Ranch};

#[test]
fn a_reader_that_goes_ends_the_run_and_nothing_panics() {
    let ranch = Ranch::new();
    let many: String = (0..5_000).map(|n| format!("{n}\n")).collect();
    std::fs::write(ranch.work().join("items"), many).unwrap();
    let mut child = ranch
        .command(&["each", "-n2", "-a", "items", "echo {}; sleep 0.02"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut byte = [0];
    child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(141), "{text}");
    assert!(text.contains("the run was ended, because nobody reads standard output any more"), "{text}");
    ranch.is_clean();
}

#[test]
fn a_reader_that_goes_ends_no_run_where_a_job_is_only_shown() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "1"]);
    let url = farm.url();
    let print = "head -c 200000 /dev/zero | tr '\\0' x # {}";
    ranch.run(&["--redis", &url, "each", print, ":::", "a", "b"]).exits(0);
    let mut logs =
        ranch.command(&["--redis", &url, "logs"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut byte = [0];
    logs.stdout.take().unwrap().read_exact(&mut byte).unwrap();
    let output = logs.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(141), "{text}");
    assert_eq!(text, "error: stopped, because nobody reads standard output any more\n");
}

#[test]
fn a_reader_that_is_slow_costs_time_and_not_the_run() {
    let ranch = Ranch::new();
    let print = "head -c 100000 /dev/zero | tr '\\0' x; sleep 1; touch done-{}";
    let mut child = ranch
        .command(&["each", "-n2", "--owner-grace", "1s", print, ":::", "1", "2", "3", "4", "5", "6", "7", "8"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // nobody reads until everything has run, long after the grace
    while (1..=8).any(|n| !ranch.work().join(format!("done-{n}")).exists()) {
        assert!(child.try_wait().unwrap().is_none(), "the run ended while its reader was slow");
        std::process::Command::new("sleep").arg("0.05").status().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 800_000));
}

#[test]
fn a_console_that_goes_ends_the_run_in_silence() {
    let ranch = Ranch::new();
    let mut child = ranch
        .command(&["each", "-n1", "-v", "sleep 0.1; true", ":::", "a", "b", "c"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut byte = [0];
    child.stderr.take().unwrap().read_exact(&mut byte).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(141));
    ranch.is_clean();
}

#[test]
fn lists_that_nobody_reads_on_are_no_error() {
    let ranch = Ranch::new();
    let many: String = (0..50_000).map(|n| format!("{n}\n")).collect();
    std::fs::write(ranch.work().join("items"), many).unwrap();
    let mut child = ranch
        .command(&["each", "--dry-run", "-a", "items", "echo"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut byte = [0];
    child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_named_and_does_not_hide_the_verdict() {
    let ranch = Ranch::new();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let echoed = ranch.command(&["each", "echo", ":::", "a"]).stdout(full()).output().unwrap();
    let text = String::from_utf8_lossy(&echoed.stderr);
    assert_eq!(echoed.status.code(), Some(3), "{text}");
    assert!(text.contains("cannot write standard output: No space left on device") && text.contains("hint: make room"));
    for (flag, name) in [("--junit", "the JUnit file"), ("--html", "the page"), ("--json", "the JSON summary")] {
        let seen = ranch.run(&["each", flag, "/dev/full", "true", ":::", "a"]).exits(3);
        seen.says(&["1 task: 1 passed", &format!("cannot write {name}: /dev/full: No space left on device")]);
    }
    ranch.run(&["each", "--joblog", "/dev/full", "true", ":::", "a"]).exits(3).says(&["cannot write the joblog"]);
    let listed = ranch.command(&["each", "--dry-run", "true", ":::", "a"]).stdout(full()).output().unwrap();
    assert_eq!(listed.status.code(), Some(3));
    assert!(!std::fs::metadata("/dev/full").unwrap().is_file(), "a device is never replaced");
}

#[test]
fn a_locale_without_utf8_gets_signs_that_it_has() {
    let ranch = Ranch::new();
    let output = ranch.command(&["each", "-v", "echo", ":::", "ä"]).env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("\n------------\n") && !text.contains('─'), "{text}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "ä\n");
    let output = ranch.command(&["each", "true", ":::", "a"]).env("LC_ALL", "C.UTF-8").output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains('─'));
}

#[test]
fn a_run_that_cannot_even_say_that_it_begins_leaves_no_job_behind() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = ranch.command(&["--redis", &farm.url(), "each", "true", ":::", "a"]).stderr(full).status().unwrap();
    assert_eq!(ended.code(), Some(3));
    let seen = ranch.run(&["--redis", &farm.url(), "status", "--json"]).exits(0);
    assert!(seen.out.contains("\"state\":\"cancelled\""), "{}", seen.out);
}
