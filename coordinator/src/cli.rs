//! The grammar of the command line: what was typed, not yet what shall be done (`config` decides that).
//!
//! Only verbs that exist are here. Help must fit a screen and show an example.

mod outputs;
pub mod verbs;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::config::limits::{Halt, Limit};
use crate::config::values::{Slots, Span};
pub use outputs::{Annotations, Outputs, StatusLevel};

/// The program.
#[derive(Debug, Parser)]
#[command(
    name = "remuda",
    version,
    about = "Run any test suite over a herd of machines that share a Redis",
    after_help = "Examples:\n  remuda run -- pytest tests          the suite you have, test by test, on every core\n  \
                  remuda each -n 4 'gzip {}' ::: *.log   a command for each item\n  \
                  remuda --redis redis://lab run      the groups of remuda.toml on a farm"
)]
pub struct Cli {
    /// Settings of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Settings of every verb.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// Redis of the farm; none: an embedded one [env: REMUDA_REDIS_URL]
    #[arg(long, global = true, value_name = "URL", help_heading = "Everywhere")]
    pub redis: Option<String>,
    /// Workers and jobs that see each other [env: REMUDA_FARM]
    #[arg(long, global = true, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new(), help_heading = "Everywhere")]
    pub farm: Option<String>,
    /// Show passes too; -vv: output of passes, and what Remuda does
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Everywhere")]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the groups of remuda.toml, or the command after `--`
    Run(Run),
    /// Run a command once for each item, like GNU parallel
    Each(Each),
    /// Send a job to a farm and leave
    Submit(verbs::Submit),
    /// Watch a job that is there; adopt it if its coordinator has died
    Attach(verbs::Attach),
    /// Wait for a job's end
    Wait(verbs::Wait),
    /// What runs, what waits, how far it is
    Status(verbs::Status),
    /// Where a task is, and why
    Explain(verbs::Explain),
    /// What tasks printed
    Logs(verbs::Logs),
    /// End a job, or one task of it
    Cancel(verbs::Cancel),
    /// Run again what did not pass
    Retry(verbs::Retry),
    /// Reports of a job that has ended
    Report(verbs::Report),
    /// List workers, take them out of service and back
    Workers(verbs::Workers),
    /// Free what ended jobs left in Redis
    Gc(verbs::Gc),
    /// Lend this machine to a farm
    #[command(disable_help_flag = true)]
    Worker(Worker),
    /// Look for what is wrong here
    Doctor(verbs::Doctor),
    /// Check remuda.toml
    Config(verbs::Config),
    /// Completions for a shell
    Completions(verbs::Completions),
    /// Manual pages
    Man(verbs::Man),
}

/// `remuda run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  remuda run -- pytest -k fast tests   any pytest command, as you know it\n  \
                        remuda run web-tests                 a group of remuda.toml and what it needs\n  \
                        remuda run                           all of them; without the file: what would run")]
pub struct Run {
    /// Groups of remuda.toml, with what they need
    #[arg(value_name = "GROUP")]
    pub groups: Vec<String>,
    /// How to run.
    #[command(flatten)]
    pub flags: Flags,
    /// Only tests that match (the framework's own -k)
    #[arg(short = 'k', value_name = "EXPR")]
    pub keyword: Option<String>,
    /// Only what did not pass the last time
    #[arg(long)]
    pub last_failed: bool,
    /// Only tests with these marks (the framework's own -m)
    #[arg(short = 'm', value_name = "EXPR")]
    pub marks: Option<String>,
    /// A fresh fork for each test, or a warm runner for each slot
    #[arg(long, value_enum, value_name = "slot|test", hide_possible_values = true)]
    pub isolation: Option<IsolationArg>,
    /// Keep together on one slot
    #[arg(long, value_enum, value_name = "test|class|file", hide_possible_values = true)]
    pub group_by: Option<GroupByArg>,
    /// The command to run
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `remuda each`.
#[derive(Debug, Args)]
#[command(
    override_usage = "remuda each [OPTIONS] CMD [::: ITEM...]",
    after_help = "{} item, {.} {/} {//} {/.} parts, {1} {2} columns, {#} number, {%} slot; ::: list, :::+ linked,\n\
                        :::: file, else standard input. Example: ls *.png | remuda each -n 4 'convert {} {.}.jpg'"
)]
pub struct Each {
    /// How to run.
    #[command(flatten)]
    pub flags: Flags,
    /// How items become tasks, and what becomes of their output.
    #[command(flatten)]
    pub items: ItemFlags,
    /// The command, then `:::` and the items
    #[arg(trailing_var_arg = true, value_name = "CMD", hide = true)]
    pub words: Vec<OsString>,
}

/// What only `each` has, with GNU parallel's names.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "As in GNU parallel")]
pub struct ItemFlags {
    /// Items end with NUL, not newline
    #[arg(short = '0', long)]
    pub null: bool,
    /// Items are the lines of this file; - is standard input
    #[arg(short = 'a', long = "arg-file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Split items into columns at this text or pattern
    #[arg(short = 'C', long, value_name = "SEP")]
    pub colsep: Option<String>,
    /// So many items for each command
    #[arg(short = 'N', long = "max-replace-args", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub per: Option<u16>,
    /// Output in the order of the items
    #[arg(short = 'k', long)]
    pub keep_order: bool,
    /// Each line of output behind its item and a tab
    #[arg(long)]
    pub tag: bool,
    /// Write a line for each task that ended
    #[arg(long, value_name = "FILE")]
    pub joblog: Option<PathBuf>,
    /// Leave out what the joblog has; --resume-failed: what succeeded
    #[arg(long, requires = "joblog")]
    pub resume: bool,
    /// Leave out what has succeeded in the joblog
    #[arg(long, requires = "joblog", conflicts_with = "resume", hide = true)]
    pub resume_failed: bool,
    /// Stop after failures: now|soon,fail=N|N%
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["exitfirst", "maxfail"])]
    pub halt: Option<Halt>,
    /// Output into files DIR/1/ITEM/stdout and stderr
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
    /// On a farm: print the job's id and leave, as `submit` does
    #[arg(long, conflicts_with_all = ["joblog", "results"])]
    pub detach: bool,
}

/// `remuda worker`: everything after it is `remuda-worker`'s.
#[derive(Debug, Args)]
pub struct Worker {
    /// Arguments of remuda-worker
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    pub args: Vec<OsString>,
}

/// What `run` and `each` share.
#[derive(Clone, Debug, Default, Args)]
pub struct Flags {
    /// Places to run at once, or auto [default: auto]
    #[arg(short = 'n', long, short_alias = 'j', alias = "jobs", value_name = "N|auto")]
    pub slots: Option<Slots>,
    /// Try a failed test again so often [default: 0]
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// Forgive a test so many dead workers [default: 1]
    #[arg(long, value_name = "N")]
    pub max_losses: Option<u32>,
    /// Kill a test after 90s, 5m; each: or 200% of the median
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Limit>,
    /// End the whole run after this time
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<Span>,
    /// Stop at the first failure
    #[arg(short = 'x', long)]
    pub exitfirst: bool,
    /// Stop after N failures
    #[arg(long, value_name = "N", conflicts_with = "exitfirst")]
    pub maxfail: Option<u32>,
    /// What to write.
    #[command(flatten)]
    pub outputs: Outputs,
    /// Pass this variable on
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Only workers with this label
    #[arg(long, value_name = "NAME")]
    pub label: Vec<String>,
    /// Served before jobs of lower priority [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub priority: Option<i32>,
    /// How long runs outlive this program [default: 24h; farm: 2m]
    #[arg(long, value_name = "TIME")]
    pub owner_grace: Option<Span>,
    /// The run, when this program is gone [default: cancel]
    #[arg(long, value_enum, value_name = "cancel|detach", hide_possible_values = true)]
    pub on_disconnect: Option<OnDisconnect>,
    /// Give up when no worker fits for so long [default: 5m]
    #[arg(long, value_name = "TIME")]
    pub queue_timeout: Option<Span>,
    /// Say what would run, and where each setting comes from
    #[arg(long)]
    pub dry_run: bool,
}

/// `--isolation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IsolationArg {
    /// A warm runner for each slot
    Slot,
    /// A fresh fork for each test
    Test,
}

/// `--group-by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GroupByArg {
    /// Nothing
    Test,
    /// The tests of a class
    Class,
    /// The tests of a file
    File,
}

/// `--on-disconnect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnDisconnect {
    /// The run is cancelled
    Cancel,
    /// The run goes on
    Detach,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_a_screen_and_shows_an_example() {
        for verb in ["", "run", "each"] {
            let mut command = Cli::command();
            let command = if verb.is_empty() { &mut command } else { command.find_subcommand_mut(verb).unwrap() };
            let help = command.clone().term_width(100).render_help().to_string();
            assert!(help.lines().count() <= 50, "{verb}: {} lines", help.lines().count());
            assert!(help.contains("Example"), "{verb}");
        }
    }

    #[test]
    fn help_and_doctor_name_the_same_grace() {
        let mut command = Cli::command();
        let help = command.find_subcommand_mut("run").unwrap().render_help().to_string();
        assert!(help.contains("[default: 24h; farm: 2m]"), "{help}");
        let listed = crate::config::Layer::default().list();
        assert!(listed.iter().any(|(name, value, _)| *name == "owner_grace" && value == "24h; 2m on a farm"));
    }

    #[test]
    fn what_follows_the_dashes_is_the_command_untouched() {
        let cli =
            Cli::try_parse_from(["remuda", "run", "-n", "3", "web", "--", "pytest", "-x", "-v", "--", "-k"]).unwrap();
        let Verb::Run(run) = cli.verb else { panic!("not run") };
        assert_eq!(run.groups, ["web"]);
        assert_eq!(run.command, ["pytest", "-x", "-v", "--", "-k"]);
        assert_eq!(cli.global.verbose, 0);
    }

    #[test]
    fn flags_of_each_end_where_its_command_begins() {
        let cli = Cli::try_parse_from(["remuda", "each", "-n", "4", "ls -l {}", ":::", "-a", "b"]).unwrap();
        let Verb::Each(each) = cli.verb else { panic!("not each") };
        assert_eq!(each.flags.slots, Some(Slots::Count(4)));
        assert_eq!(each.words, ["ls -l {}", ":::", "-a", "b"]);
        let cli = Cli::try_parse_from(["remuda", "each", "-kn2", "ls", "-n2", ":::", "--tag"]).unwrap();
        let Verb::Each(each) = cli.verb else { panic!("not each") };
        assert_eq!((each.flags.slots, each.items.keep_order, each.items.tag), (Some(Slots::Count(2)), true, false));
        assert_eq!(each.words, ["ls", "-n2", ":::", "--tag"]);
    }
}
