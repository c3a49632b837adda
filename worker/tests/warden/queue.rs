//! The queue of a keeper, what its units inherit, and what happens when they cannot start.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use remuda_worker::warden::{KeeperEvent, Reason, Unit};

use crate::support::{Witness, exited, next, sh, started, warden};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn three_hundred_units_run_in_order() {
    let (_warden, mut keeper) = warden().await;
    for id in 0..300 {
        keeper.run(sh(id, &format!("echo {id}"))).unwrap();
    }
    for id in 0..300 {
        let KeeperEvent::Started { id: began, .. } = next(&mut keeper).await else { panic!() };
        let KeeperEvent::Exited(exited) = next(&mut keeper).await else { panic!() };
        assert_eq!((began, exited.id, exited.code), (id, id, Some(0)));
        assert_eq!(exited.output, format!("{id}\n").into_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn units_that_have_not_started_can_be_dropped() {
    let (_warden, mut keeper) = warden().await;
    let witness = Witness::new();
    keeper.run(sh(1, &witness.script("read x <go"))).unwrap();
    for id in 2..=5 {
        keeper.run(sh(id, "true")).unwrap();
    }
    started(&mut keeper).await;
    keeper.drop_units([1, 3, 5, 99]).unwrap();
    assert_eq!(next(&mut keeper).await, KeeperEvent::Dropped { ids: vec![3, 5], lease: false });
    keeper.kill(4, false).unwrap();
    assert_eq!(next(&mut keeper).await, KeeperEvent::Dropped { ids: vec![4], lease: false });
    keeper.drop_units([42]).unwrap();
    assert_eq!(next(&mut keeper).await, KeeperEvent::Dropped { ids: vec![], lease: false });
    std::fs::write(witness.dir.path().join("go"), "x\n").unwrap();
    assert_eq!(exited(&mut keeper).await.id, 1);
    assert_eq!(exited(&mut keeper).await.id, 2);
}

async fn spawn_error(unit: Unit) -> String {
    let (_warden, mut keeper) = warden().await;
    keeper.run(unit).expect("sent");
    let KeeperEvent::Exited(failed) = next(&mut keeper).await else { panic!() };
    assert_eq!((failed.reason, failed.code, failed.signal), (Reason::Spawn, None, None));
    // The keeper goes on.
    keeper.run(sh(2, "exit 3")).expect("sent");
    assert_eq!(exited(&mut keeper).await.code, Some(3));
    failed.error.expect("an error")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_command_that_does_not_exist_is_a_result() {
    let error = spawn_error(Unit::new(1, ["no-such-command"])).await;
    assert!(error.starts_with("command not found: \"no-such-command\" (PATH is"), "{error}");
    let error = spawn_error(Unit::new(1, ["./no/such/file"])).await;
    assert_eq!(error, "command not found: \"./no/such/file\" (folder \"/\")");
    let error = spawn_error(Unit::new(1, [""])).await;
    assert_eq!(error, "an empty command");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_folder_that_does_not_exist_is_a_result() {
    let mut unit = sh(1, "true");
    unit.cwd = Some("/no/such/folder".into());
    let error = spawn_error(unit).await;
    assert_eq!(error, "cannot run \"sh\": the folder \"/no/such/folder\" does not exist");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_file_that_cannot_run_is_a_result() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("script");
    std::fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    let error = spawn_error(Unit::new(1, [&file])).await;
    assert!(error.contains("it is not executable"), "{error}");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let error = spawn_error(Unit::new(1, [&file])).await;
    assert!(error.contains("the interpreter that its first line names does not exist"), "{error}");
    let error = spawn_error(Unit::new(1, [dir.path()])).await;
    assert!(error.contains("it is a folder"), "{error}");
    let error = spawn_error(Unit::new(1, ["sh".into(), "x".repeat(1 << 20)])).await;
    assert!(error.contains("arguments and environment are too long"), "{error}");
    let error = spawn_error(Unit::new(1, ["sh", "a\0b"])).await;
    assert!(error.contains("NUL"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_script_without_an_interpreter_runs_in_the_shell() {
    let (_warden, mut keeper) = warden().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("script");
    std::fs::write(&file, "echo $1; exit 4\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let mut unit = Unit::new(1, ["./script", "arg"]);
    unit.cwd = Some(dir.path().into());
    keeper.run(unit).unwrap();
    let exited = exited(&mut keeper).await;
    assert_eq!((exited.code, exited.output.as_slice()), (Some(4), &b"arg\n"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_environment_is_the_base_with_changes_and_the_path_is_the_units_own() {
    let (_warden, mut keeper) = warden().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tool");
    std::fs::write(&file, "#!/bin/sh\n/usr/bin/env | /usr/bin/sort; pwd\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    keeper.base([("A", "1"), ("B", "2"), ("PATH", "/nowhere")], Path::new("/tmp")).unwrap();
    let mut unit = Unit::new(1, ["tool"]).env("B", "3").env("PATH", dir.path());
    unit.env.push(("A".into(), None));
    unit.cwd = Some("..".into());
    keeper.run(unit).unwrap();
    keeper.base([("C", "4")], Path::new("/")).unwrap();
    keeper.run(Unit::new(2, ["/usr/bin/env"])).unwrap();
    let output = String::from_utf8(exited(&mut keeper).await.output).unwrap();
    assert_eq!(output, format!("B=3\nPATH={}\nPWD=/\n/\n", dir.path().display()));
    assert_eq!(exited(&mut keeper).await.output, b"C=4\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn arguments_and_variables_may_hold_any_bytes() {
    let (_warden, mut keeper) = warden().await;
    let bytes: Vec<u8> = (1..=255).collect();
    let odd = OsString::from_vec(bytes.clone());
    let mut unit = Unit::new(
        1,
        [OsStr::new("sh"), OsStr::new("-c"), OsStr::new("printf '%s' \"$0\"; printf '%s' \"$ODD\" >&2"), &odd],
    );
    unit = unit.env("ODD", &odd).env(OsStr::from_bytes(b"NAME\xff"), "x");
    unit.cwd = Some("/".into());
    keeper.run(unit).unwrap();
    let output = exited(&mut keeper).await.output;
    assert_eq!(output, [&bytes[..], &bytes[..]].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn descriptors_are_passed_and_nothing_else_is_inherited() {
    let (_warden, mut keeper) = warden().await;
    let (mut a, a_theirs) = UnixStream::pair().unwrap();
    let (mut b, b_theirs) = UnixStream::pair().unwrap();
    let mut unit = sh(
        1,
        "readlink /proc/self/fd/0; for n in $(seq 0 30); do [ -e /proc/$$/fd/$n ] && echo $n; done; echo a >&5; echo b >&3; cat <&5",
    );
    unit.fds = vec![(a_theirs.into(), 5), (b_theirs.into(), 3)];
    keeper.run(unit).unwrap();
    a.write_all(b"hello").unwrap();
    a.shutdown(std::net::Shutdown::Write).unwrap();
    let output = String::from_utf8(exited(&mut keeper).await.output).unwrap();
    // The shell keeps none open by itself while it runs `[` and `echo`.
    assert_eq!(output, "/dev/null\n0\n1\n2\n3\n5\nhello");
    let mut text = String::new();
    a.read_to_string(&mut text).unwrap();
    b.read_to_string(&mut text).unwrap();
    assert_eq!(text, "a\nb\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_keeper_keeps_no_descriptor_of_what_has_ended() {
    let (warden, mut keeper) = warden().await;
    let open = |pid: i32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    keeper.run(sh(0, "true")).unwrap();
    exited(&mut keeper).await;
    let (keeper_before, warden_before) = (open(keeper.pid()), open(warden.pid()));
    for id in 0..100 {
        let mut unit = sh(id, "(setsid sleep 1000 &)");
        let (_ours, theirs) = UnixStream::pair().unwrap();
        unit.fds = vec![(theirs.into(), 3)];
        keeper.run(unit).unwrap();
        keeper.run(Unit::new(1000 + id, ["no-such-command"])).unwrap();
    }
    for _ in 0..200 {
        exited(&mut keeper).await;
    }
    for index in 1..4 {
        crate::support::keeper(&warden, index).await.close().await;
    }
    assert_eq!((open(keeper.pid()), open(warden.pid())), (keeper_before, warden_before));
    for (pid, number) in [(keeper.pid(), 0), (keeper.pid(), 1), (warden.pid(), 1), (warden.pid(), 2)] {
        let target = std::fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap();
        assert_eq!(target, Path::new("/dev/null"));
    }
    // Socket and signals, and in the warden nothing else either.
    assert_eq!((keeper_before, warden_before), (5, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn signals_are_as_a_program_expects_them() {
    let (_warden, mut keeper) = warden().await;
    keeper.run(Unit::new(1, ["cat", "/proc/self/status"])).unwrap();
    let output = String::from_utf8(exited(&mut keeper).await.output).unwrap();
    let sets = output.lines().filter_map(|line| line.strip_prefix("Sig")).filter_map(|line| {
        let (name, set) = line.split_once(":\t")?;
        let set = u64::from_str_radix(set, 16).ok()?;
        // 32 and 33 belong to the C library, which leaves them ignored in whatever it spawns.
        ["Blk", "Ign", "Cgt"].contains(&name).then_some(set & !(3 << 31))
    });
    assert_eq!(sets.collect::<Vec<_>>(), [0, 0, 0], "{output}");
}
