//! Random histories against the real scripts on a real server and the pure model; see `model/checker.rs` for what is
//! checked after every step.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::cast_precision_loss, clippy::too_many_lines)]

#[path = "model/book.rs"]
mod book;
#[path = "model/checker.rs"]
mod checker;
#[path = "model/choice.rs"]
mod choice;
#[path = "model/commands.rs"]
mod commands;
#[path = "model/drive.rs"]
mod drive;
#[path = "model/farm.rs"]
mod farm;
#[path = "model/history.rs"]
mod history;
#[path = "model/mutants.rs"]
mod mutants;
#[path = "model/plan.rs"]
mod plan;
#[path = "model/random.rs"]
mod random;
#[path = "model/refusals.rs"]
mod refusals;
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use remuda_store::ScriptSet;
use support::PrivateRedis;

const STEPS: u32 = 90;

/// Drops steps as long as the history still fails, within a bound.
async fn shrink(
    redis: &PrivateRedis,
    scripts: &Arc<ScriptSet>,
    seed: u64,
    at: u32,
) -> (BTreeSet<u32>, Vec<String>, String) {
    let (mut skip, mut kept) = (BTreeSet::new(), None);
    for step in (0..at).rev() {
        let mut fewer = skip.clone();
        fewer.insert(step);
        let outcome = history::play(redis, scripts, seed, at + 1, &fewer).await;
        if let Some((_, why)) = outcome.violation {
            skip = fewer;
            kept = Some((outcome.trace, why));
        }
    }
    let (trace, why) = kept.unwrap_or_default();
    (skip, trace, why)
}

/// Plays histories from `seed` on until `calls` have been made; the number of histories and calls, or what failed.
async fn soak(seed: u64, calls: u64) -> (u64, u64) {
    let redis = PrivateRedis::start(&[]);
    let scripts = support::clocked(|_, source| source);
    let (mut made, mut histories) = (0, 0);
    while made < calls {
        let this = seed + histories;
        let outcome = history::play(&redis, &scripts, this, STEPS, &BTreeSet::new()).await;
        if let Some((step, why)) = outcome.violation {
            let (skip, trace, shorter) = shrink(&redis, &scripts, this, step).await;
            let (trace, shorter) = if skip.is_empty() { (outcome.trace, why.clone()) } else { (trace, shorter) };
            let tail = &trace[trace.len().saturating_sub(100)..];
            panic!(
                "seed {this}, step {step}: {why}\n\nshrunk to {} calls: {shorter}\n{}",
                trace.len(),
                tail.join("\n")
            );
        }
        made += outcome.calls;
        histories += 1;
    }
    (histories, made)
}

fn calls(normal: u64) -> u64 {
    std::env::var("REMUDA_SOAK_CALLS").ok().and_then(|n| n.parse::<u64>().ok()).map_or(normal, |n| n / 2)
}

fn first_seed(normal: u64) -> u64 {
    std::env::var("REMUDA_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(normal)
}

#[tokio::test]
async fn random_histories_keep_every_invariant() {
    let (histories, made) = soak(first_seed(1), calls(16_000)).await;
    println!("{histories} histories, {made} calls");
}

#[tokio::test]
async fn more_random_histories_keep_every_invariant() {
    let (histories, made) = soak(first_seed(1) + 1_000_000, calls(16_000)).await;
    println!("{histories} histories, {made} calls");
}

/// Each mutant of one share is caught within a bounded number of histories.
async fn catch(share: usize) {
    const HISTORIES: u64 = 120;
    let redis = PrivateRedis::start(&[]);
    let mut survivors = Vec::new();
    for mutant in mutants::MUTANTS.iter().skip(share).step_by(3) {
        let scripts = support::clocked(mutants::patch(mutant));
        let mut caught = None;
        for seed in 1..=HISTORIES {
            let outcome = history::play(&redis, &scripts, seed, STEPS, &BTreeSet::new()).await;
            if let Some((_, why)) = outcome.violation {
                caught = Some((seed, why));
                break;
            }
        }
        match caught {
            Some((n, why)) => println!("{}: caught by history {n}: {why}", mutant.0),
            None => survivors.push(mutant.0),
        }
    }
    assert!(survivors.is_empty(), "not caught in {HISTORIES} histories: {survivors:?}");
}

#[tokio::test]
async fn every_seeded_bug_is_caught_1() {
    catch(0).await;
}

#[tokio::test]
async fn every_seeded_bug_is_caught_2() {
    catch(1).await;
}

#[tokio::test]
async fn every_seeded_bug_is_caught_3() {
    catch(2).await;
}
