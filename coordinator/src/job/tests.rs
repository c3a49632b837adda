//! What jobs are made of what was written.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::adhoc::EachInput;
use super::*;
use crate::config::reader::Source;
use crate::error::Exit;
use remuda_protocol::spec::Template;

fn head(embedded: bool) -> Head {
    let tree = Tree { path: "/src".into(), host: "h".into(), mark: "1:2".into() };
    Head { id: "j".into(), name: "n".into(), submitter: "me@h".into(), project: "p".into(), tree, embedded }
}

pub(crate) fn plan_of(text: &str, typed: Layer) -> Result<Plan, Error> {
    let file = ProjectFile::parse(&Source { path: "/src/remuda.toml".into(), text: text.into() })?;
    let chosen = file.select(&[])?;
    let settings = typed.over(file.settings.clone());
    let pools = file.pools.iter().map(|(name, pool)| (name.clone(), pool.items.clone())).collect();
    build(head(true), drafts(&file, &chosen)?, &settings, &pools, &|name| (name == "SET").then(|| "yes".to_owned()))
}

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

const LAB: &str = r#"
    retries = 1
    env = ["SET", "UNSET"]
    [groups.web-server]
    count = 2
    up = "./boot web {index}"
    [groups.web-tests]
    adapter = "pytest"
    args = ["tests/web"]
    needs = ["web-server"]
    timeout = "5m"
    retries = 3
    locks = { repository = 1 }
    group_by = "file"
    [groups.lint]
    adapter = "command"
    command = "./lint {item}"
    items = ["src", "tests"]
    needs = ["web-tests"]
    [pools.repository]
    items = ["a", "b"]
    [pools.unused]
    items = ["c"]
"#;

#[test]
fn a_pytest_group_gets_a_collector_behind_the_same_gate_without_its_locks() {
    let plan = plan_of(LAB, Layer::default()).unwrap();
    let names: Vec<_> = plan.spec.groups.iter().map(|g| (g.name.as_str(), g.kind, g.needs.clone())).collect();
    assert_eq!(
        names,
        [
            ("web-server", GroupKind::Provision, vec![]),
            ("web-tests@collect", GroupKind::Collect, vec![0]),
            ("web-tests", GroupKind::Tests, vec![0]),
            ("lint", GroupKind::Tests, vec![2]),
        ]
    );
    let (collect, tests) = (&plan.spec.groups[1], &plan.spec.groups[2]);
    assert_eq!((collect.collects, collect.lanes[0].locks.len(), collect.lanes[0].warm), (Some(2), 0, false));
    assert_eq!(
        (tests.lanes[0].lockset().as_str(), tests.lanes[0].warm, tests.timeout_ms),
        ("repository=1", true, Some(300_000))
    );
    assert_eq!(plan.spec.pools.keys().collect::<Vec<_>>(), ["repository"]);
    let feeds: Vec<_> = plan.feeds.iter().map(|f| (f.group, f.lane)).collect();
    assert_eq!(feeds, [(0, 0), (1, 1), (3, 3)]);
    assert_eq!(plan.feeds[0].items, Items::Known(vec!["0".into(), "1".into()]));
    assert_eq!(plan.feeds[1].items, Items::Known(vec!["web-tests".into()]));
}

#[test]
fn a_groups_own_setting_wins_over_the_file_and_a_flag_over_both() {
    let retries = |plan: &Plan| plan.spec.groups.iter().map(|g| g.retries).collect::<Vec<_>>();
    assert_eq!(retries(&plan_of(LAB, Layer::default()).unwrap()), [0, 0, 3, 1]);
    let typed = Layer { retries: Some(Chosen { value: 7, origin: Origin::Flag }), ..Layer::default() };
    assert_eq!(retries(&plan_of(LAB, typed).unwrap()), [0, 0, 7, 7]);
}

#[test]
fn variables_travel_by_name_and_a_typed_one_must_be_set() {
    let plan = plan_of(LAB, Layer::default()).unwrap();
    assert_eq!(plan.spec.env, BTreeMap::from([("SET".to_owned(), "yes".to_owned())]));
    let env = crate::config::values::Variables(vec!["A=1=2".into(), "UNSET".into()]);
    let typed = Layer { env: Some(Chosen { value: env, origin: Origin::Flag }), ..Layer::default() };
    let error = plan_of(LAB, typed).unwrap_err();
    assert_eq!(error.to_string(), "--env UNSET: this variable is not set here; export it, or write --env UNSET=VALUE");
}

#[test]
fn pytest_on_the_command_line_keeps_its_flags_and_ours_follow_them() {
    let made = adhoc::command(&words("python3 -m pytest -n 3 -x tests"), &["-k".into(), "fast".into()]).unwrap();
    let Adapter::Pytest { program, args, .. } = &made.draft.adapter else { panic!("not pytest") };
    assert_eq!(program.join(" "), "python3 -m pytest");
    assert_eq!(args.join(" "), "-k fast -n 3 -x tests");
    assert_eq!(made.flags.maxfail.as_ref().unwrap().value, 1);
    let plan = build(head(false), vec![made.draft], &made.flags, &BTreeMap::new(), &|_| None).unwrap();
    assert_eq!((plan.spec.max_failures, plan.spec.max_slots), (1, 3));
}

#[test]
fn any_other_command_is_one_task() {
    let made = adhoc::command(&words("make -C lib check"), &[]).unwrap();
    assert_eq!(
        (made.draft.name.as_str(), &made.draft.items),
        ("make", &Items::Known(vec!["make -C lib check".into()]))
    );
    let note = adhoc::command(&words("env CI=1 rspec -fd"), &[]).unwrap().note.unwrap();
    assert_eq!(note, "this runs as one task; for test by test: env CI=1 remuda run -- rspec -fd");
    assert_eq!(adhoc::command(&words("bundle exec rspec --version"), &[]).unwrap().note, None);
    let note = adhoc::command(&words("uv run pytest -q"), &[]).unwrap().note.unwrap();
    assert_eq!(note, "this runs as one task; for test by test: uv run remuda run -- pytest -q");
    assert_eq!(adhoc::command(&words("make"), &["-k".into(), "x".into()]).unwrap_err().exit(), Exit::Usage);
}

#[test]
fn each_takes_its_items_from_the_line_or_from_input() {
    let draft = adhoc::each(input(&words("gzip -9 ::: a -b"))).unwrap();
    assert_eq!(draft.items, Items::Known(vec!["a".into(), "-b".into()]));
    let template = Template::Argv(["gzip", "-9", "{}"].map(str::to_owned).to_vec());
    assert_eq!(draft.adapter, Adapter::Command { template });
    let Items::Rows(rows) = adhoc::each(EachInput { null: true, ..input(&words("gzip")) }).unwrap().items else {
        panic!("not rows")
    };
    assert!(rows.null && rows.reads_input() && !rows.has_columns());
    assert_eq!(adhoc::each(input(&words("gzip :::"))).unwrap_err().exit(), Exit::NothingSelected);
    assert_eq!(adhoc::each(input(&words("a :::+ b"))).unwrap_err().exit(), Exit::Usage);
    let line = words("a :::: -");
    let twice = EachInput { files: &["-".into()], ..input(&line) };
    assert_eq!(adhoc::each(twice).unwrap_err().exit(), Exit::Usage);
}

fn input(words: &[OsString]) -> EachInput<'_> {
    EachInput { words, ..EachInput::default() }
}

#[test]
fn several_lists_need_a_shell_for_their_columns_and_keep_their_order() {
    let draft = adhoc::each(input(&words("cc {1} ::: a b :::+ x y ::: 1 2"))).unwrap();
    assert_eq!(draft.adapter, Adapter::Command { template: Template::Shell("cc {1}".into()) });
    let Items::Rows(rows) = draft.items else { panic!("not rows") };
    assert_eq!(rows.sources.iter().map(|s| s.linked).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(rows.ids().unwrap().count(), 4);
    let numbered = adhoc::each(input(&words("echo {#} ::: a b"))).unwrap();
    assert!(matches!(numbered.items, Items::Rows(_)), "a number means the place in the list");
}

#[test]
fn without_a_command_the_items_are_the_commands() {
    let draft = adhoc::each(input(&words("::: true"))).unwrap();
    assert_eq!(draft.adapter, Adapter::Command { template: Template::Shell("eval {}".into()) });
}

#[test]
fn names_that_are_not_utf8_are_refused_and_shown() {
    let bad = OsString::from_vec(b"caf\xe9".to_vec());
    let error = adhoc::each(input(&[OsString::from("x"), OsString::from(":::"), bad.clone()])).unwrap_err();
    assert_eq!(error.to_string(), r"item 1 (caf\xe9) is not UTF-8, and names of tasks must be; rename it");
    assert_eq!(error.exit().code(), 2);
    let error = adhoc::command(&[OsString::from("ls"), bad], &[]).unwrap_err();
    assert!(error.to_string().contains(r"caf\xe9"), "{error}");
}

#[test]
fn a_name_of_a_megabyte_is_refused_without_printing_it() {
    let error = rows::text(3, vec![b'x'; 1 << 20]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("item 3 ({}…) has 1048576 bytes; a task's name may have at most 65536", "x".repeat(40))
    );
    assert_eq!(error.exit().code(), 2);
}

#[test]
fn an_embedded_run_cannot_be_detached() {
    let typed =
        Layer { on_disconnect: Some(Chosen { value: OnDisconnect::Detach, origin: Origin::Flag }), ..Layer::default() };
    assert_eq!(plan_of("", typed).unwrap_err().exit(), Exit::Usage);
}
