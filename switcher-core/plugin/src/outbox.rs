//! What a session asks the engine to do, and the reusable buffer it asks in.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::sync::{Arc, Weak};

use crate::fault::Fault;
use crate::types::{LegId, Millis, Retry, Rung, Side, SubAccount, Verdict, WorkerName};

/// One wish of a session. The engine carries them out in the order given.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// The session cannot follow the assignment, and staying is all that can be done.
    CannotMove {
        /// For the log and the API.
        why: Box<str>,
    },
    /// End the session once everything sent down before has been written.
    Close {
        /// For the log.
        why: Box<str>,
    },
    /// The current frame, or a part of it, was dropped and is to be counted as this fault.
    Disregard(Fault),
    /// Pass the frame being handled on to that side, unchanged.
    Forward(Side),
    /// The miner has said who it is. Sent once, and again only after [`Retry::Login`].
    Identify {
        /// What is to be assigned to a coin.
        sub_account: SubAccount,
        /// The whole name.
        worker: WorkerName,
    },
    /// A new job came on that leg. The engine gives up pools that send none.
    Job(LegId),
    /// Remember this about the pool of that leg, across sessions and restarts. One fact per pool,
    /// as JSON text; the last one wins. Comes back in [`PoolView::fact`](crate::PoolView::fact).
    Learn {
        /// The leg whose pool it is about.
        leg: LegId,
        /// JSON text.
        fact: Box<str>,
    },
    /// The leg has all that is needed to serve the miner, by this rung.
    LegReady(LegId, Rung),
    /// The leg cannot serve the miner. The engine closes it.
    LegRefused {
        /// The leg.
        leg: LegId,
        /// What to do about it.
        retry: Retry,
        /// For the log and the API.
        why: Box<str>,
    },
    /// Asks for the note stored under this key and removes it. Answered by
    /// [`Input::Recalled`](crate::Input::Recalled) before any other input. The last one counts, and
    /// what answers a note may ask for another; who goes on so for more than eight has failed.
    Recall {
        /// As given to [`Action::Remember`].
        key: Box<str>,
    },
    /// Keep a note for a later session of this family, which is expected within minutes: that of
    /// the miner that is about to be sent back to us. Outlives an upgrade.
    Remember {
        /// Something that only this miner can say, or as near to it as can be had.
        key: Box<str>,
        /// The dialect's own text.
        note: Box<str>,
    },
    /// Replace this leg by a new one to the same coin (make before break), as its pool asked for
    /// it or it can no longer serve the miner. A leg that was left is not returned to.
    ReplaceLeg {
        /// The leg.
        leg: LegId,
        /// For the log.
        why: Box<str>,
        /// Where the pool wants us to go. A hint: the engine follows it within one domain only.
        hint: Option<ReconnectHint>,
    },
    /// Bytes for a side: a range of [`Outbox::bytes`].
    Send(Side, Range<usize>),
    /// A share was answered.
    Share {
        /// The leg that judged it; `None` if we had to answer it ourselves without one.
        leg: Option<LegId>,
        /// The answer.
        verdict: Verdict,
        /// Difficulty of the share's job as its pool counts it, 0 if unknown.
        difficulty: f64,
    },
    /// A share went up on that leg and its answer is outstanding.
    Submitted(LegId),
    /// Give [`Input::Wake`](crate::Input::Wake) at this time. Replaces an earlier wish.
    WakeAt(Millis),
}

/// Where a pool's `client.reconnect` points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconnectHint {
    /// Host name or address.
    pub host: Box<str>,
    /// TCP port.
    pub port: u16,
}

/// Actions and the bytes they refer to. One per shard, emptied by the engine after each input, so
/// that nothing is allocated per frame.
#[derive(Debug, Default)]
pub struct Outbox {
    actions: Vec<Action>,
    bytes: Vec<u8>,
    keeper: Keeper,
}

impl Outbox {
    /// An empty outbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an action.
    pub fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Sends a copy of `bytes` to `to`.
    pub fn send(&mut self, to: Side, bytes: &[u8]) {
        self.send_with(to, |arena| arena.extend_from_slice(bytes));
    }

    /// Sends what `write` appends to the arena. It must only append.
    pub fn send_with(&mut self, to: Side, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        debug_assert!(self.bytes.len() >= start, "send_with may only append");
        match self.actions.last_mut() {
            // Neighbouring sends to one side are one piece, so that they are one write.
            Some(Action::Send(side, range)) if *side == to && range.end == start => {
                range.end = self.bytes.len();
            }
            _ => self.actions.push(Action::Send(to, start..self.bytes.len())),
        }
    }

    /// Stores `bytes` for later. Equal bytes stored by sessions of one shard are one allocation:
    /// a pool sends the same job to all its miners.
    pub fn keep(&mut self, bytes: &[u8]) -> Arc<[u8]> {
        self.keeper.keep(bytes)
    }

    /// The actions so far.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// The arena that [`Action::Send`] refers to.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of one [`Action::Send`]; empty if the range is not one of this outbox.
    pub fn sent(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    /// Takes the actions out, for the engine; give the vector back to [`Outbox::reset`].
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Empties the outbox and takes back the vector that [`Outbox::take_actions`] gave out.
    pub fn reset(&mut self, mut actions: Vec<Action>) {
        actions.clear();
        self.actions = actions;
        self.bytes.clear();
    }

    /// Empties the outbox.
    pub fn clear(&mut self) {
        self.actions.clear();
        self.bytes.clear();
    }
}

/// Stores equal byte strings once, for as long as anybody holds them.
#[derive(Debug, Default)]
pub struct Keeper {
    by_hash: HashMap<u64, Weak<[u8]>>,
    sweep_at: usize,
    hasher: std::hash::RandomState,
}

impl Keeper {
    /// The stored equal of `bytes`.
    pub fn keep(&mut self, bytes: &[u8]) -> Arc<[u8]> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(bytes);
        let hash = hasher.finish();
        if let Some(kept) = self.by_hash.get(&hash).and_then(Weak::upgrade)
            && *kept == *bytes
        {
            return kept;
        }
        // Entries nobody holds any more go when the map has doubled since the last sweep.
        if self.by_hash.len() >= self.sweep_at {
            self.by_hash.retain(|_, kept| kept.strong_count() > 0);
            self.sweep_at = (self.by_hash.len() * 2).max(64);
        }
        let kept: Arc<[u8]> = Arc::from(bytes);
        self.by_hash.insert(hash, Arc::downgrade(&kept));
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_sends_to_one_side_become_one() {
        let mut out = Outbox::new();

        out.send(Side::Downstream, b"ab");
        out.send(Side::Downstream, b"cd");
        out.send(Side::Upstream(LegId(1)), b"ef");

        assert_eq!(
            out.actions(),
            [Action::Send(Side::Downstream, 0..4), Action::Send(Side::Upstream(LegId(1)), 4..6)]
        );
        assert_eq!(out.sent(&(0..4)), b"abcd");
    }

    #[test]
    fn equal_bytes_are_kept_once_and_dropped_bytes_are_forgotten() {
        let mut keeper = Keeper::default();

        let first = keeper.keep(b"job");
        assert!(Arc::ptr_eq(&first, &keeper.keep(b"job")));
        for n in 0_u32..10_000 {
            keeper.keep(&n.to_be_bytes());
        }

        assert!(keeper.by_hash.len() <= 64 + 1);
        assert!(Arc::ptr_eq(&first, &keeper.keep(b"job")));
    }
}
