//! `stratum-switcher upgrade`: asks a running switcher to replace its program, and waits for the
//! outcome.
//!
//! What the other process has to say is read from its status memfd, which it has whatever its
//! configuration. A process without one is no switcher and is not signalled.

use std::io::Write;
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
    let number = i32::try_from(pid).context("no process has such a number")?;
    kill(Pid::from_raw(number), Signal::SIGUSR2)
        .with_context(|| format!("process {pid} cannot be signalled"))?;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
        // Between two programs there is none for a moment.
        if let Some(Told { attempts, last: Some(last) }) = told(pid)?
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

fn read_pid(file: &Path) -> anyhow::Result<u32> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    text.trim().parse().with_context(|| format!("{}: no process id", file.display()))
}

/// What the process tells; none if it has no status, or is writing it.
fn told(pid: u32) -> anyhow::Result<Option<Told>> {
    let text = status::of(pid).with_context(|| format!("process {pid} cannot be looked into"))?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}
