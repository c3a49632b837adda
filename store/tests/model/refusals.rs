//! A worker refuses the job of a claim: what it must be told, and what must have changed.

use remuda_store::Refused;

use crate::book::{Allowed, Check, ensure};
use crate::commands::fatal;
use crate::farm::{number, word};
use crate::history::World;
use crate::random::Random;

pub async fn refuse(world: &mut World, random: &mut Random) -> Check {
    if world.clients.is_empty() {
        return Ok(());
    }
    let c = random.below(world.clients.len());
    let worker = world.clients[c].who.worker.clone();
    let own: Vec<u64> = world.clients[c].held.keys().copied().collect();
    let all: Vec<u64> = world.book.claims.keys().copied().chain([7]).collect();
    let fence = if own.is_empty() || random.percent(10) { *random.of(&all) } else { *random.of(&own) };
    let (answer, told) = foretell(world, &worker, fence);
    world.say(format!("refuse {worker} {fence}: {answer:?}"));
    world.calls += 1;
    let found = world.store.refuse(&worker, fence, "it is not here").await.map_err(fatal)?;
    ensure!(found == answer, "refuse answered {found:?}, not {answer:?}");
    let worker = worker.as_str();
    let j = told.as_ref().map(|(j, ..)| j.clone());
    world.after(&Allowed { refuses: told, ..Allowed::default() }).await?;
    if let Some(j) = j {
        ensure!(world.book.jobs[&j].refused.contains(worker), "{worker} has refused {j} and nobody knows");
        let mine = format!("{worker}:");
        let its = |(key, rests): (&(String, u32), &std::collections::BTreeMap<String, crate::farm::Run>)| {
            key.0 == j && rests.keys().any(|owner| owner.starts_with(&mine))
        };
        ensure!(!world.farm.rests.iter().any(its), "{worker} has refused {j} and keeps the rests of its runs");
    }
    world.calls += 1;
    let repeated = world.store.refuse(worker, fence, "it is not here").await.map_err(fatal)?;
    ensure!(repeated == answer, "refuse answered {answer:?}, and then {repeated:?}");
    world.unchanged("refuse").await
}

/// What must be answered, and what is recorded if anything is.
fn foretell(world: &World, worker: &str, fence: u64) -> (Refused, Option<(String, String, u32)>) {
    let (farm, book) = (&world.farm, &world.book);
    let Some(claim) = book.claims.get(&fence).filter(|c| c.worker == worker) else { return (Refused::Stale, None) };
    let (j, lane) = (&claim.job, word(&farm.claims[&fence], "lane").parse().unwrap());
    let labels = &book.jobs[j].lane_spec(lane).1.labels;
    let can = |(id, other): &(&String, &crate::farm::Hash)| {
        let has: Vec<&str> = word(other, "labels").split(',').collect();
        let there = farm.score("workers", id).is_some_and(|until| until > world.now as f64);
        let fits = labels.iter().all(|l| has.contains(&l.as_str()));
        *id != worker && there && number(other, "drain") == 0 && fits && !farm.has_refused(j, id)
    };
    let others = u32::try_from(farm.workers.iter().filter(can).count()).unwrap();
    match (farm.has_refused(j, worker) || !book.jobs[j].live(), others) {
        (true, n) => (Refused::Aside(n), None),
        (false, 0) => (Refused::Alone, None),
        (false, n) => (Refused::Aside(n), Some((j.clone(), worker.to_owned(), n))),
    }
}
