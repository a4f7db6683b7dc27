//! The state of one miner and the entry point for everything that happens to it.
//!
//! What is done about an input stands in the other modules, each of which extends [`EthSession`] for
//! one matter; this one only tells inputs apart and saves and describes the state.

use std::fmt;
use std::net::IpAddr;

use jsonrpc::{Raw, ScanError, scan};
use serde::{Deserialize, Serialize};
use switcher_plugin::{
    Action, Coin, Cut, DialectSession, Fault, FaultKind, HandBack, Input, LegId, Millis, Outbox,
    ResumeError, Saved, Seat, Side,
};

use crate::dialect::STATE_VERSION;
use crate::extranonce::Extranonce;
use crate::leg::{Goal, Leg};
use crate::login::{Login, Worker};
use crate::options::ListenerTerms;
use crate::profile::Fact;
use crate::seed::Known;
use crate::variant::Variant;

/// One miner and its legs.
#[derive(Debug)]
pub(crate) struct EthSession {
    pub(crate) state: State,
    pub(crate) terms: ListenerTerms,
    pub(crate) peer: Option<IpAddr>,
}

/// Everything that outlives an upgrade.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, all combinations occur")]
pub(crate) struct State {
    /// A session without a miner.
    pub(crate) probe: bool,
    pub(crate) short_id: u32,
    pub(crate) entropy: [u8; 16],
    /// What the miner speaks, once it has spoken.
    pub(crate) variant: Option<Variant>,
    /// What it says it is.
    pub(crate) agent: Option<Box<str>>,
    /// The protocol it has asked for.
    pub(crate) protocol: Option<Box<str>>,
    pub(crate) subscribed: bool,
    /// The id of a subscribe that waits for what the miner's pool gives.
    pub(crate) subscribing: Option<Raw>,
    /// The miner can be told another extranonce.
    pub(crate) extranonce_subscribed: bool,
    pub(crate) told: Told,
    pub(crate) login: Login,
    /// Answers that wait behind the answer to the login.
    pub(crate) held: Raw,
    /// The id of an `eth_getWork` that waits for work.
    pub(crate) wants_work: Option<Raw>,
    pub(crate) worker: Option<Worker>,
    pub(crate) canonical: Option<Box<str>>,
    pub(crate) coin: Option<Coin>,
    pub(crate) legs: Vec<Leg>,
    pub(crate) active: Option<LegId>,
    /// The miner has had a leg at some time …
    pub(crate) cut_once: bool,
    /// … and more than one.
    pub(crate) moved: bool,
    pub(crate) next_tag: u8,
    /// The seed seen last and its epoch.
    pub(crate) known_seed: Option<Box<Known>>,
    /// What this session has found out about pools, by their names.
    pub(crate) learnt: Vec<Learnt>,
}

/// What a session knows about a pool.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Learnt {
    /// Of the pool's name.
    pub(crate) pool: u32,
    pub(crate) fact: Option<Fact>,
    /// Ways of shaking hands, counted from the first, that ended without a word.
    pub(crate) silent: u8,
}

/// What the miner was told that counts for its next job.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) extranonce: Option<Extranonce>,
    pub(crate) goal: Option<Goal>,
    pub(crate) seed: Option<crate::seed::Seed>,
}

impl EthSession {
    pub(crate) fn open(seat: Seat<'_>) -> Self {
        let session = seat.session();
        let state = State {
            probe: matches!(seat, Seat::Probe(_)),
            short_id: session.short_id,
            entropy: session.entropy,
            variant: None,
            agent: None,
            protocol: None,
            subscribed: false,
            subscribing: None,
            extranonce_subscribed: false,
            told: Told::default(),
            login: Login::None,
            held: Raw::default(),
            wants_work: None,
            worker: None,
            canonical: None,
            coin: None,
            legs: Vec::new(),
            active: None,
            cut_once: false,
            moved: false,
            next_tag: 0,
            known_seed: None,
            learnt: Vec::new(),
        };
        Self { state, terms: ListenerTerms::of(session.listener), peer: session.peer }
    }

    pub(crate) fn resume(seat: Seat<'_>, saved: &str) -> Result<Self, ResumeError> {
        let damaged = |why: String| ResumeError::Damaged(why);
        let state: State =
            serde_json::from_str(saved).map_err(|error| damaged(error.to_string()))?;
        if !state.legs.iter().all(Leg::is_sound) {
            return Err(damaged("a size is out of its range".to_owned()));
        }
        let session = seat.session();
        Ok(Self { state, terms: ListenerTerms::of(session.listener), peer: session.peer })
    }

    /// The leg with this id.
    pub(crate) fn leg(&mut self, id: LegId) -> Option<&mut Leg> {
        self.state.legs.iter_mut().find(|leg| leg.id == id)
    }

    /// The leg that serves the miner.
    pub(crate) fn active_leg(&self) -> Option<&Leg> {
        self.state.legs.iter().find(|leg| Some(leg.id) == self.state.active)
    }

    /// A tag that no job of a living leg has.
    pub(crate) fn new_tag(&mut self) -> u8 {
        // More epochs than tags cannot live: a few legs of sixteen each.
        loop {
            let tag = self.state.next_tag;
            self.state.next_tag = tag.wrapping_add(1);
            if self.state.legs.iter().all(|leg| leg.epoch(tag).is_none()) {
                return tag;
            }
        }
    }

    /// Counts a misdeed whose frame is dropped.
    pub(crate) fn disregard(out: &mut Outbox, side: Side, kind: FaultKind) {
        out.push(Action::Disregard(Fault { side, kind }));
    }

    fn frame(
        &mut self,
        now: Millis,
        side: Side,
        frame: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        if self.pass_rest(side, frame, out) || self.relay(side, frame, out)? {
            return Ok(());
        }
        let message = match scan(frame) {
            Ok(message) => message,
            Err(ScanError::Blank) => return Ok(()),
            Err(_) => {
                Self::disregard(out, side, FaultKind::BadFrame);
                return Ok(());
            }
        };
        if !message.garbage.is_empty() {
            Self::disregard(out, side, FaultKind::BadFrame);
        }
        match side {
            Side::Downstream => self.miner_said(frame, &message, out),
            Side::Upstream(leg) => self.pool_said(now, leg, frame, &message, out),
        }
    }
}

impl State {
    /// Whether the miner's agent begins so, in any case.
    pub(crate) fn agent_starts_with(&self, start: &str) -> bool {
        let head = self.agent.as_deref().and_then(|agent| agent.get(..start.len()));
        head.is_some_and(|head| head.eq_ignore_ascii_case(start))
    }

    /// The id told to the miner and to sserver, three bytes.
    pub(crate) fn id6(&self) -> String {
        format!("{:06x}", self.short_id & 0x00ff_ffff)
    }
}

impl DialectSession for EthSession {
    fn cut(&self, side: Side, bytes: &[u8]) -> Cut {
        if let Some(cut) = self.cut_frame(side, bytes) {
            return cut;
        }
        match side {
            Side::Downstream => Cut::object_or_line(bytes),
            Side::Upstream(_) => Cut::line(bytes),
        }
    }

    fn handle(&mut self, now: Millis, input: Input<'_>, out: &mut Outbox) -> Result<(), Fault> {
        match input {
            Input::Assigned { coin, canonical_name } => self.assigned(coin, canonical_name),
            Input::CutOver(leg) => self.cut_over(now, leg, out),
            Input::Frame(side, frame) => return self.frame(now, side, frame, out),
            Input::HandBack => self.prepare_hand_back(now, out),
            Input::LegDown(leg) | Input::LegGone(leg) => return self.leg_lost(leg, out),
            Input::LegUp { leg, profile, form, rungs } => {
                self.leg_up(now, leg, profile, form, rungs, out);
            }
            Input::Recalled(note) => return self.recalled(note, out),
            Input::Refused(refusal) => self.refused(refusal, out),
            Input::Wake => self.wake(now, out),
            _ => {}
        }
        Ok(())
    }

    fn save(&self, _version: u16) -> Saved {
        let state = serde_json::to_string(&self.state)
            .expect("the state is plain data with text keys and finite numbers");
        Saved { version: STATE_VERSION, state }
    }

    fn hand_back(&self) -> Option<HandBack> {
        self.to_hand_back()
    }

    fn describe(&self, field: &mut dyn FnMut(&str, fmt::Arguments<'_>)) {
        let state = &self.state;
        if let Some(variant) = state.variant {
            field("variant", format_args!("{}", variant.label()));
        }
        if let Some(agent) = &state.agent {
            field("agent", format_args!("{agent}"));
        }
        field("session_id", format_args!("{}", state.id6()));
        if let Some(extranonce) = state.told.extranonce {
            field("extranonce", format_args!("{extranonce}"));
        }
        field("extranonce_subscribed", format_args!("{}", state.extranonce_subscribed));
        if let Some(coin) = &state.coin {
            field("assigned", format_args!("{coin}"));
        }
        let Some(leg) = self.active_leg() else { return };
        field("pool_variant", format_args!("{}", leg.way.variant.label()));
        field("outstanding", format_args!("{}", leg.outstanding.len()));
        if let Ok(rung) = self.rung(leg) {
            field("rung", format_args!("{}", rung.label()));
        }
        if let Some(job) = &leg.job {
            let goal = job.terms.goal.unwrap_or(Goal::DEFAULT);
            field("difficulty", format_args!("{}", goal.difficulty()));
            field("target", format_args!("{}", goal.target()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        // One session, one leg, its names and an agent: what a miner that mines takes besides the
        // job line, which sessions share, and the last jobs of an ETHProxy miner.
        let all = size_of::<EthSession>()
            + size_of::<Leg>()
            + 3 * "alice.rig-0001".len()
            + 2 * size_of::<usize>()
            + "\"x\"".len()
            + "ethminer-0.19.0".len();

        assert!(all <= 900, "{all} bytes");
    }
}
