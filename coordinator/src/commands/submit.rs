//! `remuda submit`: a job that runs on without this program.

use crate::cli::verbs::Submit;
use crate::cli::{Flags, Global, OnDisconnect, Outputs};
use crate::error::{Error, Exit};
use crate::session;

use super::{Context, describe, run};

/// Does it.
///
/// # Errors
/// Whatever keeps the job from being there whole.
pub async fn run(global: &Global, args: &Submit) -> Result<Exit, Error> {
    refuse_what_needs_an_end("submit", &args.run.flags)?;
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

/// Refuses what only somebody who stays could carry out.
pub(super) fn refuse_what_needs_an_end(verb: &str, flags: &Flags) -> Result<(), Error> {
    refuse_reports(verb, &flags.outputs)?;
    if flags.queue_timeout.is_none() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--queue-timeout: `remuda {verb}` leaves, and nobody would give up; say `remuda wait JOB --queue-timeout TIME`"
    )))
}

/// Who leaves before the job ends writes no report of it: what was typed must not be lost in silence. Settings of files
/// and variables are for every verb.
pub(super) fn refuse_reports(verb: &str, outputs: &Outputs) -> Result<(), Error> {
    let typed = [
        ("--junit", " FILE", outputs.junit.is_some()),
        ("--events", " FILE", outputs.events.is_some()),
        ("--html", " FILE", outputs.html.is_some()),
        ("--json", " FILE", outputs.json.is_some()),
        ("--annotations", " github", outputs.annotations.is_some()),
        ("--status-level", " LEVEL", outputs.status_level.is_some()),
        ("--final-status-level", " LEVEL", outputs.final_status_level.is_some()),
        ("--durations", " N", outputs.durations.is_some()),
    ];
    let typed: Vec<_> = typed.into_iter().filter(|(_, _, is_there)| *is_there).collect();
    if typed.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = typed.iter().map(|(name, ..)| *name).collect();
    let words: String = typed.iter().map(|(name, value, _)| format!(" {name}{value}")).collect();
    Err(Error::Usage(format!(
        "{}: `remuda {verb}` leaves before the job ends and reports nothing of it; \
         leave the flag away, and say `remuda wait JOB{words}`, or `remuda report JOB{words}` once it has ended",
        names.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_would_never_be_written_is_refused_with_who_writes_it() {
        assert!(refuse_reports("submit", &Outputs { fail_on_flaky: true, ..Outputs::default() }).is_ok());
        let outputs = Outputs { junit: Some("a.xml".into()), durations: Some(3), ..Outputs::default() };
        let error = refuse_reports("submit", &outputs).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert_eq!(
            error.to_string(),
            "--junit, --durations: `remuda submit` leaves before the job ends and reports nothing of it; leave the flag \
             away, and say `remuda wait JOB --junit FILE --durations N`, or `remuda report JOB --junit FILE --durations N` \
             once it has ended"
        );
    }
}
