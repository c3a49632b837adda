//! The files of the pytest and the RSpec runner, carried inside the program and laid down in a folder of the daemon's
//! own.

use std::io;
use std::path::{Path, PathBuf};

macro_rules! runner {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../runners/", $folder, "/", $name)))),*]
    };
}

const PYTEST: &[(&str, &str)] = runner!["pytest":
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
    "remuda_pytest/slot.py",
    "remuda_pytest/stack.py",
    "remuda_pytest/temporary.py",
    "remuda_pytest/thaw.py",
    "remuda_pytest/unchanging.py",
    "remuda_pytest/upstream.py",
    "remuda_pytest/wire.py",
    "remuda_pytest/worker.py",
];

const RSPEC: &[(&str, &str)] = runner!["rspec":
    "remuda_rspec_main.rb",
    "remuda_rspec/capture.rb",
    "remuda_rspec/coverage.rb",
    "remuda_rspec/echo.rb",
    "remuda_rspec/entry.rb",
    "remuda_rspec/groups.rb",
    "remuda_rspec/host.rb",
    "remuda_rspec/kernel.rb",
    "remuda_rspec/loader.rb",
    "remuda_rspec/manifest.rb",
    "remuda_rspec/messages.rb",
    "remuda_rspec/monitor.rb",
    "remuda_rspec/outcome.rb",
    "remuda_rspec/records.rb",
    "remuda_rspec/relay.rb",
    "remuda_rspec/replay.rb",
    "remuda_rspec/runner.rb",
    "remuda_rspec/safety.rb",
    "remuda_rspec/scratch.rb",
    "remuda_rspec/slot.rb",
    "remuda_rspec/suite.rb",
    "remuda_rspec/upstream.rb",
    "remuda_rspec/wire.rb",
    "remuda_rspec/worker.rb",
];

/// The file that starts each runner.
#[derive(Clone, Debug)]
pub struct Mains {
    /// pytest's.
    pub pytest: PathBuf,
    /// RSpec's.
    pub rspec: PathBuf,
}

/// Writes the files of both runners beneath `folder`.
///
/// # Errors
/// The folder cannot be written.
pub fn lay_down(folder: &Path) -> io::Result<Mains> {
    let pytest = write(&folder.join("pytest"), PYTEST)?;
    Ok(Mains { pytest, rspec: write(&folder.join("rspec"), RSPEC)? })
}

/// Returns the first of the files.
fn write(folder: &Path, files: &[(&str, &str)]) -> io::Result<PathBuf> {
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        std::fs::write(path, text)?;
    }
    Ok(folder.join(files[0].0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_runner_is_carried() {
        for (folder, suffix, list) in [("pytest/remuda_pytest", ".py", PYTEST), ("rspec/remuda_rspec", ".rb", RSPEC)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runners").join(folder);
            for entry in std::fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name().to_string_lossy().into_owned();
                if name.ends_with(suffix) {
                    assert!(list.iter().any(|(n, _)| n.ends_with(&format!("/{name}"))), "{name} is not in the list");
                }
            }
        }
    }
}
