//! How a run ends: one exit code from everything that is known at its end (DESIGN §8). Pure.

use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::GroupKind;

use super::view::JobView;
use crate::error::Exit;

/// pytest's exit codes for a failed collection: errors in test files, and wrong arguments.
const FRAMEWORK_USAGE: [i32; 2] = [2, 4];
/// pytest's exit code when nothing was collected.
const FRAMEWORK_NOTHING: i32 = 5;

/// What the verdict needs besides the view.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The signal that stopped the run, if one did.
    pub signal: Option<Exit>,
    /// How collections failed: the framework's own exit codes, where it had one.
    pub collections: Vec<Option<i32>>,
    /// A framework told what it was asked for, and nothing was to run.
    pub answered: bool,
    /// Only what had not passed before was wanted.
    pub narrowed: bool,
    /// Fixtures whose teardown failed late.
    pub late: u32,
    /// A framework's session did not end well, whatever its tests say.
    pub failed_ends: bool,
    /// Why a suite told its session to stop, if one did.
    pub stopped: String,
    /// Flaky is failed.
    pub fail_on_flaky: bool,
    /// Why it was given up, if it was.
    pub gave_up: String,
}

/// The exit code, and why where the counts do not say it.
#[must_use]
pub fn verdict(view: &JobView, evidence: &Evidence) -> (Exit, String) {
    if let Some(signal) = evidence.signal {
        let word = if signal == Exit::Terminated { "terminated" } else { "interrupted" };
        return (signal, word.into());
    }
    match (view.state.as_str(), view.reason.as_str()) {
        ("incomplete", "deadline") => return (Exit::Incomplete, "the deadline has passed".into()),
        ("incomplete", "queue-timeout") => return (Exit::Incomplete, evidence.gave_up.clone()),
        ("cancelled", "owner") => {
            let because = "cancelled: whoever ran it was out of Redis' reach for longer than --owner-grace";
            return (Exit::Incomplete, because.into());
        }
        ("cancelled", _) => return (Exit::Incomplete, "the job was cancelled".into()),
        _ => {}
    }
    if view.groups.iter().any(|g| g.kind == Some(GroupKind::Provision) && g.state == "failed") {
        return (Exit::Provisioning, "provisioning failed".into());
    }
    if let Some(code) = evidence.collections.first() {
        return match code {
            Some(code) if FRAMEWORK_USAGE.contains(code) => (Exit::Usage, "the tests could not be collected".into()),
            Some(FRAMEWORK_NOTHING) => (Exit::NothingSelected, "nothing was collected".into()),
            Some(_) => (Exit::TestsFailed, "the tests could not be collected".into()),
            None => (Exit::Incomplete, "no worker could collect the tests".into()),
        };
    }
    let tests = view.total(GroupKind::Tests);
    let failed = Outcome::ALL.iter().filter(|o| o.is_failure()).map(|o| tests.count(*o)).sum::<u32>();
    if !evidence.stopped.is_empty() {
        return (Exit::TestsFailed, format!("the suite told its session to stop: {}", evidence.stopped));
    }
    if failed + evidence.late > 0 {
        let because = if matches!(view.reason.as_str(), "failures" | "halt") {
            "stopped after the allowed number of failures"
        } else {
            ""
        };
        return (Exit::TestsFailed, because.into());
    }
    if evidence.failed_ends {
        return (Exit::TestsFailed, "the framework's own session failed at its end".into());
    }
    if view.state == "incomplete" || tests.count(Outcome::Lost) > 0 {
        let lost = tests.count(Outcome::Lost) > 0 || tests.count(Outcome::Cancelled) == 0;
        let because = if lost { "some tests were lost with their workers" } else { "some tests were cancelled" };
        return (Exit::Incomplete, because.into());
    }
    if evidence.fail_on_flaky && tests.flaky > 0 {
        return (Exit::TestsFailed, "flaky tests count as failed (--fail-on-flaky)".into());
    }
    match view.state.as_str() {
        "passed" if tests.added == 0 && evidence.narrowed => {
            // it may have another name by now: that is no success
            (Exit::NothingSelected, "nothing that did not pass the last time is selected here".into())
        }
        "passed" if tests.added == 0 && evidence.answered => (Exit::Passed, String::new()),
        "passed" if tests.added + view.total(GroupKind::Provision).added == 0 => {
            (Exit::NothingSelected, "there was nothing to run".into())
        }
        "passed" => (Exit::Passed, String::new()),
        _ => (Exit::TestsFailed, "a group failed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remuda_protocol::event::Event;
    use std::time::Duration;

    fn exit(kinds: &[GroupKind], lines: &str, evidence: &Evidence) -> u8 {
        let mut view = JobView::of_kinds(kinds.iter().copied());
        for event in Event::parse_batch(lines) {
            view.apply(&event, Duration::ZERO);
        }
        verdict(&view, evidence).0.code()
    }

    const TESTS: &[GroupKind] = &[GroupKind::Tests];
    const ONE: &str = "+ 0 0 1\n> 0 1 0 1 0 w 0\n";

    #[test]
    fn the_codes_of_the_design() {
        let plain = Evidence::default();
        let with = |text: &str| exit(TESTS, &format!("{ONE}{text}"), &plain);
        assert_eq!(with("= 0 0 P 1 5 0\nJ passed"), 0);
        assert_eq!(with("= 0 0 F 1 5 0\nJ failed"), 1);
        assert_eq!(with("= 0 0 F 1 5 0\nJ failed failures"), 1);
        assert_eq!(with("= 0 0 F 1 5 0\nJ failed halt"), 1);
        let stopped = Evidence { stopped: "enough".into(), ..Evidence::default() };
        assert_eq!(exit(TESTS, &format!("{ONE}= 0 0 P 1 5 0\nJ failed halt"), &stopped), 1);
        assert_eq!(with("= 0 0 L 1 5 0\nJ incomplete"), 6);
        assert_eq!(with("J incomplete deadline"), 6);
        assert_eq!(with("J incomplete queue-timeout"), 6);
        assert_eq!(with("J cancelled owner"), 6);
        assert_eq!(exit(TESTS, "J passed", &plain), 5);
        assert_eq!(exit(&[GroupKind::Provision, GroupKind::Tests], "G 0 failed\nG 1 skipped\nJ failed", &plain), 4);
        assert_eq!(
            exit(TESTS, "J cancelled user", &Evidence { signal: Some(Exit::Interrupted), ..plain.clone() }),
            130
        );
        assert_eq!(exit(TESTS, "J cancelled user", &Evidence { signal: Some(Exit::Terminated), ..plain }), 143);
    }

    #[test]
    fn a_failed_collection_keeps_the_frameworks_meaning() {
        for (code, expected) in [(Some(2), 2), (Some(4), 2), (Some(5), 5), (Some(3), 1), (None, 6)] {
            let evidence = Evidence { collections: vec![code], ..Evidence::default() };
            assert_eq!(exit(TESTS, "J failed", &evidence), expected, "{code:?}");
        }
    }

    #[test]
    fn a_framework_that_was_only_asked_something_has_not_failed_to_find_tests() {
        let answered = Evidence { answered: true, ..Evidence::default() };
        assert_eq!(exit(TESTS, "J passed", &answered), 0);
        assert_eq!(exit(TESTS, "J passed", &Evidence::default()), 5);
    }

    #[test]
    fn earlier_failures_that_are_not_selected_are_no_success() {
        let narrowed = Evidence { narrowed: true, answered: true, ..Evidence::default() };
        assert_eq!(exit(TESTS, "J passed", &narrowed), 5);
    }

    #[test]
    fn a_session_that_fails_at_its_end_fails_the_run() {
        let failed = Evidence { failed_ends: true, ..Evidence::default() };
        assert_eq!(exit(TESTS, &format!("{ONE}= 0 0 P 1 5 0\nJ passed"), &failed), 1);
    }

    #[test]
    fn flaky_fails_only_when_asked_and_late_teardown_always() {
        let flaky = format!("{ONE}- 0 0 F 1 5 0\n~ 0 0 retry 1\n> 0 2 0 1 0 w 0\n= 0 0 P 2 5 0\nJ passed");
        assert_eq!(exit(TESTS, &flaky, &Evidence::default()), 0);
        assert_eq!(exit(TESTS, &flaky, &Evidence { fail_on_flaky: true, ..Evidence::default() }), 1);
        assert_eq!(exit(TESTS, &flaky, &Evidence { late: 1, ..Evidence::default() }), 1);
    }
}
