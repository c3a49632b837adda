//! What shall be done: `remuda.toml`, the user's file, variables and flags, merged; every mistake with its file, line
//! and nearest known key. Reads files and variables; starts nothing.

pub mod file;
pub mod frameworks;
pub mod layers;
pub mod limits;
pub mod mistakes;
pub mod reader;
pub mod values;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use file::{GroupConfig, Pool, ProjectFile, What};
pub use layers::Layer;

use reader::{Source, Table};

/// The name of the project's file.
pub const FILE: &str = "remuda.toml";

/// A key in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The file.
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// The key.
    pub key: String,
    /// Its table, such as `[groups.web]`; empty for the document.
    pub table: String,
}

impl Spot {
    fn place(&self) -> String {
        format!("{}:{}", self.path.display(), self.line)
    }
}

impl std::fmt::Display for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let within = if self.table.is_empty() { "" } else { " in " };
        write!(f, "`{}`{within}{}", self.key, self.table)
    }
}

/// A setting or file that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// More than one.
    #[error("{}", mistakes::told(.0))]
    Several(Vec<ConfigError>),
    /// A file exists and cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not TOML.
    #[error("{path}:{line}: not TOML: {problem}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The parser's words.
        problem: String,
    },
    /// A key that nobody knows.
    #[error("{}: unknown key {at}", at.place())]
    UnknownKey {
        /// Which.
        at: Box<Spot>,
        /// What was probably meant.
        nearest: Option<String>,
        /// The known ones.
        known: String,
    },
    /// A key that this version does not carry out.
    #[error("{}: {at} is not carried out by this version", at.place())]
    NotYet {
        /// Which.
        at: Box<Spot>,
    },
    /// A value of the wrong type.
    #[error("{}: {at} is {article} {found}, expected {expected}", at.place(), article = article(found))]
    WrongType {
        /// Which.
        at: Box<Spot>,
        /// What it should be.
        expected: &'static str,
        /// The TOML type that is there.
        found: &'static str,
    },
    /// A value that cannot be.
    #[error("{}: {at}: {problem}", at.place())]
    Value {
        /// Which.
        at: Box<Spot>,
        /// What is wrong.
        problem: String,
    },
    /// A variable that cannot be.
    #[error("{name}: {problem}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A need or argument that names no group.
    #[error("{whence}: there is no group `{name}`")]
    UnknownGroup {
        /// Where it is named.
        whence: String,
        /// The name.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
        /// Those that exist.
        known: String,
    },
    /// Groups that wait for each other.
    #[error("{path}:{line}: groups need each other in a circle: {circle}", path = path.display())]
    Cycle {
        /// The file.
        path: PathBuf,
        /// The line of the circle's first group.
        line: usize,
        /// `a -> b -> a`.
        circle: String,
    },
    /// Groups were asked for and there is no file.
    #[error("no {FILE} in {folder} or above it, so there is no group `{group}`", folder = folder.display())]
    NoFile {
        /// Where the search began.
        folder: PathBuf,
        /// The first group asked for.
        group: String,
    },
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

impl ConfigError {
    /// Where it stands in its file; 0: nowhere.
    #[must_use]
    pub fn line(&self) -> usize {
        match self {
            Self::UnknownKey { at, .. } | Self::NotYet { at } | Self::WrongType { at, .. } | Self::Value { at, .. } => {
                at.line
            }
            Self::Syntax { line, .. } | Self::Cycle { line, .. } => *line,
            _ => 0,
        }
    }

    /// How to repair it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { nearest: Some(nearest), .. } => Some(format!("the nearest known key is `{nearest}`")),
            Self::UnknownKey { known, .. } => Some(format!("known here: {known}")),
            Self::UnknownGroup { nearest: Some(nearest), .. } => Some(format!("the nearest group is `{nearest}`")),
            Self::UnknownGroup { known, .. } if known.is_empty() => {
                Some("the file defines no group; add [groups.NAME]".into())
            }
            Self::UnknownGroup { known, .. } => Some(format!("groups: {known}")),
            Self::NoFile { .. } => Some("to run a command, write `remuda run -- CMD`".into()),
            Self::NotYet { .. } => Some("leave it out".into()),
            Self::Cycle { .. } => Some("take one of these needs away".into()),
            _ => None,
        }
    }
}

/// Everything that files say about a run in some folder.
#[derive(Debug, Default)]
pub struct Files {
    /// The project's file, if there is one.
    pub project: Option<ProjectFile>,
    /// The user's settings.
    pub user: Layer,
}

/// Reads the project's file (in `folder` or above it, up to the top of its repository) and the user's.
///
/// # Errors
/// One of them is wrong.
pub fn load(folder: &Path, user_file: Option<&Path>) -> Result<Files, ConfigError> {
    let project = match find(folder) {
        Some(path) => Source::read(&path)?.map(|source| ProjectFile::parse(&source)).transpose()?,
        None => None,
    };
    let user = match user_file.map(Source::read).transpose()?.flatten() {
        Some(source) => parse_user(&source)?,
        None => Layer::default(),
    };
    Ok(Files { project, user })
}

fn parse_user(source: &Source) -> Result<Layer, ConfigError> {
    let document = source.parse()?;
    let mut table = Table::new(source, String::new(), document.get_ref());
    let layer = Layer::from_table(source, &mut table)?;
    table.finish()?;
    Ok(layer)
}

fn find(folder: &Path) -> Option<PathBuf> {
    for dir in folder.ancestors() {
        let path = dir.join(FILE);
        if path.is_file() {
            return Some(path);
        }
        if dir.join(".git").exists() {
            return None; // another project's file may lie above
        }
    }
    None
}

/// The user's file: `$XDG_CONFIG_HOME/remuda/config.toml`.
#[must_use]
pub fn user_file(look: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let whole = |name| look(name).filter(|d| d.starts_with('/')).map(PathBuf::from);
    let base = whole("XDG_CONFIG_HOME").or_else(|| whole("HOME").map(|home| home.join(".config")))?;
    Some(base.join("remuda").join("config.toml"))
}
