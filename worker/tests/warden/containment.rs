//! Nothing that a unit started outlives it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remuda_worker::warden::{KeeperEvent, Reason};

use crate::support::{Witness, exited, keeper, next, python, sh, started, warden, within};

/// Leaves a daemon behind: double fork and two sessions of its own.
pub(crate) const DAEMONIZE: &str =
    "(setsid sh -c '(setsid sh -c \"echo ready >&9; echo >go; exec sleep 1000\" &)' &); read x <go;";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_daemon_dies_with_its_attempt() {
    let (_warden, mut keeper) = warden().await;
    let mut witness = Witness::new();
    keeper.run(sh(1, &witness.script(&format!("{DAEMONIZE} exit 7")))).unwrap();
    let exited = exited(&mut keeper).await;
    witness.assert_dead();
    assert_eq!((exited.code, exited.signal, exited.reason), (Some(7), None, Reason::Exit));
    // The shells between may still be on their way out.
    assert!(exited.strays >= 1);
    assert!(witness.seen().contains("ready"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn kill_at_once_ends_the_whole_tree() {
    let (_warden, mut keeper) = warden().await;
    let mut witness = Witness::new();
    let body = format!("trap '' TERM; {DAEMONIZE} sleep 1000 & sleep 1000");
    keeper.run(sh(1, &witness.script(&body))).unwrap();
    witness.ready(1);
    keeper.kill(1, true).unwrap();
    let exited = exited(&mut keeper).await;
    witness.assert_dead();
    assert_eq!((exited.signal, exited.reason), (Some(9), Reason::Killed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_fork_bomb_is_ended() {
    let (_warden, mut keeper) = warden().await;
    let mut witness = Witness::new();
    // A tree of 363 processes in as many sessions, and ten chains that fork faster than one can
    // look: each generation starts the next in a new session and ends.
    let bomb = r#"
import os, signal
def tree(depth):
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if depth: tree(depth - 1)
            else: os.write(9, b"leaf\n")
            signal.pause()
def chain():
    if os.fork(): return
    while True:
        os.setsid()
        if os.fork(): os._exit(0)
tree(4)
for _ in range(10): chain()
os.write(9, b"ready\n")
signal.pause()
"#;
    std::fs::write(witness.dir.path().join("bomb.py"), bomb).unwrap();
    keeper.run(sh(1, &witness.script("exec python3 bomb.py"))).unwrap();
    witness.ready(1 + 243);
    keeper.kill(1, true).unwrap();
    let exited = exited(&mut keeper).await;
    witness.assert_dead();
    assert_eq!(exited.signal, Some(9));
    assert!(exited.strays >= 363, "{}", exited.strays);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_next_unit_finds_no_trace_of_the_last() {
    let (_warden, mut keeper) = warden().await;
    let mut witness = Witness::new();
    for id in 0..20 {
        keeper.run(sh(id, &witness.script(&format!("{DAEMONIZE} exit 0")))).unwrap();
        keeper.run(python(100 + id, "import os; print(open(f'/proc/{os.getppid()}/task/{os.getppid()}/children').read().split() == [str(os.getpid())])")).unwrap();
    }
    for _ in 0..20 {
        exited(&mut keeper).await;
        assert_eq!(exited(&mut keeper).await.output, b"True\n");
    }
    witness.assert_dead();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn kill_tree_ends_a_branch_and_leaves_the_unit() {
    let (_warden, mut keeper) = warden().await;
    let mut witness = Witness::new();
    let script = r#"
import os, ctypes, signal
monitor = os.fork()
if monitor == 0:
    os.open("witness", os.O_WRONLY)
    ctypes.CDLL(None).prctl(36, 1)  # a subreaper, like the pytest monitor
    for _ in range(5):
        if os.fork() == 0:
            if os.fork(): os._exit(0)
            os.setsid()
            if os.fork() == 0: signal.pause()
            os.write(1, b"ready\n")
            signal.pause()
    while True:
        try: os.wait()
        except ChildProcessError: signal.pause()
os.write(1, b"monitor %d\n" % monitor)
_, status = os.waitpid(monitor, 0)
print("monitor ended", os.WTERMSIG(status), flush=True)
os.read(os.open("go", os.O_RDONLY), 1)
"#;
    let mut unit = python(1, script);
    unit.cwd = Some(witness.dir.path().to_owned());
    unit.live = true;
    keeper.run(unit).unwrap();
    started(&mut keeper).await;
    let mut text = String::new();
    let mut asked = false;
    while !text.contains("monitor ended 9") {
        let KeeperEvent::Output { bytes, .. } = next(&mut keeper).await else { panic!("{text}") };
        text += &String::from_utf8(bytes).unwrap();
        if !asked && text.matches("ready").count() == 5 {
            let monitor = text.split("monitor ").nth(1).unwrap().lines().next().unwrap();
            keeper.kill_tree(monitor.parse().unwrap()).unwrap();
            asked = true;
        }
    }
    witness.assert_dead();
    std::fs::write(witness.dir.path().join("go"), "x").unwrap();
    let exited = exited(&mut keeper).await;
    assert_eq!((exited.code, exited.strays), (Some(0), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn kill_tree_refuses_a_stranger() {
    let (warden, mut keeper) = warden().await;
    let other = self::keeper(&warden, 1).await;
    keeper.run(sh(1, "read x")).unwrap();
    keeper.kill_tree(other.pid()).unwrap();
    keeper.kill_tree(keeper.pid()).unwrap();
    assert_eq!(exited(&mut keeper).await.code, Some(1));
    kill(Pid::from_raw(other.pid()), None).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_keeper_killed_by_its_attempt_takes_the_attempt_along() {
    let (warden, mut first) = warden().await;
    let mut other = keeper(&warden, 1).await;
    other.run(sh(5, "echo up; exec sleep 1000")).unwrap();
    started(&mut other).await;
    let mut witness = Witness::new();
    let body = format!("{DAEMONIZE} kill -9 $PPID; sleep 1000");
    first.run(sh(1, &witness.script(&body))).unwrap();
    let signal = crate::support::gone(&mut first).await;
    witness.assert_dead();
    assert_eq!(signal, Some(9));
    // The neighbour goes on, and the slot gets a new keeper.
    let mut again = keeper(&warden, 0).await;
    again.run(sh(2, "exit 4")).unwrap();
    assert_eq!(exited(&mut again).await.code, Some(4));
    other.kill(5, false).unwrap();
    let ended = exited(&mut other).await;
    assert_eq!((ended.signal, ended.output.as_slice()), (Some(15), &b"up\n"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stopped_keeper_is_resumed() {
    let (_warden, mut keeper) = warden().await;
    keeper.run(sh(1, "kill -STOP $PPID; exit 3")).unwrap();
    assert_eq!(exited(&mut keeper).await.code, Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_keeper_ignores_the_signals_of_its_attempt() {
    let (_warden, mut keeper) = warden().await;
    let script = "for s in HUP INT QUIT TERM USR1 USR2 PIPE ALRM CONT TSTP CHLD; do kill -$s $PPID; done; exit 5";
    keeper.run(sh(1, script)).unwrap();
    assert_eq!(exited(&mut keeper).await.code, Some(5));
    keeper.run(sh(2, "exit 6")).unwrap();
    assert_eq!(exited(&mut keeper).await.code, Some(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn closing_a_keeper_kills_what_is_beneath_it() {
    let (warden, first) = warden().await;
    let mut witness = Witness::new();
    first.run(sh(1, &witness.script(&format!("{DAEMONIZE} sleep 1000")))).unwrap();
    witness.ready(1);
    within(first.close()).await;
    witness.assert_dead();
    let mut again = keeper(&warden, 0).await;
    again.run(sh(2, "exit 4")).unwrap();
    assert_eq!(exited(&mut again).await.code, Some(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stopped_warden_is_resumed() {
    let (warden, _keeper) = warden().await;
    kill(Pid::from_raw(warden.pid()), Signal::SIGSTOP).unwrap();
    let mut other = keeper(&warden, 1).await;
    other.run(sh(1, "exit 2")).unwrap();
    assert_eq!(exited(&mut other).await.code, Some(2));
}
