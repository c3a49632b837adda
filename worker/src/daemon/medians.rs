//! Limits that are learned: how long what passes takes, for groups whose timeout is a share of the median. What is done
//! about an attempt that is over it is decided here too; killing is the keeper's.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use remuda_protocol::outcome::Detail;

use super::Daemon;
use super::slots::Abort;

/// So many must have passed before their median says anything.
const FEWEST: usize = 3;
/// The last so many count.
const MOST: usize = 999;
/// Groups that are remembered.
const GROUPS: usize = 64;

/// How long what passed took, by job and group.
#[derive(Debug, Default)]
pub(super) struct Medians {
    groups: HashMap<(String, u32), Times>,
}

#[derive(Debug, Default)]
struct Times {
    order: VecDeque<u64>,
    sorted: Vec<u64>,
}

impl Medians {
    /// An attempt passed after so many µs.
    pub(super) fn learn(&mut self, job: &str, group: u32, us: u64) {
        let key = (job.to_owned(), group);
        if self.groups.len() >= GROUPS && !self.groups.contains_key(&key) {
            self.groups.clear();
        }
        let times = self.groups.entry(key).or_default();
        if times.order.len() == MOST
            && let Some(oldest) = times.order.pop_front()
            && let Ok(at) = times.sorted.binary_search(&oldest)
        {
            times.sorted.remove(at);
        }
        times.order.push_back(us);
        let at = times.sorted.partition_point(|t| *t < us);
        times.sorted.insert(at, us);
    }

    /// The limit of a group, once there is one.
    pub(super) fn limit(&self, job: &str, group: u32, percent: u32) -> Option<Duration> {
        let times = self.groups.get(&(job.to_owned(), group)).filter(|t| t.sorted.len() >= FEWEST)?;
        let median = times.sorted[(times.sorted.len() - 1) / 2];
        Some(Duration::from_micros(median.saturating_mul(percent.into()) / 100))
    }
}

impl Daemon {
    /// Kills commands that are over their group's share of the median.
    pub(super) fn tick_medians(&mut self, now: Instant) {
        for slot in 0..self.settings.slots {
            let Some(running) = self.slots[slot as usize].running() else { continue };
            let (Some(id), Some(started), None) = (running.sent, running.started, running.abort) else { continue };
            let Some(super::jobs::Job::Ready(spec)) = self.jobs.get(&running.job) else { continue };
            let percent = spec.groups[running.group as usize].timeout_percent;
            if percent == 0 {
                continue;
            }
            let limit = self.medians.limit(&running.job, running.group, percent);
            if limit.is_some_and(|limit| now.saturating_duration_since(started) > limit) {
                let it = &mut self.slots[slot as usize];
                it.queue.iter_mut().filter(|a| a.sent == Some(id)).for_each(|a| a.abort = Some(Abort::Overdue));
                if let Some(keeper) = &it.keeper {
                    let _ = keeper.kill(id, false);
                }
            }
        }
    }
}

/// Why an attempt was killed.
pub(super) fn reason(detail: Detail, us: u64) -> Detail {
    let seconds = Duration::from_micros(us).as_secs_f64();
    Detail { message: format!("killed after {seconds:.1} s, far over the median of what has passed"), ..detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_a_share_of_the_median_of_the_last_ones() {
        let mut medians = Medians::default();
        for us in [900, 100] {
            medians.learn("j", 0, us);
        }
        assert_eq!(medians.limit("j", 0, 200), None);
        medians.learn("j", 0, 300);
        assert_eq!(medians.limit("j", 0, 200), Some(Duration::from_micros(600)));
        assert_eq!(medians.limit("j", 1, 200), None);
        for _ in 0..MOST {
            medians.learn("j", 0, 50);
        }
        assert_eq!(medians.limit("j", 0, 150), Some(Duration::from_micros(75)));
        assert_eq!(medians.groups[&("j".to_owned(), 0)].sorted.len(), MOST);
    }
}
