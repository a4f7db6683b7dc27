//! What becomes known of an upgrade: in the book of the engine (API, metrics), in the status that
//! `stratum-switcher upgrade` reads, and at the service manager.

use std::sync::{Mutex, PoisonError};

use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use switcher_core::upgrades::{UpgradeBook, UpgradeReport, UpgradeResult, Upgrades};
use switcher_upgrade::status::Status;
use tracing::{error, info, warn};

/// The status as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Told {
    /// Attempts that have ended since the program was first started.
    pub(super) attempts: u64,
    /// The last of them.
    pub(super) last: Option<UpgradeReport>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct News(Mutex<Status>);

impl News {
    pub(super) fn new(status: Status) -> Self {
        Self(Mutex::new(status))
    }

    /// An upgrade begins.
    pub(super) fn reloading() {
        let mut states = vec![NotifyState::Reloading];
        // Without the time systemd would wait for ever.
        states.extend(NotifyState::monotonic_usec_now());
        notify(&states);
    }

    /// The program ends.
    pub(super) fn stopping() {
        notify(&[NotifyState::Stopping]);
    }

    /// Miners are served, after an attempt if there is a report of one.
    pub(super) fn serving(&self, upgrades: &Upgrades, report: Option<UpgradeReport>) {
        let text = match report {
            Some(report) => {
                log(&report);
                let text = summary(&report);
                upgrades.note(report);
                text
            }
            None => "serving".to_owned(),
        };
        self.tell(&upgrades.book());
        notify(&[NotifyState::Ready, NotifyState::Status(&text)]);
    }

    fn tell(&self, book: &UpgradeBook) {
        let told = Told { attempts: book.attempts(), last: book.last.clone() };
        let written = serde_json::to_string(&told)
            .map_err(std::io::Error::from)
            .and_then(|text| self.0.lock().unwrap_or_else(PoisonError::into_inner).write(&text));
        if let Err(error) = written {
            warn!(%error, "the status of upgrades could not be written");
        }
    }
}

/// One line on how it went.
pub(super) fn summary(report: &UpgradeReport) -> String {
    let UpgradeReport { generation, from, to, sessions, pause_ms, why, .. } = report;
    let to = to.as_deref().unwrap_or("?");
    let why = why.as_deref().unwrap_or_default();
    match report.result {
        UpgradeResult::Done => format!(
            "upgraded from {from} to {to}: {sessions} sessions kept, {pause_ms} ms pause, generation {generation}"
        ),
        UpgradeResult::Refused => format!("upgrade refused, nothing was touched: {why}"),
        UpgradeResult::Failed => format!(
            "upgrade failed, {sessions} sessions went on in the old program after {pause_ms} ms: {why}"
        ),
        UpgradeResult::RolledBack => format!(
            "upgrade rolled back, {sessions} sessions went on in the old program after {pause_ms} ms: {why}"
        ),
        UpgradeResult::Unknown => format!("upgrade: {why}"),
    }
}

fn log(report: &UpgradeReport) {
    let text = summary(report);
    if report.result == UpgradeResult::Done {
        let phases = report.phases.unwrap_or_default();
        info!(
            generation = report.generation,
            sessions = report.sessions,
            pause_ms = report.pause_ms,
            freeze_ms = phases.freeze,
            hand_over_ms = phases.hand_over,
            read_ms = phases.read,
            prepare_ms = phases.prepare,
            resume_ms = phases.resume,
            "{text}"
        );
    } else {
        // Never summed up: the operator waits for it.
        error!("{text}");
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager could not be told");
    }
}
