//! Other ways to be a submitter or a worker: the library from Rust, and the clients in Python that know nothing but
//! `docs/protocol.md`. Each works with the programs, not only with its own kind.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remuda_e2e::fleet::Fleet;
use remuda_e2e::processes::{binary, lines, lives, python, until};
use remuda_protocol::outcome::Outcome;
use remuda_store::{ConnectOptions, Coordinator, Following, Registration, TaskEvent, Work};
use remuda_worker::{QueueOptions, Task, TaskQueue};
use tokio::sync::{Notify, oneshot};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python").join(name)
}

/// A client in Python, ended with the value.
struct Client(Child);

impl Client {
    fn start(fleet: &Fleet, script: &str, lease: &str) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(fleet.path().join("workers.log")).unwrap();
        let mut command = Command::new(python());
        command.arg(example(script)).args([&fleet.redis.url(), "test"]).env("REMUDA_EXAMPLE_LEASE", lease);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn remuda_each(fleet: &Fleet, words: &[&str]) -> Command {
    let mut command = Command::new(binary("remuda"));
    command.current_dir(fleet.path()).args(["each", "--redis", &fleet.redis.url(), "--farm", "test"]).args(words);
    command.env("XDG_STATE_HOME", fleet.path().join("state")).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn coordinator(fleet: &Fleet) -> Coordinator {
    Coordinator::connect(ConnectOptions::new(fleet.redis.url(), "test")).await.unwrap()
}

async fn queue(fleet: &Fleet) -> TaskQueue {
    TaskQueue::join(QueueOptions::new(fleet.redis.url(), "test")).await.unwrap()
}

/// The story of each task, as far as both workers of the basic example tell the same.
async fn story(tasks: &mut Following) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(event) = tasks.next().await.unwrap() {
        match event {
            TaskEvent::Retried { task, outcome, .. } => told.push(format!("{task} {} again", outcome.word())),
            TaskEvent::Ended { task, outcome, detail, .. } => {
                told.push(format!("{task} {}: {}", outcome.word(), detail.message))
            }
            TaskEvent::Claimed { .. } | TaskEvent::Log { .. } | TaskEvent::Returned { .. } => {}
        }
    }
    told.sort();
    told
}

fn assert_basic(told: &[String]) {
    let mut heads: Vec<&str> = told.iter().map(|t| t.split(':').next().unwrap()).collect();
    heads.sort_unstable();
    let expected = [
        "first timed out",
        "first timed out again",
        "first timed out again",
        "second failed",
        "second timed out again",
        "second timed out again",
        "third passed",
    ];
    assert_eq!(heads, expected, "{told:?}");
    assert!(told.iter().any(|t| t.starts_with("second failed: ") && t.contains("2 retries")), "{told:?}");
}

#[tokio::test]
async fn the_basic_example_runs_with_one_command() {
    let fleet = Fleet::start(&[]).await;
    let given = Command::new(binary("examples/basic")).arg(fleet.redis.url()).output().unwrap();
    let own = Command::new(binary("examples/basic")).output().unwrap();
    for output in [given, own] {
        let (out, err) = said(&output);
        assert!(output.status.success(), "{out}{err}");
        for line in [
            "    first, attempt 3\n",
            "first: timed out (expired without an end or a sign of life)\n",
            "an expiry in 60s is beyond the cap: task_timeout leaves this attempt ",
            "second: timed out (gave itself up), again\n",
            "second: failed (`second` cannot expire by itself again: its 2 retries are used up; finish it)\n",
            "third: passed\n",
            "the job has failed\n",
        ] {
            assert!(out.contains(line), "`{line}` is not in:\n{out}");
        }
    }
    assert!(fleet.store.jobs().await.unwrap().is_empty(), "what the job left is freed");
}

#[tokio::test]
async fn a_python_worker_logs_expires_and_finishes_like_the_rust_one() {
    let fleet = Fleet::start(&[]).await;
    let mut client = Client::start(&fleet, "basic.py", "30");
    let work = Work::new("basic").max_retries(2).task_timeout(Duration::from_secs(1));
    let mut tasks = coordinator(&fleet).await.submit(&work, &["first", "second", "third"]).await.unwrap();
    assert_basic(&story(&mut tasks).await);
    client.signal(Signal::SIGTERM);
    assert!(client.0.wait().unwrap().success());
    assert!(fleet.store.workers().await.unwrap().is_empty(), "it left the books");
}

#[tokio::test]
async fn errors_of_a_handler_fail_its_task_and_are_retried() {
    let fleet = Fleet::start(&[]).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let worker =
        tokio::spawn(queue(&fleet).await.each_task(async move { drop(stopped.await) }, async |task: &Task| {
            if task.attempt() == 1 { Err(format!("no luck with {}", task.id())) } else { Ok(()) }
        }));
    let names: Vec<String> = (0..450).map(|n| format!("task {n}")).collect();
    let mut tasks = coordinator(&fleet).await.submit(&Work::new("many").max_retries(1), &names).await.unwrap();
    let (mut retried, mut passed) = (0, 0);
    while let Some(event) = tasks.next().await.unwrap() {
        match event {
            TaskEvent::Retried { task, detail, .. } => {
                assert_eq!(detail.message, format!("no luck with {task}"));
                retried += 1;
            }
            TaskEvent::Ended { outcome: Outcome::Passed, .. } => passed += 1,
            TaskEvent::Ended { task, outcome, .. } => panic!("{task} {}", outcome.word()),
            TaskEvent::Claimed { .. } | TaskEvent::Log { .. } | TaskEvent::Returned { .. } => {}
        }
    }
    assert_eq!((retried, passed), (450, 450));
    assert_eq!(tasks.close().await.unwrap().state, "passed");
    drop(stop);
    worker.await.unwrap().unwrap();
    assert!(fleet.store.workers().await.unwrap().is_empty(), "it left the books");
}

#[tokio::test]
async fn cancelling_drops_the_handler_and_tells_every_end() {
    /// Says that the handler was dropped.
    struct Dropped<'a>(&'a Notify);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let fleet = Fleet::start(&[]).await;
    let dropped = std::sync::Arc::new(Notify::new());
    let guard = dropped.clone();
    let worker = tokio::spawn(queue(&fleet).await.each_task(std::future::pending(), async move |_: &Task| {
        let _guard = Dropped(&guard);
        std::future::pending::<Result<(), String>>().await
    }));
    let mut tasks = coordinator(&fleet).await.submit(&Work::new("endless"), &["a", "b"]).await.unwrap();
    let first = tasks.next().await.unwrap().unwrap();
    assert!(matches!(&first, TaskEvent::Claimed { task, .. } if task == "a"), "{first:?}");
    tasks.cancel().await.unwrap();
    tokio::time::timeout(Duration::from_secs(3), dropped.notified()).await.expect("the handler ends at once");
    assert_eq!(story(&mut tasks).await, ["a cancelled: ", "b cancelled: "]);
    worker.abort();
}

#[tokio::test]
async fn a_queue_taken_for_dead_drops_what_it_lost_and_goes_on() {
    let fleet = Fleet::start(&[]).await;
    let options = QueueOptions { lease: Duration::from_secs(3), ..QueueOptions::new(fleet.redis.url(), "test") };
    let queue = TaskQueue::join(options).await.unwrap();
    let name = queue.worker().to_owned();
    let worker = tokio::spawn(queue.each_task(std::future::pending(), async |task: &Task| {
        if task.attempt() == 1 { std::future::pending().await } else { Ok::<(), String>(()) }
    }));
    let mut tasks = coordinator(&fleet).await.submit(&Work::new("lost"), &["a"]).await.unwrap();
    assert!(matches!(tasks.next().await.unwrap(), Some(TaskEvent::Claimed { .. })));
    let successor = Registration {
        worker: "successor".to_owned(),
        lease_ms: 30_000,
        labels: "other".to_owned(),
        slots: 1,
        about: "{}".to_owned(),
        predecessor: Some(name),
        ..Registration::default()
    };
    fleet.store.resync(&successor).await.unwrap();
    let mut returned = 0;
    loop {
        match tasks.next().await.unwrap() {
            Some(TaskEvent::Returned { .. }) => returned += 1,
            Some(TaskEvent::Ended { outcome, .. }) => assert_eq!(outcome, Outcome::Passed),
            Some(_) => {}
            None => break,
        }
    }
    assert_eq!(returned, 1, "the first attempt was lost, not failed");
    worker.abort();
}

#[tokio::test]
async fn a_queue_that_is_asked_to_drain_leaves() {
    let fleet = Fleet::start(&[]).await;
    let options = QueueOptions { lease: Duration::from_secs(3), ..QueueOptions::new(fleet.redis.url(), "test") };
    let queue = TaskQueue::join(options).await.unwrap();
    let id = queue.worker().to_owned();
    let worker = tokio::spawn(queue.each_task(std::future::pending(), async |_: &Task| Ok::<(), String>(())));
    assert_eq!(fleet.store.drain(&id, remuda_store::Service::Leaving).await.unwrap(), remuda_store::Served::Asked);
    tokio::time::timeout(Duration::from_secs(10), worker).await.expect("it leaves").unwrap().unwrap();
    assert!(fleet.store.workers().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_python_submitter_uses_a_rust_worker() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(2, &[]);
    let output = Command::new(python())
        .current_dir(fleet.path())
        .arg(example("submit.py"))
        .args([&fleet.redis.url(), "test", "echo {} >> ran; test {} != b", "a", "b", "c d"])
        .output()
        .unwrap();
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(out.contains("a: passed in ") && out.contains("c d: passed in "), "{out}");
    assert!(out.lines().any(|l| l.starts_with("b: failed in ") && l.ends_with(" (exit code 1)")), "{out}");
    assert!(out.ends_with("failed\n"), "{out}");
    let mut ran = lines(&fleet.path().join("ran"));
    ran.sort();
    assert_eq!(ran, ["a", "b", "c d"]);
    assert!(fleet.store.jobs().await.unwrap().is_empty(), "what the job left is freed");
}

#[tokio::test]
async fn remuda_each_uses_a_python_worker() {
    let fleet = Fleet::start(&[]).await;
    let _client = Client::start(&fleet, "worker.py", "30");
    let output = remuda_each(&fleet, &["echo out {/} {.}; test {} != b", ":::", "x/a.txt", "b"]).output().unwrap();
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("2 tasks: 1 passed, 1 failed") && err.contains("exit code 1"), "{err}");
    assert!(out.contains("out a.txt x/a\n"), "{out}");
}

#[tokio::test]
async fn an_interrupted_remuda_stops_what_a_python_worker_runs() {
    let fleet = Fleet::start(&[]).await;
    let _client = Client::start(&fleet, "worker.py", "30");
    let mut run = remuda_each(&fleet, &["echo $$ > pid; exec sleep 600 # {}", ":::", "a"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let path = fleet.path().join("pid");
    until("the task to begin", 20, async || lines(&path).len() == 1).await;
    let pid: u32 = lines(&path)[0].parse().unwrap();
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert!(!lives(pid), "the job has ended, and the task's process lives");
}

#[tokio::test]
async fn a_python_worker_killed_in_the_middle_loses_nothing() {
    let fleet = Fleet::start(&[]).await;
    let mut first = Client::start(&fleet, "worker.py", "3");
    let line = "echo {} >> begun; while [ ! -e go ]; do sleep 0.05; done";
    let run =
        remuda_each(&fleet, &[line, ":::", "a", "b"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = fleet.path().join("begun");
    until("the task to begin", 20, async || lines(&begun).len() == 1).await;
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    std::fs::write(fleet.path().join("go"), "").unwrap();
    let _second = Client::start(&fleet, "worker.py", "3");
    let output = tokio::task::spawn_blocking(|| run.wait_with_output().unwrap()).await.unwrap();
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert!(err.contains("2 tasks: 2 passed") && err.contains("died or was cut off"), "{err}");
    assert_eq!(lines(&begun).len(), 3, "the lost task came back, and only that one");
}
