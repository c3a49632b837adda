//! The `pytest` adapter: which interpreter, which arguments for the loader, what its results mean.

use std::path::Path;

use remuda_protocol::outcome::{Detail, Outcome, UNCAPTURED};
use remuda_protocol::spec::{GroupBy, Isolation};
use serde_json::{Value, json};

use crate::loader::messages::TestResult;
use crate::loader::tap::Taken;

/// The command that starts the loader from the program words that the user wrote before the arguments.
#[must_use]
pub fn loader_argv(program: &[String], main: &Path, script_line: Option<&str>) -> Vec<String> {
    let main = main.to_string_lossy().into_owned();
    let name = program.first().map_or("pytest", String::as_str);
    if is_python(name) {
        let options = program[1..].iter().take_while(|w| *w != "-m").cloned();
        return [name.to_owned()].into_iter().chain(options).chain([main]).collect();
    }
    // `pytest` is a script whose first line names the interpreter that has it
    let interpreter =
        script_line.and_then(|l| l.strip_prefix("#!")).map(|l| l.split_whitespace().map(str::to_owned).collect());
    let mut words: Vec<String> =
        interpreter.filter(|w: &Vec<String>| !w.is_empty()).unwrap_or_else(|| vec!["python3".to_owned()]);
    words.push(main);
    words
}

/// Whether the user wrote `python -m pytest`, which puts the current folder on the module path.
#[must_use]
pub fn as_module(program: &[String]) -> bool {
    program.iter().any(|w| w == "-m")
}

fn is_python(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.strip_prefix("python")
        .or_else(|| base.strip_prefix("pypy"))
        .is_some_and(|v| v.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

/// `REMUDA_LOAD` of the runner protocol.
#[must_use]
pub fn load_settings(
    args: &[String],
    program: &[String],
    isolation: Isolation,
    group_by: GroupBy,
    slots: u32,
    job: &str,
) -> Value {
    json!({
        "args": args,
        "module": as_module(program),
        "isolation": isolation,
        "group_by": group_by,
        "slots": slots,
        "run": job,
        "rootdir": null,
        "merge": true,
        "timeout": null,
    })
}

/// Our outcome for the framework's word.
#[must_use]
pub fn outcome(word: &str) -> Outcome {
    match word {
        "passed" | "xpassed" => Outcome::Passed,
        "failed" => Outcome::Failed,
        "skipped" | "xfailed" => Outcome::Skipped,
        "timed_out" => Outcome::TimedOut,
        _ => Outcome::Errored,
    }
}

/// What is kept of a result besides its outcome.
#[must_use]
pub fn detail(result: &TestResult, printed: &[Taken; 2]) -> Detail {
    let mut detail = match &result.detail {
        Some(value) => read_detail(value),
        None => Detail::default(),
    };
    if let Some(word) = result.detail.as_ref().and_then(|d| d.get("word")).and_then(Value::as_str) {
        word.clone_into(&mut detail.word);
    }
    if result.outcome.starts_with('x') {
        detail.word.clone_from(&result.outcome);
    }
    detail.sections.extend(sections(printed));
    detail.dropped_bytes = printed.iter().map(|p| p.dropped).sum();
    detail
}

/// What a runner printed past the framework's capture, titled.
pub fn sections(printed: &[Taken; 2]) -> impl Iterator<Item = (String, String)> + '_ {
    let titled = UNCAPTURED.into_iter().zip(printed);
    titled.filter(|(_, p)| !p.text.is_empty()).map(|(title, p)| (title.to_owned(), p.text.clone()))
}

fn read_detail(value: &Value) -> Detail {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let pairs = |name: &str| -> Vec<(String, String)> {
        let items = value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().map(|p| (shown(&p[0]), shown(&p[1]))).collect()
    };
    let subtests = value.get("subtests").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let location = value.get("location").map_or_else(String::new, |l| {
        let file = l.get("file").and_then(Value::as_str).unwrap_or("");
        l.get("line").and_then(Value::as_u64).map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"))
    });
    Detail {
        message: text("message"),
        text: text("longrepr"),
        when: text("when"),
        reason: text("reason"),
        sections: pairs("sections"),
        properties: pairs("properties"),
        location,
        subtests: subtests.iter().map(|s| (shown(&s["name"]), shown(&s["outcome"]), shown(&s["longrepr"]))).collect(),
        ..Detail::default()
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_interpreter_is_the_one_that_would_have_run() {
        let main = Path::new("/r/main.py");
        assert_eq!(loader_argv(&words("pytest"), main, Some("#!/venv/bin/python")), ["/venv/bin/python", "/r/main.py"]);
        assert_eq!(
            loader_argv(&words("python3.11 -X dev -m pytest"), main, None),
            ["python3.11", "-X", "dev", "/r/main.py"]
        );
        assert_eq!(loader_argv(&words("pytest"), main, None), ["python3", "/r/main.py"]);
    }

    #[test]
    fn xfail_is_no_pass_and_no_failure() {
        assert_eq!(outcome("xfailed"), Outcome::Skipped);
        assert_eq!(outcome("xpassed"), Outcome::Passed);
        assert_eq!(outcome("errored"), Outcome::Errored);
    }
}
