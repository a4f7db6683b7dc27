//! What a pool says in frames, and telling it about the sub-miners.

use switcher_plugin::{Action, Fault, FaultKind, LegId, Millis, Outbox, Retry, Side, Verdict};

use super::frame::{FromPool, MAX_SID, is_whole, write_register};
use super::{CAPABILITIES, grants_answers};
use crate::leg::{Ask, Leg};
use crate::session::BitcoinSession;

/// Most bytes of registrations before the pool is asked whether it has read them.
const PIECE: usize = 64 * 1024;

/// What sserver answers to shares that it takes; 0 and everything else is a refusal.
const ACCEPTED: [i32; 4] = [1_798_084_231, 950_395_421, 1_422_486_894, 1_713_984_938];

impl BitcoinSession {
    /// A frame from the pool of `leg`.
    ///
    /// # Errors
    ///
    /// Its length cannot be, so nothing behind it can be understood.
    pub(crate) fn pool_frame(
        &mut self,
        leg_id: LegId,
        frame: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let side = Side::Upstream(leg_id);
        if !is_whole(frame) {
            return Err(Fault { side, kind: FaultKind::BadFrame });
        }
        let is_shown = self.shows(leg_id);
        let Some(agent) = &self.state.btcagent else { return Ok(()) };
        let Some(leg) = self.state.legs.iter_mut().find(|leg| leg.id == leg_id) else {
            return Ok(());
        };
        let Some(part) = leg.btcagent() else { return Ok(()) };
        match FromPool::read(frame) {
            FromPool::Difficulty(exponent, listed) => {
                for sid in listed.iter().filter(|sid| agent.roster.has(*sid)) {
                    part.difficulties.insert(sid, exponent);
                }
                if is_shown {
                    out.push(Action::Forward(Side::Downstream));
                }
            }
            FromPool::Response(index, status) => {
                let answered = part.shares.answered(index, |sid| !agent.roster.has(sid));
                let Some((share, forgotten)) = answered else {
                    Self::disregard(out, side, FaultKind::UnknownId);
                    return Ok(());
                };
                let verdict = if ACCEPTED.contains(&status) {
                    Verdict::Accept
                } else {
                    Verdict::Reject(status)
                };
                let difficulty = share.difficulty;
                out.push(Action::Share { leg: Some(leg_id), verdict, difficulty });
                self.answer_share(share.index, status, out);
                self.leave_unanswered(leg_id, &forgotten, out);
            }
            FromPool::WrongSize => Self::disregard(out, side, FaultKind::BadParams),
            FromPool::Unknown => Self::disregard(out, side, FaultKind::Unexpected),
        }
        Ok(())
    }

    /// Registers the sub-miners at a pool that has accepted the login, piece by piece: the answer to
    /// the question behind each piece says that it was read, and behind the last that all are known.
    /// The question itself turns the answers to shares on, which sserver takes after login only.
    pub(crate) fn enrol(&mut self, leg_id: LegId, out: &mut Outbox) {
        let Some(agent) = &self.state.btcagent else { return };
        let Some(leg) = self.state.legs.iter_mut().find(|leg| leg.id == leg_id) else { return };
        let part = leg.start_btcagent();
        let first = u16::try_from(part.registered_below).unwrap_or(u16::MAX);
        let below = &mut part.registered_below;
        let mut piece = Vec::new();
        *below = u32::from(u16::MAX) + 1;
        for (sid, body) in agent.roster.from(first).filter(|_| first <= MAX_SID) {
            if piece.len() >= PIECE {
                *below = u32::from(sid);
                break;
            }
            write_register(&mut piece, sid, body);
        }
        if !piece.is_empty() {
            out.send(Side::Upstream(leg_id), &piece);
        }
        Self::ask(leg, Ask::Capabilities, b"", "agent.get_capabilities", out, |arena| {
            arena.push(b'[');
            arena.extend_from_slice(CAPABILITIES);
            arena.push(b']');
        });
    }

    /// The answer to our `agent.get_capabilities`.
    pub(crate) fn capabilities_answered(
        &mut self,
        now: Millis,
        leg_id: LegId,
        result: &[u8],
        out: &mut Outbox,
    ) {
        let Some(part) = self.leg(leg_id).and_then(Leg::btcagent) else { return };
        if part.complete_at.is_some() {
            return;
        }
        if !grants_answers(result) {
            let why = "the pool does not answer the shares of agents (no \"subres\")";
            return self.refuse_leg(leg_id, Retry::Permanent, why, out);
        }
        if part.registered_below <= u32::from(MAX_SID) {
            return self.enrol(leg_id, out);
        }
        part.complete_at = Some(now);
        self.ready_if_complete(now, leg_id, out);
    }
}
