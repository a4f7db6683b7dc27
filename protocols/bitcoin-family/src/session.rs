//! The state of one miner and the entry point for everything that happens to it.
//!
//! What is done about an input stands in the other modules, each of which extends [`BitcoinSession`]
//! for one matter; this one only tells inputs apart and saves and describes the state.

use std::fmt;
use std::net::IpAddr;

use jsonrpc::{ScanError, scan, write_reply, write_string};
use serde::{Deserialize, Serialize};
use stratum_common::miner;
use switcher_plugin::{
    Action, Coin, Cut, DialectSession, Fault, FaultKind, HandBack, Input, LegId, Millis, Outbox,
    ResumeError, Rung, Rungs, Saved, Seat, Side,
};

use crate::agent::{BtcAgent, frame};
use crate::dialect::OLD_STATE_VERSION;
use crate::extranonce::{Means, Own, Theirs, choose_sizes, write_in_force};
use crate::flavour::Flavour;
use crate::jobs::TAGS;
use crate::leg::Leg;
use crate::login::{Login, Worker};
use crate::options::{Known, ListenerTerms, Sizes};
use crate::quirks::Quirks;
use crate::raw::Raw;
use crate::returning::Recalling;
use crate::version_rolling::Masks;

/// One miner and its legs.
#[derive(Debug)]
pub(crate) struct BitcoinSession {
    pub(crate) state: State,
    pub(crate) terms: ListenerTerms,
    pub(crate) peer: Option<IpAddr>,
}

/// Everything that outlives an upgrade.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, all combinations occur")]
pub(crate) struct State {
    /// A session without a miner, which looks at one pool and ends.
    pub(crate) probe: bool,
    pub(crate) short_id: u32,
    /// The session id told to the miner.
    pub(crate) entropy: [u8; 16],
    pub(crate) agent: Agent,
    /// The extranonce told at subscribe, once there is one.
    pub(crate) own: Option<Own>,
    /// The extranonce of a pool that the miner was told since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) told: Option<Box<Theirs>>,
    /// A subscribe that waits for what is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recalling: Option<Box<Recalling>>,
    pub(crate) subscribed: bool,
    /// The miner has asked for `mining.set_extranonce`.
    pub(crate) extranonce_subscribed: bool,
    pub(crate) masks: Option<Masks>,
    pub(crate) suggestion: Option<Box<Suggestion>>,
    pub(crate) login: Login,
    /// Answers that wait behind the answer to authorize.
    pub(crate) held: Raw,
    pub(crate) workers: Vec<Worker>,
    pub(crate) canonical: Option<Box<str>>,
    pub(crate) coin: Option<Coin>,
    pub(crate) legs: Vec<Leg>,
    pub(crate) active: Option<LegId>,
    /// The miner has had a leg at some time.
    pub(crate) cut_once: bool,
    pub(crate) next_tag: u16,
    /// What this session has found out about pools, and the listener did not know.
    pub(crate) learnt: Vec<Known>,
    /// The miner is a `BTCAgent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) btcagent: Option<Box<BtcAgent>>,
}

/// What a miner says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Agent {
    Named(Box<str>),
    /// It has given something that is no text.
    Odd,
    Silent,
}

impl Agent {
    /// The name; empty if there is none.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Named(agent) => agent,
            Self::Odd | Self::Silent => "",
        }
    }
}

/// What the miner would like as difficulty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suggestion {
    /// It is a target, not a difficulty.
    pub(crate) target: bool,
    pub(crate) params: Raw,
}

impl State {
    /// Whether the state is more than the first version of its form can say.
    fn needs_version_2(&self) -> bool {
        let is_new = |leg: &Leg| {
            leg.ready_by.is_some_and(|rung| !matches!(rung, Rung::Echo | Rung::Fold))
                || leg.has_told_epochs()
        };
        self.btcagent.is_some()
            || self.told.is_some()
            || self.recalling.is_some()
            || self.legs.iter().any(is_new)
    }

    /// The session id told to the miner, in hex.
    pub(crate) fn session_id(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.entropy))
    }

    /// An error of ours. The original's codes have the number of the switcher in the third place.
    pub(crate) fn error(&self, code: i32, why: &str) -> Vec<u8> {
        let mut error = format!("[{code},").into_bytes();
        write_string(&mut error, why);
        let server = self.short_id >> 24;
        let third = match code {
            101..=105 | 201 | 301 | 302 if server > 0 => server.to_string(),
            _ => "null".to_owned(),
        };
        error.extend_from_slice(format!(",{third}]").as_bytes());
        error
    }
}

impl BitcoinSession {
    pub(crate) fn open(seat: Seat<'_>, flavour: &Flavour) -> Self {
        let session = seat.session();
        let state = State {
            probe: matches!(seat, Seat::Probe(_)),
            short_id: session.short_id,
            entropy: session.entropy,
            agent: Agent::Silent,
            own: None,
            told: None,
            recalling: None,
            subscribed: false,
            extranonce_subscribed: false,
            masks: None,
            suggestion: None,
            login: Login::None,
            held: Raw::default(),
            workers: Vec::new(),
            canonical: None,
            coin: None,
            legs: Vec::new(),
            active: None,
            cut_once: false,
            next_tag: 0,
            learnt: Vec::new(),
            btcagent: None,
        };
        let terms = ListenerTerms::of(session.listener, flavour);
        Self { state, terms, peer: session.peer }
    }

    pub(crate) fn resume(
        seat: Seat<'_>,
        saved: &str,
        flavour: &Flavour,
    ) -> Result<Self, ResumeError> {
        let damaged = |why: String| ResumeError::Damaged(why);
        let mut state: State =
            serde_json::from_str(saved).map_err(|error| damaged(error.to_string()))?;
        let is_sound = state.own.is_none_or(|own| own.is_sound(flavour.extranonce))
            && state.next_tag < TAGS
            && state.told.iter().all(|told| told.is_sound())
            && state.legs.iter().all(Leg::is_sound)
            && (state.legs.is_empty() || state.own.is_some() || state.probe)
            && state.btcagent.as_mut().is_none_or(|agent| agent.is_sound());
        if !is_sound {
            return Err(damaged("a size is out of its range".to_owned()));
        }
        let session = seat.session();
        let terms = ListenerTerms::of(session.listener, flavour);
        Ok(Self { state, terms, peer: session.peer })
    }

    /// The extranonce told to the miner, which is chosen when it is first needed.
    pub(crate) fn own(&mut self) -> Own {
        let agents = self.agent_sizes();
        let (terms, short_id, agent) = (&self.terms, self.state.short_id, self.state.agent.name());
        *self.state.own.get_or_insert_with(|| {
            let quirks = Quirks::of(agent, &terms.quirks);
            if let Some(form) = terms.form {
                return Own::in_header(short_id, form.for_miner(quirks));
            }
            let sizes = match (agents.or(terms.configured), terms.echo_size) {
                (Some(sizes), _) => sizes,
                (None, Some(size2)) => {
                    let size2 = quirks.extranonce2_size.unwrap_or(size2);
                    Sizes { size1: 4, size2: size2.max(quirks.extranonce2_least) }
                }
                (None, None) => choose_sizes(terms.smallest, quirks),
            };
            Own::new(short_id, sizes)
        })
    }

    /// What is known about the miner.
    pub(crate) fn quirks(&self) -> Quirks {
        Quirks::of(self.state.agent.name(), &self.terms.quirks)
    }

    /// What may be done for a pool without room, with these rungs allowed.
    pub(crate) fn means(&self, rungs: Rungs) -> Means {
        let subscribed = self.state.extranonce_subscribed;
        Means { rungs, subscribed, quirks: self.quirks() }
    }

    /// A tag that no job of a living leg has.
    pub(crate) fn new_tag(&mut self) -> u16 {
        // More epochs than tags cannot live: three legs of eight each.
        loop {
            let tags = self.state.tags();
            let tag = self.state.next_tag.max(tags.start);
            self.state.next_tag = if tag + 1 < tags.end { tag + 1 } else { tags.start };
            if self.state.legs.iter().all(|leg| leg.epoch(tag).is_none()) {
                return tag;
            }
        }
    }

    /// The leg with this id.
    pub(crate) fn leg(&mut self, id: LegId) -> Option<&mut Leg> {
        self.state.legs.iter_mut().find(|leg| leg.id == id)
    }

    /// The leg that serves the miner.
    pub(crate) fn active_leg(&self) -> Option<&Leg> {
        self.state.legs.iter().find(|leg| Some(leg.id) == self.state.active)
    }

    /// Sends an answer to the miner, in its turn.
    pub(crate) fn reply(
        &mut self,
        id: &[u8],
        out: &mut Outbox,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Fault> {
        let waits = self.state.login.held().is_some();
        miner::reply(id, waits.then_some(&mut self.state.held), out, write)
    }

    /// Sends the answer `result` to the miner.
    pub(crate) fn grant(
        &mut self,
        id: &[u8],
        result: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        self.reply(id, out, |arena| write_reply(arena, id, result, b"null"))
    }

    /// Sends an error to the miner.
    pub(crate) fn deny(
        &mut self,
        id: &[u8],
        code: i32,
        why: &str,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let error = self.state.error(code, why);
        self.reply(id, out, |arena| write_reply(arena, id, b"null", &error))
    }

    /// Counts a misdeed whose frame is dropped.
    pub(crate) fn disregard(out: &mut Outbox, side: Side, kind: FaultKind) {
        out.push(Action::Disregard(Fault { side, kind }));
    }

    /// Whether these bytes are a frame of an agent or for one, and not a line.
    fn is_agent_frame(&self, bytes: &[u8]) -> bool {
        self.state.btcagent.is_some() && bytes.first() == Some(&frame::MAGIC)
    }

    fn frame(
        &mut self,
        now: Millis,
        side: Side,
        frame: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        if self.pass_unseen(side, frame, out) || self.pass_rest(side, frame, out) {
            return Ok(());
        }
        if self.is_agent_frame(frame) {
            return match side {
                Side::Downstream => self.agent_frame(frame, out),
                Side::Upstream(leg) => self.pool_frame(leg, frame, out),
            };
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
            Side::Downstream => self.miner_said(now, &message, out),
            Side::Upstream(leg) => self.pool_said(now, leg, frame, &message, out),
        }
    }
}

impl DialectSession for BitcoinSession {
    fn cut(&self, side: Side, bytes: &[u8]) -> Cut {
        if self.state.is_unseen(side) {
            return if bytes.is_empty() { Cut::Partial } else { Cut::Frame(bytes.len()) };
        }
        if self.is_agent_frame(bytes)
            && let Some(cut) = frame::cut(bytes)
        {
            return cut;
        }
        match side {
            Side::Downstream => Cut::object_or_line(bytes),
            Side::Upstream(_) => Cut::line(bytes),
        }
    }

    fn handle(&mut self, now: Millis, input: Input<'_>, out: &mut Outbox) -> Result<(), Fault> {
        match input {
            Input::Assigned { coin, canonical_name } => {
                self.assigned(coin, canonical_name);
                Ok(())
            }
            Input::CutOver(leg) => {
                self.cut_over(now, leg, out);
                Ok(())
            }
            Input::Frame(side, frame) => self.frame(now, side, frame, out),
            Input::HandBack => {
                self.prepare_hand_back(now, out);
                Ok(())
            }
            Input::LegDown(leg) | Input::LegGone(leg) => self.leg_lost(leg, out),
            Input::LegUp { leg, profile, form, rungs } => {
                self.leg_up(leg, profile, form, rungs, out);
                Ok(())
            }
            Input::Recalled(note) => self.recalled(note, out),
            Input::Refused(refusal) => {
                self.refused(refusal, out);
                Ok(())
            }
            Input::Wake => {
                self.wake(now, out);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn save(&self, version: u16) -> Saved {
        let state = serde_json::to_string(&self.state)
            .expect("the state is plain data with text keys and finite numbers");
        // An earlier program reads all but what it cannot know; then it must not go on.
        let version = if self.state.needs_version_2() { version } else { OLD_STATE_VERSION };
        Saved { version, state }
    }

    fn hand_back(&self) -> Option<HandBack> {
        self.to_hand_back()
    }

    fn describe(&self, field: &mut dyn FnMut(&str, fmt::Arguments<'_>)) {
        let state = &self.state;
        if let Agent::Named(agent) = &state.agent {
            field("agent", format_args!("{agent}"));
        }
        field("session_id", format_args!("{}", state.session_id()));
        if let Some(own) = state.own {
            let mut hex = Vec::new();
            let size2 = write_in_force(own, state.told.as_deref(), &mut hex);
            field("extranonce1", format_args!("{}", String::from_utf8_lossy(&hex)));
            field("extranonce2_size", format_args!("{size2}"));
        }
        if let Some(masks) = state.masks {
            field("version_mask", format_args!("{:08x}", masks.current));
        }
        field("extranonce_subscribed", format_args!("{}", state.extranonce_subscribed));
        field("workers", format_args!("{}", state.workers.len()));
        self.describe_agent(field);
        if let Some(coin) = &state.coin {
            field("assigned", format_args!("{coin}"));
        }
        if let (Some(leg), Some(own)) = (self.active_leg(), state.own) {
            if let Some(rung) = leg.epoch.and_then(|epoch| epoch.rung(own)) {
                field("rung", format_args!("{}", rung.label()));
            }
            if let Some(difficulty) = leg.difficulty_in_force() {
                field("difficulty", format_args!("{difficulty}"));
            }
            field("outstanding", format_args!("{}", leg.outstanding.len()));
            if let Some(refusal) = leg.refusal() {
                field("last_refusal", format_args!("{refusal}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        // One session, one leg, one worker, its name and password, an agent and a fact: what a miner
        // that mines takes besides the job line, which sessions share.
        let all = size_of::<BitcoinSession>()
            + size_of::<Leg>()
            + size_of::<Worker>()
            + size_of::<Known>()
            + "alice.rig-0001".len()
            + 2 * size_of::<usize>()
            + "\"x\"".len()
            + "cgminer/4.11.1".len();

        assert!(all <= 640, "{all} bytes");
    }
}
