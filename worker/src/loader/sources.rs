//! The pytest runner's files, carried inside the program and laid down in a folder of the daemon's own.

use std::io;
use std::path::{Path, PathBuf};

macro_rules! runner {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../runners/pytest/", $name)))),*]
    };
}

const PYTEST: &[(&str, &str)] = runner![
    "remuda_pytest_main.py",
    "remuda_pytest/__init__.py",
    "remuda_pytest/host.py",
    "remuda_pytest/loader.py",
    "remuda_pytest/manifest.py",
    "remuda_pytest/monitor.py",
    "remuda_pytest/options.py",
    "remuda_pytest/outcome.py",
    "remuda_pytest/plugin.py",
    "remuda_pytest/replay.py",
    "remuda_pytest/runner.py",
    "remuda_pytest/safety.py",
    "remuda_pytest/stack.py",
    "remuda_pytest/upstream.py",
    "remuda_pytest/wire.py",
    "remuda_pytest/worker.py",
];

/// Writes the files beneath `folder`; returns the one to start.
///
/// # Errors
/// The folder cannot be written.
pub fn lay_down(folder: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder.join("remuda_pytest"))?;
    for (name, text) in PYTEST {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(folder.join(PYTEST[0].0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_runner_is_carried() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runners/pytest/remuda_pytest");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            if name.ends_with(".py") {
                assert!(PYTEST.iter().any(|(n, _)| n.ends_with(&format!("/{name}"))), "{name} is not in the list");
            }
        }
    }
}
