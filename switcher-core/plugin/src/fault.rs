//! Misdeeds of a peer. Whose fault it is stands first; the kind is the metric label.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::Side;

/// What a peer did wrong. `Copy`, so that it can be counted without a thought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultKind {
    /// Bytes that are no frame of the dialect at all.
    BadFrame,
    /// A frame of the dialect with fields of the wrong type, number or size.
    BadParams,
    /// Nothing, or not enough, within the time allowed.
    Deadline,
    /// More outstanding requests or held data than one session may have.
    Excess,
    /// The plug-in that serves the session failed.
    PluginFailed,
    /// The peer stopped reading and its queue is full.
    SlowReader,
    /// A frame longer than the limit.
    TooLong,
    /// The rest of a frame whose beginning another program has passed on. Nobody's fault; counted.
    Torn,
    /// A frame that is legal, but not in this phase.
    Unexpected,
    /// An answer to something that was not asked.
    UnknownId,
    /// A first frame that no enabled dialect speaks.
    UnknownDialect,
}

impl FaultKind {
    /// The name used in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::BadFrame => "bad_frame",
            Self::BadParams => "bad_params",
            Self::Deadline => "deadline",
            Self::Excess => "excess",
            Self::PluginFailed => "plugin_failed",
            Self::SlowReader => "slow_reader",
            Self::TooLong => "too_long",
            Self::Torn => "torn",
            Self::Unexpected => "unexpected",
            Self::UnknownId => "unknown_id",
            Self::UnknownDialect => "unknown_dialect",
        }
    }

    /// All kinds, in the order of their labels.
    pub const ALL: [Self; 11] = [
        Self::BadFrame,
        Self::BadParams,
        Self::Deadline,
        Self::Excess,
        Self::PluginFailed,
        Self::SlowReader,
        Self::TooLong,
        Self::Torn,
        Self::Unexpected,
        Self::UnknownId,
        Self::UnknownDialect,
    ];
}

/// A misdeed and who did it.
///
/// As an `Err` of [`DialectSession::handle`](crate::DialectSession::handle) it ends that side: the
/// session if it was the miner, the leg if it was a pool. As
/// [`Action::Disregard`](crate::Action::Disregard) it is counted and the frame is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Fault {
    /// Whose fault it is.
    pub side: Side,
    /// What it is.
    pub kind: FaultKind,
}

impl Fault {
    /// A misdeed of the miner.
    pub fn downstream(kind: FaultKind) -> Self {
        Self { side: Side::Downstream, kind }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.side {
            Side::Downstream => write!(f, "{} by the miner", self.kind.label()),
            Side::Upstream(leg) => write!(f, "{} by the pool of leg {leg}", self.kind.label()),
        }
    }
}
