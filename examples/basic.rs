//! A program of its own as coordinator and worker: three tasks, each of another temper.
//!
//! `cargo run --example basic` starts a Redis for itself; `cargo run --example basic redis://lab` uses that one. One task
//! takes too long and expires, one gives itself up until that is refused, one is good. It shows the library; how to
//! run commands and test suites is `remuda`'s business.

use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use remuda_protocol::outcome::Outcome;
use remuda_store::{ConnectOptions, Coordinator, TaskEvent, Work};
use remuda_worker::{QueueOptions, Task, TaskQueue};
use tokio::sync::oneshot;

/// Workers with code of their own have a farm of their own.
const FARM: &str = "basic-example";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let own = if std::env::args().len() > 1 { None } else { Some(Redis::start()?) };
    let redis = own.as_ref().map_or_else(|| std::env::args().skip(1).collect(), Redis::url);

    let coordinator = Coordinator::connect(ConnectOptions::new(&redis, FARM)).await?;
    let work = Work::new("basic").max_retries(2).task_timeout(Duration::from_secs(1));
    let mut tasks = coordinator.submit(&work, &["first", "second", "third"]).await?;

    let queue = TaskQueue::join(QueueOptions::new(&redis, FARM)).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = tokio::spawn(queue.each_task(async move { drop(stopped.await) }, handle));

    while let Some(event) = tasks.next().await? {
        tell(&event);
    }
    println!("the job has {}", tasks.close().await?.state);
    drop(stop);
    worker.await??;
    Ok(())
}

/// What a worker does with a task. An error fails it, and it is tried again as long as it has retries.
async fn handle(task: &Task) -> Result<(), Box<dyn Error + Send + Sync>> {
    task.log(format!("{}, attempt {}", task.id(), task.attempt())).await;
    match task.id() {
        // longer than task_timeout: dropped at its end, and tried twice again
        "first" => tokio::time::sleep(Duration::from_secs(15)).await,
        "second" => {
            // no attempt may go on for longer than task_timeout
            if let Err(refused) = task.expire_in(Duration::from_secs(60)) {
                task.log(refused.to_string()).await;
            }
            // "not me, not now": accepted twice, refused at the cap of max_retries
            task.expire().await?;
        }
        _ => task.finish(Outcome::Passed, ""),
    }
    Ok(())
}

fn tell(event: &TaskEvent) {
    match event {
        TaskEvent::Claimed { task, .. } => println!("{task}: a worker has it"),
        TaskEvent::Log { text, .. } => print!("    {text}"),
        TaskEvent::Retried { task, outcome, detail } => {
            println!("{task}: {} ({}), again", outcome.word(), detail.message);
        }
        TaskEvent::Returned { task } => println!("{task}: its worker died, again"),
        TaskEvent::Ended { task, outcome, detail, .. } if detail.message.is_empty() => {
            println!("{task}: {}", outcome.word());
        }
        TaskEvent::Ended { task, outcome, detail, .. } => println!("{task}: {} ({})", outcome.word(), detail.message),
    }
}

/// A Redis for this run only.
struct Redis {
    server: Child,
    folder: tempfile::TempDir,
}

impl Redis {
    fn start() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let mut server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--maxmemory-policy", "noeviction", "--unixsocket", "redis.sock"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot start redis-server ({e}): install it, or name a Redis: redis://HOST"))?;
        while std::os::unix::net::UnixStream::connect(folder.path().join("redis.sock")).is_err() {
            if let Some(status) = server.try_wait()? {
                return Err(format!("redis-server ended at once ({status})").into());
            }
            std::thread::yield_now();
        }
        Ok(Self { server, folder })
    }

    fn url(&self) -> String {
        format!("unix://{}", self.folder.path().join("redis.sock").display())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
