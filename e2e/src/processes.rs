//! Looks at processes: what lives, what was left over.

use std::path::{Path, PathBuf};

/// A binary of this workspace, beside the test's own.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().find(|p| p.join(name).is_file() && !p.ends_with("deps"));
    folder
        .unwrap_or_else(|| panic!("{name} is not built: run `cargo build --workspace --bins --examples` first"))
        .join(name)
}

/// Whether a process lives; a zombie does not.
#[must_use]
pub fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with(['Z', 'X']))
}

/// Processes (without zombies) whose environment or command line contains `mark`.
#[must_use]
pub fn marked(mark: &str) -> Vec<(u32, String)> {
    let me = std::process::id();
    let found = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let has = |file: &str| std::fs::read(folder.join(file)).is_ok_and(|b| contains(&b, mark.as_bytes()));
        let command = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        (pid != me && lives(pid) && (has("environ") || has("cmdline")))
            .then(|| (pid, String::from_utf8_lossy(&command).replace('\0', " ")))
    });
    found.collect()
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|w| w == needle)
}

/// Waits until `done` says so, looking again and again; fails after `seconds`.
pub async fn until(what: &str, seconds: u64, mut done: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    while !done().await {
        assert!(std::time::Instant::now() < deadline, "waited {seconds} s for: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Lines of a file that may not be there yet.
#[must_use]
pub fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The interpreter with pytest and its plugins that `make setup` prepares.
#[must_use]
pub fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
    assert!(python.exists(), "{} is missing: run `make setup`", python.display());
    python
}
