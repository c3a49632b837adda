//! Reads TOML tables key by key and remembers which keys were asked for, so that what is left over is unknown and
//! the nearest known key can be named. Knows nothing of what the keys mean.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::mistakes::Mistakes;
use super::values::Value;
use super::{ConfigError, Spot};

/// A file's text with its place.
#[derive(Debug)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

impl Source {
    /// Reads it; `None` if there is no such file.
    ///
    /// # Errors
    /// It exists and cannot be read, or is not UTF-8.
    pub fn read(path: &Path) -> Result<Option<Self>, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(Self { path: path.to_owned(), text })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }

    /// The line of an offset, from 1.
    #[must_use]
    pub fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count()
    }

    /// The whole document as a table.
    ///
    /// # Errors
    /// It is not TOML.
    pub fn parse(&self) -> Result<toml::Spanned<DeTable<'_>>, ConfigError> {
        DeTable::parse(&self.text).map_err(|error| {
            let line = error.span().map_or(1, |span| self.line(span.start));
            let twice = error.message().contains("duplicate key").then(|| self.twice(line)).flatten();
            let problem = twice.unwrap_or_else(|| error.message().trim().replace('\n', ", "));
            ConfigError::Syntax { path: self.path.clone(), line, problem }
        })
    }

    /// What stands in a line for the second time, and where it stood first; the parser says only that something does.
    fn twice(&self, line: usize) -> Option<String> {
        let plain = |text: &str| text.split('#').next().unwrap_or_default().replace([' ', '\t', '"', '\''], "");
        let before: Vec<String> = self.text.lines().take(line).map(plain).collect();
        let (this, before) = before.split_last()?;
        if this.starts_with('[') {
            let first = before.iter().position(|text| text == this)?;
            return Some(format!("{this} is there twice, first in line {}", first + 1));
        }
        let key = this.split_once('=')?.0;
        // the keys of one table stand below its header
        let top = before.iter().rposition(|text| text.starts_with('[')).map_or(0, |at| at + 1);
        let first = before[top..].iter().position(|text| text.split_once('=').is_some_and(|(k, _)| k == key))?;
        let table = top.checked_sub(1).map(|at| format!(" in {}", before[at])).unwrap_or_default();
        Some(format!("`{key}`{table} is there twice, first in line {}", top + first + 1))
    }
}

/// A value with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub line: usize,
}

/// One table being read.
pub struct Table<'a> {
    source: &'a Source,
    /// What it is called, such as `[groups.web]`; empty for the document.
    name: String,
    entries: Vec<(&'a str, usize, &'a toml::Spanned<DeValue<'a>>)>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// Begins to read.
    #[must_use]
    pub fn new(source: &'a Source, name: String, table: &'a DeTable<'a>) -> Self {
        let mut entries: Vec<_> = table.iter().map(|(k, v)| (k.get_ref().as_ref(), k.span().start, v)).collect();
        entries.sort_by_key(|entry| entry.1); // as written, not by name
        Self { source, name, entries, known: Vec::new() }
    }

    fn pull(&mut self, key: &'static str) -> Option<(usize, &'a toml::Spanned<DeValue<'a>>)> {
        self.known.push(key);
        let at = self.entries.iter().position(|entry| entry.0 == key)?;
        let (_, offset, value) = self.entries.remove(at);
        Some((self.source.line(offset), value))
    }

    /// Takes a key if it is there.
    ///
    /// # Errors
    /// It has the wrong type or value.
    pub fn take<T: Value>(&mut self, key: &'static str) -> Result<Option<Located<T>>, ConfigError> {
        let Some((line, value)) = self.pull(key) else { return Ok(None) };
        match T::from_toml(value.get_ref()) {
            Some(Ok(value)) => Ok(Some(Located { value, line })),
            Some(Err(problem)) => Err(self.value_error(key, line, problem)),
            None => Err(self.type_error(key, line, T::WHAT, value.get_ref())),
        }
    }

    /// Takes a table of tables in the order of the file: names, lines and contents.
    ///
    /// # Errors
    /// It is something else.
    pub fn take_tables(
        &mut self,
        key: &'static str,
        what: &'static str,
    ) -> Result<Vec<(&'a str, usize, Table<'a>)>, ConfigError> {
        let Some((line, value)) = self.pull(key) else { return Ok(Vec::new()) };
        let Some(table) = value.get_ref().as_table() else {
            return Err(self.type_error(key, line, what, value.get_ref()));
        };
        let outer = Table::new(self.source, String::new(), table);
        let mut tables = Vec::new();
        for (name, offset, value) in outer.entries {
            let line = self.source.line(offset);
            let Some(inner) = value.get_ref().as_table() else {
                return Err(self.type_error(&format!("{key}.{name}"), line, what, value.get_ref()));
            };
            tables.push((name, line, Table::new(self.source, format!("[{key}.{name}]"), inner)));
        }
        Ok(tables)
    }

    /// Takes a table of whole numbers, or a list of names that count 1 each.
    ///
    /// # Errors
    /// It is something else.
    pub fn take_counts(&mut self, key: &'static str) -> Result<Vec<(String, u32)>, ConfigError> {
        const WHAT: &str = "a table { POOL = 1 } or a list [\"POOL\"]";
        let Some((line, value)) = self.pull(key) else { return Ok(Vec::new()) };
        if let Some(Ok(names)) = Vec::<String>::from_toml(value.get_ref()) {
            return Ok(names.into_iter().map(|name| (name, 1)).collect());
        }
        let Some(table) = value.get_ref().as_table() else {
            return Err(self.type_error(key, line, WHAT, value.get_ref()));
        };
        let mut inner = Table::new(self.source, self.name.clone(), table);
        let mut counts = Vec::new();
        for (name, offset, value) in std::mem::take(&mut inner.entries) {
            match u32::from_toml(value.get_ref()) {
                Some(Ok(n)) if n > 0 => counts.push((name.to_owned(), n)),
                _ => {
                    return Err(self.type_error(
                        &format!("{key}.{name}"),
                        self.source.line(offset),
                        "a whole number from 1",
                        value.get_ref(),
                    ));
                }
            }
        }
        Ok(counts)
    }

    /// Refuses keys that have a meaning which this version does not carry out.
    ///
    /// # Errors
    /// One of them is there.
    pub fn not_yet(&mut self, keys: &[&'static str]) -> Result<(), ConfigError> {
        match self.entries.iter().find(|entry| keys.contains(&entry.0)) {
            Some(&(key, offset, _)) => Err(ConfigError::NotYet { at: self.spot(key, self.source.line(offset)) }),
            None => Ok(()),
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Keys were never asked for.
    pub fn finish(self) -> Result<(), ConfigError> {
        let mut mistakes = Mistakes::default();
        for &(key, offset, _) in &self.entries {
            mistakes.keep(Err(ConfigError::UnknownKey {
                at: self.spot(key, self.source.line(offset)),
                nearest: nearest(key, self.known.iter().copied()).map(str::to_owned),
                known: self.known.join(", "),
            }))
        }
        mistakes.end()
    }

    /// An error about a key that is not there: if another looks like it, that one is the mistake.
    #[must_use]
    pub fn missing(&self, key: &'static str, line: usize, problem: String) -> ConfigError {
        let meant = |entry: &&(&str, usize, _)| nearest(entry.0, [key].into_iter()).is_some();
        match self.entries.iter().find(meant) {
            Some(&(typed, offset, _)) => ConfigError::UnknownKey {
                at: self.spot(typed, self.source.line(offset)),
                nearest: Some(key.to_owned()),
                known: self.known.join(", "),
            },
            None => self.value_error(key, line, problem),
        }
    }

    /// An error about a value.
    #[must_use]
    pub fn value_error(&self, key: &str, line: usize, problem: String) -> ConfigError {
        ConfigError::Value { at: self.spot(key, line), problem }
    }

    fn spot(&self, key: &str, line: usize) -> Box<Spot> {
        Box::new(Spot { path: self.source.path.clone(), line, key: key.to_owned(), table: self.name.clone() })
    }

    fn type_error(&self, key: &str, line: usize, expected: &'static str, found: &DeValue<'_>) -> ConfigError {
        ConfigError::WrongType { at: self.spot(key, line), expected, found: found.type_str() }
    }
}

/// The known word that a mistyped one most likely meant.
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let limit = word.chars().count().max(3) / 3 + 1;
    known.map(|k| (distance(word, k), k)).filter(|(d, _)| *d <= limit).min_by_key(|(d, _)| *d).map(|(_, k)| k)
}

/// Edit distance in which a swap of neighbours, `-` for `_` and case count one or nothing.
fn distance(a: &str, b: &str) -> usize {
    let fold = |s: &str| s.to_lowercase().replace('-', "_").chars().collect::<Vec<_>>();
    let (a, b) = (fold(a), fold(b));
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_nonsense_is_not() {
        let known = ["retries", "timeout", "max_losses", "locks"];
        for (typed, meant) in
            [("retrys", "retries"), ("tiemout", "timeout"), ("max-losses", "max_losses"), ("lock", "locks")]
        {
            assert_eq!(nearest(typed, known.into_iter()), Some(meant));
        }
        assert_eq!(nearest("colour", known.into_iter()), None);
    }
}
