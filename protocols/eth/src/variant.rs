//! The four ways of speaking, and which of them can serve which.

use serde::{Deserialize, Serialize};

/// A way of speaking, found from a miner's first complete request, or configured for a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Variant {
    /// getwork over TCP: `eth_submitLogin`, `eth_getWork`, results with id 0 as jobs.
    #[serde(rename = "ethproxy")]
    EthProxy,
    /// `EthereumStratum` without a version: the target stands in each job.
    #[serde(rename = "stratum")]
    Plain,
    /// `EthereumStratum/1.0.0` of `NiceHash`.
    #[serde(rename = "nicehash")]
    NiceHash,
    /// `EthereumStratum/2.0.0`, EIP-1571.
    #[serde(rename = "stratum2")]
    Stratum2,
}

impl Variant {
    /// All of them, in the order in which a miner that can do several had better be served.
    pub(crate) const ALL: [Self; 4] = [Self::EthProxy, Self::Plain, Self::NiceHash, Self::Stratum2];

    /// Names in the configuration, for messages.
    pub(crate) const LABELS: &'static str = "ethproxy, stratum, nicehash and stratum2";

    /// The name in the configuration.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::EthProxy => "ethproxy",
            Self::Plain => "stratum",
            Self::NiceHash => "nicehash",
            Self::Stratum2 => "stratum2",
        }
    }

    /// The variant of this name.
    pub(crate) fn of(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.label() == label)
    }

    /// Whether the pool fixes the head of every nonce. Shares of such a variant bear no mix digest.
    pub(crate) fn has_extranonce(self) -> bool {
        matches!(self, Self::NiceHash | Self::Stratum2)
    }

    /// Longest extranonce that a miner of this variant takes, in bytes.
    pub(crate) fn most_extranonce(self) -> usize {
        match self {
            Self::EthProxy | Self::Plain => 0,
            Self::NiceHash => 3,
            Self::Stratum2 => 6,
        }
    }

    /// Whether its messages have the form of JSON-RPC 2.0.
    pub(crate) fn is_jsonrpc(self) -> bool {
        self == Self::EthProxy
    }
}
