//! Which tests a filter of nextest's configuration means: asked of nextest itself, about the programs that it has just
//! built. And the values of its flags.

use std::collections::HashSet;
use std::path::Path;

use super::nextest_list::List;
use super::tool;
use crate::bridge::loader::{Failure, Link};

fn refuse(message: String) -> Failure {
    Failure { message, exit: 3, output: String::new() }
}

/// The values of a flag, typed before `--`.
pub(super) fn values_of<'a>(args: &'a [String], names: &[&str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut words = args.iter().map(String::as_str).take_while(|w| *w != "--");
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some((name, value)) if names.contains(&name) => found.push(value),
            None if names.contains(&word) => found.extend(words.next()),
            _ => {
                // -j4
                let short = names.iter().find(|n| n.len() == 2 && word.starts_with(**n) && word.len() > 2);
                found.extend(short.map(|_| &word[2..]));
            }
        }
    }
    found
}

pub(super) fn value_of<'a>(args: &'a [String], names: &[&str]) -> Option<&'a str> {
    values_of(args, names).pop()
}

/// Asks nextest which tests a filter means, without building again.
pub(super) struct Evaluator {
    argv: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Evaluator {
    pub(super) fn new(
        program: &[String],
        args: &[String],
        list: &List,
        root: &Path,
        link: &mut Link,
    ) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("remuda-nextest-").tempdir().map_err(|e| refuse(e.to_string()))?;
        let place = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let cargo =
            program.first().map_or("cargo", |first| if first.ends_with("cargo") { first.as_str() } else { "cargo" });
        let mut ask = vec![cargo.to_owned()];
        ask.extend(program.iter().find(|w| w.starts_with('+')).cloned());
        ask.extend(["metadata", "--format-version", "1", "--manifest-path"].map(String::from));
        ask.push(root.join("Cargo.toml").to_string_lossy().into_owned());
        let metadata = tool::run(&ask, &[], link)?.text(&ask)?;
        let write = |name: &str, text: String| std::fs::write(place(name), text).map_err(|e| refuse(e.to_string()));
        write("metadata.json", metadata)?;
        write("binaries.json", list.binaries().to_string())?;
        let mut argv = program.to_vec();
        argv.extend(
            ["list", "--message-format", "json", "--color", "never", "--run-ignored", "all", "--ignore-default-filter"]
                .map(String::from),
        );
        for (flag, file) in [("--cargo-metadata", "metadata.json"), ("--binaries-metadata", "binaries.json")] {
            argv.extend([flag.to_owned(), place(file)]);
        }
        for names in [&["--config-file"][..], &["--tool-config-file"], &["-P", "--profile"]] {
            for value in values_of(args, names) {
                argv.extend([names[0].to_owned(), value.to_owned()]);
            }
        }
        Ok(Self { argv, _folder: folder })
    }

    pub(super) fn tests(&self, filter: &str, link: &mut Link) -> Result<HashSet<(String, String)>, Failure> {
        let mut argv = self.argv.clone();
        argv.extend(["-E".to_owned(), filter.to_owned()]);
        let text = tool::run(&argv, &[], link)?.text(&argv)?;
        let list: List = serde_json::from_str(&text)
            .map_err(|e| refuse(format!("`{}` did not print the list that was asked for: {e}", argv.join(" "))))?;
        Ok(list.matching().map(|(binary, test)| (binary.to_owned(), test.to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_flags_are_found_however_they_are_written() {
        let args: Vec<String> = "-j4 --retries 2 -P=ci -- --retries 9".split(' ').map(str::to_owned).collect();
        assert_eq!(value_of(&args, &["-j", "--jobs"]), Some("4"));
        assert_eq!(value_of(&args, &["--retries"]), Some("2"));
        assert_eq!(value_of(&args, &["-P", "--profile"]), Some("ci"));
    }
}
