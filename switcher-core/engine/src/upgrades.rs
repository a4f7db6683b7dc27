//! The book of upgrades: how often the program was replaced, and how the last attempt went.
//!
//! The engine only keeps it, shows it and lets it travel in the state. Whoever replaces the program
//! writes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpgradeResult {
    /// The new program serves.
    Done,
    /// The new program was found unfit before anything was touched.
    Refused,
    /// Sessions were frozen, and go on in the old program, which was never left.
    Failed,
    /// The new program ran, failed before it touched a socket, and gave all back to the old one.
    RolledBack,
    /// Written by another version.
    #[serde(other)]
    Unknown,
}

impl UpgradeResult {
    /// Every one that is counted.
    pub const ALL: [Self; 4] = [Self::Done, Self::Refused, Self::Failed, Self::RolledBack];

    /// As in metrics and the API.
    pub fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a pause went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// Until all sessions were at rest.
    pub freeze: u64,
    /// Writing the state, and the exec.
    pub hand_over: u64,
    /// Reading and checking state and sockets.
    pub read: u64,
    /// Configuration, plug-ins, listeners: up to where there was no way back.
    pub prepare: u64,
    /// Until all sessions were taken up again.
    pub resume: u64,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeReport {
    /// Times the program was replaced since it was first started.
    pub generation: u64,
    /// When it ended, in seconds since 1970.
    pub at: u64,
    /// Version of the program before.
    pub from: String,
    /// Version of the new one, if it got as far as telling.
    pub to: Option<String>,
    /// Sessions that were carried over.
    pub sessions: usize,
    /// How long they were not served, in milliseconds.
    pub pause_ms: u64,
    /// Where it went, if the new program serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phases: Option<Phases>,
    /// How it ended.
    pub result: UpgradeResult,
    /// Why it did not succeed.
    pub why: Option<String>,
}

/// All attempts, summed up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpgradeBook {
    /// Times the program was replaced.
    pub generation: u64,
    /// Attempts by result.
    pub results: BTreeMap<UpgradeResult, u64>,
    /// The last attempt.
    pub last: Option<UpgradeReport>,
}

impl UpgradeBook {
    /// Attempts so far.
    pub fn attempts(&self) -> u64 {
        self.results.values().sum()
    }

    /// Notes an attempt.
    pub fn note(&mut self, report: UpgradeReport) {
        self.generation = report.generation;
        *self.results.entry(report.result).or_default() += 1;
        self.last = Some(report);
    }
}

/// The book of a run, shared with whoever writes it.
#[derive(Debug, Clone, Default)]
pub struct Upgrades(Arc<Mutex<UpgradeBook>>);

impl Upgrades {
    pub(crate) fn new(book: UpgradeBook) -> Self {
        Self(Arc::new(Mutex::new(book)))
    }

    /// The book as it is.
    pub fn book(&self) -> UpgradeBook {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes an attempt.
    pub fn note(&self, report: UpgradeReport) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).note(report);
    }
}
