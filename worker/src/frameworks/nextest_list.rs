//! What `cargo nextest list` is asked and what it answers. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Flags of `run` that `list` does not have, with a value.
const RUN_VALUES: &[&str] = &[
    "-j",
    "--test-threads",
    "--jobs",
    "--retries",
    "--flaky-result",
    "--max-fail",
    "--no-tests",
    "--failure-output",
    "--success-output",
    "--status-level",
    "--final-status-level",
    "--show-progress",
    "--max-progress-running",
    "--message-format",
    "--message-format-version",
    "--color",
];
/// The same without one.
const RUN_FLAGS: &[&str] = &[
    "--fail-fast",
    "--ff",
    "--no-fail-fast",
    "--nff",
    "--no-output-indent",
    "--hide-progress-bar",
    "--no-input-handler",
    "--no-pager",
    "--no-capture",
    "--nocapture",
];

/// `cargo nextest list --message-format json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct List {
    rust_build_meta: serde_json::Value,
    pub(super) rust_suites: BTreeMap<String, RustSuite>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RustSuite {
    pub(super) binary_id: String,
    binary_name: String,
    pub(super) package_id: String,
    pub(super) kind: String,
    pub(super) binary_path: PathBuf,
    build_platform: String,
    pub(super) cwd: PathBuf,
    #[serde(default)]
    pub(super) testcases: BTreeMap<String, Case>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Case {
    pub(super) ignored: bool,
    pub(super) filter_match: Match,
}

#[derive(Debug, Deserialize)]
pub(super) struct Match {
    pub(super) status: String,
    #[serde(default)]
    pub(super) reason: String,
}

impl RustSuite {
    pub(super) fn runs(&self) -> bool {
        self.testcases.values().any(|case| case.filter_match.status == "matches")
    }
}

impl List {
    /// Tests that match, by binary id and name.
    pub(super) fn matching(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rust_suites.values().flat_map(|suite| {
            let found = suite.testcases.iter().filter(|(_, case)| case.filter_match.status == "matches");
            found.map(|(name, _)| (suite.binary_id.as_str(), name.as_str()))
        })
    }

    /// The same binaries as `--binaries-metadata` wants them.
    pub(super) fn binaries(&self) -> serde_json::Value {
        let binaries: serde_json::Map<String, serde_json::Value> = self
            .rust_suites
            .values()
            .map(|s| {
                let binary = serde_json::json!({
                    "binary-id": s.binary_id, "binary-name": s.binary_name, "package-id": s.package_id,
                    "kind": s.kind, "binary-path": s.binary_path, "build-platform": s.build_platform,
                });
                (s.binary_id.clone(), binary)
            })
            .collect();
        serde_json::json!({"rust-build-meta": self.rust_build_meta, "rust-binaries": binaries})
    }

    /// Where the programs of a package are that its integration tests start.
    pub(super) fn programs(&self, package: &str) -> Vec<(String, PathBuf)> {
        let target = self.rust_build_meta["target-directory"].as_str().unwrap_or("");
        let found = self.rust_build_meta["non-test-binaries"][package].as_array();
        found
            .into_iter()
            .flatten()
            .filter(|b| b["kind"] == "bin-exe")
            .filter_map(|b| Some((b["name"].as_str()?.to_owned(), Path::new(target).join(b["path"].as_str()?))))
            .collect()
    }
}

/// The user's arguments without those that only `run` knows.
pub(super) fn list_args(args: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            kept.push(word.clone());
            kept.extend(words.filter(|w| !RUN_FLAGS.contains(&w.as_str())).cloned());
            break;
        }
        let name = word.split('=').next().unwrap_or(word);
        if RUN_VALUES.contains(&name) {
            if name.len() == word.len() {
                words.next();
            }
        } else if !RUN_FLAGS.contains(&name) && !word.starts_with("-j") {
            kept.push(word.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_only_run_knows_is_not_asked_of_list() {
        let args = words(
            "-j 4 --release -j4 --retries=2 --no-fail-fast -E test(a) --partition hash:1/2 name -- --skip x --nocapture",
        );
        assert_eq!(list_args(&args), words("--release -E test(a) --partition hash:1/2 name -- --skip x"));
    }
}
