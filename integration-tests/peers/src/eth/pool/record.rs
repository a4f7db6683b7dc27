//! The books of a pool.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::pool::Refusal;

use crate::eth::config::Variant;

/// The books of one connection.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EthConnectionReport {
    /// Running number within the pool, from 0.
    pub number: usize,
    /// Whether it is still connected.
    pub open: bool,
    /// What is spoken on it, once that is known.
    pub variant: Option<Variant>,
    /// Parameters of its subscribe, once made.
    pub subscribe_params: Option<Value>,
    /// Prefix of the nonce in force, in hex.
    pub extranonce: String,
    /// The name it is logged in with.
    pub login: Option<String>,
    /// Shares taken.
    pub accepted: u64,
    /// … of which were hashed in earnest.
    pub really_hashed: u64,
    /// Shares refused, in detail.
    pub refusals: Vec<Refusal>,
    /// Breaches of the protocol in words.
    pub violations: Vec<String>,
    /// Last lines received and sent (`<` and `>` in front), oldest first.
    pub lines: Vec<String>,
}

/// The books of a pool: sums over all its connections, ended ones included.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EthPoolReport {
    /// Connections accepted since the start.
    pub connections: u64,
    /// Those open with a login.
    pub logged_in: u64,
    /// Shares taken.
    pub accepted: u64,
    /// … of which were hashed in earnest.
    pub really_hashed: u64,
    /// Shares refused.
    pub refusals: Vec<Refusal>,
    /// Breaches of the protocol, with the connection's number in front.
    pub violations: Vec<String>,
    /// Accepted shares per name.
    pub accepted_by_name: BTreeMap<String, u64>,
}

impl EthPoolReport {
    pub(super) fn add(&mut self, one: &EthConnectionReport) {
        self.connections += 1;
        self.logged_in += u64::from(one.open && one.login.is_some());
        self.accepted += one.accepted;
        self.really_hashed += one.really_hashed;
        self.refusals.extend(one.refusals.iter().cloned());
        self.violations
            .extend(one.violations.iter().map(|what| format!("connection {}: {what}", one.number)));
        if let Some(login) = one.login.as_ref().filter(|_| one.accepted > 0) {
            *self.accepted_by_name.entry(login.clone()).or_default() += one.accepted;
        }
    }
}
