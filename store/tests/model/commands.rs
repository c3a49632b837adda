//! The commands of a history, each with what the model foretells of its answer.

use std::collections::{BTreeMap, BTreeSet};

use remuda_protocol::lifecycle::{GroupState, TaskState};
use remuda_protocol::outcome::Outcome;
use remuda_store::{
    Added, Beat, Cancelled, Claim, Logged, NextCall, NextReply, Opened, Registration, Renewal, Sealed, StoreError,
    TaskResult, Verdict, Want,
};

use crate::book::{Allowed, Check, Job, ensure};
use crate::choice::Asking;
use crate::farm::number;
use crate::history::{LEASE, World};
use crate::plan::{self, Client};
use crate::random::Random;
use crate::refusals::refuse;

pub async fn step(world: &mut World, random: &mut Random) -> Check {
    match random.below(100) {
        0..5 => open(world, random).await,
        5..19 => add(world, random).await,
        19..26 => seal(world, random).await,
        26..31 => join(world, random).await,
        31..64 => next(world, random).await,
        64..66 => refuse(world, random).await,
        66..74 => beat(world, random).await,
        74..82 => jump(world, random).await,
        82..86 => reap(world, random).await,
        86..89 => cancel(world, random).await,
        89..92 => resync(world, random).await,
        92..94 => adopt(world, random).await,
        94..96 => log(world, random).await,
        96..98 => gc(world, random).await,
        98 => drain(world, random).await,
        _ => die(world, random),
    }
}

pub fn fatal(error: StoreError) -> String {
    format!("a script failed: {error}")
}

fn pick_job(world: &World, random: &mut Random) -> Option<String> {
    let jobs: Vec<&String> = world.book.jobs.keys().collect();
    if jobs.is_empty() { None } else { Some((*random.of(&jobs)).clone()) }
}

async fn open(world: &mut World, random: &mut Random) -> Check {
    let live = world.book.jobs.values().filter(|j| !j.state.is_over()).count();
    let again = random.percent(15);
    if let (true, Some(j)) = (again || live >= 4, pick_job(world, random)) {
        let mut spec = world.book.jobs[&j].spec.clone();
        let conflict = random.percent(30);
        if conflict {
            spec.name.push('x');
        }
        world.say(format!("open {j} again"));
        world.calls += 1;
        let answer = world.store.open(&spec, "me", 20_000).await.map_err(fatal)?;
        ensure!(answer == if conflict { Opened::Conflict } else { Opened::Again }, "answered {answer:?}");
        return world.after(&Allowed::default()).await;
    }
    world.born += 1;
    let spec = plan::job(random, &format!("j{}", world.born), &world.pools.clone());
    let grace = *random.of(&[0, 20_000, 1_000_000]);
    let other = |(pool, items): (&String, &Vec<String>)| {
        world.book.jobs.values().any(|j| !j.state.is_over() && j.spec.pools.get(pool).is_some_and(|have| have != items))
    };
    let refused = spec.pools.iter().any(other);
    world.say(format!("open {}", spec.id));
    world.calls += 1;
    let answer = world.store.open(&spec, "me", grace).await.map_err(fatal)?;
    if refused {
        ensure!(matches!(answer, Opened::Pool(_)), "answered {answer:?} though a pool is defined otherwise");
        return world.after(&Allowed::default()).await;
    }
    ensure!(answer == Opened::New, "answered {answer:?}");
    world.plan_job(random, &spec);
    world.book.jobs.insert(spec.id.clone(), Job::new(spec, "me"));
    world.after(&Allowed::default()).await
}

/// What `add` must answer to these tasks, in the order of its own checks.
fn foretell_add(world: &World, j: &str, g: usize, fence: u64, first: u32, ids: &[String]) -> Added {
    let job = &world.book.jobs[j];
    let group = &job.groups[g];
    let (added, n) = (u32::try_from(group.tasks.len()).unwrap(), u32::try_from(ids.len()).unwrap());
    if !job.live() {
        return Added::Over;
    }
    if job.collector(g).is_some() && world.collect_claim(j, g) != Some(fence) {
        return Added::Stale;
    }
    if first < added {
        let same = ids.iter().zip(&group.ids[first as usize..]).all(|(a, b)| a == b);
        return match (same, first + n <= added) {
            (false, _) => Added::Conflict(added),
            (true, true) => Added::Again(added),
            (true, false) => Added::Gap(added),
        };
    }
    let skipped = group.state == GroupState::Skipped && job.collector(g).is_none();
    if !skipped && (group.state.is_over() || group.state == GroupState::Closing) {
        return Added::Over;
    }
    if group.sealed {
        return Added::Sealed;
    }
    if first > added { Added::Gap(added) } else { Added::New(added + n) }
}

async fn add(world: &mut World, random: &mut Random) -> Check {
    let late = skipped_in_the_middle(world);
    if !late.is_empty() && random.percent(50) {
        let (j, g) = random.of(&late).clone();
        return add_chunk(world, random, &j, g, 0, true).await;
    }
    let Some(j) = pick_job(world, random) else { return open(world, random).await };
    let g = random.below(world.plans[&j].len());
    let fence = match world.collect_claim(&j, g) {
        Some(fence) if random.percent(70) => fence,
        _ => *random.of(&[0, 7]),
    };
    add_chunk(world, random, &j, g, fence, false).await
}

/// Groups that were skipped before the coordinator had sent them whole: seldom enough that chance alone would miss them.
fn skipped_in_the_middle(world: &World) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (j, job) in world.book.jobs.iter().filter(|(_, job)| job.live()) {
        for (g, group) in job.groups.iter().enumerate() {
            let due = world.plans[j][g].chunks.iter().any(|c| c.first as usize == group.tasks.len());
            if due && !group.sealed && group.state == GroupState::Skipped && job.collector(g).is_none() {
                found.push((j.clone(), g));
            }
        }
    }
    found
}

pub async fn add_chunk(world: &mut World, random: &mut Random, j: &str, g: usize, fence: u64, right: bool) -> Check {
    let added = world.book.jobs[j].groups[g].tasks.len();
    let chunks = &world.plans[j][g].chunks;
    let due = chunks.iter().position(|c| c.first as usize == added);
    let at = if right || random.percent(80) { due } else { Some(random.below(chunks.len().max(1))) };
    let Some(chunk) = at.and_then(|at| chunks.get(at)) else { return Ok(()) };
    let (first, mut ids, lanes, runs) = (chunk.first, chunk.ids.clone(), chunk.lanes.clone(), chunk.runs.clone());
    if !right && random.percent(5) {
        *ids.last_mut().unwrap() = "another".to_owned();
    }
    let group = u32::try_from(g).unwrap();
    let expected = foretell_add(world, j, g, fence, first, &ids);
    world.say(format!("add {j} {g} {first}+{} under {fence}", ids.len()));
    world.calls += 1;
    let answer = world.store.add(j, group, fence, first, &ids, &runs).await.map_err(fatal)?;
    ensure!(answer == expected, "add answered {answer:?}, not {expected:?}");
    let added = matches!(answer, Added::New(_)).then(|| (j.to_owned(), group, ids.clone(), lanes));
    world.after(&Allowed { added, ..Allowed::default() }).await?;
    if random.percent(10) {
        world.calls += 1;
        let again = world.store.add(j, group, fence, first, &ids, &runs).await.map_err(fatal)?;
        ensure!(!matches!(again, Added::New(_)), "add was taken twice");
        world.unchanged("add").await?;
    }
    Ok(())
}

async fn seal(world: &mut World, random: &mut Random) -> Check {
    let Some(j) = pick_job(world, random) else { return Ok(()) };
    if random.percent(30) {
        return seal_job(world, &j).await;
    }
    let g = random.below(world.plans[&j].len());
    let fence = world.collect_claim(&j, g).filter(|_| random.percent(90)).unwrap_or(0);
    let total = if random.percent(90) { world.plans[&j][g].total } else { random.between(0, 3) };
    seal_group(world, &j, g, fence, total).await
}

pub async fn seal_job(world: &mut World, j: &str) -> Check {
    let job = &world.book.jobs[j];
    let expected = if job.sealed {
        Sealed::Again
    } else if job.live() {
        Sealed::New
    } else {
        Sealed::Over
    };
    world.say(format!("seal {j}"));
    world.calls += 1;
    let answer = world.store.seal_job(j).await.map_err(fatal)?;
    ensure!(answer == expected, "seal answered {answer:?}, not {expected:?}");
    if answer == Sealed::New {
        world.book.jobs.get_mut(j).unwrap().sealed = true;
    }
    world.after(&Allowed { seals: Some((j.to_owned(), -1)), ..Allowed::default() }).await
}

pub async fn seal_group(world: &mut World, j: &str, g: usize, fence: u64, total: u32) -> Check {
    let job = &world.book.jobs[j];
    let group = &job.groups[g];
    let added = u32::try_from(group.tasks.len()).unwrap();
    let skipped = group.state == GroupState::Skipped && job.collector(g).is_none();
    let ended = !job.live() || !skipped && (group.state.is_over() || group.state == GroupState::Closing);
    let stale = job.collector(g).is_some() && world.collect_claim(j, g) != Some(fence);
    let expected = match (group.sealed, ended, stale, added == total) {
        (true, _, _, true) => Sealed::Again,
        (true, _, _, false) => Sealed::Count(added),
        (_, true, ..) => Sealed::Over,
        (_, _, true, _) => Sealed::Stale,
        (.., false) => Sealed::Count(added),
        _ => Sealed::New,
    };
    world.say(format!("seal {j} {g} at {total} under {fence}"));
    world.calls += 1;
    let answer = world.store.seal(j, u32::try_from(g).unwrap(), fence, total).await.map_err(fatal)?;
    ensure!(answer == expected, "seal answered {answer:?}, not {expected:?}");
    if answer == Sealed::New {
        world.book.jobs.get_mut(j).unwrap().groups[g].sealed = true;
    }
    world.after(&Allowed { seals: Some((j.to_owned(), g as i64)), ..Allowed::default() }).await
}

pub async fn join(world: &mut World, random: &mut Random) -> Check {
    if world.clients.len() >= 3 {
        return next(world, random).await;
    }
    world.born += 1;
    let predecessor = world.dead.pop().filter(|_| random.percent(50));
    let who = Registration {
        worker: format!("w{}", world.born),
        lease_ms: LEASE.unsigned_abs(),
        labels: plan::labels(random),
        slots: random.between(1, 3),
        about: "{}".to_owned(),
        predecessor: predecessor.clone(),
        ..Registration::default()
    };
    let mut allowed = Allowed::default();
    if let Some(old) = &predecessor {
        lose_all(world, &mut allowed, old);
    }
    world.say(format!("join {} ({}), after {predecessor:?}", who.worker, who.labels));
    world.calls += 1;
    world.store.resync(&who).await.map_err(fatal)?;
    world.clients.push(Client { who, held: BTreeMap::new(), last: None });
    world.after(&allowed).await?;
    ensure!(
        predecessor.is_none_or(|old| !world.farm.workers.contains_key(&old)),
        "the predecessor is still on the books"
    );
    Ok(())
}

/// All that a worker holds may be lost in the company it has.
fn lose_all(world: &World, allowed: &mut Allowed, worker: &str) {
    let earlier = world.farm.workers.get(worker).map_or(0, |w| number(w, "lost_held"));
    let company = world.book.held_by(worker).max(u32::try_from(earlier).unwrap());
    let fences = world.book.claims.iter().filter(|(_, c)| c.worker == worker).map(|(f, _)| (*f, company));
    allowed.lost.extend(fences);
}

async fn resync(world: &mut World, random: &mut Random) -> Check {
    if world.clients.is_empty() {
        return Ok(());
    }
    let c = random.below(world.clients.len());
    let leave = random.percent(30);
    let mut who = world.clients[c].who.clone();
    who.predecessor = None;
    who.leave = leave;
    who.drain = random.percent(20);
    who.held = world.clients[c].held.keys().copied().filter(|_| random.percent(75)).collect();
    if random.percent(10) {
        who.held.push(7);
        who.held.sort_unstable();
    }
    let mine = |f: &u64| world.book.claims.get(f).is_some_and(|c| c.worker == who.worker);
    let forget: BTreeSet<u64> = who.held.iter().copied().filter(|f| leave || !mine(f)).collect();
    let kept = |f: &u64| !leave && who.held.contains(f);
    let returned = world.book.claims.keys().copied().filter(|f| mine(f) && !kept(f)).collect();
    world.say(format!("resync {} leave {leave} drain {} held {:?}", who.worker, who.drain, who.held));
    world.calls += 1;
    let answer = world.store.resync(&who).await.map_err(fatal)?;
    ensure!(
        answer.forget.iter().copied().eq(forget.iter().copied()),
        "resync answered {answer:?}, should forget {forget:?}"
    );
    world.clients[c].held.retain(|f, _| who.held.contains(f) && !forget.contains(f));
    world.after(&Allowed { returned, ..Allowed::default() }).await?;
    ensure!(leave != world.farm.workers.contains_key(&who.worker), "on the books: {}", leave);
    let own = |owner: &String| owner.starts_with(&format!("{}:", who.worker));
    let rests = world.farm.rests.values().flat_map(BTreeMap::keys).any(own);
    ensure!(!rests || !(who.drain || leave), "{} claims no more and keeps the rests of runs", who.worker);
    if leave {
        world.clients.remove(c);
        return Ok(());
    }
    world.calls += 1;
    world.store.resync(&who).await.map_err(fatal)?;
    world.unchanged("resync").await
}

fn die(world: &mut World, random: &mut Random) -> Check {
    if !world.clients.is_empty() {
        let c = random.below(world.clients.len());
        let dead = world.clients.remove(c).who.worker;
        world.say(format!("{dead} dies"));
        world.dead.push(dead);
    }
    Ok(())
}

async fn drain(world: &mut World, random: &mut Random) -> Check {
    let client = world.clients.first().map(|c| c.who.worker.clone()).filter(|w| world.farm.workers.contains_key(w));
    let Some(client) = client else { return Ok(()) };
    let on = u8::from(random.percent(60));
    world.say(format!("drain {client} {on}"));
    world.set(&format!("w:{client}"), Some("drain"), on.to_string()).await;
    world.after(&Allowed::default()).await
}

async fn jump(world: &mut World, random: &mut Random) -> Check {
    let by: i64 = match random.below(100) {
        0..55 => i64::from(random.between(1, 2_500)),
        55..80 => i64::from(random.between(2_500, 9_500)),
        80..95 => i64::from(random.between(10_000, 70_000)),
        _ => -i64::from(random.between(1, 100_000)),
    };
    world.now += by;
    world.say(format!("the clock moves by {by}"));
    world.set("clock", None, world.now.to_string()).await;
    Ok(())
}

async fn reap(world: &mut World, random: &mut Random) -> Check {
    let mut allowed = Allowed::default();
    world.reaping(&mut allowed, "", &BTreeSet::new(), false);
    let limit = *random.of(&[100, 100, 50]);
    world.say(format!("reap {limit}, may lose {:?}, close {:?}", allowed.lost, allowed.closing));
    world.calls += 1;
    world.store.reap(limit).await.map_err(fatal)?;
    world.after(&allowed).await?;
    if random.percent(20) {
        world.calls += 1;
        world.store.reap(limit).await.map_err(fatal)?;
        world.unchanged("reap").await?;
    }
    Ok(())
}

pub async fn beat(world: &mut World, random: &mut Random) -> Check {
    if world.clients.is_empty() {
        return Ok(());
    }
    let c = random.below(world.clients.len());
    let all = random.percent(80);
    beat_of(world, random, c, all).await
}

pub async fn beat_of(world: &mut World, random: &mut Random, c: usize, all: bool) -> Check {
    let worker = world.clients[c].who.worker.clone();
    let mut fences: Vec<u64> = world.clients[c].held.keys().copied().filter(|_| all || random.percent(50)).collect();
    if random.percent(5) {
        fences.push(7);
    }
    let ran = u64::from(random.between(0, 100_000));
    let call = Beat {
        worker: worker.clone(),
        lease_ms: LEASE.unsigned_abs(),
        running: "{}".to_owned(),
        held: fences.iter().map(|f| (*f, ran)).collect(),
    };
    let mine = |f: &u64| world.book.claims.get(f).filter(|c| c.worker == worker);
    let renewed: BTreeSet<u64> = fences.iter().copied().filter(|f| mine(f).is_some()).collect();
    let mut allowed = Allowed::default();
    let on_books = world.farm.workers.contains_key(&worker);
    if on_books {
        world.reaping(&mut allowed, &worker, &renewed, true);
    }
    let renewals: Vec<Renewal> = fences
        .iter()
        .map(|f| match mine(f) {
            None => Renewal::Lost,
            Some(c) if c.cancelled || world.book.jobs[&c.job].stops() => Renewal::Cancel,
            Some(c) if c.stopped.is_empty() && world.book.jobs[&c.job].halting() => Renewal::Last,
            Some(c) if !c.stopped.is_empty() => Renewal::Stop(c.stopped.clone()),
            Some(_) => Renewal::Ok,
        })
        .collect();
    world.say(format!("beat {worker} {fences:?}"));
    world.calls += 1;
    let answer = world.store.beat(&call).await;
    if !on_books {
        ensure!(matches!(answer, Err(StoreError::UnknownWorker { .. })), "beat of an unknown worker: {answer:?}");
        return rejoin(world, c).await;
    }
    let answer = answer.map_err(fatal)?;
    ensure!(answer.renewals == renewals, "beat answered {:?}, not {renewals:?}", answer.renewals);
    world.after(&allowed).await?;
    for fence in &renewed {
        let until = world.now + LEASE + i64::try_from(ran / 10).unwrap();
        let found = world.farm.score("lease", &fence.to_string());
        // a renewal never shortens a lease: the worker may know only the longer one
        ensure!(found >= Some(until as f64), "lease of {fence} until {found:?}, not {until}");
    }
    for (fence, renewal) in fences.iter().zip(renewals) {
        if renewal == Renewal::Lost {
            world.clients[c].held.remove(fence);
        }
    }
    if random.percent(10) {
        world.calls += 1;
        world.store.beat(&call).await.map_err(fatal)?;
        world.unchanged("beat").await?;
    }
    Ok(())
}

/// A worker that is told that nobody knows it.
async fn rejoin(world: &mut World, c: usize) -> Check {
    let mut who = world.clients[c].who.clone();
    who.predecessor = None;
    who.held = world.clients[c].held.keys().copied().collect();
    world.calls += 1;
    let answer = world.store.resync(&who).await.map_err(fatal)?;
    ensure!(answer.forget == who.held, "a forgotten worker keeps {:?}", answer.forget);
    world.clients[c].held.clear();
    world.after(&Allowed::default()).await
}

async fn cancel(world: &mut World, random: &mut Random) -> Check {
    let Some(j) = pick_job(world, random) else { return Ok(()) };
    if random.percent(30) {
        return cancel_task(world, random, &j).await;
    }
    if random.percent(60) {
        let fences: Vec<u64> = world.book.claims.keys().copied().collect();
        let fence = if fences.is_empty() || random.percent(10) { 7 } else { *random.of(&fences) };
        let expected = match world.book.claims.get(&fence).filter(|c| c.job == j) {
            None => Cancelled::Unknown,
            Some(c) if c.cancelled => Cancelled::Again,
            Some(_) => Cancelled::New,
        };
        world.say(format!("cancel claim {fence} of {j}"));
        world.calls += 1;
        let answer = world.store.cancel(&j, "user", Some(fence)).await.map_err(fatal)?;
        ensure!(answer == expected, "cancel answered {answer:?}, not {expected:?}");
        if answer == Cancelled::New {
            world.book.claims.get_mut(&fence).unwrap().cancelled = true;
        }
        return world.after(&Allowed::default()).await;
    }
    let reason = *random.of(&["user", "queue-timeout", "halt"]);
    let job = &world.book.jobs[&j];
    let (live, stopped) = (job.live(), job.halting() && reason != "halt");
    let mut allowed = Allowed::default();
    allowed.closing.insert(j.clone(), vec![reason.to_owned()]);
    world.say(format!("cancel {j} ({reason})"));
    world.calls += 1;
    let answer = world.store.cancel(&j, reason, None).await.map_err(fatal)?;
    ensure!(answer == if live || stopped { Cancelled::New } else { Cancelled::Again }, "cancel answered {answer:?}");
    if stopped {
        world.book.jobs.get_mut(&j).unwrap().reason = reason.to_owned();
    }
    world.after(&allowed).await?;
    world.calls += 1;
    world.store.cancel(&j, reason, None).await.map_err(fatal)?;
    world.unchanged("cancel").await
}

async fn cancel_task(world: &mut World, random: &mut Random, j: &str) -> Check {
    let claims: Vec<(u64, u32, u32)> = world.book.claims.iter().map(|(f, c)| (*f, c.first, c.count)).collect();
    if claims.is_empty() {
        return Ok(());
    }
    let (fence, first, count) = *random.of(&claims);
    let task = random.between(first, first + count).saturating_sub(u32::from(random.percent(5)));
    let claim = &world.book.claims[&fence];
    let held = claim.job == j && (claim.first..claim.first + claim.count).contains(&task) && {
        let now = world.book.jobs[j].groups[claim.group as usize].tasks[task as usize];
        now.state == TaskState::Running && now.fence == fence
    };
    let expected = match held {
        false => Cancelled::Unknown,
        true if claim.cancelled || claim.stopped.contains(&task) => Cancelled::Again,
        true => Cancelled::New,
    };
    world.say(format!("cancel task {task} of claim {fence} of {j}"));
    world.calls += 1;
    let answer = world.store.cancel_task(j, fence, task).await.map_err(fatal)?;
    ensure!(answer == expected, "cancel answered {answer:?}, not {expected:?}");
    if answer == Cancelled::New {
        world.book.claims.get_mut(&fence).unwrap().stopped.push(task);
    }
    world.after(&Allowed::default()).await
}

pub async fn adopt(world: &mut World, random: &mut Random) -> Check {
    let Some(j) = pick_job(world, random) else { return Ok(()) };
    let coordinator = *random.of(&["me", "me", "other"]);
    let epoch = *random.of(&[0, 1, 2]);
    adopt_as(world, &j, coordinator, epoch, 20_000).await
}

pub async fn adopt_as(world: &mut World, j: &str, coordinator: &str, epoch: u64, grace: u64) -> Check {
    let job = world.book.jobs.get_mut(j).unwrap();
    let lost = epoch != 0 && job.owner != (coordinator.to_owned(), epoch);
    if epoch == 0 {
        job.owner = (coordinator.to_owned(), job.owner.1 + 1);
    }
    let (owner, sequence) = (job.owner.1, job.sequence);
    world.say(format!("adopt {j} by {coordinator} {epoch}"));
    world.calls += 1;
    let answer = world.store.adopt(j, coordinator, epoch, grace, false).await.map_err(fatal)?;
    ensure!((answer.lost, answer.epoch) == (lost, owner), "adopt answered {answer:?}, epoch {owner}, lost {lost}");
    ensure!(sequence.n == answer.sequence.n, "adopt says {}, events end at {sequence}", answer.sequence);
    world.after(&Allowed::default()).await
}

async fn log(world: &mut World, random: &mut Random) -> Check {
    let fences: Vec<u64> = world.book.claims.keys().copied().chain([7]).collect();
    let fence = *random.of(&fences);
    let claim = world.book.claims.get(&fence);
    let task = claim.map_or(0, |c| c.first + random.between(0, c.count));
    let known = claim.is_some_and(|c| task < c.first + c.count);
    let have = world.logs.get(&(fence, task)).copied().unwrap_or(0);
    let offset = if random.percent(80) { have } else { u64::from(random.between(0, 9)) };
    let expected = match (known, offset.cmp(&have)) {
        (false, _) => Logged::Stale,
        (_, std::cmp::Ordering::Greater) => Logged::Gap(have),
        (_, std::cmp::Ordering::Less) => Logged::Ok(have),
        _ => Logged::Ok(have + 4),
    };
    world.say(format!("log {fence} {task} at {offset}"));
    world.calls += 1;
    let answer = world.store.log(fence, task, offset, "o", b"abc\n").await.map_err(fatal)?;
    ensure!(answer == expected, "log answered {answer:?}, not {expected:?}");
    if let Logged::Ok(now) = answer {
        world.logs.insert((fence, task), now);
    }
    world.after(&Allowed::default()).await
}

pub async fn gc(world: &mut World, random: &mut Random) -> Check {
    let Some(j) = pick_job(world, random) else { return Ok(()) };
    gc_job(world, &j, random.between(1, 200)).await
}

pub async fn gc_job(world: &mut World, j: &str, limit: u32) -> Check {
    let over = world.book.jobs[j].state.is_over();
    world.say(format!("gc {j} by {limit}"));
    for round in 0.. {
        ensure!(round < 2000, "gc of {j} does not end");
        world.calls += 1;
        let (freed, more) = world.store.gc(limit, Some(j)).await.map_err(fatal)?;
        ensure!(over || (freed == 0 && !more), "gc freed {freed} keys of a job that lives");
        if !more {
            break;
        }
    }
    if over {
        world.book.jobs.remove(j);
        world.plans.remove(j);
    }
    world.after(&Allowed::default()).await
}

// ---- next

async fn next(world: &mut World, random: &mut Random) -> Check {
    if world.clients.is_empty() {
        return Ok(());
    }
    let c = random.below(world.clients.len());
    if random.percent(8) {
        return replay(world, c).await;
    }
    let how = random.below(100);
    let results = if how < 60 { results(world, random, c) } else { Vec::new() };
    let wants = match how {
        0..35 => Vec::new(),
        35..60 => wants(world, random, c, 3),
        _ => wants(world, random, c, 1),
    };
    let lost = random.percent(6);
    ask(world, random, c, results, wants, lost).await
}

fn loaded(world: &World, random: &mut Random) -> BTreeSet<(String, u32)> {
    let all = world
        .book
        .jobs
        .iter()
        .flat_map(|(j, job)| (0..job.groups.len()).map(move |g| (j.clone(), u32::try_from(g).unwrap())));
    all.filter(|(j, g)| world.book.jobs[j].collector(*g as usize).is_some()).filter(|_| random.percent(70)).collect()
}

pub fn wants(world: &World, random: &mut Random, c: usize, n: u32) -> Vec<Want> {
    let who = &world.clients[c].who;
    let one = |random: &mut Random| {
        let slot = random.between(0, who.slots - 1);
        let at = world.farm.slots.get(&who.worker).and_then(|s| s.get(&slot.to_string()));
        let warm = at.filter(|_| random.percent(80)).map(|(j, _, l)| (j.clone(), *l));
        Want {
            slot,
            max: *random.of(&[1, 3, 100, 200]),
            budget_us: *random.of(&[1, 20_000, 200_000]),
            warm,
            with_ms: *random.of(&[0, 5_000, 5_000, 5_000]),
        }
    };
    (0..random.between(1, n)).map(|_| one(random)).collect()
}

fn outcome(random: &mut Random) -> Option<Outcome> {
    match random.below(100) {
        0..60 => Some(Outcome::Passed),
        60..80 => Some(Outcome::Failed),
        80..84 => Some(Outcome::Errored),
        84..87 => Some(Outcome::TimedOut),
        87..90 => Some(Outcome::Skipped),
        90..92 => Some(Outcome::Cancelled),
        92 => Some(Outcome::Lost),
        _ => None,
    }
}

pub fn result(random: &mut Random, claim: &Claim, task: u32, outcome: Option<Outcome>) -> TaskResult {
    let detail = if random.percent(15) { b"{\"message\":\"no\"}".to_vec() } else { Vec::new() };
    let us = u64::from(random.between(1, 100_000));
    let wide_us = if random.percent(20) { us / 2 } else { 0 };
    TaskResult { fence: claim.fence, job: claim.job.clone(), group: claim.group, task, outcome, us, wide_us, detail }
}

/// Results of what this worker holds, and some that are late, doubled, or not its own.
fn results(world: &World, random: &mut Random, c: usize) -> Vec<TaskResult> {
    let mut list = Vec::new();
    let all = random.percent(50);
    for claim in world.clients[c].held.values() {
        if list.len() > 150 {
            break;
        }
        // a collector that has not said all has no result
        let collects = crate::history::is_collect(world, &claim.job, claim.group);
        for i in 0..u32::try_from(claim.ids.len()).unwrap() {
            if all || random.percent(40) {
                let o = if collects && random.percent(70) { Some(Outcome::Passed) } else { outcome(random) };
                list.push(result(random, claim, claim.first + i, o));
            }
        }
    }
    let others: Vec<&Claim> = world.clients.iter().flat_map(|c| c.held.values()).collect();
    if !others.is_empty() && random.percent(10) {
        let claim = *random.of(&others);
        let task = claim.first + random.between(0, 2);
        list.push(result(random, claim, task, Some(Outcome::Passed)));
    }
    if let Some(first) = list.first().cloned().filter(|_| random.percent(20)) {
        list.push(first);
    }
    list.truncate(200);
    list
}

/// Calls `next` and holds answer and farm against the book.
pub async fn ask(
    world: &mut World,
    random: &mut Random,
    c: usize,
    results: Vec<TaskResult>,
    wants: Vec<Want>,
    lost: bool,
) -> Check {
    let worker = world.clients[c].who.worker.clone();
    let loaded = loaded(world, random);
    let call = NextCall {
        worker: worker.clone(),
        nonce: format!("n{}", random.next()),
        lease_ms: LEASE.unsigned_abs(),
        results,
        wants,
        loaded: loaded.iter().cloned().collect(),
    };
    let short: Vec<String> = call.results.iter().map(|r| format!("{}/{} {:?}", r.fence, r.task, r.outcome)).collect();
    world.say(format!(
        "next {worker} results {short:?} wants {:?}{}",
        call.wants,
        if lost { ", the answer is lost" } else { "" }
    ));
    world.calls += 1;
    let answer = world.store.next(&call).await;
    if !world.farm.workers.contains_key(&worker) {
        ensure!(matches!(answer, Err(StoreError::UnknownWorker { .. })), "next of an unknown worker: {answer:?}");
        return rejoin(world, c).await;
    }
    let answer = answer.map_err(fatal)?;
    let (mut allowed, verdicts) = foretell(world, &call);
    world.reaping(&mut allowed, &worker, &BTreeSet::new(), false);
    check_verdicts(&verdicts, &answer)?;
    // with one want and nothing else, what it may get is known
    let quiet =
        allowed.lost.is_empty() && allowed.closing.is_empty() && call.results.is_empty() && call.wants.len() == 1;
    let reaps =
        world.now < world.farm.meta_number("last_reap") || world.now - world.farm.meta_number("last_reap") >= 2000;
    if quiet && !reaps {
        let asking = Asking {
            farm: &world.farm,
            book: &world.book,
            worker: &worker,
            want: &call.wants[0],
            loaded: &loaded,
            now: world.now as f64,
        };
        asking.judge(answer.claims.first())?;
    }
    allowed.claimer = Some(worker.clone());
    let before = world.book.fence;
    world.after(&allowed).await?;
    check_claims(world, &call, &answer, before)?;
    check_over(world, &loaded, &answer)?;
    let client = &mut world.clients[c];
    for r in &call.results {
        let done = |claim: &Claim| {
            (claim.first..claim.first + u32::try_from(claim.ids.len()).unwrap()).all(|t| {
                world.book.jobs.get(&claim.job).is_none_or(|j| {
                    let t = j.groups[claim.group as usize].tasks[t as usize];
                    t.state != TaskState::Running || t.fence != claim.fence
                })
            })
        };
        if client.held.get(&r.fence).is_some_and(done) && random.percent(70) {
            client.held.remove(&r.fence);
        }
    }
    if !lost {
        client.held.extend(answer.claims.iter().map(|claim| (claim.fence, claim.clone())));
    }
    let repeat = random.percent(8);
    client.last = Some(call);
    if repeat { replay(world, c).await } else { Ok(()) }
}

/// The same call again, as if its answer had been lost (I13).
async fn replay(world: &mut World, c: usize) -> Check {
    let Some(call) = world.clients[c].last.clone() else { return Ok(()) };
    let Some(worker) = world.farm.workers.get(&call.worker) else { return Ok(()) };
    let whole = |f: &u64| world.farm.claims.get(f).is_some_and(|c| number(c, "left") == number(c, "count"));
    let again = crate::farm::word(worker, "nonce") == call.nonce;
    let fences = crate::farm::word(worker, "nonce_claims").split(',').filter_map(|f| f.parse::<u64>().ok());
    let expected: Vec<u64> = fences.filter(|f| again && whole(f)).collect();
    if !again && !call.wants.is_empty() {
        return Ok(()); // it was never applied, or another came after it: an ordinary call
    }
    let mut allowed = Allowed::default();
    let (foretold, verdicts) = foretell(world, &call);
    allowed.results = foretold.results;
    let late = allowed.results.is_empty();
    world.reaping(&mut allowed, &call.worker, &BTreeSet::new(), false);
    if let Some((_, renewed)) = &mut allowed.set_back {
        // what is given again is renewed, after the clock has been minded
        renewed.extend(&expected);
    }
    let last_reap = world.farm.meta_number("last_reap");
    world.say(format!("next {} again", call.worker));
    world.calls += 1;
    let answer = world.store.next(&call).await.map_err(fatal)?;
    check_verdicts(&verdicts, &answer)?;
    let fences: Vec<u64> = answer.claims.iter().map(|c| c.fence).collect();
    if allowed.lost.is_empty() && late {
        ensure!(fences == expected, "the repeated call gave {fences:?}, not {expected:?}");
    }
    if world.farm.meta_number("last_reap") == last_reap
        && world.now >= last_reap
        && world.now - last_reap < 2000
        && late
    {
        // same moment: nothing at all may change but leases, which may only grow
        let same: Vec<u64> = world.farm.claims.keys().copied().collect();
        world.after(&allowed).await?;
        ensure!(world.farm.claims.keys().copied().eq(same), "the repeated call changed the claims");
    } else {
        world.after(&allowed).await?;
    }
    world.clients[c].held.extend(answer.claims.into_iter().map(|claim| (claim.fence, claim)));
    Ok(())
}

/// Which results must be accepted, in order.
fn foretell(world: &mut World, call: &NextCall) -> (Allowed, Vec<bool>) {
    let (mut allowed, mut verdicts) = (Allowed::default(), Vec::new());
    for r in &call.results {
        let claim =
            world.book.claims.get(&r.fence).filter(|c| c.worker == call.worker && c.job == r.job && c.group == r.group);
        let runs = claim.is_some_and(|c| (c.first..c.first + c.count).contains(&r.task)) && {
            let t = world.book.jobs[&r.job].groups[r.group as usize].tasks[r.task as usize];
            t.state == TaskState::Running && t.fence == r.fence
        };
        let ok = runs && r.outcome != Some(Outcome::Lost) && !allowed.results.contains_key(&(r.fence, r.task));
        verdicts.push(ok);
        if !ok {
            continue;
        }
        allowed.results.insert((r.fence, r.task), r.outcome);
        let job = world.book.jobs.get_mut(&r.job).unwrap();
        if r.outcome.is_some() && job.detail_bytes + r.detail.len() as u64 <= job.spec.detail_budget {
            job.detail_bytes += r.detail.len() as u64;
        }
    }
    (allowed, verdicts)
}

fn check_verdicts(expected: &[bool], answer: &NextReply) -> Check {
    ensure!(
        answer.verdicts.len() == expected.len(),
        "{} verdicts for {} results",
        answer.verdicts.len(),
        expected.len()
    );
    for (i, (verdict, ok)) in answer.verdicts.iter().zip(expected).enumerate() {
        ensure!((*verdict == Verdict::Ok) == *ok, "result {i}: {verdict:?}, acceptable: {ok} (I6)");
    }
    Ok(())
}

/// Every claim answered is on the books as it was told, and no other.
fn check_claims(world: &World, call: &NextCall, answer: &NextReply, before: u64) -> Check {
    let new: BTreeSet<u64> = world.book.claims.keys().copied().filter(|f| *f > before).collect();
    let told: BTreeSet<u64> = answer.claims.iter().map(|c| c.fence).collect();
    ensure!(new == told, "claims {new:?} were made, {told:?} told");
    ensure!(answer.claims.iter().map(|c| c.ids.len()).sum::<usize>() <= 200, "more than 200 tasks in one answer");
    for claim in &answer.claims {
        let group = &world.book.jobs[&claim.job].groups[claim.group as usize];
        let tasks = claim.first as usize..claim.first as usize + claim.ids.len();
        ensure!(claim.ids == group.ids[tasks.clone()], "ids {:?}", claim.ids);
        let attempts: Vec<u32> = group.tasks[tasks].iter().map(|t| t.fails + t.losses + t.company + 1).collect();
        ensure!(claim.attempts == attempts, "attempts {:?}, not {attempts:?}", claim.attempts);
        let hash = &world.farm.claims[&claim.fence];
        let locks: Vec<String> = claim.locks.iter().map(|(p, items)| format!("{p}={}", items.join("|"))).collect();
        ensure!(locks.join(";") == crate::farm::word(hash, "locks"), "locks {locks:?}");
        ensure!(i64::from(claim.place) == number(hash, "place"), "place {}", claim.place);
        ensure!(call.wants.iter().any(|w| w.slot == claim.slot), "slot {} wanted nothing", claim.slot);
        let lease = world.farm.score("lease", &claim.fence.to_string());
        ensure!(lease == Some((world.now + LEASE) as f64), "lease until {lease:?}");
    }
    Ok(())
}

fn check_over(world: &World, loaded: &BTreeSet<(String, u32)>, answer: &NextReply) -> Check {
    let over: BTreeSet<(String, u32)> = answer.over.iter().cloned().collect();
    let expected =
        loaded.iter().filter(|(j, g)| world.book.jobs[j].groups[*g as usize].state.is_over()).cloned().collect();
    ensure!(over == expected, "over: {over:?}, not {expected:?}");
    ensure!(answer.wait_ms <= 4000, "wait {} ms", answer.wait_ms);
    Ok(())
}
