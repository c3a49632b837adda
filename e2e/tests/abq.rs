//! Suites of foreign adapters that speak the ABQ native-runner protocol: a small one of our own that misbehaves on
//! request, and the published pytest-abq.
#![allow(missing_docs, clippy::unwrap_used)]

use remuda_e2e::fleet::Fleet;
use remuda_e2e::processes::{lines, marked, python, until};
use remuda_e2e::suite::{Found, results, run, submit, suite as suite_of};
use remuda_protocol::outcome::{Detail, Outcome};
use remuda_protocol::spec::{Adapter, JobSpec};

/// Scans forward only, as published adapters do. Its arguments: the tests, each `behaviour` or `behaviour:name`.
const ADAPTER: &str = r#"
import json, os, signal, socket, struct, subprocess, sys, time

name = os.environ.get("FAKE_NAME", "fake")
collecting = os.environ.get("ABQ_GENERATE_MANIFEST") == "1"
with open("starts", "a") as file:
    print("collect" if collecting else "run", file=file)
behaviour, tests = sys.argv[1], sys.argv[2:]
if behaviour == "no-start" and not collecting:
    print("cannot find the moon", flush=True)
    sys.exit(4)
if behaviour == "silent":
    sys.exit(0)
host, port = os.environ["ABQ_SOCKET"].split(":")
connection = socket.create_connection((host, int(port)))

def send(message):
    body = json.dumps(message).encode()
    connection.sendall(struct.pack(">I", len(body)) + body)

def exactly(count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data

def receive():
    return json.loads(exactly(struct.unpack(">I", exactly(4))[0]))

if collecting:
    print("words of the adapter", flush=True)
minor = 1 if behaviour == "old" else 2
send({"type": "abq_native_runner_spawned",
      "protocol_version": {"type": "abq_protocol_version", "major": 0, "minor": minor},
      "runner_specification": {"type": "abq_native_runner_specification", "name": name, "version": "1"}})
if collecting:
    if behaviour == "huge":
        connection.sendall(b"\xff\xff\xff\xff")
        connection.recv(1)
    if behaviour == "garbage":
        connection.sendall(b"\0\0\0\x05hello")
        connection.recv(1)
    if behaviour == "refuses":
        send({"type": "manifest_failure", "error": {"message": "no such spec: moon"}})
        sys.exit(1)
    if behaviour == "leaves":
        sys.exit(7)
    half = len(tests) // 2
    member = lambda id: {"type": "test", "id": id, "tags": [], "meta": {"of": id}}
    members = [member(t) for t in tests[:half]]
    members.append({"type": "group", "name": "second half", "members": [member(t) for t in tests[half:]], "tags": [], "meta": {}})
    send({"type": "manifest_success", "manifest": {"members": members, "init_meta": {"seed": 7}}})
    sys.exit(1 if behaviour == "incomplete" else 0)

assert receive() == {"init_meta": {"seed": 7}, "fast_exit": False}
print("===== session starts", flush=True)
send({})
reached = -1

def result(status, id, **more):
    return dict({"status": dict(status), "id": id, "display_name": id, "runtime": 3_000_000, "meta": {}}, **more)

while True:
    case = receive()["test_case"]
    id = case["id"]
    assert case["meta"] == {"of": id}
    while tests[reached] != id or reached < 0:
        reached += 1
    what = id.split(":")[0]
    with open("ran", "a") as file:
        print(os.environ["REMUDA_SLOT"], reached, file=file)
    if what == "exit":
        print("before the end", flush=True)
        os._exit(3)
    elif what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "parricide":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1000)
    elif what == "hang":
        time.sleep(1000)
    elif what == "never":
        pass
    elif what == "close":
        connection.close()
        time.sleep(1000)
    elif what == "nonsense":
        send({"what": "ever"})
    elif what == "other":
        send({"test_result": result({"type": "success"}, tests[0])})
    elif what == "several":
        send({"test_results": [result({"type": "success"}, id + " 1"), result({"type": "failure", "exception": "not two"}, id + " 2")]})
    elif what == "steps":
        send({"type": "incremental_result", "one_test_result": result({"type": "success"}, id)})
        send({"type": "incremental_result_done"})
    elif what == "slow":
        time.sleep(0.2)
        send({"test_result": result({"type": "success"}, id)})
    elif what == "leftover":
        subprocess.Popen(["sleep", "86321"], start_new_session=True)
        send({"test_result": result({"type": "success"}, id)})
    elif what == "once":
        first = not os.path.exists("was")
        open("was", "w").close()
        send({"test_result": result({"type": "failure" if first else "success"}, id)})
    elif what == "prints":
        print("heard", flush=True)
        send({"test_result": result({"type": "success"}, id)})
    elif what == "failure":
        send({"test_result": result({"type": "failure", "exception": "1 is not 2", "backtrace": ["here", "there"]}, id, output="shown")})
    else:
        send({"test_result": result({"type": what}, id)})
"#;

fn suite(fleet: &Fleet, id: &str, argv: &[&str]) -> JobSpec {
    let adapter = Adapter::Abq { argv: argv.iter().map(ToString::to_string).collect() };
    suite_of(fleet, id, adapter)
}

fn fake(fleet: &Fleet, id: &str, behaviour: &str, tests: &[&str]) -> JobSpec {
    std::fs::write(fleet.path().join("adapter.py"), ADAPTER).unwrap();
    suite(fleet, id, &[&["python3", "adapter.py", behaviour], tests].concat())
}

fn check(found: &Found, expected: &[(&str, Outcome, &str)]) {
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(found.len(), expected.len(), "{names:?}");
    for (name, outcome, message) in expected {
        let (is, detail) = found.get(*name).unwrap_or_else(|| panic!("no {name} in {names:?}"));
        assert_eq!(is, outcome, "{name}: {detail:?}");
        assert!(detail.message.contains(message), "{name}: {detail:?}");
    }
}

fn outputs(detail: &Detail) -> Vec<&str> {
    detail.sections.iter().map(|s| s.1.as_str()).collect()
}

#[tokio::test]
async fn every_answer_and_every_silence_is_one_truthful_result() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(2, &[]);
    let expected = [
        ("success", Outcome::Passed, ""),
        ("prints", Outcome::Passed, ""),
        ("failure", Outcome::Failed, "1 is not 2"),
        ("error", Outcome::Errored, "does not say why"),
        ("skipped", Outcome::Skipped, ""),
        ("todo", Outcome::Skipped, ""),
        ("timed_out", Outcome::TimedOut, "timed out"),
        ("several", Outcome::Failed, "not two"),
        ("steps", Outcome::Passed, ""),
        (
            "never",
            Outcome::Errored,
            "the ABQ adapter never answered for this test (pytest-abq reports only the call phase",
        ),
        ("slow:0.2 s", Outcome::Passed, ""),
        ("exit", Outcome::Errored, "the test ended its process: exit code 3"),
        ("success:1", Outcome::Passed, ""),
        ("segfault", Outcome::Errored, "the test ended its process: killed by SIGSEGV"),
        ("success:2", Outcome::Passed, ""),
        ("parricide", Outcome::Errored, "killed by SIGKILL"),
        ("nonsense", Outcome::Errored, r#"something else than a result: {"what":"ever"}"#),
        ("success:3", Outcome::Passed, ""),
        ("other", Outcome::Errored, "answered for another test: success"),
        ("success:4", Outcome::Passed, ""),
    ];
    let mut spec = fake(&fleet, "j1", "fine", &expected.map(|e| e.0));
    spec.env.insert("FAKE_NAME".into(), "pytest_abq".into());
    let (state, found) = run(&fleet, &spec).await;
    assert_eq!(state, "failed", "{}", fleet.log());
    check(&found, &expected);
    assert_eq!(found["failure"].1.text, "1 is not 2\nhere\nthere");
    assert_eq!(outputs(&found["failure"].1), ["shown"]);
    assert_eq!(outputs(&found["prints"].1), ["heard\n"], "and nothing of the session's start");
    assert_eq!(outputs(&found["exit"].1), ["before the end\n"]);
    assert_eq!(found["several"].1.subtests.len(), 2);
    assert_eq!(lines(&fleet.path().join("starts")).iter().filter(|l| *l == "collect").count(), 1);
}

#[tokio::test]
async fn a_test_without_an_answer_is_given_up_at_its_groups_timeout() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(1, &[]);
    let mut spec = fake(&fleet, "j1", "fine", &["success", "never", "success:1", "hang", "close", "success:2"]);
    spec.groups[0].timeout_ms = Some(500);
    let (_, found) = run(&fleet, &spec).await;
    let late = "killed at its timeout after 0.5 s without an answer of the ABQ adapter";
    check(
        &found,
        &[
            ("success", Outcome::Passed, ""),
            ("never", Outcome::TimedOut, late),
            ("success:1", Outcome::Passed, ""),
            ("hang", Outcome::TimedOut, late),
            ("close", Outcome::Errored, "the ABQ adapter closed its connection without an answer"),
            ("success:2", Outcome::Passed, ""),
        ],
    );
}

#[tokio::test]
async fn a_test_that_comes_again_gets_a_runner_that_can_reach_it() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(1, &[]);
    let mut spec = fake(&fleet, "j1", "fine", &["success", "once", "success:1", "prints"]);
    spec.groups[0].retries = 1;
    let (state, found) = run(&fleet, &spec).await;
    assert_eq!(state, "passed", "{found:?}");
    let order: Vec<_> =
        lines(&fleet.path().join("ran")).iter().map(|l| l.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(order, ["0", "1", "2", "3", "1"], "collection order, then again");
    assert_eq!(lines(&fleet.path().join("starts")), ["collect", "run", "run"]);
}

#[tokio::test]
async fn bad_adapters_are_named() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(1, &[]);
    let cases = [
        ("refuses", "no such spec: moon"),
        ("leaves", "ended without a manifest: exit code 7"),
        ("silent", "ended without connecting to ABQ_SOCKET (exit code 0): is its ABQ adapter installed?"),
        ("old", "the ABQ adapter speaks version 0.1 of the ABQ protocol; Remuda speaks 0.2"),
        ("huge", "the ABQ adapter sent a message of 4294967295 bytes"),
        ("garbage", "the ABQ adapter sent what is not JSON"),
        (
            "incomplete",
            "the ABQ adapter told 1 tests, then ended with an error (exit code 1): some could not be collected",
        ),
    ];
    for (behaviour, message) in cases {
        let spec = fake(&fleet, behaviour, behaviour, &["success"]);
        let (state, _) = run(&fleet, &spec).await;
        assert_eq!(state, "failed", "{behaviour}");
        let found = results(&fleet, behaviour, 1, 1).await;
        check(&found, &[("collect", Outcome::Errored, message)]);
        let heard = found["collect"].1.text.contains("words of the adapter");
        assert_eq!(heard, behaviour != "silent", "{behaviour}: {found:?}");
    }
    let (_, _) = run(&fleet, &suite(&fleet, "missing", &["no-such-adapter"])).await;
    check(
        &results(&fleet, "missing", 1, 1).await,
        &[("collect", Outcome::Errored, "command not found: \"no-such-adapter\"")],
    );
    let (_, found) = run(&fleet, &fake(&fleet, "no-start", "no-start", &["success"])).await;
    check(&found, &[("success", Outcome::Errored, "the ABQ adapter ended before it took a test: exit code 4")]);
    assert_eq!(outputs(&found["success"].1), ["cannot find the moon\n"]);
}

#[tokio::test]
async fn nothing_that_a_test_started_outlives_its_suite() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(2, &[]);
    let (state, _) =
        run(&fleet, &fake(&fleet, "j1", "fine", &["leftover", "success", "leftover:1", "success:1"])).await;
    assert_eq!(state, "passed");
    let mark = fleet.path().to_string_lossy().into_owned();
    let alive = || {
        marked(&mark)
            .into_iter()
            .filter(|p| p.1.contains("sleep 86321") || p.1.contains("adapter.py"))
            .collect::<Vec<_>>()
    };
    until("the end of what tests had started", 20, async || alive().is_empty()).await;
}

#[tokio::test]
async fn a_killed_daemon_leaves_no_adapter_behind() {
    let mut fleet = Fleet::start(&[]).await;
    let worker = fleet.worker(2, &[]);
    let spec = fake(&fleet, "j1", "fine", &["hang", "hang:1"]);
    submit(&fleet, &spec).await;
    let ran = fleet.path().join("ran");
    until("two tests that hang", 20, async || lines(&ran).len() == 2).await;
    fleet.signal(worker, nix::sys::signal::Signal::SIGKILL);
    fleet.reap(worker);
    let mark = fleet.path().to_string_lossy().into_owned();
    until("the end of all that was beneath the daemon", 20, async || marked(&mark).is_empty()).await;
}

const PYTEST: &str = r#"
import os, pytest

def test_passes(): pass
def test_fails(): assert 1 == 2
@pytest.mark.skip(reason="not today")
def test_skipped_by_a_mark(): pass
def test_skips_itself(): pytest.skip("not now")
@pytest.fixture
def broken(): raise RuntimeError("no set-up")
def test_errors(broken): pass
@pytest.mark.parametrize("x", ["a b", "c::d", "ü"])
def test_ids(x): pass
class TestGroup:
    def test_exits(self): os._exit(5)
    def test_after(self): pass
"#;

#[tokio::test]
async fn the_published_pytest_adapter_runs_over_two_slots() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(2, &[]);
    std::fs::write(fleet.path().join("test_mixed.py"), PYTEST).unwrap();
    let interpreter = python().to_string_lossy().into_owned();
    let spec = suite(&fleet, "j1", &[&interpreter, "-m", "pytest", "-p", "no:cacheprovider"]);
    let (state, found) = run(&fleet, &spec).await;
    assert_eq!(state, "failed", "{}", fleet.log());
    let never = "the ABQ adapter never answered for this test";
    let expected = [
        ("test_passes", Outcome::Passed, ""),
        ("test_fails", Outcome::Failed, "assert 1 == 2"),
        ("test_skipped_by_a_mark", Outcome::Errored, never),
        ("test_skips_itself", Outcome::Skipped, ""),
        ("test_errors", Outcome::Errored, never),
        ("test_ids[a b]", Outcome::Passed, ""),
        ("test_ids[c::d]", Outcome::Passed, ""),
        ("test_ids[\\xfc]", Outcome::Passed, ""),
        ("TestGroup::test_exits", Outcome::Errored, "the test ended its process: exit code 5"),
        ("TestGroup::test_after", Outcome::Passed, ""),
    ];
    let named: Vec<(String, Outcome, &str)> =
        expected.iter().map(|(n, o, m)| (format!("test_mixed.py::{n}"), *o, *m)).collect();
    check(&found, &named.iter().map(|(n, o, m)| (n.as_str(), *o, *m)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_collection_error_that_pytest_abq_does_not_tell_is_no_success() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(1, &[]);
    std::fs::write(fleet.path().join("test_fine.py"), "def test_a(): pass\n").unwrap();
    std::fs::write(fleet.path().join("test_broken.py"), "import no_such_module_here\n").unwrap();
    let interpreter = python().to_string_lossy().into_owned();
    let (state, found) = run(&fleet, &suite(&fleet, "j1", &[&interpreter, "-m", "pytest"])).await;
    assert_eq!((state.as_str(), found.len()), ("failed", 0));
    check(&results(&fleet, "j1", 1, 1).await, &[("collect", Outcome::Errored, "some could not be collected")]);
}
