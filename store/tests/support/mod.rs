//! A private redis-server for each test: unix socket in a folder of its own, gone with the value.
#![allow(dead_code, clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, unreachable_pub)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::{Adapter, GroupKind, GroupSpec, JobSpec, LaneSpec, Template, Tree};
use remuda_store::{
    Added, Claim, ConnectOptions, Entry, NextCall, NextReply, Registration, ScriptSet, Sealed, Store, TaskResult,
    Verdict, Want,
};

pub struct PrivateRedis {
    child: Child,
    folder: tempfile::TempDir,
    extra: Vec<String>,
}

impl PrivateRedis {
    pub fn start(extra: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let extra: Vec<String> = extra.iter().map(ToString::to_string).collect();
        let child = spawn(folder.path(), &extra);
        let server = Self { child, folder, extra };
        server.wait_ready();
        server
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn wait_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < deadline, "redis-server did not start");
            std::thread::yield_now();
        }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn restart(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        self.child = spawn(self.folder.path(), &self.extra);
        self.wait_ready();
    }

    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn options(&self) -> ConnectOptions {
        ConnectOptions::new(self.url(), "test")
    }

    pub async fn store(&self) -> Store {
        Store::connect(self.options()).await.unwrap()
    }

    pub async fn store_with(&self, scripts: Arc<ScriptSet>) -> Store {
        Store::connect_with(self.options(), scripts).await.unwrap()
    }

    /// A store whose scripts read the clock that the test sets.
    pub async fn clocked(&self) -> Store {
        self.set_clock(START_MS).await;
        self.store_with(clocked(|_, source| source)).await
    }

    /// Sets that clock, ms.
    pub async fn set_clock(&self, now: i64) {
        let _: () =
            redis::cmd("SET").arg("remuda:{test}:clock").arg(now).query_async(&mut self.raw().await).await.unwrap();
    }

    pub async fn raw(&self) -> redis::aio::MultiplexedConnection {
        // a busy machine may let a call wait for longer than the client's own half second
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
    }
}

fn spawn(folder: &std::path::Path, extra: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket", "redis.sock", "--dir"])
        .arg(folder)
        .args(extra)
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed (make setup)")
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn group(name: &str, needs: &[u32]) -> GroupSpec {
    GroupSpec {
        name: name.to_owned(),
        kind: GroupKind::Tests,
        needs: needs.to_vec(),
        collects: None,
        adapter: Adapter::Command { template: Template::Argv(vec!["true".to_owned()]) },
        lanes: vec![LaneSpec::default()],
        retries: 0,
        max_losses: 1,
        timeout_ms: None,
        timeout_percent: 0,
        grace_ms: 1000,
        cancel_grace_ms: 1_500,
        slow_ms: 60_000,
        env: BTreeMap::new(),
        only: Vec::new(),
        whole_output: false,
    }
}

pub fn job(id: &str, groups: Vec<GroupSpec>) -> JobSpec {
    JobSpec {
        protocol: remuda_protocol::PROTOCOL,
        id: id.to_owned(),
        name: id.to_owned(),
        submitter: "tester".to_owned(),
        project: "project".to_owned(),
        priority: 0,
        weight: 1,
        max_slots: 0,
        deadline_ms: None,
        max_failures: 0,
        halt_soon: false,
        fail_on_flaky: false,
        echo: None,
        detach: false,
        retention_ms: 1000,
        detail_budget: 1 << 20,
        tree: Tree { path: "/".to_owned(), host: "here".to_owned(), mark: String::new() },
        env: BTreeMap::new(),
        pools: BTreeMap::new(),
        groups,
    }
}

/// When tests with a clock of their own begin.
pub const START_MS: i64 = 1_000_000_000;

/// The scripts with their clock replaced by a key.
pub fn clocked(patch: impl Fn(&str, String) -> String) -> Arc<ScriptSet> {
    const REAL: &str = "local t = call('TIME')\n  return tonumber(t[1]) * 1000 + floor(tonumber(t[2]) / 1000)";
    Arc::new(ScriptSet::patched(|name, source| {
        assert!(source.contains(REAL), "the clock of {name} is not where it was");
        patch(name, source.replace(REAL, "return tonumber(call('GET', PREFIX .. 'clock'))"))
    }))
}

// ---- steps that most tests take

pub async fn join(store: &Store, worker: &str, slots: u32, labels: &str) {
    let who = Registration {
        worker: worker.into(),
        lease_ms: 30_000,
        labels: labels.into(),
        slots,
        about: "{}".into(),
        ..Default::default()
    };
    store.resync(&who).await.unwrap();
}

pub fn want(slot: u32) -> Want {
    Want { slot, max: 100, budget_us: 200_000, warm: None, with_ms: 0 }
}

pub async fn next(store: &Store, worker: &str, results: Vec<TaskResult>, wants: Vec<Want>) -> NextReply {
    let nonce = uuid::Uuid::new_v4().to_string();
    store
        .next(&NextCall { worker: worker.into(), nonce, lease_ms: 30_000, results, wants, loaded: vec![] })
        .await
        .unwrap()
}

pub fn result(claim: &Claim, task: u32, outcome: Outcome) -> TaskResult {
    TaskResult {
        fence: claim.fence,
        job: claim.job.clone(),
        group: claim.group,
        task,
        outcome: Some(outcome),
        us: 500,
        wide_us: 0,
        detail: vec![],
    }
}

pub async fn fill(store: &Store, job: &str, group: u32, lane: u32, n: u32) {
    for first in (0..n).step_by(200) {
        let count = 200.min(n - first);
        let ids: Vec<String> = (first..first + count).map(|i| format!("test-{i}")).collect();
        let run = Entry { lane, first, count, us: -1, cost: -1, whole: false, more: first > 0 };
        assert_eq!(store.add(job, group, 0, first, &ids, &[run]).await.unwrap(), Added::New(first + count));
    }
    assert_eq!(store.seal(job, group, 0, n).await.unwrap(), Sealed::New);
}

pub async fn drain_all(store: &Store, worker: &str) -> u32 {
    let (mut results, mut done) = (vec![], 0);
    loop {
        let reply = next(store, worker, std::mem::take(&mut results), vec![want(0)]).await;
        assert!(reply.verdicts.iter().all(|v| *v == Verdict::Ok));
        if reply.claims.is_empty() {
            return done;
        }
        for claim in &reply.claims {
            for i in 0..u32::try_from(claim.ids.len()).unwrap() {
                results.push(result(claim, claim.first + i, Outcome::Passed));
                done += 1;
            }
        }
    }
}

pub async fn leave(store: &Store, worker: &str) {
    store
        .resync(&Registration { worker: worker.into(), lease_ms: 30_000, leave: true, ..Default::default() })
        .await
        .unwrap();
}
