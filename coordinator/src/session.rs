//! One attached run from plan to exit code: a Redis (a farm's, or an embedded one with a worker), reports, history,
//! submission, the loop, and the order in which all of it ends. The verbs differ only in the plan they bring.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use remuda_protocol::spec::{GroupKind, JobSpec};
use remuda_store::{ConnectOptions, History, Opened, Store, check_farm};

use crate::config::Layer;
use crate::config::limits::Halt;
use crate::config::values::Slots;
use crate::embedded::{self, Embedded};
use crate::error::{Error, Exit};
use crate::farm::Farm;
use crate::follow::attached::{Options, Role, Run};
use crate::follow::keys::Keys;
use crate::history::{self, Shelf};
use crate::job::again::{self, Unpassed};
use crate::job::{Items, Plan};
use crate::outputs;
use crate::report::console::Console;
use crate::report::echo::{Echo, Manner};
use crate::report::kept::Kept;
use crate::report::log::{Log, LogFile};
use crate::report::{Fact, Reporter};
use crate::runlog;
use crate::submit::Submission;

/// Grace of an owner whose Redis is its own child: with its end everything ends at once, and while it is stopped or its
/// machine sleeps nothing is amiss (docs/adr/0013).
const GRACE_EMBEDDED: Duration = Duration::from_secs(24 * 60 * 60);
/// Grace of an owner on a farm.
const GRACE_FARM: Duration = Duration::from_secs(120);
/// Grace of whoever submits a job that goes on alone, ms.
const GRACE_SUBMIT_MS: u64 = 60_000;
/// Patience when no worker fits.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(300);
/// How long an embedded worker may take to let go.
const DRAIN: Duration = Duration::from_secs(2);

/// What a verb wants of a session.
#[derive(Clone)]
pub struct Request<'a> {
    /// The plan.
    pub plan: Plan,
    /// Merged settings.
    pub settings: &'a Layer,
    /// 0: failures; 1: passes too; 2: with their output.
    pub verbosity: u8,
    /// Only what did not pass the last time.
    pub last_failed: bool,
    /// Show output as it comes.
    pub live: bool,
    /// What tasks print goes to standard output and error as it is, in this manner.
    pub echo: Option<Manner>,
    /// What of it lies in files.
    pub kept: Kept,
    /// When failures end it.
    pub halt: Option<Halt>,
    /// What to say at the beginning.
    pub notes: Vec<String>,
    /// Finds variables.
    pub look: &'a dyn Fn(&str) -> Option<String>,
}

/// Runs a plan to its end.
///
/// # Errors
/// There was no run, or it could not be followed to its end.
pub async fn run(request: Request<'_>) -> Result<Exit, Error> {
    run_with(request, Vec::new()).await
}

/// Runs a plan to its end, and tells `more` reporters.
///
/// # Errors
/// There was no run, or it could not be followed to its end.
pub async fn run_with(request: Request<'_>, more: Vec<Box<dyn Reporter>>) -> Result<Exit, Error> {
    let start = Instant::now();
    let state = history::state_folder(request.look);
    let log = runlog::open(&state, &request.plan.spec.id);
    runlog::trace_into(&log.file);
    let mut request = request;
    request.notes.extend(log.note);
    let at = chrono::Local::now();
    let (store, mut children) = connect(&request, &log.file).await?;
    if let Some(children) = &children {
        request.kept.lies_in(children.outputs());
    }
    let shelf = children.as_ref().map(|_| Shelf::new(&state));
    let result = match narrowed(request, &store, shelf.as_ref()).await {
        Ok(Some(request)) => match reporters(&request, &log.file, at, more) {
            Ok(reporters) => {
                attached(&request, &store, &mut children, shelf.as_ref(), reporters, start, &log.path).await
            }
            Err(error) => Err(error),
        },
        Ok(None) => {
            eprintln!("nothing to do: everything passed the last time");
            Ok(Exit::Passed)
        }
        Err(error) => Err(error),
    };
    if let Some(children) = children {
        children.stop(result.is_err()).await;
    }
    result
}

/// With `--last-failed` only what did not pass; `None` if there is no such thing.
async fn narrowed<'a>(
    request: Request<'a>,
    store: &Store,
    shelf: Option<&Shelf>,
) -> Result<Option<Request<'a>>, Error> {
    if !request.last_failed {
        return Ok(Some(request));
    }
    let mut unpassed = Unpassed::new();
    for group in request.plan.spec.groups.iter().filter(|g| g.kind == GroupKind::Tests) {
        let key = history::key(&request.plan.spec.project, &group.name);
        let ids = match shelf {
            Some(shelf) => shelf.unpassed(&key),
            None => store.unpassed_load(&key).await?,
        };
        unpassed.extend(ids.map(|ids| (group.name.clone(), ids)));
    }
    let mut notes = request.notes;
    for group in request.plan.spec.groups.iter().filter(|g| g.kind == GroupKind::Tests) {
        if !unpassed.contains_key(&group.name) {
            notes.push(format!("it is not known what of {} did not pass the last time: all of it runs", group.name));
        }
    }
    Ok(again::narrow(request.plan, &unpassed).map(|plan| Request { plan, notes, ..request }))
}

/// A run that ends without a word must not leave the belief that everything had passed.
async fn disbelieve(spec: &JobSpec, store: &Store, shelf: Option<&Shelf>) -> Result<(), Error> {
    for group in spec.groups.iter().filter(|g| g.kind == GroupKind::Tests) {
        let key = history::key(&spec.project, &group.name);
        match shelf {
            Some(shelf) if shelf.unpassed(&key).is_some_and(|ids| ids.is_empty()) => shelf.forget_unpassed(&key),
            None if store.unpassed_load(&key).await?.is_some_and(|ids| ids.is_empty()) => {
                store.unpassed_forget(&key).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn slots_here(settings: &Layer) -> u32 {
    settings.slots.as_ref().map_or(Slots::Auto, |c| c.value).here()
}

/// Submits a plan to a farm and leaves it there; prints its id.
///
/// # Errors
/// It is not there whole, and so it is cancelled.
pub async fn submit(request: &Request<'_>) -> Result<Exit, Error> {
    let farm = Farm::of(request.settings.clone()).await?;
    let Some(request) = narrowed(request.clone(), &farm.store, None).await? else {
        eprintln!("nothing to do: everything passed the last time");
        return Ok(Exit::Passed);
    };
    let (spec, store) = (&request.plan.spec, &farm.store);
    let owner = uuid::Uuid::new_v4().to_string();
    let slots = store.workers().await?.iter().map(|w| w.slots as usize).sum::<usize>();
    let history = prepare_history(&request.plan, store, None).await?;
    disbelieve(spec, store, None).await?;
    open(store, spec, &owner, GRACE_SUBMIT_MS).await?;
    let feeds = request.plan.feeds.clone();
    let submission = Submission { store: store.clone(), job: spec.id.clone(), feeds, history, slots: slots.max(1) };
    let result = tokio::select! {
        result = submission.run() => result,
        error = renew(store, &spec.id, &owner) => Err(error),
        _ = tokio::signal::ctrl_c() => Err(Error::Killed(Exit::Interrupted)),
    };
    if let Err(error) = result {
        let _ = store.patient(Duration::from_secs(1)).cancel(&spec.id, "user", None).await;
        return Err(error);
    }
    println!("{}", spec.id);
    if slots == 0 {
        eprintln!("note: no worker is on farm `{}` yet", store.farm());
    }
    Ok(Exit::Passed)
}

/// Says again and again that whoever submits a job is there.
async fn renew(store: &Store, job: &str, owner: &str) -> Error {
    let mut again = tokio::time::interval(Duration::from_millis(GRACE_SUBMIT_MS / 10));
    again.tick().await;
    loop {
        again.tick().await;
        match store.adopt(job, owner, 1, GRACE_SUBMIT_MS, false).await {
            Ok(adopted) if adopted.lost => return Error::TakenOver(job.to_owned()),
            Err(error) if !error.is_outage() => return error.into(),
            _ => {}
        }
    }
}

async fn open(store: &Store, spec: &JobSpec, owner: &str, grace_ms: u64) -> Result<(), Error> {
    match store.open(spec, owner, grace_ms).await? {
        Opened::New | Opened::Again => Ok(()),
        Opened::Pool(pool) => Err(Error::Usage(format!(
            "pool `{pool}` has other items in a job that runs on this farm; give it another name, or wait for that job"
        ))),
        Opened::Conflict => Err(Error::Usage(format!("another job has the id {}", spec.id))),
    }
}

async fn connect(request: &Request<'_>, log: &LogFile) -> Result<(Store, Option<Embedded>), Error> {
    let farm = request.settings.farm.as_ref().map_or("default", |c| c.value.as_str());
    check_farm(farm)?; // before anything is started for it
    if let Some(url) = &request.settings.redis {
        return Ok((Store::connect(ConnectOptions::new(&url.value, farm)).await?, None));
    }
    let labels: BTreeSet<&String> =
        request.plan.spec.groups.iter().flat_map(|g| &g.lanes).flat_map(|l| &l.labels).collect();
    if let Some(label) = labels.first() {
        let text = format!(
            "no worker fits: an embedded run has one worker, without labels, and the label `{label}` is asked for; use a farm (--redis URL), or take the label away"
        );
        return Err(Error::NoWorker(text));
    }
    let own_folder = std::env::current_exe().ok().and_then(|p| p.parent().map(Path::to_path_buf));
    let server = embedded::find_server(request.look, own_folder.as_deref())?;
    let mut children = Embedded::start(&server, log.clone()).await?;
    children.start_worker(farm, slots_here(request.settings), DRAIN).await?;
    let store = Store::connect(ConnectOptions::new(children.url(), farm)).await?;
    Ok((store, Some(children)))
}

async fn attached(
    request: &Request<'_>,
    store: &Store,
    children: &mut Option<Embedded>,
    shelf: Option<&Shelf>,
    reporters: Vec<Box<dyn Reporter>>,
    start: Instant,
    log: &str,
) -> Result<Exit, Error> {
    let spec = Arc::new(request.plan.spec.clone());
    let options = options(request, &spec, shelf.is_some(), log);
    let history = prepare_history(&request.plan, store, shelf).await?;
    disbelieve(&spec, store, shelf).await?;
    let watch = store.watch(&spec.id, true).await?;
    open(store, &spec, &options.coordinator, options.grace_ms).await?;
    let slots = if shelf.is_some() {
        slots_here(request.settings) as usize
    } else {
        store.workers().await?.iter().map(|w| w.slots as usize).sum()
    };
    let embedded = shelf.is_some();
    let mut run = Run::new(store, spec.clone(), options, reporters, start);
    run.halt = request.halt;
    for feed in request.plan.feeds.iter().filter(|f| matches!(f.items, Items::Rows(_))) {
        run.lessons.leave_out(&spec.groups[feed.group as usize].name);
    }
    let reads = request.plan.feeds.iter().any(|f| matches!(&f.items, Items::Rows(rows) if rows.reads_input()));
    if !reads && outputs::look(request.settings, 0, request.look).bar {
        run.keys = Keys::listen();
    }
    let redis =
        if embedded { "an embedded Redis".to_owned() } else { format!("{}, farm {}", store.address(), store.farm()) };
    let shown_slots = if embedded { u32::try_from(slots).ok() } else { Some(spec.max_slots).filter(|n| *n > 0) };
    let began = Fact::Began { job: spec.id.clone(), name: spec.name.clone(), redis, slots: shown_slots };
    let notes = request.notes.iter().cloned().map(Fact::Note);
    let told = std::iter::once(began).chain(notes).try_for_each(|fact| run.tell(&fact));
    let submission = Submission {
        store: store.clone(),
        job: spec.id.clone(),
        feeds: request.plan.feeds.clone(),
        history,
        slots: slots.max(1),
    };
    let result = match told {
        Ok(()) => run.to_its_end(watch, tokio::spawn(submission.run()), children).await,
        Err(error) => Err(error),
    };
    if result.is_err() && shelf.is_none() && run.owns() && !matches!(result, Err(Error::TakenOver(_))) {
        // a clean exit cancels at once, whatever made us leave; an embedded farm ends with us
        let _ = store.patient(Duration::from_secs(1)).cancel(&spec.id, "user", None).await;
    }
    if result.is_ok() || shelf.is_some() {
        remember(&run, store, shelf, &spec).await;
    }
    if shelf.is_some() || run.owns() { result.map_err(Error::of_a_run) } else { result }
}

pub(crate) fn options(request: &Request<'_>, spec: &JobSpec, embedded: bool, log: &str) -> Options {
    let settings = request.settings;
    let grace = settings.owner_grace.as_ref().map_or(if embedded { GRACE_EMBEDDED } else { GRACE_FARM }, |c| c.value.0);
    let framework = spec.groups.iter().any(|g| g.adapter.is_framework());
    Options {
        role: Role::Owner,
        took: None,
        patience: None,
        coordinator: uuid::Uuid::new_v4().to_string(),
        // a detached job has an owner until all its tasks are there
        grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX).max(1),
        live: request.live,
        queue_timeout: settings.queue_timeout.as_ref().map_or(QUEUE_TIMEOUT, |c| c.value.0),
        gives_up: false,
        fail_on_flaky: spec.fail_on_flaky || settings.fail_on_flaky.as_ref().is_some_and(|c| c.value),
        all_details: request.echo.is_some()
            || request.live
            || request.verbosity >= 2
            || settings.junit.is_some()
            || settings.events.is_some(),
        embedded,
        noun: if framework { "test" } else { "task" },
        log: log.to_owned(),
    }
}

/// What is known of the tasks that this program adds; what workers will collect is laid where they look for it.
pub(crate) async fn prepare_history(
    plan: &Plan,
    store: &Store,
    shelf: Option<&Shelf>,
) -> Result<HashMap<u32, History>, Error> {
    let mut known = HashMap::new();
    for (number, group) in (0..).zip(&plan.spec.groups) {
        let key = history::key(&plan.spec.project, &group.name);
        let feed = plan.feeds.iter().find(|f| f.group == number);
        let collected = plan.spec.groups.iter().any(|g| g.collects == Some(number));
        match (feed, shelf) {
            (Some(feed), Some(shelf)) if matches!(feed.items, Items::Known(_)) => {
                drop(known.insert(number, shelf.load(&key)))
            }
            (Some(feed), None) if matches!(feed.items, Items::Known(_)) => {
                drop(known.insert(number, store.history_load(&key).await?))
            }
            (None, Some(shelf)) if collected => {
                let history = shelf.load(&key);
                if history != History::default() {
                    store.history_save(&key, &history).await?;
                }
            }
            _ => {}
        }
    }
    Ok(known)
}

/// History is advice: a run is not worse for not being remembered.
pub(crate) async fn remember(run: &Run, store: &Store, shelf: Option<&Shelf>, spec: &JobSpec) {
    let saved = match shelf {
        Some(shelf) => run.lessons.save_on(shelf, &spec.project).map_err(|e| e.to_string()),
        None => run.lessons.save_in(store, &spec.project).await.map_err(|e| e.to_string()),
    };
    if let Err(error) = saved {
        tracing::warn!("the history was not saved: {error}");
    }
}

pub(crate) fn reporters(
    request: &Request<'_>,
    log: &LogFile,
    start: chrono::DateTime<chrono::Local>,
    mut more: Vec<Box<dyn Reporter>>,
) -> Result<Vec<Box<dyn Reporter>>, Error> {
    let spec = Arc::new(request.plan.spec.clone());
    let mut all: Vec<Box<dyn Reporter>> = vec![Box::new(Log::new(log.clone()))];
    all.extend(outputs::reports(request.settings, &spec, start, request.look)?);
    all.append(&mut more);
    // the console last: its summary is the last word
    let mut look = outputs::look(request.settings, request.verbosity, request.look);
    look.live = request.live;
    let console = Console::new(std::io::stderr(), look, spec, request.kept.clone());
    let echo = request.echo.filter(|_| !outputs::takes_standard_output(request.settings));
    let echo = echo.map(|manner| Echo::new(Box::new(std::io::stdout()), manner, request.kept.clone()));
    all.push(Box::new(match echo {
        Some(echo) => console.echoing(echo),
        None => console,
    }));
    Ok(all)
}
