//! Seeded bugs: textual faults in the scripts, each of which the property test must catch.

/// A name, what is replaced, and by what.
pub type Mutant = (&'static str, &'static str, &'static str);

pub const MUTANTS: &[Mutant] = &[
    (
        "a late result ends the new attempt",
        "local c = claim_of(fence)\n  if not c then return late_verdict",
        "local now = group_of(j, g) and record_of(j, g, task)\n  local c = now and claim_of(int(now.fence))\n  if not c then return late_verdict",
    ),
    ("another worker's result is taken", "if c.worker ~= w or c.j ~= j", "if c.j ~= j"),
    (
        "a lock is released twice",
        "call('RPUSH', key('free', pool), item)",
        "call('RPUSH', key('free', pool), item, item)",
    ),
    ("a lock is not released", "free_locks(c.locks)", ""),
    ("locks are taken without looking", "call('LLEN', key('free', lock.pool)) < lock.n or", ""),
    ("a retry is not counted", "if bad then r.fails = r.fails + 1 end", ""),
    ("a loss in company is counted", "if company <= 1 then r.losses", "if true then r.losses"),
    ("a gate opens without its needs", "if dependent.needs == 0 and dependent.state", "if dependent.state"),
    ("a counter is not decremented", "bump(group, 'running', -1)\n  local more", "local more"),
    ("a cancelled job keeps its lanes", "      drop_ready(group, 'cancelled')\n", ""),
    ("chunks in any order", "if first > group.added then return {'EGAP', group.added} end", ""),
    ("what comes late to a skipped group is not counted", "bump(group, 'skipped', n)", ""),
    ("the nonce is forgotten", "nonce ~= '' and nonce == worker.nonce", "false"),
    ("waiters sleep on", "local function wake(pool)\n", "local function wake(pool)\n  do return 0 end\n"),
    ("a thief copies the half", "best.count = keep", ""),
    ("a result counts twice", "if r.state ~= 'R' then return 'DUP' end", ""),
    ("a place twice", "while used[n] do n = n + 1 end", ""),
    ("gc leaves a bucket", "free(key('ids', j, g, int(job.gc_bucket)), ", "free("),
    ("gc leaves a lane", "free(key('lane', j, l), key('q', j, l)", "free(key('q', j, l)"),
    ("the bell is silent", "    if tokens > 0 then\n      local bell", "    if false then\n      local bell"),
    ("shares do not count", "if a.theirs ~= b.theirs then return a.theirs < b.theirs end", ""),
    ("a slot stays for ever", "if mine.theirs > best.theirs then return list, best end", ""),
    ("priority does not count", "if a.priority ~= b.priority then return a.priority > b.priority end", ""),
    ("labels do not count", "  if class == '' then return true end", "  do return true end"),
    ("no limit of slots", "or occupied('j:' .. job.id) < job.max_slots then", "or true then"),
    (
        "a beat renews nothing",
        "call('ZADD', key('lease'), 'XX', 'GT', int(NOW + lease_ms + min",
        "call('ZADD', key('lease'), 'XX', 'GT', int(0 + lease_ms + min",
    ),
    ("no hold after an outage", "if NOW < META.hold_until then return 0 end", ""),
    (
        "a task cancelled alone is tried again",
        "then return false end\n  return job_live",
        "then end\n  return job_live",
    ),
    ("a cancelled attempt is tried again", " and c.cancel == 0\n", "\n"),
    ("a suspect in company", "if want.worker.held == 0 then", "if true then"),
    ("company for a suspect", "if want.worker.alone > 0 or want.worker.emptying then return nil end", ""),
    ("a job ends twice", "if job_over(job.state) then return end", ""),
    ("a slot stays occupied", "if slot.n == 0 then occupy(job, -1) end", ""),
    ("fences repeat", "call('HINCRBY', KEYS[1], 'fence', 1)", "call('HINCRBY', KEYS[1], 'fence', 0)"),
    ("the rest of a run stays behind", "  return_rest(slot.w, slot.s, slot.j, slot.l)\n", ""),
    ("leases never end", "local n = reap_leases(limit)", "local n = 0"),
    ("a predecessor keeps its work", "limit = limit - lose_claim(c, old and old.lost_held or c.left, limit)", ""),
    (
        "an old collector adds",
        "or collect.fence ~= fence then return {'ESTALE', group.added}",
        "then return {'ESTALE', group.added}",
    ),
    (
        "a worker that refused is still handed the job",
        "if job and job_live(job) and not has_refused(worker, job) then field",
        "if job and job_live(job) then field",
    ),
    ("who has refused counts as another", " and not has_refused(other, job) then others", " then others"),
    (
        "the rest of a refused run stays behind",
        "  if slot.j == c.j then return_rest(w, entries[i], slot.j, slot.l) end",
        "",
    ),
    (
        "a failed collection is no failure",
        "if group.kind == 'collect' then\n    local target",
        "if false then\n    local target",
    ),
    ("a clock set back is not noticed", "if META.last_reap - NOW < 1000 then return end", "do return end"),
];

/// The patch of a mutant; every place of the pattern is replaced, and there is one.
pub fn patch(mutant: &Mutant) -> impl Fn(&str, String) -> String + use<'_> {
    let (name, pattern, fault) = mutant;
    let bodies = std::cell::RefCell::new(0);
    move |script, source| {
        *bodies.borrow_mut() += usize::from(source.contains(pattern));
        // `refuse` is the last of the scripts
        assert!(script != "refuse" || *bodies.borrow() > 0, "no script has the pattern of `{name}`");
        source.replace(pattern, fault)
    }
}
