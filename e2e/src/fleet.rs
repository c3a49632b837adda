//! The fixture: one private Redis, any number of workers, jobs of commands.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use remuda_protocol::spec::{JobSpec, Template, Tree};
use remuda_store::{Added, Entry, JobSnapshot, Opened, Store};

use crate::processes::{binary, until};
use crate::support::{PrivateRedis, group, job};

/// A Redis, a scratch folder and workers.
pub struct Fleet {
    pub redis: PrivateRedis,
    pub folder: tempfile::TempDir,
    pub store: Store,
    workers: Vec<Child>,
}

impl Fleet {
    pub async fn start(redis_arguments: &[&str]) -> Self {
        let redis = PrivateRedis::start(redis_arguments);
        let store = redis.store().await;
        Self { redis, store, folder: tempfile::tempdir().unwrap(), workers: Vec::new() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a worker; every process beneath it carries `REMUDA_E2E_MARK=<folder>`.
    pub fn worker(&mut self, slots: u32, more: &[&str]) -> u32 {
        let scratch = self.path().to_string_lossy().into_owned();
        let all: Vec<&str> = ["--embedded", "--scratch", &scratch].into_iter().chain(more.iter().copied()).collect();
        self.lab_worker(slots, &all)
    }

    /// Starts a worker as on a lab machine, with a state folder.
    pub fn lab_worker(&mut self, slots: u32, more: &[&str]) -> u32 {
        self.start_worker(slots, more, &[])
    }

    /// Starts a worker whose attempts inherit `env`.
    pub fn worker_with(&mut self, slots: u32, env: &[(&str, &str)]) -> u32 {
        let scratch = self.path().to_string_lossy().into_owned();
        self.start_worker(slots, &["--embedded", "--scratch", &scratch], env)
    }

    fn start_worker(&mut self, slots: u32, more: &[&str], env: &[(&str, &str)]) -> u32 {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path().join("workers.log")).unwrap();
        let child = Command::new(binary("remuda-worker"))
            .args(["--redis", &self.redis.url(), "--farm", "test", "--slots", &slots.to_string()])
            .args(more)
            .env("E2E_MARK", self.path())
            .env("REMUDA_LOG", "info")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = child.id();
        self.workers.push(child);
        pid
    }

    /// What the workers wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("workers.log")).unwrap_or_default()
    }

    /// Waits for a worker to end.
    pub fn reap(&mut self, pid: u32) -> std::process::ExitStatus {
        let at = self.workers.iter().position(|w| w.id() == pid).unwrap();
        self.workers.remove(at).wait().unwrap()
    }

    pub fn signal(&self, pid: u32, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    /// A job of one group of shell commands, in this folder.
    pub fn commands(&self, id: &str, line: &str) -> JobSpec {
        let mut commands = group("commands", &[]);
        commands.adapter = remuda_protocol::spec::Adapter::Command { template: Template::Shell(line.to_owned()) };
        self.job(id, vec![commands])
    }

    pub fn job(&self, id: &str, groups: Vec<remuda_protocol::spec::GroupSpec>) -> JobSpec {
        let here = std::fs::metadata(self.path()).unwrap();
        let tree = Tree {
            path: self.path().to_string_lossy().into_owned(),
            host: String::new(),
            mark: format!("{}:{}", here.dev(), here.ino()),
        };
        JobSpec { tree, env: BTreeMap::new(), ..job(id, groups) }
    }

    /// Opens a job and adds `items[g]` to its group `g`; seals everything.
    pub async fn submit(&self, spec: &JobSpec, items: &[Vec<String>]) {
        assert_eq!(self.store.open(spec, "tester", 3_600_000).await.unwrap(), Opened::New);
        let mut lane = 0;
        for (g, ids) in items.iter().enumerate() {
            let g = u32::try_from(g).unwrap();
            for (n, chunk) in ids.chunks(200).enumerate() {
                let first = u32::try_from(n * 200).unwrap();
                let count = u32::try_from(chunk.len()).unwrap();
                let run = Entry { lane, first, count, us: -1, cost: -1, whole: false, more: false };
                assert_eq!(
                    self.store.add(&spec.id, g, 0, first, chunk, &[run]).await.unwrap(),
                    Added::New(first + count)
                );
            }
            self.store.seal(&spec.id, g, 0, u32::try_from(ids.len()).unwrap()).await.unwrap();
            lane += u32::try_from(spec.groups[g as usize].lanes.len()).unwrap();
        }
        self.store.seal_job(&spec.id).await.unwrap();
    }

    /// Waits for a job's end, reaping as a coordinator does.
    pub async fn end_of(&self, job: &str, seconds: u64) -> JobSnapshot {
        let mut found = JobSnapshot::default();
        until(&format!("the end of job {job}; workers said:\n{}", self.log()), seconds, async || {
            let _ = self.store.reap(100).await;
            found = self.store.snapshot(job).await.unwrap_or_default();
            matches!(found.state.as_str(), "passed" | "failed" | "cancelled" | "incomplete")
        })
        .await;
        found
    }

    /// Numbered items.
    pub fn items(n: u32) -> Vec<String> {
        (0..n).map(|i| format!("item-{i}")).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}
