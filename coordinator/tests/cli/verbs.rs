//! The verbs about jobs that are there: on a farm with a real worker, from other processes than the one that
//! submitted.

use std::process::Stdio;

use super::lab::Lab;
use super::support::Ranch;
use nix::sys::signal::Signal;

#[test]
fn a_job_is_sent_left_found_and_waited_for() {
    let lab = Lab::new("2");
    lab.items("echo out-{item}; test {item} != b", "\"a\", \"b\", \"c\"");
    let id = lab.submit(&[]);
    let junit = lab.ranch.work().join("j.xml").display().to_string();
    let seen = lab.run(&["wait", &id[..6], "--junit", &junit]).exits(1).says(&["3 tasks: 2 passed, 1 failed"]);
    assert!(!seen.err.contains("Running ["), "{}", seen.err);
    assert!(std::fs::read_to_string(&junit).unwrap().contains("<failure"));
    lab.run(&["attach"]).exits(1).says(&["        FAIL [", "3 tasks: 2 passed, 1 failed"]);
    let events = lab.ranch.work().join("e.jsonl").display().to_string();
    lab.run(&["report", "latest", "--events", &events]).exits(1);
    let log = lab.ranch.work().join("log").display().to_string();
    lab.run(&["report", "latest", "--joblog", &log]).exits(1);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.starts_with("Seq\tHost\t") && log.lines().count() == 4, "{log}");
    let shown = lab.run(&["report", "latest", "--joblog", "-"]).exits(1).out;
    assert!(shown.starts_with("Seq\tHost\t") && shown.lines().count() == 4, "{shown}");
    let ended = std::fs::read_to_string(&events).unwrap().matches("\"event\":\"result\"").count();
    assert_eq!(ended, 3);
    let status = lab.run(&["status"]).exits(0);
    assert!(status.out.contains(&id[..8]) && status.out.contains("3/3, 1 failed"), "{}", status.out);
    let near = lab.run(&["status", "--json", &id]).exits(0);
    let value: serde_json::Value = serde_json::from_str(&near.out).unwrap();
    assert_eq!((value["state"].as_str(), &value["groups"][0]["ended"]["failed"]), (Some("failed"), &1.into()));
    let logs = lab.run(&["logs", &id, "--tag"]).exits(0);
    let mut lines: Vec<&str> = logs.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a\tout-a", "b\tout-b", "c\tout-c"]);
    let one = lab.run(&["logs", "latest", "b"]).exits(0);
    assert!(one.out.starts_with("== b (fail, ") && one.out.ends_with("out-b\n"), "{}", one.out);
    let freed = lab.run(&["gc", &id]).exits(0);
    assert!(freed.out.starts_with("freed "), "{}", freed.out);
    lab.run(&["status", &id]).exits(2).says(&["there is no job", "hint: `remuda status` lists them"]);
}

#[test]
fn who_submits_is_told_who_writes_the_report() {
    let lab = Lab::new("1");
    lab.items("true {item}", "\"a\"");
    for flag in ["--junit=a.xml", "--html=a.html", "--json=a.json", "--events=a.jsonl", "--annotations=github"] {
        let name = flag.split('=').next().unwrap();
        lab.run(&["submit", flag]).exits(2).says(&[name, "`remuda wait JOB", "`remuda report JOB"]);
    }
    assert_eq!(lab.run(&["status", "--json"]).exits(0).out.trim(), "[]", "nothing was submitted");
    // what is set for every verb is no word to this one
    let submit = lab.with_farm(&["submit"]);
    let output = lab.ranch.command(&submit).env("REMUDA_JUNIT", "a.xml").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    lab.run(&["wait"]).exits(0);
    assert!(!lab.ranch.work().join("a.xml").exists());
}

#[test]
fn what_runs_and_what_waits_is_explained() {
    let lab = Lab::new("1");
    lab.ranch.write(
        "remuda.toml",
        "[pools.boards]\nitems = [\"b1\"]\n[groups.hw]\nadapter = \"command\"\ncommand = \"while [ ! -e go ]; do sleep 0.05; done # {item}\"\nitems = [\"first\", \"second\"]\nlocks = { boards = 1 }\n[groups.later]\nadapter = \"command\"\ncommand = \"true\"\nneeds = [\"hw\"]\n",
    );
    let id = lab.submit(&[]);
    let seen = lab.until("the first to run", &["explain", "first"], |s| s.out.contains("runs on"));
    assert!(seen.out.contains("holding boards=b1"), "{}", seen.out);
    let seen = lab.run(&["explain", "second"]).exits(0);
    assert!(seen.out.contains("waits: 0 of pool `boards` free, 1 wanted: b1 by "), "{}", seen.out);
    let status = lab.run(&["status", &id]).exits(0).out;
    for words in ["later (tests): waiting", "needs `hw`, which is sealed", "first for ", "holding boards=b1"] {
        assert!(status.contains(words), "`{words}` is not in:\n{status}");
    }
    let several = [&format!("`s` fits 2 tasks of job {id}: `first`, `second`\n"), "hint: write more of the name"];
    lab.run(&["explain", "s"]).exits(2).says(&several);
    lab.run(&["explain", "third"]).exits(2).says(&["has no task `third`"]);
    lab.ranch.write("go", "");
    lab.run(&["wait"]).exits(0);
    let seen = lab.run(&["explain", "second"]).exits(0);
    assert!(seen.out.contains("pass after"), "{}", seen.out);
}

#[test]
fn a_group_that_another_one_kept_from_running_names_it() {
    let lab = Lab::new("1");
    lab.ranch.write(
        "remuda.toml",
        "[groups.server]\nup = \"false\"\n[groups.web]\nadapter = \"command\"\ncommand = \"true\"\nneeds = [\"server\"]\n",
    );
    let id = lab.submit(&[]);
    lab.run(&["wait", &id]).exits(4).says(&["SKIPPED web: needs server, which failed"]);
    for verb in [&["status", &id][..], &["status", &id, "--json"], &["explain", "true"]] {
        let seen = lab.run(verb).exits(0);
        assert!(seen.out.contains("needs server, which failed"), "{verb:?}: {}", seen.out);
    }
}

#[test]
fn a_job_or_one_task_is_cancelled() {
    let lab = Lab::new("2");
    let items: Vec<String> = (0..40).map(|i| format!("\"t{i:02}\"")).collect();
    lab.items("while [ ! -e go ]; do sleep 0.05; done # {item}", &items.join(", "));
    let id = lab.submit(&[]);
    lab.until("two to run", &["status", "--json", &id], |s| s.out.matches("\"slot\":").count() == 2);
    lab.run(&["cancel", &id, "t39"]).exits(2).says(&["`t39` is in no slot's hands"]);
    let seen = lab.run(&["cancel", &id, "t00"]).exits(0);
    assert!(seen.out.contains("t00 is being cancelled"), "{}", seen.out);
    lab.until("it to end", &["explain", "t00"], |s| s.out.contains("cancelled after"));
    let near = lab.run(&["status", "--json", &id]).exits(0).out;
    let value: serde_json::Value = serde_json::from_str(&near).unwrap();
    assert_eq!(value["groups"][0]["ended"]["cancelled"], 1, "only that one: {near}");
    let seen = lab.run(&["cancel", &id]).exits(0);
    assert!(seen.out.contains("is cancelled"), "{}", seen.out);
    lab.run(&["wait", &id]).exits(6).says(&["the job was cancelled"]);
    lab.until("the slots to be free", &["workers", "--json"], |s| s.out.contains("\"idle\""));
    lab.run(&["cancel", &id]).exits(0);
}

#[test]
fn what_does_not_want_to_end_is_dead_two_seconds_after_cancel() {
    let lab = Lab::new("1");
    lab.items("trap '' TERM INT; echo $$ > pid-{item}; while :; do sleep 0.1; done", "\"x\"");
    let id = lab.submit(&[]);
    let pid = lab.ranch.work().join("pid-x");
    while std::fs::read_to_string(&pid).map_or(true, |text| text.trim().is_empty()) {
        std::thread::yield_now();
    }
    let asked = std::time::Instant::now();
    assert!(lab.run(&["cancel", &id]).exits(0).out.contains("is cancelled"));
    let took = asked.elapsed();
    let process = std::path::Path::new("/proc").join(std::fs::read_to_string(&pid).unwrap().trim());
    assert!(!process.exists(), "it still runs after {took:?}");
    // without the limit it has its whole grace, 10 s
    assert!(took < std::time::Duration::from_secs(6), "{took:?}");
}

#[test]
fn a_job_that_was_sent_with_fail_on_flaky_fails_for_whoever_waits() {
    let lab = Lab::new("1");
    lab.items("test -e once || { touch once; exit 1; } # {item}", "\"x\"");
    let id = lab.submit(&["--retries", "1", "--fail-on-flaky"]);
    lab.run(&["wait", &id]).exits(1).says(&["flaky tests count as failed"]);
    lab.run(&["report", &id]).exits(1);
}

#[test]
fn only_what_did_not_pass_is_run_again() {
    let lab = Lab::new("2");
    lab.items("echo {item} >> ran; test -e healed || test {item} = a", "\"a\", \"b\", \"c\"");
    let first = lab.submit(&[]);
    lab.run(&["wait", &first]).exits(1);
    lab.run(&["retry", &first]).exits(1).says(&["2 tasks: 0 passed, 2 failed"]);
    lab.ranch.write("healed", "");
    lab.run(&["run", "--last-failed"]).exits(0).says(&["2 tasks: 2 passed"]);
    lab.run(&["run", "--last-failed"]).exits(0).says(&["nothing to do: everything passed the last time"]);
    let again = lab.run(&["retry", &first, "--detach"]).exits(0).out.trim().to_owned();
    lab.run(&["wait", &again]).exits(0).says(&["2 tasks: 2 passed"]);
    lab.run(&["retry", &again]).exits(0).says(&["nothing to do: everything in job"]);
    let ran = std::fs::read_to_string(lab.ranch.work().join("ran")).unwrap();
    assert_eq!(["a", "b", "c"].map(|item| ran.lines().filter(|l| *l == item).count()), [1, 4, 4]);
}

#[test]
fn whoever_attaches_to_an_each_or_repeats_it_gets_its_output() {
    let lab = Lab::new("2");
    let line = "echo out-{}; echo bad-{} >&2; test -e healed || test {} = b";
    let first = lab.run(&["each", "--tag", "--keep-order", line, ":::", "a", "b", "c"]).exits(1);
    let out = "a\tout-a\nb\tout-b\nc\tout-c\n";
    assert_eq!(first.out, out);
    let attached = lab.run(&["attach"]).exits(1).says(&["a\tbad-a", "c\tbad-c"]);
    assert_eq!(attached.out, out);
    assert_eq!(lab.run(&["wait"]).exits(1).out, "");
    lab.ranch.write("healed", "");
    assert_eq!(lab.run(&["retry"]).exits(0).out, "a\tout-a\nc\tout-c\n");
    let refused = lab.run(&["retry", "latest", "--detach", "--html", "x.html"]).exits(2);
    refused.says(&["--html: `remuda retry --detach` leaves before", "say `remuda wait JOB --html FILE`"]);
}

#[test]
fn a_job_whose_coordinator_died_is_adopted_within_its_grace() {
    let lab = Lab::new("1");
    let args = lab.with_farm(&[
        "each",
        "--owner-grace",
        "60s",
        "while [ ! -e go ]; do sleep 0.05; done # {}",
        ":::",
        "x",
        "y",
    ]);
    let mut live = lab.ranch.start(&args);
    live.wait_for("claimed");
    live.signal(Signal::SIGKILL);
    assert!(!live.end().success());
    let mut attached = lab.ranch.start(&lab.with_farm(&["attach"]));
    attached.wait_for("claimed");
    while !lab.ranch.console().contains("this program is the job's coordinator now") {
        std::thread::yield_now();
    }
    lab.ranch.write("go", "");
    assert!(attached.end().success());
}

#[test]
fn whoever_only_looks_on_leaves_the_job_running() {
    let lab = Lab::new("1");
    lab.items("while [ ! -e go ]; do sleep 0.05; done # {item}", "\"x\"");
    let id = lab.submit(&[]);
    let mut attached = lab.ranch.start(&lab.with_farm(&["attach", &id]));
    attached.wait_for("claimed");
    attached.signal(Signal::SIGINT);
    assert_eq!(attached.end().code(), Some(130));
    assert!(lab.ranch.console().contains("goes on"), "{}", lab.ranch.console());
    lab.run(&["wait", &id, "--timeout", "200ms"]).exits(6).says(&["has not ended in the time given", "remuda attach"]);
    lab.run(&["report", &id]).exits(2).says(&["has not ended; `remuda wait"]);
    lab.ranch.write("go", "");
    lab.run(&["wait", &id]).exits(0);
}

#[test]
fn logs_follow_a_job_from_its_start_to_its_end() {
    let lab = Lab::new("1");
    let line =
        "echo begin-{item}; touch printed-{item}; while [ ! -e go-{item} ]; do sleep 0.05; done; echo end-{item}";
    lab.items(line, "\"x\", \"y\"");
    let id = lab.submit(&[]);
    while !lab.ranch.work().join("printed-x").exists() {
        std::thread::yield_now();
    }
    let glance = lab.run(&["logs", &id]).exits(0);
    assert_eq!(glance.out, "== x\nbegin-x\n", "nobody had looked before");
    let args = lab.with_farm(&["logs", "-f", &id]);
    let logs = lab.ranch.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    lab.until("x to run", &["explain", "x"], |s| s.out.contains("runs on"));
    lab.ranch.write("go-x", "");
    lab.until("y to run", &["explain", "y"], |s| s.out.contains("runs on"));
    lab.ranch.write("go-y", "");
    let output = logs.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    // of x it is printed before anybody looks
    for words in ["== x", "begin-x\n", "end-x\n", "== y", "begin-y\n", "end-y\n"] {
        assert_eq!(text.matches(words).count(), 1, "`{words}` in:\n{text}");
    }
}

#[test]
fn a_worker_is_taken_out_of_service_and_back() {
    let lab = Lab::new("1");
    lab.run(&["workers", "drain", "--all"]).exits(0);
    lab.until("it to drain", &["workers", "--json"], |s| s.out.contains("\"drained\""));
    lab.items("true {item}", "\"x\"");
    let id = lab.submit(&[]);
    lab.run(&["wait", &id, "--timeout", "500ms"]).exits(6);
    let repair = "1 worker that fits is drained; `remuda workers resume --all` brings it back";
    let seen = lab.run(&["explain", "x"]).exits(0);
    assert!(seen.out.contains(&format!("waits: no worker takes it: {repair}")), "{}", seen.out);
    let seen = lab.run(&["each", "--queue-timeout", "1s", "true", ":::", "y"]).exits(6);
    seen.says(&["no worker takes group `each`: ", repair]);
    lab.run(&["workers", "resume", "--all"]).exits(0);
    lab.run(&["wait", &id]).exits(0);
    lab.run(&["workers", "drain", "no-such-host"]).exits(2).says(&["there is no worker `no-such-host`"]);
    lab.run(&["workers", "remove", "--all"]).exits(0);
    lab.until("it to leave", &["workers", "--json"], |s| s.out.trim() == "[]");
}

#[test]
fn without_a_farm_the_verbs_say_how_to_name_one() {
    let ranch = Ranch::new();
    for verb in [&["status"][..], &["submit", "--", "true"], &["cancel", "x"], &["workers"], &["gc"], &["retry"]] {
        ranch.run(verb).exits(2).says(&["there is no farm to ask", "name one with --redis URL"]);
    }
}

#[test]
fn last_failed_works_without_a_farm_too() {
    let ranch = Ranch::new();
    ranch.write(
        "remuda.toml",
        "[groups.g]\nadapter = \"command\"\ncommand = \"test -e healed || test {item} = a\"\nitems = [\"a\", \"b\"]\n",
    );
    // of a first run nothing is known: it must not pass unrun
    ranch
        .run(&["run", "--last-failed"])
        .exits(1)
        .says(&["it is not known what of g did not pass", "2 tasks: 1 passed"]);
    ranch.run(&["run", "--last-failed"]).exits(1).says(&["1 task: 0 passed, 1 failed"]);
    ranch.write("healed", "");
    ranch.run(&["run", "--last-failed"]).exits(0).says(&["1 task: 1 passed"]);
    ranch.run(&["run", "--last-failed"]).exits(0).says(&["nothing to do"]);
}

#[test]
fn what_was_skipped_for_its_needs_runs_with_the_last_failed_and_lines_name_their_own_commands() {
    let ranch = Ranch::new();
    let group = |name: &str, command: &str, more: &str| {
        format!("[groups.{name}]\nadapter = \"command\"\ncommand = \"{command}\"\n{more}")
    };
    let needs = "needs = [\"build\"]\n";
    let (build, deploy) = (group("build", "test -e healed", ""), group("deploy", "test -e deployed", needs));
    ranch.write("remuda.toml", &format!("{}{build}{deploy}", group("always", "true", "")));
    ranch.run(&["run"]).exits(1).says(&["3 tasks: 1 passed, 1 failed, 1 skipped"]);
    ranch.write("healed", "");
    let out = ranch.run(&["run", "--last-failed"]).exits(1).says(&["2 tasks: 1 passed, 1 failed"]);
    let again: Vec<&str> = out.err.lines().map(str::trim).filter(|line| line.starts_with("test -e ")).collect();
    assert!(again.iter().all(|line| *line == "test -e deployed") && !again.is_empty(), "{}", out.err);
    ranch.write("deployed", "");
    ranch.run(&["run", "--last-failed"]).exits(0).says(&["1 task: 1 passed"]);
    ranch.run(&["run", "--last-failed"]).exits(0).says(&["nothing to do"]);
}

#[test]
fn an_each_can_be_left_on_the_farm_as_well() {
    let lab = Lab::new("1");
    let seen =
        lab.ranch.run_with_input(&lab.with_farm(&["each", "--detach", "--tag", "echo got {}"]), b"a\nb\n").exits(0);
    let id = seen.out.trim();
    assert_eq!(uuid::Uuid::parse_str(id).map(|_| seen.err.as_str()), Ok(""));
    lab.run(&["wait", id]).exits(0);
    assert_eq!(lab.run(&["attach", id]).exits(0).out, "a\tgot a\nb\tgot b\n");
    for (flag, way) in [
        ("--queue-timeout=1s", "`remuda wait JOB --queue-timeout TIME`"),
        ("--junit=a.xml", "`remuda wait JOB --junit FILE`"),
        ("--halt=now,fail=10%", "give a number of failures"),
        ("--joblog=log", "cannot be used with"),
    ] {
        lab.run(&["each", "--detach", flag, "true", ":::", "a"]).exits(2).says(&[way]);
    }
    lab.ranch.run(&["each", "--detach", "true", ":::", "a"]).exits(2).says(&["--redis"]);
}

#[test]
fn what_was_never_collected_is_not_taken_for_passed() {
    let lab = Lab::new("1");
    let python = crate::pytest::python().display().to_string();
    let pytest = ["--", &python, "-m", "pytest", "-q"];
    let (all, again) = ([&["run"], &pytest[..]].concat(), [&["run", "--last-failed"], &pytest[..]].concat());
    lab.ranch.write("test_a.py", "def test_a(): pass\n");
    lab.run(&all).exits(0);
    lab.run(&again).exits(0).says(&["nothing to do"]);
    lab.ranch.write("test_a.py", "import no_such_module_here\n");
    lab.run(&all).exits(2);
    lab.run(&again).exits(2).says(&["it is not known", "no_such_module_here"]);
    lab.run(&["retry", "latest"]).exits(2).says(&["no_such_module_here"]);
}

#[test]
fn the_doctor_says_what_is_wrong_and_where_settings_come_from() {
    let lab = Lab::new("1");
    lab.ranch.write("remuda.toml", "retries = 2\n");
    let seen = lab.run(&["doctor"]).exits(0);
    for words in ["redis", "can be used", "1 worker, 1 slot", "retries        2", "remuda.toml:1"] {
        assert!(seen.out.contains(words), "`{words}` is not in:\n{}", seen.out);
    }
    let seen = lab.ranch.run(&["doctor", "--json", "--redis", "redis://127.0.0.1:1"]).exits(3);
    let value: serde_json::Value = serde_json::from_str(&seen.out).unwrap();
    assert!(value["findings"].as_array().unwrap().iter().any(|f| f["health"] == "BAD" && f["what"] == "redis"));
}

#[test]
fn configuration_completions_and_manuals() {
    let ranch = Ranch::new();
    assert!(ranch.run(&["config", "check"]).exits(5).err.contains("nothing was checked"));
    ranch.write("remuda.toml", "[groups.a]\nadapter = \"command\"\ncommand = \"true\"\nneeds = [\"b\"]\n");
    ranch.run(&["config", "check"]).exits(2).says(&["there is no group `b`"]);
    ranch.write("remuda.toml", "[groups.a]\nadapter = \"command\"\ncommand = \"true\"\n");
    assert!(ranch.run(&["config", "check"]).exits(0).out.contains("is right: 1 group, 0 pools"));
    let schema: serde_json::Value = serde_json::from_str(&ranch.run(&["config", "schema"]).exits(0).out).unwrap();
    assert_eq!(schema["properties"]["retries"]["type"], "integer");
    for shell in ["bash", "zsh", "fish"] {
        assert!(ranch.run(&["completions", shell]).exits(0).out.contains("explain"), "{shell}");
    }
    ranch.run(&["man", "pages"]).exits(0);
    let page = std::fs::read_to_string(ranch.work().join("pages/remuda-retry.1")).unwrap();
    assert!(page.contains("did not pass"), "{page}");
}
