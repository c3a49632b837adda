//! What runs here: printed on SIGUSR1 and SIGUSR2, and sent with every beat for `remuda status`.

use std::time::Instant;

use serde_json::json;

use super::Daemon;

/// Last lines of output shown of each.
const LINES: usize = 5;

impl Daemon {
    /// Looks at all clocks; refreshes what the beat says.
    pub(super) fn tick(&mut self, now: Instant) {
        self.tick_timeouts(now);
        self.tick_medians(now);
        self.tick_owed(now);
        self.tick_departures(now);
        self.tick_drain(now);
        self.tick_kills(now);
        self.tick_live();
        self.heart.say(self.running_json());
    }

    fn running_json(&self) -> String {
        let running: Vec<_> = self
            .slots
            .iter()
            .filter_map(|slot| {
                let a = slot.running()?;
                let ms = a.started.map(|s| u64::try_from(s.elapsed().as_millis()).unwrap_or(u64::MAX));
                let locks: serde_json::Map<_, _> = a.locks.iter().map(|(pool, items)| (pool.clone(), json!(items))).collect();
                Some(json!({"slot": slot.number, "job": a.job, "group": a.group, "task": a.task, "fence": a.fence, "ms": ms, "queued": slot.queue.len() - 1, "locks": locks}))
            })
            .collect();
        json!(running).to_string()
    }

    /// Prints what runs, since when, and the last lines of output.
    pub(super) fn print_status(&self) {
        eprintln!(
            "remuda-worker {} on {}: {} slots{}",
            self.settings.worker,
            self.settings.host,
            self.settings.slots,
            if self.drain.is_some() { ", draining" } else { "" }
        );
        for slot in &self.slots {
            let Some(a) = slot.running() else {
                eprintln!(
                    "  slot {}: {}",
                    slot.number,
                    if slot.queue.is_empty() { "idle" } else { "waits for its suite" }
                );
                continue;
            };
            let since = a
                .started
                .map_or_else(|| "not started".to_owned(), |s| format!("for {:.1} s", s.elapsed().as_secs_f64()));
            let locks: Vec<String> =
                a.locks.iter().map(|(pool, items)| format!("{pool}={}", items.join("+"))).collect();
            let holding = if locks.is_empty() { String::new() } else { format!(", holding {}", locks.join(" ")) };
            eprintln!("  slot {}: {} {since}{holding}, {} more in hand", slot.number, a.id, slot.queue.len() - 1);
            if let Some(runner) = &slot.runner {
                for line in
                    runner.taps.iter().flat_map(|t| t.peek(LINES).lines().map(str::to_owned).collect::<Vec<_>>())
                {
                    eprintln!("    | {line}");
                }
            } else if let (Some(keeper), Some(id)) = (&slot.keeper, a.sent) {
                let _ = keeper.tail(id);
            }
        }
    }

    pub(super) fn show_tail(&self, slot: u32, _unit: u64, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            eprintln!("  slot {slot} | {line}");
        }
    }
}
