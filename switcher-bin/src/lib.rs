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
pub mod loaded;
pub mod logging;
pub mod plugins;
mod signals;
mod static_source;
mod upgrade;

use std::ffi::OsString;
use std::io::Write;

use anyhow::{Context as _, anyhow};

pub use switcher_core::{Control, Setup, Started, State, Stop};

use config::Config;
use plugins::Plugin;
use switcher_core::plugins::PluginBook;
use switcher_upgrade::program::{HANDOVER, ROLLBACK};

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
            // What upgrades put there is no key of the configuration.
            if name == HANDOVER || name == ROLLBACK {
                return None;
            }
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

/// Does what the process's own arguments say, with what the program before it has handed over, if
/// it was there before. If that comes to nothing, the program before goes on.
pub fn run_process(out: &mut dyn Write, err: &mut dyn Write) -> Outcome {
    let handed = match upgrade::take_over() {
        Ok(handed) => handed,
        Err(error) => {
            // Returns only if there is no way back.
            let failed = upgrade::give_back(&format!("{error:#}"));
            let _ = writeln!(err, "stratum-switcher: {error:#}; {failed}");
            return Outcome::Failed;
        }
    };
    if handed.is_none() {
        return run(&Invocation::of_process(), out, err);
    }
    let mut said = Vec::new();
    let result = cli::run(&Invocation::of_process(), handed, out, &mut said);
    if let Err(error) = &result {
        let _ = writeln!(said, "stratum-switcher: {error:#}");
    }
    if !matches!(result, Ok(Outcome::Done)) {
        // Without effect once miners are served.
        let _ = upgrade::give_back(String::from_utf8_lossy(&said).trim());
    }
    let _ = err.write_all(&said);
    result.unwrap_or(Outcome::Failed)
}

/// Does what the arguments say. Results go to `out`, everything else to `err`.
pub fn run(invocation: &Invocation, out: &mut dyn Write, err: &mut dyn Write) -> Outcome {
    cli::run(invocation, None, out, err).unwrap_or_else(|error| {
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
    config: &Config,
    plugins: &[Plugin],
    state: State,
    control: Control,
) -> anyhow::Result<State> {
    let setup = setup(config, plugins)?;
    switcher_core::run(setup, state, control).context("the switcher cannot run")
}

/// What the engine needs for a run.
fn setup(config: &Config, plugins: &[Plugin]) -> anyhow::Result<Setup> {
    let sources = plugins::sources(plugins, &config.loaded, &config.sources)
        .map_err(|problem| anyhow!(problem).context("coin source"))?;
    let (built_in, loaded) = (plugins::report(plugins), config.loaded.clone());
    let book = PluginBook::new(move || loaded.reports(built_in.clone()));
    Ok(Setup {
        settings: config.settings.clone(),
        dialects: upgrade::in_version(plugins::dialects(plugins, &config.loaded)),
        sources,
        plugins: book,
    })
}
