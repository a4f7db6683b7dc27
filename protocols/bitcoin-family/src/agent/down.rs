//! What an agent says in frames: sub-miners that come and go, and shares.

use switcher_plugin::{Action, Fault, FaultKind, LegId, Outbox, Side, Verdict};

use super::BtcAgent;
use super::frame::{FromAgent, Submit, is_whole, write_response};
use super::jobs::Issued;
use super::shares::Waiting;
use crate::leg::Leg;
use crate::login::Login;
use crate::session::BitcoinSession;

/// sserver's statuses that we answer with (btccom/btcpool, `StratumStatus`).
const JOB_NOT_FOUND: i32 = 21;
const UNAUTHORIZED: i32 = 24;
const INTERNAL_ERROR: i32 = 30;

impl BitcoinSession {
    /// A frame from the agent.
    ///
    /// # Errors
    ///
    /// Its length cannot be, so nothing behind it can be understood.
    pub(crate) fn agent_frame(&mut self, frame: &[u8], out: &mut Outbox) -> Result<(), Fault> {
        if !is_whole(frame) {
            return Err(Fault::downstream(FaultKind::BadFrame));
        }
        let Some(agent) = &mut self.state.btcagent else { return Ok(()) };
        if self.state.login != Login::Done {
            Self::disregard(out, Side::Downstream, FaultKind::Unexpected);
            return Ok(());
        }
        match FromAgent::read(frame) {
            FromAgent::Register(sid, body) => {
                if agent.roster.register(sid, body) {
                    self.to_enrolled(sid, frame, out);
                } else {
                    agent.refused += 1;
                }
            }
            FromAgent::Unregister(sid) => {
                if agent.roster.unregister(sid) {
                    self.to_enrolled(sid, frame, out);
                    for leg in &mut self.state.legs {
                        if let Some(part) = leg.btcagent() {
                            part.difficulties.remove(&sid);
                        }
                    }
                }
            }
            FromAgent::Submit(submit) => self.submit_frame(submit, out),
            // An agent passes its miners' names on as they are, so this is no fault of its own.
            FromAgent::BadRegister => agent.refused += 1,
            FromAgent::BadSubmit => {
                agent.count_share();
                Self::disregard(out, Side::Downstream, FaultKind::BadParams);
            }
            FromAgent::WrongSize => {
                Self::disregard(out, Side::Downstream, FaultKind::BadParams);
            }
            FromAgent::Unknown => Self::disregard(out, Side::Downstream, FaultKind::Unexpected),
        }
        Ok(())
    }

    /// Passes a frame about a sub-miner on to all legs that were told about those of its number.
    /// Legs that were left are among them: a newcomer may be given a job of theirs by its agent.
    fn to_enrolled(&self, sid: u16, frame: &[u8], out: &mut Outbox) {
        for leg in &self.state.legs {
            if leg.agent_part().is_some_and(|part| part.has_heard_of(sid)) {
                out.send(Side::Upstream(leg.id), frame);
            }
        }
    }

    fn submit_frame(&mut self, submit: Submit, out: &mut Outbox) {
        let Some(agent) = &mut self.state.btcagent else { return };
        let index = agent.count_share();
        if !agent.roster.has(submit.sid) {
            // The pool would neither answer nor count it.
            return self.answer_share(index, UNAUTHORIZED, out);
        }
        let Some((issued, leg)) = issuer(agent, &mut self.state.legs, submit) else {
            return self.submit_frame_without_leg(index, out);
        };
        let leg_id = leg.id;
        let of_leg = leg.difficulty_in_force().unwrap_or(0.0);
        let Some(part) = leg.btcagent().filter(|part| part.shares.has_room()) else {
            // The pool is slow; that is no fault of the agent's.
            let verdict = Verdict::Poolless;
            out.push(Action::Share { leg: None, verdict, difficulty: 0.0 });
            return self.answer_share(index, INTERNAL_ERROR, out);
        };
        let exponent = part.difficulties.get(&submit.sid).copied();
        let difficulty = exponent.map_or(of_leg, |exponent| f64::from(exponent).exp2());
        part.shares.sent(Waiting { index, sid: submit.sid, difficulty });
        // 0 is the job's time, too.
        let own_time = submit.time.filter(|time| *time != 0);
        let time = own_time.or(issued.time).or(submit.time);
        let submit = Submit { job: issued.id, time, ..submit };
        out.send_with(Side::Upstream(leg_id), |arena| submit.write(arena));
        out.push(Action::Submitted(leg_id));
    }

    fn submit_frame_without_leg(&mut self, index: u16, out: &mut Outbox) {
        let (verdict, status) = if self.state.active.is_none() {
            (Verdict::Poolless, INTERNAL_ERROR)
        } else {
            (Verdict::Orphan, JOB_NOT_FOUND)
        };
        out.push(Action::Share { leg: None, verdict, difficulty: 0.0 });
        self.answer_share(index, status, out);
    }

    /// Tells the agent what became of a share, if it wants to know.
    pub(super) fn answer_share(&self, index: u16, status: i32, out: &mut Outbox) {
        if self.state.btcagent.as_ref().is_some_and(|agent| agent.wants_answers) {
            out.send_with(Side::Downstream, |arena| write_response(arena, index, status));
        }
    }

    /// Books and answers shares that no pool will answer.
    pub(super) fn leave_unanswered<'a>(
        &self,
        leg: LegId,
        shares: impl IntoIterator<Item = &'a Waiting>,
        out: &mut Outbox,
    ) {
        for share in shares {
            let (verdict, difficulty) = (Verdict::Unanswered, share.difficulty);
            out.push(Action::Share { leg: Some(leg), verdict, difficulty });
            self.answer_share(share.index, INTERNAL_ERROR, out);
        }
    }

    /// Answers the shares that a lost leg has left unanswered.
    pub(crate) fn settle_agent(&mut self, leg: &Leg, out: &mut Outbox) {
        let Some(agent) = &mut self.state.btcagent else { return };
        agent.jobs.lost(leg.id);
        if let Some(part) = leg.agent_part() {
            self.leave_unanswered(leg.id, part.shares.iter(), out);
        }
        self.end_holding_back(out);
    }
}

impl BtcAgent {
    /// The index of a share that the agent has written.
    fn count_share(&mut self) -> u16 {
        let index = self.next_share;
        self.next_share = index.wrapping_add(1);
        index
    }
}

/// The leg whose job a share is for.
fn issuer<'a>(
    agent: &BtcAgent,
    legs: &'a mut [Leg],
    submit: Submit,
) -> Option<(Issued, &'a mut Leg)> {
    let issued = agent.jobs.find(submit.job)?;
    let leg = legs.iter_mut().find(|leg| leg.id == issued.leg)?;
    let knows = leg.agent_part().is_some_and(|part| part.has_heard_of(submit.sid));
    knows.then_some((issued, leg))
}
