//! The sans-IO half of a session: who the miner is, which legs it has, where it shall go.
//!
//! Pure: no socket, no clock, no task. It is told what happened and the time, and asks its
//! [`Host`] to write, dial and close. *Policy* lives here; what is said on the wire is the
//! dialect's. The engine's socket half and the simulation in the tests drive it alike.
//!
//! Every entry point ends in `settle`, which is level-triggered: it looks at what is wanted and
//! what is there and takes the next step, until there is none. So the last instruction always
//! wins, in whatever phase it comes.

mod deadlines;
mod legs;
mod saved;
mod send_back;
mod steer;
#[cfg(test)]
mod tests;

use switcher_plugin::{
    Action, Coin, DialectSession, Fault, Input, LegId, Millis, Outbox, Profile, Refusal, Retry,
    Rung, Rungs, SessionId, Side, SubAccount, Verdict, WorkerName,
};

pub use legs::{Leg, Role};
pub(crate) use saved::Foundling;
pub use saved::{SavedLeg, SavedMachine};
pub use send_back::{Note, SentBack};

use crate::board::Standing;
use crate::plan::{Plan, PoolId};

/// Notes that a dialect may ask for on one input. A miner has two at the most; who asks for more
/// would ask for ever.
const MOST_RECALLS: usize = 8;

/// What the machine asks of the outside.
pub trait Host {
    /// Write to the miner or to the pool of a leg.
    fn write(&mut self, to: Side, bytes: &[u8]);

    /// Dial a pool for this leg. Answered later by [`Machine::leg_up`] or [`Machine::leg_failed`].
    fn dial(&mut self, leg: LegId, wish: &DialWish<'_>);

    /// Close a leg. Not answered. If all that went up on it was `answered`, a reset loses nothing.
    fn close_leg(&mut self, leg: LegId, answered: bool);

    /// The miner is this. Says what the board knows; later news comes by [`Machine::news`].
    fn identify(&mut self, sub_account: &SubAccount, worker: &WorkerName) -> Standing;

    /// The miner is nobody again.
    fn forget(&mut self, sub_account: &SubAccount);

    /// Keep a note for the session of the miner that is about to come back.
    fn remember(&mut self, key: &str, note: Note);

    /// The note kept under this key, which is given out once.
    fn recall(&mut self, key: &str) -> Option<Note>;

    /// Whether a pool that stands before this one in its coin's list may be tried.
    fn better_pool(&mut self, than: PoolId) -> bool;

    /// Whether descriptors are short, so that legs that were left should go early.
    fn descriptors_short(&self) -> bool;

    /// Something happened that is counted or logged.
    fn tell(&mut self, event: Event<'_>);
}

/// Which pool is wanted for a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialWish<'a> {
    /// A pool of this coin …
    pub coin: &'a Coin,
    /// … none of these …
    pub except: &'a [PoolId],
    /// … this one if it is given …
    pub exactly: Option<PoolId>,
    /// … and better than this one if it is given.
    pub better_than: Option<PoolId>,
    /// The session has a leg already, so this one needs a descriptor beyond the session's own.
    pub extra: bool,
}

/// Why a dial came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialError {
    /// This pool could not be reached; another one may be tried at once.
    Pool,
    /// No pool of the coin may be tried before this time.
    NoneBefore(Millis),
    /// The session has refused all pools of the coin, or there is none.
    NoneLeft,
}

/// What is counted or logged. The machine says each thing once.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// The assignment cannot be followed.
    CannotMove(&'a str),
    /// The miner is served by another leg from here on.
    CutOver {
        /// The leg before, if the miner had one.
        from: Option<(PoolId, &'a Coin)>,
        /// The pool.
        pool: PoolId,
        /// Its coin.
        coin: &'a Coin,
        /// By which rung.
        rung: Rung,
        /// Milliseconds since this leg was wanted.
        took: u64,
    },
    /// A frame was dropped as faulty.
    Disregarded(Fault),
    /// A pool's job came.
    Job(PoolId),
    /// A fact was learnt about a pool.
    Learnt(PoolId, &'a str),
    /// A leg was lost, and what that says about its pool.
    LegLost(PoolId, Blame, &'a str),
    /// A leg became ready.
    LegReady(PoolId),
    /// A leg was refused.
    LegRefused(PoolId, Retry, &'a str),
    /// The dialect did what none may do, which ends the session.
    PluginFailed(&'a str),
    /// The session was refused a leg.
    Refused(Refusal),
    /// The miner is sent away, to come back as a session that this pool can serve.
    SentBack {
        /// The pool.
        pool: PoolId,
        /// Its coin.
        coin: &'a Coin,
        /// By which rung.
        rung: Rung,
        /// How often it was sent back on its way to the coin, this time included.
        times: u8,
    },
    /// A share was answered.
    Share {
        /// The pool, `None` if we had to answer it without one.
        pool: Option<PoolId>,
        /// The answer.
        verdict: Verdict,
        /// Difficulty of its job.
        difficulty: f64,
    },
    /// A share went up.
    Submitted(PoolId),
}

/// What every entry point of the machine needs.
pub struct Cx<'a> {
    /// The time.
    pub now: Millis,
    /// Settings, coins and pools.
    pub plan: &'a Plan,
    /// The rungs of its listener.
    pub rungs: Rungs,
    /// The shard's outbox, empty between entries.
    pub outbox: &'a mut Outbox,
    /// The outside.
    pub host: &'a mut dyn Host,
}

/// What the loss of a leg says about its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// It did not finish a handshake: others should try the next pool first.
    Handshake,
    /// Nothing: a pool may close a connection.
    Nothing,
    /// It takes miners and does not serve them: others should keep away for longer.
    Service,
}

/// The end of a session, reached once what was written has been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// For the log.
    pub why: Box<str>,
    /// Reset the connection, so that the miner comes back at once.
    pub reset: bool,
}

/// Who the miner is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// What is assigned.
    pub sub_account: SubAccount,
    /// The whole name.
    pub worker: WorkerName,
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    id: SessionId,
    dialect: Box<dyn DialectSession>,
    family: Box<str>,
    opened: Millis,
    who: Option<Who>,
    /// Since when the miner waits to be assigned.
    waiting: Option<Millis>,
    /// What the board said and was not acted on yet.
    news: Option<Standing>,
    /// Where the session shall be. Sticks once it is set.
    coin: Option<Coin>,
    canonical: Option<Box<str>>,
    legs: Vec<Leg>,
    next_leg: u32,
    active: Option<LegId>,
    /// Since when the miner has had no active leg, once it has a coin.
    poolless: Option<Millis>,
    was_served: bool,
    retry: RetryState,
    wake: Option<Millis>,
    faults: u32,
    closing: Option<Closing>,
    /// It waits for another program to relay it; nothing is steered any more.
    handing_back: bool,
    trouble: Option<Box<str>>,
    last_share: Option<Millis>,
    accepted: u32,
    rejected: u32,
    sent: Option<Box<SentBack>>,
}

/// When and how the next leg is tried.
#[derive(Debug, Clone, Default)]
struct RetryState {
    failures: u32,
    at: Millis,
    /// The pool and form to try, after `NextForm`.
    form: Option<(PoolId, u8)>,
    /// Pools that can never serve this session.
    except: Vec<PoolId>,
    /// When to look for a better pool than the one in use.
    recheck: Millis,
    /// That no pool of the coin can serve the miner was reported.
    reported: bool,
}

impl Machine {
    /// A session at its beginning.
    pub fn new(
        id: SessionId,
        family: &str,
        dialect: Box<dyn DialectSession>,
        opened: Millis,
    ) -> Self {
        Self {
            id,
            dialect,
            family: family.into(),
            opened,
            who: None,
            waiting: None,
            news: None,
            coin: None,
            canonical: None,
            legs: Vec::new(),
            next_leg: 1,
            active: None,
            poolless: None,
            was_served: false,
            retry: RetryState::default(),
            wake: None,
            faults: 0,
            closing: None,
            handing_back: false,
            trouble: None,
            last_share: None,
            accepted: 0,
            rejected: 0,
            sent: None,
        }
    }

    /// Its number.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The protocol half, for cutting frames and describing.
    pub fn dialect(&self) -> &dyn DialectSession {
        &*self.dialect
    }

    /// Who the miner is, once it has said so.
    pub fn who(&self) -> Option<&Who> {
        self.who.as_ref()
    }

    /// Where the session shall be.
    pub fn coin(&self) -> Option<&Coin> {
        self.coin.as_ref()
    }

    /// Its legs.
    pub fn legs(&self) -> &[Leg] {
        &self.legs
    }

    /// The leg that serves the miner.
    pub fn active(&self) -> Option<&Leg> {
        self.active.and_then(|id| self.leg(id))
    }

    /// Set when the session shall end.
    pub fn closing(&self) -> Option<&Closing> {
        self.closing.as_ref()
    }

    /// What stands in the way of the assignment, if anything.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// When the last share was answered, and how many were accepted and rejected.
    pub fn shares(&self) -> (Option<Millis>, u32, u32) {
        (self.last_share, self.accepted, self.rejected)
    }

    /// A whole frame came from `side`.
    pub fn frame(&mut self, side: Side, frame: &[u8], cx: &mut Cx<'_>) {
        if self.closing.is_some() {
            return;
        }
        if let Side::Upstream(leg) = side {
            let Some(leg) = self.leg_mut(leg) else { return };
            leg.last_line = cx.now;
        }
        self.feed(Input::Frame(side, frame), frame, cx);
        self.settle(cx);
    }

    /// The connection that was asked for with [`Host::dial`] stands.
    pub fn leg_up(&mut self, id: LegId, pool: PoolId, profile: &Profile, cx: &mut Cx<'_>) {
        let Some(leg) = self.leg_mut(id) else { return };
        leg.pool = Some(pool);
        leg.role = Role::Greeting;
        leg.since = cx.now;
        leg.last_line = cx.now;
        leg.last_job = cx.now;
        let (form, coin) = (leg.form, leg.coin.clone());
        let rungs = self.rungs_to(&coin, cx);
        self.feed(Input::LegUp { leg: id, profile, form, rungs }, &[], cx);
        self.settle(cx);
    }

    /// The dial came to nothing.
    pub fn leg_failed(&mut self, id: LegId, error: &DialError, cx: &mut Cx<'_>) {
        self.on_leg_failed(id, error, cx);
        self.settle(cx);
    }

    /// The pool closed the leg, or its connection broke.
    pub fn leg_lost(&mut self, id: LegId, why: &str, cx: &mut Cx<'_>) {
        self.lose(id, Blame::Nothing, why, cx);
        self.settle(cx);
    }

    /// The board has news of the sub-account.
    pub fn news(&mut self, standing: Standing, cx: &mut Cx<'_>) {
        if self.who.is_some() {
            self.news = Some(standing);
            self.settle(cx);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, cx: &mut Cx<'_>) {
        if self.closing.is_some() {
            return;
        }
        self.check_deadlines(cx);
        self.settle(cx);
    }

    /// Another program shall relay the session soon. True if it can; from then on the session stays
    /// with its leg whatever the board says, until it is frozen.
    pub fn hand_back(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.closing.is_some() || self.active.is_none() {
            return false;
        }
        self.feed(Input::HandBack, &[], cx);
        self.handing_back = self.closing.is_none() && self.dialect.hand_back().is_some();
        self.handing_back
    }

    /// The session shall end, by the operator's will or as the miner has misbehaved.
    pub fn close(&mut self, why: &str, reset: bool) {
        if self.closing.is_none() {
            self.closing = Some(Closing { why: why.into(), reset });
        }
    }

    /// The dialect did what none may do.
    pub(crate) fn plugin_failed(&mut self, what: &str, cx: &mut Cx<'_>) {
        cx.host.tell(Event::PluginFailed(what));
        self.close(&format!("the dialect {what}"), false);
    }

    /// Gives an input to the dialect, and the notes that it asks for on it.
    fn feed(&mut self, input: Input<'_>, frame: &[u8], cx: &mut Cx<'_>) {
        let mut wanted = self.feed_once(input, frame, cx);
        for _ in 0..MOST_RECALLS {
            let Some(key) = wanted else { return };
            let note = self.recall(&key, cx);
            wanted = self.feed_once(Input::Recalled(note.as_deref()), &[], cx);
        }
        if wanted.is_some() {
            self.plugin_failed("recalls again and again", cx);
        }
    }

    /// Gives one input to the dialect and carries out its actions. Changes of legs are only noted
    /// here; `settle` acts on them. Returns the key of the note that is asked for.
    fn feed_once(&mut self, input: Input<'_>, frame: &[u8], cx: &mut Cx<'_>) -> Option<Box<str>> {
        let result = self.dialect.handle(cx.now, input, cx.outbox);
        let mut actions = cx.outbox.take_actions();
        let mut wanted = None;
        for action in actions.drain(..) {
            match action {
                Action::Recall { key } => wanted = Some(key),
                action => self.carry_out(action, frame, cx),
            }
        }
        cx.outbox.reset(actions);
        if let Err(fault) = result {
            cx.host.tell(Event::Disregarded(fault));
            match fault.side {
                Side::Downstream => self.close(&fault.to_string(), false),
                Side::Upstream(leg) => self.doom(leg, Retry::Later, fault.to_string()),
            }
        }
        wanted
    }

    fn carry_out(&mut self, action: Action, frame: &[u8], cx: &mut Cx<'_>) {
        match action {
            Action::Send(to, range) => cx.host.write(to, cx.outbox.sent(&range)),
            Action::Forward(to) => cx.host.write(to, frame),
            Action::Submitted(leg) => self.on_submitted(leg, cx),
            Action::Share { leg, verdict, difficulty } => {
                self.count_share(leg, verdict, difficulty, cx);
            }
            Action::Job(leg) => self.on_job(leg, cx),
            // The board would hold the first name for ever.
            Action::Identify { .. } if self.who.is_some() => {
                self.plugin_failed("identifies a second time", cx);
            }
            Action::Identify { sub_account, worker } => {
                let standing = cx.host.identify(&sub_account, &worker);
                self.who = Some(Who { sub_account, worker });
                self.waiting = Some(cx.now);
                self.news = Some(standing);
            }
            Action::LegReady(leg, rung) => self.on_leg_ready(leg, rung, cx),
            Action::LegRefused { leg, retry, why } => self.doom(leg, retry, why),
            // The hint is not followed: the configured addresses of a pool are the only ones an
            // operator has approved.
            Action::ReplaceLeg { leg, why, hint: _ } => self.on_replace(leg, why),
            Action::CannotMove { why } => {
                cx.host.tell(Event::CannotMove(&why));
                self.trouble = Some(why);
            }
            Action::Learn { leg, fact } => {
                if let Some(pool) = self.leg(leg).and_then(|leg| leg.pool) {
                    cx.host.tell(Event::Learnt(pool, &fact));
                }
            }
            Action::Remember { key, note } => self.remember(&key, note, cx),
            Action::WakeAt(at) => self.wake = Some(at),
            Action::Disregard(fault) => {
                cx.host.tell(Event::Disregarded(fault));
                if fault.side == Side::Downstream {
                    self.faults += 1;
                    if self.faults > cx.plan.limits.faults {
                        self.close("too many faulty frames", false);
                    }
                }
            }
            Action::Close { why } => self.close(&why, false),
            _ => debug_assert!(false, "an action this engine does not know"),
        }
    }

    fn count_share(
        &mut self,
        leg: Option<LegId>,
        verdict: Verdict,
        difficulty: f64,
        cx: &mut Cx<'_>,
    ) {
        self.last_share = Some(cx.now);
        match verdict {
            Verdict::Accept => self.accepted = self.accepted.saturating_add(1),
            _ => self.rejected = self.rejected.saturating_add(1),
        }
        let mut pool = None;
        if let Some(leg) = leg.and_then(|leg| self.leg_mut(leg)) {
            leg.outstanding = leg.outstanding.saturating_sub(1);
            leg.oldest_submit = cx.now;
            pool = leg.pool;
        }
        cx.host.tell(Event::Share { pool, verdict, difficulty });
    }
}
