//! The stratum-switcher program: command line, configuration, log, signals, the table of plug-ins.
//!
//! [`run`] is what `main` calls with the process's own arguments, and what tests call with theirs.
//! [`serve`] is the part of it that does not touch the process: several can run in one.

pub mod cli;
pub mod config;
#[cfg(feature = "demo")]
mod demo;
pub mod go_flags;
mod host;
mod inherited;
pub mod logging;
pub mod plugins;
mod signals;
mod static_source;

use std::ffi::OsString;
use std::io::Write;

use anyhow::{Context as _, anyhow};

pub use switcher_core::{Control, Setup, Started, State, Stop};

use config::Config;
use plugins::Plugin;

/// How the program was called.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Arguments, the program's name first.
    pub arguments: Vec<OsString>,
    /// Variables of the environment.
    pub environment: Vec<(String, String)>,
}

impl Invocation {
    /// How this process was called. Variables that are no text are none of ours.
    pub fn of_process() -> Self {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            arguments: std::env::args_os().collect(),
            environment: std::env::vars_os().filter_map(text).collect(),
        }
    }
}

/// What is told to whoever called the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All went well.
    Done,
    /// It began to run and failed.
    Failed,
    /// The host is too small for what is configured.
    HostTooSmall,
    /// The command line or the configuration is wrong.
    Mistaken,
}

impl Outcome {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Mistaken => 2,
            Self::HostTooSmall => 3,
        }
    }
}

/// Does what the arguments say. Results go to `out`, everything else to `err`.
pub fn run(invocation: &Invocation, out: &mut dyn Write, err: &mut dyn Write) -> Outcome {
    cli::run(invocation, out, err).unwrap_or_else(|error| {
        // Whoever reads the output may have gone; there is nobody left to tell.
        let _ = writeln!(err, "stratum-switcher: {error:#}");
        Outcome::Failed
    })
}

/// Serves miners until it is told to stop. Blocks; builds its own threads.
///
/// # Errors
///
/// The engine does not start or a source cannot be made.
pub fn serve(
    config: Config,
    plugins: &[Plugin],
    state: State,
    control: Control,
) -> anyhow::Result<State> {
    let sources = plugins::sources(plugins, &config.sources)
        .map_err(|problem| anyhow!(problem).context("coin source"))?;
    let setup = Setup { settings: config.settings, dialects: plugins::dialects(plugins), sources };
    switcher_core::run(setup, state, control).context("the switcher cannot run")
}
