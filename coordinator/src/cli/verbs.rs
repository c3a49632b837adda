//! The grammar of the verbs about jobs and farms that are there already (`run`, `each` and `worker` are the parent's).

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Outputs, Run};

/// A job that is there.
#[derive(Clone, Debug, Args)]
pub struct OfJob {
    /// Its id or any unique beginning of it; `latest`: your latest
    #[arg(value_name = "JOB", default_value = crate::farm::LATEST)]
    pub job: String,
}

/// Whoever leaves before the end writes no report of it: `submit` refuses these by name, and says who takes them.
fn hide_what_needs_an_end(arg: clap::Arg) -> clap::Arg {
    let names = [
        "junit",
        "events",
        "html",
        "json",
        "annotations",
        "status_level",
        "final_status_level",
        "durations",
        "queue_timeout",
        "owner_grace",
        "on_disconnect",
    ];
    let hidden = names.contains(&arg.get_id().as_str());
    if hidden { arg.hide(true) } else { arg }
}

/// `remuda submit`.
#[derive(Debug, Args)]
#[command(
    override_usage = "remuda submit [OPTIONS] [GROUP]... [-- CMD...]",
    mut_args(hide_what_needs_an_end),
    after_help = "Prints the job's id. It runs on without this program; workers start on the first tasks at once.\n\n\
                  Example:\n  job=$(remuda submit --redis redis://lab -- pytest tests)\n  remuda wait $job --junit report.xml"
)]
pub struct Submit {
    /// As for `run`.
    #[command(flatten)]
    pub run: Run,
}

/// `remuda attach`.
#[derive(Debug, Args)]
#[command(
    after_help = "Shows what has happened so far, then what happens, and ends with the job's exit code. A job whose\n\
                  coordinator has died is adopted; Ctrl-C leaves a job that is somebody else's or detached.\n\n\
                  Example:\n  remuda attach 4f1a -v"
)]
pub struct Attach {
    /// The job.
    #[command(flatten)]
    pub of: OfJob,
    /// What to write.
    #[command(flatten)]
    pub outputs: Outputs,
}

/// `remuda wait`.
#[derive(Debug, Args)]
#[command(after_help = "Says nothing until the end, then failures and the summary; ends with the job's exit code.\n\n\
                        Example:\n  remuda wait $job --junit report.xml --timeout 30m")]
pub struct Wait {
    /// The job.
    #[command(flatten)]
    pub of: OfJob,
    /// Stop waiting after this time with exit code 6; the job goes on
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<crate::config::values::Span>,
    /// Cancel the job, exit code 6, when no worker fits for so long
    #[arg(long, value_name = "TIME")]
    pub queue_timeout: Option<crate::config::values::Span>,
    /// What to write.
    #[command(flatten)]
    pub outputs: Outputs,
}

/// `remuda status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  remuda status           all jobs: whose, since when, how far, how long still\n  \
                        remuda status latest    one job: its groups, what runs where and holds what, what waits and why")]
pub struct Status {
    /// A job's id, any unique beginning of it, or `latest`; none: all jobs
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `remuda explain`.
#[derive(Debug, Args)]
#[command(after_help = "Says what became of a task, where it runs, or why it waits.\n\n\
                        Example:\n  remuda explain test_login --job 4f1a")]
pub struct Explain {
    /// The task's name, or any part of it that no other has
    #[arg(value_name = "TASK")]
    pub task: String,
    /// Its job
    #[arg(long, value_name = "JOB", default_value = crate::farm::LATEST)]
    pub job: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `remuda logs`.
#[derive(Debug, Args)]
#[command(after_help = "What passed keeps its output as far as the job's budget reaches; failures have it first.\n\n\
                        Examples:\n  remuda logs latest test_login    what one task printed\n  \
                        remuda logs -f --tag             everything, as it comes, each line with its task")]
pub struct Logs {
    /// The job: its id, any unique beginning of it, or `latest`
    #[arg(value_name = "JOB", default_value = crate::farm::LATEST)]
    pub job: String,
    /// Only this task: its name or any part of it that no other has
    #[arg(value_name = "TASK")]
    pub task: Option<String>,
    /// Go on as long as the job runs
    #[arg(short, long)]
    pub follow: bool,
    /// Each line with its task, instead of grouped under a heading
    #[arg(long)]
    pub tag: bool,
}

/// `remuda cancel`.
#[derive(Debug, Args)]
#[command(after_help = "What runs is killed on every worker within seconds; what waits is not begun.\n\n\
                        Examples:\n  remuda cancel 4f1a               a whole job\n  remuda cancel 4f1a test_login    one running task of it")]
pub struct Cancel {
    /// The job: its id or any unique beginning of it; `latest`: your latest
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Only this task: its name or any part of it that no other has
    #[arg(value_name = "TASK")]
    pub task: Option<String>,
}

/// `remuda retry`.
#[derive(Debug, Args)]
#[command(
    after_help = "Runs what did not pass once more, as a new job with the same settings, attached. Nothing to do is 0.\n\n\
                        Example:\n  remuda retry latest --junit again.xml"
)]
pub struct Retry {
    /// The job.
    #[command(flatten)]
    pub of: OfJob,
    /// Submit it and leave
    #[arg(long)]
    pub detach: bool,
    /// What to write.
    #[command(flatten)]
    pub outputs: Outputs,
}

/// `remuda report`.
#[derive(Debug, Args)]
#[command(after_help = "Tells an ended job again, from what the farm keeps of it (a day).\n\n\
                        Example:\n  remuda report 4f1a --junit report.xml")]
pub struct Report {
    /// The job.
    #[command(flatten)]
    pub of: OfJob,
    /// What to write.
    #[command(flatten)]
    pub outputs: Outputs,
    /// Write GNU parallel's table of the tasks
    #[arg(long, value_name = "FILE")]
    pub joblog: Option<PathBuf>,
}

/// `remuda workers`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  remuda workers                 who is there, with what, doing what\n  \
                  remuda workers drain lab7      let it end what it runs, and take no more\n  \
                  remuda workers resume --all")]
pub struct Workers {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub what: Option<WorkersVerb>,
}

/// What to do with workers.
#[derive(Debug, Subcommand)]
pub enum WorkersVerb {
    /// List them (the default)
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Let them end what they run and take no more
    Drain(Chosen),
    /// Let them take work again
    Resume(Chosen),
    /// Let them end what they run and leave the farm; dead ones are forgotten by themselves
    Remove(Chosen),
}

/// Workers chosen by name.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Chosen {
    /// Host names, or ids or unique beginnings of them
    #[arg(value_name = "WORKER")]
    pub workers: Vec<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

/// `remuda gc`.
#[derive(Debug, Args)]
#[command(
    after_help = "Workers do this by themselves once a job's time has come.\n\nExample:\n  remuda gc --all    free every job that has ended"
)]
pub struct Gc {
    /// Ended jobs to free: ids or unique beginnings of them; none: those whose time has come
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Every job that has ended
    #[arg(long, conflicts_with = "jobs")]
    pub all: bool,
}

/// `remuda doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Looks at Redis, versions, clocks, limits and frameworks, and at each setting and where it came from.\n\
                        Exit code 0: nothing is wrong; 3: something is.\n\nExample:\n  remuda doctor --redis redis://lab"
)]
pub struct Doctor {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `remuda config`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  remuda config check\n  remuda config schema > remuda.schema.json    for editors")]
pub struct Config {
    /// What to do.
    #[command(subcommand)]
    pub what: ConfigVerb,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Read remuda.toml and say what is wrong with it
    Check,
    /// Print the JSON Schema of remuda.toml
    Schema,
}

/// `remuda completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  remuda completions bash > ~/.local/share/bash-completion/completions/remuda")]
pub struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "bash|zsh|fish|elvish|powershell", hide_possible_values = true)]
    pub shell: clap_complete::Shell,
}

/// `remuda man`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  remuda man ~/.local/share/man/man1 && man remuda-run")]
pub struct Man {
    /// Folder for one page a verb
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}
