//! A job that is there already: followed late (`attach`, `wait`), or told again from what is kept of it (`report`). What
//! is new about a job is `session`'s.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use remuda_protocol::lifecycle::JobState;
use remuda_store::JobHead;

use crate::commands::variable;
use crate::error::{Error, Exit};
use crate::farm::Farm;
use crate::follow::attached::{Options, Role, Run};
use crate::history;
use crate::job::Plan;
use crate::outputs;
use crate::overview::Far;
use crate::report::echo::Manner;
use crate::report::joblog::JobLog;
use crate::report::kept::Kept;
use crate::report::{Fact, Reporter};
use crate::runlog::{self, RunLog};
use crate::session::{self, Request};

/// How to visit.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// 0: failures; 1: passes too; 2: with their output, live.
    pub verbosity: u8,
    /// Become the coordinator of a job whose own has died.
    pub adopts: bool,
    /// Stop waiting after this time.
    pub patience: Option<Duration>,
    /// Cancel the job when no worker fits for so long.
    pub queue_timeout: Option<Duration>,
    /// Pass on what tasks print, if the job is for that.
    pub echoes: bool,
    /// Only the end is shown.
    pub quiet: bool,
    /// Write parallel's table of tasks to this file.
    pub joblog: Option<PathBuf>,
}

/// Whether a job has ended.
#[must_use]
pub fn is_over(head: &JobHead) -> bool {
    JobState::from_word(&head.state).is_some_and(JobState::is_over)
}

/// What is over has its log where it ran: telling it again is no run.
fn log_of(head: &JobHead) -> RunLog {
    if is_over(head) {
        return RunLog::nowhere();
    }
    let log = runlog::open(&history::state_folder(&variable), &head.id);
    runlog::trace_into(&log.file);
    log
}

/// How long a job took that is over.
fn took(head: &JobHead) -> Option<Duration> {
    head.ended_ms.map(|end| Duration::from_millis(end.saturating_sub(head.created_ms)))
}

/// Who is told, and knows that it joins late.
fn reporters(
    request: &Request<'_>,
    head: &JobHead,
    visit: &Visit,
    log: &RunLog,
) -> Result<Vec<Box<dyn Reporter>>, Error> {
    let created = i64::try_from(head.created_ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
    let created = created.map_or_else(chrono::Local::now, |at| at.with_timezone(&chrono::Local));
    let mut more: Vec<Box<dyn Reporter>> = Vec::new();
    if let Some(path) = &visit.joblog {
        let spec = Arc::new(request.plan.spec.clone());
        let log = JobLog::new(outputs::stream(path, "--joblog")?, spec, created.to_utc(), true);
        more.push(Box::new(log.map_err(|e| Error::report("the joblog", e))?));
    }
    let mut reporters = session::reporters(request, &log.file, created, more)?;
    if visit.quiet {
        reporters = reporters.into_iter().map(crate::report::quiet::Quiet::over).collect();
    }
    reporters.iter_mut().for_each(|r| r.joins_late());
    if let Some(took) = took(head) {
        reporters.iter_mut().for_each(|r| r.is_over_after(took));
    }
    Ok(reporters)
}

/// Follows a job to its end, from its first event.
///
/// # Errors
/// It cannot be followed.
pub async fn visit(farm: &Farm, head: &JobHead, visit: &Visit) -> Result<Exit, Error> {
    let store = &farm.store;
    let spec = Arc::new(store.spec(&head.id).await?);
    let live = visit.verbosity >= 2 && !is_over(head);
    let request = Request {
        plan: Plan { spec: (*spec).clone(), feeds: Vec::new() },
        settings: &farm.settings,
        verbosity: visit.verbosity,
        last_failed: false,
        live,
        echo: Manner::of(&spec).filter(|_| visit.echoes),
        kept: Kept::default(),
        halt: None,
        notes: Vec::new(),
        look: &variable,
    };
    let log = log_of(head);
    let reporters = reporters(&request, head, visit, &log)?;
    let age = Duration::from_millis(store.now_ms().await?.saturating_sub(head.created_ms));
    let start = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
    let usual = session::options(&request, &spec, false, &log.path);
    let options = Options {
        role: Role::Visitor { adopts: visit.adopts },
        took: took(head),
        patience: visit.patience,
        queue_timeout: visit.queue_timeout.unwrap_or(usual.queue_timeout),
        gives_up: visit.queue_timeout.is_some(),
        all_details: usual.all_details || visit.joblog.is_some(),
        ..usual
    };
    let watch = store.watch(&spec.id, true).await?;
    let mut run = Run::new(store, spec.clone(), options, reporters, start);
    let redis = format!("{}, farm {}", store.address(), store.farm());
    run.tell(&Fact::Began { job: spec.id.clone(), name: spec.name.clone(), redis, slots: None })?;
    if let Some(note) = log.note {
        run.tell(&Fact::Note(note))?;
    }
    if !is_over(head) && !visit.quiet {
        // at once: what happened so far may take a while to tell
        let far = Far::of(&store.snapshot(&spec.id).await?.groups);
        run.tell(&Fact::Note(far.sentence()))?;
    }
    let nothing_to_submit = tokio::spawn(async { Ok(()) });
    let result = run.to_its_end(watch, nothing_to_submit, &mut None).await;
    match &result {
        Ok(_) if !is_over(head) => session::remember(&run, store, None, &spec).await,
        Err(error) if run.owns() && !matches!(error, Error::TakenOver(_)) => {
            let _ = store.patient(Duration::from_secs(1)).cancel(&spec.id, "user", None).await;
        }
        _ => {}
    }
    if run.owns() { result.map_err(Error::of_a_run) } else { result }
}
