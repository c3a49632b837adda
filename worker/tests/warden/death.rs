//! The death of daemon and warden; services; wardens beneath wardens.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remuda_worker::warden::{Unit, Warden, WardenEvent};

use crate::containment::DAEMONIZE;
use crate::support::{Daemon, Witness, exited, gone, options, sh, warden, within};

/// Whether a process exists and is no zombie.
fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !matches!(stat.rsplit(") ").next().and_then(|rest| rest.chars().next()), None | Some('Z' | 'X'))
}

#[test]
fn kill_9_of_the_daemon_ends_everything() {
    let mut witness = Witness::new();
    let mut daemon = Daemon::start(&witness.script(&format!("{DAEMONIZE} sleep 1000")), 0);
    witness.ready(1);
    daemon.signal(Signal::SIGKILL);
    witness.dead();
    daemon.child.wait().unwrap();
}

#[test]
fn a_stopped_daemon_loses_its_units_at_the_deadline() {
    let mut witness = Witness::new();
    let mut daemon = Daemon::start(&witness.script(&format!("{DAEMONIZE} sleep 1000")), 2000);
    witness.ready(1);
    daemon.signal(Signal::SIGSTOP);
    witness.dead();
    daemon.signal(Signal::SIGCONT);
    assert_eq!(daemon.line("exited "), "Lease Some(9)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn kill_9_of_the_warden_ends_everything() {
    let (warden, mut keeper) = warden().await;
    let mut witness = Witness::new();
    keeper.run(sh(1, &witness.script(&format!("{DAEMONIZE} sleep 1000")))).unwrap();
    let service = sh(
        9,
        &witness.script("trap 'echo stopping >&9; exit 0' TERM; echo up >&9; while :; do sleep 1000 & wait; done"),
    );
    let mut service = service;
    service.env = std::env::vars_os().map(|(key, value)| (key, Some(value))).collect();
    within(warden.service(service)).await.unwrap();
    witness.ready(2);
    kill(Pid::from_raw(warden.pid()), Signal::SIGKILL).unwrap();
    gone(&mut keeper).await;
    within(warden.ended()).await;
    // The service had its TERM.
    witness.ready(3);
    assert!(witness.seen().contains("stopping"));
    witness.dead();
    assert!(within(warden.next_event()).await.is_none());
    assert!(within(warden.keeper(1)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn shutdown_ends_units_first_and_services_last() {
    let (warden, keeper) = warden().await;
    let mut witness = Witness::new();
    for id in [1, 2] {
        let body =
            format!("trap 'echo service {id} >&9; exit 0' TERM; echo up >&9; while :; do sleep 1000 & wait; done");
        let mut service = sh(id, &witness.script(&body));
        service.env = vec![("PATH".into(), std::env::var_os("PATH"))];
        let started = within(warden.service(service)).await.unwrap();
        assert!(alive(started.pid));
    }
    // Its daemon says that it ended, which it cannot do after a KILL: its own end of the pipe does.
    keeper.run(sh(1, &witness.script(&format!("{DAEMONIZE} sleep 1000")))).unwrap();
    witness.ready(3);
    let pid = warden.pid();
    within(warden.shutdown()).await;
    witness.assert_dead();
    let seen = witness.seen();
    let order: Vec<_> = seen.lines().filter(|line| line.starts_with("service")).collect();
    assert_eq!(order, ["service 2", "service 1"]);
    assert!(!alive(pid) && !alive(keeper.pid()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn services_outlive_every_unit() {
    let (warden, keeper) = warden().await;
    let mut witness = Witness::new();
    // The service looks at its TERM whether the unit is still there.
    let unit = "echo $$ >unit; echo unit >&9; exec sleep 1000";
    let body = "trap 'kill -0 $(cat unit) 2>/dev/null && echo unit alive >&9; echo end >&9; exit 0' TERM; \
                echo up >&9; while :; do sleep 1000 & wait; done";
    let mut service = sh(1, &witness.script(body));
    service.env = vec![("PATH".into(), std::env::var_os("PATH"))];
    within(warden.service(service)).await.unwrap();
    keeper.run(sh(1, &witness.script(unit))).unwrap();
    witness.ready(2);
    within(warden.shutdown()).await;
    witness.assert_dead();
    assert!(witness.seen().contains("end") && !witness.seen().contains("unit alive"), "{}", witness.seen());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_service_that_ignores_term_is_killed() {
    let (warden, _keeper) = warden().await;
    let mut witness = Witness::new();
    let mut service = sh(1, &witness.script("trap '' TERM; echo up >&9; sleep 1000"));
    service.env = vec![("PATH".into(), std::env::var_os("PATH"))];
    within(warden.service(service)).await.unwrap();
    witness.ready(1);
    within(warden.shutdown()).await;
    witness.assert_dead();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_end_of_a_service_is_reported() {
    let (warden, _keeper) = warden().await;
    let mut witness = Witness::new();
    let mut service = sh(7, &witness.script(&format!("{DAEMONIZE} exit 3")));
    service.env = vec![("PATH".into(), std::env::var_os("PATH"))];
    within(warden.service(service)).await.unwrap();
    let event = within(warden.next_event()).await;
    assert_eq!(event, Some(WardenEvent::ServiceExited { id: 7, code: Some(3), signal: None }));
    witness.assert_dead();
    let error = within(warden.service(Unit::new(8, ["no-such-server"]))).await.unwrap_err();
    assert!(error.to_string().contains("command not found: \"no-such-server\""), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn dropping_the_warden_ends_everything() {
    let (warden, mut keeper) = warden().await;
    let mut witness = Witness::new();
    keeper.run(sh(1, &witness.script(&format!("{DAEMONIZE} sleep 1000")))).unwrap();
    witness.ready(1);
    drop(warden);
    gone(&mut keeper).await;
    witness.assert_dead();
}

/// The daemon of the nested test: its own warden, below a keeper of the outer one.
fn nested(witness: &Witness) -> Unit {
    let mut unit = Unit::new(
        1,
        [
            std::env::current_exe().expect("this program").as_os_str(),
            "support::play_daemon".as_ref(),
            "--exact".as_ref(),
            "--nocapture".as_ref(),
        ],
    )
    .env("REMUDA_TEST_SCRIPT", witness.script(&format!("{DAEMONIZE} sleep 1000")))
    .env("REMUDA_TEST_DEADLINE", "0");
    unit.cwd = Some(Path::new("/").to_owned());
    unit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn wardens_nest() {
    let (outer, mut keeper) = warden().await;
    let mut witness = Witness::new();
    keeper.run(nested(&witness)).unwrap();
    witness.ready(1);
    keeper.kill(1, true).unwrap();
    let exited = exited(&mut keeper).await;
    witness.assert_dead();
    assert_eq!(exited.signal, Some(9));
    drop(outer);
}

#[test]
fn kill_9_of_the_outermost_daemon_ends_all_wardens() {
    let mut witness = Witness::new();
    // The outer daemon's unit is a daemon itself.
    let program = std::env::current_exe().unwrap();
    let inner = witness.script(&format!("{DAEMONIZE} sleep 1000"));
    std::fs::write(witness.dir.path().join("inner"), inner).unwrap();
    let body =
        format!("REMUDA_TEST_SCRIPT=$(cat inner) exec {} support::play_daemon --exact --nocapture", program.display());
    let mut daemon = Daemon::start(&witness.script(&body), 0);
    witness.ready(1);
    daemon.signal(Signal::SIGKILL);
    witness.dead();
    daemon.child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_program_that_is_no_warden_is_an_error() {
    let mut options = options();
    options.program = "/bin/true".into();
    assert!(within(Warden::start(options)).await.is_err());
}
