//! Jobs without `remuda.toml`: `remuda run -- CMD` and `remuda each`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use remuda_protocol::item;
use remuda_protocol::spec::{Adapter, GroupKind, Template};

use super::rows::{self, From, Rows, Separator, Source};
use super::{Draft, Items, frameworks, pytest, rspec, template};
use crate::config::file::GroupSettings;
use crate::config::layers::{Chosen, Layer, Origin};
use crate::config::values::CommandText;
use crate::error::Error;

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
    /// The framework only tells something about itself.
    pub only_tells: bool,
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
        return Ok(Adhoc { draft, flags: Layer::default(), verbosity: 0, live: false, only_tells: false, note: None });
    }
    if let Some(called) = frameworks::recognise(&words) {
        return of_framework(called, selection);
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
        let only_tells = pytest::recognise(&words).is_some() || rspec::recognise(&words).is_some();
        return Ok(Adhoc { draft, flags: Layer::default(), verbosity: 0, live: false, only_tells, note });
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
    Ok(Adhoc { draft, flags, verbosity: known.verbosity, live: known.live, only_tells: false, note: None })
}

fn of_framework(called: frameworks::Called, selection: &[String]) -> Result<Adhoc, Error> {
    if let Some(flag) = selection.first() {
        return Err(Error::Usage(format!(
            "{flag} is pytest's, and {} chooses tests in its own way; write its filters after the dashes",
            called.name
        )));
    }
    let flags = Layer {
        slots: typed(called.slots),
        retries: typed(called.retries),
        maxfail: typed(called.maxfail),
        ..Layer::default()
    };
    let draft = draft(called.name.into(), called.adapter, Items::Collected);
    Ok(Adhoc { draft, flags, verbosity: called.verbosity, live: false, only_tells: false, note: None })
}

fn typed<T>(value: Option<T>) -> Option<Chosen<T>> {
    value.map(|value| Chosen { value, origin: Origin::Flag })
}

/// What stands before the items of `remuda each`, and how they are read.
#[derive(Clone, Debug, Default)]
pub struct EachInput<'a> {
    /// The command, and the lists after it.
    pub words: &'a [OsString],
    /// Items end with NUL.
    pub null: bool,
    /// Files of items, before the lists of the command line.
    pub files: &'a [PathBuf],
    /// Columns are split at this.
    pub colsep: Option<&'a str>,
    /// Items taken at a time.
    pub per: usize,
    /// The tasks are numbered as their items come: not the slowest first.
    pub ordered: bool,
    /// Numbers that an earlier run has done.
    pub done: Option<Arc<[u32]>>,
}

/// The job of `remuda each`.
///
/// # Errors
/// A word is not UTF-8, an item is too long, or there is nothing to run.
pub fn each(input: EachInput<'_>) -> Result<Draft, Error> {
    let at = input.words.iter().position(|w| list_of(w).is_some()).unwrap_or(input.words.len());
    let line = utf8(&input.words[..at])?.join(" ");
    let line = if line.trim().is_empty() { item::EVAL.to_owned() } else { template::with_place(&line) };
    let mut sources: Vec<Source> = input.files.iter().map(|path| Source { from: file(path), linked: false }).collect();
    sources.extend(lists(&input.words[at..])?);
    if sources.is_empty() {
        sources.push(Source { from: From::Input, linked: false });
    }
    if sources.iter().filter(|s| s.from == From::Input).count() > 1 {
        return Err(Error::Usage("standard input can be only one of the lists of items".into()));
    }
    let rows = Rows {
        split: input.colsep.map(Separator::parse).transpose()?,
        sources,
        null: input.null,
        per: input.per.max(1),
        done: input.done,
    };
    if rows.per > 1 && (rows.sources.len() > 1 || rows.split.is_some()) {
        return Err(Error::Usage("-N takes items of one list; leave out --colsep and the other lists".into()));
    }
    // a row's columns are words of their own, which only a shell line can hold; so is the item that is a command
    let template = match template::template(&CommandText::Line(line.clone())) {
        Template::Argv(_) if rows.has_columns() || line == item::EVAL => Template::Shell(line.clone()),
        template => template,
    };
    let ordered = input.ordered || rows.done.is_some() || line.contains("{#}") || line.contains("{index}");
    let items = match &rows.sources[..] {
        [Source { from: From::Words(words), .. }] if !ordered && !rows.has_columns() => Items::Known(words.clone()),
        _ => Items::Rows(rows),
    };
    Ok(draft("each".into(), Adapter::Command { template }, items))
}

/// Whether a word begins a list: of files or of items, linked to the one before it or not.
fn list_of(word: &OsString) -> Option<(bool, bool)> {
    match word.to_str()? {
        ":::" => Some((false, false)),
        ":::+" => Some((false, true)),
        "::::" => Some((true, false)),
        "::::+" => Some((true, true)),
        _ => None,
    }
}

fn file(path: &Path) -> From {
    if path.as_os_str() == "-" { From::Input } else { From::File(path.to_owned()) }
}

/// The lists behind the command.
fn lists(words: &[OsString]) -> Result<Vec<Source>, Error> {
    let mut sources: Vec<Source> = Vec::new();
    let mut at = 0;
    while let Some((files, linked)) = words.get(at).and_then(list_of) {
        let name = words[at].to_string_lossy().into_owned();
        let rest = &words[at + 1..];
        let list = &rest[..rest.iter().position(|w| list_of(w).is_some()).unwrap_or(rest.len())];
        if list.is_empty() {
            return Err(Error::Nothing(format!("there is no item after `{name}`")));
        }
        if linked && sources.is_empty() {
            return Err(Error::Usage(format!("`{name}` links to the list before it, and there is none; write `:::`")));
        }
        if files {
            sources.extend(list.iter().map(|path| Source { from: file(Path::new(path)), linked }));
        } else {
            let numbered = list.iter().zip(1_u64..);
            let items: Vec<String> =
                numbered.map(|(w, n)| rows::text(n, w.as_encoded_bytes().to_vec())).collect::<Result<_, _>>()?;
            sources.push(Source { from: From::Words(items), linked });
        }
        at += 1 + list.len();
    }
    Ok(sources)
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
