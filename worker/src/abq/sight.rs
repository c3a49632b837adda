//! Looks, through `/proc`, whether a native runner that has not answered already waits for the next test. Then its
//! answer will never come, and nobody needs to wait for a limit.
//!
//! That is certain for an adapter that reads its socket in the thread that runs the tests: if the thread is blocked in
//! a read of that very socket, and nothing is on its way in either direction, it has finished with the test. One look
//! is not enough, because it reads one file after the other; two in a row are: what moves between the reads of the
//! first look is seen by the second.

use std::fs;
use std::net::SocketAddr;

use nix::libc;
use nix::unistd::Pid;

/// Adapters that read in the thread that runs the tests.
const READERS: &[&str] = &["pytest_abq", "pytest-abq"];

/// A connection as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Bytes that have not reached the other side.
    unsent: u64,
    /// Bytes that the process has not read.
    unread: u64,
    /// Whose it is.
    pub(super) uid: u32,
    inode: u64,
}

/// The kernel's line about the connection that `local` sees to `remote`; `None` if it cannot be told.
pub(super) fn line(local: SocketAddr, remote: SocketAddr) -> Option<Line> {
    find(&fs::read_to_string("/proc/net/tcp").ok()?, local, remote)
}

fn find(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<Line> {
    let (local, remote) = (shown(local)?, shown(remote)?);
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.len() < 10 || words[1] != local || words[2] != remote {
            return None;
        }
        let (unsent, unread) = words[4].split_once(':')?;
        let hex = |word| u64::from_str_radix(word, 16).ok();
        Some(Line {
            unsent: hex(unsent)?,
            unread: hex(unread)?,
            uid: words[7].parse().ok()?,
            inode: words[9].parse().ok()?,
        })
    })
}

/// Address and port as in the table: the address in the machine's own byte order.
fn shown(address: SocketAddr) -> Option<String> {
    match address {
        SocketAddr::V4(v4) => Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port())),
        SocketAddr::V6(_) => None,
    }
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It works, or something is on its way.
    Busy,
    /// It waits for the next test, as far as one look can tell.
    Waits,
    /// There is nothing to see here.
    Blind,
}

/// The watch over one native runner.
#[derive(Debug)]
pub(super) struct Sight {
    /// Its end of the connection, and ours.
    ends: (SocketAddr, SocketAddr),
    reader: Option<(Pid, u64)>,
    waited: bool,
}

impl Sight {
    /// `None` for adapters of which waiting means nothing.
    pub(super) fn new(adapter: &str, theirs: SocketAddr, ours: SocketAddr) -> Option<Self> {
        READERS.contains(&adapter).then_some(Self { ends: (theirs, ours), reader: None, waited: false })
    }

    /// A test was handed over.
    pub(super) fn reset(&mut self) {
        self.waited = false;
    }

    /// Looks; [`Look::Waits`] only if the look before saw the same.
    pub(super) fn look(&mut self, runner: Pid) -> Look {
        let look = self.look_once(runner);
        let before = std::mem::replace(&mut self.waited, look == Look::Waits);
        if look == Look::Waits && !before { Look::Busy } else { look }
    }

    fn look_once(&mut self, runner: Pid) -> Look {
        let (theirs, ours) = self.ends;
        if self.reader.is_none() {
            self.reader = line(theirs, ours).and_then(|l| Some((owner(runner, l.inode)?, l.inode)));
        }
        let Some((pid, inode)) = self.reader else { return Look::Blind };
        let Ok(call) = fs::read_to_string(format!("/proc/{pid}/syscall")) else { return Look::Blind };
        if reads(&call).is_none_or(|fd| !is_socket(pid, fd, inode)) {
            return Look::Busy;
        }
        match (line(theirs, ours), line(ours, theirs)) {
            (Some(its), Some(own)) if [its, own].iter().all(|l| l.unsent == 0 && l.unread == 0) => Look::Waits,
            _ => Look::Busy,
        }
    }
}

/// The descriptor that a thread is blocked in reading from.
fn reads(call: &str) -> Option<u64> {
    let mut words = call.split_whitespace();
    let number: libc::c_long = words.next()?.parse().ok()?;
    let fd = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    [libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_read].contains(&number).then_some(fd)
}

fn is_socket(pid: Pid, fd: u64, inode: u64) -> bool {
    fs::read_link(format!("/proc/{pid}/fd/{fd}"))
        .is_ok_and(|target| target.to_str() == Some(&format!("socket:[{inode}]")))
}

/// The process at or beneath `runner` that has the socket.
fn owner(runner: Pid, inode: u64) -> Option<Pid> {
    let mut open = vec![runner];
    while let Some(pid) = open.pop() {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        if fds.filter_map(|fd| fd.file_name().to_str()?.parse().ok()).any(|fd| is_socket(pid, fd, inode)) {
            return Some(pid);
        }
        open.extend(crate::warden::tree::children_of(pid));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F90 0100007F:C350 01 0000000A:00000014 00:00000000 00000000  1000        0 4711 1 0000000000000000 20 4 30 10 -1\n";
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(
            find(table, address(8080), address(50000)),
            Some(Line { unsent: 10, unread: 20, uid: 1000, inode: 4711 })
        );
        assert_eq!(find(table, address(50000), address(8080)), None);
    }

    #[test]
    fn a_blocked_read_names_its_descriptor() {
        let call = format!("{} 0xb 0x7f 0x4 0x0 0x0 0x0 0x7ffe 0x7fdc", libc::SYS_recvfrom);
        assert_eq!(reads(&call), Some(11));
        assert_eq!(reads("running"), None);
        assert_eq!(reads("230 0x0 0x0 0x7 0x0 0x0 0x0 0x7 0x7"), None);
    }
}
