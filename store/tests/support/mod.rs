//! A private redis-server for each test: unix socket in a folder of its own, gone with the value.
#![allow(dead_code, clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, unreachable_pub)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use remuda_protocol::spec::{Adapter, GroupKind, GroupSpec, JobSpec, LaneSpec, Template, Tree};
use remuda_store::{ConnectOptions, ScriptSet, Store};

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

    pub async fn raw(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
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
        grace_ms: 1000,
        slow_ms: 60_000,
        env: BTreeMap::new(),
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
        detach: false,
        retention_ms: 1000,
        detail_budget: 1 << 20,
        tree: Tree { path: "/".to_owned(), host: "here".to_owned(), mark: String::new() },
        env: BTreeMap::new(),
        pools: BTreeMap::new(),
        groups,
    }
}
