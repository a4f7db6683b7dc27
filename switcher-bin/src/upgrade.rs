//! Replacing the running program: from the signal to the new program's first line of log.
//!
//! `switcher-upgrade` knows how, the engine knows what; here stands when, and what becomes of it.
//! One thread reads signals, one at a time tries a new program out, and the main thread runs the
//! engine, takes its state when it freezes, and becomes the new program or runs it again.

mod faults;
#[cfg(debug_assertions)]
mod newer;
mod news;
mod original;
mod request;
mod runtime_file;
mod trial;
mod watch;

use std::collections::BTreeSet;
use std::io::{Read as _, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nix::sys::signal::SigSet;
use nix::time::{ClockId, clock_gettime};
use switcher_core::upgrades::{Phases, UpgradeResult};
use switcher_core::{Adoption, Control, Document, Ready, Setup, State, Stop, prepare};
use switcher_plugin::StratumDialect;
use switcher_upgrade::envelope::{self, Body, Header};
use switcher_upgrade::preflight::Fitness;
use switcher_upgrade::program::{Identity, Program};
use switcher_upgrade::status::Status;
use switcher_upgrade::{handover, memory, sockets, takeover};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::config::Config;
use crate::inherited::Left;
use crate::logging::Log;
use crate::plugins::BUILT_IN;
use crate::signals::Signals;
use crate::{Outcome, setup};

use news::News;
pub(crate) use request::request;
use trial::Trial;
use watch::Watch;

/// How long the log may take to be written before the process becomes another program.
const LOG_PATIENCE: Duration = Duration::from_millis(50);

/// What the program before has handed over.
#[derive(Debug)]
pub(crate) struct Handed {
    header: Header,
    writer: String,
    program: PathBuf,
    document: Document,
    /// Not to be closed by whatever goes wrong: the program before may get them back.
    sockets: ManuallyDrop<Vec<OwnedFd>>,
    memory: OwnedFd,
    configuration: Option<String>,
    kept: BTreeSet<RawFd>,
    strays: Vec<String>,
    rolled_back: Option<String>,
    times: Times,
}

/// When the steps between two programs were done, in nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    /// When sessions were told to come to rest.
    told: u64,
    /// When they were.
    frozen: u64,
    /// When this program began.
    begun: u64,
    /// When state and sockets were read and checked.
    read: u64,
    /// When there was no way back any more.
    committed: u64,
}

impl Times {
    /// Where the time went until now.
    fn phases(self) -> Phases {
        let between = |from: u64, to: u64| to.saturating_sub(from) / 1_000_000;
        Phases {
            freeze: between(self.told, self.frozen),
            hand_over: between(self.frozen, self.begun),
            read: between(self.begun, self.read),
            prepare: between(self.read, self.committed),
            resume: between(self.committed, now()),
        }
    }
}

impl Handed {
    /// The configuration to go on with, if this is the old program again.
    pub(crate) fn configuration(&self) -> Option<String> {
        self.configuration.clone().filter(|_| self.rolled_back.is_some())
    }
}

/// Takes over what was handed to this process, if anything was. First thing in `main`.
///
/// # Errors
///
/// It cannot be believed.
pub(crate) fn take_over() -> anyhow::Result<Option<Handed>> {
    if !takeover::is_handed() {
        return Ok(None);
    }
    let begun = now();
    let program = Program::of_process();
    let handed = takeover::take_over::<Document>(program.as_ref())?;
    let made = handed.map(|handed| Handed {
        times: Times {
            told: handed.header.created,
            frozen: handed.body.frozen,
            begun,
            read: now(),
            committed: 0,
        },
        header: handed.header,
        writer: handed.body.writer,
        program: handed.body.program,
        document: handed.body.document,
        sockets: ManuallyDrop::new(handed.sockets),
        memory: handed.memory,
        configuration: handed.body.configuration,
        kept: handed.body.kept,
        strays: handed.strays,
        rolled_back: handed.rolled_back,
    });
    Ok(made)
}

/// Gives everything back to the program before. Returns, with the reason, only if that is not
/// possible.
#[must_use]
pub(crate) fn give_back(why: &str) -> String {
    match takeover::give_back(why) {
        Some(error) => format!("the program before cannot be executed: {error}"),
        None => "there is no program to go back to".to_owned(),
    }
}

/// The dialects of this version of the program: what they are given, but where a test wants a newer
/// one.
pub(crate) fn in_version(dialects: Vec<Arc<dyn StratumDialect>>) -> Vec<Arc<dyn StratumDialect>> {
    #[cfg(debug_assertions)]
    let dialects = newer::if_wanted(dialects);
    dialects
}

/// A child is born with what its parent blocks.
///
/// # Errors
///
/// The system refuses.
pub(crate) fn unblock_signals() -> anyhow::Result<()> {
    Ok(SigSet::all().thread_unblock()?)
}

/// Shows that this program could take over the state on standard input.
///
/// # Errors
///
/// It could not.
pub(crate) fn rehearse(config: &Config, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    faults::point("preflight")?;
    let mut sample = Vec::new();
    std::io::stdin().lock().take(memory::MOST).read_to_end(&mut sample)?;
    let (_, body) = envelope::decode::<Document>(&sample).context("the sample of the state")?;
    let setup = setup(config, BUILT_IN)?;
    let rehearsal = switcher_core::rehearse(&setup, &body.document)?;
    let versions = |dialect: &Arc<dyn StratumDialect>| {
        let versions = dialect.state_versions();
        (dialect.name().to_owned(), (*versions.start(), *versions.end()))
    };
    let fitness = Fitness {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: (envelope::OLDEST, envelope::MAJOR),
        sessions: rehearsal.sessions,
        unread: rehearsal.unread,
        dialects: setup.dialects.iter().map(versions).collect(),
        warnings: rehearsal.warnings,
    };
    writeln!(out, "{}", serde_json::to_string(&fitness)?)?;
    Ok(Outcome::Done)
}

/// Serves miners until a signal ends it, through any number of upgrades.
///
/// # Errors
///
/// It cannot begin to serve.
pub(crate) fn serve(
    config: &Config,
    handed: Option<Handed>,
    left: Left,
    signals: &Signals,
    log: &Log,
) -> anyhow::Result<()> {
    let mut program = Program::of_process();
    // Before anything of this program is open.
    let kept = match &handed {
        Some(handed) => handed.kept.clone(),
        None => sockets::inherited(),
    };
    let (mut ready, mut ended, status) = if let Some(handed) = handed {
        if let Some(program) = &mut program {
            program.path.clone_from(&handed.program);
        }
        begin_handed(config, handed)?
    } else {
        let setup = setup(config, BUILT_IN)?;
        let state = adopt(&setup, left)?;
        let prepared = prepare(setup, state);
        (prepared.map_err(|refused| refused.error)?, None, Status::open()?)
    };
    let news = Arc::new(News::new(status));
    let program = program.map(Arc::new);
    let mut first = None;
    loop {
        let sessions = ready.sessions();
        let watch = Watch::begin(&ready, config, program.clone(), &news, first.take());
        let listener = watch.listen(signals)?;
        let (started, start) = oneshot::channel();
        let announcing = watch.announce(ended.take(), sessions, start)?;
        let control = Control { stop: watch.stop.subscribe(), started: Some(started) };
        let mut state = ready.run(control);
        listener.stop();
        let trial = watch.end();
        // It is told by the run, or that it never started.
        let _ = announcing.join();
        let Some((program, trial)) = program.as_deref().zip(trial) else {
            News::stopping();
            return Ok(());
        };
        let why = if state.is_late() {
            anyhow!(trial::blame(&format!(
                "not all shards stopped within {:?}",
                config.settings.timing.freeze
            )))
        } else if watch.is_told_to_end() || signals.end_is_pending() {
            first = Some(Stop::Drain);
            anyhow!("the program was told to stop")
        } else if trial.is_original {
            original::leave(&mut state, program, &trial, config, log)
        } else {
            leave(&state, program, &trial, config, &kept, log)
        };
        ended = Some(Ended::failed(&trial, &why));
        ready = prepare(setup(config, BUILT_IN)?, state).map_err(|refused| refused.error)?;
    }
}

/// The state to start from, with the sessions that the original has left, if it has.
fn adopt(setup: &Setup, left: Left) -> anyhow::Result<State> {
    let Left { sessions, refused, .. } = left;
    let named = sessions.len() + refused.len();
    let Adoption { state, refused: foreign } = switcher_core::adopt(setup, sessions)?;
    for why in &refused {
        warn!(why, "a session of the program before is closed");
    }
    for (id, why) in &foreign {
        warn!(session = format!("{id:08x}"), why, "a session of the program before is closed");
    }
    if named > 0 {
        let sessions = state.document.sessions();
        info!(named, sessions, "sessions of the Go stratumSwitcher go on");
    }
    Ok(state)
}

/// The major version that a document is written in.
fn schema(document: &Document) -> u16 {
    if document.is_packed() { envelope::MAJOR } else { envelope::OLDEST }
}

/// Everything that can fail before this program serves. Until the commit, the sockets of the state
/// are closed by nothing.
fn begin_handed(
    config: &Config,
    mut handed: Handed,
) -> anyhow::Result<(Ready, Option<Ended>, Status)> {
    let setup = setup(config, BUILT_IN)?;
    let status = Status::open()?;
    if handed.rolled_back.is_none() {
        faults::point("commit")?;
    }
    let mut state = State::default();
    state.document = std::mem::take(&mut handed.document);
    state.sockets = std::mem::take(&mut *handed.sockets);
    let ready = prepare(setup, state).map_err(|refused| {
        std::mem::forget(refused.state);
        refused.error
    })?;
    takeover::commit();
    handed.times.committed = now();
    for stray in &handed.strays {
        warn!(stray, "closed a descriptor that nobody named");
    }
    Ok((ready, Some(Ended::handed(handed)), status))
}

/// Becomes the new program. Returns, with the reason, only if that is not possible.
///
/// What was written is not parsed here: the preflight has read a whole state, what `serde_json` writes
/// is JSON, and that the memory holds it byte for byte is looked at when it is sealed. Miners wait.
fn leave(
    state: &State,
    program: &Program,
    trial: &Trial,
    config: &Config,
    kept: &BTreeSet<RawFd>,
    log: &Log,
) -> anyhow::Error {
    let frozen = now();
    let result = (|| {
        faults::point("frozen")?;
        let document = &state.document;
        let mut records = Vec::with_capacity(state.sockets.len());
        for (socket, role) in state.sockets.iter().zip(document.roles()) {
            records.push(sockets::describe(socket, role)?);
        }
        let body = Body {
            writer: env!("CARGO_PKG_VERSION").to_owned(),
            program: program.path.clone(),
            configuration: config.text.clone(),
            kept: kept.clone(),
            frozen,
            sockets: records,
            document,
        };
        let generation = document.upgrades.generation + 1;
        let sessions = document.sessions();
        let bytes = envelope::encode(schema(document), &body, sessions, trial.created, generation)?;
        let memory = memory::seal("stratum-switcher-state", &bytes)?;
        anyhow::ensure!(
            Identity::of(&program.path)? == trial.identity,
            "the program was replaced again after its preflight"
        );
        log.flush(LOG_PATIENCE);
        handover::execute(program, &memory, &state.sockets, generation)
            .with_context(|| format!("{} cannot be executed", program.path.display()))
    })();
    match result {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// How an attempt ended that froze sessions; told when they are served again.
#[derive(Debug)]
struct Ended {
    result: UpgradeResult,
    why: Option<String>,
    from: String,
    to: Option<String>,
    /// Of the new program, if there is one now.
    generation: Option<u64>,
    /// When the freeze began, in nanoseconds of `CLOCK_MONOTONIC`.
    created: u64,
    /// Where the pause went, if this is the new program.
    times: Option<Times>,
    /// The state as it was handed over, for the file that some want.
    memory: Option<OwnedFd>,
}

impl Ended {
    fn failed(trial: &Trial, why: &anyhow::Error) -> Self {
        Self {
            result: UpgradeResult::Failed,
            why: Some(format!("{why:#}")),
            from: env!("CARGO_PKG_VERSION").to_owned(),
            to: Some(trial.fitness.version.clone()),
            generation: None,
            created: trial.created,
            times: None,
            memory: None,
        }
    }

    fn handed(handed: Handed) -> Self {
        let own = Some(env!("CARGO_PKG_VERSION").to_owned());
        let is_done = handed.rolled_back.is_none();
        Self {
            result: if is_done { UpgradeResult::Done } else { UpgradeResult::RolledBack },
            why: handed.rolled_back,
            from: handed.writer,
            to: own.filter(|_| is_done),
            generation: is_done.then_some(handed.header.generation),
            created: handed.header.created,
            times: is_done.then_some(handed.times),
            memory: Some(handed.memory),
        }
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
