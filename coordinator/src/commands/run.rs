//! `remuda run`: the groups of `remuda.toml`, or one ad-hoc command, attached.

use crate::cli::{Global, Run};
use crate::config::limits::Limit;
use crate::config::{ConfigError, Layer};
use crate::detect;
use crate::error::{Error, Exit};
use crate::job::{self, Plan, adhoc, template};
use crate::outputs;
use crate::report::echo::Manner;
use crate::report::kept::Kept;
use crate::session::{self, Request};

use super::{Context, describe, print, variable, verbosity};

/// What was typed, made into a job.
pub(super) struct Made {
    /// The job.
    pub(super) plan: Plan,
    /// Merged settings.
    pub(super) settings: Layer,
    verbosity: u8,
    live: bool,
    only_tells: bool,
    notes: Vec<String>,
}

impl Made {
    /// What a session does with it.
    pub(super) fn request(&self, last_failed: bool) -> Request<'_> {
        Request {
            plan: self.plan.clone(),
            settings: &self.settings,
            verbosity: self.verbosity,
            last_failed,
            live: self.live,
            echo: Manner::of(&self.plan.spec).map(|manner| Manner { alone: self.only_tells, ..manner }),
            kept: Kept::default(),
            halt: None,
            notes: self.notes.clone(),
            look: &variable,
        }
    }
}

/// Does it.
///
/// # Errors
/// Whatever keeps the run from its end.
pub async fn run(global: &Global, args: &Run) -> Result<Exit, Error> {
    if let Some(percent) = args.flags.timeout.and_then(Limit::percent) {
        return Err(Error::Usage(format!("--timeout {percent}% is for `remuda each`; give a time such as 90s")));
    }
    let context = Context::new()?;
    let Some(made) = make(global, args, &context, Layer::from_flags(global, &args.flags))? else {
        return Ok(Exit::NothingSelected);
    };
    if args.flags.dry_run {
        return print(&describe(&made.plan, &made.settings)).map(|()| Exit::Passed);
    }
    session::run(made.request(args.last_failed)).await
}

/// The job of what was typed; `None` if that was nothing, and what could be typed has been printed.
///
/// # Errors
/// It makes no sense.
pub(super) fn make(global: &Global, args: &Run, context: &Context, typed: Layer) -> Result<Option<Made>, Error> {
    let typed = typed.with_runner_flags(args.isolation, args.group_by);
    if !args.command.is_empty() {
        return from_command(global, args, context, typed).map(Some);
    }
    if context.files.project.is_some() {
        return from_file(global, args, context, typed).map(Some);
    }
    if let Some(group) = args.groups.first() {
        return Err(ConfigError::NoFile { folder: context.folder.clone(), group: group.clone() }.into());
    }
    print(&detect::describe(&context.folder, &detect::detect(&context.folder)))?;
    Ok(None)
}

fn from_command(global: &Global, args: &Run, context: &Context, typed: Layer) -> Result<Made, Error> {
    if let Some(group) = args.groups.first() {
        return Err(Error::Usage(format!(
            "`{group}` names a group, and after `--` stands a command; give one or the other"
        )));
    }
    let made = adhoc::command(&args.command, &selection(args))?;
    let settings = context.settings(typed.over(made.flags));
    let words: Vec<String> = args.command.iter().filter_map(|w| w.to_str().map(str::to_owned)).collect();
    let head = Context::head(&context.folder, template::command_line(&words), &settings)?;
    let mut plan = job::build(head, vec![made.draft], &settings, &Default::default(), &variable)?;
    let verbosity = verbosity(global, made.verbosity);
    // one plain command behaves as it does without us: what it prints is seen
    let plain = plan.spec.groups.len() == 1;
    let whole = plain && outputs::wants_whole(&settings, false);
    plan.spec.groups.iter_mut().for_each(|g| g.whole_output = whole);
    plan.spec.echo = plain.then(Default::default);
    Ok(Made {
        plan,
        settings,
        verbosity,
        live: made.live || (global.verbose >= 2 && !plain),
        only_tells: made.only_tells,
        notes: made.note.into_iter().collect(),
    })
}

/// The framework's own words for what `-k` and `-m` on our side of the dashes ask for.
fn selection(args: &Run) -> Vec<String> {
    let flags = [("-k", args.keyword.as_ref()), ("-m", args.marks.as_ref())];
    flags.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value?.clone()])).flatten().collect()
}

fn from_file(global: &Global, args: &Run, context: &Context, typed: Layer) -> Result<Made, Error> {
    let Some(file) = &context.files.project else { return Err(Error::Nothing("there is no remuda.toml".into())) };
    let settings = context.settings(typed);
    let chosen = file.select(&args.groups)?;
    if chosen.is_empty() {
        return Err(Error::Nothing(format!("{} defines no group; add [groups.NAME]", file.path.display())));
    }
    let mut drafts = job::drafts(file, &chosen)?;
    adhoc::narrow(&mut drafts, &selection(args))?;
    let name = if args.groups.is_empty() { crate::config::FILE.to_owned() } else { args.groups.join(" ") };
    let head = Context::head(file.folder(), name, &settings)?;
    let pools = file.pools.iter().map(|(name, pool)| (name.clone(), pool.items.clone())).collect();
    let plan = job::build(head, drafts, &settings, &pools, &variable)?;
    Ok(Made {
        plan,
        settings,
        verbosity: verbosity(global, 0),
        live: global.verbose >= 2,
        only_tells: false,
        notes: Vec::new(),
    })
}
