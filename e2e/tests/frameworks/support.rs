//! Runs `remuda run` on an embedded Redis in an example's folder and reads what became of each test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use remuda_e2e::processes::binary;
use serde_json::Value;

/// Outcome word by test.
pub(crate) type Outcomes = BTreeMap<String, String>;

/// A run through Remuda.
pub(crate) struct Seen {
    pub(crate) exit: Option<i32>,
    pub(crate) outcomes: Outcomes,
    /// The last `result` event of each test.
    pub(crate) results: BTreeMap<String, Value>,
    pub(crate) console: String,
}

impl Seen {
    pub(crate) fn of(&self, test: &str) -> &str {
        self.outcomes.get(test).unwrap_or_else(|| panic!("no `{test}` in {:#?}\n{}", self.outcomes, self.console))
    }

    /// The message of a test's result.
    pub(crate) fn message(&self, test: &str) -> &str {
        self.results[test]["detail"]["message"].as_str().unwrap_or("")
    }
}

/// A folder of `examples/`.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).canonicalize().unwrap()
}

/// Where examples are built, which is kept from run to run.
pub(crate) fn built(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/frameworks").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder.canonicalize().unwrap()
}

/// A command in `folder` without what this test's own runner and caller have set.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars() {
        if ["REMUDA_", "NEXTEST", "CARGO_", "RUST_BACKTRACE"].iter().any(|own| name.starts_with(own))
            && name != "CARGO_HOME"
        {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// `remuda run` with these arguments.
pub(crate) fn remuda(folder: &Path, args: &[&str], env: &[(&str, &Path)]) -> Seen {
    let scratch = tempfile::tempdir().unwrap();
    let events = scratch.path().join("events");
    let mut run = command(binary("remuda"), folder);
    run.args(["run", "--events"]).arg(&events).env("XDG_STATE_HOME", scratch.path());
    if !args.contains(&"-n") {
        run.args(["-n", "2"]);
    }
    run.args(args);
    for (name, value) in env {
        run.env(name, value);
    }
    let output = run.output().unwrap();
    let console = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let (mut outcomes, mut results) = (Outcomes::new(), BTreeMap::new());
    for line in std::fs::read_to_string(&events).unwrap_or_default().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let group = event["group"].as_str().unwrap_or("");
        if event["event"] == "result" && !group.ends_with("@collect") {
            let id = event["id"].as_str().unwrap().to_owned();
            outcomes.insert(id.clone(), event["outcome"].as_str().unwrap().to_owned());
            results.insert(id, event);
        }
    }
    Seen { exit: output.status.code(), outcomes, results, console }
}
