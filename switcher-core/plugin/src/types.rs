//! Names and numbers that both sides of the plug-in border use. Plain values, no behaviour.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// What is being mined, as named in the configuration (`btc`, `bch`). Compared exactly.
    Coin
}
name! {
    /// The part of a worker name before the first dot; the unit that is assigned to a coin.
    SubAccount
}
name! {
    /// The whole name a miner logged in with, `sub.rig`.
    WorkerName
}

/// Milliseconds of `CLOCK_MONOTONIC`: survives a re-exec, unlike `std::time::Instant`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// The instant `ms` milliseconds later; saturates.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds passed since `earlier`, 0 if that lies ahead.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Number of a session, unique in the life of the process and across its upgrades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Number of a leg within its session: counts up with each dial, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LegId(pub u32);

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One end of a session: the miner, or one of its legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The miner.
    Downstream,
    /// The pool at the other end of this leg.
    Upstream(LegId),
}

/// How a leg serves a miner that was not connected for this pool. Ordered best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rung {
    /// The pool uses the very extranonce the miner has. Nothing is rewritten but ids.
    Echo,
    /// The pool's extranonce1 is folded into the coinbase. The miner sees nothing.
    Fold,
    /// The miner is told the new extranonce with `mining.set_extranonce`.
    Announce,
    /// The miner is sent back to us with `client.reconnect`.
    Reconnect,
    /// The miner's connection is reset, and it comes back.
    Drop,
}

impl Rung {
    /// The name used in metrics, logs and the API.
    pub fn label(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Fold => "fold",
            Self::Announce => "announce",
            Self::Reconnect => "reconnect",
            Self::Drop => "drop",
        }
    }
}

/// What became of one share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The pool accepted it.
    Accept,
    /// The leg that issued its job is gone; we answered 21 ourselves.
    Orphan,
    /// No pool to send it to at the moment; we answered with an error ourselves.
    Poolless,
    /// The pool refused it, with this code (0 if it gave none; 21 is stale).
    Reject(i32),
    /// The leg went away while it was outstanding; we answered with an error ourselves.
    Unanswered,
}

/// What a refused leg means for the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// The pool refused the login the miner gave, and the miner has been told. The session is
    /// without an identity again; the miner may authorize anew.
    Login,
    /// Try the same pool again at once on a new connection with the next handshake form.
    NextForm,
    /// This session can never be served by this pool (no room to fold, wrong algorithm …).
    Permanent,
    /// May work later.
    Later,
    /// The pool refuses this user. May work later, for all sessions of the user alike.
    User,
}
