//! Items and the placeholders of a command: what `{}` and its kin stand for, after GNU parallel's manner. The worker
//! fills templates with it, and reports the lines that they show. Pure; which items there are is the submitter's.
//!
//! A task's id is its item as it was given, or a *row*: columns that each end with U+001F (`a␟b␟`), for items that
//! were combined, split or grouped. U+001E behind digits at the front gives it a number other than the task's own
//! (`12␞a`), for a run that leaves out what an earlier one did. No item may have these two characters itself.

use crate::spec::Template;

/// Ends each column of a row.
pub const COLUMN: char = '\u{1f}';
/// Ends the number in front of an item.
pub const NUMBER: char = '\u{1e}';

/// Placeholders that do not name a column.
pub const PLACEHOLDERS: [&str; 9] = ["{}", "{item}", "{.}", "{/}", "{//}", "{/.}", "{#}", "{index}", "{%}"];

/// Runs each item as a command: what a template without any text of its own becomes.
pub const EVAL: &str = "eval {}";

/// The id of a row.
#[must_use]
pub fn row<'a>(columns: impl IntoIterator<Item = &'a str>) -> String {
    let mut id = String::new();
    for column in columns {
        id.push_str(column);
        id.push(COLUMN);
    }
    id
}

/// The id with a number of its own.
#[must_use]
pub fn numbered(number: u32, id: &str) -> String {
    format!("{number}{NUMBER}{id}")
}

/// An item, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its columns; one if it is no row.
    pub columns: Vec<&'a str>,
    /// Its number, from 1.
    pub number: u32,
    row: bool,
}

impl<'a> Item<'a> {
    /// The item of the task `index` (from 0) with this id.
    #[must_use]
    pub fn new(id: &'a str, index: u32) -> Self {
        let (number, rest) = match id.split_once(NUMBER) {
            Some((digits, rest)) => match digits.parse() {
                Ok(number) => (number, rest),
                Err(_) => (index + 1, id),
            },
            None => (index + 1, id),
        };
        match rest.strip_suffix(COLUMN) {
            Some(columns) => Self { columns: columns.split(COLUMN).collect(), number, row: true },
            None => Self { columns: vec![rest], number, row: false },
        }
    }

    /// For people and file names: the columns with a blank between them.
    #[must_use]
    pub fn shown(&self) -> String {
        self.columns.join(" ")
    }

    fn part(&self, column: Option<usize>, how: &str, quote: &dyn Fn(&str) -> String) -> String {
        let Some(n) = column else {
            return self.columns.iter().map(|c| quote(changed(c, how))).collect::<Vec<_>>().join(" ");
        };
        self.columns.get(n.wrapping_sub(1)).map_or_else(String::new, |c| quote(changed(c, how)))
    }

    /// The value of the placeholder at the beginning of `text`, and its length; `None` if there is none.
    fn at(&self, text: &str, slot: u32, quote: &dyn Fn(&str) -> String) -> Option<(String, usize)> {
        let end = text.find('}')?;
        let word = &text[1..end];
        let value = match word {
            "#" => self.number.to_string(),
            "index" => (self.number - 1).to_string(),
            "%" => (slot + 1).to_string(),
            "item" => self.part(None, "", quote),
            "" | "." | "/" | "//" | "/." => self.part(None, word, quote),
            _ => {
                let (last, word) = word.strip_prefix('-').map_or((false, word), |rest| (true, rest));
                let digits = word.bytes().take_while(u8::is_ascii_digit).count();
                let (n, how) = word.split_at(digits);
                let n: usize = n.parse().ok().filter(|n| *n > 0)?;
                // before the first column there is as little as behind the last
                let column = if last { (self.columns.len() + 1).saturating_sub(n) } else { n };
                // `{4}` of a regular expression stays where there is no fourth column to mean
                if !matches!(how, "" | "." | "/" | "//" | "/.") || (!self.row && column != 1) {
                    return None;
                }
                self.part(Some(column), how, quote)
            }
        };
        Some((value, end + 1))
    }
}

/// What a placeholder's sign makes of a value.
fn changed<'a>(value: &'a str, how: &str) -> &'a str {
    match how {
        "." => stem(value),
        "/" => base(value),
        "//" => folder(value),
        "/." => stem(base(value)),
        _ => value,
    }
}

fn base(value: &str) -> &str {
    value.rsplit('/').next().unwrap_or(value)
}

/// As `dirname` has it: slashes at the end are none of its last part.
fn folder(value: &str) -> &str {
    let plain = value.trim_end_matches('/');
    match plain.rfind('/') {
        Some(0) => "/",
        Some(at) => &plain[..at],
        None if plain.len() < value.len() && plain.is_empty() => "/",
        None => ".",
    }
}

/// Without the extension of its last part; a dot at its front begins none.
fn stem(value: &str) -> &str {
    let base = base(value);
    match base.rfind('.') {
        Some(dot) if dot > 0 => &value[..value.len() - (base.len() - dot)],
        _ => value,
    }
}

/// Fills the placeholders of a text. `slot`: the slot's number, from 0. A value is never filled again.
#[must_use]
pub fn fill(text: &str, item: &Item<'_>, slot: u32, quote: &dyn Fn(&str) -> String) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        match item.at(rest, slot, quote) {
            Some((value, len)) => {
                out.push_str(&value);
                rest = &rest[len..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

/// The words of a template for an item.
#[must_use]
pub fn argv(template: &Template, item: &Item<'_>, slot: u32) -> Vec<String> {
    match template {
        Template::Argv(words) => words.iter().map(|word| fill(word, item, slot, &str::to_owned)).collect(),
        Template::Shell(line) => vec!["/bin/sh".into(), "-c".into(), fill(line, item, slot, &quote)],
    }
}

/// The command of an item as one would type it.
#[must_use]
pub fn command(template: &Template, item: &Item<'_>, slot: u32) -> String {
    match template {
        Template::Argv(_) => argv(template, item, slot).iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "),
        Template::Shell(line) if line == EVAL => item.shown(),
        Template::Shell(line) => fill(line, item, slot, &quote),
    }
}

/// Whether a text has a place for the item.
#[must_use]
pub fn has_place(text: &str) -> bool {
    let probe = Item { columns: vec![""], number: 1, row: true };
    text.match_indices('{').any(|(at, _)| probe.at(&text[at..], 0, &str::to_owned).is_some())
}

/// One word for a POSIX shell, whatever is in it; quoted only if need be.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, id: &str) -> String {
        fill(text, &Item::new(id, 4), 1, &quote)
    }

    #[test]
    fn placeholders_are_filled_as_gnu_parallel_does() {
        assert_eq!(
            filled("c {} {.} {/} {#} {%} {index} {x} ${X}", "dir/a b.tar.gz"),
            "c 'dir/a b.tar.gz' 'dir/a b.tar' 'a b.tar.gz' 5 2 4 {x} ${X}"
        );
        assert_eq!(filled("{//} {/.} {1/.} {1}", "d/e/f.tar.gz"), "d/e f.tar f.tar d/e/f.tar.gz");
        assert_eq!((filled("{//}", "g"), filled("{//}", "/a")), (".".into(), "/".into()));
        assert_eq!(filled("{//} {//}", "d/") + &filled("{//}", "//") + &filled("{//}", ""), ". ./.");
        assert_eq!((filled("{.}", ".bashrc"), filled("{.}", "a.d/b")), (".bashrc".into(), "a.d/b".into()));
    }

    #[test]
    fn the_columns_of_a_row_have_numbers_and_come_together_as_words() {
        let id = row(["d/a.c", "it's"]);
        assert_eq!(filled("{2} {1/.} {} {3}|", &id), r"'it'\''s' a d/a.c 'it'\''s' |");
        assert_eq!(filled("{-1} {-2/} {-3}|", &id), r"'it'\''s' a.c |");
        assert_eq!(filled("{-1} {-2}", "a"), "a {-2}");
        assert_eq!(Item::new(&id, 0).shown(), "d/a.c it's");
        assert_eq!(Item::new(&row(["a", ""]), 0).columns, ["a", ""]);
    }

    #[test]
    fn a_count_in_a_regular_expression_stays_where_there_are_no_columns() {
        assert_eq!(filled("grep -E 'x{4}{0}' {}", "f"), "grep -E 'x{4}{0}' f");
    }

    #[test]
    fn an_item_is_not_filled_a_second_time() {
        assert_eq!(filled("{}", "{#}"), "'{#}'");
    }

    #[test]
    fn a_number_of_its_own_wins() {
        let id = numbered(12, "a b");
        assert_eq!(filled("{#} {index} {}", &id), "12 11 'a b'");
        assert_eq!(filled("{}", "x\u{1e}y"), "'x\u{1e}y'");
    }

    #[test]
    fn a_text_has_a_place_if_any_placeholder_is_in_it() {
        assert!(has_place("a{2/.}") && has_place("{%}") && has_place("{{}"));
        assert!(!has_place("echo ${X} {1,2} {0}"));
    }

    #[test]
    fn words_and_lines_are_quoted_as_each_needs() {
        let item = Item::new("a b", 0);
        let words = Template::Argv(vec!["echo".into(), "{}".into(), "n={#}".into()]);
        assert_eq!(argv(&words, &item, 0), ["echo", "a b", "n=1"]);
        assert_eq!(command(&words, &item, 0), "echo 'a b' n=1");
        assert_eq!(argv(&Template::Shell("cat {}".into()), &item, 0)[2], "cat 'a b'");
        assert_eq!(command(&Template::Shell(EVAL.into()), &item, 0), "a b");
    }
}
