//! Starting a program: lookup in the *child's* `PATH`, `posix_spawn`, errors that name what is missing.
//!
//! glibc's `posix_spawn` is `clone(CLONE_VM | CLONE_VFORK)`: no page table is copied, and no code of ours
//! runs in the child. The child gets a session of its own, default signal dispositions, an empty signal
//! mask, `/dev/null` as standard input (descriptor 0 of warden and keepers), two pipes, and the
//! descriptors that were passed for it. Everything else here is close-on-exec.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::{AccessFlags, Pid, access};

use super::messages::Spec;
use super::wire::Text;

/// What the environment's `PATH` is when there is none, as in `execvp`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The environment and folder that units build on.
#[derive(Debug)]
pub(super) struct Base {
    env: Vec<(OsString, CString)>,
    cwd: PathBuf,
}

impl Default for Base {
    fn default() -> Self {
        Self { env: Vec::new(), cwd: PathBuf::from("/") }
    }
}

impl Base {
    pub(super) fn new(env: Vec<(Text, Text)>, cwd: &Text) -> Self {
        let entry = |(key, value): (Text, Text)| Some((key.0.clone(), variable(&key, &value).ok()?));
        Self { env: env.into_iter().filter_map(entry).collect(), cwd: cwd.as_os_str().into() }
    }
}

/// `KEY=VALUE` for `execve`.
fn variable(key: &Text, value: &Text) -> Result<CString, String> {
    CString::new([key.as_bytes(), b"=", value.as_bytes()].concat())
        .map_err(|_| format!("the variable {:?} contains a NUL byte", key.as_os_str()))
}

/// Starts `spec` on top of `base` with these pipes. The error is for people.
pub(super) fn spawn(
    base: &Base,
    spec: &Spec,
    fds: &[OwnedFd],
    out: BorrowedFd<'_>,
    err: BorrowedFd<'_>,
) -> Result<Pid, String> {
    let arg = |text: &Text| CString::new(text.as_bytes());
    let argv = spec.argv.iter().map(arg).collect::<Result<Vec<_>, _>>();
    let argv = argv.map_err(|_| "an argument contains a NUL byte".to_owned())?;
    let name = spec.argv.first().ok_or("an empty command")?.as_os_str();
    let cwd = spec.cwd.as_ref().map_or(base.cwd.clone(), |cwd| base.cwd.join(cwd.as_os_str()));
    let changes = spec.env.iter().map(|(key, value)| match value {
        Some(value) => variable(key, value).map(Some),
        None => Ok(None),
    });
    let changes = changes.collect::<Result<Vec<_>, _>>()?;
    let env = environment(base, spec, &changes);
    let program = lookup(name, &env, &cwd)?;
    let actions = Actions::new(&cwd, spec, fds, out, err).map_err(|error| error.to_string())?;
    match posix_spawn(&program, &actions, &argv, &env) {
        // A script without `#!`: a shell's job, as with execvp.
        Err(Errno::ENOEXEC) => {
            let mut shell = vec![c"/bin/sh".to_owned(), program.clone()];
            shell.extend(argv.into_iter().skip(1));
            posix_spawn(c"/bin/sh", &actions, &shell, &env)
        }
        result => result,
    }
    .map_err(|errno| explain(errno, name, &program, &cwd))
}

/// Starts `argv` in this process's own folder and environment with these changes and pipes, as [`spawn`] does: for
/// processes beneath a keeper that supervise something themselves.
pub(crate) fn spawn_here(
    argv: &[String],
    env: &[(String, Option<String>)],
    out: BorrowedFd<'_>,
    err: BorrowedFd<'_>,
) -> Result<Pid, String> {
    let base = Base::new(std::env::vars_os().map(|(key, value)| (key.into(), value.into())).collect(), &".".into());
    let spec = Spec {
        argv: argv.iter().map(Text::from).collect(),
        env: env.iter().map(|(key, value)| (key.into(), value.as_ref().map(Text::from))).collect(),
        ..Spec::default()
    };
    spawn(&base, &spec, &[], out, err)
}

/// Starts `argv` in a folder and environment of its own with these pipes, as [`spawn`] does.
pub(crate) fn spawn_at(
    argv: &[OsString],
    env: &[(OsString, OsString)],
    cwd: &Path,
    out: BorrowedFd<'_>,
    err: BorrowedFd<'_>,
) -> Result<Pid, String> {
    let base = Base::new(env.iter().map(|(key, value)| (key.into(), value.into())).collect(), &cwd.into());
    let spec = Spec { argv: argv.iter().map(Text::from).collect(), ..Spec::default() };
    spawn(&base, &spec, &[], out, err)
}

/// The base's variables without those that `spec` changes, and its own.
fn environment<'a>(base: &'a Base, spec: &Spec, changes: &'a [Option<CString>]) -> Vec<&'a CStr> {
    let kept = base.env.iter().filter(|(key, _)| !spec.env.iter().any(|(name, _)| name.0 == *key));
    kept.map(|(_, entry)| entry.as_c_str()).chain(changes.iter().flatten().map(CString::as_c_str)).collect()
}

/// The file to execute: `name` itself if it has a slash, else the first one in the child's `PATH`.
fn lookup(name: &OsStr, env: &[&CStr], cwd: &Path) -> Result<CString, String> {
    if name.is_empty() {
        return Err("an empty command".to_owned());
    }
    let c_string = |path: &OsStr| CString::new(path.as_bytes()).map_err(|error| error.to_string());
    if name.as_bytes().contains(&b'/') {
        return c_string(name);
    }
    let path = env.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    let path = OsStr::from_bytes(path.unwrap_or(DEFAULT_PATH.as_bytes()));
    let mut refused = None;
    for folder in std::env::split_paths(path) {
        let file = cwd.join(folder).join(name);
        match access(&file, AccessFlags::X_OK) {
            Ok(()) if file.is_file() => return c_string(file.as_os_str()),
            Err(Errno::EACCES) => refused = Some(file),
            _ => {}
        }
    }
    Err(match refused {
        Some(file) => format!("{file:?} is not executable"),
        None => format!("command not found: {name:?} (PATH is {path:?}, folder {cwd:?})"),
    })
}

/// What an error of `posix_spawn` means; it does not tell which step failed.
fn explain(errno: Errno, name: &OsStr, program: &CStr, cwd: &Path) -> String {
    if !cwd.is_dir() {
        return format!("cannot run {name:?}: the folder {cwd:?} does not exist");
    }
    let file = cwd.join(OsStr::from_bytes(program.to_bytes()));
    match errno {
        Errno::ENOENT if file.exists() => {
            format!("cannot run {name:?}: the interpreter that its first line names does not exist")
        }
        Errno::ENOENT | Errno::ENOTDIR => {
            format!("command not found: {name:?} (folder {cwd:?})")
        }
        Errno::EACCES if file.is_dir() => format!("cannot run {name:?}: it is a folder"),
        Errno::EACCES if file.exists() => {
            format!("cannot run {name:?}: it is not executable, or the folder {cwd:?} may not be entered")
        }
        Errno::E2BIG => format!("cannot run {name:?}: its arguments and environment are too long"),
        other => format!("cannot run {name:?} in {cwd:?}: {}", other.desc()),
    }
}

/// What the child does between clone and exec.
struct Actions {
    raw: libc::posix_spawn_file_actions_t,
    /// Copies of passed descriptors, out of the way of the targets.
    _moved: Vec<OwnedFd>,
}

impl Actions {
    fn new(cwd: &Path, spec: &Spec, fds: &[OwnedFd], out: BorrowedFd<'_>, err: BorrowedFd<'_>) -> io::Result<Self> {
        let above = spec.pass_fds.iter().copied().max().unwrap_or(2).max(2) + 1;
        let mut moved = Vec::new();
        for fd in fds {
            moved.push(duplicate(fd, above)?);
        }
        let mut raw = MaybeUninit::uninit();
        // SAFETY: initialises the whole structure.
        check(unsafe { libc::posix_spawn_file_actions_init(raw.as_mut_ptr()) })?;
        // SAFETY: initialised by the call above.
        let mut actions = Self { raw: unsafe { raw.assume_init() }, _moved: Vec::new() };
        let folder = CString::new(cwd.as_os_str().as_bytes())?;
        // SAFETY: an initialised structure and a string that the call copies.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut actions.raw, folder.as_ptr()) })?;
        // A pipe end below the targets would be overwritten by an earlier `dup2`: it is moved as well.
        for (fd, target) in [(out, 1), (err, 2)] {
            if spec.pass_fds.contains(&target) {
                continue;
            }
            let mut source = fd.as_raw_fd();
            if source < above {
                let copy = duplicate(fd, above)?;
                source = copy.as_raw_fd();
                moved.push(copy);
            }
            actions.dup2(source, target)?;
        }
        for (fd, target) in moved.iter().zip(&spec.pass_fds) {
            actions.dup2(fd.as_raw_fd(), *target)?;
        }
        if !spec.pass_fds.contains(&0) {
            actions.open_null_as_stdin()?;
        }
        actions._moved = moved;
        Ok(actions)
    }

    /// Whatever descriptor 0 of the keeper is: a child must find one there, or its first open file becomes its stdin.
    fn open_null_as_stdin(&mut self) -> io::Result<()> {
        // SAFETY: an initialised structure and a string that the call copies.
        check(unsafe {
            libc::posix_spawn_file_actions_addopen(&raw mut self.raw, 0, c"/dev/null".as_ptr(), libc::O_RDONLY, 0)
        })
    }

    fn dup2(&mut self, fd: RawFd, target: RawFd) -> io::Result<()> {
        // SAFETY: an initialised structure; the numbers are only used in the child.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.raw, fd, target) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.raw) };
    }
}

fn duplicate<F: std::os::fd::AsFd>(fd: F, above: RawFd) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(above))?;
    // SAFETY: the descriptor has just been made by `fcntl` and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn check(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

/// Session, signal mask and dispositions of a child; the same for all.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> Result<Self, Errno> {
        let mut raw = MaybeUninit::uninit();
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        let flags = libc::POSIX_SPAWN_SETSID as i32 | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        // SAFETY: each structure is initialised before it is read, and the calls copy the sets.
        let (attributes, results) = unsafe {
            let init = libc::posix_spawnattr_init(raw.as_mut_ptr());
            let mut attributes = Self(raw.assume_init());
            libc::sigemptyset(set.as_mut_ptr());
            let mask = libc::posix_spawnattr_setsigmask(&raw mut attributes.0, set.as_ptr());
            libc::sigfillset(set.as_mut_ptr());
            let default = libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, set.as_ptr());
            let flags = libc::posix_spawnattr_setflags(&raw mut attributes.0, flags as libc::c_short);
            (attributes, [init, mask, default, flags])
        };
        match results.into_iter().find(|code| *code != 0) {
            Some(code) => Err(Errno::from_raw(code)),
            None => Ok(attributes),
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

fn posix_spawn<A: AsRef<CStr>>(program: &CStr, actions: &Actions, argv: &[A], env: &[&CStr]) -> Result<Pid, Errno> {
    let attributes = Attributes::new()?;
    let pointer = |text: &CStr| text.as_ptr().cast_mut();
    let argv: Vec<_> = argv.iter().map(|arg| pointer(arg.as_ref())).chain([ptr::null_mut()]).collect();
    let env: Vec<_> = env.iter().map(|entry| pointer(entry)).chain([ptr::null_mut()]).collect();
    let mut pid = 0;
    // SAFETY: both arrays end with a null pointer, their strings and the two structures outlive the
    // call, and the callee writes to none of them.
    let code = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.raw,
            &raw const attributes.0,
            argv.as_ptr(),
            env.as_ptr(),
        )
    };
    if code == 0 { Ok(Pid::from_raw(pid)) } else { Err(Errno::from_raw(code)) }
}
