//! Everything a plug-in author sees: the two traits and their types. No I/O, no runtime, no clock.
//!
//! * [`StratumDialect`] is a way of speaking Stratum. It opens one [`DialectSession`] per miner, a
//!   value that owns all protocol state of that miner and of the pool connections behind it.
//! * [`CoinSource`] says which coin each sub-account shall mine.
//!
//! The cut between a dialect and the engine: *policy is the engine's* (where a miner goes, when,
//! retries, pacing, limits); *what is said on the wire is the dialect's*.
//!
//! # How a session is driven
//!
//! The engine reads bytes, asks [`DialectSession::cut`] for the next whole frame and gives it to
//! [`DialectSession::handle`]. Everything else that happens (a pool connection came up, the coin
//! changed, time passed) is an [`Input`] to the same function. All that a session wants done goes,
//! in order, into the [`Outbox`] as [`Action`]s; the engine carries them out before the next input.
//! Therefore a golden transcript, a fuzz input, a loaded plug-in and a live miner are the same thing.
//!
//! The life of a miner, as inputs and actions:
//!
//! 1. `Frame(Downstream)`… until the miner has said who it is: [`Action::Identify`].
//! 2. [`Input::Assigned`]: the coin source has spoken. (Or [`Input::Refused`].)
//! 3. [`Input::LegUp`]: a connection to a pool stands. The session does its handshake there,
//!    in `Frame(Upstream(leg))` and [`Action::Send`], and ends it with [`Action::LegReady`] or
//!    [`Action::LegRefused`].
//! 4. [`Input::CutOver`]: from this moment the miner is served by that leg. Everything the miner
//!    must be told about the new pool goes down in answer to this one input.
//! 5. To switch, the engine repeats 3 and 4 with a second leg. The leg that was left stays open
//!    ("lingers") for late shares and their answers until [`Input::LegGone`]; a switch back may
//!    cut over to it again.
//! 6. [`Input::LegDown`] tells that a leg was lost. The session answers what was outstanding there.
//!
//! `LegReady` may be sent again for a leg that has been left, and must be before the engine will
//! return to it.

pub mod dialect;
pub mod fault;
pub mod frame;
pub mod outbox;
pub mod source;
#[cfg(feature = "testing")]
pub mod testing;
pub mod types;

pub use dialect::{
    Adopted, DialectSession, HandBack, Input, ListenerView, Past, PoolView, Profile, ProfileError,
    Recognition, Refusal, ResumeError, Saved, Seat, SessionSeat, StratumDialect, UpstreamSettings,
};
pub use fault::{Fault, FaultKind};
pub use frame::Cut;
pub use outbox::{Action, Keeper, Outbox, ReconnectHint};
pub use source::{
    Assignment, BoardWriter, CoinSource, Notice, SourceContext, SourceError, SourceState, Wanted,
};
pub use types::{
    Coin, LegId, Millis, Retry, Rung, Rungs, SessionId, ShortIds, Side, SubAccount, Verdict,
    WorkerName,
};
