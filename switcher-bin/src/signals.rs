//! Signals: what the operator and the service manager say to the process.
//!
//! They only set what the engine watches; what a stop means is the engine's business.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{Outcome, Stop};

/// Starts a thread that listens to signals, and returns what it sets. Signals are caught from here
/// on, so one that comes right after the start is not lost.
///
/// # Errors
///
/// The system refuses a thread or a signal handler.
pub(crate) fn listen() -> io::Result<watch::Receiver<Option<Stop>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let caught = {
        let _inside = runtime.enter();
        Caught::register()?
    };
    let (stop, stopped) = watch::channel(None);
    let run = move || runtime.block_on(caught.obey(&stop));
    std::thread::Builder::new().name("signals".into()).spawn(run)?;
    Ok(stopped)
}

struct Caught {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user2: Signal,
}

impl Caught {
    fn register() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn obey(mut self, stop: &watch::Sender<Option<Stop>>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => end(stop),
                _ = self.interrupt.recv() => end(stop),
                _ = self.hangup.recv() => {
                    info!("SIGHUP: files of coin sources are followed without it, and the configuration is read at the start only");
                }
                _ = self.user2.recv() => warn!("SIGUSR2: upgrading in place is not yet possible"),
            }
        }
    }
}

fn end(stop: &watch::Sender<Option<Stop>>) {
    if stop.borrow().is_some() {
        // Said twice: whoever says it does not want to wait for the drain.
        std::process::exit(Outcome::Failed.code().into());
    }
    info!("stopping: miners are let go; a second signal ends at once");
    stop.send_replace(Some(Stop::Drain));
}
