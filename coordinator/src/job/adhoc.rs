//! Jobs without `remuda.toml`: `remuda run -- CMD` and `remuda each`.

use std::ffi::OsString;

use remuda_protocol::spec::{Adapter, GroupKind};

use super::{Draft, Items, check_item, pytest, rspec, template};
use crate::config::file::GroupSettings;
use crate::config::layers::{Chosen, Layer, Origin};
use crate::config::values::CommandText;
use crate::error::Error;

/// What separates the command of `each` from its items.
const SEPARATOR: &str = ":::";

/// What a command line becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Adhoc {
    /// Its one group.
    pub draft: Draft,
    /// Settings that the framework's own flags stand for.
    pub flags: Layer,
    /// `-v` less `-q` of the framework.
    pub verbosity: i32,
    /// The framework shall not capture output.
    pub live: bool,
    /// What the user should know.
    pub note: Option<String>,
}

/// Narrows every suite among `drafts` to `selection`, arguments of its framework.
///
/// # Errors
/// There is a selection, and no suite that it could go to.
pub fn narrow(drafts: &mut [Draft], selection: &[String]) -> Result<(), Error> {
    let Some(flag) = selection.first() else { return Ok(()) };
    let mut suites = 0;
    for draft in drafts {
        if let Adapter::Pytest { args, .. } = &mut draft.adapter {
            args.splice(0..0, selection.iter().cloned());
            suites += 1;
        } else if let Adapter::Rspec { args, .. } = &mut draft.adapter {
            args.splice(0..0, rspec::selection(selection));
            suites += 1;
        }
    }
    if suites == 0 {
        return Err(Error::Usage(format!(
            "{flag} selects among the tests of a framework, and no group here has one; leave {flag} out"
        )));
    }
    Ok(())
}

/// The job of `remuda run -- CMD`. `selection`: arguments for the framework from our side of the dashes.
///
/// # Errors
/// A word is not UTF-8, or a flag does not go with the command.
pub fn command(words: &[OsString], selection: &[String]) -> Result<Adhoc, Error> {
    let words = utf8(words)?;
    if let Some(called) = rspec::recognise(&words).filter(|called| !rspec::only_tells(&called.args)) {
        let args = rspec::selection(selection).into_iter().chain(called.args).collect();
        let draft = draft("rspec".into(), rspec::adapter(called.program, args), Items::Collected);
        return Ok(Adhoc { draft, flags: Layer::default(), verbosity: 0, live: false, note: None });
    }
    // what only tells about pytest is one plain command
    let Some(called) = pytest::recognise(&words).filter(|called| !pytest::only_tells(&called.args)) else {
        if let Some(flag) = selection.first() {
            return Err(Error::Usage(format!(
                "{flag} goes with a test framework, and `{}` is run as one plain command; leave {flag} out",
                words[0]
            )));
        }
        let hidden = words
            .iter()
            .position(|w| ["pytest", "py.test", "rspec"].contains(&w.as_str()))
            .filter(|&at| at > 0 && words[at - 1] != "-m" && rspec::recognise(&words).is_none());
        let note = hidden.map(|at| {
            let (before, rest) = words.split_at(at);
            format!(
                "this runs as one task; for test by test: {} remuda run -- {}",
                template::command_line(before),
                template::command_line(rest)
            )
        });
        let adapter = Adapter::Command { template: template::literal(&words) };
        let items = Items::Known(vec![template::command_line(&words)]);
        let draft = draft(group_name(&words[0]), adapter, items);
        return Ok(Adhoc { draft, flags: Layer::default(), verbosity: 0, live: false, note });
    };
    let known = pytest::known(&called.args);
    let mut args = called.args;
    args.splice(0..0, selection.iter().cloned());
    let flags = Layer {
        slots: typed(known.slots),
        maxfail: typed(known.maxfail),
        group_by: typed(known.group_by),
        timeout: typed(known.timeout),
        ..Layer::default()
    };
    let draft = draft("pytest".into(), super::pytest_adapter(called.program, args, None, None), Items::Collected);
    Ok(Adhoc { draft, flags, verbosity: known.verbosity, live: known.live, note: None })
}

fn typed<T>(value: Option<T>) -> Option<Chosen<T>> {
    value.map(|value| Chosen { value, origin: Origin::Flag })
}

/// The job of `remuda each`.
///
/// # Errors
/// A word is not UTF-8, or an item is too long.
pub fn each(words: &[OsString], null: bool) -> Result<Draft, Error> {
    let at = words.iter().position(|w| w == SEPARATOR);
    let (command, items) = match at {
        Some(at) => (&words[..at], Some(&words[at + 1..])),
        None => (words, None),
    };
    let line = utf8(command)?.join(" ");
    if line.trim().is_empty() {
        return Err(Error::Usage(format!(
            "there is no command before `{SEPARATOR}`; write remuda each 'CMD {{}}' {SEPARATOR} ITEM…"
        )));
    }
    let template = template::template(&CommandText::Line(template::with_place(&line)));
    let items = match items {
        Some([]) => return Err(Error::Nothing(format!("there is no item after `{SEPARATOR}`"))),
        Some(items) if items.iter().any(|w| w == SEPARATOR) => {
            return Err(Error::Usage(format!("only one list of items can be given with `{SEPARATOR}`")));
        }
        Some(items) => Items::Known(
            items
                .iter()
                .enumerate()
                .map(|(i, w)| item(i as u64 + 1, w.as_encoded_bytes()))
                .collect::<Result<_, _>>()?,
        ),
        None => Items::Input { null },
    };
    Ok(draft("each".into(), Adapter::Command { template }, items))
}

/// The bytes of an item as a task.
///
/// # Errors
/// They are not UTF-8, or too many.
pub fn item(number: u64, bytes: &[u8]) -> Result<String, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => check_item(number, text).map(|()| text.to_owned()),
        Err(_) => {
            let shown: String = bytes.escape_ascii().to_string().chars().take(60).collect();
            Err(Error::Item { number, shown, problem: "is not UTF-8, and names of tasks must be; rename it".into() })
        }
    }
}

fn utf8(words: &[OsString]) -> Result<Vec<String>, Error> {
    words
        .iter()
        .map(|word| {
            let refused = || {
                Error::Usage(format!(
                    "the word {} of the command is not UTF-8; rename the file, or put the command into a script",
                    word.as_encoded_bytes().escape_ascii()
                ))
            };
            word.to_str().map(str::to_owned).ok_or_else(refused)
        })
        .collect()
}

fn group_name(program: &str) -> String {
    let base = program.rsplit('/').next().unwrap_or(program);
    let name: String =
        base.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    if name.is_empty() { "command".into() } else { name }
}

fn draft(name: String, adapter: Adapter, items: Items) -> Draft {
    Draft { name, kind: GroupKind::Tests, adapter, needs: Vec::new(), settings: GroupSettings::default(), items }
}
