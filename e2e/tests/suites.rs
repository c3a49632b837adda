//! pytest suites on a real fleet: collected once, forked, every test one truthful result.
#![allow(missing_docs, clippy::unwrap_used)]

use remuda_e2e::fleet::Fleet;
use remuda_e2e::processes::{python, until};
use remuda_e2e::suite::{run, suite as suite_of};
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::{Adapter, GroupBy, Isolation, JobSpec};

fn suite(fleet: &Fleet, id: &str, args: &[&str], isolation: Isolation) -> JobSpec {
    let adapter = Adapter::Pytest {
        program: vec![python().to_string_lossy().into_owned(), "-m".into(), "pytest".into()],
        args: args.iter().map(ToString::to_string).collect(),
        isolation,
        group_by: GroupBy::Test,
    };
    suite_of(fleet, id, adapter)
}

const MIXED: &str = r#"
import os, pytest, time

def test_passes(): pass
def test_fails(): assert 1 == 2
@pytest.fixture
def broken(): raise RuntimeError("no set-up")
def test_errors(broken): pass
@pytest.mark.skip(reason="not today")
def test_skipped(): pass
@pytest.mark.xfail
def test_xfails(): assert 0
def test_exits(): os._exit(3)
def test_segfaults():
    os.kill(os.getpid(), 11)
def test_after(): pass
@pytest.mark.parametrize("x", ["a b", "c::d", "ü", "new\nline"])
def test_ids(x): pass
"#;

#[tokio::test]
async fn every_kind_of_test_gets_its_own_truthful_result() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(2, &[]);
    std::fs::write(fleet.path().join("test_mixed.py"), MIXED).unwrap();
    let spec = suite(&fleet, "j1", &["-p", "no:cacheprovider"], Isolation::Slot);
    let (state, found) = run(&fleet, &spec).await;
    assert_eq!(state, "failed");
    let outcome = |name: &str| {
        found
            .get(&format!("test_mixed.py::{name}"))
            .unwrap_or_else(|| panic!("{name} in {:?}; workers said {}", found.keys(), fleet.log()))
            .0
    };
    let expected = [
        ("test_passes", Outcome::Passed),
        ("test_fails", Outcome::Failed),
        ("test_errors", Outcome::Errored),
        ("test_skipped", Outcome::Skipped),
        ("test_xfails", Outcome::Skipped),
        ("test_exits", Outcome::Errored),
        ("test_segfaults", Outcome::Errored),
        ("test_after", Outcome::Passed),
        ("test_ids[a b]", Outcome::Passed),
        ("test_ids[c::d]", Outcome::Passed),
    ];
    for (name, wanted) in expected {
        assert_eq!(outcome(name), wanted, "{name}: {:?}", found.get(&format!("test_mixed.py::{name}")));
    }
    assert_eq!(found.len(), 12);
    let message = |name: &str| found[&format!("test_mixed.py::{name}")].1.message.clone();
    assert_eq!(message("test_exits"), "the test ended its process: exit code 3");
    assert_eq!(message("test_segfaults"), "the test ended its process: killed by SIGSEGV");
    assert!(message("test_fails").contains("assert 1 == 2"), "{}", message("test_fails"));
}

#[tokio::test]
async fn isolation_per_test_gives_the_same_results() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(2, &[]);
    std::fs::write(fleet.path().join("test_mixed.py"), MIXED).unwrap();
    let spec = suite(&fleet, "j1", &["-p", "no:cacheprovider"], Isolation::Test);
    let (state, found) = run(&fleet, &spec).await;
    assert_eq!((state.as_str(), found.len()), ("failed", 12));
    let count = |o: Outcome| found.values().filter(|f| f.0 == o).count();
    assert_eq!(
        (count(Outcome::Passed), count(Outcome::Failed), count(Outcome::Errored), count(Outcome::Skipped)),
        (6, 1, 3, 2)
    );
}

#[tokio::test]
async fn a_test_knows_its_task_and_attempt() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(1, &[]);
    let body = r#"
import os, pathlib

@__import__("pytest").mark.parametrize("x", range(3))
def test_says(x):
    with open(os.environ["SAID"], "a") as said:
        said.write("%d %s %s\n" % (x, os.environ["REMUDA_TASK"], os.environ["REMUDA_ATTEMPT"]))
    assert x != 1 or os.environ["REMUDA_ATTEMPT"] == "2"
"#;
    let body = body.replace("os.environ[\"SAID\"]", &format!("{:?}", fleet.path().join("said")));
    std::fs::write(fleet.path().join("test_said.py"), body).unwrap();
    for (job, isolation) in [("j1", Isolation::Slot), ("j2", Isolation::Test)] {
        let mut spec = suite(&fleet, job, &["-p", "no:cacheprovider"], isolation);
        spec.groups[0].retries = 1;
        let (state, found) = run(&fleet, &spec).await;
        assert_eq!(state, "passed", "{found:?}");
        let ids = fleet.store.ids(job, 0, 0, 3).await.unwrap();
        let task = |x: &str| ids.iter().position(|id| id.ends_with(&format!("[{x}]"))).unwrap();
        let mut expected: Vec<String> =
            [("0", 1), ("1", 1), ("1", 2), ("2", 1)].map(|(x, n)| format!("{x} {} {n}", task(x))).into();
        let said = std::fs::read_to_string(fleet.path().join("said")).unwrap();
        let mut said: Vec<String> = said.lines().map(str::to_owned).collect();
        expected.sort();
        said.sort();
        assert_eq!(said, expected);
        std::fs::remove_file(fleet.path().join("said")).unwrap();
    }
}

#[tokio::test]
async fn a_collection_error_is_the_frameworks_own_traceback() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(1, &[]);
    std::fs::write(fleet.path().join("test_broken.py"), "import no_such_module_here\n").unwrap();
    let spec = suite(&fleet, "j1", &[], Isolation::Slot);
    let (state, _) = run(&fleet, &spec).await;
    assert_eq!(state, "failed");
    let record = fleet.store.records("j1", 1, 0, 1).await.unwrap().remove(0);
    let detail = fleet.store.details("j1", &[(1, 0, record.fence)]).await.unwrap().remove(0).unwrap();
    assert!(detail.text.contains("no_such_module_here"), "{detail:?}");
}

#[tokio::test]
async fn a_test_that_hangs_is_killed_alone() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(1, &[]);
    std::fs::write(
        fleet.path().join("test_hang.py"),
        "import time\ndef test_a(): pass\ndef test_hangs(): time.sleep(1000)\ndef test_b(): pass\n",
    )
    .unwrap();
    let mut spec = suite(&fleet, "j1", &[], Isolation::Slot);
    spec.groups[0].timeout_ms = Some(700);
    let (_, found) = run(&fleet, &spec).await;
    eprintln!("{}", fleet.log());
    let outcomes: Vec<_> = found.values().map(|f| f.0).collect();
    assert_eq!(outcomes, [Outcome::Passed, Outcome::Passed, Outcome::TimedOut], "{found:?}");
}

#[tokio::test]
async fn a_suite_that_reads_its_slot_while_it_loads_runs_a_process_a_slot() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(2, &[]);
    let text = "import os, pytest, time\nN = os.environ.get('TEST_ENV_NUMBER', 'none')\n@pytest.mark.parametrize('i', range(8))\ndef test_a(i):\n    time.sleep(0.1)\n    assert os.environ['TEST_ENV_NUMBER'] == N\n    assert i != 5 or os._exit(3)\n";
    std::fs::write(fleet.path().join("test_slots.py"), text).unwrap();
    let spec = suite(&fleet, "j1", &[], Isolation::Slot);
    let (_, found) = run(&fleet, &spec).await;
    let count = |o: Outcome| found.values().filter(|f| f.0 == o).count();
    assert_eq!((count(Outcome::Passed), count(Outcome::Errored)), (7, 1), "{found:?}");
    assert_eq!(found["test_slots.py::test_a[5]"].0, Outcome::Errored);
    until("the host's closing report", 20, async || {
        fleet.store.reports("j1").await.unwrap().iter().any(|r| r.no_fork.contains("TEST_ENV_NUMBER"))
    })
    .await;
}
