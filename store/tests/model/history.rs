//! One random history: commands against the real scripts, each answer foretold by the model, every invariant checked
//! after every step, and at the end every sealed job driven to its end by one live worker (I15).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use remuda_protocol::event::Sequence;
use remuda_protocol::spec::GroupKind;
use remuda_store::{ScriptSet, Store};

use crate::book::{Allowed, Book, Check, ensure};
use crate::checker;
use crate::farm::{DUMP, Farm, number};
use crate::plan::{self, Client, GroupPlan};
use crate::random::Random;
use crate::support::{PrivateRedis, START_MS};

pub const LEASE: i64 = 30_000;

pub struct World {
    pub store: Store,
    pub raw: MultiplexedConnection,
    dump: redis::Script,
    prefix: String,
    pub now: i64,
    pub book: Book,
    pub farm: Farm,
    pub clients: Vec<Client>,
    pub dead: Vec<String>,
    pub plans: BTreeMap<String, Vec<GroupPlan>>,
    pub pools: BTreeMap<String, Vec<String>>,
    /// Bytes of each attempt's log: (fence, task).
    pub logs: HashMap<(u64, u32), u64>,
    pub calls: u64,
    pub born: u32,
    pub trace: Vec<String>,
}

impl World {
    async fn new(redis: &PrivateRedis, scripts: Arc<ScriptSet>, seed: u64) -> Self {
        let mut raw = redis.raw().await;
        let _: () = redis::cmd("FLUSHALL").query_async(&mut raw).await.unwrap();
        let prefix = "remuda:{test}:".to_owned();
        let now = START_MS;
        redis.set_clock(now).await;
        let store = redis.store_with(scripts).await;
        let mut random = Random::new(seed);
        let mut world = Self {
            store,
            raw,
            dump: redis::Script::new(DUMP),
            prefix,
            now,
            book: Book::default(),
            farm: Farm::default(),
            clients: vec![],
            dead: vec![],
            plans: BTreeMap::new(),
            pools: plan::pools(&mut random),
            logs: HashMap::new(),
            calls: 0,
            born: 0,
            trace: vec![],
        };
        world.farm = world.read().await;
        world.book.fence = world.farm.meta_number("fence").unsigned_abs();
        world
    }

    pub async fn read(&mut self) -> Farm {
        let mut call = self.dump.prepare_invoke();
        call.arg(&self.prefix);
        for (j, job) in &self.book.jobs {
            call.arg(format!("events:{j}"));
            call.arg(if job.sequence == Sequence::default() { "-".to_owned() } else { format!("({}", job.sequence) });
        }
        let dump: String = call.invoke_async(&mut self.raw).await.unwrap();
        Farm::parse(&dump)
    }

    pub async fn set(&mut self, key: &str, field: Option<&str>, value: String) {
        let mut cmd = redis::cmd(if field.is_some() { "HSET" } else { "SET" });
        cmd.arg(format!("{}{key}", self.prefix)).arg(field).arg(value);
        let _: redis::Value = cmd.query_async(&mut self.raw).await.unwrap();
    }

    pub async fn drop_bells(&mut self) {
        if !self.farm.bells.is_empty() {
            let keys: Vec<String> = self.farm.bells.keys().map(|b| format!("{}bell:{b}", self.prefix)).collect();
            let _: redis::Value = redis::cmd("DEL").arg(keys).query_async(&mut self.raw).await.unwrap();
        }
    }

    pub fn say(&mut self, words: String) {
        self.trace.push(format!("{} {words}", self.now));
    }

    /// Reads the farm after a call and holds it against the book.
    pub async fn after(&mut self, allowed: &Allowed) -> Check {
        let farm = self.read().await;
        self.book.base = self.book.fence;
        for (j, batches) in &farm.events {
            self.book.apply(j, batches, allowed)?;
        }
        self.book.settle();
        self.book.forget_refusals(|worker| farm.workers.contains_key(worker));
        checker::check(&farm, &self.book)?;
        let touched = checker::touched(&self.farm, &farm);
        let most = if allowed.claimer.is_some() { 400 } else { 200 };
        ensure!(touched <= most, "one call touched {touched} records (I16)");
        let before = std::mem::replace(&mut self.farm, farm);
        self.check_bells(&before)?;
        self.check_waiters()?;
        self.check_set_back(&before, allowed)?;
        self.check_losses(&before, allowed)
    }

    fn check_set_back(&self, before: &Farm, allowed: &Allowed) -> Check {
        let Some((by, renewed)) = &allowed.set_back else { return Ok(()) };
        ensure!(self.farm.meta_number("last_reap") == self.now, "nobody noticed that the clock was set back");
        for (fence, until) in before.zset("lease").filter(|(f, _)| !renewed.contains(&f.parse().unwrap())) {
            let now = self.farm.score("lease", fence);
            ensure!(
                now.is_none_or(|now| now == until - *by as f64),
                "lease of {fence}: {until} became {now:?}, the clock went back by {by}"
            );
        }
        Ok(())
    }

    /// What becomes claimable rings every fitting bell.
    fn check_bells(&self, before: &Farm) -> Check {
        for ((j, class), lanes) in &self.farm.index {
            let had = before.index.get(&(j.clone(), class.clone()));
            if lanes.keys().all(|l| had.is_some_and(|h| h.contains_key(l))) {
                continue;
            }
            for (w, worker) in &self.farm.workers {
                let profile = crate::farm::word(worker, "labels");
                let fits = class.is_empty() || class.split(',').all(|c| profile.split(',').any(|p| p == c));
                let new = !before.workers.contains_key(w);
                ensure!(
                    !fits || new || self.farm.bells.contains_key(profile),
                    "{j} has become claimable and the bell of `{profile}` is silent"
                );
            }
        }
        Ok(())
    }

    /// No lane waits for what is there: all its items free and no pool of it reserved.
    fn check_waiters(&self) -> Check {
        for ((j, l), lane) in &self.farm.lanes {
            if crate::farm::word(lane, "wait").is_empty() {
                continue;
            }
            let (_, spec) = self.book.jobs[j].lane_spec(*l);
            let there = spec.locks.iter().all(|(pool, n)| {
                let reserved = self.farm.hashes.get("reserved").is_some_and(|r| r.contains_key(pool));
                !reserved && self.farm.free.get(pool).map_or(0, Vec::len) >= *n as usize
            });
            ensure!(!there, "{j} lane {l} waits for what is free");
        }
        Ok(())
    }

    /// Leases that had ended are gone after a reaping that had room for them.
    fn check_losses(&self, before: &Farm, allowed: &Allowed) -> Check {
        let tasks: i64 = allowed.lost.keys().filter_map(|f| before.claims.get(f)).map(|c| number(c, "left")).sum();
        if allowed.lost.len() <= 20 && tasks <= 40 {
            let alive = allowed.lost.keys().find(|f| self.farm.claims.contains_key(f));
            ensure!(alive.is_none(), "the lease of {alive:?} had ended and it still holds it");
        }
        Ok(())
    }

    /// What a call that reaps may do now; `beating` has renewed the claims in `renewed`.
    pub fn reaping(&self, allowed: &mut Allowed, caller: &str, renewed: &BTreeSet<u64>, beating: bool) {
        let (last, hold) = (self.farm.meta_number("last_reap"), self.farm.meta_number("hold_until"));
        if last - self.now >= 1000 {
            allowed.set_back = Some((last - self.now, renewed.clone()));
        }
        let quiet = last - self.now >= 1000 || (self.now >= last && self.now - last < 2000);
        if quiet || (last > 0 && self.now - last > 10_000) || self.now < hold {
            return;
        }
        let due = |zset: &str| -> Vec<String> {
            self.farm.zset(zset).filter(|(_, s)| *s <= self.now as f64).map(|(m, _)| m.clone()).collect()
        };
        for j in due("owners") {
            if self
                .book
                .jobs
                .get(&j)
                .is_some_and(|job| !job.spec.detach || job.state == remuda_protocol::lifecycle::JobState::Open)
            {
                allowed.closing.entry(j).or_default().push("owner".to_owned());
            }
        }
        for j in due("deadlines") {
            allowed.closing.entry(j).or_default().push("deadline".to_owned());
        }
        let taken = u32::try_from(allowed.results.len()).unwrap();
        for fence in due("lease").iter().map(|f| f.parse::<u64>().unwrap()).filter(|f| !renewed.contains(f)) {
            let worker = &self.book.claims[&fence].worker;
            let mine = worker == caller;
            let held = self.book.held_by(worker) - if mine { taken } else { 0 };
            let earlier = if mine && beating { 0 } else { number(&self.farm.workers[worker], "lost_held") };
            allowed.lost.insert(fence, held.max(u32::try_from(earlier).unwrap()));
        }
        // a claim whose last task was reported in this very call has not been lost
        let done = |f: &u64| {
            self.book.left(*f) > 0
                && allowed.results.keys().filter(|(r, _)| r == f).count() as u32 == self.book.left(*f)
        };
        let done: Vec<u64> = allowed.lost.keys().copied().filter(done).collect();
        allowed.lost.retain(|f, _| !done.contains(f));
    }

    /// I13: the state after a repeated call is the state before it.
    pub async fn unchanged(&mut self, what: &str) -> Check {
        let again = self.read().await;
        let strip = |farm: &Farm| -> Vec<(String, String)> {
            farm.raw.iter().filter(|(k, _)| !k.starts_with("bell:")).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        let (a, b) = (strip(&self.farm), strip(&again));
        if a != b {
            let changed: Vec<&String> =
                a.iter().zip(&b).find(|(x, y)| x != y).map(|(x, y)| vec![&x.0, &y.0]).unwrap_or_default();
            return Err(format!("repeating {what} changed the farm at {changed:?} (I13)"));
        }
        ensure!(again.events.values().all(Vec::is_empty), "repeating {what} emitted events (I13)");
        Ok(())
    }

    pub fn collect_claim(&self, j: &str, target: usize) -> Option<u64> {
        let job = &self.book.jobs[j];
        let c = job.collector(target)?;
        let task = job.groups[c].tasks.first()?;
        (task.state == remuda_protocol::lifecycle::TaskState::Running).then_some(task.fence)
    }

    pub fn plan_job(&mut self, random: &mut Random, spec: &remuda_protocol::spec::JobSpec) {
        let lanes = crate::book::Job::new(spec.clone(), "").lanes;
        let of = |(g, group): (usize, &remuda_protocol::spec::GroupSpec)| {
            plan::group_plan(random, u32::try_from(g).unwrap(), group.kind, &lanes[g])
        };
        let plans = spec.groups.iter().enumerate().map(of).collect();
        self.plans.insert(spec.id.clone(), plans);
    }
}

/// How a history ended.
pub struct Outcome {
    pub calls: u64,
    pub violation: Option<(u32, String)>,
    pub trace: Vec<String>,
}

/// Plays the history of `seed`: at most `steps` steps without those in `skip`, then the drive to the end.
pub async fn play(
    redis: &PrivateRedis,
    scripts: &Arc<ScriptSet>,
    seed: u64,
    steps: u32,
    skip: &BTreeSet<u32>,
) -> Outcome {
    let mut world = World::new(redis, scripts.clone(), seed).await;
    let mut violation = None;
    for step in (0..steps).filter(|s| !skip.contains(s)) {
        let mut random = Random::of_step(seed, u64::from(step));
        world.drop_bells().await;
        if let Err(why) = crate::commands::step(&mut world, &mut random).await {
            violation = Some((step, why));
            break;
        }
    }
    if violation.is_none() {
        let mut random = Random::of_step(seed, 1 << 40);
        violation = crate::drive::to_the_end(&mut world, &mut random).await.err().map(|why| (steps, why));
    }
    Outcome { calls: world.calls, violation, trace: world.trace }
}

/// Whether this group's tasks come from a collector.
pub fn collected(world: &World, j: &str, g: usize) -> bool {
    world.book.jobs[j].collector(g).is_some()
}

pub fn is_collect(world: &World, j: &str, g: u32) -> bool {
    world.book.jobs.get(j).is_some_and(|job| job.spec.groups[g as usize].kind == GroupKind::Collect)
}
