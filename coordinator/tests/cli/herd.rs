//! What the verbs say of workers, of Redis and of how far jobs are: `workers`, `doctor`, `status`.

use super::lab::Lab;
use super::support::{Farm, Ranch};

#[test]
fn a_job_that_is_over_is_told_again_without_another_log() {
    let lab = Lab::new("1");
    lab.items("echo {item}", "\"a\"");
    let id = lab.submit(&[]);
    lab.run(&["wait", &id]).exits(0);
    let runs = lab.ranch.state().join("remuda/runs");
    let logs = || std::fs::read_dir(&runs).map_or(0, Iterator::count);
    let before = logs();
    for verb in ["wait", "attach", "report"] {
        let seen = lab.run(&[verb, &id]).exits(0).says(&["1 task: 1 passed"]);
        assert!(!seen.err.contains(".log"), "{}", seen.err);
    }
    assert_eq!(logs(), before);
}

#[test]
fn the_doctor_shows_no_password_of_a_socket() {
    let ranch = Ranch::new();
    let socket = ranch.work().join("r.sock").display().to_string();
    let _farm = Farm::start(&["--unixsocket", &socket, "--user", "rem", "on", ">sekret", "~*", "&*", "+@all"]);
    let url = format!("unix://{socket}?user=rem&pass=sekret");
    for verb in [&["doctor"][..], &["doctor", "--json"], &["workers"], &["run", "--dry-run", "--", "true"]] {
        let seen = ranch.run(&[&["--redis", &url][..], verb].concat()).exits(0);
        assert!(seen.out.contains(&socket) || verb[0] == "run", "{}", seen.out);
        assert!(!format!("{}{}", seen.out, seen.err).contains("sekret"), "{}{}", seen.out, seen.err);
    }
}

#[test]
fn the_doctor_sees_that_redis_is_full_and_that_nobody_takes_work() {
    let ranch = Ranch::new();
    let full = Farm::start(&["--maxmemory", "1kb", "--maxmemory-policy", "noeviction"]);
    let seen = ranch.run(&["--redis", full.url_str(), "doctor"]).exits(3);
    assert!(seen.out.contains("  BAD  memory     cannot write to Redis at redis://127.0.0.1"), "{}", seen.out);
    assert!(seen.out.contains("reached its maxmemory; give it more memory (CONFIG SET maxmemory)"), "{}", seen.out);
    let lab = Lab::new("1");
    lab.run(&["workers", "drain", "--all"]).exits(0);
    let seen = lab.run(&["doctor"]).exits(0);
    let line = " look  workers    1 worker, 1 slot; none takes work: `remuda workers resume --all`";
    assert!(seen.out.contains(line), "{}", seen.out);
    lab.run(&["workers", "resume", "--all"]).exits(0);
    assert!(lab.run(&["doctor"]).exits(0).out.contains("   ok  workers    1 worker, 1 slot\n"));
}

#[test]
fn a_worker_that_was_asked_to_leave_is_not_said_to_come_back() {
    let lab = Lab::new("1");
    lab.items("touch began; while [ ! -e go ]; do sleep 0.05; done # {item}", "\"x\"");
    let job = lab.submit(&[]);
    while !lab.ranch.work().join("began").exists() {
        std::thread::yield_now();
    }
    let list = lab.run(&["workers", "--json"]).exits(0).out;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let id = list[0]["id"].as_str().unwrap();
    lab.run(&["workers", "remove", id]).exits(0);
    for chosen in [id, "--all"] {
        let seen = lab.run(&["workers", "resume", chosen]).exits(2);
        assert_eq!(seen.out, "");
        seen.says(&[&id[..8], "cannot be kept: it was asked to leave", "hint: `remuda worker --redis redis://"]);
    }
    let drained = lab.run(&["workers", "drain", id]).exits(0).out;
    assert!(drained.contains("is leaving: it takes no more"), "{drained}");
    lab.until("its state", &["workers", "--json"], |s| s.out.contains("\"leaving\""));
    lab.ranch.write("go", "");
    lab.run(&["wait", &job]).exits(0);
    lab.until("it to leave", &["workers", "--json"], |s| s.out.trim() == "[]");
}

#[test]
fn workers_of_one_host_are_told_apart() {
    let Lab { ranch, farm } = Lab::new("1");
    let lab = Lab { farm: farm.with_worker(&ranch, &["--slots", "1"]), ranch };
    let list = lab.until("two workers", &["workers", "--json"], |s| s.out.matches("\"idle\"").count() == 2).out;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let name = |i: usize| {
        let word = |field: &str| list[i][field].as_str().unwrap().to_owned();
        format!("{} {}", word("host"), &word("id")[..8])
    };
    let names = [name(0), name(1)];
    let seen = lab.run(&["workers", "drain", "nosuch"]).exits(2);
    seen.says(&[&format!("there are: {}", names.join(", "))]);
    lab.items("while [ ! -e go ]; do sleep 0.05; done # {item}", "\"x\", \"y\"");
    let id = lab.submit(&[]);
    let seen = lab.until("both to run", &["status", &id], |s| s.out.matches("/0 ").count() == 2).out;
    assert!(names.iter().all(|name| seen.contains(&format!("  {name}/0 "))), "{seen}");
    let seen = lab.run(&["explain", "x"]).exits(0).out;
    assert!(names.iter().any(|name| seen.contains(&format!("runs on {name}/0 for "))), "{seen}");
    lab.ranch.write("go", "");
    lab.run(&["wait", &id]).exits(0);
}

#[test]
fn whom_to_bring_back_must_be_said_and_all_is_a_word_for_it() {
    let ranch = Ranch::new();
    for verb in ["drain", "resume", "remove"] {
        ranch.run(&["workers", verb]).exits(2).says(&["<WORKER|--all>"]);
        ranch.run(&["workers", verb, "lab7", "--all"]).exits(2).says(&["cannot be used with"]);
    }
}

#[test]
fn a_farm_is_not_called_what_keys_and_folders_cannot_be() {
    let (ranch, farm) = (Ranch::new(), Farm::start(&[]));
    let redis = ["--redis", farm.url_str()];
    for name in ["bad farm!", "a{b}", "../up", ".hidden", "f\u{fc}r"] {
        let each = ["each", "true", ":::", "a"];
        for (redis, verb) in [(&redis[..], &["status"][..]), (&redis, &each), (&[], &each), (&redis, &["worker"])] {
            let said = format!("use the farm `{name}`: ");
            let seen = ranch.run(&[redis, &["--farm", name], verb].concat()).exits(2);
            seen.says(&[&said, "hint: a farm's name has up to 100 letters (a to z), digits, `-`, `_` and `.`"]);
        }
    }
    ranch.run(&[&redis[..], &["--farm", "Lab-1.a_b", "status"]].concat()).exits(0);
}

/// A job in `status --json` and in `status JOB --json`.
fn both(lab: &Lab, id: &str) -> [serde_json::Value; 2] {
    let all: serde_json::Value = serde_json::from_str(&lab.run(&["status", "--json"]).exits(0).out).unwrap();
    let one = serde_json::from_str(&lab.run(&["status", id, "--json"]).exits(0).out).unwrap();
    [all.as_array().unwrap().iter().find(|job| job["id"] == id).unwrap().clone(), one]
}

#[test]
fn both_lists_of_jobs_say_the_same_of_one() {
    let lab = Lab::new("1");
    lab.items("while [ ! -e go ]; do sleep 0.05; done # {item}", "\"x\", \"y\"");
    let id = lab.submit(&[]);
    lab.until("it to run", &["status", "--json", &id], |s| s.out.contains("\"slot\":"));
    for job in both(&lab, &id) {
        assert_eq!((job["state"].as_str(), job["shown"].as_str()), (Some("sealed"), Some("running")), "{job}");
    }
    lab.run(&["cancel", &id]).exits(0);
    lab.run(&["wait", &id]).exits(6);
    let text = lab.run(&["status"]).exits(0).out;
    assert!(text.contains("cancelled  0/2"), "{text}");
    let text = lab.run(&["status", &id]).exits(0).out;
    assert!(text.contains("0/2 ended, 2 cancelled"), "{text}");
    let took: Vec<u64> = both(&lab, &id)
        .iter()
        .map(|job| {
            assert_eq!((&job["done"], &job["cancelled"], &job["total"]), (&0.into(), &2.into(), &2.into()), "{job}");
            assert_eq!(job["shown"], "cancelled");
            let [since, took] = ["since_ms", "took_ms"].map(|name| job[name].as_u64().unwrap());
            assert!(since > took, "an age goes on: {job}");
            took
        })
        .collect();
    assert_eq!(took[0], took[1]);
}

#[test]
fn a_worker_that_was_killed_is_silent_and_what_it_holds_is_named() {
    let lab = Lab::new("1");
    lab.items("while [ ! -e go ]; do sleep 0.05; done # {item}", "\"x\", \"y\"");
    let id = lab.submit(&[]);
    lab.until("it to run", &["status", "--json", &id], |s| s.out.contains("\"slot\":"));
    lab.farm.kill_worker();
    lab.until("silence", &["workers"], |s| s.out.contains(" silent "));
    let seen = lab.run(&["status", &id]).exits(0).out;
    assert!(
        seen.contains(" has been silent for 1") && seen.contains(" and holds 1 task: its lease ends in "),
        "{seen}"
    );
    assert!(seen.contains("waiting: no worker that fits answers: ") && !seen.contains("takes it next"), "{seen}");
    assert!(lab.run(&["status"]).exits(0).out.contains("1 worker, 1 slot, 1 busy; 1 of them silent"));
    let seen = lab.run(&["explain", "x"]).exits(0).out;
    assert!(
        seen.contains(" has been silent for 1") && seen.contains("it goes back when its lease ends, in "),
        "{seen}"
    );
    let seen = lab.run(&["doctor"]).exits(0).out;
    assert!(seen.contains(" look  workers    1 worker, 1 slot; ") && seen.contains("has been silent for"), "{seen}");
    let seen = lab.run(&["workers", "remove", "--all"]).exits(0).out;
    assert!(seen.contains("is silent: it is told if it comes back"), "{seen}");
}
