//! `remuda gc`: frees what ended jobs left in Redis.

use crate::cli::Global;
use crate::cli::verbs::Gc;
use crate::error::{Error, Exit};
use crate::farm::Farm;
use crate::report::text::count;
use crate::visit::is_over;

/// Keys freed in one call.
const KEYS: u32 = 200;

/// Does it.
///
/// # Errors
/// A job has not ended, or is none.
pub async fn run(global: &Global, args: &Gc) -> Result<Exit, Error> {
    let farm = Farm::connect(global).await?;
    let mut freed = 0;
    if args.all {
        for head in farm.store.heads().await?.iter().filter(|h| is_over(h)) {
            freed += free(&farm, Some(&head.id)).await?;
        }
    } else if args.jobs.is_empty() {
        freed += free(&farm, None).await?;
    }
    for text in &args.jobs {
        let head = farm.job(text).await?;
        if !is_over(&head) {
            return Err(Error::Usage(format!("job {} has not ended; `remuda cancel {}` ends it", head.id, head.id)));
        }
        freed += free(&farm, Some(&head.id)).await?;
    }
    println!("freed {}", count(freed, "key"));
    Ok(Exit::Passed)
}

async fn free(farm: &Farm, job: Option<&str>) -> Result<u64, Error> {
    let mut all = 0;
    loop {
        let (freed, more) = farm.store.gc(KEYS, job).await?;
        all += freed;
        // without a name each call that frees something may have ended one job and left others
        if !more && (job.is_some() || freed == 0) {
            return Ok(all);
        }
    }
}
