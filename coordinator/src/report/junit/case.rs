//! One test in JUnit's words: its name and class, its final result, its earlier attempts and its output. What is none
//! of a test, and the file, are `junit`'s.

use std::time::Duration;

use quick_junit::{FlakyOrRerun, NonSuccessKind, Property, TestCase, TestCaseStatus, TestRerun};
use remuda_protocol::id::file_of;
use remuda_protocol::item::Item;
use remuda_protocol::outcome::{Outcome, XFAILED};

use crate::report::Attempt;

fn kind(outcome: Outcome) -> Option<NonSuccessKind> {
    match outcome {
        Outcome::Failed => Some(NonSuccessKind::Failure),
        Outcome::Errored | Outcome::TimedOut | Outcome::Lost => Some(NonSuccessKind::Error),
        Outcome::Passed | Outcome::Skipped | Outcome::Cancelled => None,
    }
}

fn time(attempt: &Attempt) -> Duration {
    Duration::from_micros(attempt.us)
}

/// `path/to/test_x.py::Class::test[a::b]` as pytest writes it: class name `path.to.test_x.Class`, name `test[a::b]`.
fn split_id(id: &str) -> (String, &str) {
    let plain = id.find('[').unwrap_or(id.len());
    let Some(at) = id[..plain].rfind("::") else { return (String::new(), id) };
    let mut parts = id[..at].split("::");
    let file = parts.next().unwrap_or_default();
    let module = file.strip_suffix(".py").unwrap_or(file).replace('/', ".");
    (std::iter::once(module.as_str()).chain(parts).collect::<Vec<_>>().join("."), &id[at + 2..])
}

/// A case with its name, class and file. An example of RSpec has its description for a name, as rspec_junit_formatter
/// gives it; what stands before `::` is a file only where it looks like one (cargo has names of programs there).
fn named(attempt: &Attempt, status: TestCaseStatus) -> TestCase {
    let file = Some(file_of(&attempt.id)).filter(|file| *file != &*attempt.id && file.contains('.'));
    let file = file.map(|file| file.strip_prefix("./").unwrap_or(file));
    let described = attempt.detail.properties.iter().find(|(name, _)| name == "description");
    let mut case = match (described, file) {
        (Some((_, description)), Some(file)) => {
            let mut case = TestCase::new(description.as_str(), status);
            case.set_classname(file.strip_suffix(".rb").unwrap_or(file).replace('/', "."));
            case
        }
        _ => {
            let id = Item::new(&attempt.id, 0).shown();
            let (class, name) = split_id(&id);
            let mut case = TestCase::new(name, status);
            case.set_classname(if class.is_empty() { attempt.group.to_string() } else { class });
            case
        }
    };
    if let Some(file) = file {
        case.extra.insert("file".into(), file.into());
    }
    case
}

/// The case of a test; `because`: why its group was skipped, if it was.
pub(super) fn case(attempt: &Attempt, earlier: &[Attempt], because: &str) -> TestCase {
    let mut status = match (attempt.outcome, kind(attempt.outcome)) {
        (Outcome::Passed, _) => TestCaseStatus::success(),
        (_, Some(kind)) => {
            let mut status = TestCaseStatus::non_success(kind);
            status
                .set_message(attempt.why())
                .set_type(attempt.outcome.word())
                .set_description(attempt.detail.text.as_str());
            status
        }
        _ => {
            let mut status = TestCaseStatus::skipped();
            let word = if attempt.outcome == Outcome::Cancelled { "not finished" } else { attempt.outcome.word() };
            let because = if attempt.outcome == Outcome::Skipped { because } else { "" };
            let why = [&attempt.why(), because, word].into_iter().find(|why| !why.is_empty()).map(str::to_owned);
            let kind = if attempt.detail.word == XFAILED { XFAILED } else { word };
            status.set_message(why.unwrap_or_default()).set_type(kind);
            status
        }
    };
    if !matches!(attempt.outcome, Outcome::Skipped | Outcome::Cancelled) {
        let known = earlier.iter().filter_map(|a| Some(rerun(a, kind(a.outcome)?)));
        if attempt.outcome != Outcome::Passed {
            status.set_rerun_kind(FlakyOrRerun::Rerun);
        }
        status.add_reruns(known);
    }
    let mut case = named(attempt, status);
    case.set_time(time(attempt));
    if let Some(place) = &attempt.place {
        case.add_property(Property::new("worker", place.host.as_str()));
        case.add_property(Property::new("slot", place.number.to_string()));
    }
    if attempt.number > 1 {
        case.add_property(Property::new("attempt", attempt.number.to_string()));
    }
    case.add_properties(attempt.detail.properties.iter().map(|(k, v)| Property::new(k.as_str(), v.as_str())));
    let (out, err) = streams(attempt);
    if !out.is_empty() {
        case.set_system_out(out);
    }
    if !err.is_empty() {
        case.set_system_err(err);
    }
    case
}

fn rerun(attempt: &Attempt, kind: NonSuccessKind) -> TestRerun {
    let mut rerun = TestRerun::new(kind);
    rerun
        .set_time(time(attempt))
        .set_message(attempt.why())
        .set_type(attempt.outcome.word())
        .set_stack_trace(attempt.detail.text.as_str());
    let (out, err) = streams(attempt);
    if !out.is_empty() {
        rerun.set_system_out(out);
    }
    if !err.is_empty() {
        rerun.set_system_err(err);
    }
    rerun
}

/// Output for `system-out` and for `system-err`.
fn streams(attempt: &Attempt) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    for (title, body) in &attempt.detail.sections {
        if title.contains("stderr") {
            err.push_str(body);
        } else if title == "stdout" {
            out.push_str(body);
        } else {
            out.push_str(&format!("--- {title} ---\n{body}"));
        }
    }
    (out, err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_as_pytest_does() {
        assert_eq!(split_id("tests/a/test_x.py::Klass::test[a::b/c]"), ("tests.a.test_x.Klass".into(), "test[a::b/c]"));
        assert_eq!(split_id("make check"), (String::new(), "make check"));
    }
}
