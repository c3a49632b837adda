//! Tests that look at, and end, their own process.

use std::process::Command;
use std::time::Duration;

#[test]
fn the_program_adds() {
    let output = Command::new(env!("CARGO_BIN_EXE_ledger-cli")).args(["1", "2"]).output().unwrap();
    assert_eq!(output.stdout, b"3\n");
}

#[test]
fn runs_in_its_package() {
    assert_eq!(std::env::current_dir().unwrap(), std::path::Path::new(env!("CARGO_MANIFEST_DIR")));
    assert_eq!(std::env::var("CARGO_PKG_VERSION").as_deref(), Ok("1.2.3"));
}

#[test]
fn aborts() {
    println!("before the end");
    std::process::abort();
}

#[test]
fn exits() {
    std::process::exit(3);
}

#[test]
fn leaves() {
    // what looks like a pass to whoever sees only the exit code
    assert!(std::env::var_os("LEDGER_LEAVES").is_none());
}

#[test]
fn takes_its_time() {
    std::thread::sleep(Duration::from_millis(600));
}

#[test]
fn writes_down_its_environment() {
    if let Some(file) = std::env::var_os("LEDGER_ENVIRONMENT") {
        let mut lines: Vec<String> = std::env::vars_os()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
            .collect();
        lines.sort();
        lines.push(format!("arguments: {:?}", std::env::args().skip(1).collect::<Vec<_>>()));
        std::fs::write(file, lines.join("\n")).unwrap();
    }
}
