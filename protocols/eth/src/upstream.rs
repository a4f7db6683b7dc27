//! What a pool may say: its answers, its notifications and its requests.

use jsonrpc::{Line, Message, elements, is_json, is_null, members, number, string};
use stratum_common::pool::{OWN_AGENT, answer_ping, answer_request, host, reconnect_hint};
use switcher_plugin::{Action, Fault, FaultKind, LegId, Millis, Outbox, ReconnectHint, Rung, Side};

use crate::extranonce::Extranonce;
use crate::hex::read_hex;
use crate::leg::{Ask, Goal, Job};
use crate::login::Login;
use crate::seed::Seed;
use crate::session::EthSession;
use crate::target::Target;
use crate::variant::Variant;
use crate::work::Work;

impl EthSession {
    /// One object from the pool of `leg`.
    pub(crate) fn pool_said(
        &mut self,
        now: Millis,
        leg_id: LegId,
        line: &[u8],
        message: &Message<'_>,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        // If there is none, it was refused, and the engine is about to close it.
        let Some(leg) = self.leg(leg_id) else { return Ok(()) };
        leg.flags.spoken = true;
        match message.method_text() {
            Some(method) => {
                self.pushed(now, leg_id, &method, line, message, out);
                Ok(())
            }
            None if message.method.is_none() => self.answered(now, leg_id, line, message, out),
            None => {
                Self::disregard(out, Side::Upstream(leg_id), FaultKind::BadParams);
                Ok(())
            }
        }
    }

    fn answered(
        &mut self,
        now: Millis,
        leg_id: LegId,
        line: &[u8],
        message: &Message<'_>,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let Some(leg) = self.leg(leg_id) else { return Ok(()) };
        let work = message
            .result
            .filter(|result| leg.way.variant == Variant::EthProxy && result.starts_with(b"["));
        let asked = message.request_id().and_then(|id| leg.answered(id));
        let Some(asked) = asked else {
            // A push has the id 0, or none.
            let is_push = message.request_id().is_none_or(|id| id == b"0" || is_null(id));
            if (work.is_none() || !is_push) && self.is_of_relay(now, leg_id) {
                out.push(Action::Forward(Side::Downstream));
                return Ok(());
            }
            let kind = match work {
                Some(work) if self.job(now, leg_id, work, line, out) => return Ok(()),
                Some(_) => FaultKind::BadParams,
                None => FaultKind::UnknownId,
            };
            Self::disregard(out, Side::Upstream(leg_id), kind);
            return Ok(());
        };
        match asked.ask {
            Ask::Share => return self.share_answered(leg_id, &asked, line, message, out),
            Ask::GetWork => {
                // There may be none yet; it is pushed when there is.
                if let Some(work) = work
                    && !self.job(now, leg_id, work, line, out)
                {
                    Self::disregard(out, Side::Upstream(leg_id), FaultKind::BadParams);
                }
            }
            Ask::Hello => self.hello_answered(leg_id, message, out),
            Ask::Subscribe => self.subscribe_answered(now, leg_id, line, message, out),
            Ask::Authorize => self.login_answered(now, leg_id, line, message, out),
            Ask::Ignore => {}
        }
        Ok(())
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
        let is_read = match method {
            "mining.notify" => self.job(now, leg, params, line, out),
            "mining.set_difficulty" => self.difficulty(now, leg, params, out),
            "mining.set_extranonce" => {
                let extranonce = elements(params).next().and_then(string);
                let extranonce = extranonce.and_then(Extranonce::read);
                extranonce.is_some_and(|extranonce| {
                    self.extranonce(leg, extranonce, out);
                    true
                })
            }
            "mining.set" => self.set(now, leg, params, out),
            "client.reconnect" | "mining.reconnect" => {
                Self::reconnect(leg, params, out);
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
            ("mining.hashrate" | "mining.bye" | "client.show_message", _) | (_, None) => {}
            ("mining.noop", Some(id)) => answer_ping(leg, id, out),
            (_, Some(id)) => {
                let agent = self.state.agent.as_deref().unwrap_or(OWN_AGENT);
                answer_request(leg, method, id, agent, out);
            }
        }
    }

    /// A job. Returns whether it could be read.
    fn job(
        &mut self,
        now: Millis,
        leg_id: LegId,
        span: &[u8],
        line: &[u8],
        out: &mut Outbox,
    ) -> bool {
        let may_push = self.state.active == Some(leg_id) && self.state.login == Login::Done;
        let Some(leg) = self.leg(leg_id) else { return true };
        let Some(work) = Work::read(leg.way.variant, span, line) else { return false };
        if leg.flags.unfit || leg.work().is_some_and(|before| before == work) {
            // What the miner has: the answer to our eth_getWork behind a push, or the reverse.
            return true;
        }
        // A height may go back by one in a reorganisation, and there may be none.
        let is_higher = match (work.height, leg.height) {
            (Some(height), Some(before)) => height > before,
            _ => true,
        };
        let mut terms = leg.next;
        terms.goal = work.target.map(Goal::Target).or(terms.goal);
        let is_first = leg.job.is_none();
        if is_first {
            leg.patient_since = now;
        }
        leg.height = work.height;
        leg.job =
            Some(Job { line: Line(out.keep(line)), terms, clean: work.clean.unwrap_or(is_higher) });
        out.push(Action::Job(leg_id));
        if !std::mem::replace(&mut leg.flags.subscribed, true) && !self.fits(leg_id, out) {
            return true;
        }
        if may_push {
            self.push_work(leg_id, false, b"0", out);
        } else {
            self.ready_if_complete(now, leg_id, out);
        }
        true
    }

    /// `mining.set_difficulty`: counts from the next job on, and for the first if it came behind it.
    /// Returns whether it could be read.
    fn difficulty(&mut self, now: Millis, leg_id: LegId, params: &[u8], out: &mut Outbox) -> bool {
        let value = elements(params).next().unwrap_or(params);
        let Some(difficulty) = number(value).filter(|difficulty| *difficulty > 0.0) else {
            return false;
        };
        let is_active = self.state.active == Some(leg_id);
        let Some(leg) = self.leg(leg_id) else { return true };
        let goal = Some(Goal::Difficulty(difficulty));
        leg.next.goal = goal;
        // What was in force on one that was relayed is not known, but the miner has it.
        let is_relayed = leg.relay.is_some();
        let job = leg.job.as_mut().filter(|job| job.terms.goal.is_none() && !is_relayed);
        let Some(job) = job else {
            return true;
        };
        // To mine a job with too high a difficulty loses nothing, the reverse is a flood.
        job.terms.goal = goal;
        if is_active {
            self.push_work(leg_id, false, b"0", out);
        } else {
            self.ready_if_complete(now, leg_id, out);
        }
        true
    }

    /// Another extranonce, from the next job on.
    fn extranonce(&mut self, leg_id: LegId, extranonce: Extranonce, out: &mut Outbox) {
        let is_active = self.state.active == Some(leg_id);
        let Some(leg) = self.leg(leg_id) else { return };
        leg.next.extranonce = extranonce;
        if !leg.flags.subscribed {
            return;
        }
        if !leg.flags.served {
            self.fits(leg_id, out);
            return;
        }
        let Some(leg) = self.state.legs.iter().find(|leg| leg.id == leg_id) else { return };
        let why = match self.rung(leg) {
            Ok(rung @ (Rung::Echo | Rung::Announce)) if leg.rungs.has(rung) => None,
            Ok(rung @ Rung::Drop) if leg.rungs.has(rung) => Some(format!(
                "extranonce: the pool gives {extranonce}, for which it has to come back"
            )),
            Ok(rung) => Some(format!("the rung {} is not allowed", rung.label())),
            Err(why) => Some(why),
        };
        let Some(leg) = self.leg(leg_id) else { return };
        // It was said once; a pool that repeats itself changes nothing.
        let was_unfit = std::mem::replace(&mut leg.flags.unfit, why.is_some());
        if let Some(why) = why.filter(|_| is_active && !was_unfit) {
            out.push(Action::ReplaceLeg { leg: leg_id, why: why.into(), hint: None });
        }
    }

    /// `mining.set`: any of four values, from the next job on. Returns whether it could be read.
    fn set(&mut self, now: Millis, leg_id: LegId, params: &[u8], out: &mut Outbox) -> bool {
        let mut extranonce = None;
        let Some(leg) = self.leg(leg_id) else { return true };
        let mut is_read = true;
        let is_long = members(params)
            .any(|(name, value)| &*name == "algo" && string(value) == Some(b"etchash"));
        for (name, value) in members(params) {
            let digits = string(value).unwrap_or_default();
            match &*name {
                "epoch" => {
                    let epoch = read_hex(digits).map(u32::from_be_bytes);
                    leg.next.seed = epoch.map(|epoch| Seed { epoch, is_long });
                    is_read &= epoch.is_some();
                }
                "target" => {
                    let target = Target::read(digits);
                    leg.next.goal = target.map(Goal::Target).or(leg.next.goal);
                    is_read &= target.is_some();
                }
                "extranonce" => {
                    extranonce = Extranonce::read(digits);
                    is_read &= extranonce.is_some();
                }
                _ => {}
            }
        }
        let is_first = !std::mem::replace(&mut leg.flags.subscribed, true);
        match extranonce {
            Some(extranonce) => self.extranonce(leg_id, extranonce, out),
            None if is_first => {
                self.fits(leg_id, out);
            }
            None => {}
        }
        self.ready_if_complete(now, leg_id, out);
        is_read
    }

    /// A pool that sends the miner elsewhere: the miner would leave us, so the leg moves instead.
    fn reconnect(leg: LegId, params: &[u8], out: &mut Outbox) {
        let hint = if params.starts_with(b"{") {
            let find = |wanted: &str| {
                members(params).find(|(name, _)| &**name == wanted).map(|(_, value)| value)
            };
            let port = find("port").and_then(string).and_then(read_hex).map(u16::from_be_bytes);
            let host = find("host").and_then(host);
            host.zip(port).map(|(host, port)| ReconnectHint { host, port })
        } else {
            reconnect_hint(elements(params).filter(|item| !is_null(item)))
        };
        let why = "the pool wants us to connect again".into();
        out.push(Action::ReplaceLeg { leg, why, hint });
    }
}
