//! The bridge to foreign adapters of the published ABQ native-runner protocol 0.2: towards the daemon it is a loader of
//! ours (docs/runner-protocol.md), towards the adapter it is ABQ.
//!
//! ```text
//! daemon (keeper)                                              native runners: the adapter's own processes
//!   │ control socket   collect.rs: subreaper ──starts once──────► with ABQ_GENERATE_MANIFEST=1: collects, ends
//!   │                    │ fork, no exec
//!   │ runner socket      ├─► slot 0   slot.rs: subreaper ──────► runs tests, one at a time, over ABQ_SOCKET
//!   │ runner socket      └─► slot 1   …                  ──────► …
//! ```
//!
//! A slot starts its native runner when the first test comes and again whenever that is needed: after a crash, after a
//! test that passed its limit, and before a test that lies before the last one in the manifest, because published
//! adapters only scan forward. What the native runner prints goes through `output.rs`, so that a restart is not heard.
//!
//! `protocol.rs` knows the messages, `verdict.rs` what results mean in our words, `native.rs` one native runner,
//! `sight.rs` looks whether a runner that has not answered waits for the next test already.
//!
//! What a bridge has in common with others is in `crate::bridge`.

mod collect;
mod native;
mod output;
mod protocol;
mod sight;
mod slot;
mod verdict;

/// The first argument by which a process knows that it is a bridge.
const MARK: &str = "remuda-abq";

/// Seconds after which a test without an answer is given up, where the group has no timeout of its own.
const ANSWER_SECONDS: f64 = 60.0;

/// The command that starts a bridge beneath a keeper, which is this same program.
#[must_use]
pub fn command() -> Vec<String> {
    vec!["/proc/self/exe".to_owned(), MARK.to_owned()]
}

/// `REMUDA_LOAD` of a bridge.
#[must_use]
pub fn load_settings(argv: &[String], timeout_ms: Option<u64>, job: &str) -> serde_json::Value {
    let timeout = timeout_ms.map(|ms| std::time::Duration::from_millis(ms).as_secs_f64());
    serde_json::json!({"argv": argv, "timeout": timeout, "answer_seconds": ANSWER_SECONDS, "run": job})
}

/// Becomes the bridge, and never returns, if this process was started as one. Call it in `main` beside
/// [`crate::warden::run_if_warden`], before a runtime, a thread or a logger exists.
pub fn run_if_bridge() {
    if std::env::args_os().nth(1).is_some_and(|word| word == MARK) && std::env::var_os("REMUDA_RUNNER_FD").is_some() {
        std::process::exit(crate::bridge::loader::main::<collect::Abq>());
    }
}
