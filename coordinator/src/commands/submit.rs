//! `remuda submit`: a job that runs on without this program.

use crate::cli::verbs::Submit;
use crate::cli::{Global, OnDisconnect};
use crate::error::{Error, Exit};
use crate::session;

use super::{Context, describe, run};

/// Does it.
///
/// # Errors
/// Whatever keeps the job from being there whole.
pub async fn run(global: &Global, args: &Submit) -> Result<Exit, Error> {
    let context = Context::new()?;
    let mut wanted = crate::config::Layer::from_flags(global, &args.run.flags);
    wanted.on_disconnect = crate::config::layers::flag(Some(OnDisconnect::Detach));
    if context.settings(wanted.clone()).redis.is_none() {
        return Err(Error::NoFarm);
    }
    let Some(made) = run::make(global, &args.run, &context, wanted)? else { return Ok(Exit::NothingSelected) };
    if args.run.flags.dry_run {
        print!("{}", describe(&made.plan, &made.settings));
        return Ok(Exit::Passed);
    }
    session::submit(&made.request(args.run.last_failed)).await
}
