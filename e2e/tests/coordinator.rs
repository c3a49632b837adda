//! A coordinator killed with 9 on a farm: when its grace is over everything is cancelled; a detached job ends.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::{Child, Command, Stdio};

use remuda_e2e::fleet::Fleet;
use remuda_e2e::processes::{binary, lines, marked, until};

fn run(fleet: &Fleet, more: &[&str], command: &str) -> Child {
    Command::new(binary("remuda"))
        .current_dir(fleet.path())
        .args(["each", "--redis", &fleet.redis.url(), "--farm", "test", "--owner-grace", "2s"])
        .args(more)
        .args([command, ":::", "a", "b", "c", "d"])
        .env("XDG_STATE_HOME", fleet.path().join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn job_of(fleet: &Fleet) -> String {
    let mut found = Vec::new();
    until("the job to be there", 10, async || {
        found = fleet.store.jobs().await.unwrap();
        !found.is_empty()
    })
    .await;
    found.remove(0)
}

#[tokio::test]
async fn an_attached_job_is_cancelled_everywhere_when_the_grace_is_over() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(2, &["--lease", "3"]);
    let mut coordinator = run(&fleet, &[], "echo {} >> begun; E2E_SLEEPER=1 sleep 600");
    let job = job_of(&fleet).await;
    until("two tasks to begin", 20, async || lines(&fleet.path().join("begun")).len() == 2).await;
    coordinator.kill().unwrap();
    coordinator.wait().unwrap();
    let end = fleet.end_of(&job, 30).await;
    assert_eq!((end.state.as_str(), end.reason.as_str(), end.groups[0].ended[6]), ("cancelled", "owner", 4));
    until("the tasks' processes to end", 10, async || {
        marked("E2E_SLEEPER=1").iter().all(|(_, c)| !c.contains("sleep 600"))
    })
    .await;
    assert_eq!(lines(&fleet.path().join("begun")).len(), 2);
}

#[tokio::test]
async fn a_detached_job_ends_without_its_coordinator() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(2, &["--lease", "3"]);
    let line = "echo {} >> begun; while [ ! -e go ]; do sleep 0.05; done";
    let mut coordinator = run(&fleet, &["--on-disconnect", "detach"], line);
    let job = job_of(&fleet).await;
    until("two tasks to begin", 20, async || lines(&fleet.path().join("begun")).len() == 2).await;
    coordinator.kill().unwrap();
    coordinator.wait().unwrap();
    // longer than the grace: the job must still be open then
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    std::fs::write(fleet.path().join("go"), "").unwrap();
    let end = fleet.end_of(&job, 30).await;
    assert_eq!((end.state.as_str(), end.groups[0].ended[0]), ("passed", 4));
}
