//! The verbs, one in each file.

pub mod attach;
pub mod cancel;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod each;
pub mod explain;
pub mod gc;
pub mod logs;
pub mod report;
pub mod retry;
pub mod run;
pub mod status;
pub mod submit;
pub mod table;
pub mod wait;
pub mod worker;
pub mod workers;

use std::path::{Path, PathBuf};

use crate::cli::{Flags, Global, Outputs};
use crate::config::{Files, Layer};
use crate::error::Error;
use crate::job::{Head, place};

/// What every verb begins with.
pub struct Context {
    /// The current folder.
    pub folder: PathBuf,
    /// What files say.
    pub files: Files,
    /// What variables say.
    pub variables: Layer,
}

impl Context {
    /// Looks at the folder, files and variables.
    ///
    /// # Errors
    /// One of them is wrong.
    pub fn new() -> Result<Self, Error> {
        let folder = std::env::current_dir().map_err(|e| Error::io("find the current folder", e))?;
        let files = crate::config::load(&folder, crate::config::user_file(&variable).as_deref())?;
        let variables = Layer::from_variables(&variable)?;
        Ok(Self { folder, files, variables })
    }

    /// Flags over variables over the project's file over the user's.
    #[must_use]
    pub fn settings(&self, flags: Layer) -> Layer {
        let project = self.files.project.as_ref().map(|p| p.settings.clone()).unwrap_or_default();
        flags.over(self.variables.clone()).over(project).over(self.files.user.clone())
    }

    /// The head of a job that runs in a folder.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn head(folder: &Path, name: String, settings: &Layer) -> Result<Head, Error> {
        Ok(Head {
            id: uuid::Uuid::new_v4().to_string(),
            name,
            submitter: place::submitter(),
            project: place::project(folder),
            tree: place::tree(folder)?,
            embedded: settings.redis.is_none(),
        })
    }
}

/// The settings of a verb that only writes reports.
///
/// # Errors
/// A file or variable is wrong.
pub fn outputs(global: &Global, outputs: &Outputs) -> Result<Layer, Error> {
    let flags = Flags { outputs: outputs.clone(), ..Flags::default() };
    Ok(Context::new()?.settings(Layer::from_flags(global, &flags)))
}

/// A variable of this program's environment.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Writes to standard output; that nobody reads on is no error.
///
/// # Errors
/// The stream cannot be written.
pub fn print(text: &str) -> Result<(), Error> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|e| Error::report("standard output", e)),
    }
}

/// How much to show.
#[must_use]
pub fn verbosity(global: &Global, framework: i32) -> u8 {
    global.verbose.max(u8::try_from(framework.clamp(0, 2)).unwrap_or(0))
}

/// `--dry-run`: the job and the settings, each with its origin.
#[must_use]
pub fn describe(plan: &crate::job::Plan, settings: &Layer) -> String {
    use remuda_protocol::spec::Adapter;
    let spec = &plan.spec;
    let mut text = format!("job of {} in {} (project {})\n", spec.submitter, spec.tree.path, spec.project);
    for (number, group) in (0..).zip(&spec.groups) {
        let how = match &group.adapter {
            Adapter::Command { template } => match template {
                remuda_protocol::spec::Template::Argv(words) => crate::job::template::command_line(words),
                remuda_protocol::spec::Template::Shell(line) => format!("sh -c '{line}'"),
            },
            Adapter::Pytest { program, args, .. }
            | Adapter::Rspec { program, args, .. }
            | Adapter::CargoNextest { program, args }
            | Adapter::CargoTest { program, args }
            | Adapter::GoTest { program, args } => {
                format!("{} {}", program.join(" "), crate::job::template::command_line(args))
            }
            Adapter::Batch(batch) => match &batch.command {
                remuda_protocol::spec::Template::Argv(words) => crate::job::template::command_line(words),
                remuda_protocol::spec::Template::Shell(line) => format!("sh -c '{line}'"),
            },
            Adapter::Abq { argv } => argv.join(" "),
        };
        let tasks = match plan.feeds.iter().find(|f| f.group == number).map(|f| &f.items) {
            Some(crate::job::Items::Known(items)) => format!("{} tasks", items.len()),
            Some(_) => "tasks as their items are read".to_owned(),
            None => "tasks found when it is collected".to_owned(),
        };
        let needs: Vec<&str> = group.needs.iter().map(|&n| spec.groups[n as usize].name.as_str()).collect();
        let needs = if needs.is_empty() { String::new() } else { format!(", needs {}", needs.join(", ")) };
        let kind = group.kind.word();
        text.push_str(&format!(
            "  {} ({kind}): {how}\n      {tasks}{needs}, retries {}, max losses {}\n",
            group.name, group.retries, group.max_losses
        ));
    }
    text.push_str("settings\n");
    for (name, value, origin) in settings.list() {
        text.push_str(&format!("  {name:<18} {value:<24} {origin}\n"));
    }
    text
}
