//! The processes of an embedded run are killed under it: it goes on or ends at once, and its reports tell the truth.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::support::{Live, Ranch};

/// Everything here is over long before this.
const LIMIT: Duration = Duration::from_secs(60);

fn read(pid: i32, name: &str) -> String {
    let bytes = std::fs::read(Path::new("/proc").join(pid.to_string()).join(name)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// A living process below this one whose name and command line fit.
fn find(root: i32, fits: &dyn Fn(&str, &str) -> bool) -> Option<i32> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let stat = read(pid, "stat");
        let Some(words) = stat.rsplit(')').next().map(|rest| rest.split_whitespace().collect::<Vec<_>>()) else {
            continue;
        };
        if let [state, parent, ..] = words[..]
            && state != "Z"
        {
            parents.insert(pid, parent.parse::<i32>().unwrap());
        }
    }
    let below = |pid: i32| std::iter::successors(Some(pid), |pid| parents.get(pid).copied()).any(|pid| pid == root);
    parents.keys().copied().find(|pid| below(*pid) && fits(read(*pid, "comm").trim(), &read(*pid, "cmdline")))
}

/// The same, waited for.
fn found(root: i32, fits: &dyn Fn(&str, &str) -> bool) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(pid) = find(root, fits) {
            return pid;
        }
        assert!(start.elapsed() < LIMIT, "there is no such process below {root}");
        std::thread::yield_now();
    }
}

fn is_worker(_: &str, line: &str) -> bool {
    line.contains(" worker --redis unix:")
}

fn is_server(name: &str, line: &str) -> bool {
    (name.starts_with("redis-server") || name.starts_with("valkey-server")) && line.contains("redis.sock")
}

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// Kills a child of a run once one of its tasks has passed.
fn kill_under(live: &mut Live, fits: &dyn Fn(&str, &str) -> bool) {
    live.wait_for("result");
    kill_9(found(live.pid(), fits));
}

fn ends(live: &mut Live, ranch: &Ranch) -> Option<i32> {
    let ended = live.ends_within(LIMIT);
    ended.unwrap_or_else(|| panic!("it still runs:\n{}", ranch.console())).code()
}

fn json(ranch: &Ranch) -> Value {
    serde_json::from_slice(&std::fs::read(ranch.work().join("sum.json")).unwrap()).unwrap()
}

/// Twenty tasks; those after the first two wait for a file.
fn each(ranch: &Ranch) -> Live {
    let line = "echo x >> ran-{}; case {} in 1|2) ;; *) until test -e go; do sleep 0.05; done ;; esac";
    let mut args = vec!["each", "-n2", "--junit", "j.xml", "--json", "sum.json", line, ":::"];
    let items: Vec<String> = (1..=20).map(|n| n.to_string()).collect();
    args.extend(items.iter().map(String::as_str));
    ranch.start(&args)
}

fn go(ranch: &Ranch) {
    ranch.write("go", "");
}

#[test]
fn a_killed_worker_is_replaced_and_every_task_has_one_result() {
    let ranch = Ranch::new();
    let mut live = each(&ranch);
    kill_under(&mut live, &is_worker);
    live.wait_for("lost");
    go(&ranch);
    assert_eq!(ends(&mut live, &ranch), Some(0), "{}", ranch.console());
    assert_eq!((&json(&ranch)["passed"], &json(&ranch)["total"]), (&20.into(), &20.into()));
    let console = ranch.console();
    assert!(console.contains("the worker was killed (SIGKILL): another one takes over"), "{console}");
    assert!(console.contains("2 slots on 1 worker"), "{console}");
    ranch.is_clean();
}

#[test]
fn a_killed_warden_of_the_worker_does_not_end_the_run() {
    let ranch = Ranch::new();
    let mut live = each(&ranch);
    live.wait_for("result");
    let worker = found(live.pid(), &is_worker);
    kill_9(found(worker, &|name, line| name == "remuda-warden" && !is_worker(name, line)));
    live.wait_for("lost");
    go(&ranch);
    assert_eq!(ends(&mut live, &ranch), Some(0), "{}", ranch.console());
    assert_eq!((&json(&ranch)["passed"], &json(&ranch)["total"]), (&20.into(), &20.into()), "nothing is to blame");
    ranch.is_clean();
}

#[test]
fn tasks_that_kill_their_worker_every_time_are_lost_and_the_others_pass() {
    let ranch = Ranch::new();
    // the nearest process above that is the worker, and not the line that looks for it
    let line = r#"case {} in k*) p=$$; until tr '\0' ' ' </proc/$p/cmdline | grep -q '[ ]worker --redis'; do
        test "$p" -gt 1 || exit 9; p=$(sed 's/.*) . //; s/ .*//' /proc/$p/stat); done; kill -9 "$p"; sleep 600 ;; esac"#;
    let args = ["each", "-n2", "--json", "sum.json", line, ":::", "a", "k1", "b", "k2", "c"];
    let mut live = ranch.start(&args);
    assert_eq!(ends(&mut live, &ranch), Some(6), "{}", ranch.console());
    let summary = json(&ranch);
    assert_eq!((&summary["passed"], &summary["lost"]), (&3.into(), &2.into()), "{}", ranch.console());
    ranch.is_clean();
}

#[test]
fn a_worker_that_dies_again_and_again_ends_the_run_with_what_was_seen() {
    let ranch = Ranch::new();
    let mut live = each(&ranch);
    live.wait_for("result");
    let mut before = 0;
    let start = Instant::now();
    while live.runs() {
        assert!(start.elapsed() < LIMIT, "it still runs:\n{}", ranch.console());
        match find(live.pid(), &is_worker) {
            Some(pid) if pid != before => {
                before = pid;
                kill_9(pid);
            }
            _ => std::thread::yield_now(),
        }
    }
    assert_eq!(ends(&mut live, &ranch), Some(3), "{}", ranch.console());
    broken_off(&ranch, "the embedded worker was killed (SIGKILL)");
}

#[test]
fn a_killed_server_ends_the_run_with_what_was_seen() {
    for _ in 0..5 {
        let ranch = Ranch::new();
        let mut live = each(&ranch);
        kill_under(&mut live, &is_server);
        assert_eq!(ends(&mut live, &ranch), Some(3), "{}", ranch.console());
        broken_off(&ranch, "the embedded redis-server was killed (SIGKILL)");
    }
}

/// What a run left that ended before its tasks did.
fn broken_off(ranch: &Ranch, why: &str) {
    let console = ranch.console();
    let error = console.rsplit("error: ").next().unwrap();
    assert!(error.starts_with(why) && error.contains("hint: "), "{console}");
    assert!(!console.contains("overcommit") && error.lines().count() <= 4, "{console}");
    assert!(console.contains("Summary") && console.contains("20 tasks: "), "{console}");
    let summary = json(ranch);
    let (passed, open) = (summary["passed"].as_u64().unwrap(), summary["cancelled"].as_u64().unwrap());
    assert!(passed >= 1 && passed + open == 20 && summary["exit"] == 3, "{summary}");
    let xml = std::fs::read_to_string(ranch.work().join("j.xml")).unwrap();
    assert_eq!(xml.matches("<testcase").count(), 20 + 1, "one for the run: {xml}");
    assert!(xml.contains(&format!("<error message=\"{why}")), "{xml}");
    assert_eq!(xml.matches("not finished").count() as u64 / 2, open, "{xml}");
    for n in 1..=20 {
        assert!(xml.contains(&format!("<testcase name=\"{n}\"")), "{n}: {xml}");
    }
    ranch.is_clean();
}
