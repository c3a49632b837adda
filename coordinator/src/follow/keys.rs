//! Keys on the terminal of an attached run: `t` says what runs. Typed letters come at once and are not shown while this
//! listens; whatever ends it puts the terminal back. Ctrl-C and its kin stay the terminal's. A run in the background
//! neither reads nor changes anything, so that it never stops.

use std::io::{IsTerminal as _, PipeReader, PipeWriter, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, read, tcgetpgrp};
use tokio::sync::mpsc;

/// How often it looks whether the run has come to the front, ms.
const LOOK_MS: u16 = 300;

/// Listens until it is dropped.
pub struct Keys {
    pressed: mpsc::UnboundedReceiver<()>,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Keys {
    /// Begins to listen, if standard input is a terminal.
    #[must_use]
    pub fn listen() -> Option<Self> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let (stopped, stop) = std::io::pipe().ok()?;
        let (sender, pressed) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("keys".into()).spawn(move || watch(stopped, &sender)).ok()?;
        Some(Self { pressed, stop: Some(stop), thread: Some(thread) })
    }

    /// The next time that `t` is pressed; never again once the terminal is gone.
    pub async fn next(keys: &mut Option<Self>) {
        if let Some(it) = keys
            && it.pressed.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // the terminal is as it was
        }
    }
}

/// Reads keys while the run is in front. In a thread whose signals for background use of the terminal are blocked: what
/// would stop the process becomes an error here.
fn watch(mut stopped: PipeReader, pressed: &mpsc::UnboundedSender<()>) {
    let mut background = SigSet::empty();
    background.add(Signal::SIGTTIN);
    background.add(Signal::SIGTTOU);
    let _ = background.thread_block();
    let input = std::io::stdin();
    let tty = input.as_fd();
    let (mut original, mut quiet) = (None, false);
    loop {
        let front = in_front(tty);
        if front && !quiet {
            if original.is_none() {
                original = tcgetattr(tty).ok();
            }
            quiet = original.as_ref().is_some_and(|modes| make_quiet(tty, modes));
        }
        quiet &= front; // whoever is in front has modes of its own
        match wait(tty, &stopped, quiet) {
            Seen::Nothing => {}
            Seen::Key => {
                let mut bytes = [0; 64];
                match read(tty, &mut bytes) {
                    Ok(0) | Err(_) => break,
                    Ok(n) if bytes[..n].contains(&b't') && pressed.send(()).is_err() => break,
                    Ok(_) => {}
                }
            }
            Seen::Stop => break,
        }
    }
    if let Some(original) = original.filter(|_| quiet && in_front(tty)) {
        let _ = tcsetattr(tty, SetArg::TCSADRAIN, &original);
    }
    let _ = stopped.read(&mut [0]); // until the listener is dropped
}

fn in_front(tty: BorrowedFd<'_>) -> bool {
    tcgetpgrp(tty).is_ok_and(|group| group == getpgrp())
}

/// Keys at once and without an echo; everything else as it was, signals included.
fn make_quiet(tty: BorrowedFd<'_>, modes: &Termios) -> bool {
    let mut modes = modes.clone();
    modes.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
    tcsetattr(tty, SetArg::TCSADRAIN, &modes).is_ok()
}

enum Seen {
    Nothing,
    Key,
    Stop,
}

fn wait(tty: BorrowedFd<'_>, stopped: &PipeReader, listening: bool) -> Seen {
    let mut fds = vec![PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
    if listening {
        fds.push(PollFd::new(tty, PollFlags::POLLIN));
    }
    if poll(&mut fds, PollTimeout::from(LOOK_MS)).is_err() {
        return Seen::Nothing;
    }
    let happened = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
    match &fds[..] {
        [stop, ..] if happened(stop) => Seen::Stop,
        [_, key] if happened(key) => Seen::Key,
        _ => Seen::Nothing,
    }
}
