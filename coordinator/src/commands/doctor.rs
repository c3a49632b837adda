//! `remuda doctor`: what is wrong here, if anything is: Redis, clock, limits, programs, and where each setting comes from.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, getrlimit};
use remuda_store::{ConnectOptions, Store, StoreError};
use serde_json::json;

use crate::cli::Global;
use crate::cli::verbs::Doctor;
use crate::config::Layer;
use crate::embedded;
use crate::error::{Error, Exit};
use crate::follow::fit::start_line;
use crate::overview;
use crate::report::text::count;

use super::{Context, variable};

/// A clock that is further off than this makes times in reports wrong (leases go by the server's clock alone).
const SKEW: Duration = Duration::from_secs(5);
/// A round trip longer than this makes short tests wait.
const SLOW: Duration = Duration::from_millis(50);
/// Fewer open files than this are not enough for many slots.
const FILES: u64 = 1024;

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    Doubtful,
    Bad,
}

struct Finding {
    health: Health,
    what: &'static str,
    says: String,
}

/// Does it.
///
/// # Errors
/// A file or variable makes no sense.
pub async fn run(global: &Global, args: &Doctor) -> Result<Exit, Error> {
    let context = Context::new()?;
    let settings = context.settings(Layer::from_flags(global, &Default::default()));
    let mut found = vec![finding(
        Health::Good,
        "version",
        format!("remuda {}, protocol {}", env!("CARGO_PKG_VERSION"), remuda_protocol::PROTOCOL),
    )];
    match &settings.redis {
        Some(url) => farm(&url.value, settings.farm.as_ref().map_or("default", |c| c.value.as_str()), &mut found).await,
        None => server(&mut found),
    }
    limits(&mut found);
    programs(&context.folder, &mut found);
    let bad = found.iter().any(|f| f.health == Health::Bad);
    if args.json {
        let findings: Vec<_> =
            found.iter().map(|f| json!({"what": f.what, "health": word(f.health), "says": f.says})).collect();
        let settings: Vec<_> = settings
            .list()
            .into_iter()
            .map(|(name, value, origin)| json!({"name": name, "value": value, "origin": origin}))
            .collect();
        println!("{}", json!({"findings": findings, "settings": settings}));
    } else {
        for finding in &found {
            println!("{:>5}  {:<10} {}", word(finding.health), finding.what, finding.says);
        }
        println!("settings");
        for (name, value, origin) in settings.list() {
            println!("  {name:<14} {value:<24} {origin}");
        }
    }
    Ok(if bad { Exit::Internal } else { Exit::Passed })
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Good => "ok",
        Health::Doubtful => "look",
        Health::Bad => "BAD",
    }
}

fn finding(health: Health, what: &'static str, says: impl Into<String>) -> Finding {
    Finding { health, what, says: says.into() }
}

async fn farm(url: &str, name: &str, found: &mut Vec<Finding>) {
    let store = match Store::connect(ConnectOptions::new(url, name)).await {
        Ok(store) => store,
        Err(error) => {
            return found.push(trouble("redis", error));
        }
    };
    found.push(finding(Health::Good, "redis", format!("{} can be used", store.address())));
    let began = Instant::now();
    let (now, took) = (store.now_ms().await, began.elapsed());
    if let Ok(now) = now {
        let health = if took > SLOW { Health::Doubtful } else { Health::Good };
        found.push(finding(health, "latency", format!("{:.1} ms a round trip", took.as_secs_f64() * 1000.0)));
        let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let skew = here.abs_diff(Duration::from_millis(now) + took / 2);
        let health = if skew > SKEW { Health::Doubtful } else { Health::Good };
        found.push(finding(
            health,
            "clock",
            format!("{:.1} s apart from the server's; leases go by the server's alone", skew.as_secs_f64()),
        ));
    }
    memory(&store, found).await;
    workers(&store, found).await;
}

/// What keeps Redis from being used, and the repair.
fn trouble(what: &'static str, error: StoreError) -> Finding {
    let error = Error::from(error);
    let hint = error.hint().map(|h| format!("; {h}")).unwrap_or_default();
    finding(Health::Bad, what, format!("{error}{hint}"))
}

async fn memory(store: &Store, found: &mut Vec<Finding>) {
    let Ok(memory) = store.memory().await else { return };
    if memory.is_full() {
        return found.push(trouble("memory", StoreError::Full { at: store.address().to_owned() }));
    }
    let used = size(memory.used);
    let most = if memory.most == 0 { "no maxmemory".to_owned() } else { format!("at most {}", size(memory.most)) };
    let scarce = memory.most > 0 && memory.used >= memory.most / 10 * 9;
    let (health, repair) = match scarce {
        true => (Health::Doubtful, "; give it more before it is full: CONFIG SET maxmemory"),
        false => (Health::Good, ""),
    };
    found.push(finding(health, "memory", format!("{used} used, {most}{repair}")));
}

/// Bytes as people read them.
#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn size(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

async fn workers(store: &Store, found: &mut Vec<Finding>) {
    let Ok(workers) = overview::workers(store).await else { return };
    if workers.is_empty() {
        let says =
            format!("none on farm `{}`; start one with `{}`", store.farm(), start_line(store.farm(), store.address()));
        return found.push(finding(Health::Doubtful, "workers", says));
    }
    let slots: u64 = workers.iter().map(|w| u64::from(w.books.slots)).sum();
    let drained = workers.iter().filter(|w| w.books.drain).count();
    let service = match drained {
        0 => String::new(),
        n if n < workers.len() => format!("; {n} of them drained"),
        _ => "; none takes work: `remuda workers resume --all` brings those back that were drained".to_owned(),
    };
    let silent: Vec<String> = workers.iter().filter_map(overview::Worker::silence).collect();
    let others: Vec<String> = workers
        .iter()
        .filter(|w| w.version != env!("CARGO_PKG_VERSION"))
        .map(|w| format!("{} has {}", w.name, w.version))
        .collect();
    let fine = others.is_empty() && silent.is_empty() && drained < workers.len();
    let health = if fine { Health::Good } else { Health::Doubtful };
    let silence = silent.iter().map(|says| format!("; {says}")).collect::<String>();
    let versions =
        if others.is_empty() { String::new() } else { format!("; another version than this: {}", others.join(", ")) };
    found.push(finding(
        health,
        "workers",
        format!("{}, {}{service}{silence}{versions}", count(workers.len() as u64, "worker"), count(slots, "slot")),
    ));
}

fn server(found: &mut Vec<Finding>) {
    let own_folder = std::env::current_exe().ok().and_then(|p| p.parent().map(Path::to_path_buf));
    found.push(match embedded::find_server(&variable, own_folder.as_deref()) {
        Ok(path) => finding(Health::Good, "redis", format!("none is named: runs embed {}", path.display())),
        Err(error) => finding(
            Health::Bad,
            "redis",
            format!(
                "none is named, and there is none to embed: {}",
                error.hint().unwrap_or_default().replace('\n', " ")
            ),
        ),
    });
}

fn limits(found: &mut Vec<Finding>) {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let health = if soft < FILES { Health::Doubtful } else { Health::Good };
        found.push(finding(health, "files", format!("{soft} open files (at most {hard}; raise with ulimit -n)")));
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    found.push(finding(Health::Good, "cores", format!("{cores}: that many slots with -n auto")));
}

fn programs(folder: &Path, found: &mut Vec<Finding>) {
    for detected in crate::detect::detect(folder) {
        let program = detected.command.split(' ').next().unwrap_or_default().to_owned();
        let says = match on_path(&program) {
            Some(path) => format!(
                "{} ({}): `remuda run -- {}`, {}",
                detected.what,
                detected.because,
                detected.command,
                path.display()
            ),
            None => format!("{} ({}), and `{program}` is not on PATH", detected.what, detected.because),
        };
        let health = if on_path(&program).is_some() { Health::Good } else { Health::Doubtful };
        found.push(finding(health, "project", says));
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
