//! Tests that `.config/nextest.toml` says something about, in its profile `strict`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

fn scratch(name: &str) -> Option<PathBuf> {
    std::env::var_os("LEDGER_SCRATCH").map(|folder| PathBuf::from(folder).join(name))
}

/// Passes at its second attempt.
#[test]
fn flaky() {
    if let Some(file) = scratch("flaky") {
        let again = file.exists();
        fs::write(file, "").unwrap();
        assert!(again, "the first time");
    }
}

/// Ends only when it is killed, at least under the profile `strict`.
#[test]
fn hangs() {
    if std::env::var("NEXTEST_PROFILE").as_deref() == Ok("strict") {
        std::thread::sleep(Duration::from_secs(100));
    }
}

fn alone(name: &str) {
    if let Some(file) = scratch("lock") {
        fs::OpenOptions::new().write(true).create_new(true).open(&file).unwrap_or_else(|_| panic!("{name} is not alone"));
        std::thread::sleep(Duration::from_millis(100));
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn serial_one() {
    alone("one");
}

#[test]
fn serial_two() {
    alone("two");
}

#[test]
fn serial_three() {
    alone("three");
}
