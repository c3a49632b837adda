//! What a pipeline relies on: a cancelled job leaves nothing running on the farm, an exit code tells the truth whatever
//! happened to the workers, and the examples in `deploy/ci` say what this program understands.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::support::{Farm, Live, Ranch};

/// GitHub's runner: INT, then TERM, then KILL.
const TO_TERM: Duration = Duration::from_millis(7500);
const TO_KILL: Duration = Duration::from_millis(2500);

/// Pids that tasks wrote, one in a file of its own.
fn begun(ranch: &Ranch, n: usize) -> Vec<String> {
    let start = Instant::now();
    loop {
        let found: Vec<String> = std::fs::read_dir(ranch.work())
            .unwrap()
            .filter_map(|e| Some(e.unwrap().file_name().to_str()?.strip_prefix("pid-")?.to_owned()))
            .collect();
        if found.len() == n {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "only {} of {n} tasks began", found.len());
        std::thread::yield_now();
    }
}

fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|s| !s.is_empty() && !s.trim_start().starts_with(['Z', 'X']))
}

fn wait_until_gone(pids: &[String], limit: Duration) {
    let start = Instant::now();
    while pids.iter().any(|pid| lives(pid)) {
        assert!(start.elapsed() < limit, "{pids:?} still run on the worker");
        std::thread::yield_now();
    }
}

fn start(ranch: &Ranch, farm: &Farm, line: &str) -> Live {
    ranch.start(&["--redis", &farm.url(), "each", line, ":::", "a", "b"])
}

/// Ends a run as the runner does; says how it ended, and how many signals it took.
fn cancel(live: &mut Live) -> (Option<i32>, u32) {
    for (n, (signal, patience)) in
        (1..).zip([(Signal::SIGINT, TO_TERM), (Signal::SIGTERM, TO_KILL), (Signal::SIGKILL, Duration::MAX)])
    {
        live.signal(signal);
        if let Some(status) = live.ends_within(patience) {
            return (status.code(), n);
        }
    }
    unreachable!("nothing survives the last signal")
}

#[test]
fn a_cancelled_step_ends_its_tasks_on_the_farm_before_term_is_sent() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "2"]);
    let mut live = start(&ranch, &farm, "touch pid-$$; exec sleep 600 # {}");
    let pids = begun(&ranch, 2);
    assert_eq!(cancel(&mut live), (Some(130), 1));
    assert!(pids.iter().all(|pid| !lives(pid)), "the run has ended, and {pids:?} still run on the worker");
    // the farm serves the next one at once
    ranch.run(&["--redis", &farm.url(), "each", "true", ":::", "a", "b"]).exits(0);
}

#[test]
fn tasks_that_do_not_listen_end_on_the_farm_although_the_runner_kills() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "2"]);
    ranch.write("remuda.toml", "grace = \"10s\"\n");
    let mut live = start(&ranch, &farm, "trap '' INT TERM; touch pid-$$; while :; do sleep 1; done # {}");
    let pids = begun(&ranch, 2);
    let asked = Instant::now();
    assert_eq!(cancel(&mut live), (Some(130), 2), "TERM makes it leave, KILL is not needed");
    // the worker gives them the grace that was asked for, and needs nobody to remind it
    wait_until_gone(&pids, Duration::from_secs(13).saturating_sub(asked.elapsed()));
    ranch.run(&["--redis", &farm.url(), "each", "true", ":::", "a", "b"]).exits(0);
}

#[test]
fn what_a_second_interrupt_leaves_on_the_farm_ends_without_anybody() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "2"]);
    let mut live = start(&ranch, &farm, "trap '' INT TERM; touch pid-$$; while :; do sleep 1; done # {}");
    let pids = begun(&ranch, 2);
    live.signal(Signal::SIGINT);
    while live.wait_for("job")["state"] != "closing" {}
    live.signal(Signal::SIGINT);
    assert_eq!(live.ends_within(TO_TERM).and_then(|status| status.code()), Some(130));
    // the worker needs nobody to remind it; where somebody cancels, 10 s of grace are shortened
    wait_until_gone(&pids, Duration::from_secs(6));
}

#[test]
fn a_runner_that_sends_only_term_is_heard() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "2"]);
    let mut live = start(&ranch, &farm, "touch pid-$$; exec sleep 600 # {}");
    let pids = begun(&ranch, 2);
    live.signal(Signal::SIGTERM);
    assert_eq!(live.ends_within(TO_TERM).and_then(|status| status.code()), Some(143));
    assert!(pids.iter().all(|pid| !lives(pid)), "the run has ended, and {pids:?} still run on the worker");
}

#[test]
fn workers_that_vanish_make_it_incomplete_and_are_named() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "1", "--lease", "3"]);
    let url = farm.url();
    let words =
        ["--redis", &url, "each", "--queue-timeout", "1s", "touch pid-$$; exec sleep 600 # {}", ":::", "a", "b"];
    let mut live = ranch.start(&words);
    begun(&ranch, 1);
    farm.kill_worker();
    assert_eq!(live.ends_within(Duration::from_secs(30)).and_then(|status| status.code()), Some(6));
    let said = std::fs::read_to_string(ranch.work().join("console")).unwrap();
    assert!(said.contains("died or was cut off"), "{said}");
    assert!(said.contains("no worker is on farm `default`"), "{said}");
}

#[test]
fn patience_begins_anew_when_somebody_was_there() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]);
    let url = farm.url();
    let line = "case {} in a) sleep 4 ;; b) touch pid-$$; while [ ! -e go ]; do sleep 0.05; done ;; esac";
    let mut live = ranch.start(&["--redis", &url, "each", "--queue-timeout", "4s", line, ":::", "a", "b"]);
    while !ranch.console().contains("no worker is on farm") {
        std::thread::yield_now();
    }
    let farm = farm.with_worker(&ranch, &["--slots", "1", "--lease", "3"]);
    begun(&ranch, 1);
    farm.kill_worker();
    live.wait_for("lost");
    // it was without a worker at its start, too: that was another time
    assert!(live.ends_within(Duration::from_secs(2)).is_none(), "{}", ranch.console());
    ranch.write("go", "");
    let _farm = farm.with_worker(&ranch, &["--slots", "1"]);
    assert_eq!(live.ends_within(Duration::from_secs(30)).and_then(|status| status.code()), Some(0));
}

#[test]
fn a_task_lost_with_its_worker_makes_it_incomplete() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "1", "--lease", "3"]);
    let url = farm.url();
    let words = ["--redis", &url, "each", "--max-losses", "0", "touch pid-$$; exec sleep 600 # {}", ":::", "a"];
    let mut live = ranch.start(&words);
    begun(&ranch, 1);
    farm.kill_worker();
    assert_eq!(live.ends_within(Duration::from_secs(30)).and_then(|status| status.code()), Some(6));
    let said = std::fs::read_to_string(ranch.work().join("console")).unwrap();
    assert!(said.contains("some tests were lost with their workers"), "{said}");
}

#[test]
fn a_deadline_ends_the_tasks_on_the_farm_too() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "2"]);
    let line = "touch pid-$$; exec sleep 600 # {}";
    ranch
        .run(&["--redis", &farm.url(), "each", "--deadline", "2s", line, ":::", "a", "b"])
        .exits(6)
        .says(&["the deadline has passed", "2 tasks: 0 passed, 2 not finished"]);
    assert!(begun(&ranch, 2).iter().all(|pid| !lives(pid)));
}

#[test]
fn a_queue_timeout_names_what_was_missing() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "1", "--label", "arm64"]);
    let url = farm.url();
    let run = |label: &str| {
        ranch.run(&["--redis", &url, "each", "--queue-timeout", "1s", "--label", label, "true", ":::", "a"])
    };
    run("arm64").exits(0);
    run("gpu").exits(6).says(&["none has the label `gpu`", "1 task: 0 passed, 1 not finished"]);
    let _farm = farm.with_worker(&ranch, &["--slots", "1", "--label", "big"]);
    while !ranch.run(&["--redis", &url, "workers"]).out.contains("big") {
        std::thread::yield_now();
    }
    let apart = ["--label", "arm64", "--label", "big", "true", ":::", "a"];
    let seen = ranch.run(&[&["--redis", &url, "each", "--queue-timeout", "1s"], &apart[..]].concat()).exits(6);
    seen.says(&["none has all of the labels `arm64`, `big`"]);
}

#[test]
fn who_waits_for_a_job_that_nobody_can_run_is_told_and_may_give_up() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "1"]);
    let url = farm.url();
    let on = |args: &[&str]| ranch.run(&[&["--redis", &url], args].concat());
    on(&["submit", "--queue-timeout", "1s", "--label", "gpu", "--", "true"])
        .exits(2)
        .says(&["`remuda wait JOB --queue-timeout TIME`"]);
    on(&["submit", "--label", "gpu", "--", "true"]).exits(0);
    on(&["wait", "--queue-timeout", "1s"]).exits(6).says(&["Note no worker fits", "none has the label `gpu`"]);
    assert!(on(&["status"]).out.contains("incomplete"), "it was cancelled for all");
    on(&["submit", "--label", "gpu", "--", "true"]).exits(0);
    on(&["wait", "--timeout", "2s"]).exits(6).says(&["Note no worker fits"]);
    on(&["cancel", "latest"]).exits(0);
}

#[test]
fn a_secret_that_is_not_there_is_no_address() {
    // pipelines set the variable of a missing secret to nothing
    let ranch = Ranch::new();
    let output = ranch.command(&["each", "true", ":::", "a"]).env("REMUDA_REDIS_URL", "").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_examples_say_what_the_program_understands() {
    for file in ["github.yml", "gitlab.yml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/ci").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .filter_map(|line| {
                line.trim().trim_start_matches("- ").trim_start_matches("exec ").strip_prefix("remuda run ")
            })
            .collect();
        assert_eq!(lines.len(), 1, "{file}");
        let words: Vec<&str> = ["run", "--dry-run"].into_iter().chain(lines[0].split(' ')).collect();
        let seen = Ranch::new().run(&words).exits(0);
        assert!(seen.out.contains("pytest") && seen.out.contains("30m"), "{}", seen.out);
    }
}
