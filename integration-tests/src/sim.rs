//! A simulation of sessions without sockets: the real machine and the real dialects between a
//! scripted miner and scripted pools, in virtual time, everything drawn from one seed.
//!
//! What happens is held against a reference that knows nothing of legs and phases, only the promises:
//! who may be closed, who is answered what, where a share goes, who is moved. A case is the same
//! every time it is played, so a seed that breaks a promise is a test. Not simulated: sockets, their
//! back pressure, shards, pacing of dials, names that a coin source spells differently.

mod books;
mod dice;
mod miner;
mod model;
mod outside;
mod pool;
mod scene;
mod stage;
mod storm;

use dice::Dice;
use stage::Stage;

/// By what means miners are brought to pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Those that they do not notice: `echo` and `fold`.
    Unnoticed,
    /// Those, and `announce` for miners that ask for it.
    Told,
    /// Those that they do not notice, and `reconnect`.
    SentBack,
}

/// What was played in a case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls of the machine.
    pub calls: u64,
    /// Freezes.
    pub freezes: u64,
    /// Sessions.
    pub sessions: u64,
    /// Shares that were found.
    pub shares: u64,
    /// Times that a miner was told another extranonce.
    pub told: u64,
    /// Times that a miner was sent back.
    pub sent_back: u64,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which and how.
    pub why: String,
    /// What happened before, if it was asked for.
    pub trace: Vec<String>,
}

/// Plays the case of a seed in this manner.
///
/// # Errors
///
/// A promise was broken.
pub fn play(seed: u64, manner: Manner, trace: bool) -> Result<Tally, Broken> {
    let mut stage = Stage::new(Dice::new(seed), manner, trace);
    for _ in 0..2 {
        stage.storm(50);
        stage.calm();
    }
    stage.leave();
    let tally = Tally {
        calls: stage.calls,
        freezes: stage.freezes,
        sessions: u64::from(stage.sessions),
        shares: stage.books.shares.len() as u64,
        told: stage.books.told,
        sent_back: stage.sent_back,
    };
    match stage.books.broken.take() {
        None => Ok(tally),
        Some(why) => Err(Broken { why, trace: stage.books.trace.take().unwrap_or_default() }),
    }
}
