//! The embedded farm as processes: it starts, it ends, and it is gone whatever happens to the program.
#![allow(missing_docs, clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn remuda(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remuda"));
    command
        .current_dir(folder)
        .env("XDG_STATE_HOME", folder.join("state"))
        .env("TMPDIR", folder)
        .env_remove("REMUDA_REDIS_URL");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Living processes that carry this folder in their environment or command line.
fn beneath(folder: &Path) -> Vec<String> {
    let mark = folder.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let all = [read("cmdline"), read("environ")].concat();
        let alive = String::from_utf8_lossy(&read("stat"))
            .rsplit(')')
            .next()
            .is_some_and(|s| !s.trim_start().starts_with(['Z', 'X']));
        if alive && String::from_utf8_lossy(&all).contains(&mark) {
            found.push(String::from_utf8_lossy(&read("cmdline")).replace('\0', " "));
        }
    }
    found
}

fn wait_for(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_server_that_does_not_start_is_an_error_with_its_own_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redis-server");
    std::fs::write(&path, "#!/bin/sh\necho cannot do this >&2\nexit 7\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let out = remuda(dir.path()).env("REMUDA_REDIS_SERVER", &path).args(["each", "true", ":::", "a"]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(3), "{text}");
    assert!(text.contains("redis-server") && text.contains("cannot do this"), "{text}");
}

#[test]
fn after_kill_9_everything_is_gone_in_seven_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let begun = dir.path().join("begun");
    let line = format!("(setsid sleep 600 &) ; touch {} ; sleep 600", begun.display());
    let mut child = remuda(dir.path()).args(["each", "-n", "1", &line, ":::", "a"]).spawn().unwrap();
    wait_for("the task to begin", Duration::from_secs(20), || begun.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for(&format!("the end of {:?}", beneath(dir.path())), Duration::from_secs(7), || {
        beneath(dir.path()).is_empty()
    });
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| name == "begun" || name == "state"), "{left:?}");
}
