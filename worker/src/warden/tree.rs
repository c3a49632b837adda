//! Killing what is beneath a process.
//!
//! Two ways. *Beneath this process* (a subreaper): kill the direct children and their process groups,
//! reap, and look again; whatever a dead child leaves becomes a direct child. The loop needs no clock:
//! as long as something is left there is a direct child that was killed or has just arrived because
//! another died, and each death is a SIGCHLD. A direct child cannot be mistaken, because its number
//! stays taken until we reap it; and its group is all ours, because every unit has a session of its own.
//!
//! *Beneath a descendant* ([`TreeKill`]): the kernel does not hand us those one by one, so this walks
//! `/proc`. It is meant for a monitor, which is a subreaper itself.

use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid, getpgrp, getpid};

/// After this a tree's root is killed although something beneath it does not die.
const TREE_LIMIT: Duration = Duration::from_secs(5);

/// What [`reap`] found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reaped {
    pub(crate) pid: Pid,
    /// The wait status.
    pub(crate) status: i32,
    pub(super) usage: libc::rusage,
}

/// The state of this process's children after [`reap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Children {
    None,
    Some,
}

/// Reaps everything that has ended, and tells whether children are left. With `stopped`, children that
/// were stopped are reported too.
pub(crate) fn reap(stopped: bool, mut each: impl FnMut(Reaped)) -> Children {
    let flags = libc::WNOHANG | if stopped { libc::WUNTRACED } else { 0 };
    loop {
        let mut status = 0;
        // SAFETY: all zeros is a valid rusage.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live variables.
        let pid = unsafe { libc::wait4(-1, &raw mut status, flags, &raw mut usage) };
        match pid {
            0 => return Children::Some,
            -1 if Errno::last() == Errno::EINTR => {}
            -1 => return Children::None,
            pid => each(Reaped { pid: Pid::from_raw(pid), status, usage }),
        }
    }
}

/// Sends KILL to every child of this process except `spared` ones, and to their process groups. Returns
/// how many there were.
pub(crate) fn kill_children(spared: impl Fn(Pid) -> bool) -> usize {
    let mut count = 0;
    for child in children_of(getpid()) {
        if spared(child) {
            continue;
        }
        count += 1;
        if let Ok(group) = getpgid(Some(child))
            && group != getpgrp()
        {
            let _ = killpg(group, Signal::SIGKILL);
        }
        let _ = kill(child, Signal::SIGKILL);
    }
    count
}

/// The children of `pid`, of all its threads.
pub(crate) fn children_of(pid: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return found;
    };
    for thread in threads.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => found.extend(list.split_whitespace().filter_map(parse)),
            // No CONFIG_PROC_CHILDREN. (A thread that has just ended looks the same, and costs a scan.)
            Err(_) => return scan_for_children(pid),
        }
    }
    found
}

/// The same from the parents of all processes.
fn scan_for_children(parent: Pid) -> Vec<Pid> {
    let Ok(all) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = all.flatten().filter_map(|entry| parse(entry.file_name().to_str()?));
    pids.filter(|pid| stat(*pid).is_some_and(|stat| stat.parent == parent)).collect()
}

fn parse(text: &str) -> Option<Pid> {
    text.parse().ok().map(Pid::from_raw)
}

struct Stat {
    parent: Pid,
    alive: bool,
}

fn stat(pid: Pid) -> Option<Stat> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 2..)?).ok()?;
    let mut words = rest.split(' ');
    let alive = !matches!(words.next()?, "Z" | "X");
    Some(Stat { parent: parse(words.next()?)?, alive })
}

/// The kill of a descendant with everything beneath it, in steps.
#[derive(Debug)]
pub(super) struct TreeKill {
    root: Pid,
    since: Instant,
}

impl TreeKill {
    /// How long to wait between steps.
    pub(super) const STEP: Duration = Duration::from_millis(2);

    /// Stops `root`, so that it starts nothing more. None if it is not beneath this process (any more).
    pub(super) fn begin(root: Pid, now: Instant) -> Option<Self> {
        if !is_beneath(root) || kill(root, Signal::SIGSTOP).is_err() {
            return None;
        }
        Some(Self { root, since: now })
    }

    /// Kills what lives beneath the root; if nothing does, the root. True when it is done.
    pub(super) fn step(&self, now: Instant) -> bool {
        if !is_beneath(self.root) {
            return true;
        }
        let mut alive = 0;
        let mut open = children_of(self.root);
        while let Some(pid) = open.pop() {
            open.extend(children_of(pid));
            if stat(pid).is_some_and(|stat| stat.alive) {
                alive += 1;
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
        if alive > 0 && now.duration_since(self.since) < TREE_LIMIT {
            return false;
        }
        let _ = kill(self.root, Signal::SIGKILL);
        true
    }
}

fn is_beneath(pid: Pid) -> bool {
    let own = getpid();
    let mut at = pid;
    while at != own {
        match stat(at) {
            Some(stat) if stat.parent.as_raw() > 1 => at = stat.parent,
            _ => return false,
        }
    }
    pid != own
}
