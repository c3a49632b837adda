//! The end of a history: every worker dies, one that fits everything comes, and every job must end (I15); then gc must
//! leave nothing (I18).

use std::collections::BTreeMap;

use remuda_protocol::lifecycle::GroupState;
use remuda_protocol::outcome::Outcome;
use remuda_store::{Registration, TaskResult, Want};

use crate::book::{Allowed, Check, ensure};
use crate::commands::{add_chunk, adopt_as, ask, beat_of, gc_job, result, seal_group, seal_job};
use crate::history::{LEASE, World, collected};
use crate::plan::Client;
use crate::random::Random;

const SLOTS: u32 = 4;

pub async fn to_the_end(world: &mut World, random: &mut Random) -> Check {
    world.say("the end begins".to_owned());
    world.dead.extend(world.clients.drain(..).map(|c| c.who.worker));
    let who = Registration {
        worker: "z".to_owned(),
        lease_ms: LEASE.unsigned_abs(),
        labels: "a,b".to_owned(),
        slots: SLOTS,
        about: "{}".to_owned(),
        ..Registration::default()
    };
    world.calls += 1;
    world.store.resync(&who).await.map_err(|e| e.to_string())?;
    world.clients.push(Client { who, held: BTreeMap::new(), last: None });
    world.after(&Allowed::default()).await?;
    let names: Vec<String> = world.book.jobs.keys().cloned().collect();
    for j in &names {
        adopt_as(world, j, "end", 0, 1 << 40).await?;
        complete(world, random, j, None).await?;
        seal_job(world, j).await?;
    }
    let mut idle = 0;
    while world.book.jobs.values().any(|j| !j.state.is_over()) {
        let before: u64 = world.book.jobs.values().map(|j| j.sequence.n).sum();
        round(world, random).await?;
        let after: u64 = world.book.jobs.values().map(|j| j.sequence.n).sum();
        idle = if after > before { 0 } else { idle + 1 };
        let open: Vec<_> =
            world.book.jobs.iter().filter(|(_, j)| !j.state.is_over()).map(|(n, j)| (n, j.state)).collect();
        ensure!(idle < 80, "nothing moves any more: {open:?} (I15)");
    }
    leave_nothing(world).await
}

/// Adds what is missing: all that the coordinator adds, or what the collector of group `only` adds.
async fn complete(world: &mut World, random: &mut Random, j: &str, only: Option<(usize, u64)>) -> Check {
    for g in 0..world.plans[j].len() {
        let fence = match only {
            Some((target, fence)) if target == g => fence,
            None if !collected(world, j, g) => 0,
            _ => continue,
        };
        let total = world.plans[j][g].total;
        let mut rounds = 0;
        loop {
            let job = &world.book.jobs[j];
            let group = &job.groups[g];
            if !job.live()
                || group.sealed
                || group.state.is_over()
                || group.state == GroupState::Closing
                || group.tasks.len() >= total as usize
            {
                break;
            }
            add_chunk(world, random, j, g, fence, true).await?;
            rounds += 1;
            ensure!(rounds < 300, "group {g} of {j} does not fill");
        }
        if !world.book.jobs[j].groups[g].sealed {
            seal_group(world, j, g, fence, total).await?;
        }
    }
    Ok(())
}

async fn round(world: &mut World, random: &mut Random) -> Check {
    world.drop_bells().await;
    world.now += 2100;
    world.set("clock", None, world.now.to_string()).await;
    beat_of(world, random, 0, true).await?;
    let collects: Vec<(String, usize, u64)> = world.clients[0]
        .held
        .values()
        .filter_map(|c| {
            Some((c.job.clone(), world.book.jobs[&c.job].spec.groups[c.group as usize].collects? as usize, c.fence))
        })
        .collect();
    for (j, target, fence) in collects {
        complete(world, random, &j, Some((target, fence))).await?;
    }
    let mut results: Vec<TaskResult> = Vec::new();
    for claim in world.clients[0].held.values() {
        for i in 0..u32::try_from(claim.ids.len()).unwrap() {
            let passed = random.percent(90) || crate::history::is_collect(world, &claim.job, claim.group);
            let outcome = if passed { Outcome::Passed } else { Outcome::Failed };
            results.push(result(random, claim, claim.first + i, Some(outcome)));
        }
    }
    let want = |slot| Want { slot, max: 100, budget_us: 1_000_000, warm: None, with_ms: 0 };
    let empty = results.is_empty();
    while results.len() > 190 {
        let some = results.split_off(190);
        ask(world, random, 0, results, vec![], false).await?;
        results = some;
    }
    world.clients[0].held.clear();
    let wants = if empty { vec![want(random.between(0, SLOTS - 1))] } else { (0..SLOTS).map(want).collect() };
    ask(world, random, 0, results, wants, false).await
}

async fn leave_nothing(world: &mut World) -> Check {
    let mut who = world.clients[0].who.clone();
    who.leave = true;
    world.calls += 1;
    world.store.resync(&who).await.map_err(|e| e.to_string())?;
    for _ in 0..60 {
        world.now += 5000;
        world.set("clock", None, world.now.to_string()).await;
        world.calls += 1;
        world.store.reap(100).await.map_err(|e| e.to_string())?;
        world.after(&Allowed::default()).await?;
        if world.farm.workers.is_empty() {
            break;
        }
    }
    let names: Vec<String> = world.book.jobs.keys().cloned().collect();
    for j in names {
        gc_job(world, &j, 200).await?;
    }
    let left: Vec<&String> = world.farm.raw.keys().filter(|k| *k != "meta" && *k != "clock").collect();
    ensure!(left.is_empty(), "left behind: {left:?} (I18)");
    Ok(())
}
