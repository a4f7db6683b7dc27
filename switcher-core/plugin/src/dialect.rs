//! The trait of dialects and what goes in and out of it besides frames.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::frame::Cut;
use crate::outbox::Outbox;
use crate::types::{
    Coin, LegId, Millis, Rung, Rungs, SessionId, ShortIds, Side, SubAccount, WorkerName,
};

/// One way of speaking Stratum. Holds no state of any session; one instance serves all shards.
pub trait StratumDialect: fmt::Debug + Send + Sync + 'static {
    /// The key in the configuration (`btc`).
    fn name(&self) -> &str;

    /// Dialects of one family can serve each other's legs: a session opened by one accepts the
    /// profiles of another (`bitcoin` for BTC and BCH).
    fn family(&self) -> &str;

    /// Whether a miner's first bytes are this dialect's. Consumes nothing. Must decide on a whole
    /// first frame at the latest.
    fn recognise(&self, first: &[u8]) -> Recognition;

    /// What a leg to this pool needs, worked out once from its configuration.
    ///
    /// # Errors
    ///
    /// A setting of the pool is wrong; the error names its key and what would be accepted.
    fn profile(&self, upstream: &UpstreamSettings<'_>) -> Result<Profile, ProfileError>;

    /// Checks the dialect's own options of a listener, so that a mistake is told at the start.
    ///
    /// # Errors
    ///
    /// As for [`StratumDialect::profile`].
    fn check_listener(&self, options: &serde_json::Value) -> Result<(), ProfileError>;

    /// The versions of saved state that [`StratumDialect::resume`] reads and
    /// [`DialectSession::save`] writes.
    fn state_versions(&self) -> RangeInclusive<u16>;

    /// What the short ids of its sessions are like. Dialects of one family say the same.
    fn short_ids(&self) -> ShortIds {
        ShortIds::WIDE
    }

    /// A session at its beginning.
    fn open(&self, seat: Seat<'_>) -> Box<dyn DialectSession>;

    /// A session as it was when it was saved.
    ///
    /// # Errors
    ///
    /// The saved state is of a version this dialect does not read, or is damaged.
    fn resume(&self, seat: Seat<'_>, saved: &Saved)
    -> Result<Box<dyn DialectSession>, ResumeError>;

    /// A session that another program has relayed so far, byte by byte, without looking into it.
    ///
    /// # Errors
    ///
    /// This dialect adopts none, or not this one.
    fn adopt(&self, seat: Seat<'_>, past: &Past<'_>) -> Result<Adopted, ResumeError> {
        let _ = (seat, past);
        Err(ResumeError::Foreign("this dialect adopts no sessions of other programs".to_owned()))
    }
}

/// The protocol state of one miner and its legs.
pub trait DialectSession: fmt::Debug + Send {
    /// Finds the end of the next frame from `side`. Consumes nothing and changes nothing.
    fn cut(&self, side: Side, bytes: &[u8]) -> Cut;

    /// Takes one input. What is to be done about it goes into `out`.
    ///
    /// # Errors
    ///
    /// A fault that ends its side. What is in `out` by then is still carried out.
    fn handle(&mut self, now: Millis, input: Input<'_>, out: &mut Outbox) -> Result<(), Fault>;

    /// The whole state, in the given version (one of [`StratumDialect::state_versions`]) or in an
    /// earlier one that says as much, so that an earlier program can go on with what it knows.
    fn save(&self, version: u16) -> Saved;

    /// What a program needs that shall relay the miner and its leg byte by byte from here on. None
    /// unless [`Input::HandBack`] was given and such a program could serve the miner.
    fn hand_back(&self) -> Option<HandBack> {
        None
    }

    /// Names and values for the API and logs (`agent`, `extranonce1`, `difficulty` …).
    fn describe(&self, field: &mut dyn FnMut(&str, fmt::Arguments<'_>));
}

/// Everything that can happen to a session.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Input<'a> {
    /// The coin of the sub-account is known, or has changed. A leg may follow.
    Assigned {
        /// The coin.
        coin: &'a Coin,
        /// The sub-account as its source spells it; used in user names towards pools.
        canonical_name: &'a str,
    },
    /// From here on the miner is served by this leg, which was [`LegReady`](crate::Action::LegReady).
    CutOver(LegId),
    /// A whole frame, terminator included.
    Frame(Side, &'a [u8]),
    /// A program that knows nothing of jobs and ids shall relay the miner and its leg soon, see
    /// [`DialectSession::hand_back`]. The miner is brought to work that needs nothing rewritten.
    HandBack,
    /// The leg was lost.
    LegDown(LegId),
    /// The engine has closed the leg, as planned.
    LegGone(LegId),
    /// A connection to a pool stands and nothing was sent on it yet.
    LegUp {
        /// The new leg.
        leg: LegId,
        /// From [`StratumDialect::profile`] of the pool's dialect.
        profile: &'a Profile,
        /// 0 at first; one more after each [`Retry::NextForm`](crate::Retry::NextForm).
        form: u8,
        /// The rungs it may use.
        rungs: Rungs,
    },
    /// The answer to [`Recall`](crate::Action::Recall), before any other input.
    Recalled(Option<&'a str>),
    /// There will be no leg for now. The session answers what the miner waits for.
    Refused(Refusal),
    /// The time asked for with [`WakeAt`](crate::Action::WakeAt) has come.
    Wake,
}

/// Why a session gets no leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// The limit of sessions or of waiting registrations is reached.
    Busy,
    /// No source has said anything about the sub-account in time.
    NoAssignment,
    /// The assigned coin is not configured here, or not in this family.
    NoSuchCoin,
    /// No pool of the coin can be reached.
    NoPool,
    /// The registration of the sub-account was refused or not finished in time.
    NotRegistered,
    /// No source knows the sub-account.
    UnknownSubAccount,
}

impl Refusal {
    /// The name used in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NoAssignment => "no_assignment",
            Self::NoSuchCoin => "no_such_coin",
            Self::NoPool => "no_pool",
            Self::NotRegistered => "not_registered",
            Self::UnknownSubAccount => "unknown_sub_account",
        }
    }
}

/// Answer of [`StratumDialect::recognise`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognition {
    /// This dialect's.
    Mine,
    /// Cannot tell yet.
    NeedMore,
    /// Not this dialect's.
    NotMine,
}

/// Who sits at the downstream end of a session.
#[derive(Debug, Clone, Copy)]
pub enum Seat<'a> {
    /// A miner.
    Miner(SessionSeat<'a>),
    /// Nobody: the session shall connect to one pool, [`Learn`](crate::Action::Learn) what it is
    /// like, and [`Close`](crate::Action::Close). Gets one `LegUp`, never `CutOver`.
    Probe(SessionSeat<'a>),
}

impl<'a> Seat<'a> {
    /// What both kinds have.
    pub fn session(self) -> SessionSeat<'a> {
        match self {
            Self::Miner(seat) | Self::Probe(seat) => seat,
        }
    }
}

/// What a session is told about itself when it begins.
#[derive(Debug, Clone, Copy)]
pub struct SessionSeat<'a> {
    /// Its number.
    pub session: SessionId,
    /// A number that no other live session of the whole fleet has: the server id on top (0 if there
    /// is none), an index below, see [`StratumDialect::short_ids`]. What BTCPool's sserver calls the
    /// session id.
    pub short_id: u32,
    /// 16 bytes nobody can guess, for session ids told to miners. A dialect has no randomness of
    /// its own, so that a transcript is the same every time.
    pub entropy: [u8; 16],
    /// The miner's address as seen by the engine.
    pub peer: Option<std::net::IpAddr>,
    /// The listener it came by.
    pub listener: &'a ListenerView,
}

/// A listener as its sessions see it. Made anew when something was learnt about a pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListenerView {
    /// Name in the configuration.
    pub name: String,
    /// The dialect's own options of this listener: a JSON object, or null.
    pub options: serde_json::Value,
    /// Every pool that sessions of this listener may meet.
    pub pools: Vec<PoolView>,
}

/// A pool as sessions see it before they have met it.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolView {
    /// Name in the configuration.
    pub name: String,
    /// Its coin.
    pub coin: Coin,
    /// From [`StratumDialect::profile`].
    pub profile: Profile,
    /// What sessions have learnt about it, JSON text.
    pub fact: Option<Arc<str>>,
}

/// A pool's configuration as far as it is the dialect's business.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamSettings<'a> {
    /// Name of the pool.
    pub name: &'a str,
    /// Its coin.
    pub coin: &'a Coin,
    /// Template of the user name sent to the pool, if configured.
    pub user: Option<&'a str>,
    /// Template of the password sent to the pool, if configured.
    pub password: Option<&'a str>,
    /// The dialect's own options: a JSON object, or null.
    pub options: &'a serde_json::Value,
}

/// What a leg to a pool needs: plain data in a form of the dialect's own, written by
/// [`StratumDialect::profile`] and read at `LegUp` by a session of the same family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Profile(pub Arc<[u8]>);

/// What is known of a session that another program has relayed so far. Both streams may stand in
/// the middle of a line, and the pool may owe answers to requests that nobody has seen.
///
/// [`SessionSeat::short_id`] is the id that the miner was told and the pool has adopted.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// The time.
    pub now: Millis,
    /// The leg that serves it.
    pub leg: LegId,
    /// What the leg's pool is like.
    pub profile: &'a Profile,
    /// Its coin.
    pub coin: &'a Coin,
    /// The request the miner has subscribed with, as JSON text; the other program may have changed
    /// it for the pool.
    pub subscribe: &'a str,
    /// The request the miner has logged in with, as JSON text.
    pub authorize: &'a str,
    /// The version bits that the miner wants to roll, 0 for none.
    pub version_mask: u32,
}

/// A session that was adopted.
#[derive(Debug)]
pub struct Adopted {
    /// The session; its miner is served by the leg, by this rung.
    pub session: Box<dyn DialectSession>,
    /// By which rung.
    pub rung: Rung,
    /// What is assigned.
    pub sub_account: SubAccount,
    /// The whole name of the miner.
    pub worker: WorkerName,
}

/// What a relaying program needs to know of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandBack {
    /// The leg that serves it; all others are closed.
    pub leg: LegId,
    /// The id that the miner was told and the pool has adopted.
    pub short_id: u32,
    /// A request to subscribe with, as JSON text.
    pub subscribe: String,
    /// A request to log in with, as JSON text.
    pub authorize: String,
    /// The version bits that the miner may roll, 0 for none.
    pub version_mask: u32,
}

/// Saved state of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Version of its form, counted by the dialect.
    pub version: u16,
    /// The state; JSON text by convention, so that it can be read in a bug report.
    pub state: String,
}

/// A setting that a dialect cannot work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}; {accepted}")]
pub struct ProfileError {
    /// The key, below the pool or the listener.
    pub key: String,
    /// What is wrong with its value.
    pub problem: String,
    /// What would be accepted.
    pub accepted: String,
}

/// Saved state that cannot be resumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// The state does not read.
    #[error("saved state does not read: {0}")]
    Damaged(String),
    /// It is another program's, and cannot be carried on.
    #[error("{0}")]
    Foreign(String),
    /// Written by a version that this one does not read.
    #[error("saved state has version {found}, this dialect reads {first} to {last}")]
    Version {
        /// Version of the state.
        found: u16,
        /// Oldest version read.
        first: u16,
        /// Newest version read.
        last: u16,
    },
}
