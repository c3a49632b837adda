//! Learns from cargo how it would start a test program: this program stands in as its target runner, writes command
//! line, environment and folder down, and goes on as the program itself. So a test gets exactly the variables that
//! cargo or nextest would have given it, whatever they are in that version.
//!
//! With `cargo test` the programs list their tests meanwhile, and rustdoc (through a small script, because `RUSTDOC`
//! takes no arguments) the documentation's. Nothing here runs a test.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::warden::wire::Text;

/// The first argument of a capture.
pub(super) const MARK: &str = "remuda-capture";
/// Where records go.
pub(super) const FOLDER: &str = "REMUDA_CAPTURE";
/// Set: programs list their tests into a file beside the record.
const LISTS: &str = "REMUDA_CAPTURE_LISTS";
/// Said where go starts a test program: the program is kept, because go removes it.
const GO: &str = "--go";
/// Said by the script that stands in for rustdoc.
const RUSTDOC: &str = "--rustdoc";
/// The runner or rustdoc that the user has set: it stays in between.
const BEFORE: &str = "REMUDA_CAPTURE_BEFORE_";
/// File name of the script.
const SCRIPT: &str = "rustdoc";

/// How a program would have been started.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    argv: Vec<Text>,
    /// The program itself, where a runner stands before it.
    program: Text,
    env: Vec<(Text, Text)>,
    cwd: Text,
    /// Nanoseconds: the order.
    at: u128,
    /// It is rustdoc, with the tests of a library's documentation.
    pub(super) rustdoc: bool,
    /// Its manifest says `harness = false`: it is not asked for its tests.
    pub(super) custom: bool,
    /// What it printed when it was asked for its tests.
    #[serde(skip)]
    pub(super) list: String,
}

impl Record {
    pub(super) fn argv(&self) -> Vec<OsString> {
        self.argv.iter().map(|t| t.0.clone()).collect()
    }

    pub(super) fn program(&self) -> &Path {
        Path::new(&self.program.0)
    }

    pub(super) fn cwd(&self) -> PathBuf {
        PathBuf::from(&self.cwd.0)
    }

    /// The environment without what was put there for the capture.
    pub(super) fn env(&self) -> super::Env {
        let own = |name: &OsStr| {
            let name = name.to_string_lossy();
            name.starts_with(FOLDER) || name == "RUSTDOC" || runner_variables().any(|v| v == name)
        };
        let mut env: super::Env =
            self.env.iter().filter(|(n, _)| !own(&n.0)).map(|(n, v)| (n.0.clone(), v.0.clone())).collect();
        for (name, value) in &self.env {
            if let Some(before) = name.0.to_str().and_then(|n| n.strip_prefix(BEFORE)) {
                env.push((before.into(), value.0.clone()));
            }
        }
        env
    }

    pub(super) fn var(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(n, _)| n.0 == name).and_then(|(_, v)| v.0.to_str())
    }
}

/// A folder in which captures write.
#[derive(Debug)]
pub(super) struct Captures {
    folder: tempfile::TempDir,
}

impl Captures {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { folder: tempfile::Builder::new().prefix("remuda-capture-").tempdir()? })
    }

    /// What go is told to start its test programs with.
    pub(super) fn go_exec() -> String {
        format!("/proc/{}/exe {MARK} {GO}", std::process::id())
    }

    /// Leaves the folder where it is: another process removes it.
    pub(super) fn keep(self) {
        let _ = self.folder.keep();
    }

    /// Variables for cargo. `lists`: programs shall list their tests, and rustdoc is captured too.
    pub(super) fn variables(&self, lists: bool) -> io::Result<Vec<(String, Option<String>)>> {
        // this process outlives the capture, and is named so that a replaced file does not matter
        let program = format!("/proc/{}/exe", std::process::id());
        let folder = self.folder.path().to_string_lossy().into_owned();
        let mut all = vec![(FOLDER.to_owned(), Some(folder))];
        for name in runner_variables() {
            if let Ok(before) = std::env::var(&name) {
                all.push((format!("{BEFORE}{name}"), Some(before)));
            }
            all.push((name, Some(format!("{program} {MARK}"))));
        }
        if lists {
            all.push((LISTS.to_owned(), Some("1".to_owned())));
            let script = self.folder.path().join(SCRIPT);
            fs::write(&script, format!("#!/bin/sh\nexec {program} {MARK} {RUSTDOC} \"$@\"\n"))?;
            fs::set_permissions(&script, fs::Permissions::from_mode(0o700))?;
            if let Ok(before) = std::env::var("RUSTDOC") {
                all.push((format!("{BEFORE}RUSTDOC"), Some(before)));
            }
            all.push(("RUSTDOC".to_owned(), Some(script.to_string_lossy().into_owned())));
        }
        Ok(all)
    }

    /// What was written, in the order in which it was started.
    pub(super) fn read(&self) -> io::Result<Vec<Record>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.folder.path())? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let mut record: Record = serde_json::from_slice(&fs::read(&path)?)?;
            record.list = String::from_utf8_lossy(&fs::read(path.with_extension("list")).unwrap_or_default()).into();
            found.push(record);
        }
        found.sort_by_key(|r| r.at);
        Ok(found)
    }
}

/// cargo's variables for the runner of this machine's programs.
fn runner_variables() -> impl Iterator<Item = String> {
    ["GNU", "MUSL"].into_iter().map(|libc| {
        format!("CARGO_TARGET_{}_UNKNOWN_LINUX_{libc}_RUNNER", std::env::consts::ARCH.to_uppercase().replace('-', "_"))
    })
}

/// Runs a capture; returns only if it could not go on as the program.
pub(super) fn main() -> i32 {
    let mut words: Vec<OsString> = std::env::args_os().skip(2).collect();
    if words.first().is_some_and(|w| w == GO) {
        return go(&words[1..]);
    }
    let rustdoc = words.first().is_some_and(|w| w == RUSTDOC);
    if rustdoc {
        words[0] = std::env::var_os(format!("{BEFORE}RUSTDOC")).unwrap_or_else(|| "rustdoc".into());
    }
    let Some(program) = words.first().cloned() else {
        eprintln!("remuda: the capture was started without a program");
        return 2;
    };
    // what rustdoc builds is not cargo's: it is only carried out
    let plain = if rustdoc { !words.iter().any(|w| w == "--test") } else { is_of_rustdoc(&program) };
    if !rustdoc && let Some(before) = runner_variables().find_map(|v| std::env::var(format!("{BEFORE}{v}")).ok()) {
        words.splice(0..0, before.split_whitespace().map(OsString::from));
    }
    if !plain {
        match record(&words, &program, rustdoc) {
            Ok(Next::Done) => return 0,
            Ok(Next::Runs) => {}
            Ok(Next::Lists(file)) => {
                let list: &[&str] = if rustdoc {
                    &["--test-args", "--list", "--test-args", "--format=terse"]
                } else {
                    &["--list", "--format=terse"]
                };
                words.extend(list.iter().map(OsString::from));
                // SAFETY: both descriptors are open; this process has one thread.
                if unsafe { nix::libc::dup2(file.as_raw_fd(), 1) } < 0 {
                    eprintln!("remuda: the list of tests has no place: {}", io::Error::last_os_error());
                    return 2;
                }
            }
            Err(error) => {
                eprintln!("remuda: how {} is started could not be written down: {error}", program.display());
                return 2;
            }
        }
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if shown.starts_with(FOLDER) {
            command.env_remove(&name);
        }
    }
    let error = command.exec();
    eprintln!("remuda: {} could not be started: {error}", program.display());
    127
}

/// A test program of go's: kept, written down, and asked for its tests.
fn go(words: &[OsString]) -> i32 {
    let Some(program) = words.first() else { return 2 };
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap_or_default());
    let kept = folder.join(format!("{}.test", std::process::id()));
    let made = fs::hard_link(program, &kept).or_else(|_| fs::copy(program, &kept).map(drop));
    let mut argv = words.to_vec();
    argv[0] = kept.clone().into_os_string();
    match made.and_then(|()| record(&argv, kept.as_os_str(), false)) {
        Ok(Next::Lists(file)) => {
            let run = argv.iter().find_map(|w| w.to_str()?.strip_prefix("-test.run="));
            let list = run.map_or_else(|| ".*".to_owned(), super::go_test::of_tests);
            let mut command = Command::new(&kept);
            command.arg(format!("-test.list={list}")).stdout(file);
            let error = command.exec();
            eprintln!("remuda: {} could not be started: {error}", kept.display());
            127
        }
        Ok(_) => 0,
        Err(error) => {
            eprintln!("remuda: {} could not be kept: {error}", program.display());
            2
        }
    }
}

enum Next {
    Done,
    Runs,
    Lists(File),
}

fn record(words: &[OsString], program: &OsStr, rustdoc: bool) -> io::Result<Next> {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap_or_default());
    let lists = std::env::var_os(LISTS).is_some();
    let custom = lists && !rustdoc && !has_harness(Path::new(program));
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let record = Record {
        argv: words.iter().map(Text::from).collect(),
        program: program.into(),
        env: std::env::vars_os().map(|(n, v)| (n.into(), v.into())).collect(),
        cwd: std::env::current_dir()?.as_os_str().into(),
        at,
        rustdoc,
        custom,
        list: String::new(),
    };
    let name = folder.join(format!("{}-{at}", std::process::id()));
    fs::write(name.with_extension("part"), serde_json::to_vec(&record)?)?;
    fs::rename(name.with_extension("part"), name.with_extension("json"))?;
    Ok(match (lists, custom) {
        (false, _) => Next::Runs,
        (true, true) => Next::Done,
        (true, false) => Next::Lists(File::create(name.with_extension("list"))?),
    })
}

/// Whether a program is one of the small ones that rustdoc builds.
fn is_of_rustdoc(program: &OsStr) -> bool {
    Path::new(program).components().any(|part| part.as_os_str().to_string_lossy().starts_with("rustdoctest"))
}

/// Whether the manifest of a test program leaves libtest's harness in it.
fn has_harness(program: &Path) -> bool {
    let Some(manifest) = std::env::var_os("CARGO_MANIFEST_DIR") else { return true };
    let Ok(text) = fs::read_to_string(Path::new(&manifest).join("Cargo.toml")) else { return true };
    let Ok(table) = text.parse::<toml::Table>() else { return true };
    !without_harness(&table).contains(&crate_name(program))
}

/// Names of the targets that say `harness = false`, as file names have them.
fn without_harness(manifest: &toml::Table) -> Vec<String> {
    let package = manifest.get("package").and_then(|p| p.get("name")).and_then(toml::Value::as_str).unwrap_or("");
    let mut names = Vec::new();
    let mut look = |target: &toml::Value| {
        if target.get("harness").and_then(toml::Value::as_bool) == Some(false) {
            let name = target.get("name").and_then(toml::Value::as_str).unwrap_or(package);
            names.push(name.replace('-', "_"));
        }
    };
    manifest.get("lib").into_iter().for_each(&mut look);
    for kind in ["bin", "test", "bench", "example"] {
        manifest.get(kind).and_then(toml::Value::as_array).into_iter().flatten().for_each(&mut look);
    }
    names
}

/// `it` of `target/debug/deps/it-0123456789abcdef`.
pub(super) fn crate_name(program: &Path) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let base = name.rsplit_once('-').filter(|(_, hash)| hash.bytes().all(|b| b.is_ascii_hexdigit())).map(|(b, _)| b);
    base.unwrap_or(&name).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_without_harness_are_told_by_their_manifest() {
        let manifest: toml::Table =
            "[package]\nname = \"a-b\"\n[lib]\nharness = false\n[[test]]\nname = \"own-main\"\nharness = false\n[[test]]\nname = \"it\""
                .parse()
                .unwrap();
        assert_eq!(without_harness(&manifest), ["a_b", "own_main"]);
        assert_eq!(crate_name(Path::new("/t/deps/own_main-00ff12")), "own_main");
        assert_eq!(crate_name(Path::new("/t/own-main")), "own_main");
    }

    #[test]
    fn what_rustdoc_builds_is_left_alone() {
        assert!(is_of_rustdoc(OsStr::new("/tmp/rustdoctestAbC/rust_out")));
        assert!(!is_of_rustdoc(OsStr::new("/t/debug/deps/rustdoc-1")));
    }
}
