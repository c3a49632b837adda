//! The items of `remuda each`, one after the other and never all at once: lists of the command line, files, standard
//! input; combined, linked, split into columns or taken several at a time, as GNU parallel does. What a row looks like
//! in a task's id is `remuda_protocol::item`'s; submitting is `submit`'s.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use regex_lite::Regex;
use remuda_protocol::item;

use super::check_item;
use crate::error::Error;

/// Where items come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// The command line.
    Words(Vec<String>),
    /// A file.
    File(PathBuf),
    /// Standard input.
    Input,
}

/// One list of items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where they come from.
    pub from: From,
    /// Each goes with one of the list before, instead of with all of them.
    pub linked: bool,
}

/// What columns of an item are split at.
#[derive(Clone, Debug)]
pub enum Separator {
    /// This text.
    Text(String),
    /// Any blanks.
    Blanks,
    /// Whatever this matches.
    Pattern(Regex),
}

impl PartialEq for Separator {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Separator {}

impl Separator {
    /// Reads it as it was typed: text, a regular expression, `\s+` for blanks. A single character is text.
    ///
    /// # Errors
    /// It is empty, or no regular expression.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::Usage("--colsep needs a text that separates columns, such as `,` or `\\t`".into()));
        }
        if matches!(text, r"\s+" | " +" | r"\s*") {
            return Ok(Self::Blanks);
        }
        if text.chars().count() == 1 || !text.contains(|c| r"\[](){}*+?^$.|".contains(c)) {
            return Ok(Self::Text(text.to_owned()));
        }
        let pattern = Regex::new(text);
        pattern.map(Self::Pattern).map_err(|e| {
            Error::Usage(format!("--colsep `{text}` is no regular expression: {e}; `\\` before a sign makes it a text"))
        })
    }

    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Blanks => " +",
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }

    fn split(&self, text: &str) -> Vec<String> {
        let column = |c: &str| c.trim().to_owned();
        match self {
            Self::Text(separator) => text.split(separator.as_str()).map(column).collect(),
            Self::Blanks => text.split_whitespace().map(str::to_owned).collect(),
            Self::Pattern(pattern) => pattern.split(text).map(column).collect(),
        }
    }
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The lists; several are combined.
    pub sources: Vec<Source>,
    /// Items of files end with NUL.
    pub null: bool,
    /// Columns.
    pub split: Option<Separator>,
    /// Items taken at a time.
    pub per: usize,
    /// Numbers to leave out, ascending; every other item keeps its own number then.
    pub done: Option<Arc<[u32]>>,
}

type Values = Box<dyn Iterator<Item = Result<String, Error>> + Send>;
type Tuples = Box<dyn Iterator<Item = Result<Vec<String>, Error>> + Send>;

impl Rows {
    /// Whether an item has columns.
    #[must_use]
    pub fn has_columns(&self) -> bool {
        self.sources.len() > 1 || self.split.is_some() || self.per > 1
    }

    /// Whether standard input is one of the lists.
    #[must_use]
    pub fn reads_input(&self) -> bool {
        self.sources.iter().any(|s| s.from == From::Input)
    }

    /// The ids of the tasks, in order. All but the first list (with what is linked to it) is read at once.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn ids(&self) -> Result<impl Iterator<Item = Result<String, Error>> + Send + use<>, Error> {
        let (row, split, done) = (self.has_columns(), self.split.clone(), self.done.clone());
        let ids = self.grouped()?.zip(1_u64..).filter_map(move |(columns, number)| {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if done.as_ref().is_some_and(|done| done.binary_search(&number).is_ok()) {
                return None;
            }
            let mut columns = match columns {
                Ok(columns) => columns,
                Err(error) => return Some(Err(error)),
            };
            if let Some(separator) = &split {
                columns = columns.iter().flat_map(|c| separator.split(c)).collect();
            }
            let id = if row { item::row(columns.iter().map(String::as_str)) } else { columns.swap_remove(0) };
            let id = if done.is_some() { item::numbered(number, &id) } else { id };
            Some(check_item(number.into(), &id).map(|()| id))
        });
        Ok(ids)
    }

    fn grouped(&self) -> Result<Tuples, Error> {
        let mut tuples = self.combined()?;
        let per = self.per.max(1);
        if per == 1 {
            return Ok(tuples);
        }
        Ok(Box::new(std::iter::from_fn(move || {
            let mut columns = Vec::with_capacity(per);
            for _ in 0..per {
                match tuples.next() {
                    Some(Ok(more)) => columns.extend(more),
                    Some(Err(error)) => return Some(Err(error)),
                    None => break,
                }
            }
            if columns.is_empty() { None } else { Some(Ok(columns)) }
        })))
    }

    /// Every combination of the blocks of linked lists, the last one changing first.
    fn combined(&self) -> Result<Tuples, Error> {
        let starts: Vec<usize> = (0..self.sources.len()).filter(|&i| i == 0 || !self.sources[i].linked).collect();
        let ends = starts[1..].iter().copied().chain([self.sources.len()]);
        let mut blocks: Vec<&[Source]> = starts.iter().zip(ends).map(|(&from, to)| &self.sources[from..to]).collect();
        let first = self.linked(blocks.remove(0))?;
        if blocks.is_empty() {
            return Ok(first);
        }
        let rest: Vec<Vec<Vec<String>>> =
            blocks.into_iter().map(|block| self.linked(block)?.collect()).collect::<Result<_, _>>()?;
        let rest = Arc::new(rest);
        Ok(Box::new(first.flat_map(move |head| -> Tuples {
            match head {
                Ok(head) => Box::new(with_rest(head, rest.clone())),
                Err(error) => Box::new(std::iter::once(Err(error))),
            }
        })))
    }

    /// One item of each list at a time; the shortest ends it.
    fn linked(&self, sources: &[Source]) -> Result<Tuples, Error> {
        let mut lists: Vec<Values> = sources.iter().map(|s| self.values(&s.from)).collect::<Result<_, _>>()?;
        Ok(Box::new(std::iter::from_fn(move || lists.iter_mut().map(Iterator::next).collect::<Option<_>>().map(all))))
    }

    fn values(&self, from: &From) -> Result<Values, Error> {
        let end = if self.null { 0 } else { b'\n' };
        match from {
            From::Words(words) => Ok(Box::new(words.clone().into_iter().map(Ok))),
            From::Input => Ok(lines(BufReader::with_capacity(1 << 16, std::io::stdin()), end, "standard input".into())),
            From::File(path) => {
                let file = std::fs::File::open(path)
                    .map_err(|e| Error::Usage(format!("cannot read items from {}: {e}", path.display())))?;
                Ok(lines(BufReader::with_capacity(1 << 16, file), end, path.display().to_string()))
            }
        }
    }
}

fn all(values: Vec<Result<String, Error>>) -> Result<Vec<String>, Error> {
    values.into_iter().collect()
}

fn with_rest(
    head: Vec<String>,
    rest: Arc<Vec<Vec<Vec<String>>>>,
) -> impl Iterator<Item = Result<Vec<String>, Error>> + Send {
    let total: usize = rest.iter().map(Vec::len).product();
    (0..total).map(move |n| {
        let mut columns = head.clone();
        let mut below = total;
        for block in rest.iter() {
            below /= block.len();
            columns.extend(block[n / below % block.len()].iter().cloned());
        }
        Ok(columns)
    })
}

fn lines(mut input: impl BufRead + Send + 'static, end: u8, name: String) -> Values {
    let mut count = 0;
    Box::new(std::iter::from_fn(move || {
        let mut bytes = Vec::new();
        count += 1;
        match input.read_until(end, &mut bytes) {
            Ok(0) => None,
            Ok(_) => {
                if bytes.last() == Some(&end) {
                    bytes.pop();
                }
                Some(text(count, bytes))
            }
            Err(error) => Some(Err(Error::io(format!("read items from {name}"), error))),
        }
    }))
}

/// The bytes of an item as text that can be a task, or a part of one.
///
/// # Errors
/// They are not UTF-8, too many, or have a character that separates columns.
pub fn text(number: u64, bytes: Vec<u8>) -> Result<String, Error> {
    let refused = |bytes: &[u8], problem: &str| {
        let shown: String = bytes.escape_ascii().to_string().chars().take(60).collect();
        Error::Item { number, shown, problem: problem.into() }
    };
    match String::from_utf8(bytes) {
        Ok(text) if text.contains([item::COLUMN, item::NUMBER]) => {
            Err(refused(text.as_bytes(), "has the character U+001E or U+001F, which separates columns; take it out"))
        }
        Ok(text) => check_item(number, &text).map(|()| text),
        Err(error) => Err(refused(error.as_bytes(), "is not UTF-8, and names of tasks must be; rename it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remuda_protocol::item::Item;

    fn words(list: &str, linked: bool) -> Source {
        Source { from: From::Words(list.split(' ').map(str::to_owned).collect()), linked }
    }

    fn rows(sources: Vec<Source>) -> Rows {
        Rows { sources, null: false, split: None, per: 1, done: None }
    }

    fn shown(rows: &Rows) -> Vec<String> {
        rows.ids().unwrap().map(|id| Item::new(&id.unwrap(), 0).columns.join("|")).collect()
    }

    #[test]
    fn lists_are_combined_the_last_one_changing_first() {
        let two = rows(vec![words("a b", false), words("1 2 3", false)]);
        assert_eq!(shown(&two), ["a|1", "a|2", "a|3", "b|1", "b|2", "b|3"]);
    }

    #[test]
    fn linked_lists_go_in_step_and_the_shortest_ends_them() {
        let linked = rows(vec![words("1 2 3", false), words("a b", true), words("x y", false)]);
        assert_eq!(shown(&linked), ["1|a|x", "1|a|y", "2|b|x", "2|b|y"]);
    }

    #[test]
    fn columns_are_split_and_trimmed() {
        let lines = Source { from: From::Words(vec!["a, b c".into(), "d".into()]), linked: false };
        let split = Rows { split: Some(Separator::parse(",").unwrap()), ..rows(vec![lines]) };
        assert_eq!(shown(&split), ["a|b c", "d"]);
        let blanks = Rows { split: Some(Separator::parse(r"\s+").unwrap()), ..split };
        assert_eq!(shown(&blanks), ["a,|b|c", "d"]);
        let columns = |separator: &str, text: &str| Separator::parse(separator).unwrap().split(text);
        assert_eq!(columns(r"\t", "a\tb c\t"), ["a", "b c", ""]);
        assert_eq!((columns(r"\|", "a|b"), columns("|", "a|b")), (columns(",", "a,b"), columns("-", "a-b")));
        assert_eq!(columns("[,;] *|::", "a, b;c::d"), ["a", "b", "c", "d"]);
        let error = Separator::parse("(,").unwrap_err().to_string();
        assert!(error.starts_with("--colsep `(,` is no regular expression: "), "{error}");
        assert!(Separator::parse("").is_err());
    }

    #[test]
    fn several_items_are_taken_at_a_time_and_the_rest_too() {
        let pairs = Rows { per: 2, ..rows(vec![words("a b c", false)]) };
        assert_eq!(shown(&pairs), ["a|b", "c"]);
        assert!(pairs.has_columns());
    }

    #[test]
    fn what_is_done_is_left_out_and_the_rest_keeps_its_numbers() {
        let resumed = Rows { done: Some([1, 3].into()), ..rows(vec![words("a b c d", false)]) };
        let ids: Vec<String> = resumed.ids().unwrap().map(Result::unwrap).collect();
        let numbers: Vec<_> = ids.iter().map(|id| Item::new(id, 0)).map(|i| (i.number, i.shown())).collect();
        assert_eq!(numbers, [(2, "b".into()), (4, "d".into())]);
    }

    #[test]
    fn files_are_read_by_line_or_by_nul() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("items");
        std::fs::write(&path, "one\ntwo 2\n\nlast").unwrap();
        let file = rows(vec![Source { from: From::File(path.clone()), linked: false }]);
        assert_eq!(shown(&file), ["one", "two 2", "", "last"]);
        std::fs::write(&path, "a\nb\0c\0").unwrap();
        assert_eq!(shown(&Rows { null: true, ..file }), ["a\nb", "c"]);
        let missing = rows(vec![Source { from: From::File(dir.path().join("none")), linked: false }]);
        assert!(missing.ids().err().unwrap().to_string().contains("none"));
    }

    #[test]
    fn what_cannot_be_a_task_is_refused_by_number() {
        assert!(text(3, b"a\x1fb".to_vec()).unwrap_err().to_string().starts_with("item 3 (a\\x1fb) has the character"));
        assert!(text(4, b"\xff".to_vec()).unwrap_err().to_string().contains("not UTF-8"));
    }
}
