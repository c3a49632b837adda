//! `remuda each` and `remuda run` with commands, end to end on an embedded Redis.

use super::support::{Ranch, facts, of};
use nix::sys::signal::Signal;

#[test]
fn every_item_runs_and_what_it_prints_is_seen() {
    let ranch = Ranch::new();
    let seen = ranch
        .run(&["each", "-n", "2", "echo {#} {/} {.}", ":::", "d/a.txt", "b c"])
        .exits(0)
        .says(&["2 tasks: 2 passed; ", " on 1 worker"]);
    let mut lines: Vec<&str> = seen.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1 a.txt d/a", "2 b c b c"]);
    ranch.is_clean();
}

#[test]
fn a_failure_is_shown_with_its_output_and_the_line_that_runs_it_again() {
    let ranch = Ranch::new();
    let seen = ranch.run(&["each", "echo no; test {} != b", ":::", "a", "b"]).exits(1);
    seen.says(&[
        "        FAIL [",
        "    exit code 1\n",
        "2 tasks: 1 passed, 1 failed",
        "             echo no; test b != b\n",
    ]);
}

#[test]
fn an_item_is_data_whatever_is_in_it() {
    let ranch = Ranch::new();
    let item = "a'; echo broken \"$HOME\" {#} \\";
    let seen = ranch.run(&["each", "printf '%s|' {}", ":::", item, "-n"]).exits(0);
    let mut parts: Vec<&str> = seen.out.split_terminator('|').collect();
    parts.sort_unstable();
    assert_eq!(parts, ["-n", item]);
}

#[test]
fn items_come_from_standard_input_by_line_or_by_nul() {
    let ranch = Ranch::new();
    let many: String = (0..1234).map(|n| format!("{n}\n")).collect();
    ranch.run_with_input(&["each", "-n", "2", "true"], many.as_bytes()).exits(0).says(&["1234 tasks: 1234 passed"]);
    let seen = ranch.run_with_input(&["each", "-0", "printf '[%s]' {}"], b"two\nlines\0one\0").exits(0);
    assert!(seen.out.contains("[two\nlines]") && seen.out.contains("[one]"), "{}", seen.out);
}

#[test]
fn a_retry_that_passes_is_flaky_and_fails_only_when_asked() {
    let ranch = Ranch::new();
    let once = "test -e mark || { touch mark; exit 1; }; rm mark";
    ranch.run(&["each", "--retries", "1", &format!("{once} # {{}}"), ":::", "a"]).exits(0).says(&[
        "       RETRY ",
        "   FLAKY 2/2 ",
        "1 passed (1 flaky)",
    ]);
    ranch
        .run(&["each", "--retries", "1", "--fail-on-flaky", &format!("{once} # {{}}"), ":::", "a"])
        .exits(1)
        .says(&["--fail-on-flaky"]);
}

#[test]
fn exitfirst_leaves_the_rest_unrun_and_says_so() {
    let ranch = Ranch::new();
    let events = ranch.work().join("events.jsonl");
    let path = events.display().to_string();
    let seen =
        ranch.run(&["each", "-n", "1", "-x", "--events", &path, "false", ":::", "a", "b", "c", "d", "e", "f"]).exits(1);
    seen.says(&[" failed, ", "not finished", "stopped after the allowed number of failures"]);
    let facts = facts(&events);
    let results = of(&facts, "result");
    let mut ids: Vec<_> = results.iter().map(|r| r["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["a", "b", "c", "d", "e", "f"], "each task has one result");
}

#[test]
fn a_timeout_kills_and_is_named() {
    Ranch::new()
        .run(&["each", "--timeout", "300ms", "sleep 60 # {}", ":::", "a"])
        .exits(1)
        .says(&["     TIMEOUT [", "1 timed out"]);
}

#[test]
fn a_deadline_ends_the_run_as_incomplete() {
    Ranch::new()
        .run(&["each", "--deadline", "1s", "sleep 60 # {}", ":::", "a"])
        .exits(6)
        .says(&["the deadline has passed"]);
}

#[test]
fn results_name_slot_and_predecessor() {
    let ranch = Ranch::new();
    let path = ranch.work().join("e.jsonl").display().to_string();
    ranch.run(&["each", "-n", "1", "--events", &path, "true", ":::", "a", "b", "c"]).exits(0);
    let facts = facts(path.as_ref());
    let results = of(&facts, "result");
    assert_eq!(results.len(), 3);
    assert!(results[0]["after"].is_null());
    for pair in results.windows(2) {
        assert_eq!(pair[1]["after"], pair[0]["id"]);
        assert_eq!(pair[1]["slot"], "0");
        assert!(pair[1]["us"].as_u64().unwrap() > 0 && pair[1]["worker"].is_string());
    }
    assert_eq!(of(&facts, "finished")[0]["exit"], 0);
}

#[test]
fn the_second_run_begins_with_the_slowest() {
    let ranch = Ranch::new();
    let path = ranch.work().join("e.jsonl").display().to_string();
    let args = ["each", "-n", "1", "--events", &path, "sleep {}", ":::", "0.01", "0.02", "0.3"];
    let order = || {
        ranch.run(&args).exits(0);
        let facts = facts(path.as_ref());
        of(&facts, "result").iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(order()[0], "0.01");
    assert_eq!(order()[0], "0.3");
}

#[test]
fn the_first_interrupt_ends_and_reports() {
    let ranch = Ranch::new();
    let mut live = ranch.start(&["each", "-n", "1", "sleep 60 # {}", ":::", "a", "b"]);
    live.wait_for("claimed");
    live.signal(Signal::SIGINT);
    let finished = live.wait_for("finished");
    assert_eq!((finished["exit"].as_u64(), finished["total"].as_u64()), (Some(130), Some(2)));
    assert_eq!(live.end().code(), Some(130));
    ranch.is_clean();
}

#[test]
fn a_termination_has_its_own_code() {
    let ranch = Ranch::new();
    let mut live = ranch.start(&["each", "sleep 60 # {}", ":::", "a"]);
    live.wait_for("claimed");
    live.signal(Signal::SIGTERM);
    assert_eq!(live.end().code(), Some(143));
}

#[test]
fn the_second_interrupt_kills_what_does_not_listen() {
    let ranch = Ranch::new();
    let mut live = ranch.start(&["each", "touch started-{}; trap '' TERM; while :; do sleep 1; done", ":::", "a"]);
    live.wait_for("claimed");
    while !ranch.work().join("started-a").exists() {
        std::thread::yield_now();
    }
    live.signal(Signal::SIGINT);
    live.wait_for("note");
    live.signal(Signal::SIGINT);
    assert_eq!(live.end().code(), Some(130));
    ranch.is_clean();
}

#[test]
fn one_plain_command_is_one_task_and_keeps_its_braces() {
    let ranch = Ranch::new();
    ranch.write("x.txt", "");
    let seen = ranch
        .run(&["run", "--", "find", ".", "-name", "x.txt", "-exec", "echo", "<{}>", ";"])
        .exits(0)
        .says(&["1 task: 1 passed"]);
    assert_eq!(seen.out, "<./x.txt>\n");
}

#[test]
fn variables_named_with_env_reach_the_task() {
    let seen = Ranch::new().run(&["each", "--env", "COLOUR=dark red", "echo $COLOUR {}", ":::", "x"]).exits(0);
    assert_eq!(seen.out, "dark red x\n");
}

#[test]
fn junit_is_written_with_the_failure_in_it() {
    let ranch = Ranch::new();
    let path = ranch.work().join("out/junit.xml");
    ranch.run(&["each", "--junit", &path.display().to_string(), "test {} = a", ":::", "a", "b"]).exits(1);
    let text = std::fs::read_to_string(path).unwrap();
    assert!(
        text.contains(r#"tests="2""#)
            && text.contains(r#"failures="1""#)
            && text.contains(r#"<failure message="exit code 1""#),
        "{text}"
    );
}

#[test]
fn help_fits_a_screen() {
    let ranch = Ranch::new();
    for args in [&["--help"][..], &["run", "--help"], &["each", "--help"], &["worker", "--help"]] {
        let seen = ranch.run(args).exits(0);
        assert!(seen.out.lines().count() <= 50 && seen.out.contains("xample"), "{args:?}:\n{}", seen.out);
    }
}

#[test]
fn a_signal_shows_what_runs_where_and_since_when() {
    let ranch = Ranch::new();
    let mut live =
        ranch.start(&["each", "-n", "1", "while [ ! -e go ]; do sleep 0.05; done # {}", ":::", "alpha", "beta"]);
    live.wait_for("claimed");
    let console = ranch.work().join("console");
    let shown = || std::fs::read_to_string(&console).unwrap();
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        let before = shown().len();
        live.signal(signal);
        while !shown()[before..].contains("alpha") {
            std::thread::yield_now();
        }
    }
    ranch.write("go", "");
    assert!(live.end().success());
}
