//! Who may use a Redis, which database of it, and one that has lost its data: client and worker name what is missing, and
//! the repair.

use std::io::{Read, Write};

use super::lab::Lab;
use super::support::{Farm, Ranch, free_port};

/// The rights that the hint names, of the farm `default`.
const RIGHTS: &[&str] = &["~remuda:{default}:*", "&remuda:{default}:*", "+@all", "-@admin", "-@dangerous", "+info"];

#[test]
fn a_user_with_the_rights_that_the_hint_names_runs_a_job() {
    let ranch = Ranch::new();
    let farm = Farm::with_user(RIGHTS).with_worker(&ranch, &["--slots", "2"]);
    let seen = ranch.run(&["--redis", farm.url_str(), "each", "--keep-order", "echo {}", ":::", "a", "b"]).exits(0);
    assert_eq!(seen.out, "a\nb\n");
    for verb in [&["status"][..], &["report"], &["doctor"], &["gc", "--all"], &["workers", "remove", "--all"]] {
        ranch.run(&[&["--redis", farm.url_str()][..], verb].concat()).exits(0);
    }
}

#[test]
fn a_right_that_a_user_lacks_is_named() {
    let ranch = Ranch::new();
    let hint = "~remuda:{FARM}:* &remuda:{FARM}:* +@all -@admin -@dangerous +info";
    let lacking = |rights: &[&str], words: &[&str]| {
        let farm = Farm::with_user(rights);
        for program in [&["each", "true", ":::", "a"][..], &["worker"]] {
            let seen = ranch.run(&[&["--redis", farm.url_str()][..], program].concat()).exits(3).says(&[hint]);
            assert!(!seen.err.contains("does not answer like a Redis"), "{}", seen.err);
            seen.says(words);
        }
    };
    let keys = ["~remuda:{default}:*", "&remuda:{default}:*"];
    // what scripts use is said by newer servers by name
    lacking(&[&keys[..], &["+evalsha", "+script|load", "+info", "+select"]].concat(), &["has no permissions to run "]);
    lacking(&[&keys[..], &["+@all", "-evalsha"]].concat(), &["has no permissions to run the 'evalsha' command"]);
    lacking(&["~x:*", "&*", "+@all"], &["has no permissions to access "]);
}

#[test]
fn a_database_that_is_not_there_is_named() {
    let (ranch, farm) = (Ranch::new(), Farm::start(&[]));
    let url = format!("{}/99", farm.url());
    for program in [&["each", "true", ":::", "a"][..], &["worker"]] {
        ranch.run(&[&["--redis", &url][..], program].concat()).exits(2).says(&[
            "use database 99 of Redis at redis://127.0.0.1",
            "DB index is out of range",
            "hint: a Redis has the databases 0 to 15",
        ]);
    }
}

#[test]
fn a_worker_says_how_to_repair_what_keeps_it_from_redis_as_the_client_does() {
    let ranch = Ranch::new();
    let socket = ranch.work().join("r.sock").display().to_string();
    let locked = Farm::start(&["--requirepass", "secret", "--unixsocket", &socket]);
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let wrong = format!("redis://:guess@127.0.0.1:{}", locked.port);
    for (url, hint) in [
        (locked.url_str(), "hint: put user and password into the address: redis://user:password@host"),
        (&format!("unix://{socket}"), "hint: put user and password into the address: unix:///path?user=NAME&pass="),
        (&wrong, "hint: the user or the password in the address is not the server's"),
        (&nobody, "hint: see whether it runs and can be reached from here"),
    ] {
        for program in [&["each", "true", ":::", "a"][..], &["worker"]] {
            let seen = ranch.run(&[&["--redis", url][..], program].concat()).exits(3).says(&[hint]);
            assert!(!seen.err.contains("guess"), "{}", seen.err);
        }
    }
}

#[test]
fn a_job_that_redis_has_lost_is_missed_with_the_repair() {
    let lab = Lab::new("1");
    lab.items("while [ ! -e go ]; do sleep 0.05; done # {item}", "\"x\"");
    let id = lab.submit(&[]);
    let mut live = lab.ranch.start(&lab.with_farm(&["attach", &id]));
    live.wait_for("claimed");
    let mut redis = std::net::TcpStream::connect(("127.0.0.1", lab.farm.port)).unwrap();
    redis.write_all(b"FLUSHALL\r\n").unwrap();
    redis.read_exact(&mut [0; 5]).unwrap();
    assert_eq!(live.end().code(), Some(3));
    let shown = lab.ranch.console();
    assert!(
        shown.contains("error: cannot find job ") && shown.contains("or Redis lost its data: `appendonly"),
        "{shown}"
    );
    lab.ranch.write("go", "");
}
