//! The command line: what can be asked of the program, and the short answers to it.
//!
//! Parsing does nothing; each command does its work in a function of its own.

use std::io::Write;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use tracing::{info, warn};

use crate::config::original;
use crate::config::{Config, Inputs, Mistakes, document, load};
use crate::go_flags::{self, GoFlags};
use crate::inherited::Left;
use crate::plugins::{self, BUILT_IN, Make};
use crate::signals::Signals;
use crate::upgrade::{self, Handed};
use crate::{Invocation, Outcome, host, inherited, logging};

/// The variable that names the file if no flag does.
const FILE_VARIABLE: &str = "SWITCHER_CONFIG";

/// Moves miners between pools of different coins without touching their connections.
#[derive(Debug, Parser)]
#[command(
    name = "stratum-switcher",
    version,
    after_help = "Without a command it serves miners until SIGTERM or SIGINT.\n\
                  The configuration and the flags of the Go stratumSwitcher (-config=, -log_dir=, -v, …) \
                  are understood as well.\n\
                  Exit codes: 0 done, 1 failed while running, 2 wrong command line or \
                  configuration, 3 host too small."
)]
struct Cli {
    #[command(flatten)]
    given: Given,
    /// Shows that this program could take over the state on standard input, and ends.
    #[arg(long, hide = true)]
    preflight: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
struct Given {
    /// Configuration file, TOML or JSON by its extension (or name it in the variable `SWITCHER_CONFIG`).
    #[arg(long, short, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Sets one key above file and variables: --set limits.sessions=5000.
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks the configuration without starting, and prints the values in force.
    Check {
        /// Also checks whether the host is large enough.
        #[arg(long)]
        host: bool,
    },
    /// Prints a commented configuration with all defaults.
    Config,
    /// Shows the switcher at work, with two pools and three miners of its own.
    #[cfg(feature = "demo")]
    Demo {
        /// Edits the file of the coin source by itself, and ends.
        #[arg(long)]
        auto: bool,
        /// Ends after so many seconds.
        #[arg(long)]
        seconds: Option<u64>,
    },
    /// Prints a configuration of the Go stratumSwitcher as one of ours.
    MigrateConfig {
        /// Its config.json.
        file: PathBuf,
    },
    /// Lists dialects and coin sources: what is built in, and what a configuration loads.
    Plugins,
    /// Has a running switcher give its miners back to the Go stratumSwitcher, which lies at its path
    /// again, and waits for it.
    RollbackToGo(Target),
    /// Has a running switcher replace its program by what lies at its path now, and waits for it.
    Upgrade(Target),
}

/// Which process.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// Its process id.
    #[arg(long)]
    pid: Option<u32>,
    /// A file with its process id.
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
}

/// Does what the arguments say.
///
/// # Errors
///
/// The output cannot be written, or serving failed.
pub(crate) fn run(
    invocation: &Invocation,
    handed: Option<Handed>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let (arguments, go) = match go_flags::take(&invocation.arguments) {
        Ok(taken) => taken,
        Err(problem) => {
            writeln!(err, "{problem}")?;
            return Ok(Outcome::Mistaken);
        }
    };
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(help) if matches!(help.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            writeln!(out, "{}", help.render().to_string().trim_end())?;
            return Ok(Outcome::Done);
        }
        Err(error) => {
            write!(err, "{}", error.render())?;
            return Ok(Outcome::Mistaken);
        }
    };
    match cli.command {
        Some(Command::Config) => write!(out, "{}", document::DEFAULT_FILE)?,
        Some(Command::Plugins) => {
            let built_in = plugins::report(BUILT_IN);
            let inputs = inputs(cli.given, &go, invocation, None);
            let reports = match inputs.file {
                // Without a configuration nothing is loaded.
                None => vec![built_in],
                Some(_) => match load(&inputs, BUILT_IN) {
                    Ok(config) => config.loaded.reports(built_in),
                    Err(mistakes) => return refuse(&mistakes, err),
                },
            };
            write!(out, "{}", plugins::table(&reports))?;
        }
        #[cfg(feature = "demo")]
        Some(Command::Demo { auto, seconds }) => {
            let limit = seconds.map(std::time::Duration::from_secs);
            return crate::demo::run(crate::demo::Wishes { auto, limit }, out);
        }
        Some(Command::Check { host }) => {
            return match read(cli.given, &go, invocation, None) {
                Ok(config) => check(&config, host, out, err),
                Err(mistakes) => refuse(&mistakes, err),
            };
        }
        Some(Command::MigrateConfig { file }) => {
            return match original::migrate(&file) {
                Ok(text) => {
                    write!(out, "{text}")?;
                    Ok(Outcome::Done)
                }
                Err(mistakes) => refuse(&mistakes, err),
            };
        }
        Some(Command::RollbackToGo(target) | Command::Upgrade(target)) => {
            return upgrade::request(target.pid, target.pidfile.as_deref(), out, err);
        }
        None if cli.preflight => {
            upgrade::unblock_signals()?;
            return match read(cli.given, &go, invocation, None) {
                Ok(config) => upgrade::rehearse(&config, out),
                Err(mistakes) => refuse(&mistakes, err),
            };
        }
        None => return serve(cli.given, &go, invocation, handed, err),
    }
    Ok(Outcome::Done)
}

/// Serves miners until it is stopped.
fn serve(
    given: Given,
    go: &GoFlags,
    invocation: &Invocation,
    handed: Option<Handed>,
    err: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    // After an upgrade of our own the file is one of the past, and names other sockets.
    let runtime = go.runtime.as_deref().filter(|_| handed.is_none());
    let left = runtime.map(inherited::take).unwrap_or_default();
    // Whoever was given its miners back goes on as it was: the file may be what is wrong.
    let text = handed.as_ref().and_then(Handed::configuration);
    let mut config = match read(given, go, invocation, text) {
        Ok(config) => config,
        Err(mistakes) => return refuse(&mistakes, err),
    };
    // The number that the miners' ids begin with.
    let zookeeper = config.sources.zookeeper.as_mut();
    let number = zookeeper.and_then(|source| source.server_id.as_mut());
    if let Some(number) = number.filter(|_| left.server_id > 0) {
        number.preferred = left.server_id;
    }
    run_until_stopped(&config, handed, left)
}

fn read(
    given: Given,
    go: &GoFlags,
    invocation: &Invocation,
    text: Option<String>,
) -> Result<Config, Mistakes> {
    load(&inputs(given, go, invocation, text), BUILT_IN)
}

/// Where the configuration comes from, and what stands in its file.
fn inputs(given: Given, go: &GoFlags, invocation: &Invocation, text: Option<String>) -> Inputs {
    let variable = || {
        let mut named = invocation.environment.iter().filter(|(name, _)| name == FILE_VARIABLE);
        named.next().map(|(_, path)| PathBuf::from(path))
    };
    // The original reads this one if it is told none.
    let usual = || {
        let meant = go.given || invocation.arguments.len() <= 1;
        Some(PathBuf::from(go_flags::USUAL_FILE)).filter(|path| meant && path.exists())
    };
    let file = given.config.or_else(variable).or_else(usual);
    // One that cannot be read is told by `load`.
    let text = text.or_else(|| std::fs::read_to_string(file.as_deref()?).ok());
    Inputs {
        file,
        text,
        environment: invocation.environment.clone(),
        flags: [go.set.clone(), given.set].concat(),
    }
}

fn refuse(mistakes: &Mistakes, err: &mut dyn Write) -> anyhow::Result<Outcome> {
    writeln!(err, "{mistakes}")?;
    let hint = "`stratum-switcher config` prints a commented configuration";
    writeln!(err, "{} to be put right; {hint}", mistakes.iter().count())?;
    Ok(Outcome::Mistaken)
}

fn check(
    config: &Config,
    with_host: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    write!(out, "{}", config.effective)?;
    for remark in &config.remarks {
        writeln!(err, "note: {remark}")?;
    }
    let mut outcome = Outcome::Done;
    for plugin in BUILT_IN {
        let Make::Source { check, .. } = plugin.make else {
            continue;
        };
        match check(&config.sources) {
            Some(Ok(found)) => writeln!(err, "sources.{}: {found}", plugin.name)?,
            Some(Err(problem)) => {
                writeln!(err, "sources.{}: {problem}", plugin.name)?;
                outcome = Outcome::Mistaken;
            }
            None => {}
        }
    }
    for (source, table) in config.loaded.configured(&config.sources.loaded) {
        // That it can be worked with was found out when the configuration was read.
        let found = source.check(table).unwrap_or_else(|error| error.to_string());
        writeln!(err, "sources.{}: {found}", source.name())?;
    }
    if with_host {
        for finding in host::findings(&host::Facts::read(), &config.settings.limits) {
            writeln!(err, "host: {}: {}", if finding.good { "ok" } else { "no" }, finding.text)?;
            if !finding.good && outcome == Outcome::Done {
                outcome = Outcome::HostTooSmall;
            }
        }
    }
    if outcome == Outcome::Done {
        writeln!(err, "nothing wrong found")?;
    }
    Ok(outcome)
}

fn run_until_stopped(
    config: &Config,
    handed: Option<Handed>,
    left: Left,
) -> anyhow::Result<Outcome> {
    // Before any thread exists: all of them are born with these signals blocked.
    let signals = Signals::block()?;
    let log = logging::start(&config.log)?;
    if !config.remarks.is_empty() {
        // In one event: the log would sum up several.
        warn!("{}", config.remarks.join("; "));
    }
    match host::raise_open_files() {
        Ok(limit) => info!(limit, "open files"),
        Err(error) => warn!(%error, "the limit of open files stays as it is"),
    }
    info!(version = env!("CARGO_PKG_VERSION"), "starting");
    upgrade::serve(config, handed, left, &signals, &log)?;
    info!("stopped");
    // Dropping it writes what is left.
    drop(log);
    Ok(Outcome::Done)
}
