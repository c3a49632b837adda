//! Groups of `remuda.toml` whose adapter has a bridge: the frameworks beside pytest, and the `batch` template. What
//! they become in a job is `job`'s.

use remuda_protocol::spec::Adapter;

use super::ConfigError;
use super::file::{What, required, value};
use super::reader::Table;
use super::values::CommandText;

/// The adapters that are read here.
pub(super) const KNOWN: [&str; 4] = ["cargo-nextest", "cargo-test", "go-test", "batch"];

/// A group that takes ids on its command line and leaves a report.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchGroup {
    /// Prints the ids.
    pub list: Option<CommandText>,
    /// Ids that are known.
    pub items: Vec<String>,
    /// Globs of files that are ids.
    pub files: Vec<String>,
    /// Runs some of them.
    pub command: CommandText,
    /// How an id is made of what a report says.
    pub id: Option<String>,
    /// Most ids of one process, 0 for no limit.
    pub most: u32,
}

/// Reads one, if it is of these.
pub(super) fn read(adapter: &str, table: &mut Table<'_>, line: usize) -> Result<Option<What>, ConfigError> {
    Ok(Some(match adapter {
        "cargo-nextest" => {
            let (program, args) = called(table, "cargo nextest")?;
            What::Framework(Adapter::CargoNextest { program, args })
        }
        "cargo-test" => {
            let (program, args) = called(table, "cargo test")?;
            What::Framework(Adapter::CargoTest { program, args })
        }
        "go-test" => {
            let (program, args) = called(table, "go test")?;
            What::Framework(Adapter::GoTest { program, args })
        }
        "batch" => What::Batch(batch(table, line)?),
        _ => return Ok(None),
    }))
}

/// The words that start a framework, and its arguments.
fn called(table: &mut Table<'_>, usual: &str) -> Result<(Vec<String>, Vec<String>), ConfigError> {
    let program = value(table.take::<CommandText>("program")?).unwrap_or_else(|| CommandText::Line(usual.to_owned()));
    Ok((program.words(), value(table.take("args")?).unwrap_or_default()))
}

fn batch(table: &mut Table<'_>, line: usize) -> Result<BatchGroup, ConfigError> {
    let group = BatchGroup {
        list: value(table.take("list")?),
        items: value(table.take("items")?).unwrap_or_default(),
        files: value(table.take("files")?).unwrap_or_default(),
        command: required(table, line, "command")?,
        id: value(table.take("id")?),
        most: value(table.take("most")?).unwrap_or(0),
    };
    if group.list.is_none() && group.items.is_empty() && group.files.is_empty() {
        let problem = "is missing: where do the tests come from? `list` is a command that prints one id a line, `files` are globs, `items` are ids";
        return Err(table.value_error("list", line, problem.into()));
    }
    let text = group.command.words().join(" ");
    if !["{items}", "{items:", "{items_file}", "{items_regex}"].iter().any(|place| text.contains(place)) {
        let problem =
            "has no place for the ids: {items} (words), {items:SEP} (one word), {items_regex} or {items_file}";
        return Err(table.value_error("command", line, problem.into()));
    }
    if !["{junit}", "{junit_dir}", "{json}"].iter().any(|place| text.contains(place)) {
        let problem = "has no place for the report: {junit} (a file), {junit_dir} (a folder of them) or {json}";
        return Err(table.value_error("command", line, problem.into()));
    }
    Ok(group)
}
