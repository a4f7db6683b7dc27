//! `stratum-switcher upgrade`: asks a running switcher to replace its program, and waits for the
//! outcome.
//!
//! What the other process has to say is read from its status memfd, which it has whatever its
//! configuration. A process without one is no switcher and is not signalled.

use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use switcher_core::upgrades::UpgradeResult;
use switcher_upgrade::status;

use super::news::{Told, summary};
use crate::Outcome;

/// How often the other process is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A process that has replaced itself and shows no status for so long is none of ours any more.
const ORIGINAL_PATIENCE: Duration = Duration::from_secs(3);

/// Longest preflight and pause anybody waits for.
const PATIENCE: Duration = Duration::from_mins(2);

/// Signals the process and prints how it went.
///
/// # Errors
///
/// It is no switcher, or not to be reached, or says nothing.
pub(crate) fn request(
    pid: Option<u32>,
    pidfile: Option<&Path>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let pid = match (pid, pidfile) {
        (Some(pid), _) => pid,
        (None, Some(file)) => read_pid(file)?,
        (None, None) => bail!("no process is named"),
    };
    let Some(before) = told(pid)? else {
        bail!("process {pid} is not there, or is no stratum-switcher that can be upgraded");
    };
    let program = identity(pid);
    let number = i32::try_from(pid).context("no process has such a number")?;
    kill(Pid::from_raw(number), Signal::SIGUSR2)
        .with_context(|| format!("process {pid} cannot be signalled"))?;
    let began = Instant::now();
    let mut silent = None;
    while began.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
        let now = told(pid)?;
        // Between two programs of ours there is none for a moment.
        if now.is_some() {
            silent = None;
        } else if silent.get_or_insert_with(Instant::now).elapsed() > ORIGINAL_PATIENCE
            && identity(pid).is_some_and(|now| Some(now) != program)
        {
            writeln!(out, "handed back: another program runs as process {pid}, with its sockets")?;
            return Ok(Outcome::Done);
        }
        if let Some(Told { attempts, last: Some(last) }) = now
            && attempts > before.attempts
        {
            let text = summary(&last);
            if last.result == UpgradeResult::Done {
                writeln!(out, "{text}")?;
                return Ok(Outcome::Done);
            }
            writeln!(err, "{text}")?;
            return Ok(Outcome::Failed);
        }
        if !Path::new(&format!("/proc/{pid}")).exists() {
            bail!("process {pid} has ended");
        }
    }
    bail!("process {pid} has said nothing for {PATIENCE:?}");
}

/// Which file a process runs.
fn identity(pid: u32) -> Option<(u64, u64)> {
    let data = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((data.dev(), data.ino()))
}

fn read_pid(file: &Path) -> anyhow::Result<u32> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    text.trim().parse().with_context(|| format!("{}: no process id", file.display()))
}

/// What the process tells; none if it has no status, or is writing it.
fn told(pid: u32) -> anyhow::Result<Option<Told>> {
    let text = status::of(pid).with_context(|| format!("process {pid} cannot be looked into"))?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}
