//! Trying the new program out: a sample of the live state, and a child that must read it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use switcher_core::Sampler;
use switcher_upgrade::envelope::{self, Body};
use switcher_upgrade::memory;
use switcher_upgrade::preflight::{self, Fitness};
use switcher_upgrade::program::{Identity, Program};

/// How long shards may take to give their part of the sample.
const PATIENCE: Duration = Duration::from_secs(2);

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
    called_off: &dyn Fn() -> bool,
) -> anyhow::Result<Trial> {
    let path = program.path.display();
    let identity = Identity::of(&program.path).with_context(|| format!("{path}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let document = runtime.block_on(sampler.sample(PATIENCE));
    let document = document.with_context(|| blame("a shard does not answer"))?;
    let sessions = document.sessions();
    let generation = document.upgrades.generation + 1;
    let writer = env!("CARGO_PKG_VERSION").to_owned();
    let body = Body {
        writer,
        program: program.path.clone(),
        configuration: None,
        kept: BTreeSet::new(),
        sockets: Vec::new(),
        document,
    };
    let bytes = envelope::encode(&body, sessions, 0, generation)?;
    let sample = memory::seal("stratum-switcher-sample", &bytes)?;
    let fitness = preflight::run(program, sample, limit, called_off)?;
    anyhow::ensure!(
        Identity::of(&program.path).is_ok_and(|now| now == identity),
        "{path} was replaced during its preflight"
    );
    Ok(Trial { identity, fitness, created: 0 })
}
