//! Trying the new program out: a sample of the live state, and a child that must read it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use switcher_core::Sampler;
use switcher_upgrade::envelope::{self, Body};
use switcher_upgrade::memory;
use switcher_upgrade::preflight::{self, Fitness, PreflightError};
use switcher_upgrade::program::{Identity, Program};

use super::original;

/// How long shards may take to give their part of the sample.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is wrong with a shard, and which plug-in stands in its way, if one does.
pub(super) fn blame(what: &str) -> String {
    let hanging = switcher_plugin_abi::host::health::hanging();
    if hanging.is_empty() {
        return what.to_owned();
    }
    format!("{what}: the plug-in {} does not come back", hanging.join(", "))
}

/// A program that was found fit.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) identity: Identity,
    pub(super) fitness: Fitness,
    /// When the freeze began, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) created: u64,
    /// It is the Go original, which only relays.
    pub(super) is_original: bool,
}

/// Tries the program at its path out. Takes as long as it takes; nothing is touched.
///
/// # Errors
///
/// It is not fit, or the trial was called off.
pub(super) fn run(
    program: &Program,
    sampler: &Sampler,
    limit: Duration,
    may_be_original: bool,
    called_off: &dyn Fn() -> bool,
) -> anyhow::Result<Trial> {
    let path = program.path.display();
    let identity = Identity::of(&program.path).with_context(|| format!("{path}"))?;
    let save_for = |reader: &BTreeMap<_, _>| sampler.save_for(reader).map_err(|why| anyhow!(why));
    let try_in = |schema: u16| {
        sampler.pack(schema > envelope::OLDEST);
        let sample = sample(program, sampler)?;
        Ok::<_, anyhow::Error>(preflight::run(program, sample, schema, limit, called_off))
    };
    let try_once = || {
        let mut tried = try_in(envelope::MAJOR)?;
        if tried.as_ref().is_err_and(PreflightError::is_of_schema) {
            // Once more, in a form that it may read.
            tried = try_in(envelope::OLDEST)?;
        }
        let says_original = |error: &PreflightError| matches!(error, PreflightError::Failed { said, .. } if original::is_said_by_original(said));
        match tried {
            Err(error) if says_original(&error) => Ok(None),
            tried => Ok::<_, anyhow::Error>(Some(tried?)),
        }
    };
    save_for(&BTreeMap::new())?;
    let mut tried = try_once()?;
    if let Some(older) = tried.as_ref().filter(|tried| tried.unread > 0) {
        // Once more, in versions that it reads.
        save_for(&older.dialects)?;
        tried = try_once()?;
    }
    let is_original = tried.is_none();
    if is_original {
        sampler.pack(false);
    }
    let fitness = match tried {
        Some(fitness) => fitness,
        None if may_be_original => {
            Fitness { version: original::NAME.to_owned(), ..Fitness::default() }
        }
        None => {
            bail!("{path} is {}, and the configuration in force is none of its own", original::NAME)
        }
    };
    ensure!(
        fitness.unread == 0,
        "the new program does not read the state of {} sessions",
        fitness.unread
    );
    ensure!(
        Identity::of(&program.path).is_ok_and(|now| now == identity),
        "{path} was replaced during its preflight"
    );
    Ok(Trial { identity, fitness, created: 0, is_original })
}

/// A sample of the live state, as the new program would get it.
fn sample(program: &Program, sampler: &Sampler) -> anyhow::Result<OwnedFd> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let document = runtime.block_on(sampler.sample(PATIENCE));
    let document = document.with_context(|| blame("a shard does not answer"))?;
    let sessions = document.sessions();
    let schema = super::schema(&document);
    let generation = document.upgrades.generation + 1;
    let body = Body {
        writer: env!("CARGO_PKG_VERSION").to_owned(),
        program: program.path.clone(),
        configuration: None,
        kept: BTreeSet::new(),
        frozen: 0,
        sockets: Vec::new(),
        document,
    };
    let bytes = envelope::encode(schema, &body, sessions, 0, generation)?;
    Ok(memory::seal("stratum-switcher-sample", &bytes)?)
}
