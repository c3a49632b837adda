//! `remuda each`: a command for every item, from the line, files or standard input, after GNU parallel's manner.

use std::io::IsTerminal as _;
use std::sync::Arc;

use remuda_protocol::item::{self, Item};
use remuda_protocol::spec::{Adapter, Echo, JobSpec};

use crate::cli::{Each, Global, ItemFlags, OnDisconnect};
use crate::config::Layer;
use crate::config::limits::{Halt, Limit, Share};
use crate::error::{Error, Exit};
use crate::job::rows::{From, Rows};
use crate::job::{self, Draft, Items, adhoc};
use crate::outputs;
use crate::report::Reporter;
use crate::report::echo::Manner;
use crate::report::joblog::{self, JobLog};
use crate::report::kept::Kept;
use crate::report::results::Results;
use crate::session::{self, Request};

use super::submit::refuse_what_needs_an_end;
use super::{Context, describe, print, variable, verbosity};

/// Does it.
///
/// # Errors
/// Whatever keeps the run from its end.
pub async fn run(global: &Global, args: &Each) -> Result<Exit, Error> {
    let context = Context::new()?;
    let draft = draft(args)?;
    let mut typed = Layer::from_flags(global, &args.flags);
    if args.items.detach {
        refuse_what_needs_an_end("each --detach", &args.flags)?;
        if matches!(args.items.halt, Some(Halt { fail: Share::Percent(_), .. })) {
            let text = "--halt N%: `remuda each --detach` leaves, and nobody would count; give a number of failures";
            return Err(Error::Usage(text.into()));
        }
        typed.on_disconnect = crate::config::layers::flag(Some(OnDisconnect::Detach));
    }
    let settings = context.settings(typed);
    if args.items.detach && settings.redis.is_none() {
        return Err(Error::NoFarm);
    }
    if args.flags.dry_run {
        return dry_run(global, args, &context, draft, &settings);
    }
    let name = args.words.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    let head = Context::head(&context.folder, format!("each {name}"), &settings)?;
    let reads = reads_input(&draft.items);
    let mut plan = job::build(head, vec![draft], &settings, &Default::default(), &variable)?;
    if let Some(percent) = args.flags.timeout.and_then(Limit::percent) {
        plan.spec.groups.iter_mut().for_each(|g| (g.timeout_ms, g.timeout_percent) = (None, percent));
    }
    if let Some(Halt { soon, fail: Share::Count(n) }) = args.items.halt {
        // in the same step that takes the last allowed result
        (plan.spec.max_failures, plan.spec.halt_soon) = (n, soon);
    }
    let mut notes = Vec::new();
    if reads && std::io::stdin().is_terminal() {
        notes.push("reading items from the terminal, one a line; Ctrl-D ends them".to_owned());
    }
    let kept = Kept::default();
    let whole = outputs::wants_whole(&settings, args.items.results.is_some());
    plan.spec.groups.iter_mut().for_each(|g| g.whole_output = whole);
    plan.spec.echo = Some(Echo { tag: args.items.tag, ordered: args.items.keep_order });
    let reports = reports(&args.items, &plan.spec, &kept)?;
    let request = Request {
        echo: Manner::of(&plan.spec),
        plan,
        settings: &settings,
        verbosity: verbosity(global, 0),
        last_failed: false,
        live: false,
        kept,
        halt: args.items.halt,
        notes,
        look: &variable,
    };
    if args.items.detach {
        return session::submit(&request).await;
    }
    Ok(match session::run_with(request, reports).await? {
        // nothing is left to do: that is what was asked for
        Exit::NothingSelected if args.items.resume || args.items.resume_failed => Exit::Passed,
        exit => exit,
    })
}

fn draft(args: &Each) -> Result<Draft, Error> {
    let items = &args.items;
    if args.words.is_empty() && items.files.is_empty() && std::io::stdin().is_terminal() {
        let text = "there is nothing to run; write remuda each 'CMD {}' ::: ITEM…, or give commands on standard input";
        return Err(Error::Usage(text.into()));
    }
    let resumed = items.resume || items.resume_failed;
    let done: Option<Arc<[u32]>> = match items.joblog.as_ref().filter(|_| resumed) {
        Some(path) => Some(
            joblog::read(path, items.resume_failed)
                .map_err(|e| Error::Usage(format!("--resume: cannot read {}: {e}", path.display())))?
                .into(),
        ),
        None => None,
    };
    let draft = adhoc::each(adhoc::EachInput {
        words: &args.words,
        null: items.null,
        files: &items.files,
        colsep: items.colsep.as_deref(),
        per: items.per.map_or(1, usize::from),
        // where places in the list are seen, tasks have them
        ordered: items.keep_order || items.joblog.is_some() || items.results.is_some(),
        done,
    })?;
    if let Items::Rows(rows) = &draft.items {
        readable(rows)?;
    }
    Ok(draft)
}

/// A file that is not there is told before anything runs.
fn readable(rows: &Rows) -> Result<(), Error> {
    for source in &rows.sources {
        if let From::File(path) = &source.from {
            let found = std::fs::metadata(path);
            let problem = match &found {
                Ok(meta) if meta.is_dir() => "it is a folder".to_owned(),
                Ok(_) => continue,
                Err(error) => error.to_string(),
            };
            return Err(Error::Usage(format!("cannot read items from {}: {problem}", path.display())));
        }
    }
    Ok(())
}

fn reads_input(items: &Items) -> bool {
    matches!(items, Items::Rows(rows) if rows.reads_input())
}

fn reports(items: &ItemFlags, spec: &JobSpec, kept: &Kept) -> Result<Vec<Box<dyn Reporter>>, Error> {
    let mut all: Vec<Box<dyn Reporter>> = Vec::new();
    if let Some(path) = &items.joblog {
        let on = items.resume || items.resume_failed;
        let file = if on { outputs::append(path, "--joblog")? } else { outputs::create(path, "--joblog")? };
        let fresh = file.metadata().map_or(true, |meta| meta.len() == 0);
        let out = std::io::BufWriter::new(file);
        let log = JobLog::new(out, Arc::new(spec.clone()), chrono::Utc::now(), fresh);
        all.push(Box::new(log.map_err(|e| Error::report("the joblog", e))?));
    }
    if let Some(folder) = &items.results {
        let results = Results::new(folder, kept.clone());
        let refused = |e| Error::Usage(format!("--results: cannot make the folder {}: {e}", folder.display()));
        all.push(Box::new(results.map_err(refused)?));
    }
    Ok(all)
}

/// `--dry-run`: the commands, one a line; with -v also the settings, on standard error.
fn dry_run(global: &Global, args: &Each, context: &Context, draft: Draft, settings: &Layer) -> Result<Exit, Error> {
    let Adapter::Command { template } = draft.adapter.clone() else { return Ok(Exit::Passed) };
    let ids: Box<dyn Iterator<Item = Result<String, Error>>> = match &draft.items {
        Items::Rows(rows) => Box::new(rows.ids()?),
        Items::Known(items) => Box::new(items.clone().into_iter().map(Ok)),
        Items::Collected => Box::new(std::iter::empty()),
    };
    if global.verbose > 0 {
        let head = Context::head(&context.folder, "each".into(), settings)?;
        let plan = job::build(head, vec![draft], settings, &Default::default(), &variable)?;
        let limit = args.flags.timeout.and_then(Limit::percent).map(|n| format!("  timeout {n}% of the median\n"));
        let text = describe(&plan, settings) + &limit.unwrap_or_default();
        use std::io::Write as _;
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    let mut text = String::new();
    for (id, index) in ids.zip(0..) {
        let id = id?;
        let item = Item::new(&id, index);
        if args.items.tag {
            text.push_str(&format!("{}\t", item.shown()));
        }
        text.push_str(&item::command(&template, &item, 0));
        text.push('\n');
        if text.len() > 1 << 16 {
            print(&std::mem::take(&mut text))?;
        }
    }
    print(&text).map(|()| Exit::Passed)
}
