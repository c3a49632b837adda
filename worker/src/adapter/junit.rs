//! Reads what a framework reports of single tests: JUnit's XML as the many writers of it write it, and JSON for scripts
//! that write their own. Pure. A report that breaks off gives what came before.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde::Deserialize;

/// What a report says of one test.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Case {
    /// The id, if the report itself names it (JSON).
    pub id: String,
    /// `name` of the innermost suite.
    pub suite: String,
    /// `classname`.
    pub classname: String,
    /// `name`.
    pub name: String,
    /// `file`, of the test or else of its suite.
    pub file: String,
    /// `passed`, `failed`, `errored` or `skipped`.
    pub outcome: String,
    /// One line that says why.
    pub message: String,
    /// The long text.
    pub text: String,
    /// Seconds.
    #[serde(rename = "seconds")]
    pub time: Option<f64>,
    /// What it printed.
    #[serde(rename = "output")]
    pub printed: String,
}

impl Case {
    /// `template` with `{suite}`, `{classname}`, `{name}` and `{file}` filled in.
    #[must_use]
    pub fn id_of(&self, template: &str) -> String {
        let mut id = template.to_owned();
        for (place, value) in
            [("{suite}", &self.suite), ("{classname}", &self.classname), ("{name}", &self.name), ("{file}", &self.file)]
        {
            id = id.replace(place, value);
        }
        id
    }
}

/// The cases of a JSON report: an array, or one object a line.
///
/// # Errors
/// A sentence about the first thing that is not such a report.
pub fn json(text: &str) -> Result<Vec<Case>, String> {
    let read = if text.trim_start().starts_with('[') {
        serde_json::from_str(text)
    } else {
        text.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str).collect()
    };
    let cases: Vec<Case> =
        read.map_err(|e| format!("the JSON report is not a list of {{\"id\", \"outcome\"}}: {e}"))?;
    match cases.iter().find(|c| !["passed", "failed", "errored", "skipped"].contains(&c.outcome.as_str())) {
        Some(case) => Err(format!(
            "the JSON report says `{}` of `{}`; an outcome is passed, failed, errored or skipped",
            case.outcome, case.id
        )),
        None => Ok(cases),
    }
}

#[derive(Default)]
struct State {
    cases: Vec<Case>,
    /// Name and file of each open suite.
    suites: Vec<(String, String)>,
    case: Option<Case>,
    /// Text of the element that is open inside a case.
    inside: Option<(&'static str, String)>,
}

/// The cases of a JUnit report, and what was wrong with it.
#[must_use]
pub fn xml(text: &str) -> (Vec<Case>, Option<String>) {
    let mut reader = Reader::from_str(text);
    let mut state = State::default();
    let problem = loop {
        match reader.read_event() {
            Ok(Event::Start(element)) => state.open(&element),
            Ok(Event::Empty(element)) => {
                state.open(&element);
                state.close(element.local_name().as_ref());
            }
            Ok(Event::End(element)) => state.close(element.local_name().as_ref()),
            Ok(Event::Text(words)) => state.say(&String::from_utf8_lossy(&words)),
            Ok(Event::CData(words)) => state.say(&String::from_utf8_lossy(&words)),
            Ok(Event::GeneralRef(entity)) => {
                let name = String::from_utf8_lossy(&entity).into_owned();
                let known = quick_xml::escape::resolve_predefined_entity(&name).map(str::to_owned);
                let character = entity.resolve_char_ref().ok().flatten().map(String::from);
                state.say(&known.or(character).unwrap_or_default());
            }
            Ok(Event::Eof) if state.suites.is_empty() && state.case.is_none() => break None,
            Ok(Event::Eof) => break Some("it breaks off".to_owned()),
            Ok(_) => {}
            Err(error) => break Some(error.to_string()),
        }
    };
    (state.cases, problem)
}

impl State {
    fn open(&mut self, element: &BytesStart<'_>) {
        let attribute = |name: &str| {
            let found = element.attributes().with_checks(false).flatten().find(|a| a.key.as_ref() == name.as_bytes());
            found.map_or_else(String::new, |a| {
                let raw = String::from_utf8_lossy(&a.value).into_owned();
                quick_xml::escape::unescape(&raw).map_or_else(|_| raw.clone(), std::borrow::Cow::into_owned)
            })
        };
        match element.local_name().as_ref() {
            b"testsuite" => self.suites.push((attribute("name"), attribute("file"))),
            b"testcase" => {
                let (suite, of_suite) = self.suites.last().cloned().unwrap_or_default();
                let file = attribute("file");
                let file = if file.is_empty() { of_suite } else { file };
                // gtest says it in attributes: a disabled test is `notrun`
                let skipped = attribute("status") == "notrun" || attribute("result") == "skipped";
                let outcome = if skipped { "skipped" } else { "passed" }.to_owned();
                let time = attribute("time").replace(',', "").parse().ok();
                let (classname, name) = (attribute("classname"), attribute("name"));
                self.case = Some(Case { suite, classname, name, file, outcome, time, ..Case::default() });
            }
            kind @ (b"failure" | b"error" | b"skipped" | b"system-out" | b"system-err" | b"rerunFailure"
            | b"flakyFailure") => {
                let Some(case) = &mut self.case else { return };
                let (inside, outcome) = match kind {
                    b"failure" => ("failure", "failed"),
                    b"error" => ("failure", "errored"),
                    b"skipped" => ("skipped", "skipped"),
                    b"system-out" | b"system-err" => ("printed", ""),
                    _ => ("earlier", ""),
                };
                self.inside = Some((inside, String::new()));
                // what is skipped or still to do may also say how it would fail
                if !outcome.is_empty() && case.outcome != "skipped" {
                    case.outcome = outcome.to_owned();
                }
                if !outcome.is_empty() && case.message.is_empty() {
                    case.message = attribute("message");
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, words: &str) {
        if let Some((_, text)) = &mut self.inside {
            text.push_str(words);
        }
    }

    fn close(&mut self, name: &[u8]) {
        match name {
            b"testsuite" => drop(self.suites.pop()),
            b"testcase" => self.cases.extend(self.case.take()),
            _ => {
                let Some((kind, text)) = self.inside.take() else { return };
                let Some(case) = &mut self.case else { return };
                let text = text.trim_matches('\n');
                let into = match kind {
                    "printed" => &mut case.printed,
                    "earlier" => return,
                    _ => &mut case.text,
                };
                if !into.is_empty() && !text.is_empty() {
                    into.push('\n');
                }
                into.push_str(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"<?xml version="1.0"?><testsuites>
<testsuite name="Sums" file="sums.rb"><testcase classname="Sums" name="adds" time="0.5"/>
<testcase classname="Sums" name="a &lt;b&gt;"><failure message="2 &amp; 3">line &#10;<![CDATA[two & more]]></failure><system-out>hi</system-out></testcase>
<testsuite name="inner"><testcase name="x" file="own.rb"><error/></testcase></testsuite>
<testcase name="later"><skipped type="todo" message="true"/><failure message="later"/></testcase>
<testcase name="off" status="notrun"/></testsuite></testsuites>"#;

    #[test]
    fn a_report_gives_every_case_with_its_reason() {
        let (cases, problem) = xml(REPORT);
        assert_eq!(problem, None);
        let shown: Vec<_> = cases.iter().map(|c| (c.name.as_str(), c.outcome.as_str(), c.file.as_str())).collect();
        let expected = [
            ("adds", "passed", "sums.rb"),
            ("a <b>", "failed", "sums.rb"),
            ("x", "errored", "own.rb"),
            ("later", "skipped", "sums.rb"),
            ("off", "skipped", "sums.rb"),
        ];
        assert_eq!(shown, expected);
        assert_eq!((cases[1].message.as_str(), cases[1].printed.as_str()), ("2 & 3", "hi"));
        assert_eq!(cases[1].text, "line \ntwo & more");
        assert_eq!((cases[0].time, cases[0].id_of("{classname}#{name}")), (Some(0.5), "Sums#adds".to_owned()));
    }

    #[test]
    fn a_report_that_breaks_off_gives_what_came_before() {
        let (cases, problem) = xml(&REPORT[..REPORT.find("<testsuite name=\"inner\"").unwrap()]);
        assert_eq!(cases.len(), 2);
        assert_eq!(problem.as_deref(), Some("it breaks off"));
    }

    #[test]
    fn json_is_an_array_or_lines_and_outcomes_are_ours() {
        let lines = "{\"id\":\"a\",\"outcome\":\"passed\",\"seconds\":1}\n\n{\"id\":\"b\",\"outcome\":\"failed\",\"message\":\"no\"}\n";
        assert_eq!(json(lines).unwrap().len(), 2);
        assert_eq!(json("[{\"id\":\"a\",\"outcome\":\"skipped\"}]").unwrap()[0].outcome, "skipped");
        assert!(json("{\"id\":\"a\",\"outcome\":\"ok\"}").unwrap_err().contains("says `ok` of `a`"));
        assert!(json("nonsense").unwrap_err().starts_with("the JSON report is not a list"));
    }
}
