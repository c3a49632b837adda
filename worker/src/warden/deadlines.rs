//! The table of deadlines: one `u64` for each keeper in memory shared by daemon, warden and keepers.
//!
//! The daemon's beat thread stores with one atomic write, also when everything else in the daemon waits;
//! the keepers read. A value is a moment in milliseconds of `CLOCK_BOOTTIME`, which counts suspend; 0 is
//! no deadline. A keeper looks when it receives a unit, at the deadline that it saw, and once a second
//! while a unit runs. Set a deadline before the unit is sent; it may be moved at any time.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::time::{ClockId, clock_gettime};

/// Milliseconds since the machine started, time in suspend included.
pub fn boottime_now_ms() -> u64 {
    // The clock exists since Linux 2.6.39; were it missing, deadlines would never pass.
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_or(0, |now| now.tv_sec().unsigned_abs() * 1000 + now.tv_nsec().unsigned_abs() / 1_000_000)
}

/// A handle on the table; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Deadlines(Arc<Table>);

#[derive(Debug)]
struct Table {
    cells: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: the mapping is only accessed through atomics and lives until the last handle is dropped.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: `cells` was returned by `mmap` with this length and nobody borrows from it any more.
        let _ = unsafe { munmap(self.cells.cast(), self.len * size_of::<AtomicU64>()) };
    }
}

impl Deadlines {
    /// A new table for `len` keepers, and the descriptor by which another process can map it.
    pub(crate) fn create(len: usize) -> io::Result<(Self, OwnedFd)> {
        let fd = memfd_create("remuda-deadlines", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let file = File::from(fd);
        file.set_len((len.max(1) * size_of::<AtomicU64>()) as u64)?;
        let fd = OwnedFd::from(file);
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
        Ok((Self::map(fd.as_fd().try_clone_to_owned()?)?, fd))
    }

    /// The table behind `fd`.
    pub(super) fn map(fd: OwnedFd) -> io::Result<Self> {
        let file = File::from(fd);
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let size = NonZeroUsize::new(bytes)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "empty table of deadlines"))?;
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh shared mapping of a sealed memfd, which can therefore not shrink beneath it.
        let cells = unsafe { mmap(None, size, prot, MapFlags::MAP_SHARED, &file, 0)? };
        Ok(Self(Arc::new(Table { cells: cells.cast(), len: bytes / size_of::<AtomicU64>() })))
    }

    /// How many keepers have a place.
    pub fn capacity(&self) -> usize {
        self.0.len
    }

    fn cell(&self, index: usize) -> Option<&AtomicU64> {
        // SAFETY: the index is within the mapping, which is page aligned, initialised (zeros) and lives
        // as long as `self`.
        (index < self.0.len).then(|| unsafe { self.0.cells.add(index).as_ref() })
    }

    /// Sets the moment at which the keeper `index` kills its unit; 0: never. An index without a place
    /// is ignored: no keeper can have it.
    pub fn set(&self, index: usize, boottime_ms: u64) {
        if let Some(cell) = self.cell(index) {
            cell.store(boottime_ms, Ordering::Release);
        }
    }

    /// The deadline of keeper `index`; 0: none.
    pub fn get(&self, index: usize) -> u64 {
        self.cell(index).map_or(0, |cell| cell.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_mapping_sets_the_other_reads() {
        let (ours, fd) = Deadlines::create(3).unwrap();
        let theirs = Deadlines::map(fd).unwrap();
        assert_eq!((theirs.capacity(), theirs.get(2)), (3, 0));
        ours.set(2, 77);
        assert_eq!(theirs.get(2), 77);
        ours.set(3, 1);
        assert_eq!(theirs.get(3), 0);
    }
}
