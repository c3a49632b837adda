//! What a folder without `remuda.toml` seems to hold, and the command that would run it. Guesses only from files at
//! the top; runs nothing.

use std::path::Path;

/// A framework that seems to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// What it is.
    pub what: &'static str,
    /// The file that says so.
    pub because: String,
    /// What to run.
    pub command: String,
}

/// Looks around in a folder.
#[must_use]
pub fn detect(folder: &Path) -> Vec<Detected> {
    let mut found = Vec::new();
    let mut add = |what, because: &str, command: &str| {
        found.push(Detected { what, because: because.to_owned(), command: command.to_owned() })
    };
    if let Some(because) = pytest(folder) {
        add("pytest", &because, "pytest");
    }
    for (file, what, command) in [
        (".config/nextest.toml", "cargo-nextest", "cargo nextest run"),
        ("Cargo.toml", "a Rust crate", "cargo test"),
        ("go.mod", "a Go module", "go test ./..."),
        ("package.json", "a Node package", "npm test"),
        (".rspec", "RSpec", if folder.join("Gemfile").is_file() { "bundle exec rspec" } else { "rspec" }),
    ] {
        if folder.join(file).is_file() {
            add(what, file, command);
        }
    }
    if says(folder, "Makefile", &["\ntest:", "\ncheck:"]) {
        let target = if says(folder, "Makefile", &["\ntest:"]) { "make test" } else { "make check" };
        add("a Makefile", "Makefile", target);
    }
    found
}

fn pytest(folder: &Path) -> Option<String> {
    for file in ["pytest.ini", "conftest.py", "tests/conftest.py"] {
        if folder.join(file).is_file() {
            return Some(file.to_owned());
        }
    }
    for (file, section) in [("pyproject.toml", "[tool.pytest"), ("tox.ini", "[pytest]"), ("setup.cfg", "[tool:pytest]")]
    {
        if says(folder, file, &[section]) {
            return Some(format!("{section}… in {file}"));
        }
    }
    for part in ["", "tests", "test"] {
        let names = std::fs::read_dir(folder.join(part))
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned());
        let mut tests: Vec<String> =
            names.filter(|n| n.ends_with(".py") && (n.starts_with("test_") || n.ends_with("_test.py"))).collect();
        tests.sort();
        if let Some(first) = tests.first() {
            return Some(if part.is_empty() { first.clone() } else { format!("{part}/{first}") });
        }
    }
    None
}

fn says(folder: &Path, file: &str, words: &[&str]) -> bool {
    std::fs::read_to_string(folder.join(file)).is_ok_and(|text| {
        let text = format!("\n{text}");
        words.iter().any(|word| text.contains(word))
    })
}

/// What to print: the findings, and how to run them.
#[must_use]
pub fn describe(folder: &Path, found: &[Detected]) -> String {
    let place = folder.display();
    if found.is_empty() {
        return format!(
            "no remuda.toml and no test suite that I know in {place}\n  to run any command:    remuda run -- CMD\n  for a file each:       remuda each 'CMD {{}}' ::: FILE…\n"
        );
    }
    let mut text = format!("no remuda.toml in {place}; found:\n");
    for one in found {
        text.push_str(&format!("  {:<16} ({})   would run: remuda run -- {}\n", one.what, one.because, one.command));
    }
    text.push_str("nothing was run; type the command you mean\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_recognised_by_their_files() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(detect(dir.path()), []);
        std::fs::create_dir(dir.path().join("tests")).unwrap();
        std::fs::write(dir.path().join("tests/test_a.py"), "").unwrap();
        std::fs::write(dir.path().join("Makefile"), "check:\n\ttrue\n").unwrap();
        for file in [".rspec", "Gemfile"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let found = detect(dir.path());
        let commands: Vec<&str> = found.iter().map(|f| f.command.as_str()).collect();
        assert_eq!(commands, ["pytest", "bundle exec rspec", "make check"]);
        assert!(
            describe(dir.path(), &found)
                .contains("pytest           (tests/test_a.py)   would run: remuda run -- pytest\n")
        );
    }
}
