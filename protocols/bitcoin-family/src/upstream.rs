//! What a pool may say: its answers, its notifications and its requests.

use jsonrpc::{Message, elements, is_json, number, write_notification};
use stratum_common::pool::{OWN_AGENT, answer_request, reconnect_hint};
use switcher_plugin::{Action, Fault, FaultKind, LegId, Millis, Outbox, Retry, Rung, Side};

use crate::extranonce::{Means, Theirs};
use crate::jobs::{Changes, Notify};
use crate::leg::{Ask, Epoch};
use crate::login::Login;
use crate::raw::Line;
use crate::session::{Agent, BitcoinSession};
use crate::submits::is_positive;
use crate::version_rolling::{granted_mask, pushed_mask};

impl BitcoinSession {
    /// One object from the pool of `leg`.
    pub(crate) fn pool_said(
        &mut self,
        now: Millis,
        leg: LegId,
        line: &[u8],
        message: &Message<'_>,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        if self.leg(leg).is_none() {
            // A leg that was refused; the engine is about to close it.
            return Ok(());
        }
        match message.method_text() {
            Some(method) => {
                self.pushed(now, leg, &method, line, message, out);
                Ok(())
            }
            None if message.method.is_none() => self.answered(now, leg, line, message, out),
            None => {
                Self::disregard(out, Side::Upstream(leg), FaultKind::BadParams);
                Ok(())
            }
        }
    }

    fn answered(
        &mut self,
        now: Millis,
        leg: LegId,
        line: &[u8],
        message: &Message<'_>,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let asked = message.request_id().and_then(|id| self.leg(leg)?.answered(id));
        let Some(asked) = asked else {
            if self.is_of_relay(now, leg) {
                out.push(Action::Forward(Side::Downstream));
                return Ok(());
            }
            Self::disregard(out, Side::Upstream(leg), FaultKind::UnknownId);
            return Ok(());
        };
        match asked.ask {
            Ask::Share => {
                self.share_answered(leg, &asked, line, message, out)?;
                self.give_up_skipped(now, leg, out)
            }
            Ask::Relay => self.relay_answer(&asked, line, message, out),
            Ask::Worker(at) => {
                if let Some(worker) = self.state.workers.get_mut(usize::from(at)) {
                    worker.accepted = is_positive(message);
                }
                self.relay_answer(&asked, line, message, out)
            }
            Ask::Replay(_) => {
                // A worker that this pool refuses has its shares refused there, one by one.
                self.ready_if_complete(now, leg, out);
                Ok(())
            }
            Ask::Configure => {
                let mask = message.result.map_or(0, granted_mask);
                self.mask_granted(leg, mask, out);
                self.ready_if_complete(now, leg, out);
                Ok(())
            }
            Ask::Subscribe => {
                self.subscribe_answered(now, leg, message, out);
                Ok(())
            }
            Ask::Authorize => {
                self.authorize_answered(now, leg, message, out);
                Ok(())
            }
            Ask::Capabilities => {
                let result = message.result.unwrap_or_default();
                self.capabilities_answered(now, leg, result, out);
                Ok(())
            }
            Ask::Ignore => Ok(()),
        }
    }

    fn pushed(
        &mut self,
        now: Millis,
        leg: LegId,
        method: &str,
        line: &[u8],
        message: &Message<'_>,
        out: &mut Outbox,
    ) {
        let params = message.params.unwrap_or_default();
        let is_active = self.state.active == Some(leg);
        let is_read = match method {
            "mining.notify" => self.job(now, leg, line, params, out),
            "mining.set_difficulty" => self.difficulty(now, leg, params, out),
            "mining.set_extranonce" => self.extranonce(leg, params, out),
            "mining.set_version_mask" => match pushed_mask(params) {
                Some(mask) => {
                    self.mask_granted(leg, mask, out);
                    true
                }
                None => false,
            },
            "client.reconnect" => {
                Self::reconnect(leg, params, out);
                true
            }
            "client.show_message" => {
                if is_active && self.may_push() && is_json(params) {
                    out.send_with(Side::Downstream, |arena| {
                        write_notification(arena, "client.show_message", params);
                    });
                }
                true
            }
            _ => {
                self.pool_request(leg, method, message, out);
                true
            }
        };
        if !is_read {
            Self::disregard(out, Side::Upstream(leg), FaultKind::BadParams);
        }
    }

    /// A request that the pool wants answered, or something it thought the miner would know.
    fn pool_request(&mut self, leg: LegId, method: &str, message: &Message<'_>, out: &mut Outbox) {
        let id = message.request_id().filter(|id| is_json(id));
        match (method, id) {
            ("client.get_version" | "mining.ping" | "mining.set_goal", None) => {}
            (_, Some(id)) => {
                let agent = match &self.state.agent {
                    Agent::Named(agent) => agent,
                    Agent::Odd | Agent::Silent => OWN_AGENT,
                };
                answer_request(leg, method, id, agent, out);
            }
            // The miner gets nothing that it has not asked for.
            (_, None) => Self::disregard(out, Side::Upstream(leg), FaultKind::Unexpected),
        }
    }

    /// Whether the miner is in a state to be told something it has not asked for.
    pub(crate) fn may_push(&self) -> bool {
        self.state.subscribed && self.state.login == Login::Done
    }

    /// `mining.notify`. Returns whether it could be read.
    fn job(
        &mut self,
        now: Millis,
        leg_id: LegId,
        line: &[u8],
        params: &[u8],
        out: &mut Outbox,
    ) -> bool {
        let Some(notify) = Notify::read(params) else { return false };
        if !self.agent_job(leg_id, &notify) {
            return false;
        }
        let epoch = self.next_epoch(leg_id);
        let is_shown = self.shows(leg_id);
        let own = self.own();
        let Some(leg) = self.leg(leg_id) else { return true };
        if leg.flags.unfit {
            return true;
        }
        if leg.job.is_none() {
            leg.patient_since = now;
        }
        if let Some(epoch) = epoch {
            leg.start_epoch(epoch);
        }
        out.push(Action::Job(leg_id));
        leg.new_job(notify.job_id(), Line(out.keep(line)), now);
        match leg.epoch {
            Some(epoch) if is_shown => {
                leg.job_sent_later = Some(0);
                self.push_extranonce(epoch.told.then_some(epoch.theirs), out);
                let Some(label) = self.label(leg_id, &notify, 0) else { return false };
                let changes =
                    Changes { label, force_clean: false, later: 0, time_in_coinbase1: false };
                out.send_with(Side::Downstream, |arena| {
                    notify.write(changes, |arena| epoch.write_insert(own, arena), arena);
                });
            }
            _ => {
                self.ready_if_complete(now, leg_id, out);
                self.end_holding_back(out);
            }
        }
        true
    }

    /// What the next job of a leg is mined by, if the pool has set another extranonce.
    fn next_epoch(&mut self, leg_id: LegId) -> Option<Epoch> {
        let theirs = self.leg(leg_id)?.take_next()?;
        let (own, means) = (self.own(), self.means_of(leg_id));
        let told = theirs.rung(own, means) == Ok(Rung::Announce);
        Some(Epoch::new(self.new_tag(), theirs, told))
    }

    /// `mining.set_difficulty`. Returns whether it could be read.
    fn difficulty(&mut self, now: Millis, leg_id: LegId, params: &[u8], out: &mut Outbox) -> bool {
        // One pool is known to send a bare number for its parameters.
        let value = elements(params).next().unwrap_or(params);
        let Some(difficulty) = number(value).filter(|difficulty| *difficulty > 0.0) else {
            return false;
        };
        let is_shown = self.shows(leg_id);
        let Some(leg) = self.leg(leg_id) else { return true };
        leg.difficulty = difficulty;
        if is_shown {
            out.send_with(Side::Downstream, |arena| write_difficulty(arena, difficulty));
        } else {
            self.ready_if_complete(now, leg_id, out);
        }
        true
    }

    /// `mining.set_extranonce`: the next job is folded by it. It reaches the miner only where that
    /// mines by the pool's own. Returns whether it could be read.
    fn extranonce(&mut self, leg_id: LegId, params: &[u8], out: &mut Outbox) -> bool {
        let (own, means) = (self.own(), self.means_of(leg_id));
        let is_shown = self.state.active == Some(leg_id) && self.may_push();
        let Some(leg) = self.leg(leg_id) else { return true };
        let Some(before) = leg.latest_theirs() else { return true };
        let Some(theirs) = Theirs::of_set_extranonce(params, before) else { return false };
        // The miner would have to come back for a pool that serves it: another leg may do better.
        let unseen = means.rungs.without(Rung::Reconnect).without(Rung::Drop);
        let rungs = if leg.flags.served { unseen } else { means.rungs };
        let rung = self.rung_at(&theirs, own, Means { rungs, ..means });
        let Some(leg) = self.leg(leg_id) else { return true };
        match rung {
            Ok(rung) => {
                leg.flags.unfit = false;
                leg.rare().next = Some(theirs);
                if is_shown && rung == Rung::Announce {
                    self.push_extranonce(Some(theirs), out);
                }
            }
            // It was said once; a pool that repeats itself changes nothing.
            Err(_) if leg.flags.unfit => {}
            Err(why) => {
                leg.flags.unfit = true;
                if leg.flags.served {
                    out.push(Action::ReplaceLeg { leg: leg_id, why: why.into(), hint: None });
                } else {
                    self.refuse_leg(leg_id, Retry::Permanent, &why, out);
                }
            }
        }
        true
    }

    /// The pool allows these bits from now on.
    fn mask_granted(&mut self, leg_id: LegId, mask: u32, out: &mut Outbox) {
        if let Some(leg) = self.leg(leg_id) {
            leg.mask = mask;
        }
        if self.shows(leg_id) {
            self.push_mask(mask, out);
        }
    }

    /// `client.reconnect`: the miner would leave us, so the leg moves instead.
    fn reconnect(leg_id: LegId, params: &[u8], out: &mut Outbox) {
        let hint = reconnect_hint(elements(params));
        let why = "the pool has sent client.reconnect".into();
        out.push(Action::ReplaceLeg { leg: leg_id, why, hint });
    }
}

/// Appends a `mining.set_difficulty`.
pub(crate) fn write_difficulty(out: &mut Vec<u8>, difficulty: f64) {
    write_notification(out, "mining.set_difficulty", format!("[{difficulty}]").as_bytes());
}
