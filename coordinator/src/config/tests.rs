//! What `remuda.toml` may say, and the exact words for what it may not.

use super::file::{ProjectFile, What};
use super::reader::Source;
use super::values::CommandText;
use super::{ConfigError, Layer};
use crate::error::{Error, Exit};

fn parse(text: &str) -> Result<ProjectFile, ConfigError> {
    ProjectFile::parse(&Source { path: "remuda.toml".into(), text: text.into() })
}

fn refused(text: &str) -> String {
    let error = Error::from(parse(text).unwrap_err());
    assert_eq!(error.exit(), Exit::Usage);
    error.render()
}

#[test]
fn the_groups_of_the_design_are_read_in_the_order_of_the_file() {
    let file = parse(
        r#"
        retries = 2
        [groups.web-server]
        count = 2
        needs = ["monitor"]
        up = "./lab/boot web {index}"
        [groups.monitor]
        up = "./lab/boot monitor {index}"
        [groups.web-tests]
        adapter = "pytest"
        args = ["tests/web"]
        needs = ["web-server"]
        timeout = "5m"
        locks = { repository = 1 }
        [groups.lint]
        adapter = "command"
        command = ["./ci/lint", "{item}"]
        items = ["src", "tests"]
        [pools.repository]
        items = ["a", "b"]
        "#,
    )
    .unwrap();
    assert_eq!(
        file.groups.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(),
        ["web-server", "monitor", "web-tests", "lint"]
    );
    assert_eq!(file.groups[0].needs, [1]);
    assert_eq!(
        file.groups[1].what,
        What::Provision { up: CommandText::Line("./lab/boot monitor {index}".into()), count: 1 }
    );
    assert_eq!(file.groups[2].settings.locks["repository"], 1);
    assert_eq!(file.settings.retries.as_ref().unwrap().value, 2);
    assert_eq!(file.select(&["web-tests".into()]).unwrap(), [0, 1, 2]);
    assert_eq!(file.select(&[]).unwrap(), [0, 1, 2, 3]);
}

#[test]
fn an_unknown_key_names_file_line_and_the_nearest() {
    assert_eq!(
        refused("[groups.a]\nadapter = \"command\"\ncommand = \"x\"\nretrys = 1\n"),
        "error: remuda.toml:4: unknown key `retrys` in [groups.a]\n  hint: the nearest known key is `retries`"
    );
    assert_eq!(
        refused("tiemout = \"5m\"\n"),
        "error: remuda.toml:1: unknown key `tiemout`\n  hint: the nearest known key is `timeout`"
    );
}

#[test]
fn a_mistyped_key_is_the_mistake_and_not_that_the_right_one_is_missing() {
    assert_eq!(
        refused("[groups.a]\nadapter = \"command\"\ncomand = \"true\"\n"),
        "error: remuda.toml:3: unknown key `comand` in [groups.a]\n  hint: the nearest known key is `command`"
    );
    assert_eq!(
        refused("[groups.a]\nadaptor = \"pytest\"\n"),
        "error: remuda.toml:2: unknown key `adaptor` in [groups.a]\n  hint: the nearest known key is `adapter`"
    );
    assert!(refused("[pools.p]\nitem = [\"a\"]\n").contains(":2: unknown key `item` in [pools.p]"));
    let nothing = refused("[groups.a]\nadapter = \"command\"\n");
    assert!(nothing.contains(":1: `command` in [groups.a]: is missing"), "{nothing}");
}

#[test]
fn what_is_there_twice_is_named_with_its_first_place() {
    assert_eq!(
        refused("[groups.a]\nup = \"x\"\n\n[ groups.a ] # again\nup = \"y\"\n"),
        "error: remuda.toml:4: not TOML: [groups.a] is there twice, first in line 1"
    );
    assert_eq!(
        refused("retries = 1\n[groups.a]\nretries = 1\n\"retries\" = 2\n"),
        "error: remuda.toml:4: not TOML: `retries` in [groups.a] is there twice, first in line 3"
    );
    assert_eq!(
        refused("retries = 1\nretries = 2\n"),
        "error: remuda.toml:2: not TOML: `retries` is there twice, first in line 1"
    );
    assert_eq!(refused("groups = { a = {}, a = {} }\n"), "error: remuda.toml:1: not TOML: duplicate key");
}

#[test]
fn a_wrong_type_says_what_is_there_and_what_was_expected() {
    assert_eq!(
        refused("\nretries = \"two\"\n"),
        "error: remuda.toml:2: `retries` is a string, expected a whole number from 0"
    );
    assert_eq!(refused("groups = 3\n"), "error: remuda.toml:1: `groups` is an integer, expected groups: [groups.NAME]");
    assert_eq!(
        refused("[groups.a]\nadapter = \"command\"\ncommand = \"x {item}\"\nitems = \"a\"\n"),
        "error: remuda.toml:4: `items` in [groups.a] is a string, expected a list of texts: [\"a\", \"b\"]"
    );
    assert_eq!(
        refused("timeout = \"soon\"\n"),
        "error: remuda.toml:1: `timeout`: `soon` is not a time; write 90s, 5m, 1h30m or 250ms"
    );
}

#[test]
fn an_unknown_need_names_the_nearest_group() {
    assert_eq!(
        refused("[groups.monitor]\nup = \"x\"\n[groups.web]\nup = \"y\"\nneeds = [\"monitr\"]\n"),
        "error: remuda.toml:5: there is no group `monitr`\n  hint: the nearest group is `monitor`"
    );
}

#[test]
fn a_circle_is_printed_as_a_path() {
    let text = refused(
        "[groups.a]\nup = \"x\"\nneeds = [\"b\"]\n[groups.b]\nup = \"x\"\nneeds = [\"c\"]\n[groups.c]\nup = \"x\"\nneeds = [\"b\"]\n",
    );
    assert_eq!(
        text,
        "error: remuda.toml:6: groups need each other in a circle: b -> c -> b\n  hint: take one of these needs away"
    );
}

#[test]
fn an_unknown_pool_and_one_that_is_too_small_are_refused() {
    let group = |locks: &str| {
        format!(
            "[groups.a]\nadapter = \"command\"\ncommand = \"x\"\nlocks = {locks}\n[pools.boards]\nitems = [\"b1\"]\n"
        )
    };
    assert_eq!(
        refused(&group("[\"board\"]")),
        "error: remuda.toml:1: `locks` in [groups.a]: there is no pool `board`; the nearest is `boards`"
    );
    assert_eq!(
        refused(&group("{ boards = 2 }")),
        "error: remuda.toml:1: `locks` in [groups.a]: wants 2 of pool `boards`, which has 1 (line 5); lock fewer, or add items"
    );
}

#[test]
fn what_this_version_does_not_carry_out_is_refused_not_ignored() {
    assert_eq!(
        refused("[groups.a]\nup = \"x\"\ndown = \"y\"\n"),
        "error: remuda.toml:3: `down` in [groups.a] is not carried out by this version\n  hint: leave it out"
    );
}

#[test]
fn a_group_without_adapter_and_an_unknown_adapter_are_refused() {
    assert_eq!(
        refused("[groups.a]\nneeds = []\n"),
        "error: remuda.toml:1: `adapter` in [groups.a]: a group has an `adapter` (command, files, pytest, rspec, cargo-nextest, cargo-test, go-test, batch, abq) or `up`"
    );
    assert_eq!(
        refused("[groups.a]\nadapter = \"pytset\"\n"),
        "error: remuda.toml:2: `adapter` in [groups.a]: there is no adapter `pytset` (known: command, files, pytest, rspec, cargo-nextest, cargo-test, go-test, batch, abq); the nearest is `pytest`"
    );
}

#[test]
fn a_file_that_is_not_toml_names_its_line() {
    assert!(refused("retries = 1\n[groups\n").starts_with("error: remuda.toml:2: not TOML: "));
}

#[test]
fn an_unknown_group_on_the_command_line_lists_those_that_exist() {
    let file = parse("[groups.unit]\nup = \"x\"\n[groups.web]\nup = \"x\"\n").unwrap();
    let error = Error::from(file.select(&["smoke".into()]).unwrap_err());
    assert_eq!(error.render(), "error: command line: there is no group `smoke`\n  hint: groups: unit, web");
}

/// Every key that a schema's object knows.
fn keys(schema: &serde_json::Value, path: &str) -> Vec<String> {
    schema.pointer(path).unwrap().as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_schema_knows_the_settings_and_no_others() {
    let schema: serde_json::Value = serde_json::from_str(crate::commands::config::SCHEMA).unwrap();
    let mut known: Vec<String> = Layer::default().list().into_iter().map(|(name, ..)| name.to_owned()).collect();
    known.extend(["groups".to_owned(), "pools".to_owned()]);
    known.sort();
    assert_eq!(keys(&schema, "/properties"), known);
}

#[test]
fn every_key_of_the_schema_is_one_that_the_reader_takes() {
    let schema: serde_json::Value = serde_json::from_str(crate::commands::config::SCHEMA).unwrap();
    let group = "/properties/groups/additionalProperties/properties";
    let adapters = schema.pointer(&format!("{group}/adapter/enum")).unwrap().as_array().unwrap();
    for key in keys(&schema, group).iter().filter(|key| *key != "adapter") {
        // a value that no key can have: what is complained of is the value, wherever the key is known
        let known = |head: &str| {
            let text = format!("[groups.g]\n{head}\n{key} = 1979-05-27\n");
            let error = ProjectFile::parse(&Source { path: "remuda.toml".into(), text }).unwrap_err();
            !matches!(error, ConfigError::UnknownKey { .. })
        };
        let heads = adapters.iter().map(|a| format!("adapter = {a}\ncommand = \"x\"\nfiles = [\"y\"]"));
        let mut heads = heads.chain(["up = \"x\"".to_owned(), String::new()]);
        assert!(heads.any(|head| known(&head)), "the schema has `{key}`, the reader has not");
    }
}

#[test]
fn a_batch_without_ids_or_places_for_them_is_refused_and_told_how() {
    let batch = |rest: &str| refused(&format!("[groups.a]\nadapter = \"batch\"\n{rest}"));
    assert!(
        batch("command = \"t {items} {junit}\"\n").contains("`list` in [groups.a]: is missing: where do the tests")
    );
    let told = batch("items = [\"x\"]\ncommand = \"t {junit}\"\n");
    assert!(told.contains("has no place for the ids: {items}"), "{told}");
    let told = batch("items = [\"x\"]\ncommand = \"t {items}\"\n");
    assert!(told.contains("has no place for the report: {junit}"), "{told}");
    assert!(batch("items = [\"x\"]\n").contains("`command` in [groups.a]: is missing"));
}
