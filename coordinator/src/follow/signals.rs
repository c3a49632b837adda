//! Signals of an attached run.

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, Ctrl-\, or the terminal is gone.
    Terminate,
    /// Say what runs.
    Status,
}

/// Streams of signals.
pub struct Signals {
    interrupt: Stream,
    terminate: Stream,
    hangup: Stream,
    quit: Stream,
    status: [Stream; 2],
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            status: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
        })
    }

    /// The next one. Can be dropped without losing one.
    pub async fn next(&mut self) -> Signal {
        let [first, second] = &mut self.status;
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hangup.recv() => Signal::Terminate,
            _ = self.quit.recv() => Signal::Terminate,
            _ = first.recv() => Signal::Status,
            _ = second.recv() => Signal::Status,
        }
    }
}
