//! The books of a miner: its shares, the answers to them and everything that should not have come.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::lines::Ring;

/// How many refusals and violations are kept with their text.
const DETAILS_KEPT: usize = 1_000;

/// A refused share, as the miner was told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejection {
    /// The code of the error, 0 where there was none.
    pub code: i64,
    /// The line of the answer.
    pub answer: String,
}

/// What became of one submit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The pool took it.
    Accepted,
    /// The connection ended first.
    Lost,
    /// There was nothing to submit: no job, or no share found in a long while.
    NothingToSubmit,
    /// The pool refused it.
    Rejected(Rejection),
}

/// The books of a miner, over all its connections.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MinerReport {
    /// Whether it is connected.
    pub connected: bool,
    /// Connections made since the start.
    pub connections: u64,
    /// How the connections ended, the first thousand.
    pub disconnects: Vec<String>,
    /// Its own address on the newest connection: the same one proves the same connection.
    pub local_address: Option<SocketAddr>,
    /// Whether the newest connection is subscribed.
    pub subscribed: bool,
    /// The answer to the newest authorize of its own name.
    pub authorized: Option<bool>,
    /// The session id in the subscribe result.
    pub session: Option<String>,
    /// extranonce1 in force for the newest job, in hex.
    pub extranonce1: String,
    /// Bytes of extranonce2 in force for the newest job.
    pub extranonce2_size: usize,
    /// Mask in force; `None` without version rolling.
    pub version_mask: Option<u32>,
    /// Jobs received.
    pub jobs: u64,
    /// Clean jobs received.
    pub clean_jobs: u64,
    /// Id of the newest job.
    pub job_id: Option<String>,
    /// When the newest job came.
    pub job_at: Option<Instant>,
    /// Difficulty of the newest job.
    pub difficulty: Option<f64>,
    /// Difficulty told last, which counts from the next job on.
    pub told_difficulty: Option<f64>,
    /// Shares sent.
    pub submitted: u64,
    /// Shares taken.
    pub accepted: u64,
    /// Sum of the difficulties of the jobs of accepted shares.
    pub difficulty_sum: f64,
    /// Shares refused, by code.
    pub rejected: BTreeMap<i64, u64>,
    /// The first refusals in detail.
    pub rejections: Vec<Rejection>,
    /// Shares that wait for their answer.
    pub unanswered: u64,
    /// Shares whose connection ended before the answer.
    pub lost: u64,
    /// Breaches of the protocol, counted.
    pub violation_count: u64,
    /// The first breaches in words.
    pub violations: Vec<String>,
    /// Messages pushed before the first authorize answer. Legal, but cgminer copes only just.
    pub early_pushes: u64,
    /// `client.reconnect` requests received, as lines.
    pub reconnect_requests: Vec<String>,
    /// The longest a share waited for its answer.
    pub slowest_answer: Duration,
}

impl MinerReport {
    /// Refused shares of all codes.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Whether every share sent has exactly one outcome or still waits for it.
    pub fn adds_up(&self) -> bool {
        self.submitted == self.accepted + self.rejected_total() + self.unanswered + self.lost
    }
}

/// The report in the making.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) report: MinerReport,
    pub(super) lines: Ring,
}

impl Book {
    pub(super) fn new(lines_kept: usize) -> Self {
        Self { report: MinerReport::default(), lines: Ring::new(lines_kept) }
    }

    pub(super) fn violation(&mut self, what: impl Into<String>) {
        self.report.violation_count += 1;
        if self.report.violations.len() < DETAILS_KEPT {
            self.report.violations.push(what.into());
        }
    }

    pub(super) fn reject(&mut self, rejection: Rejection) {
        *self.report.rejected.entry(rejection.code).or_default() += 1;
        if self.report.rejections.len() < DETAILS_KEPT {
            self.report.rejections.push(rejection);
        }
    }

    pub(super) fn disconnected(&mut self, how: String) {
        self.report.connected = false;
        self.report.subscribed = false;
        if self.report.disconnects.len() < DETAILS_KEPT {
            self.report.disconnects.push(how);
        }
    }
}
