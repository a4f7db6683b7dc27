//! The books of a pool: what each connection said, what became of its shares, what it did wrong.
//!
//! Books outlive their connection; a pool never forgets one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::Value;

use crate::lines::Ring;

/// How many refusals and violations are kept with their text. Their count has no limit.
const DETAILS_KEPT: usize = 1_000;

/// Why a share was refused, and with what words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Standard code, 20 to 25.
    pub code: i64,
    /// The judge's reason, more exact than the code.
    pub reason: String,
    /// The submit line.
    pub line: String,
}

/// The books of one connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionReport {
    /// Running number within the pool, from 0.
    pub number: usize,
    /// The other end.
    pub peer: SocketAddr,
    /// When it was accepted.
    pub opened_at: Instant,
    /// When its first name was authorized.
    pub authorized_at: Option<Instant>,
    /// When it ended.
    pub closed_at: Option<Instant>,
    /// Whether it is still connected.
    pub open: bool,
    /// How it ended, once it has.
    pub ending: Option<String>,
    /// Parameters of its subscribe, once made.
    pub subscribe_params: Option<Vec<Value>>,
    /// extranonce1 in force, in hex.
    pub extranonce1: String,
    /// Names it was authorized for, with the password given.
    pub authorized: BTreeMap<String, Option<String>>,
    /// Whether configure was asked and answered, and the mask in force.
    pub version_mask: Option<u32>,
    /// The last `mining.suggest_difficulty`, as given.
    pub suggested_difficulty: Option<Value>,
    /// Jobs sent.
    pub jobs_sent: u64,
    /// Shares taken.
    pub accepted: u64,
    /// Shares refused, by code.
    pub rejected: BTreeMap<i64, u64>,
    /// Submits deliberately left without an answer.
    pub ignored: u64,
    /// Sum of the difficulties of the jobs of accepted shares.
    pub difficulty_sum: f64,
    /// The first refusals in detail.
    pub refusals: Vec<Refusal>,
    /// Breaches of the protocol, counted.
    pub violation_count: u64,
    /// The first breaches in words.
    pub violations: Vec<String>,
    /// Accepted shares per name.
    pub accepted_by_name: BTreeMap<String, u64>,
    /// Last lines received and sent (`<` and `>` in front), oldest first.
    pub lines: Vec<String>,
}

impl ConnectionReport {
    /// Refused shares of all codes.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }
}

/// The books of a pool: sums over all its connections, ended ones included.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PoolReport {
    /// Connections accepted since the start.
    pub connections: u64,
    /// Those that are open.
    pub open: u64,
    /// Those that ended, for whatever reason.
    pub closed: u64,
    /// Those open with at least one authorized name.
    pub logged_in: u64,
    /// Shares taken.
    pub accepted: u64,
    /// Shares refused, by code.
    pub rejected: BTreeMap<i64, u64>,
    /// Submits deliberately left without an answer.
    pub ignored: u64,
    /// Sum of the difficulties of the jobs of accepted shares.
    pub difficulty_sum: f64,
    /// Refusals in detail, the first of each connection.
    pub refusals: Vec<Refusal>,
    /// Breaches of the protocol, with the connection's number in front.
    pub violations: Vec<String>,
    /// Accepted shares per name.
    pub accepted_by_name: BTreeMap<String, u64>,
}

impl PoolReport {
    /// Refused shares of all codes.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    pub(super) fn add(&mut self, book: &Book) {
        let report = &book.report;
        self.connections += 1;
        self.open += u64::from(report.open);
        self.closed += u64::from(!report.open);
        self.logged_in += u64::from(report.open && !report.authorized.is_empty());
        self.accepted += report.accepted;
        self.ignored += report.ignored;
        self.difficulty_sum += report.difficulty_sum;
        for (code, count) in &report.rejected {
            *self.rejected.entry(*code).or_default() += count;
        }
        for (name, count) in &report.accepted_by_name {
            *self.accepted_by_name.entry(name.clone()).or_default() += count;
        }
        self.refusals.extend(report.refusals.iter().cloned());
        self.violations.extend(
            report.violations.iter().map(|what| format!("connection {}: {what}", report.number)),
        );
    }
}

/// One connection's report in the making.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) report: ConnectionReport,
    pub(super) lines: Ring,
}

impl Book {
    pub(super) fn open(number: usize, peer: SocketAddr, lines_kept: usize) -> Self {
        let report = ConnectionReport {
            number,
            peer,
            opened_at: Instant::now(),
            authorized_at: None,
            closed_at: None,
            open: true,
            ending: None,
            subscribe_params: None,
            extranonce1: String::new(),
            authorized: BTreeMap::new(),
            version_mask: None,
            suggested_difficulty: None,
            jobs_sent: 0,
            accepted: 0,
            rejected: BTreeMap::new(),
            ignored: 0,
            difficulty_sum: 0.0,
            refusals: Vec::new(),
            violation_count: 0,
            violations: Vec::new(),
            accepted_by_name: BTreeMap::new(),
            lines: Vec::new(),
        };
        Self { report, lines: Ring::new(lines_kept) }
    }

    pub(super) fn violation(&mut self, what: impl Into<String>) {
        self.report.violation_count += 1;
        if self.report.violations.len() < DETAILS_KEPT {
            self.report.violations.push(what.into());
        }
    }

    pub(super) fn accept(&mut self, name: &str, difficulty: f64) {
        self.report.accepted += 1;
        self.report.difficulty_sum += difficulty;
        *self.report.accepted_by_name.entry(name.to_owned()).or_default() += 1;
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        *self.report.rejected.entry(refusal.code).or_default() += 1;
        if self.report.refusals.len() < DETAILS_KEPT {
            self.report.refusals.push(refusal);
        }
    }

    /// A copy for the reader, with the last lines in it.
    pub(super) fn copy(&self) -> ConnectionReport {
        ConnectionReport { lines: self.lines.to_vec(), ..self.report.clone() }
    }
}
