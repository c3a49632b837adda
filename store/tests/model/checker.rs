//! The invariants, checked on the farm's whole state after every step. I1–I18 are those of the research notes,
//! restated for groups, lanes and claims:
//!
//! - I1  The book (events played into `protocol::lifecycle`) and the farm agree on every job, group and task; every
//!   counter equals a recount: added, ready (or blocked), running, each end, flaky, failures, open groups, needs.
//! - I2  A record runs under fence F ⇔ claim F covers it; a claim's `left` is the number of its running records, more
//!   than 0; claims = `lease` = the union of `held:*`; a slot's count is its number of claims, all of one lane;
//!   a worker's `held` is the sum of what is left.
//! - I3  Ready or blocked ⇔ covered by exactly one entry of its own lane: in `q`, in `cur` or in `alone`. A rest in
//!   `cur` belongs to a slot that is in that lane. What may only run alone is in `alone`, nothing else is.
//! - I4  A lane is in the index ⇔ its job is live ∧ its gate is open ∧ it does not wait ∧ it has something; scores say
//!   `alone` first, then the slowest head, then what can only be stolen. `ready` = the jobs with indexed lanes of that
//!   class by priority; `classes` = the classes with jobs.
//! - I5  A fence never falls and rises only at a claim (book); none is above `meta.fence`.
//! - I6  At most one accepted end for each (task, fence) (book); answers say OK exactly then (history).
//! - I7  Ends absorb: tasks, groups, jobs (lifecycle).
//! - I8  A gate opens only when every needed group has succeeded (book).
//! - I9  `needs` of a waiting group = needed groups that have not succeeded; none of them has ended otherwise.
//! - I10 Free items + items held = the pool; a claim holds exactly its lane's locks; a lane that waits is in exactly one
//!   wait set, that of a pool it locks, and has something; pools exist ⇔ a job that is not over uses them.
//! - I11 fails ≤ retries + 1, losses ≤ max_losses + 1, claims ≤ fails + losses + company + yields + 1 (book).
//! - I12 Nothing is claimed from a job that closes (book); a cancelled attempt is never tried again (book).
//! - I13 Repeating a call changes nothing (history compares the raw state).
//! - I14 (physical) is the worker's; here: places are unique in a job; a suspect's worker holds nothing else.
//! - I15 Every sealed job ends, given one live matching worker (history, at the end).
//! - I16 A call touches at most 400 records, 200 unless it is `next` (200 results and 200 claims).
//! - I17 The event numbers of a job have no gap, and playing them gives the farm's state (I1).
//! - I18 After gc nothing of a job is left; when the workers have gone too, only `meta`.
//! - Shares: `occupied` = slots with claims, by job and submitter, no zeros; no more than `max_slots`.
//! - Books: `slots`, `profiles`, bells, registrations and owners recounted; no key of an unknown kind or a gone job.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use remuda_protocol::lifecycle::{GroupState, TaskState};
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::canonical_labels;

use crate::book::{Book, Check, Job, ensure};
use crate::farm::{Farm, number, word};

pub fn check(farm: &Farm, book: &Book) -> Check {
    ensure!(farm.unknown.is_empty(), "keys of an unknown kind: {:?}", farm.unknown);
    ensure!(farm.jobs.keys().eq(book.jobs.keys()), "jobs {:?}, not {:?}", farm.jobs.keys(), book.jobs.keys());
    for (j, job) in &book.jobs {
        check_job(farm, j, job).map_err(|e| format!("job {j}: {e}"))?;
        for g in 0..job.groups.len() {
            check_group(farm, j, job, g).map_err(|e| format!("job {j} group {g}: {e}"))?;
            check_covered(farm, j, job, g).map_err(|e| format!("job {j} group {g}: {e}"))?;
        }
    }
    check_claims(farm, book)?;
    check_index(farm, book)?;
    check_pools(farm, book)?;
    check_shares(farm, book)?;
    check_workers(farm)?;
    check_leftovers(farm)
}

fn check_job(farm: &Farm, j: &str, job: &Job) -> Check {
    let hash = &farm.jobs[j];
    let state = remuda_protocol::lifecycle::JobState::from_word(word(hash, "state"));
    ensure!(state == Some(job.state), "state {state:?}, not {:?}", job.state);
    ensure!(word(hash, "cancel") == job.reason, "reason `{}`, not `{}`", word(hash, "cancel"), job.reason);
    ensure!(
        number(hash, "failures") == i64::from(job.failures),
        "failures {}, not {}",
        number(hash, "failures"),
        job.failures
    );
    ensure!((number(hash, "sealed") == 1) == job.sealed, "sealed {}", number(hash, "sealed"));
    let open = job.groups.iter().filter(|g| !g.state.is_over()).count();
    ensure!(number(hash, "open_groups") == open as i64, "open_groups {}, not {open}", number(hash, "open_groups"));
    ensure!(
        number(hash, "seq").unsigned_abs() == job.sequence.n,
        "seq {}, events up to {}",
        number(hash, "seq"),
        job.sequence.n
    );
    ensure!(
        number(hash, "det_bytes").unsigned_abs() == job.detail_bytes,
        "det_bytes {}, not {}",
        number(hash, "det_bytes"),
        job.detail_bytes
    );
    let over = job.state.is_over();
    ensure!(farm.score("retire", j).is_some() == over, "in `retire`: {}", !over);
    ensure!(
        !over || farm.score("owners", j).is_none() && farm.score("deadlines", j).is_none(),
        "over, and still has deadlines"
    );
    ensure!(!over || open == 0, "over, with open groups");
    let said = farm.refused.get(j).map_or(0, HashMap::len);
    ensure!(number(hash, "refusals") == said as i64, "refusals {}, not {said}", number(hash, "refusals"));
    let refused: BTreeSet<String> = farm.workers.keys().filter(|w| farm.has_refused(j, w)).cloned().collect();
    ensure!(refused == job.refused, "refused by {refused:?}, not {:?}", job.refused);
    Ok(())
}

fn check_group(farm: &Farm, j: &str, job: &Job, g: usize) -> Check {
    let group = &job.groups[g];
    let number_of = u32::try_from(g).unwrap();
    let hash = farm.groups.get(&(j.to_owned(), number_of)).ok_or("is gone")?;
    let state = GroupState::from_word(word(hash, "state"));
    ensure!(state == Some(group.state), "state {state:?}, not {:?}", group.state);
    ensure!((number(hash, "sealed") == 1) == group.sealed, "sealed {}", number(hash, "sealed"));
    let ended = |o| move |s| s == TaskState::Ended(o);
    let counts = [
        ("added", u32::try_from(group.tasks.len()).unwrap()),
        ("ready", group.ready()),
        ("running", group.running()),
        ("passed", group.count(ended(Outcome::Passed))),
        ("failed", group.count(ended(Outcome::Failed))),
        ("errored", group.count(ended(Outcome::Errored))),
        ("timedout", group.count(ended(Outcome::TimedOut))),
        ("lost", group.count(ended(Outcome::Lost))),
        ("skipped", group.count(ended(Outcome::Skipped))),
        ("cancelled", group.count(ended(Outcome::Cancelled))),
        ("flaky", group.flaky),
    ];
    for (field, expected) in counts {
        ensure!(
            number(hash, field) == i64::from(expected),
            "{field} is {}, a recount says {expected}",
            number(hash, field)
        );
    }
    if group.state == GroupState::Waiting {
        let missing = job.spec.groups[g]
            .needs
            .iter()
            .map(|n| job.groups[*n as usize].state)
            .filter(|s| *s != GroupState::Succeeded);
        let states: Vec<_> = missing.collect();
        ensure!(number(hash, "needs") == states.len() as i64, "needs {}, not {}", number(hash, "needs"), states.len());
        ensure!(!states.iter().any(|s| s.is_over()), "waits for what has ended: {states:?}");
    }
    for (t, task) in group.tasks.iter().enumerate() {
        let record = farm.records.get(&(j.to_owned(), number_of, u32::try_from(t).unwrap()));
        let Some(r) = record else {
            ensure!(task.fence == 0, "task {t} has no record, the book says {task:?}");
            continue;
        };
        let state = match (r.outcome, r.running) {
            (Some(o), _) => TaskState::Ended(o),
            (None, true) => TaskState::Running,
            (None, false) => TaskState::Ready,
        };
        // what was dropped with its lane keeps the record of its last attempt
        let dropped =
            state == TaskState::Ready && matches!(task.state, TaskState::Ended(Outcome::Cancelled | Outcome::Skipped));
        ensure!(dropped || state == task.state, "task {t}: record {r:?}, book {task:?}");
        let same = (r.fence, r.fails, r.losses, r.company) == (task.fence, task.fails, task.losses, task.company);
        ensure!(same, "task {t}: record {r:?}, book {task:?}");
        ensure!(
            task.fails <= job.spec.groups[g].retries + 1 && task.losses <= job.spec.groups[g].max_losses + 1,
            "task {t}: {task:?} (I11)"
        );
    }
    Ok(())
}

/// I3: ready ⇔ covered by exactly one entry.
fn check_covered(farm: &Farm, j: &str, job: &Job, g: usize) -> Check {
    let group = &job.groups[g];
    let mut covered: HashMap<u32, u32> = HashMap::new();
    for lane in &job.lanes[g] {
        let key = (j.to_owned(), *lane);
        let queue = farm.queues.get(&key).into_iter().flatten();
        let rests = farm.rests.get(&key).into_iter().flatten();
        for (owner, _) in rests.clone() {
            let (worker, slot) = owner.split_once(':').ok_or("a rest of nobody")?;
            let at = farm.slots.get(worker).and_then(|s| s.get(slot));
            ensure!(
                at.is_some_and(|(sj, _, sl)| sj == j && sl == lane),
                "the rest of {owner} in lane {lane}, whose slot is {at:?}"
            );
        }
        let alone = farm.alone.get(&key).into_iter().flatten();
        let entries = queue.chain(rests.map(|(_, e)| e)).flat_map(|e| e.tasks().map(|t| (t, false)));
        for (task, alone) in entries.chain(alone.map(|t| (*t, true))) {
            let found = group
                .tasks
                .get(task as usize)
                .ok_or_else(|| format!("lane {lane} holds task {task}, which does not exist"))?;
            let ready = matches!(found.state, TaskState::Ready | TaskState::Blocked);
            ensure!(ready, "task {task} is {:?} and in lane {lane}", found.state);
            ensure!(found.must_be_alone() == alone, "task {task} is in `alone`: {alone}: {found:?}");
            ensure!(group.lanes[task as usize] == *lane, "task {task} is in lane {lane}, not in its own");
            ensure!(covered.insert(task, *lane).is_none(), "task {task} is in two entries");
        }
        ensure!(
            !farm.alone_by.contains_key(&key) || farm.alone.contains_key(&key),
            "lane {lane}: somebody empties itself for nothing"
        );
    }
    ensure!(covered.len() == group.ready() as usize, "{} tasks in lanes, {} ready", covered.len(), group.ready());
    Ok(())
}

fn check_claims(farm: &Farm, book: &Book) -> Check {
    ensure!(
        farm.claims.keys().eq(book.claims.keys()),
        "claims {:?}, not {:?} (I2)",
        farm.claims.keys(),
        book.claims.keys()
    );
    let mut slots: BTreeMap<(&str, &str), (i64, &str, &str)> = BTreeMap::new();
    let mut held: BTreeMap<&str, (i64, i64, bool)> = BTreeMap::new();
    for (fence, hash) in &farm.claims {
        let claim = &book.claims[fence];
        let at = |f| word(hash, f);
        let found = (
            at("worker"),
            number(hash, "slot"),
            at("j"),
            number(hash, "g"),
            number(hash, "first"),
            number(hash, "count"),
        );
        let told = (
            claim.worker.as_str(),
            i64::from(claim.slot),
            claim.job.as_str(),
            i64::from(claim.group),
            i64::from(claim.first),
            i64::from(claim.count),
        );
        let same = found == told;
        ensure!(same, "claim {fence} is {hash:?}, the book says {claim:?}");
        ensure!((number(hash, "cancel") == 1) == claim.cancelled, "claim {fence}: cancel {}", number(hash, "cancel"));
        let stopped: Vec<u32> = word(hash, "stop").split(',').filter_map(|task| task.parse().ok()).collect();
        ensure!(stopped == claim.stopped, "claim {fence}: stop {stopped:?}, not {:?}", claim.stopped);
        let left = i64::from(book.left(*fence));
        ensure!(
            number(hash, "left") == left && left > 0,
            "claim {fence}: left {}, {left} records run (I2)",
            number(hash, "left")
        );
        ensure!(farm.score("lease", &fence.to_string()).is_some(), "claim {fence} has no lease");
        ensure!(
            farm.held.get(at("worker")).is_some_and(|h| h.contains(fence)),
            "claim {fence} is not held by {}",
            at("worker")
        );
        ensure!(*fence <= farm.meta_number("fence").unsigned_abs(), "claim {fence} above meta (I5)");
        let slot = slots.entry((at("worker"), at("slot"))).or_insert((0, at("j"), at("lane")));
        slot.0 += 1;
        ensure!((slot.1, slot.2) == (at("j"), at("lane")), "{} {} holds claims of two lanes", at("worker"), at("slot"));
        let sum = held.entry(at("worker")).or_default();
        *sum = (sum.0 + left, sum.1 + 1, sum.2 || number(hash, "alone") == 1);
        let place = farm.places.get(at("j")).map(|p| number(p, &format!("{}:{}", at("worker"), at("slot"))));
        ensure!(
            place == Some(number(hash, "place")),
            "claim {fence}: place {}, the book of places says {place:?}",
            at("place")
        );
        let task = &book.jobs[&claim.job].groups[claim.group as usize].tasks[claim.first as usize];
        ensure!(
            (number(hash, "alone") == 1) == task.must_be_alone(),
            "claim {fence}: alone {}, task {task:?}",
            at("alone")
        );
    }
    ensure!(farm.zset("lease").count() == farm.claims.len(), "leases without claims");
    ensure!(farm.held.values().map(BTreeSet::len).sum::<usize>() == farm.claims.len(), "held claims that are none");
    for (worker, (left, claims, alone)) in &held {
        let hash = farm.workers.get(*worker).ok_or_else(|| format!("{worker} holds claims and is not on the books"))?;
        ensure!(number(hash, "held") == *left, "{worker} holds {left}, its book says {}", number(hash, "held"));
        ensure!(!alone || *claims == 1, "{worker} holds a suspect and {} more claims", claims - 1);
        ensure!((number(hash, "alone") != 0) == *alone, "{worker}: alone {}", number(hash, "alone"));
    }
    for (worker, hash) in farm.workers.iter().filter(|(w, _)| !held.contains_key(w.as_str())) {
        ensure!(
            number(hash, "held") == 0 && number(hash, "alone") == 0,
            "{worker} holds nothing, its book says {hash:?}"
        );
    }
    for (worker, list) in &farm.slots {
        ensure!(farm.workers.contains_key(worker), "slots of {worker}, which has gone");
        for (slot, (j, n, l)) in list {
            let (count, job, lane) = slots.remove(&(worker.as_str(), slot.as_str())).unwrap_or((0, j, ""));
            ensure!(*n == count, "{worker} slot {slot}: {n} claims, a recount says {count}");
            ensure!(
                count == 0 || (job == j && lane == l.to_string()),
                "{worker} slot {slot} is in {j} lane {l}, its claims in {job} {lane}"
            );
        }
    }
    ensure!(slots.is_empty(), "claims of unknown slots: {slots:?}");
    Ok(())
}

fn check_index(farm: &Farm, book: &Book) -> Check {
    let mut index: BTreeMap<(String, String), BTreeMap<u32, f64>> = BTreeMap::new();
    for (j, job) in &book.jobs {
        for lane in job.lanes.iter().flatten() {
            let (g, spec) = job.lane_spec(*lane);
            let key = (j.clone(), *lane);
            let waits = !word(&farm.lanes[&key], "wait").is_empty();
            let head = farm.queues.get(&key).map(|q| -q[0].us.max(0.0));
            let stolen = farm.rests.contains_key(&key).then_some(1e12);
            let score = if farm.alone.contains_key(&key) { Some(-1e15) } else { head.or(stolen) };
            if let Some(score) = score.filter(|_| job.live() && job.groups[g].state.gate_open() && !waits) {
                index.entry((j.clone(), spec.class())).or_default().insert(*lane, score);
            }
        }
    }
    ensure!(index == farm.index, "the index of lanes is {:?}, should be {index:?} (I4)", farm.index);
    let mut ready: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for (j, class) in index.into_keys() {
        let priority = book.jobs[&j].spec.priority;
        ready.entry(class).or_default().insert(j, f64::from(-priority));
    }
    ensure!(ready == farm.ready, "`ready` is {:?}, should be {ready:?} (I4)", farm.ready);
    ensure!(ready.keys().eq(farm.classes.iter()), "`classes` is {:?}, should be {:?} (I4)", farm.classes, ready.keys());
    Ok(())
}

fn check_pools(farm: &Farm, book: &Book) -> Check {
    let mut users: BTreeMap<&str, (i64, &Vec<String>)> = BTreeMap::new();
    for job in book.jobs.values().filter(|j| !j.state.is_over()) {
        job.spec.pools.iter().for_each(|(p, items)| users.entry(p).or_insert((0, items)).0 += 1);
    }
    let mut items: BTreeMap<String, Vec<String>> = farm.free.clone();
    for (fence, hash) in &farm.claims {
        let claim = &book.claims[fence];
        let (_, lane) = book.jobs[&claim.job].lane_spec(word(hash, "lane").parse().unwrap());
        let mut wanted: Vec<(String, usize)> = lane.locks.iter().map(|(p, n)| (p.clone(), *n as usize)).collect();
        for lock in word(hash, "locks").split(';').filter(|l| !l.is_empty()) {
            let (pool, held) = lock.split_once('=').unwrap();
            let held: Vec<String> = held.split('|').map(str::to_owned).collect();
            wanted.retain(|w| *w != (pool.to_owned(), held.len()));
            items.entry(pool.to_owned()).or_default().extend(held);
        }
        ensure!(wanted.is_empty(), "claim {fence} lacks {wanted:?} (I10)");
    }
    for (pool, (n, all)) in &users {
        let hash = |name: &str| farm.hashes.get(name).and_then(|h| h.get(*pool)).cloned().unwrap_or_default();
        ensure!(
            hash("pool_users") == n.to_string(),
            "pool {pool} has {} users, a recount says {n}",
            hash("pool_users")
        );
        ensure!(hash("pools") == all.join("\n"), "pool {pool} is {:?}", hash("pools"));
        let mut have = items.remove(*pool).unwrap_or_default();
        let mut want = (*all).clone();
        have.sort();
        want.sort();
        ensure!(have == want, "items of pool {pool}: {have:?}, should be {want:?} (I10)");
    }
    ensure!(items.is_empty(), "items of pools that nobody uses: {items:?}");
    for name in ["pools", "pool_users"] {
        ensure!(farm.hashes.get(name).map_or(0, HashMap::len) == users.len(), "`{name}` has more than is used");
    }
    for pool in farm.hashes.get("reserved").into_iter().flat_map(HashMap::keys) {
        ensure!(users.contains_key(pool.as_str()), "pool {pool} is reserved and unused");
    }
    check_waiters(farm, book)
}

fn check_waiters(farm: &Farm, book: &Book) -> Check {
    let mut waits: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for ((j, l), lane) in &farm.lanes {
        let pool = word(lane, "wait");
        if pool.is_empty() {
            continue;
        }
        let job = &book.jobs[j];
        let (g, spec) = job.lane_spec(*l);
        ensure!(spec.locks.contains_key(pool), "{j} lane {l} waits for {pool}, which it does not lock");
        let key = (j.clone(), *l);
        let has = farm.queues.contains_key(&key) || farm.rests.contains_key(&key) || farm.alone.contains_key(&key);
        ensure!(
            has && job.live() && job.groups[g].state.gate_open(),
            "{j} lane {l} waits for {pool} with nothing to give (I10)"
        );
        waits.entry(pool.to_owned()).or_default().insert(format!("{j}:{l}"));
    }
    let found: BTreeMap<String, BTreeSet<String>> =
        farm.wait.iter().map(|(p, z)| (p.clone(), z.keys().cloned().collect())).collect();
    ensure!(waits == found, "waiting lanes {found:?}, should be {waits:?} (I10)");
    Ok(())
}

fn check_shares(farm: &Farm, book: &Book) -> Check {
    let mut expected: HashMap<String, String> = HashMap::new();
    let mut count: BTreeMap<String, i64> = BTreeMap::new();
    for (j, n, _) in farm.slots.values().flat_map(BTreeMap::values) {
        if *n > 0 {
            *count.entry(format!("j:{j}")).or_default() += 1;
            *count.entry(format!("s:{}", book.jobs[j].spec.submitter)).or_default() += 1;
        }
    }
    expected.extend(count.into_iter().map(|(k, n)| (k, n.to_string())));
    let found = farm.hashes.get("occupied").cloned().unwrap_or_default();
    ensure!(found == expected, "occupied {found:?}, a recount says {expected:?}");
    for (j, job) in &book.jobs {
        let (most, now) = (i64::from(job.spec.max_slots), farm.occupied(&format!("j:{j}")));
        ensure!(most == 0 || now <= most, "job {j} has {now} slots of {most}");
        let places: Vec<&String> = farm.places.get(j).into_iter().flat_map(HashMap::values).collect();
        ensure!(
            places.iter().collect::<BTreeSet<_>>().len() == places.len(),
            "job {j}: a place twice: {places:?} (I14)"
        );
    }
    for (j, places) in &farm.places {
        ensure!(book.jobs.contains_key(j), "places of {j}, which has gone");
        for owner in places.keys() {
            let (w, s) = owner.split_once(':').unwrap();
            let at = farm.slots.get(w).and_then(|l| l.get(s));
            ensure!(at.is_some_and(|(sj, _, _)| sj == j), "{owner} has a place in {j} and is in {at:?}");
        }
    }
    Ok(())
}

fn check_workers(farm: &Farm) -> Check {
    let slots: i64 = farm.workers.values().map(|w| number(w, "slots")).sum();
    ensure!(farm.meta_number("slots") == slots, "slots {}, a recount says {slots}", farm.meta_number("slots"));
    let mut profiles: HashMap<String, i64> = HashMap::new();
    farm.workers.values().for_each(|w| *profiles.entry(canonical(word(w, "labels"))).or_default() += 1);
    let profiles: HashMap<String, String> = profiles.into_iter().map(|(p, n)| (p, n.to_string())).collect();
    let found = farm.hashes.get("profiles").cloned().unwrap_or_default();
    ensure!(found == profiles, "profiles {found:?}, a recount says {profiles:?}");
    for (profile, tokens) in &farm.bells {
        ensure!(profiles.contains_key(profile) && *tokens <= 64, "bell `{profile}` with {tokens} tokens");
    }
    let registered: BTreeSet<&String> = farm.zset("workers").map(|(w, _)| w).collect();
    ensure!(registered.into_iter().eq(farm.workers.keys()), "registrations differ from workers");
    Ok(())
}

fn canonical(labels: &str) -> String {
    canonical_labels(&labels.split(',').filter(|l| !l.is_empty()).map(str::to_owned).collect::<Vec<_>>())
}

/// Keys of jobs that are gone.
fn check_leftovers(farm: &Farm) -> Check {
    let of_job = [
        "job", "group", "lane", "q", "cur", "alone", "alone_by", "rec", "ids", "det", "spec", "events", "place", "log",
        "logs", "lanes", "result", "refused",
    ];
    for name in farm.raw.keys() {
        let mut parts = name.split(':');
        let kind = parts.next().unwrap_or_default();
        if of_job.contains(&kind) {
            let j = parts.next().unwrap_or_default();
            ensure!(farm.jobs.contains_key(j), "key `{name}` of a job that is gone (I18)");
        }
    }
    Ok(())
}

/// I16: how much one call touched.
pub fn touched(before: &Farm, after: &Farm) -> usize {
    after.records.iter().filter(|(k, r)| before.records.get(*k) != Some(*r)).count()
}
