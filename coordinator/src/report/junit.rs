//! `--junit`: JUnit XML. One suite a group; the final result of each test, earlier attempts as reruns or flaky
//! failures; characters that XML cannot hold are taken out. Written once, at the end, beside the file and moved over.
//! A test's own part is made by `case`, and kept as text by `cases`: memory does not grow with what tests print.

mod case;
mod cases;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::GroupKind;
use remuda_store::HostReport;

use self::case::case;
use self::cases::Cases;
use super::{Attempt, Fact, Reporter, Summary, whole};
use crate::error::Exit;
use crate::follow::view::TaskKey;

/// Characters of Unicode that XML cannot hold, besides the control characters that the writer takes out.
const NO_XML: [char; 2] = ['\u{fffe}', '\u{ffff}'];

/// How the tag of a suite without cases ends in the text of a report: no value of an attribute has such signs.
const EMPTY: &str = "/>\n";
const END_OF_SUITE: &str = "    </testsuite>\n";

/// The report being made.
pub struct Junit {
    path: PathBuf,
    name: String,
    start: DateTime<FixedOffset>,
    cases: Cases,
    tries: BTreeMap<TaskKey, Vec<Attempt>>,
    beside: Vec<Beside>,
    /// Why groups were skipped.
    skipped: BTreeMap<Arc<str>, String>,
}

/// An error that is none of a test.
struct Beside {
    suite: &'static str,
    class: &'static str,
    name: String,
    message: String,
    text: String,
}

impl Beside {
    fn late(host: &str, fixture: &str, text: &str) -> Self {
        let message = format!("teardown of {fixture} failed on {host}");
        Self { suite: "late teardown", class: "teardown", name: fixture.into(), message, text: text.into() }
    }

    fn failed_end(report: &HostReport) -> Self {
        let message = "the framework's session failed at its end".into();
        let (name, text) = (report.host.clone(), report.failed.clone());
        Self { suite: "end of the session", class: "session", name, message, text }
    }

    /// The run itself.
    fn run(name: &str, because: &str) -> Self {
        Self { suite: "run", class: "run", name: name.into(), message: because.into(), text: String::new() }
    }

    fn case(&self) -> TestCase {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(self.message.as_str());
        if !self.text.is_empty() {
            status.set_description(self.text.as_str());
        }
        let mut case = TestCase::new(self.name.as_str(), status);
        case.set_classname(self.class);
        case
    }
}

impl Junit {
    /// A report that will be written to `path`.
    #[must_use]
    pub fn new(path: PathBuf, name: String, start: DateTime<FixedOffset>) -> Self {
        let (cases, tries, skipped) = (Cases::new(), BTreeMap::new(), BTreeMap::new());
        Self { path, name, start, cases, tries, beside: Vec::new(), skipped }
    }

    /// Writes the whole report: what is around the cases is made by the library, with their numbers.
    fn render(&mut self, wall: Duration, out: &mut dyn Write) -> io::Result<()> {
        let mut report = Report::new(self.name.as_str());
        report.set_timestamp(self.start).set_time(wall);
        let suites = self.cases.suites(self.start);
        report.add_test_suites(suites.iter().cloned());
        let mut others: BTreeMap<&str, TestSuite> = BTreeMap::new();
        for error in &self.beside {
            let suite = others.entry(error.suite).or_insert_with(|| TestSuite::new(error.suite));
            suite.add_test_case(error.case());
        }
        report.add_test_suites(others.into_values());
        let text = legal(&report)?;
        let mut rest = text.as_str();
        for number in 0..suites.len() {
            let Some((before, after)) = rest.split_once(EMPTY) else { break };
            out.write_all(format!("{before}>\n").as_bytes())?;
            self.cases.copy(number, out)?;
            out.write_all(END_OF_SUITE.as_bytes())?;
            rest = after;
        }
        out.write_all(rest.as_bytes())
    }

    /// Whoever reads nothing but this file must not take a run for good that was not.
    fn mind_verdict(&mut self, summary: &Summary) {
        let bad = [Exit::Passed, Exit::NothingSelected].iter().all(|good| good.code() != summary.exit);
        let told = !self.beside.is_empty() || self.cases.any_bad();
        if bad && !told {
            let because = match summary.because.as_str() {
                "" => format!("exit code {}", summary.exit),
                because => because.to_owned(),
            };
            self.beside.push(Beside::run(&self.name, &because));
        }
    }

    fn ended(&mut self, attempt: &Attempt) -> io::Result<()> {
        let earlier = self.tries.get(&attempt.task).map_or(&[][..], Vec::as_slice);
        let because = self.skipped.get(&attempt.group).map_or("", String::as_str);
        self.cases.put(attempt.task, &attempt.group, case(attempt, earlier, because))
    }
}

/// The text of a report, without the two characters that are Unicode and not XML, wherever they are: the writer leaves
/// them in.
fn legal(report: &Report) -> io::Result<String> {
    report.to_string().map(|text| text.replace(NO_XML, "")).map_err(io::Error::other)
}

impl Reporter for Junit {
    fn fact(&mut self, fact: &Fact, _at: Duration) -> io::Result<()> {
        match fact {
            Fact::Tried(attempt) => self.tries.entry(attempt.task).or_default().push(attempt.clone()),
            // a collection that worked is no test; one that failed is an error of its own
            Fact::Ended(attempt) if attempt.kind != GroupKind::Collect || attempt.outcome != Outcome::Passed => {
                self.ended(attempt)?;
            }
            Fact::Group { group, state, reason, .. } if state == "skipped" => {
                self.skipped.insert(group.clone(), reason.clone());
            }
            Fact::Host(report) => {
                let late = report.late.iter().map(|(fixture, text)| Beside::late(&report.host, fixture, text));
                self.beside.extend(late);
                if !report.failed.is_empty() {
                    self.beside.push(Beside::failed_end(report));
                }
            }
            Fact::Finished(summary) => {
                self.mind_verdict(summary);
                let (path, wall) = (self.path.clone(), summary.wall); // not the time until it is told: it may be over for hours
                whole::write_with(&path, &mut |out| self.render(wall, out))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        "the JUnit file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Place;
    use crate::report::testing::{attempt, failed};
    use remuda_protocol::outcome::Detail;

    fn xml(facts: Vec<Fact>) -> String {
        let mut junit = Junit::new("x".into(), "run".into(), DateTime::UNIX_EPOCH.fixed_offset());
        for fact in facts {
            junit.fact(&fact, Duration::ZERO).unwrap();
        }
        let mut text = Vec::new();
        junit.render(Duration::from_secs(1), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn an_example_is_named_by_its_description_and_a_program_is_no_file() {
        let mut example = attempt("./spec/year_spec.rb[1:3]", Outcome::Passed);
        example.detail.properties = vec![("description".into(), "Year leaps".into())];
        let text = xml(vec![Fact::Ended(example)]);
        assert!(text.contains(r#"name="Year leaps" classname="spec.year_spec""#), "{text}");
        assert!(text.contains(r#"file="spec/year_spec.rb""#), "{text}");
        let text = xml(vec![Fact::Ended(attempt("ledger tests::adds", Outcome::Passed))]);
        assert!(text.contains(r#"name="adds" classname="ledger tests""#) && !text.contains("file="), "{text}");
    }

    #[test]
    fn a_flaky_test_passes_and_shows_its_failed_attempt() {
        let passed = Attempt { number: 2, earlier: vec![Outcome::Failed], ..attempt("t.py::test", Outcome::Passed) };
        let text = xml(vec![Fact::Tried(failed("t.py::test")), Fact::Ended(passed)]);
        assert!(text.contains("<flakyFailure") && text.contains("assert 1 == 2"), "{text}");
        assert!(text.contains(r#"failures="0""#) && text.contains(r#"errors="0""#), "{text}");
    }

    #[test]
    fn a_test_of_a_skipped_group_says_why_unless_it_knows_better() {
        let reason = "needs server, which failed".into();
        let (group, state) = ("pytest".into(), "skipped".into());
        let skipped = Fact::Group { group, kind: GroupKind::Tests, state, reason, tasks: 2 };
        let never = Attempt { fence: 0, ..attempt("a", Outcome::Skipped) };
        let mut itself = Attempt { task: (0, 1), ..attempt("b", Outcome::Skipped) };
        itself.detail.reason = "needs root".into();
        let text = xml(vec![skipped, Fact::Ended(never), Fact::Ended(itself)]);
        for message in ["needs server, which failed", "needs root"] {
            assert!(text.contains(&format!(r#"<skipped message="{message}""#)), "{text}");
        }
    }

    #[test]
    fn a_failed_test_shows_earlier_attempts_as_reruns() {
        let last = Attempt { number: 2, earlier: vec![Outcome::Failed], ..failed("t.py::test") };
        let text = xml(vec![Fact::Tried(failed("t.py::test")), Fact::Ended(last)]);
        assert!(text.contains("<rerunFailure") && text.contains("<failure message=\"assert 1 == 2\""), "{text}");
        assert!(text.contains(r#"file="t.py""#) && text.contains(r#"<property name="slot" value="2"/>"#), "{text}");
    }

    #[test]
    fn what_xml_cannot_hold_is_taken_out_wherever_it_is() {
        const BAD: &str = "<a\u{0}\u{8}b\u{1b}[31mred\u{1b}[0m]]>\u{b}\u{fffe}\u{ffff}\u{7f}\u{85}&";
        let mut bad = failed(&format!("t\u{ffff}.py::Class::test[{BAD}]"));
        bad.group = BAD.into();
        bad.detail = Detail {
            message: BAD.into(),
            text: BAD.into(),
            sections: vec![("stdout".into(), BAD.into()), ("stderr".into(), BAD.into()), (BAD.into(), BAD.into())],
            properties: vec![(BAD.into(), BAD.into())],
            ..Detail::default()
        };
        bad.place = Some(Place { host: BAD.into(), ..Place::default() });
        let skipped = Attempt { task: (1, 0), outcome: Outcome::Skipped, ..bad.clone() };
        let mut described = Attempt { task: (2, 0), id: format!("./{BAD}.rb[1]").into(), ..bad.clone() };
        described.detail.properties.push(("description".into(), BAD.into()));
        let late = HostReport { host: BAD.into(), late: vec![(BAD.into(), BAD.into())], ..HostReport::default() };
        let facts = [Fact::Tried(bad.clone()), Fact::Ended(bad), Fact::Ended(skipped), Fact::Ended(described)];
        let text = xml(facts.into_iter().chain([Fact::Host(late)]).collect());
        let illegal = |c: char| (c < ' ' && !"\n\t\r".contains(c)) || NO_XML.contains(&c);
        assert!(!text.contains(illegal) && !text.contains("&#"), "{text:?}");
        assert!(text.contains("bred"), "{text}");
        parses(&text);
    }

    #[test]
    fn a_run_that_did_not_end_well_has_an_error_even_if_no_test_has() {
        let end = |exit, because: &str| Fact::Finished(Summary { exit, because: because.into(), ..Summary::default() });
        let render = |facts: Vec<Fact>| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.xml");
            let mut junit = Junit::new(path.clone(), "make".into(), DateTime::UNIX_EPOCH.fixed_offset());
            facts.iter().for_each(|fact| junit.fact(fact, Duration::ZERO).unwrap());
            std::fs::read_to_string(path).unwrap()
        };
        let cut = render(vec![Fact::Ended(attempt("t", Outcome::Cancelled)), end(2, "the deadline has passed")]);
        assert!(cut.contains(r#"errors="1""#) && cut.contains("the deadline has passed"), "{cut}");
        for facts in [vec![Fact::Ended(failed("t")), end(1, "")], vec![end(0, "")], vec![end(5, "nothing")]] {
            assert!(!render(facts).contains(r#"classname="run""#));
        }
    }

    /// As strict a parser as there is reads it.
    fn parses(text: &str) {
        use std::io::Write as _;
        let program = "import sys, xml.etree.ElementTree as e; e.fromstring(sys.stdin.buffer.read())";
        let mut python = std::process::Command::new("python3")
            .args(["-c", program])
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let out = python.wait_with_output().unwrap();
        assert!(out.status.success(), "{}\n{text:?}", String::from_utf8_lossy(&out.stderr));
    }

    #[test]
    fn a_test_that_ends_twice_is_there_once() {
        let text = xml(vec![Fact::Ended(attempt("t.py::test", Outcome::Passed)), Fact::Ended(failed("t.py::test"))]);
        assert_eq!(text.matches("<testcase").count(), 1);
        assert!(text.contains("<failure"), "{text}");
    }

    #[test]
    fn the_file_is_complete_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out/junit.xml");
        let mut junit = Junit::new(path.clone(), "run".into(), DateTime::UNIX_EPOCH.fixed_offset());
        junit.fact(&Fact::Ended(failed("t.py::test")), Duration::ZERO).unwrap();
        assert!(!path.exists());
        junit.fact(&Fact::Finished(Default::default()), Duration::ZERO).unwrap();
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
