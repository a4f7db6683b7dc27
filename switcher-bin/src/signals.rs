//! Signals: what the operator and the service manager say to the process.
//!
//! They are blocked in every thread from the first to the last, across every exec, and read from a
//! descriptor by one thread. So none is ever lost or meets a program that has no handler yet: one
//! that comes while nobody reads waits in the kernel.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that mean something to the program.
const MEANT: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2];

/// Those that end it.
const ENDING: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

/// See the module.
#[derive(Debug)]
pub(crate) struct Signals {
    meant: Arc<SignalFd>,
    ending: SignalFd,
}

impl Signals {
    /// Blocks them in this thread and all it will start.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub(crate) fn block() -> io::Result<Self> {
        let meant: SigSet = MEANT.into_iter().collect();
        meant.thread_block()?;
        let open = |set: &SigSet| {
            SignalFd::with_flags(set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        };
        Ok(Self { meant: Arc::new(open(&meant)?), ending: open(&ENDING.into_iter().collect())? })
    }

    /// Starts a thread that calls `obey` with each signal, until [`Listener::stop`].
    ///
    /// # Errors
    ///
    /// The system refuses a thread or a descriptor.
    pub(crate) fn listen(
        &self,
        mut obey: impl FnMut(Signal) + Send + 'static,
    ) -> io::Result<Listener> {
        let signals = Arc::clone(&self.meant);
        let (stop, stopped) = UnixStream::pair()?;
        let run = move || {
            while !is_over(&stopped, &signals) {
                // None if another reader was faster.
                if let Ok(Some(info)) = signals.read_signal()
                    && let Ok(number) = i32::try_from(info.ssi_signo)
                    && let Ok(signal) = Signal::try_from(number)
                {
                    obey(signal);
                }
            }
        };
        let thread = std::thread::Builder::new().name("signals".into()).spawn(run)?;
        Ok(Listener { stop, thread })
    }

    /// Whether one waits, unread, that shall end the program.
    pub(crate) fn end_is_pending(&self) -> bool {
        let mut wanted = [PollFd::new(self.ending.as_fd(), PollFlags::POLLIN)];
        poll(&mut wanted, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

/// Waits for a signal. True if the other end was closed instead.
fn is_over(stopped: &UnixStream, signals: &SignalFd) -> bool {
    let mut wanted = [
        PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
    ];
    // An interruption is a look in vain.
    let _ = poll(&mut wanted, PollTimeout::NONE);
    let [stopped, _] = &wanted;
    stopped.any().unwrap_or(false)
}

/// The thread that reads signals.
#[derive(Debug)]
pub(crate) struct Listener {
    stop: UnixStream,
    thread: JoinHandle<()>,
}

impl Listener {
    /// Stops reading; what comes from here on waits in the kernel.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread of signals has panicked");
        }
    }
}
