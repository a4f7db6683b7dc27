//! What a miner is like: its name, its pace, the order in which it introduces itself, and the way
//! it writes.

use std::net::IpAddr;
use std::time::Duration;

use super::handshake::Handshake;
use crate::chain::Chain;
use crate::decred::Form;

/// How lines get onto the wire.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Writing {
    /// One byte per write.
    ByteByByte,
    /// Lines end with CR LF.
    CarriageReturns,
    /// Shares are collected until ten lines can go out in one write.
    TenLinesAtOnce,
    /// Objects of one write follow each other without a line feed; only the last one has it, as
    /// nanominer does on its fee connections.
    Unseparated,
    /// What is ready goes out in one write.
    #[default]
    Whole,
}

/// Settings of a [`Miner`](super::Miner).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MinerConfig {
    /// The whole name, `sub_account.rig`.
    pub worker: String,
    /// Second parameter of authorize.
    pub password: String,
    /// Whose headers it builds.
    pub chain: Chain,
    /// The order in which it introduces itself, and how it numbers its requests.
    pub handshake: Handshake,
    /// Time between two shares; `None` for a miner that only submits on demand.
    pub share_interval: Option<Duration>,
    /// Stops after this many shares of its own.
    pub share_limit: Option<u64>,
    /// Hashes tried for a share before others get their turn.
    pub hashes_per_turn: u32,
    /// How lines get onto the wire.
    pub writing: Writing,
    /// Connects again this long after a disconnect.
    pub reconnect: Option<Duration>,
    /// Whether `client.reconnect` without a foreign host is obeyed.
    pub obeys_reconnect: bool,
    /// Whether a difficulty counts at once, also for the job at hand, as in many firmwares.
    pub difficulty_at_once: bool,
    /// No line for this long is a violation.
    pub silence_limit: Duration,
    /// Source address to connect from.
    pub source: Option<IpAddr>,
    /// Bytes sent before anything else, such as a PROXY header or junk.
    pub preface: Vec<u8>,
    /// A session id to offer in the first subscribe, as Antminers do with another pool's.
    pub session: Option<String>,
    /// Lines remembered.
    pub lines_kept: usize,
}

impl MinerConfig {
    /// A cgminer-like miner that finds a share every 20 ms and does not come back when dropped.
    pub fn new(worker: impl Into<String>) -> Self {
        Self {
            worker: worker.into(),
            password: "x".into(),
            chain: Chain::default(),
            handshake: Handshake::cgminer(),
            share_interval: Some(Duration::from_millis(20)),
            share_limit: None,
            hashes_per_turn: 20_000,
            writing: Writing::default(),
            reconnect: None,
            obeys_reconnect: true,
            difficulty_at_once: false,
            silence_limit: Duration::from_mins(1),
            source: None,
            preface: Vec::new(),
            session: None,
            lines_kept: 2_000,
        }
    }

    /// A Decred miner of this form that introduces itself as its software does.
    pub fn decred(worker: impl Into<String>, form: Form) -> Self {
        let handshake = match form {
            Form::Template => Handshake::cpuminer_multi(),
            Form::Appended | Form::AppendedWhole => Handshake::antminer_dr3(),
        };
        Self { chain: Chain::Decred(form), ..Self::new(worker).handshake(handshake) }
    }

    /// Sets the password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = password.into();
        self
    }

    /// Sets the order in which it introduces itself.
    #[must_use]
    pub fn handshake(mut self, handshake: Handshake) -> Self {
        self.handshake = handshake;
        self
    }

    /// Sets the time between two shares.
    #[must_use]
    pub fn share_every(mut self, interval: Duration) -> Self {
        self.share_interval = Some(interval);
        self
    }

    /// Submits on demand only.
    #[must_use]
    pub fn idle(mut self) -> Self {
        self.share_interval = None;
        self
    }

    /// Stops after `count` shares of its own.
    #[must_use]
    pub fn share_limit(mut self, count: u64) -> Self {
        self.share_limit = Some(count);
        self
    }

    /// Sets how lines get onto the wire.
    #[must_use]
    pub fn writing(mut self, writing: Writing) -> Self {
        self.writing = writing;
        self
    }

    /// Comes back this long after every disconnect.
    #[must_use]
    pub fn reconnecting(mut self, after: Duration) -> Self {
        self.reconnect = Some(after);
        self
    }

    /// Ignores `client.reconnect`, as `NerdMiner` does.
    #[must_use]
    pub fn ignoring_reconnect(mut self) -> Self {
        self.obeys_reconnect = false;
        self
    }

    /// Applies a difficulty at once instead of from the next job on.
    #[must_use]
    pub fn applying_difficulty_at_once(mut self) -> Self {
        self.difficulty_at_once = true;
        self
    }

    /// Calls no line for this long a violation.
    #[must_use]
    pub fn silence_limit(mut self, limit: Duration) -> Self {
        self.silence_limit = limit;
        self
    }

    /// Connects from this address.
    #[must_use]
    pub fn source(mut self, address: IpAddr) -> Self {
        self.source = Some(address);
        self
    }

    /// Sends these bytes before anything else.
    #[must_use]
    pub fn preface(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.preface = bytes.into();
        self
    }

    /// Offers this session id in its first subscribe.
    #[must_use]
    pub fn session(mut self, id: impl Into<String>) -> Self {
        self.session = Some(id.into());
        self
    }
}
