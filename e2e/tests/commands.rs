//! The command tier on a real fleet.
#![allow(missing_docs, clippy::unwrap_used)]

use remuda_e2e::fleet::Fleet;
use remuda_e2e::processes::{lines, marked, until};
use remuda_e2e::support::group;
use remuda_protocol::spec::LaneSpec;

#[tokio::test]
async fn each_item_runs_once_and_nothing_is_left() {
    let mut fleet = Fleet::start(&[]).await;
    let worker = fleet.worker(2, &[]);
    let spec = fleet.commands("j1", "echo {} >> ran");
    fleet.submit(&spec, &[Fleet::items(300)]).await;
    let end = fleet.end_of("j1", 30).await;
    assert_eq!((end.state.as_str(), end.groups[0].ended[0]), ("passed", 300));
    let mut ran = lines(&fleet.path().join("ran"));
    ran.sort();
    ran.dedup();
    assert_eq!(ran.len(), 300);
    fleet.signal(worker, nix::sys::signal::Signal::SIGTERM);
    assert!(fleet.reap(worker).success());
    let mark = fleet.path().to_string_lossy().into_owned();
    until("all processes of the worker to end", 5, async || marked(&format!("E2E_MARK={mark}")).is_empty()).await;
}

#[tokio::test]
async fn verdict_and_output_of_each_command_are_kept() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(1, &[]);
    let spec = fleet.commands("j1", "echo out {}; echo err >&2; exit $(( {#} - 1 ))");
    fleet.submit(&spec, &[Fleet::items(3)]).await;
    let end = fleet.end_of("j1", 30).await;
    assert_eq!((end.state.as_str(), end.groups[0].ended[0], end.groups[0].ended[1]), ("failed", 1, 2));
    let records = fleet.store.records("j1", 0, 0, 3).await.unwrap();
    let detail = fleet.store.details("j1", &[(0, 2, records[2].fence)]).await.unwrap().remove(0).unwrap();
    assert_eq!(detail.message, "exit code 2");
    assert_eq!(
        detail.sections,
        [("stdout".to_owned(), "out item-2\n".to_owned()), ("stderr".to_owned(), "err\n".to_owned())]
    );
}

#[tokio::test]
async fn eight_tasks_over_a_pool_of_two_never_share_an_item() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(4, &[]);
    let mut spec = fleet.commands("j1", "mkdir lock-$REMUDA_POOL_BOARD || exit 9; echo $REMUDA_POOL_BOARD >> used; sleep 0.05; rmdir lock-$REMUDA_POOL_BOARD");
    spec.pools.insert("board".into(), vec!["b1".into(), "b2".into()]);
    spec.groups[0].lanes[0] = LaneSpec { locks: [("board".to_owned(), 1)].into(), ..LaneSpec::default() };
    fleet.submit(&spec, &[Fleet::items(8)]).await;
    let end = fleet.end_of("j1", 30).await;
    assert_eq!((end.state.as_str(), end.groups[0].ended[0]), ("passed", 8));
    let used = lines(&fleet.path().join("used"));
    assert!(used.iter().any(|l| l == "b1") && used.iter().any(|l| l == "b2"), "{used:?}");
}

#[tokio::test]
async fn groups_run_in_their_partial_order() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(4, &[]);
    // A; B needs A; C needs B; D needs A; E needs C and D; F alone
    let needs: [&[u32]; 6] = [&[], &[0], &[1], &[0], &[2, 3], &[]];
    let mut groups: Vec<_> =
        needs.iter().enumerate().map(|(i, n)| group(&char::from(b'A' + i as u8).to_string(), n)).collect();
    for g in &mut groups {
        let line = format!("echo start {0} >> order; sleep 0.1; echo end {0} >> order", g.name);
        g.adapter = remuda_protocol::spec::Adapter::Command { template: remuda_protocol::spec::Template::Shell(line) };
    }
    let spec = fleet.job("j1", groups);
    fleet.submit(&spec, &vec![vec!["x".to_owned()]; 6]).await;
    assert_eq!(fleet.end_of("j1", 30).await.state, "passed");
    let order = lines(&fleet.path().join("order"));
    let at =
        |what: &str| order.iter().position(|l| l == what).unwrap_or_else(|| panic!("{what} is missing in {order:?}"));
    for (first, then) in [("A", "B"), ("B", "C"), ("A", "D"), ("C", "E"), ("D", "E")] {
        assert!(at(&format!("end {first}")) < at(&format!("start {then}")), "{first} before {then} in {order:?}");
    }
    assert!(at("start D") < at("end B") && at("start B") < at("end D"), "B and D overlap: {order:?}");
    assert!(at("start F") < at("end A"), "F waits for nobody: {order:?}");
}
