//! One attached run from plan to exit code: a Redis (a farm's, or an embedded one with a worker), reports, history,
//! submission, the loop, and the order in which all of it ends. The verbs differ only in the plan they bring.

use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use remuda_protocol::spec::{Adapter, JobSpec};
use remuda_store::{ConnectOptions, History, Opened, Store};
use tracing_subscriber::EnvFilter;

use crate::config::Layer;
use crate::config::limits::Halt;
use crate::config::values::Slots;
use crate::embedded::{self, Embedded};
use crate::error::{Error, Exit};
use crate::follow::attached::{Options, Run};
use crate::follow::keys::Keys;
use crate::history::{self, Shelf};
use crate::job::{Items, Plan};
use crate::outputs;
use crate::report::console::Console;
use crate::report::echo::{Echo, Manner};
use crate::report::log::{Log, LogFile};
use crate::report::{Fact, Reporter};
use crate::submit::Submission;

/// Grace of an owner whose Redis is its own child.
const GRACE_EMBEDDED: Duration = Duration::from_secs(5);
/// Grace of an owner on a farm.
const GRACE_FARM: Duration = Duration::from_secs(120);
/// Patience when no worker fits.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(300);
/// Logs of runs that are kept.
const LOGS: usize = 50;
/// How long an embedded worker may take to let go.
const DRAIN: Duration = Duration::from_secs(2);
/// Keys freed in one call.
const FREED: u32 = 200;

/// What a verb wants of a session.
pub struct Request<'a> {
    /// The plan.
    pub plan: Plan,
    /// Merged settings.
    pub settings: &'a Layer,
    /// 0: failures; 1: passes too; 2: with their output.
    pub verbosity: u8,
    /// Show output as it comes.
    pub live: bool,
    /// What tasks print goes to standard output and error as it is.
    pub echo: bool,
    /// How it goes there.
    pub manner: Manner,
    /// When failures end it.
    pub halt: Option<Halt>,
    /// Reports that only this verb has.
    pub reports: Vec<Box<dyn Reporter>>,
    /// What to say at the beginning.
    pub notes: Vec<String>,
    /// Finds variables.
    pub look: &'a dyn Fn(&str) -> Option<String>,
}

/// Runs a plan to its end.
///
/// # Errors
/// There was no run, or it could not be followed to its end.
pub async fn run(mut request: Request<'_>) -> Result<Exit, Error> {
    let start = Instant::now();
    let spec = Arc::new(request.plan.spec.clone());
    let state = history::state_folder(request.look);
    let (log, log_path) = open_log(&state, &spec.id)?;
    trace_into(&log);
    let reporters = reporters(&mut request, &spec, &log)?;
    let (store, mut children) = connect(&request, &spec, &log).await?;
    let shelf = children.as_ref().map(|_| Shelf::new(&state));
    let result = attached(&request, &store, &mut children, shelf.as_ref(), reporters, start, &log_path).await;
    if let Some(children) = children {
        children.stop(result.is_err()).await;
    }
    result
}

fn slots_here(settings: &Layer) -> u32 {
    settings.slots.as_ref().map_or(Slots::Auto, |c| c.value).here()
}

async fn connect(request: &Request<'_>, spec: &JobSpec, log: &LogFile) -> Result<(Store, Option<Embedded>), Error> {
    let farm = request.settings.farm.as_ref().map_or("default", |c| c.value.as_str());
    if let Some(url) = &request.settings.redis {
        return Ok((Store::connect(ConnectOptions::new(&url.value, farm)).await?, None));
    }
    let labels: BTreeSet<&String> = spec.groups.iter().flat_map(|g| &g.lanes).flat_map(|l| &l.labels).collect();
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
    log: &Path,
) -> Result<Exit, Error> {
    let spec = Arc::new(request.plan.spec.clone());
    let options = options(request, &spec, shelf.is_some(), log);
    let history = prepare_history(&request.plan, store, shelf).await?;
    let watch = store.watch(&spec.id, options.live).await?;
    match store.open(&spec, &options.coordinator, options.grace_ms).await? {
        Opened::New | Opened::Again => {}
        Opened::Pool(pool) => {
            return Err(Error::Usage(format!(
                "pool `{pool}` has other items in a job that runs on this farm; give it another name, or wait for that job"
            )));
        }
        Opened::Conflict => return Err(Error::Usage(format!("another job has the id {}", spec.id))),
    }
    let done = Arc::new(AtomicU64::new(0));
    let slots = if shelf.is_some() {
        slots_here(request.settings) as usize
    } else {
        store.workers().await?.iter().map(|w| w.slots as usize).sum()
    };
    let (embedded, coordinator_grace) = (shelf.is_some(), options.grace_ms);
    let mut run = Run::new(store, spec.clone(), options, reporters, start, done.clone());
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
    run.tell(&Fact::Began { job: spec.id.clone(), name: spec.name.clone(), redis, slots: shown_slots })?;
    for note in &request.notes {
        run.tell(&Fact::Note(note.clone()))?;
    }
    let submission = Submission {
        store: store.clone(),
        job: spec.id.clone(),
        feeds: request.plan.feeds.clone(),
        history,
        slots: slots.max(1),
        done,
    };
    let submit = tokio::spawn(submission.run());
    let result = match run.follow(watch, submit, children).await {
        Ok(()) => run.close().await,
        Err(error) => Err(error),
    };
    run.leave();
    if result.is_err() && coordinator_grace > 0 && !matches!(result, Err(Error::TakenOver(_))) {
        // a clean exit cancels at once, whatever made us leave
        let _ = store.patient(Duration::from_secs(1)).cancel(&spec.id, "user", None).await;
    }
    if result.is_ok() {
        remember(&run, store, shelf, &spec).await;
        free(store, &spec.id, shelf.is_none()).await;
    }
    result
}

fn options(request: &Request<'_>, spec: &JobSpec, embedded: bool, log: &Path) -> Options {
    let settings = request.settings;
    let grace = settings.owner_grace.as_ref().map_or(if embedded { GRACE_EMBEDDED } else { GRACE_FARM }, |c| c.value.0);
    let framework = spec.groups.iter().any(|g| matches!(g.adapter, Adapter::Pytest { .. } | Adapter::Abq { .. }));
    Options {
        coordinator: uuid::Uuid::new_v4().to_string(),
        grace_ms: if spec.detach { 0 } else { u64::try_from(grace.as_millis()).unwrap_or(u64::MAX).max(1) },
        live: request.live,
        queue_timeout: settings.queue_timeout.as_ref().map_or(QUEUE_TIMEOUT, |c| c.value.0),
        fail_on_flaky: settings.fail_on_flaky.as_ref().is_some_and(|c| c.value),
        all_details: request.echo
            || request.verbosity >= 2
            || settings.junit.is_some()
            || settings.events.is_some()
            || !request.reports.is_empty(),
        embedded,
        noun: if framework { "test" } else { "task" },
        log: log.display().to_string(),
    }
}

/// What is known of the tasks that this program adds; what workers will collect is laid where they look for it.
async fn prepare_history(plan: &Plan, store: &Store, shelf: Option<&Shelf>) -> Result<HashMap<u32, History>, Error> {
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
async fn remember(run: &Run, store: &Store, shelf: Option<&Shelf>, spec: &JobSpec) {
    let saved = match shelf {
        Some(shelf) => run.lessons.save_on(shelf, &spec.project).map_err(|e| e.to_string()),
        None => run.lessons.save_in(store, &spec.project).await.map_err(|e| e.to_string()),
    };
    if let Err(error) = saved {
        tracing::warn!("the history was not saved: {error}");
    }
}

/// Everything was told: what the job left on the farm can go.
async fn free(store: &Store, job: &str, on_farm: bool) {
    while on_farm && matches!(store.gc(FREED, Some(job)).await, Ok((_, true))) {}
}

fn reporters(request: &mut Request<'_>, spec: &Arc<JobSpec>, log: &LogFile) -> Result<Vec<Box<dyn Reporter>>, Error> {
    let mut all: Vec<Box<dyn Reporter>> = vec![Box::new(Log::new(log.clone()))];
    all.extend(outputs::reports(request.settings, spec, chrono::Local::now(), request.look)?);
    all.append(&mut request.reports);
    // the console last: its summary is the last word
    let look = outputs::look(request.settings, request.verbosity, request.look);
    let console = Console::new(std::io::stderr(), look, spec.clone());
    let echo = request.echo && !outputs::takes_standard_output(request.settings);
    let echo = echo.then(|| Echo::new(Box::new(std::io::stdout()), request.manner));
    all.push(Box::new(match echo {
        Some(echo) => console.echoing(echo),
        None => console,
    }));
    Ok(all)
}

/// The run's log, and where it is; the oldest go.
fn open_log(state: &Path, job: &str) -> Result<(LogFile, PathBuf), Error> {
    let folder = state.join("runs");
    let failed = |e| Error::io(format!("write a log in {}", folder.display()), e);
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let stamp = chrono::Local::now().format("%Y%m%d-%H%M%S");
    let path = folder.join(format!("{stamp}-{}.log", &job[..8.min(job.len())]));
    let mut names: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(failed)?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .collect();
    names.sort();
    for old in names.iter().take(names.len().saturating_sub(LOGS - 1)) {
        let _ = std::fs::remove_file(old);
    }
    let mut file = std::fs::File::create(&path).map_err(failed)?;
    writeln!(file, "# seconds host/slot what").map_err(failed)?;
    Ok((LogFile::new(Box::new(file)), path))
}

/// What this program itself has to say goes into the log.
fn trace_into(log: &LogFile) {
    let filter = EnvFilter::try_from_env("REMUDA_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = log.clone();
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || log.clone()).with_ansi(false).try_init();
}
