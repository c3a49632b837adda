//! `remuda run -- pytest …`: recognises pytest and reads those of the user's own flags that Remuda carries out itself.
//! The arguments stay as they are: the runner's loader gives them to pytest and knows which ones to take out.

use crate::cli::GroupByArg;
use crate::config::values::{Slots, Span, Value};

/// pytest as it was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// What starts it.
    pub program: Vec<String>,
    /// Its arguments.
    pub args: Vec<String>,
}

/// Flags of pytest and its plugins that have a meaning for the whole run. What pytest prints at its end
/// (`--durations`, `-r`, coverage) it prints itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// `-n`.
    pub slots: Option<Slots>,
    /// `-x`, `--maxfail`.
    pub maxfail: Option<u32>,
    /// `--dist loadscope|loadfile`.
    pub group_by: Option<GroupByArg>,
    /// `--timeout` of pytest-timeout.
    pub timeout: Option<Span>,
    /// `-v` less `-q`.
    pub verbosity: i32,
    /// `-s`: output is not captured but seen at once.
    pub live: bool,
}

/// Recognises pytest in a command.
#[must_use]
pub fn recognise(words: &[String]) -> Option<Called> {
    let base = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
    let first = base(words.first()?);
    let split = |at: usize| Some(Called { program: words[..at].to_vec(), args: words[at..].to_vec() });
    if matches!(first.as_str(), "pytest" | "py.test") {
        return split(1);
    }
    let version = first.strip_prefix("python").or_else(|| first.strip_prefix("pypy"))?;
    if !version.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let mut at = 1;
    while at < words.len() {
        match words[at].as_str() {
            "-m" => {
                return if words.get(at + 1).is_some_and(|m| m == "pytest" || m == "py.test") {
                    split(at + 2)
                } else {
                    None
                };
            }
            "-mpytest" => return split(at + 1),
            "-X" | "-W" => at += 2,
            word if word.starts_with('-') && word != "-" && word != "-c" => at += 1,
            _ => return None, // a script
        }
    }
    None
}

/// Whether these arguments make pytest tell something about itself instead of running tests.
#[must_use]
pub fn only_tells(args: &[String]) -> bool {
    const TELLING: [&str; 8] =
        ["-h", "--help", "-V", "--version", "--markers", "--fixtures", "--fixtures-per-test", "--cache-show"];
    args.iter().take_while(|word| *word != "--").any(|word| TELLING.contains(&word.as_str()))
}

/// Those of the arguments in whose world a single test runs, too: settings and plugins, nothing that selects or reports.
#[must_use]
pub fn settings(args: &[String]) -> Vec<String> {
    const LONG: [&str; 7] =
        ["--override-ini", "--config-file", "--rootdir", "--confcutdir", "--import-mode", "--pythonwarnings", "--ds"];
    const SHORT: [&str; 4] = ["-o", "-p", "-c", "-W"];
    let mut found = Vec::new();
    let mut words = args.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if SHORT.contains(&word.as_str()) || LONG.contains(&word.as_str()) {
            found.extend([Some(word), words.next()].into_iter().flatten().cloned());
        } else if word.split_once('=').is_some_and(|(name, _)| LONG.contains(&name))
            || (!word.starts_with("--") && SHORT.iter().any(|flag| word.starts_with(flag)))
        {
            found.push(word.clone());
        }
    }
    found
}

/// Flags among these arguments by which pytest writes a report of its own to a file: every host writes its own.
#[must_use]
pub fn own_reports(args: &[String]) -> Vec<&'static str> {
    const FILES: [&str; 3] = ["--junitxml", "--junit-xml", "--html"];
    let named = |word: &String, flag: &str| word.strip_prefix(flag).is_some_and(|r| r.is_empty() || r.starts_with('='));
    let words: Vec<&String> = args.iter().take_while(|word| *word != "--").collect();
    FILES.into_iter().filter(|flag| words.iter().any(|word| named(word, flag))).collect()
}

/// Reads the flags that Remuda carries out. What makes no sense is left for pytest to refuse.
#[must_use]
pub fn known(args: &[String]) -> Known {
    let mut found = Known::default();
    let mut words = args.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            long_flag(&mut found, name, value, &mut words);
        } else if word.len() > 1 && word.starts_with('-') {
            short_flags(&mut found, &word[1..], &mut words);
        }
    }
    found
}

fn long_flag<'a>(found: &mut Known, name: &str, value: Option<&'a str>, words: &mut impl Iterator<Item = &'a str>) {
    match name {
        "exitfirst" => found.maxfail = Some(1),
        "verbose" => found.verbosity += 1,
        "quiet" => found.verbosity -= 1,
        "numprocesses" | "maxfail" | "dist" | "timeout" | "capture" => {
            let Some(value) = value.or_else(|| words.next()) else { return };
            match name {
                "numprocesses" => found.slots = slots(value),
                "maxfail" => found.maxfail = value.parse().ok(),
                "dist" => found.group_by = group_by(value),
                "capture" => found.live = value == "no",
                _ => found.timeout = Span::from_text(value).ok().filter(|s| s.ms() > 0),
            }
        }
        _ => {}
    }
}

fn short_flags<'a>(found: &mut Known, letters: &'a str, words: &mut impl Iterator<Item = &'a str>) {
    for (i, letter) in letters.char_indices() {
        match letter {
            'x' => found.maxfail = Some(1),
            'v' => found.verbosity += 1,
            'q' => found.verbosity -= 1,
            's' => found.live = true,
            'n' | 'k' | 'm' | 'p' | 'c' | 'o' | 'W' | 'r' => {
                // the rest of the word, or the next one, is its value and has no flags
                let rest = &letters[i + letter.len_utf8()..];
                let value = if rest.is_empty() { words.next() } else { Some(rest.strip_prefix('=').unwrap_or(rest)) };
                if letter == 'n' {
                    found.slots = value.and_then(slots);
                }
                return;
            }
            _ => {}
        }
    }
}

fn slots(value: &str) -> Option<Slots> {
    if value == "0" { Some(Slots::Count(1)) } else { value.parse().ok() }
}

fn group_by(value: &str) -> Option<GroupByArg> {
    match value {
        "loadscope" => Some(GroupByArg::Class),
        "loadfile" => Some(GroupByArg::File),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn settings_and_plugins_are_taken_along_and_nothing_that_selects() {
        let line = "-x tests -k fast -o addopts= -p no:randomly -c a.ini --rootdir=. -Werror --import-mode importlib --ds=s \
                    --junitxml=x.xml --override-ini a=b t.py::test -- -p";
        let expected =
            "-o addopts= -p no:randomly -c a.ini --rootdir=. -Werror --import-mode importlib --ds=s --override-ini a=b";
        assert_eq!(settings(&words(line)), words(expected));
        assert_eq!(settings(&words("-q -p")), ["-p"]);
    }

    #[test]
    fn pytest_is_recognised_however_it_is_called() {
        for (line, args) in [
            ("pytest tests -x", 1),
            ("./venv/bin/pytest", 1),
            ("python -m pytest tests", 3),
            ("/usr/bin/python3.12 -X dev -B -m pytest -q", 6),
        ] {
            let called = recognise(&words(line)).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(called.program, words(line)[..args], "{line}");
            assert_eq!(called.args, words(line)[args..], "{line}");
        }
        for line in [
            "python setup.py -m pytest",
            "python -c -m pytest",
            "python -m unittest",
            "make pytest",
            "python-config -m pytest",
        ] {
            assert_eq!(recognise(&words(line)), None, "{line}");
        }
    }

    #[test]
    fn the_users_flags_mean_what_they_mean_to_pytest() {
        let all = known(&words("-xvn3 --dist loadfile --timeout=60 --durations 5 tests"));
        assert_eq!(
            all,
            Known {
                slots: Some(Slots::Count(3)),
                maxfail: Some(1),
                group_by: Some(GroupByArg::File),
                timeout: Span::from_text("60").ok(),
                verbosity: 1,
                live: false
            }
        );
        assert_eq!(known(&words("-n auto --maxfail 3")).slots, Some(Slots::Auto));
        assert_eq!(known(&words("-n0")).slots, Some(Slots::Count(1)));
        assert!(
            known(&words("-xs")).live && known(&words("--capture=no")).live && !known(&words("--capture=sys")).live
        );
    }

    #[test]
    fn questions_about_pytest_are_no_run() {
        assert!(only_tells(&words("-q --help")) && only_tells(&words("--version")) && !only_tells(&words("-x -- -h")));
    }

    #[test]
    fn reports_of_pytests_own_are_known() {
        assert_eq!(own_reports(&words("-x --junitxml=a --html b")), ["--junitxml", "--html"]);
        assert!(own_reports(&words("--html-theme=x -- --html=y")).is_empty());
    }

    #[test]
    fn values_of_other_flags_are_not_flags() {
        assert_eq!(known(&words("-k -x -m n -rxX -p no:xdist -- -x")), Known::default());
    }
}
