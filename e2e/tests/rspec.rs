//! `remuda run -- rspec` on the project in `examples/rspec`: the verdicts of rspec alone, and what rspec cannot do.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use remuda_e2e::processes::binary;
use serde_json::Value;

/// A copy of the example project, and what runs made of it.
struct Project {
    folder: tempfile::TempDir,
}

/// What a run left to see.
struct Seen {
    code: Option<i32>,
    console: String,
    results: Vec<Value>,
}

impl Project {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/rspec");
        copy(&example, &folder.path().join("work"));
        Self { folder }
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.work().join(name), text).unwrap();
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.work())
            .stdin(Stdio::null())
            .env("HOME", self.folder.path())
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .env_remove("REMUDA_REDIS");
        command
    }

    /// `remuda run -n 2 FLAGS -- COMMAND`.
    fn run(&self, flags: &[&str], command: &[&str]) -> Seen {
        let events = self.folder.path().join("events.jsonl");
        let mut remuda = self.command(&binary("remuda"));
        remuda.args(["run", "-n", "2", "--events"]).arg(&events).args(flags);
        if !command.is_empty() {
            remuda.arg("--").args(command);
        }
        let output = remuda.output().unwrap();
        let results = std::fs::read_to_string(events).unwrap_or_default();
        Seen {
            code: output.status.code(),
            console: text(&output),
            results: results
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .filter(|fact: &Value| fact["event"] == "result")
                .collect(),
        }
    }

    /// rspec's own verdicts by id.
    fn alone(&self, args: &[&str]) -> BTreeMap<String, String> {
        let report = self.folder.path().join("alone.json");
        let output =
            self.command(Path::new("rspec")).args(["--format", "json", "--out"]).arg(&report).args(args).output();
        assert!(report.exists(), "rspec gave no verdicts: {output:?}");
        let found: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        let examples = found["examples"].as_array().unwrap();
        examples.iter().map(|one| (word(&one["id"]), word(&one["status"]))).collect()
    }
}

impl Seen {
    /// Our verdicts of examples in the words of rspec.
    fn verdicts(&self) -> BTreeMap<String, String> {
        let examples = self.results.iter().filter(|result| word(&result["id"]).starts_with("./spec"));
        let rspecs = |outcome: &str| match outcome {
            "passed" => "passed",
            "skipped" => "pending",
            _ => "failed",
        };
        examples.map(|result| (word(&result["id"]), rspecs(&word(&result["outcome"])).to_owned())).collect()
    }

    fn outcome(&self, id: &str) -> String {
        let found = self.results.iter().find(|result| word(&result["id"]) == id);
        found.map_or_else(|| panic!("no result of {id}:\n{}", self.console), |result| word(&result["outcome"]))
    }

    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.console);
        self
    }

    fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.console.contains(word), "`{word}` is not in:\n{}", self.console);
        }
        self
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_verdicts_are_those_of_rspec_alone() {
    let project = Project::new();
    let alone = project.alone(&["--tag", "~crash"]);
    assert_eq!(alone.len(), 35);
    let seen = project.run(&[], &["rspec", "--tag", "~crash"]).exits(1).says(&[
        "35 tests: 24 passed, 5 failed, 2 errored, 4 skipped (1 xfailed); 2 slots",
        "Trouble fails: expected: 3, got: 2",
        "words of the failing one",
        "Failure/Error: expect(1 + 1).to eq 3",
        "remuda run -- rspec './spec/trouble_spec.rb[1:1]'",
        "Run options: exclude {",
    ]);
    assert_eq!(seen.verdicts(), alone);
    assert_eq!(project.run(&["--isolation", "test"], &["rspec", "--tag", "~crash"]).verdicts(), alone);
}

#[test]
fn an_example_knows_its_task_and_attempt() {
    let project = Project::new();
    project.write(
        "spec/told_spec.rb",
        "RSpec.describe('told') { it('is') { expect([ENV['REMUDA_TASK'], ENV['REMUDA_ATTEMPT']]).to eq(['0', '2']) } }\n",
    );
    project.run(&["--retries", "1"], &["rspec", "spec/told_spec.rb"]).exits(0).says(&["1 test: 1 passed (1 flaky)"]);
}

#[test]
fn an_example_that_ends_its_process_fails_alone() {
    let project = Project::new();
    let seen = project.run(&[], &["rspec"]).exits(1).says(&[
        "38 tests: 24 passed, 5 failed, 5 errored, 4 skipped",
        "the test ended its process: exit code 3",
        "the test ended its process: killed by SIGKILL",
        "last words",
        "[BUG] Segmentation fault",
    ]);
    for (id, outcome) in [("[1:8:1]", "errored"), ("[1:8:2]", "errored"), ("[1:8:3]", "errored"), ("[1:10]", "passed")]
    {
        assert_eq!(seen.outcome(&format!("./spec/trouble_spec.rb{id}")), outcome, "{id}");
    }
}

#[test]
fn an_example_that_hangs_is_killed_alone_and_the_line_that_reruns_it_finds_it() {
    let project = Project::new();
    let seen = project.run(&["--timeout", "1s"], &["rspec", "--tag", "hang", "spec/trouble_spec.rb"]).exits(1);
    assert_eq!(seen.outcome("./spec/trouble_spec.rb[1:9]"), "timed-out");
    let again = seen.says(&["waiting for nobody", "remuda run -- rspec './spec/trouble_spec.rb[1:9]'"]);
    assert_eq!(again.results.len(), 2, "the example and the collection: {:?}", again.results);
    project.run(&[], &["rspec", "./spec/year_spec.rb[1:3]"]).exits(0).says(&["1 test: 1 passed"]);
}

#[test]
fn selections_mean_the_same_on_both_sides_of_the_dashes() {
    let project = Project::new();
    project.run(&["-k", "has month 1"], &["rspec"]).exits(0).says(&["3 tests: 3 passed"]);
    project.run(&[], &["rspec", "-e", "has month 1"]).exits(0).says(&["3 tests: 3 passed"]);
    project.run(&["-m", "crash"], &["rspec"]).exits(1).says(&["3 tests: 0 passed, 3 errored"]);
    project.run(&[], &["rspec", "-e", "no such example"]).exits(5);
    project.run(&[], &["rspec", "--no-such-option"]).exits(2).says(&["invalid option: --no-such-option"]);
    project.run(&[], &["rspec", "--version"]).exits(0).says(&["rspec-core 3"]);
    let failing = project.run(&[], &["rspec", "--fail-fast", "spec/trouble_spec.rb"]).exits(1);
    assert!(failing.console.contains("stopped after the allowed number of failures"), "{}", failing.console);
}

#[test]
fn a_file_that_cannot_be_loaded_is_told_in_the_words_of_rspec() {
    let project = Project::new();
    project.write("spec/broken_spec.rb", "require \"no_such_file_here\"\n");
    project
        .run(&[], &["rspec"])
        .exits(1)
        .says(&["An error occurred while loading ./spec/broken_spec.rb", "cannot load such file -- no_such_file_here"]);
}

#[test]
fn a_suite_that_reads_its_slot_while_it_loads_runs_a_process_a_slot() {
    let project = Project::new();
    let suite = "NUMBER = ENV.fetch(\"TEST_ENV_NUMBER\", \"none\")\n\
        RSpec.describe \"Slots\" do\n\
          6.times { |n| it(n.to_s) { sleep 0.1; expect(ENV[\"TEST_ENV_NUMBER\"]).to eq NUMBER; exit!(3) if n == 4 } }\n\
        end\n";
    project.write("spec/slots_spec.rb", suite);
    let seen = project.run(&[], &["rspec", "spec/slots_spec.rb", "-f", "json", "-o", "out.json"]).exits(1).says(&[
        "6 tests: 5 passed, 1 errored",
        "spec/slots_spec.rb:1 read the slot variable TEST_ENV_NUMBER while the suite was loaded",
    ]);
    assert_eq!(seen.outcome("./spec/slots_spec.rb[1:5]"), "errored");
    let report = std::fs::read_to_string(project.work().join("out.json")).unwrap();
    assert_eq!(report.matches("\"status\":\"passed\"").count(), 5, "{report}");
}

#[test]
fn errors_of_suite_hooks_are_told_and_count() {
    let project = Project::new();
    project.write("spec/support/hooks.rb", "RSpec.configure { |c| c.after(:suite) { raise \"still busy\" } }\n");
    let files = ["rspec", "spec/year_spec.rb"];
    project.run(&[], &files).exits(1).says(&["14 tests: 14 passed", "after(:suite)", "still busy"]);
    project.write("spec/support/hooks.rb", "RSpec.configure { |c| c.before(:suite) { raise \"no database\" } }\n");
    project.run(&[], &files).exits(1).says(&["14 tests: 0 passed, 14 errored", "no database"]);
}

#[test]
fn a_group_of_the_file_may_be_a_bundle_of_its_own() {
    let project = Project::new();
    project.write("Gemfile", "gem \"rspec\"\n");
    let toml = "[groups.books]\nadapter = \"rspec\"\nprogram = \"bundle exec rspec\"\nargs = [\"spec/year_spec.rb\", \"-fd\"]\n\
        group_by = \"class\"\nretries = 1\n";
    project.write("remuda.toml", toml);
    project.run(&[], &[]).exits(0).says(&["14 tests: 14 passed", "A year\n  has month 0\n"]);
    project.write("remuda.toml", "[groups.books]\nadapter = \"rspec\"\nprogram = \"bin/rspec\"\n");
    std::fs::create_dir(project.work().join("bin")).unwrap();
    project.write("bin/rspec", "#!/bin/sh\nexec rspec \"$@\"\n");
    project.run(&[], &[]).says(&["`bin/rspec` is not a Ruby script, it begins with `#!/bin/sh`"]);
}
