//! Bad input at the program's edge: the right exit code, and a message that names thing, expectation and repair.
//! (Every mistake in `remuda.toml` is in `src/config/tests.rs`.)

use std::io::{Read, Write};
use std::net::TcpListener;

use super::support::{Farm, Ranch, free_port};

#[test]
fn mistakes_in_the_file_are_usage() {
    let ranch = Ranch::new();
    let path = ranch.write("remuda.toml", "[groups.a]\nadapter = \"command\"\ncommand = \"true\"\nretrys = 1\n");
    let expected = format!(
        "error: {}:4: unknown key `retrys` in [groups.a]\n  hint: the nearest known key is `retries`\n",
        path.display()
    );
    assert_eq!(ranch.run(&["run"]).exits(2).err, expected);
}

#[test]
fn several_mistakes_are_told_together() {
    let ranch = Ranch::new();
    let path = ranch.write(
        "remuda.toml",
        "colour = 1\n[groups.a]\nadaptor = \"command\"\n[groups.b]\nadapter = \"command\"\ncommand = 5\n[groups.c]\nadapter = \"command\"\n\
         command = \"true\"\nretrys = 1\nlabel = 2\n[pools.p]\nitem = 1\n",
    );
    let at = |line: usize, rest: &str| format!("{}:{line}: {rest}", path.display());
    let expected = [
        format!("error: 6 mistakes:\n  {}", at(1, "unknown key `colour`")),
        at(3, "unknown key `adaptor` in [groups.a] (the nearest known key is `adapter`)"),
        at(6, "`command` in [groups.b] is an integer, expected"),
        at(10, "unknown key `retrys` in [groups.c] (the nearest known key is `retries`)"),
        at(11, "unknown key `label` in [groups.c] (the nearest known key is `labels`)"),
        at(13, "unknown key `item` in [pools.p] (the nearest known key is `items`)"),
    ];
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    ranch.run(&["config", "check"]).exits(2).says(&expected);
    ranch.run(&["run"]).exits(2).says(&expected);
}

#[test]
fn the_users_own_file_is_checked_too() {
    let ranch = Ranch::new();
    let home = ranch.work();
    std::fs::create_dir_all(home.join("remuda")).unwrap();
    ranch.write("remuda/config.toml", "slots = 0\n");
    let output = ranch.command(&["each", "true", ":::", "a"]).env("XDG_CONFIG_HOME", &home).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.ends_with("config.toml:1: `slots`: `0` is neither a number from 1 nor auto\n"), "{text}");
}

#[test]
fn nothing_to_run_is_said_with_its_own_code() {
    let ranch = Ranch::new();
    ranch.run(&["each", "true", ":::"]).exits(5).says(&["nothing to run: there is no item after `:::`"]);
    ranch.run_with_input(&["each", "true"], b"").exits(5).says(&["there was nothing to run"]);
    let seen = ranch.run(&["run"]).exits(5);
    assert!(seen.out.contains("remuda run -- CMD"), "{}", seen.out);
    ranch.write(
        "remuda.toml",
        "[groups.legacy]\nadapter = \"files\"\nfiles = [\"spec/*.rb\"]\ncommand = \"rspec {item}\"\n",
    );
    ranch.run(&["run"]).exits(5).says(&[
        "group `legacy`: no file under ",
        "matches `spec/*.rb`",
        "hint: globs are relative",
    ]);
}

#[test]
fn an_unknown_group_is_named_with_the_nearest() {
    let ranch = Ranch::new();
    ranch.run(&["run", "web"]).exits(2).says(&[
        "no remuda.toml in ",
        "so there is no group `web`",
        "remuda run -- CMD",
    ]);
    ranch.write("remuda.toml", "[groups.web-tests]\nadapter = \"command\"\ncommand = \"true\"\n");
    ranch
        .run(&["run", "web-test"])
        .exits(2)
        .says(&["there is no group `web-test`", "the nearest group is `web-tests`"]);
}

#[test]
fn names_that_cannot_be_tasks_are_refused() {
    let ranch = Ranch::new();
    ranch.run_with_input(&["each", "echo"], b"fine\nb\xff\n").exits(2).says(&[r"item 2 (b\xff) is not UTF-8"]);
    let long = vec![b'x'; 1 << 20];
    let seen = ranch
        .run_with_input(&["each", "echo"], &long)
        .exits(2)
        .says(&["has 1048576 bytes; a task's name may have at most 65536"]);
    assert!(seen.err.len() < 2000, "the name itself must not fill the screen");
    ranch.is_clean();
}

#[test]
fn output_that_is_not_utf8_does_no_harm() {
    let ranch = Ranch::new();
    let junit = ranch.work().join("j.xml");
    ranch
        .run(&["each", "--junit", &junit.display().to_string(), r"printf 'a\377\000\033[1mb'; false {}", ":::", "x"])
        .exits(1);
    assert!(std::fs::read_to_string(junit).unwrap().contains("<failure"));
}

#[test]
fn a_command_that_is_not_there_fails_by_name() {
    let ranch = Ranch::new();
    ranch.run(&["run", "--", "no-such-command", "-x"]).exits(1).says(&[
        "       ERROR [",
        "no-such-command",
        "1 errored",
    ]);
}

#[test]
fn without_a_server_it_says_how_to_get_one() {
    let ranch = Ranch::new();
    let output = ranch.command(&["each", "true", ":::", "a"]).env("PATH", "/nonexistent").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("no Redis server found")
            && text.contains("sudo apt install redis-server")
            && text.contains("--redis URL"),
        "{text}"
    );
}

#[test]
fn a_redis_that_cannot_be_used_is_named_with_the_repair() {
    let ranch = Ranch::new();
    let each = |url: &str| ranch.run(&["--redis", url, "each", "true", ":::", "a"]);
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    each(&nobody).exits(3).says(&[&format!("cannot reach Redis at {nobody}"), "hint: "]);
    each("http://x").exits(2).says(&["cannot read the Redis address `http://x`", "rediss://host:6379 (TLS)"]);

    let locked = Farm::start(&["--requirepass", "secret"]);
    each(&locked.url()).exits(3).says(&["cannot log in to Redis", "redis://user:password@host"]);
    let wrong = format!("redis://:guess@127.0.0.1:{}", locked.port);
    let seen = each(&wrong).exits(3).says(&["cannot log in to Redis"]);
    assert!(!seen.err.contains("guess"), "a password was shown: {}", seen.err);

    let evicting = Farm::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    each(&evicting.url()).exits(3).says(&["maxmemory-policy is `allkeys-lru`", "set `maxmemory-policy noeviction`"]);

    let full = Farm::start(&["--maxmemory", "1mb", "--maxmemory-policy", "noeviction"]);
    each(&full.url()).exits(3).says(&["it has reached its maxmemory", "CONFIG SET maxmemory"]);
}

#[test]
fn something_that_is_no_redis_is_called_so() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    Ranch::new()
        .run(&["--redis", &format!("redis://127.0.0.1:{port}"), "each", "true", ":::", "a"])
        .exits(3)
        .says(&["does not answer like a Redis"]);
}

/// A Redis as an old one would present itself: a relay that changes the version in what a real server says.
fn aged(port: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            std::thread::spawn(move || make_older(server, client));
        }
    });
    own
}

fn make_older(mut server: std::net::TcpStream, mut client: std::net::TcpStream) {
    const FIELD: &[u8] = b"redis_version:";
    let mut buffer = vec![0; 1 << 20];
    while let Ok(n @ 1..) = server.read(&mut buffer) {
        if let Some(at) = buffer[..n].windows(FIELD.len()).position(|w| w == FIELD) {
            buffer[at + FIELD.len()] = b'6';
        }
        if client.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

#[test]
fn a_redis_that_is_too_old_is_refused_with_its_version() {
    let farm = Farm::start(&[]);
    let url = format!("redis://127.0.0.1:{}", aged(farm.port));
    Ranch::new().run(&["--redis", &url, "each", "true", ":::", "a"]).exits(3).says(&[
        "cannot use Redis 6.",
        "7.0 or newer is needed",
        "hint: update it",
    ]);
}

#[test]
fn a_label_that_no_worker_has_is_named() {
    let ranch = Ranch::new();
    ranch.run(&["each", "--label", "gpu", "true", ":::", "a"]).exits(6).says(&["the label `gpu`"]);
    let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", "1", "--label", "gpu"]);
    let seen = ranch
        .run(&[
            "--redis",
            &farm.url(),
            "each",
            "--label",
            "gpu",
            "--label",
            "tpu",
            "--queue-timeout",
            "1s",
            "true",
            ":::",
            "a",
        ])
        .exits(6);
    seen.says(&["no worker fits group `each`: none has the label", "`tpu`"]);
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_anything_runs() {
    let ranch = Ranch::new();
    for flag in ["--junit", "--events"] {
        ranch.run(&["each", flag, "/proc/no/such", "touch ran-{}", ":::", "a"]).exits(2).says(&[flag]);
    }
    assert!(!ranch.work().join("ran-a").exists());
}
