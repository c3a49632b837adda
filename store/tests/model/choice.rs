//! What a free slot may get: priority, shares, stickiness, gates, labels, locks, suspects. Judged on the state before
//! a call that brought no results and asked for one slot.

use std::collections::BTreeSet;

use remuda_store::{Claim, Want};

use crate::book::{Book, Check, ensure};
use crate::farm::{Farm, Run, number, word};

const STICKY_MS: u64 = 3000;

pub struct Asking<'a> {
    pub farm: &'a Farm,
    pub book: &'a Book,
    pub worker: &'a str,
    pub want: &'a Want,
    pub loaded: &'a BTreeSet<(String, u32)>,
    pub now: f64,
}

enum Offer {
    Nothing,
    Something,
    /// The worker empties itself for a suspect.
    Empties,
}

impl Asking<'_> {
    fn slot(&self) -> Option<&(String, i64, u32)> {
        self.farm.slots.get(self.worker)?.get(&self.want.slot.to_string())
    }
    fn busy(&self) -> Option<&(String, i64, u32)> {
        self.slot().filter(|s| s.1 > 0)
    }
    fn fits(&self, class: &str) -> bool {
        let have: Vec<&str> = word(&self.farm.workers[self.worker], "labels").split(',').collect();
        class.is_empty() || class.split(',').all(|l| have.contains(&l))
    }
    fn locks_free(&self, j: &str, lane: u32) -> bool {
        let (_, spec) = self.book.jobs[j].lane_spec(lane);
        spec.locks.iter().all(|(pool, n)| {
            let reserved = self.farm.hashes.get("reserved").and_then(|r| r.get(pool));
            let taken = reserved.is_some_and(|text| {
                let (who, until) = text.rsplit_once(' ').unwrap();
                let me = format!("{j}:{lane}");
                who != me && until.parse::<f64>().unwrap() > self.now && self.comes_before(who, &me)
            });
            !taken && self.farm.free.get(pool).map_or(0, Vec::len) >= *n as usize
        })
    }
    /// Whether what lane `who` has reserved is kept from lane `me`: unless `me` has waited for longer.
    fn comes_before(&self, who: &str, me: &str) -> bool {
        let since = |name: &str| {
            let (j, lane) = name.rsplit_once(':').unwrap();
            self.farm.lanes.get(&(j.to_owned(), lane.parse().unwrap())).map_or(0, |l| number(l, "waiting_since"))
        };
        let (theirs, mine) = (since(who), since(me));
        mine == 0 || theirs > 0 && (theirs, who) < (mine, me)
    }
    fn stealable(&self, j: &str, g: u32, run: &Run) -> bool {
        let group = &self.farm.groups[&(j.to_owned(), g)];
        let mean = |sum, n| (number(group, n) > 0).then(|| number(group, sum) as f64 / number(group, n) as f64);
        let cost = if run.cost < 0.0 { mean("wide_us", "wide_n").unwrap_or(run.cost) } else { run.cost };
        let us = if run.us < 0.0 { mean("done_us", "done_n").map(|m| m * f64::from(run.count)) } else { Some(run.us) };
        !run.flags.contains('n') && us.is_none_or(|us| us / 2.0 >= cost)
    }
    /// What an indexed lane has for this slot.
    fn offer(&self, j: &str, lane: u32) -> Offer {
        let (g, spec) = self.book.jobs[j].lane_spec(lane);
        let key = (j.to_owned(), lane);
        let group = u32::try_from(g).unwrap();
        let unready =
            spec.warm && (!self.loaded.contains(&(j.to_owned(), group)) || !self.book.jobs[j].groups[g].sealed);
        let elsewhere = self.busy().is_some_and(|s| s.0 != j || s.2 != lane || !spec.locks.is_empty());
        if unready || elsewhere || !self.locks_free(j, lane) {
            return Offer::Nothing;
        }
        if self.farm.alone.contains_key(&key) {
            if number(&self.farm.workers[self.worker], "held") == 0 {
                return Offer::Something;
            }
            let by = self.farm.alone_by.get(&key).and_then(|t| t.split_once(' '));
            if by.is_none_or(|(who, until)| who == self.worker || until.parse::<f64>().unwrap() < self.now) {
                return Offer::Empties;
            }
        }
        let own = format!("{}:{}", self.worker, self.want.slot);
        let rests = self.farm.rests.get(&key);
        let has = self.farm.queues.contains_key(&key)
            || rests.is_some_and(|r| r.iter().any(|(o, e)| *o == own || self.stealable(j, group, e)));
        if has { Offer::Something } else { Offer::Nothing }
    }
    /// Jobs in the index for this worker with a free slot of their own, and of them those that have something for it.
    fn jobs(&self) -> (BTreeSet<&String>, BTreeSet<&String>, bool) {
        let (mut contend, mut give, mut empties) = (BTreeSet::new(), BTreeSet::new(), false);
        for ((j, class), lanes) in &self.farm.index {
            let most = number(&self.farm.jobs[j], "max_slots");
            let full = most > 0 && self.farm.occupied(&format!("j:{j}")) >= most;
            if self.farm.has_refused(j, self.worker)
                || !self.fits(class)
                || (full && self.busy().is_none_or(|s| s.0 != *j))
            {
                continue;
            }
            contend.insert(j);
            for lane in lanes.keys() {
                match self.offer(j, *lane) {
                    Offer::Nothing => {}
                    Offer::Something => drop(give.insert(j)),
                    Offer::Empties => empties = true,
                }
            }
        }
        (contend, give, empties)
    }
    fn theirs(&self, j: &str) -> i64 {
        let submitter = &self.book.jobs[j].spec.submitter;
        let mine = self.busy().is_some_and(|s| self.book.jobs[&s.0].spec.submitter == *submitter);
        self.farm.occupied(&format!("s:{submitter}")) - i64::from(mine)
    }
    fn share(&self, j: &str) -> f64 {
        let own = self.busy().is_some_and(|s| s.0 == j);
        (self.farm.occupied(&format!("j:{j}")) - i64::from(own)) as f64
            / f64::from(self.book.jobs[j].spec.weight.max(1))
    }

    pub fn judge(&self, claim: Option<&Claim>) -> Check {
        let worker = &self.farm.workers[self.worker];
        let (contend, give, empties) = self.jobs();
        let barred = number(worker, "alone") != 0 || number(worker, "drain") == 1 || self.want.max == 0;
        let Some(claim) = claim else {
            let excused = barred || empties || (self.busy().is_some() && contend.len() > 1);
            ensure!(
                excused || give.is_empty(),
                "nothing for {} slot {}, though {give:?} had something",
                self.worker,
                self.want.slot
            );
            return Ok(());
        };
        ensure!(!barred, "a claim for a worker that may not have one");
        ensure!(claim.slot == self.want.slot && claim.ids.len() <= self.want.max as usize, "not what was wanted");
        ensure!(give.contains(&claim.job), "{} lane {} had nothing to give", claim.job, claim.lane);
        let (_, spec) = self.book.jobs[&claim.job].lane_spec(claim.lane);
        ensure!(self.fits(&spec.class()), "the labels do not fit");
        ensure!(self.locks_free(&claim.job, claim.lane), "its locks were taken or reserved");
        // a slot that holds something is only given more while it is its job's turn
        let rivals = if self.busy().is_some() { &contend } else { &give };
        let mine = &self.book.jobs[&claim.job].spec;
        let warm = self.busy().map(|s| &s.0).or(self.want.warm.as_ref().map(|w| &w.0)) == Some(&claim.job);
        let stays = warm && self.want.with_ms < STICKY_MS;
        for j in rivals {
            let other = &self.book.jobs[*j].spec;
            ensure!(
                other.priority <= mine.priority,
                "{} was served before {j}, which has a higher priority",
                claim.job
            );
            if other.priority < mine.priority || *j == &claim.job || stays {
                continue;
            }
            let (ours, theirs) = (self.theirs(&claim.job), self.theirs(j));
            ensure!(ours <= theirs, "{} ({ours} slots of its submitter) was served before {j} ({theirs})", claim.job);
            let same = if warm { other.submitter == mine.submitter } else { ours == theirs };
            let (ours, theirs) = (self.share(&claim.job), self.share(j));
            ensure!(!same || ours <= theirs, "{} (share {ours}) was served before {j} ({theirs})", claim.job);
        }
        Ok(())
    }
}
