//! `remuda wait`: a job's end, and its exit code.

use crate::cli::Global;
use crate::cli::verbs::Wait;
use crate::error::{Error, Exit};
use crate::farm::Farm;
use crate::visit::{Visit, visit};

use super::{outputs, verbosity};

/// Does it.
///
/// # Errors
/// There is no such job, or it does not end in time.
pub async fn run(global: &Global, args: &Wait) -> Result<Exit, Error> {
    let farm = Farm::of(outputs(global, &args.outputs)?).await?;
    let head = farm.job(&args.of.job).await?;
    let patience = args.timeout.map(|span| span.0);
    let queue_timeout = args.queue_timeout.map(|span| span.0);
    let how = Visit { verbosity: verbosity(global, 0), patience, queue_timeout, quiet: true, ..Visit::default() };
    visit(&farm, &head, &how).await
}
