//! The groups of `remuda.toml` run in exactly the order of their needs, and pools are exclusive.

use std::collections::BTreeMap;

use super::support::{Farm, Ranch, facts, of};
use serde_json::Value;

/// When each group's tasks began and ended, by the marks they left.
fn spans(ranch: &Ranch) -> BTreeMap<String, (f64, f64)> {
    let text = std::fs::read_to_string(ranch.work().join("marks")).unwrap();
    let mut spans: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let at: f64 = words[2].parse().unwrap();
        let span = spans.entry(words[1].to_owned()).or_insert((f64::MAX, 0.0));
        if words[0] == "begin" { span.0 = span.0.min(at) } else { span.1 = span.1.max(at) }
    }
    spans
}

const GRAPH: &str = r#"
[groups.F]
adapter = "command"
command = "./mark F {item}"
items = ["1"]
[groups.E]
adapter = "command"
command = "./mark E {item}"
items = ["1"]
needs = ["C", "D"]
[groups.D]
adapter = "command"
command = "./mark D {item}"
items = ["1", "2"]
needs = ["A"]
[groups.C]
adapter = "command"
command = "./mark C {item}"
items = ["1"]
needs = ["B"]
[groups.B]
adapter = "command"
command = "./mark B {item}"
items = ["1"]
needs = ["A"]
[groups.A]
up = "./mark A {index}"
count = 2
"#;

fn with_marks() -> Ranch {
    use std::os::unix::fs::PermissionsExt as _;
    let ranch = Ranch::new();
    let script = "#!/bin/sh\necho begin $1 $(date +%s.%N) >> marks\nsleep 0.2\necho end $1 $(date +%s.%N) >> marks\n";
    std::fs::set_permissions(ranch.write("mark", script), std::fs::Permissions::from_mode(0o755)).unwrap();
    ranch
}

#[test]
fn groups_run_in_their_partial_order_and_overlap_where_they_may() {
    let ranch = with_marks();
    ranch.write("remuda.toml", GRAPH);
    ranch.run(&["run", "-n", "6"]).exits(0).says(&["6 tasks: 6 passed"]);
    let spans = spans(&ranch);
    for (later, earlier) in [("B", "A"), ("D", "A"), ("C", "B"), ("E", "C"), ("E", "D")] {
        assert!(spans[later].0 >= spans[earlier].1, "{later} began before {earlier} had ended: {spans:?}");
    }
    for (one, other) in [("A", "F"), ("B", "D")] {
        assert!(
            spans[one].0 < spans[other].1 && spans[other].0 < spans[one].1,
            "{one} and {other} did not overlap: {spans:?}"
        );
    }
}

#[test]
fn a_named_group_brings_what_it_needs_and_nothing_else() {
    let ranch = with_marks();
    ranch.write("remuda.toml", GRAPH);
    ranch.run(&["run", "-n", "4", "C"]).exits(0);
    assert_eq!(spans(&ranch).keys().collect::<Vec<_>>(), ["A", "B", "C"]);
}

#[test]
fn a_failed_provision_skips_what_needs_it_with_the_reason() {
    let ranch = Ranch::new();
    ranch.write("remuda.toml", "[groups.server]\nup = \"false\"\n[groups.web]\nadapter = \"command\"\ncommand = \"true\"\nneeds = [\"server\"]\n");
    let path = ranch.work().join("e.jsonl").display().to_string();
    ranch.run(&["run", "--junit", "j.xml", "--events", &path]).exits(4).says(&[
        "     SKIPPED web: needs server, which failed",
        "1 skipped",
        "provisioning failed",
    ]);
    let facts = facts(path.as_ref());
    let web: Vec<&Value> = of(&facts, "result").into_iter().filter(|r| r["group"] == "web").collect();
    assert_eq!((web.len(), web[0]["outcome"].as_str()), (1, Some("skipped")));
    let named = "needs server, which failed";
    assert!(of(&facts, "group").iter().any(|g| g["group"] == "web" && g["reason"] == named), "{facts:?}");
    let junit = std::fs::read_to_string(ranch.work().join("j.xml")).unwrap();
    assert!(junit.contains(&format!("<skipped message=\"{named}\"")), "{junit}");
}

#[test]
fn a_group_that_is_skipped_while_it_is_still_sent_ends_the_job_and_counts_whole() {
    let ranch = Ranch::new();
    let items: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let toml = format!(
        "[groups.build]\nadapter = \"command\"\ncommand = \"false\"\n[groups.tests]\nadapter = \"command\"\ncommand = \"echo {{item}}\"\nitems = {items:?}\nneeds = [\"build\"]\n[groups.after]\nadapter = \"command\"\ncommand = \"true\"\n"
    );
    ranch.write("remuda.toml", &toml);
    ranch.run(&["run"]).exits(1).says(&["needs build, which failed", "20002 tasks: 1 passed, 1 failed, 20000 skipped"]);
}

#[test]
fn what_a_skipped_group_would_have_run_is_shown_where_skips_are() {
    let ranch = Ranch::new();
    ranch.write(
        "remuda.toml",
        "[groups.build]\nadapter = \"command\"\ncommand = \"false\"\n[groups.unit]\nadapter = \"pytest\"\nneeds = [\"build\"]\n[groups.ship]\n\
         adapter = \"command\"\ncommand = \"ship {item}\"\nitems = [\"a\", \"b\"]\nneeds = [\"build\"]\n",
    );
    let seen = ranch.run(&["run", "--final-status-level", "skip"]).exits(1).says(&[
        "SKIPPED unit: needs build, which failed",
        "SKIPPED ship: needs build, which failed",
        "ship b (needs build, which failed)",
    ]);
    assert!(!seen.err.contains("collection skipped"), "{}", seen.err);
    let silent = ranch.run(&["run", "--status-level", "none"]).exits(1);
    assert!(!silent.err.contains("SKIPPED"), "{}", silent.err);
}

#[test]
fn tasks_that_lock_a_pool_never_share_an_item_and_read_its_name() {
    let ranch = Ranch::new();
    let body = "echo \\\"begin $REMUDA_POOL_BOARDS\\\" >> log; sleep 0.05; echo \\\"end $REMUDA_POOL_BOARDS\\\" >> log; true {item}";
    let toml = format!(
        "[groups.hw]\nadapter = \"command\"\ncommand = \"{body}\"\nitems = [\"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\"]\nlocks = {{ boards = 1 }}\n[pools.boards]\nitems = [\"b1\", \"b2\"]\n"
    );
    ranch.write("remuda.toml", &toml);
    ranch.run(&["run", "-n", "4"]).exits(0).says(&["8 tasks: 8 passed"]);
    let mut held: Vec<String> = Vec::new();
    let log = std::fs::read_to_string(ranch.work().join("log")).unwrap();
    for line in log.lines() {
        let (word, item) = line.split_once(' ').unwrap();
        assert!(["b1", "b2"].contains(&item), "{line}");
        if word == "begin" {
            assert!(!held.contains(&item.to_owned()), "{item} was held twice:\n{log}");
            held.push(item.to_owned());
        } else {
            held.retain(|h| h != item);
        }
    }
    assert_eq!((log.lines().count(), held.len()), (16, 0));
}

#[test]
fn files_are_tasks_one_by_one() {
    let ranch = Ranch::new();
    std::fs::create_dir(ranch.work().join("spec")).unwrap();
    for file in ["a_spec.rb", "b_spec.rb", "helper.rb"] {
        ranch.write(&format!("spec/{file}"), "");
    }
    ranch.write(
        "remuda.toml",
        "[groups.legacy]\nadapter = \"files\"\nfiles = [\"spec/**/*_spec.rb\"]\ncommand = \"test -f {item}\"\n",
    );
    ranch.run(&["run", "-v"]).exits(0).says(&["spec/a_spec.rb\n", "spec/b_spec.rb\n", "2 tasks: 2 passed"]);
}

#[test]
fn a_farm_runs_it_and_keeps_it_until_it_is_freed() {
    let ranch = Ranch::new();
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "2"]);
    let url = farm.url();
    ranch
        .run(&["--redis", &url, "each", "true", ":::", "a", "b", "c"])
        .exits(0)
        .says(&["3 tasks: 3 passed", "farm default"]);
    let jobs = ranch.run(&["status", "--redis", &url, "--json"]).exits(0).out;
    let id = serde_json::from_str::<Value>(&jobs).unwrap()[0]["id"].as_str().unwrap().to_owned();
    assert!(ranch.run(&["gc", "--redis", &url, "--all"]).exits(0).out.starts_with("freed "));
    let keys = std::process::Command::new("redis-cli")
        .args(["-p", &farm.port.to_string(), "keys", &format!("*{id}*")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&keys.stdout).trim(), "");
}
