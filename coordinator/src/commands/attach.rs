//! `remuda attach`: a job that is there, from its first event to its end.

use crate::cli::Global;
use crate::cli::verbs::Attach;
use crate::error::{Error, Exit};
use crate::farm::Farm;
use crate::visit::{Visit, visit};

use super::{outputs, verbosity};

/// Does it.
///
/// # Errors
/// There is no such job, or it cannot be followed.
pub async fn run(global: &Global, args: &Attach) -> Result<Exit, Error> {
    let farm = Farm::of(outputs(global, &args.outputs)?).await?;
    let head = farm.job(&args.of.job).await?;
    let how = Visit { verbosity: verbosity(global, 0), adopts: true, echoes: true, ..Visit::default() };
    visit(&farm, &head, &how).await
}
