//! A host that cannot run a job leaves it to the others: it lacks the tree, or tests that another has collected.
#![allow(missing_docs, clippy::unwrap_used)]

use remuda_e2e::fleet::Fleet;
use remuda_e2e::processes::{binary, lines, python, until};
use remuda_e2e::suite::{results, submit, suite};
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::{Adapter, GroupBy, Isolation, JobSpec};

/// A worker that lacks the tree, and one that is busy elsewhere until the tree is there: it looks only then.
async fn one_lacks_the_tree(fleet: &mut Fleet) -> u32 {
    let other = fleet.worker(1, &[]);
    let busy = fleet.commands("busy", "echo {} >> begun; while [ ! -e go ]; do sleep 0.02; done");
    fleet.submit(&busy, &[Fleet::items(1)]).await;
    let begun = fleet.path().join("begun");
    until("the first worker to be busy", 20, async || lines(&begun).len() == 1).await;
    fleet.worker(1, &[]);
    other
}

async fn stepped_aside(fleet: &Fleet, job: &str) {
    until("one of them to step aside", 30, async || fleet.store.refusals(job).await.unwrap().len() == 1).await;
}

async fn let_the_other_have_it(fleet: &Fleet, job: &str) {
    stepped_aside(fleet, job).await;
    let reason = fleet.store.refusals(job).await.unwrap().remove(0).reason;
    assert!(reason.contains("does not have the tree"), "{reason}");
    std::fs::rename(fleet.path().join("away"), fleet.path().join("tree")).unwrap();
    std::fs::write(fleet.path().join("go"), "").unwrap();
}

fn in_tree(fleet: &Fleet, mut spec: JobSpec) -> JobSpec {
    std::fs::create_dir(fleet.path().join("away")).unwrap();
    spec.tree.path = fleet.path().join("tree").to_string_lossy().into_owned();
    spec
}

fn pytest() -> Adapter {
    Adapter::Pytest {
        program: vec![python().to_string_lossy().into_owned(), "-m".into(), "pytest".into()],
        args: vec!["-p".into(), "no:cacheprovider".into()],
        isolation: Isolation::Slot,
        group_by: GroupBy::Test,
    }
}

#[tokio::test]
async fn a_job_is_run_whole_by_those_who_have_its_tree() {
    let mut fleet = Fleet::start(&[]).await;
    one_lacks_the_tree(&mut fleet).await;
    let spec = in_tree(&fleet, fleet.commands("j1", "echo {} >> ../ran"));
    fleet.submit(&spec, &[Fleet::items(30)]).await;
    let_the_other_have_it(&fleet, "j1").await;
    let end = fleet.end_of("j1", 60).await;
    assert_eq!((end.state.as_str(), end.groups[0].ended[0]), ("passed", 30));
    let (mut ran, mut all) = (lines(&fleet.path().join("ran")), Fleet::items(30));
    ran.sort();
    all.sort();
    assert_eq!(ran, all, "each once");
}

#[tokio::test]
async fn a_suite_is_collected_by_those_who_have_its_tree() {
    let mut fleet = Fleet::start(&[]).await;
    one_lacks_the_tree(&mut fleet).await;
    let spec = in_tree(&fleet, suite(&fleet, "j1", pytest()));
    let text = "import pytest\n@pytest.mark.parametrize('i', range(8))\ndef test_a(i): pass\n";
    std::fs::write(fleet.path().join("away/test_it.py"), text).unwrap();
    submit(&fleet, &spec).await;
    let_the_other_have_it(&fleet, "j1").await;
    let end = fleet.end_of("j1", 60).await;
    assert_eq!((end.state.as_str(), end.groups[0].ended[0]), ("passed", 8), "{}", fleet.log());
    let told = remuda(&fleet, &["attach", "j1"]);
    assert!(told.contains("1 other worker goes on") && !told.contains("did not say"), "{told}");
}

#[tokio::test]
async fn where_nobody_has_the_tree_the_job_fails_at_once_and_says_so() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(1, &[]);
    fleet.worker(1, &[]);
    until("both workers", 20, async || fleet.store.workers().await.unwrap().len() == 2).await;
    let mut spec = fleet.commands("j1", "true");
    spec.tree.path = "/no/such/tree".into();
    fleet.submit(&spec, &[Fleet::items(20)]).await;
    let end = fleet.end_of("j1", 20).await;
    assert_eq!((end.state.as_str(), end.groups[0].ended[2]), ("failed", 20), "errored, every one");
    assert_eq!(end.refusals.len(), 1, "the other one had nobody to leave it to");
    let record = fleet.store.records("j1", 0, 0, 1).await.unwrap().remove(0);
    let detail = fleet.store.details("j1", &[(0, 0, record.fence)]).await.unwrap().remove(0).unwrap();
    assert!(detail.message.contains("does not have the tree /no/such/tree"), "{}", detail.message);
}

/// What `remuda` prints, both streams.
fn remuda(fleet: &Fleet, verb: &[&str]) -> String {
    let seen = std::process::Command::new(binary("remuda"))
        .current_dir(fleet.path())
        .args(verb)
        .args(["--redis", &fleet.redis.url(), "--farm", "test"])
        .env("XDG_STATE_HOME", fleet.path().join("state"))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr))
}

#[tokio::test]
async fn people_see_who_stepped_aside_and_why_nobody_is_left() {
    let mut fleet = Fleet::start(&[]).await;
    let other = one_lacks_the_tree(&mut fleet).await;
    let spec = in_tree(&fleet, fleet.commands("j1", "echo {} >> ../ran"));
    fleet.submit(&spec, &[Fleet::items(3)]).await;
    stepped_aside(&fleet, "j1").await;
    let why = format!("does not have the tree {}", spec.tree.path);
    let cannot = |text: &str, who: &str| text.lines().any(|l| l.contains(who) && l.contains(&why));
    let status = remuda(&fleet, &["status", "j1"]);
    assert!(cannot(&status, "cannot run it: host ") && status.contains("3 tasks waiting: "), "{status}");
    fleet.signal(other, nix::sys::signal::Signal::SIGTERM);
    until("the other to end what runs and leave", 10, async || fleet.log().contains("draining")).await;
    std::fs::write(fleet.path().join("go"), "").unwrap();
    fleet.reap(other);
    let explained = remuda(&fleet, &["explain", "--job", "j1", "item-1"]);
    assert!(cannot(&explained, "waits: no worker that fits can run it: "), "{explained}");
    std::fs::rename(fleet.path().join("away"), fleet.path().join("tree")).unwrap();
    fleet.worker(1, &[]);
    assert_eq!(fleet.end_of("j1", 30).await.state, "passed");
    let attached = remuda(&fleet, &["attach", "j1"]);
    let note = |l: &str| l.contains(" cannot run this job: host ") && l.ends_with("; 1 other worker goes on");
    assert_eq!(attached.lines().filter(|l| note(l)).count(), 1, "{attached}");
}

const CONFTEST: &str = "import os\ndef pytest_collection_modifyitems(items):\n    if 'OLD' in os.environ:\n        items[:] = [i for i in items if 'new' not in i.name]\n";
const TESTS: &str = "import os, pytest, time\n\
    def ran(name):\n    open(f\"ran-{'old' if 'OLD' in os.environ else 'new'}\", 'a').write(name + '\\n')\n\
    def test_first():\n    ran('first')\n    while not os.path.exists('go'): time.sleep(0.02)\n\
    @pytest.mark.parametrize('i', range(3))\ndef test_known(i): ran(f'known{i}')\n\
    @pytest.mark.parametrize('i', range(6))\ndef test_new(i): ran(f'new{i}')\n";

#[tokio::test]
async fn tests_that_a_hosts_load_lacks_are_run_where_they_are() {
    let mut fleet = Fleet::start(&[]).await;
    std::fs::write(fleet.path().join("conftest.py"), CONFTEST).unwrap();
    std::fs::write(fleet.path().join("test_it.py"), TESTS).unwrap();
    fleet.worker(1, &[]);
    let spec = suite(&fleet, "j1", pytest());
    submit(&fleet, &spec).await;
    let new = fleet.path().join("ran-new");
    until("the first test to wait", 30, async || lines(&new).len() == 1).await;
    fleet.worker_with(1, &[("OLD", "1")]);
    stepped_aside(&fleet, "j1").await;
    std::fs::write(fleet.path().join("go"), "").unwrap();
    let end = fleet.end_of("j1", 60).await;
    let found = results(&fleet, "j1", 0, end.groups[0].added).await;
    assert_eq!((end.state.as_str(), found.len()), ("passed", 10), "{found:?}; {}", fleet.log());
    assert!(found.values().all(|(outcome, _)| *outcome == Outcome::Passed));
    assert!(end.refusals[0].reason.contains("has no test test_it.py::test_new["), "{:?}", end.refusals);
    let mut ran = lines(&new);
    ran.extend(lines(&fleet.path().join("ran-old")));
    ran.sort();
    let each = ["first", "known0", "known1", "known2", "new0", "new1", "new2", "new3", "new4", "new5"];
    assert_eq!(ran, each, "each once");
}

#[tokio::test]
async fn a_test_that_no_host_has_any_more_is_an_error() {
    let mut fleet = Fleet::start(&[]).await;
    std::fs::write(fleet.path().join("conftest.py"), CONFTEST).unwrap();
    std::fs::write(fleet.path().join("test_it.py"), TESTS).unwrap();
    let first = fleet.worker(1, &[]);
    submit(&fleet, &suite(&fleet, "j1", pytest())).await;
    let new = fleet.path().join("ran-new");
    until("the first test to wait", 30, async || lines(&new).len() == 1).await;
    fleet.signal(first, nix::sys::signal::Signal::SIGTERM);
    std::fs::write(fleet.path().join("go"), "").unwrap();
    fleet.reap(first);
    fleet.worker_with(1, &[("OLD", "1")]);
    let end = fleet.end_of("j1", 60).await;
    let found = results(&fleet, "j1", 0, end.groups[0].added).await;
    let lacking = found.values().filter(|(_, detail)| detail.message.ends_with("has no such test")).count();
    assert_eq!((end.state.as_str(), end.groups[0].ended[0], lacking), ("failed", 4, 6), "{found:?}");
}
