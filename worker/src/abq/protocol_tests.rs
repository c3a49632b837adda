use super::*;
use crate::abq::verdict::result;

fn passed(id: &str) -> Value {
    json!({"status": {"type": "success"}, "id": id, "display_name": id, "runtime": 2_000_000, "meta": {}})
}

fn of(status: Value, more: Value) -> Value {
    let mut result = json!({"status": status, "id": "t", "display_name": "t", "runtime": 5_000, "meta": {}});
    result.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    result
}

fn ours(message: Value) -> Value {
    match answer(&message).unwrap() {
        Answer::Done(all) => result(3, "t", &all, |id| id == "other"),
        Answer::Part(one) => panic!("{one:?}"),
    }
}

#[test]
fn groups_are_flattened_in_their_order() {
    let test = |id: &str| json!({"type": "test", "id": id, "tags": [], "meta": {"n": id}});
    let group = |name: &str, members: Value, meta: Value| json!({"type": "group", "name": name, "members": members, "tags": [], "meta": meta});
    let inner = group("inner", json!([test("b")]), json!({}));
    let members = json!([
        test("f.py::C::a[x::y]"),
        group("outer", json!([inner, test("c")]), json!({"file": "g.js"})),
        test("d")
    ]);
    let found = manifest(json!({"type": "manifest_success", "manifest": {"members": members, "init_meta": {"k": 1}}, "other_errors": [{"message": "odd"}]})).unwrap();
    let tests: Vec<_> = found.tests.iter().map(|t| (t.id.as_str(), t.file.as_str(), t.scope.as_str())).collect();
    assert_eq!(
        tests,
        [
            ("f.py::C::a[x::y]", "f.py", "f.py::C"),
            ("b", "g.js", "outer inner"),
            ("c", "g.js", "outer"),
            ("d", "d", "d")
        ]
    );
    assert_eq!((found.init_meta["k"].as_u64(), found.notes), (Some(1), vec!["odd".to_owned()]));
    assert_eq!(test_case(&found.tests[1]), json!({"test_case": {"id": "b", "meta": {"n": "b"}}}));
}

#[test]
fn a_manifest_that_failed_or_is_none_says_why() {
    let (headline, text) = manifest(
        json!({"type": "manifest_failure", "error": {"message": "no specs\nat all", "backtrace": ["x.rb:3"]}}),
    )
    .unwrap_err();
    assert_eq!((headline.as_str(), text.as_str()), ("no specs", "no specs\nat all\nx.rb:3"));
    assert!(manifest(json!({"type": "pong"})).unwrap_err().0.ends_with(r#"{"type":"pong"}"#));
}

#[test]
fn other_versions_are_named() {
    let hello = |minor: u32| json!({"type": "abq_native_runner_spawned", "protocol_version": {"type": "abq_protocol_version", "major": 0, "minor": minor}, "runner_specification": {"name": "x"}});
    assert_eq!(greeting(&hello(2)).unwrap()["name"], "x");
    assert!(greeting(&hello(3)).unwrap_err().starts_with("speaks version 0.3"));
    assert!(
        greeting(&json!({"type": "abq_protocol_version", "major": 0, "minor": 1}))
            .unwrap_err()
            .starts_with("speaks version 0.1")
    );
    assert!(greeting(&json!([1])).is_err());
}

#[test]
fn every_status_has_a_word_of_ours() {
    let words = [
        ("success", "passed"),
        ("failure", "failed"),
        ("error", "errored"),
        ("pending", "skipped"),
        ("skipped", "skipped"),
        ("todo", "skipped"),
        ("timed_out", "timed_out"),
        ("new", "errored"),
    ];
    for (theirs, word) in words {
        assert_eq!(ours(json!({"test_result": of(json!({"type": theirs}), json!({}))}))["outcome"], word, "{theirs}");
    }
}

#[test]
fn a_pass_is_short_and_its_time_is_in_microseconds() {
    assert_eq!(
        ours(json!({"test_result": passed("t")})),
        json!({"type": "result", "test": 3, "outcome": "passed", "us": [0.0, 2000.0, 0.0]})
    );
}

#[test]
fn exceptions_and_output_are_shown() {
    let failure = json!({"type": "failure", "exception": "Boom\nreally", "backtrace": ["a.rb:1", "b.rb:2"]});
    let found = ours(
        json!({"test_result": of(failure, json!({"output": "hi", "location": {"file": "a.rb", "line": 1}, "other_errors": [{"message": "leak"}]}))}),
    );
    let detail = &found["detail"];
    assert_eq!(
        (detail["message"].as_str(), detail["longrepr"].as_str()),
        (Some("Boom"), Some("Boom\nreally\na.rb:1\nb.rb:2"))
    );
    assert_eq!(detail["sections"], json!([["output", "hi"], ["another error", "leak"]]));
    assert_eq!(detail["location"], json!({"file": "a.rb", "line": 1}));
    // as pytest-abq tells it
    let found = ours(
        json!({"test_result": of(json!({"type": "failure"}), json!({"output": "def t():\n>   assert 1 == 2\nE   assert 1 == 2\n\nt.py:2: AssertionError"}))}),
    );
    assert_eq!(
        (found["detail"]["message"].as_str(), &found["detail"]["sections"]),
        (Some("assert 1 == 2"), &json!([]))
    );
}

#[test]
fn several_results_are_parts_of_one() {
    let mut failed = of(json!({"type": "failure", "exception": "no"}), json!({"lineage": ["outer"]}));
    failed["id"] = "second".into();
    let found = ours(json!({"test_results": [passed("first"), failed]}));
    assert_eq!((found["outcome"].as_str(), found["detail"]["message"].as_str()), (Some("failed"), Some("no")));
    assert_eq!(found["detail"]["subtests"][1]["name"], "outer t");
    assert_eq!(found["us"][1], 2005.0);
    assert_eq!(ours(json!({"type": "incremental_result_done"}))["outcome"], "errored");
    assert!(matches!(
        answer(&json!({"type": "incremental_result", "one_test_result": passed("a")})),
        Ok(Answer::Part(_))
    ));
}

#[test]
fn an_answer_for_another_test_is_no_result() {
    let found = ours(json!({"test_result": passed("other")}));
    assert_eq!(
        (found["outcome"].as_str(), found["detail"]["message"].as_str()),
        (Some("errored"), Some("the ABQ adapter answered for another test: other"))
    );
    assert_eq!(ours(json!({"test_result": passed("part of t")}))["outcome"], "passed");
}

#[test]
fn what_is_no_answer_is_named() {
    assert!(answer(&json!({"hello": 1})).unwrap_err().contains(r#"{"hello":1}"#));
    assert!(answer(&json!({"test_result": {"id": 3}})).unwrap_err().contains("cannot be read"));
}
