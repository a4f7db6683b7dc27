//! How long upgrades take and what they lose: the switcher alone, with more and more sessions, and
//! with one upgrade after the other under shares all the time.
//!
//! The pause is told twice: by the program itself, and by its miners, who hear nothing meanwhile.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::control::ControlError;
use super::system::{Kind, System, SystemError};
use super::table::median;

/// How long one upgrade may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Seconds within which all miners must have their first job, and all answers be there.
const SECONDS: u64 = 120;

/// Shares flow for so long before the first upgrade and behind the last.
const QUIET: Duration = Duration::from_secs(1);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The switcher's program.
    pub switcher: PathBuf,
    /// Miners, one row each.
    pub sessions: Vec<u64>,
    /// Upgrades of each row, one behind the other.
    pub generations: u32,
    /// Shares per second over all miners.
    pub share_rate: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The table.
    pub table: String,
    /// Sentences on what went wrong.
    pub complaints: Vec<String>,
}

/// Measures all rows.
///
/// # Errors
///
/// A part of the load tool is gone or mute, or the switcher does not start.
pub fn measure(plan: &Plan) -> Result<Found, SystemError> {
    let mut found = Found::default();
    let _ = writeln!(
        found.table,
        "{:>9}{:>10}{:>11}{:>11}{:>12}{:>12}{:>9}{:>8}{:>8}  median of the parts, ms",
        "sessions",
        "upgrades",
        "pause p50",
        "pause max",
        "silence ms",
        "answer ms",
        "shares",
        "wrong",
        "dropped"
    );
    for &sessions in &plan.sessions {
        row(plan, sessions, &mut found)?;
    }
    Ok(found)
}

fn row(plan: &Plan, sessions: u64, found: &mut Found) -> Result<(), SystemError> {
    let folder = tempfile::tempdir().map_err(|error| SystemError::Io("temporary folder", error))?;
    let mut system = System::start(Kind::Switcher(plan.switcher.clone()), folder.path())?;
    let Some(process) = system.watched.map(|watched| watched.0) else { return Ok(()) };
    let patience = Duration::from_secs(SECONDS + 30);
    let begun = system.miners.ask(&format!("connect {sessions} {SECONDS}"), patience)?;
    if count(&begun, "missing") > 0 {
        found.complaints.push(format!("{sessions} sessions: miners got no job: {begun}"));
    }
    let shares = plan.share_rate * SECONDS * 60;
    system.miners.send(&format!("submit {shares} {}", plan.share_rate))?;
    std::thread::sleep(QUIET);
    let mut reports = Vec::new();
    for _ in 0..plan.generations {
        let report = upgrade(process)?;
        if report.get("result").and_then(Value::as_str) != Some("done")
            || count(&report, "sessions") != sessions
        {
            found.complaints.push(format!("{sessions} sessions: {report}"));
        }
        reports.push(report);
    }
    std::thread::sleep(QUIET);
    let end = system.miners.ask("halt", patience)?;
    let wrong: u64 =
        ["refused", "unanswered", "lost", "unasked"].iter().map(|name| count(&end, name)).sum();
    let dropped = count(&end, "dropped");
    let mut accepted = 0;
    for pool in &mut system.pools {
        accepted += count(&pool.ask("stats", Duration::from_secs(30))?, "accepted");
    }
    if wrong > 0 || dropped > 0 || accepted != count(&end, "accepted") {
        found.complaints.push(format!("{sessions} sessions: {end}, {accepted} at the pools"));
    }
    let part = |name: &str| {
        let all = reports.iter().filter_map(|report| report.get("phases")?.get(name)?.as_f64());
        median(&all.collect::<Vec<_>>())
    };
    let parts = ["freeze", "hand_over", "read", "prepare", "resume"].map(|name| {
        format!("{name} {}", part(name).map_or("-".to_owned(), |part| part.to_string()))
    });
    let pauses: Vec<f64> =
        reports.iter().filter_map(|report| report.get("pause_ms")?.as_f64()).collect();
    let slowest = end.get("spread").and_then(|spread| spread.get("last")?.as_f64());
    let _ = writeln!(
        found.table,
        "{sessions:>9}{:>10}{:>11.0}{:>11.0}{:>12.0}{:>12.0}{:>9}{wrong:>8}{dropped:>8}  {}",
        reports.len(),
        median(&pauses).unwrap_or_default(),
        pauses.iter().copied().fold(0.0, f64::max),
        end.get("silence").and_then(Value::as_f64).unwrap_or_default(),
        slowest.unwrap_or_default(),
        count(&end, "sent"),
        parts.join(", "),
    );
    Ok(())
}

/// Signals the process and waits for what it has to say.
fn upgrade(process: u32) -> Result<Value, SystemError> {
    let before = told(process).map_or(0, |told| count(&told, "attempts"));
    if let Ok(number) = i32::try_from(process) {
        // One that is gone says nothing, which is told below.
        let _ = kill(Pid::from_raw(number), Signal::SIGUSR2);
    }
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
        // Between two programs there is none for a moment.
        if let Some(told) = told(process).filter(|told| count(told, "attempts") > before) {
            return Ok(told.get("last").cloned().unwrap_or_default());
        }
        if !Path::new(&format!("/proc/{process}")).exists() {
            break;
        }
    }
    Err(ControlError::Mute("switcher".to_owned(), PATIENCE).into())
}

fn told(process: u32) -> Option<Value> {
    let text = switcher_upgrade::status::of(process).ok()??;
    serde_json::from_str(&text).ok()
}

fn count(reply: &Value, name: &str) -> u64 {
    reply.get(name).and_then(Value::as_u64).unwrap_or(0)
}
