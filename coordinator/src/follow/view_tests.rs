//! The view of a job, event by event.

use std::time::Duration;

use remuda_protocol::event::Event;
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::GroupKind;
use remuda_store::{GroupSnapshot, JobSnapshot, TaskRecord};

use super::view::{Change, JobView};

fn job(kinds: &[GroupKind]) -> JobView {
    JobView::of_kinds(kinds.iter().copied())
}

fn play(view: &mut JobView, lines: &str) -> Vec<Change> {
    Event::parse_batch(lines).filter_map(|e| view.apply(&e, Duration::from_secs(1))).collect()
}

#[test]
fn a_slot_runs_the_first_task_of_its_claim_that_has_not_ended() {
    let mut view = job(&[GroupKind::Tests]);
    play(&mut view, "+ 0 0 4\n> 0 7 0 2 0 w1 0\n> 0 8 2 2 1 w1 1\n= 0 0 P 7 500 0");
    let running: Vec<_> = view.running().iter().map(|r| (r.number, r.task)).collect();
    assert_eq!(running, [(0, (0, 1)), (1, (0, 2))]);
    assert_eq!(view.took_part(), (2, 1));
}

#[test]
fn slots_of_workers_that_follow_each_other_are_the_same_slots() {
    let mut view = job(&[GroupKind::Tests]);
    assert_eq!(view.took_part_in_turn(), (0, 0));
    play(
        &mut view,
        "+ 0 0 4\n> 0 7 0 1 0 w1 0\n> 0 8 1 1 1 w1 1\n= 0 0 P 7 500 0\n= 0 1 P 8 500 0\n> 0 9 2 2 2 w2 0\n= 0 2 P 9 5 0",
    );
    assert_eq!((view.took_part(), view.took_part_in_turn()), ((3, 2), (2, 1)));
}

#[test]
fn an_end_knows_its_slot_and_the_attempts_before_it() {
    let mut view = job(&[GroupKind::Tests]);
    let changes = play(
        &mut view,
        "+ 0 0 1\n> 0 1 0 1 0 w1 0\n- 0 0 F 1 10 0 d\n~ 0 0 retry 1\n> 0 2 0 1 3 w2 5\n= 0 0 P 2 20 3 w15",
    );
    let Some(Change::Ended(end)) = changes.last() else { panic!("no end: {changes:?}") };
    assert_eq!((end.outcome, end.us, end.wide_us, end.number), (Outcome::Passed, 20, 15, 3));
    assert_eq!(end.earlier, [Outcome::Failed]);
    assert_eq!(end.slot.as_ref().map(|s| (&*s.worker, &*s.slot)), Some(("w2", "5")));
    assert!(end.first_in_slot);
    let total = view.total(GroupKind::Tests);
    assert_eq!((total.done(), total.flaky, view.busy_us), (1, 1, 30));
}

#[test]
fn a_lost_task_is_not_flaky_when_it_passes() {
    let mut view = job(&[GroupKind::Tests]);
    let changes = play(&mut view, "+ 0 0 1\n> 0 1 0 1 0 w1 0\n~ 0 0 lost 1\n> 0 2 0 1 0 w2 0\n= 0 0 P 2 20 0");
    assert!(matches!(&changes[2], Change::Back { lost: true, slot: Some(slot), .. } if &*slot.worker == "w1"));
    let Some(Change::Ended(end)) = changes.last() else { panic!("no end") };
    assert_eq!((end.losses, end.earlier.len(), view.total(GroupKind::Tests).flaky), (1, 0, 0));
}

#[test]
fn a_task_that_ends_again_counts_once_with_its_last_word() {
    let mut view = job(&[GroupKind::Tests]);
    play(&mut view, "+ 0 0 1\n> 0 1 0 1 0 w1 0\n= 0 0 P 1 10 0\n> 0 1000001 0 1 0 w1 0\n= 0 0 F 1000001 10 0 d");
    let total = view.total(GroupKind::Tests);
    assert_eq!((total.done(), total.count(Outcome::Passed), total.count(Outcome::Failed)), (1, 0, 1));
}

#[test]
fn slow_is_said_at_one_two_and_four_times_the_limit() {
    let mut view = job(&[GroupKind::Tests]);
    play(&mut view, "+ 0 0 1\n> 0 1 0 1 0 w1 0");
    let limit = |_| Duration::from_secs(10);
    let said: Vec<u64> = (2..60).filter(|s| !view.slow(Duration::from_secs(*s), &limit).is_empty()).collect();
    assert_eq!(said, [11, 21, 41]);
}

#[test]
fn what_was_missed_is_found_in_the_records() {
    let mut view = job(&[GroupKind::Tests, GroupKind::Tests]);
    play(&mut view, "+ 0 0 3\n> 0 1 0 3 0 w1 0\n= 0 0 P 1 10 0");
    let group =
        GroupSnapshot { added: 3, state: "failed".into(), ended: [2, 1, 0, 0, 0, 0, 0], ..GroupSnapshot::default() };
    let snapshot =
        JobSnapshot { state: "failed".into(), groups: vec![group, GroupSnapshot::default()], ..JobSnapshot::default() };
    view.reload(&snapshot);
    assert_eq!(view.differing(&snapshot), [0]);
    let record = |task, outcome| TaskRecord {
        task,
        outcome: Some(outcome),
        running: false,
        fence: 1,
        fails: 1,
        losses: 0,
        company: 0,
        us: 7,
    };
    assert_eq!(view.record(0, &record(0, Outcome::Passed), Duration::ZERO), None);
    let now = Duration::from_secs(60);
    assert!(view.record(0, &record(1, Outcome::Passed), now).is_some());
    assert_eq!(view.running()[0].since, now, "nobody knows since when the next one runs: not since ever");
    assert!(view.record(0, &record(2, Outcome::Failed), now).is_some());
    assert!(view.differing(&snapshot).is_empty());
    assert_eq!(view.state, "failed");
    assert_eq!(view.running(), []);
}

#[test]
fn collecting_is_neither_counted_nor_part_of_the_work() {
    let mut view = job(&[GroupKind::Collect, GroupKind::Tests]);
    play(&mut view, "+ 0 0 1\n> 0 1 0 1 0 w1 0\n= 0 0 P 1 9000 0\n+ 1 0 2\n> 1 2 0 2 0 w1 0\n= 1 0 P 2 5 0");
    assert_eq!((view.busy_us, view.total(GroupKind::Tests).added), (5, 2));
    assert_eq!(view.groups[1].open_tasks().collect::<Vec<_>>(), [1]);
}
