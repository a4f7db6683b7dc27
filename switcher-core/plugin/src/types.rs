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
    /// All of them, best first.
    pub const ALL: [Self; 5] =
        [Self::Echo, Self::Fold, Self::Announce, Self::Reconnect, Self::Drop];

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

/// A set of rungs: what an operator, and the session's past, allow a leg to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rungs(u8);

impl Rungs {
    /// All of them.
    pub const ALL: Self = Self(0b1_1111);

    /// None of them.
    pub const NONE: Self = Self(0);

    /// The set and this one.
    #[must_use]
    pub const fn with(self, rung: Rung) -> Self {
        Self(self.0 | 1 << rung as u8)
    }

    /// The set without this one.
    #[must_use]
    pub const fn without(self, rung: Rung) -> Self {
        Self(self.0 & !(1 << rung as u8))
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it is in the set.
    pub const fn has(self, rung: Rung) -> bool {
        self.0 & 1 << rung as u8 != 0
    }
}

/// How the numbers below the server id in [`SessionSeat::short_id`](crate::SessionSeat::short_id)
/// are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortIds {
    /// Bits of the index, at most 24; the server id stands right above them.
    pub index_bits: u8,
    /// How far the next index is from the last one. More than 1 where neighbouring miners shall
    /// differ in more than the lowest byte.
    pub stride: u32,
}

impl ShortIds {
    /// 32 bits in all, one after another: what nearly all dialects want.
    pub const WIDE: Self = Self { index_bits: 24, stride: 1 };
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
