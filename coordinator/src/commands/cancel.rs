//! `remuda cancel`: the end of a job, or of one task that runs.

use std::time::Duration;

use remuda_store::Cancelled;

use crate::cli::Global;
use crate::cli::verbs::Cancel;
use crate::error::{Error, Exit};
use crate::farm::Farm;
use crate::overview::Overview;
use crate::report::text::name;
use crate::visit::is_over;

/// How long the end is waited for before it is left to itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Does it.
///
/// # Errors
/// There is no such job or task.
pub async fn run(global: &Global, args: &Cancel) -> Result<Exit, Error> {
    let farm = Farm::connect(global).await?;
    let head = farm.job(&args.job).await?;
    if is_over(&head) {
        println!("job {} had ended already: {}", head.id, head.state);
        return Ok(Exit::Passed);
    }
    if let Some(task) = &args.task {
        return one(&farm, Overview::read(&farm.store, head).await?, task).await;
    }
    farm.store.cancel(&head.id, "user", None).await?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let now = farm.store.snapshot(&head.id).await?;
        let running: u32 = now.groups.iter().map(|g| g.running).sum();
        if is_over(&remuda_store::JobHead { state: now.state, ..head.clone() }) {
            println!("job {} is cancelled", head.id);
            return Ok(Exit::Passed);
        }
        if tokio::time::Instant::now() > deadline {
            println!("job {} is being cancelled: {running} of its tasks have not ended yet", head.id);
            return Ok(Exit::Passed);
        }
        farm.store.reap(100).await?;
        tokio::time::sleep(LOOK).await;
    }
}

async fn one(farm: &Farm, job: Overview, text: &str) -> Result<Exit, Error> {
    let found = job.find(&farm.store, text).await?;
    let record = job.record(&farm.store, &found).await?;
    let Some(running) = record.filter(|r| r.running) else {
        return Err(Error::Usage(format!(
            "`{}` is in no slot's hands: only what runs, or is next, can be ended by itself; `remuda cancel {}` ends the whole job",
            name(&found.id),
            job.head.id
        )));
    };
    match farm.store.cancel_task(&job.head.id, running.fence, found.task).await? {
        Cancelled::New | Cancelled::Again => println!("{} is being cancelled", name(&found.id)),
        Cancelled::Unknown => println!("{} had just ended", name(&found.id)),
    }
    Ok(Exit::Passed)
}
