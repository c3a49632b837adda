//! `remuda report`: reports of a job that has ended, from what the farm keeps of it.

use crate::cli::Global;
use crate::cli::verbs::Report;
use crate::error::{Error, Exit};
use crate::farm::Farm;
use crate::visit::{Visit, is_over, visit};

use super::{outputs, verbosity};

/// Does it.
///
/// # Errors
/// There is no such job, or it has not ended.
pub async fn run(global: &Global, args: &Report) -> Result<Exit, Error> {
    let farm = Farm::of(outputs(global, &args.outputs)?).await?;
    let head = farm.job(&args.of.job).await?;
    if !is_over(&head) {
        return Err(Error::Usage(format!("job {} has not ended; `remuda wait {}` waits for it", head.id, head.id)));
    }
    let joblog = args.joblog.clone();
    visit(&farm, &head, &Visit { verbosity: verbosity(global, 0), quiet: true, joblog, ..Visit::default() }).await
}
