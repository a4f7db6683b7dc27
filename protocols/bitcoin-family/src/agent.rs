//! `BTCAgent`: one connection for up to 65,535 miners, with binary frames between the lines.
//!
//! Only `BTCPool`'s sserver understands the frames, so agents are served by echo pools alone. All that
//! an agent has told its pool lives in the connection, and is told again to each new pool: its
//! sub-miners are registered there before it takes over. A pool judges shares of a sub-miner only on
//! jobs that it sent after it had registered it (btccom/btcpool, `StratumMinerBitcoin.cc`, `jobDiffs_`),
//! so a job from before is not handed on if it can be helped.
//!
//! * `frame` – the frames; `jobs` – the bytes that jobs are called by; `roster` – the sub-miners;
//!   `shares` – shares that wait for an answer
//! * `down` – what an agent says in frames; `up` – what a pool says in them; this module – the state,
//!   and where an agent's session differs from others

mod down;
pub(crate) mod frame;
mod jobs;
mod roster;
mod shares;
mod up;

use std::collections::BTreeMap;

use jsonrpc::{elements, members, string, text, write_notification};
use serde::{Deserialize, Serialize};
use switcher_plugin::{LegId, Millis, Outbox, Rung, Side};

use crate::extranonce::{Means, Own, Theirs};
use crate::jobs::{Label, Notify};
use crate::leg::Leg;
use crate::options::Sizes;
use crate::session::BitcoinSession;
use crate::version_rolling::write_mask;

pub(crate) use jobs::JobNames;
pub(crate) use roster::Roster;
pub(crate) use shares::Shares;

/// How the agents of agents begin, in lower case.
const PREFIX: &str = "btccom-agent/";

/// An agent puts two bytes of the sub-miner's number and four of its extranonce2 into 8 bytes, and
/// writes the pool's extranonce1 as 4 bytes (btccom/btcagent, `UpSessionBTC.go`).
const SIZES: Sizes = Sizes { size1: 4, size2: 8 };

/// What agents and we call the answers to shares.
const SUBMIT_RESPONSES: &[u8] = b"subres";

/// What sserver can do, and so can we.
const CAPABILITIES: &[u8] = br#"["verrol","subres"]"#;

/// How long a leg waits for a job that counts for the sub-miners before it says that it is ready.
/// sserver sends one every 30 s, more than the engine gives a handshake; for the rest the agent goes
/// on with the jobs of the leg that it leaves.
const JOB_PATIENCE_MS: u64 = 10_000;

/// What is known about an agent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct BtcAgent {
    /// It wants its shares answered; else it answers its miners itself.
    pub(crate) wants_answers: bool,
    /// The mask it was told, which unlike other miners it has to be.
    pub(crate) mask_told: Option<u32>,
    /// The index of its next share.
    pub(crate) next_share: u16,
    pub(crate) roster: Roster,
    pub(crate) jobs: JobNames,
    /// Registrations that were not taken.
    pub(crate) refused: u64,
}

/// What is known about a leg of an agent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct AgentLeg {
    /// Sub-miners below this number were registered.
    pub(crate) registered_below: u32,
    /// When the pool had all of them.
    pub(crate) complete_at: Option<Millis>,
    /// A job came after that.
    pub(crate) has_good_job: bool,
    /// It was cut over to it without such a job: the agent still has those of the leg before.
    pub(crate) holds_back: bool,
    /// Difficulties of sub-miners, as powers of 2.
    pub(crate) difficulties: BTreeMap<u16, u8>,
    pub(crate) shares: Shares,
}

impl AgentLeg {
    /// Whether the pool has been told about this sub-miner, if the agent has one of this number.
    pub(crate) fn has_heard_of(&self, sid: u16) -> bool {
        u32::from(sid) < self.registered_below
    }

    /// Whether this can be; for state that was saved.
    pub(crate) fn is_sound(&self) -> bool {
        self.shares.is_sound() && self.difficulties.values().all(|exponent| *exponent < 64)
    }
}

impl BtcAgent {
    /// Whether this can be; for state that was saved.
    pub(crate) fn is_sound(&mut self) -> bool {
        self.roster.recount() && self.jobs.is_sound()
    }
}

/// Whether a miner that calls itself so is an agent.
pub(crate) fn is_agent(name: &str) -> bool {
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Whether a list or an object of capabilities has answers to shares among them.
pub(crate) fn has_answers(capabilities: &[u8]) -> bool {
    elements(capabilities).any(|one| string(one) == Some(SUBMIT_RESPONSES))
}

/// Whether sserver's answer to `agent.get_capabilities` has answers to shares among them.
pub(crate) fn grants_answers(result: &[u8]) -> bool {
    members(result).any(|(name, list)| &*name == "capabilities" && has_answers(list))
}

impl BitcoinSession {
    /// The extranonce sizes of an agent; no others will do.
    pub(crate) fn agent_sizes(&self) -> Option<Sizes> {
        self.state.btcagent.as_ref().map(|_| SIZES)
    }

    /// By which rung a pool with this extranonce serves the miner.
    ///
    /// # Errors
    ///
    /// It cannot; the text says why.
    pub(crate) fn rung_at(&self, theirs: &Theirs, own: Own, means: Means) -> Result<Rung, String> {
        match theirs.rung(own, means) {
            Ok(rung) if rung != Rung::Echo && self.state.btcagent.is_some() => {
                Err("an agent's frames are understood by sserver only, which adopts the \
                     extranonce1 that we propose; the pool has one of its own"
                    .to_owned())
            }
            rung => rung,
        }
    }

    /// `agent.get_capabilities`. Agents of version 2 ask before anything else and go on when one line
    /// has come back, so it cannot be known yet who asks. sserver's answer has no `error`.
    pub(crate) fn capabilities(
        &mut self,
        id: &[u8],
        params: &[u8],
        out: &mut Outbox,
    ) -> Result<(), switcher_plugin::Fault> {
        if let Some(agent) = &mut self.state.btcagent {
            agent.wants_answers = elements(params).next().is_some_and(has_answers);
        } else if self.state.subscribed {
            return self.grant(id, b"{\"capabilities\":[]}", out);
        }
        self.reply(id, out, |arena| {
            arena.extend_from_slice(b"{\"id\":");
            arena.extend_from_slice(id);
            arena.extend_from_slice(b",\"result\":{\"capabilities\":");
            arena.extend_from_slice(CAPABILITIES);
            arena.extend_from_slice(b"}}\n");
        })
    }

    /// Tells an agent the mask as soon as it has configured and subscribed, as sserver does. Agents
    /// do not look at the answer to configure, and the older ones look at nothing after login.
    pub(crate) fn greet_agent(&mut self, out: &mut Outbox) -> Result<(), switcher_plugin::Fault> {
        let Some(masks) = self.state.masks.filter(|_| self.state.subscribed) else { return Ok(()) };
        let Some(agent) = &mut self.state.btcagent else { return Ok(()) };
        if agent.mask_told.replace(masks.told) == Some(masks.told) {
            return Ok(());
        }
        let mut params = vec![b'['];
        write_mask(&mut params, masks.told);
        params.push(b']');
        self.reply(b"null", out, |arena| {
            write_notification(arena, "mining.set_version_mask", &params);
        })
    }

    /// The name of a job that goes down, or `None` if it has one that the miner could not use.
    pub(crate) fn label(&mut self, leg: LegId, notify: &Notify<'_>, later: u32) -> Option<Label> {
        let Some(agent) = &mut self.state.btcagent else {
            return Some(self.leg(leg)?.tag().map_or(Label::Plain, Label::Tag));
        };
        let (id, time) = (notify.byte_id()?, notify.moved_time(later));
        Some(Label::Byte(agent.jobs.name(jobs::Issued { leg, id, time })))
    }

    /// Notes a new job of a leg. Returns whether its name is one that the miner could use.
    pub(crate) fn agent_job(&mut self, leg_id: LegId, notify: &Notify<'_>) -> bool {
        let Some(agent) = &mut self.state.btcagent else { return true };
        let Some(id) = notify.byte_id() else { return false };
        agent.jobs.reused(leg_id, id);
        if let Some(part) = self.leg(leg_id).and_then(Leg::btcagent) {
            part.has_good_job |= part.complete_at.is_some();
        }
        true
    }

    /// Whether what comes on this leg concerns the miner now.
    pub(crate) fn shows(&self, leg: LegId) -> bool {
        let holds_back = || {
            let leg = self.state.legs.iter().find(|other| other.id == leg);
            leg.and_then(Leg::agent_part).is_some_and(|part| part.holds_back)
        };
        self.state.active == Some(leg) && self.may_push() && !holds_back()
    }

    /// Whether shares of the sub-miners on the leg's job would be refused.
    pub(crate) fn lacks_good_job(&self, leg: &Leg) -> bool {
        let has_miners = self.state.btcagent.as_ref().is_some_and(|agent| agent.roster.len() > 0);
        has_miners && leg.agent_part().is_some_and(|part| !part.has_good_job)
    }

    /// Until when a leg of an agent is not ready. `None` if nothing is missing.
    pub(crate) fn agent_waits_until(&self, leg: &Leg) -> Option<Millis> {
        self.state.btcagent.as_ref()?;
        let complete_at = leg.agent_part().and_then(|part| part.complete_at);
        // Without its sub-miners it never is.
        let Some(complete_at) = complete_at else { return Some(Millis(u64::MAX)) };
        self.lacks_good_job(leg).then(|| complete_at.plus(JOB_PATIENCE_MS))
    }

    /// Whether the agent shall mine the jobs of the leg that was left until the new one has a job that
    /// counts for the sub-miners.
    pub(crate) fn holds_back(&mut self, leg_id: LegId, left: Option<LegId>) -> bool {
        let left_stands = left.is_some_and(|left| self.leg(left).is_some());
        let leg = self.state.legs.iter().find(|leg| leg.id == leg_id);
        let holds_back = left_stands && leg.is_some_and(|leg| self.lacks_good_job(leg));
        if let Some(part) = self.leg(leg_id).and_then(Leg::btcagent) {
            part.holds_back = holds_back;
        }
        holds_back
    }

    /// Hands the work of the active leg on that was held back, if there is a reason to.
    pub(crate) fn end_holding_back(&mut self, out: &mut Outbox) {
        let Some(active) = self.state.active else { return };
        let others_stand = self.state.legs.iter().any(|leg| leg.id != active && leg.flags.served);
        let Some(part) = self.leg(active).and_then(Leg::btcagent) else { return };
        if part.holds_back && (part.has_good_job || !others_stand) {
            part.holds_back = false;
            if self.may_push() {
                self.push_work(active, true, out);
            }
        }
    }

    /// Appends the difficulties of the sub-miners that the leg's pool has set. Sub-miners it has said
    /// nothing about get that of the whole leg, since agents look at the first `set_difficulty` of
    /// a connection only.
    pub(crate) fn push_sub_difficulties(
        &self,
        leg: LegId,
        in_force: Option<f64>,
        out: &mut Outbox,
    ) {
        let Some(agent) = &self.state.btcagent else { return };
        let leg = self.state.legs.iter().find(|other| other.id == leg);
        let Some(part) = leg.and_then(Leg::agent_part) else { return };
        let of_leg = in_force.and_then(exponent);
        let mut by_exponent: BTreeMap<u8, Vec<u16>> = BTreeMap::new();
        for sid in agent.roster.sids() {
            if let Some(exponent) = part.difficulties.get(&sid).copied().or(of_leg) {
                by_exponent.entry(exponent).or_default().push(sid);
            }
        }
        if by_exponent.is_empty() {
            return;
        }
        out.send_with(Side::Downstream, |arena| {
            for (exponent, sids) in &by_exponent {
                frame::write_difficulty(arena, *exponent, sids);
            }
        });
    }

    /// Whether an agent could go on at this leg if nobody read its frames. It wants the answers that
    /// the pool gives, counts its shares as the pool does, and has the pool's own jobs: it was never
    /// anywhere else.
    pub(crate) fn agent_needs_nobody(&self, leg: &Leg) -> bool {
        let Some(agent) = &self.state.btcagent else { return false };
        leg.agent_part().is_some_and(|part| {
            agent.wants_answers
                && part.complete_at.is_some()
                && !part.holds_back
                && agent.jobs.are_as_named_by(leg.id)
                && part.shares.are_in_step(agent.next_share)
        })
    }

    /// Names and values for the API.
    pub(crate) fn describe_agent(&self, field: &mut dyn FnMut(&str, std::fmt::Arguments<'_>)) {
        if let Some(agent) = &self.state.btcagent {
            field("sub_miners", format_args!("{}", agent.roster.len()));
            field("sub_miners_refused", format_args!("{}", agent.refused));
        }
    }

    /// Recognises an agent by what it calls itself, unless it has an extranonce already.
    pub(crate) fn recognise_agent(&mut self, params: &[u8]) {
        let name = elements(params).next().and_then(text);
        if self.state.own.is_none() && name.is_some_and(|name| is_agent(&name)) {
            self.state.btcagent.get_or_insert_default();
        }
    }
}

/// The power of 2 that is no larger than the difficulty, as sserver rounds; `None` below 1, which
/// agents cannot be told in a frame.
fn exponent(difficulty: f64) -> Option<u8> {
    (1.0..1.8e19).contains(&difficulty).then(|| {
        let mut exponent = 0;
        let mut rest = difficulty;
        while rest >= 2.0 {
            rest /= 2.0;
            exponent += 1;
        }
        exponent
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_known_by_the_start_of_their_name_in_any_case() {
        for (name, is_one) in [
            ("btccom-agent/2.0.0-mu", true),
            ("BTCcom-Agent/0.1", true),
            ("btccom-agent/huobi-1.0.1-editon/testacc", true),
            ("btccom-agent", false),
            ("cgminer btccom-agent/1", false),
            ("\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}", false),
            ("", false),
        ] {
            assert_eq!(is_agent(name), is_one, "{name}");
        }
    }

    #[test]
    fn capabilities_are_read_from_requests_and_answers() {
        assert!(has_answers(br#"["verrol", "subres"]"#));
        assert!(!has_answers(br#"["verrol"]"#) && !has_answers(b"[]") && !has_answers(b"null"));
        assert!(grants_answers(br#"{"capabilities":["aaa", "subres"]}"#));
        assert!(!grants_answers(br#"{"capabilities":["verrol"]}"#) && !grants_answers(b"true"));
    }

    #[test]
    fn a_difficulty_is_rounded_down_to_a_power_of_2() {
        for (difficulty, power) in [
            (1.0, Some(0)),
            (1.9, Some(0)),
            (2.0, Some(1)),
            (16_384.0, Some(14)),
            (20_000.0, Some(14)),
            (9.3e18, Some(63)),
            (0.5, None),
            (1e30, None),
            (f64::NAN, None),
        ] {
            assert_eq!(exponent(difficulty), power, "{difficulty}");
        }
    }
}
