//! Reports in files: the page, the JSON summary, annotations, levels of the console.

use super::support::{Farm, Ranch, facts, of};

const MIXED: [&str; 10] = [
    "each",
    "-n2",
    "--retries",
    "1",
    "test {} != bad || exit 1; test -e f-{} || { touch f-{}; test {} != flaky; }",
    ":::",
    "good",
    "bad",
    "flaky",
    "slow",
];

fn with(more: &[&str]) -> Vec<String> {
    MIXED[..1].iter().chain(more).chain(&MIXED[1..]).map(ToString::to_string).collect()
}

fn run(ranch: &Ranch, more: &[&str]) -> super::support::Seen {
    let args = with(more);
    ranch.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn the_page_and_the_summary_are_whole_files_with_the_failures() {
    let ranch = Ranch::new();
    ranch
        .run(&[
            "each",
            "--html",
            "out/page.html",
            "--json",
            "out/sum.json",
            "echo '<b>' {}; test {} != b",
            ":::",
            "a",
            "b",
        ])
        .exits(1);
    let read = |name: &str| std::fs::read_to_string(ranch.work().join("out").join(name)).unwrap();
    let page = read("page.html");
    for part in ["<!doctype html>", "2 tasks: 1 passed, 1 failed", "&lt;b&gt; b", "again: <code>", "</html>"] {
        assert!(page.contains(part), "{part}");
    }
    let summary: serde_json::Value = serde_json::from_str(&read("sum.json")).unwrap();
    assert_eq!((summary["failed"].as_u64(), summary["failures"][0]["id"].as_str()), (Some(1), Some("b")));
    assert_eq!(std::fs::read_dir(ranch.work().join("out")).unwrap().count(), 2, "nothing is left beside them");
}

#[test]
fn the_summary_can_go_to_standard_output() {
    let seen = Ranch::new().run(&["each", "--json", "-", "echo", ":::", "a"]).exits(0);
    let summary: serde_json::Value = serde_json::from_str(&seen.out).unwrap();
    assert_eq!((summary["exit"].as_u64(), summary["workers"][0]["tests"].as_u64()), (Some(0), Some(1)));
}

#[test]
fn a_report_for_standard_output_makes_no_file_of_that_name() {
    let ranch = Ranch::new();
    for (flag, begins) in [("--junit", "<?xml"), ("--html", "<!doctype html>")] {
        let seen = ranch.run(&["each", flag, "-", "echo", "out-{}", ":::", "a"]).exits(0);
        // what tasks print would spoil it
        assert!(seen.out.starts_with(begins) && seen.out.trim_end().ends_with('>'), "{}", seen.out);
    }
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "1"]);
    ranch.run(&["--redis", &farm.url(), "each", "true", ":::", "a"]).exits(0);
    let seen = ranch.run(&["--redis", &farm.url(), "report", "--junit", "-"]).exits(0);
    assert_eq!(seen.out.matches("<testcase").count(), 1, "{}", seen.out);
    assert!(!ranch.work().join("-").exists());
}

#[test]
fn annotations_and_the_step_summary_are_githubs() {
    let ranch = Ranch::new();
    let page = ranch.write("step.md", "before\n");
    let args = with(&["--annotations", "github"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = ranch.command(&args).env("GITHUB_STEP_SUMMARY", &page).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("\n::error title=bad::exit code 1\n"), "{err}");
    assert!(err.contains("\n::warning title=flaky::flaky: passed at attempt 2\n"), "{err}");
    let text = std::fs::read_to_string(page).unwrap();
    assert!(text.starts_with("before\n### ❌ each") && text.contains("| failed | `bad` | exit code 1 |"), "{text}");
}

#[test]
fn levels_choose_what_is_shown_at_once_and_at_the_end() {
    let ranch = Ranch::new();
    let none = run(&ranch, &["--status-level", "none", "--final-status-level", "none"]).exits(1);
    assert!(!none.err.contains("FAIL") && none.err.contains("1 failed"), "{}", none.err);
    let ranch = Ranch::new();
    let all = run(&ranch, &["--status-level", "fail", "--final-status-level", "pass"]).exits(1);
    let (first, last) = all.err.split_once("Summary").unwrap();
    assert!(first.contains("FAIL") && !first.contains("RETRY") && !first.contains("PASS"), "{first}");
    let place = |word: &str| last.find(word).unwrap_or_else(|| panic!("no {word} in {last}"));
    assert!(place("PASS") < place("FLAKY") && place("FLAKY") < place("FAIL"), "{last}");
    Ranch::new().run(&["each", "--status-level", "loud", "true", ":::", "a"]).exits(2);
}

#[test]
fn a_job_that_is_over_is_reported_again_without_times_it_does_not_have() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "1"]);
    let (url, first, again) = (farm.url(), "--html=first.html", "--html=again.html");
    ranch.run(&["--redis", &url, "each", first, "sleep 0.2; test {} != b", ":::", "a", "b"]).exits(1);
    // whatever is told more than a second after its end is told again
    std::process::Command::new("sleep").arg("1.5").status().unwrap();
    ranch.run(&["--redis", &url, "report", again, "--json", "sum.json", "latest"]).exits(1);
    let read = |name: &str| std::fs::read_to_string(ranch.work().join(name)).unwrap();
    assert!(read("first.html").contains(r#""stacked":false"#) && read("again.html").contains(r#""stacked":true"#));
    assert!(read("again.html").contains("2 tasks: 1 passed, 1 failed"));
    let summary: serde_json::Value = serde_json::from_str(&read("sum.json")).unwrap();
    assert_eq!((summary["failed"].as_u64(), summary["workers"][0]["first_us"].is_null()), (Some(1), true));
}

#[test]
fn reports_of_a_job_that_is_over_tell_its_own_length_and_not_its_age() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "1"]);
    let url = farm.url();
    ranch.run(&["--redis", &url, "each", "true", ":::", "a"]).exits(0);
    std::process::Command::new("sleep").arg("2.5").status().unwrap();
    let files = ["--junit", "j.xml", "--json", "s.json", "--events", "e.jsonl", "--joblog", "log"];
    ranch.run(&[&["--redis", &url, "report"], &files[..], &["latest"]].concat()).exits(0);
    let read = |name: &str| std::fs::read_to_string(ranch.work().join(name)).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&read("s.json")).unwrap();
    let took = summary["wall_us"].as_f64().unwrap() / 1e6;
    let junit = read("j.xml");
    let time = junit.split("<testsuites").nth(1).and_then(|text| text.split("time=\"").nth(1)).unwrap();
    let time: f64 = time.split('"').next().unwrap().parse().unwrap();
    assert!((time - took).abs() < 0.01, "the job took {took}: {junit}");
    let facts = facts(&ranch.work().join("e.jsonl"));
    assert!(facts.iter().all(|fact| fact["at"].as_f64().unwrap() <= took), "the job took {took}: {facts:?}");
    let end: f64 = of(&facts, "finished")[0]["time"].as_str().map(seconds).unwrap();
    let log = read("log");
    let begun: f64 = log.lines().nth(1).and_then(|line| line.split('\t').nth(2)).unwrap().parse().unwrap();
    assert!(begun <= end + 0.01, "{log}");
}

/// The moment that a text names, in seconds.
fn seconds(time: &str) -> f64 {
    let at: chrono::DateTime<chrono::Utc> = time.parse().unwrap();
    at.timestamp_millis() as f64 / 1e3
}

#[test]
fn several_workers_are_listed_at_the_end() {
    let ranch = Ranch::new();
    let one = ["--slots", "1"];
    let farm = Farm::start(&[]).with_worker(&ranch, &one).with_worker(&ranch, &one);
    // each waits for the other: both workers take part
    let meet = "touch at-{}; while [ ! -e at-a ] || [ ! -e at-b ]; do sleep 0.05; done";
    let seen = ranch.run(&["--redis", &farm.url(), "each", meet, ":::", "a", "b"]).exits(0);
    seen.says(&["     Workers  tasks  first   busy lost\n", "2 slots on 2 workers"]);
}

#[test]
fn a_state_folder_that_cannot_be_written_costs_the_history_and_not_the_run() {
    let ranch = Ranch::new();
    let out = ranch.command(&["each", "true", ":::", "a"]).env("XDG_STATE_HOME", "/proc/nope").output().unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(0), "{text}");
    assert_eq!(text.matches("cannot write in /proc/nope/remuda: ").count(), 1, "{text}");
    let log = text.lines().find_map(|line| line.trim().strip_prefix("Log ")).unwrap().trim();
    assert!(std::fs::read_to_string(log).unwrap().contains("exit 0"), "{log}");
}

#[test]
fn an_empty_home_leaves_nothing_in_the_current_folder() {
    let ranch = Ranch::new();
    let mut command = ranch.command(&["each", "true", ":::", "a"]);
    let out = command.env("HOME", "").env_remove("XDG_STATE_HOME").output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(std::fs::read_dir(ranch.work()).unwrap().count(), 0);
}
