//! What happens beside one run of the engine: signals are obeyed, at most one new program is tried
//! out, and the outcome of the last attempt is told when miners are served.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use switcher_core::upgrades::{UpgradeReport, UpgradeResult, Upgrades};
use switcher_core::{Ready, Sampler, Started, Stop};
use switcher_upgrade::program::Program;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::news::News;
use super::trial::{self, Trial};
use super::{Ended, Times, now, runtime_file};
use crate::Outcome;
use crate::config::{Config, UpgradeSettings, original};
use crate::signals::{Listener, Signals};

/// See the module. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    pub(super) stop: Arc<watch::Sender<Option<Stop>>>,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    program: Option<Arc<Program>>,
    settings: UpgradeSettings,
    /// The configuration is one that the Go original can read.
    is_of_original: bool,
    sampler: Sampler,
    upgrades: Upgrades,
    news: Arc<News>,
    /// The thread that tries a program out, or did.
    trying: Mutex<Option<JoinHandle<()>>>,
    /// The program that was found fit.
    fit: Mutex<Option<Trial>>,
    /// A signal to end came when the freeze had begun.
    told_to_end: AtomicBool,
}

impl Watch {
    /// For a run that is about to begin, or to end at once.
    pub(super) fn begin(
        ready: &Ready,
        config: &Config,
        program: Option<Arc<Program>>,
        news: &Arc<News>,
        first: Option<Stop>,
    ) -> Self {
        let inner = Inner {
            program,
            settings: config.upgrade.clone(),
            is_of_original: config.text.as_deref().is_some_and(original::is_file),
            sampler: ready.sampler(),
            upgrades: ready.upgrades(),
            news: Arc::clone(news),
            trying: Mutex::default(),
            fit: Mutex::default(),
            told_to_end: AtomicBool::new(false),
        };
        Self { stop: Arc::new(watch::Sender::new(first)), inner: Arc::new(inner) }
    }

    /// Obeys signals from here on.
    pub(super) fn listen(&self, signals: &Signals) -> io::Result<Listener> {
        let watch = self.clone();
        signals.listen(move |signal| match signal {
            Signal::SIGHUP => {
                info!("SIGHUP: files of coin sources are followed without it, and the configuration is read at the start only; SIGUSR2 starts the program anew with all miners kept");
            }
            Signal::SIGUSR2 => watch.upgrade(),
            _ => watch.end_program(),
        })
    }

    fn end_program(&self) {
        let now = *self.stop.borrow();
        match now {
            None => {
                info!("stopping: miners are let go; a second signal ends at once");
                self.stop.send_replace(Some(Stop::Drain));
            }
            Some(Stop::Freeze | Stop::HandBack) => {
                self.inner.told_to_end.store(true, Ordering::Relaxed);
            }
            // Said twice: whoever says it does not want to wait for the drain.
            Some(Stop::Drain) => std::process::exit(Outcome::Failed.code().into()),
        }
    }

    fn upgrade(&self) {
        let mut trying = self.inner.trying.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stop.borrow().is_some() || trying.as_ref().is_some_and(|one| !one.is_finished()) {
            info!("SIGUSR2: an upgrade or the end is under way; this one is ignored");
            return;
        }
        if let Some(before) = trying.take() {
            // It has finished, and has told what it had to tell.
            let _ = before.join();
        }
        info!("SIGUSR2: trying the new program out");
        News::reloading();
        let watch = self.clone();
        let run = move || watch.try_out();
        match std::thread::Builder::new().name("upgrade".into()).spawn(run) {
            Ok(thread) => *trying = Some(thread),
            Err(error) => self.refused(&error.into()),
        }
    }

    fn try_out(&self) {
        let called_off = || self.stop.borrow().is_some();
        let limit = self.inner.settings.preflight;
        let tried = match &self.inner.program {
            Some(program) => {
                let may_be_original = self.inner.is_of_original;
                trial::run(program, &self.inner.sampler, limit, may_be_original, &called_off)
            }
            None => Err(anyhow::anyhow!("the program's own file was not found at its start")),
        };
        let trial = match tried {
            Ok(trial) => trial,
            Err(_) if called_off() => {
                info!("the upgrade is called off: the program is told to stop");
                return;
            }
            Err(why) => return self.refused(&why),
        };
        for warning in &trial.fitness.warnings {
            warn!("the new program says: {warning}");
        }
        let version = trial.fitness.version.as_str();
        info!(version, sessions = trial.fitness.sessions, "the new program is fit: freezing");
        let is_original = trial.is_original;
        let mut fit = self.inner.fit.lock().unwrap_or_else(PoisonError::into_inner);
        *fit = Some(Trial { created: now(), ..trial });
        let kind = if is_original { Stop::HandBack } else { Stop::Freeze };
        let freeze = |stop: &mut Option<Stop>| {
            let free = stop.is_none();
            if free {
                *stop = Some(kind);
            }
            free
        };
        if !self.stop.send_if_modified(freeze) {
            *fit = None;
        }
    }

    fn refused(&self, why: &anyhow::Error) {
        let book = self.inner.upgrades.book();
        let report = UpgradeReport {
            generation: book.generation,
            at: seconds(),
            from: env!("CARGO_PKG_VERSION").to_owned(),
            to: None,
            sessions: 0,
            pause_ms: 0,
            phases: None,
            result: UpgradeResult::Refused,
            why: Some(format!("{why:#}")),
        };
        self.inner.news.serving(&self.inner.upgrades, Some(report));
    }

    /// The run has ended; what was found fit, if that is why.
    pub(super) fn end(&self) -> Option<Trial> {
        let trying = self.inner.trying.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = trying {
            // A panic there has been told by the panic hook.
            let _ = thread.join();
        }
        let fit = self.inner.fit.lock().unwrap_or_else(PoisonError::into_inner).take();
        fit.filter(|_| matches!(*self.stop.borrow(), Some(Stop::Freeze | Stop::HandBack)))
    }

    /// Whether a signal to end came after the freeze had begun.
    pub(super) fn is_told_to_end(&self) -> bool {
        self.inner.told_to_end.load(Ordering::Relaxed)
    }

    /// Tells when miners are served, and how the attempt before went.
    pub(super) fn announce(
        &self,
        ended: Option<Ended>,
        sessions: usize,
        start: oneshot::Receiver<Started>,
    ) -> io::Result<JoinHandle<()>> {
        let inner = Arc::clone(&self.inner);
        std::thread::Builder::new().name("announce".into()).spawn(move || {
            // A run that never started has told why.
            if start.blocking_recv().is_err() {
                return;
            }
            let Some(ended) = ended else {
                return inner.news.serving(&inner.upgrades, None);
            };
            let pause = Duration::from_nanos(now().saturating_sub(ended.created));
            let report = UpgradeReport {
                generation: ended.generation.unwrap_or(inner.upgrades.book().generation),
                at: seconds(),
                from: ended.from,
                to: ended.to,
                sessions,
                pause_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                phases: ended.times.map(Times::phases),
                result: ended.result,
                why: ended.why,
            };
            inner.news.serving(&inner.upgrades, Some(report));
            if let (Some(path), Some(memory)) = (&inner.settings.runtime_file, ended.memory)
                && let Err(error) = runtime_file::write(path, &memory)
            {
                warn!(path = %path.display(), %error, "the state could not be written there");
            }
        })
    }
}

/// Seconds since 1970.
fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
