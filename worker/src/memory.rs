//! What a daemon that runs for months need not hold: the code of its start (arguments, scripts, a first connection), which
//! is never run again. It must not touch anything but clean pages of the program's own file.

use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

/// Lets go of the program's code pages: those that are run again come back from the page cache as they are needed.
pub(crate) fn forget_start() {
    let (Ok(maps), Ok(program)) = (std::fs::read_to_string("/proc/self/maps"), std::env::current_exe()) else { return };
    let program = program.to_string_lossy();
    for (start, length) in maps.lines().filter_map(|line| code_of(line, &program)) {
        let Some(start) = NonNull::new(std::ptr::with_exposed_provenance_mut(start)) else { continue };
        // SAFETY: executable pages of a file are never written, so that none of them can differ from the file; an access
        // while or after this only reads them again. The range is one mapping of this process, as the kernel names it.
        let _ = unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED) };
    }
}

/// Start and length of a line of `/proc/self/maps`, if it is code of this program.
fn code_of(line: &str, program: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    if !rest.starts_with("r-xp ") || !rest.ends_with(program) {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_this_program_is_meant() {
        let line =
            |perms: &str, path: &str| format!("1000-3000 {perms} 00001000 fe:00 12                         {path}");
        assert_eq!(code_of(&line("r-xp", "/bin/x"), "/bin/x"), Some((0x1000, 0x2000)));
        assert_eq!(code_of(&line("r--p", "/bin/x"), "/bin/x"), None);
        assert_eq!(code_of(&line("r-xp", "/lib/libc.so"), "/bin/x"), None);
        assert_eq!(code_of("", "/bin/x"), None);
    }

    #[test]
    fn a_program_runs_on_without_the_pages_of_its_code() {
        forget_start();
        assert_eq!("1,2,3".split(',').filter_map(|n| n.parse::<u32>().ok()).sum::<u32>(), 6);
    }
}
