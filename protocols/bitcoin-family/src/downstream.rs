//! What a miner may ask, and what it is answered without asking a pool.

use jsonrpc::{Message, elements, is_fit_id, is_json, number, string, text, write_string};
use stratum_common::names::shortened;
use switcher_plugin::{Action, Fault, FaultKind, LegId, Millis, Outbox, Side};

use crate::extranonce::write_in_force;
use crate::leg::Ask;
use crate::login::Login;
use crate::quirks::SetExtranonce;
use crate::raw::Raw;
use crate::session::{Agent, BitcoinSession, Suggestion};
use crate::version_rolling::{Configure, Masks};

/// Longest agent that is kept, in bytes.
const MAX_AGENT: usize = 256;

/// Longest parameters of a suggestion that are kept.
const MAX_SUGGESTION: usize = 256;

impl BitcoinSession {
    /// One object from the miner.
    pub(crate) fn miner_said(
        &mut self,
        now: Millis,
        message: &Message<'_>,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        if message.method.is_none() {
            if message.result.is_none() && message.error.is_none() {
                Self::disregard(out, Side::Downstream, FaultKind::BadParams);
            }
            // Answers to a pool's client.get_version and mining.ping: we have answered those.
            return Ok(());
        }
        let Some(method) = message.method_text() else {
            Self::disregard(out, Side::Downstream, FaultKind::BadParams);
            return Ok(());
        };
        let id = message.request_id().unwrap_or_default();
        if !is_fit_id(id) {
            Self::disregard(out, Side::Downstream, FaultKind::BadParams);
            return Ok(());
        }
        self.request(now, id, &method, message, out)
    }

    fn request(
        &mut self,
        now: Millis,
        id: &[u8],
        method: &str,
        message: &Message<'_>,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let params = message.params.unwrap_or_default();
        match method {
            "mining.submit" if self.state.btcagent.is_some() => {
                Self::disregard(out, Side::Downstream, FaultKind::Unexpected);
                self.deny(id, 20, "Not supported", out)
            }
            "mining.submit" => self.submit(now, id, params, out),
            "mining.authorize" => self.authorize(id, message, out),
            "mining.subscribe" => self.subscribe(id, params, out),
            "mining.configure" => self.configure(now, id, params, out),
            "mining.extranonce.subscribe" => {
                self.grant(id, b"true", out)?;
                self.may_tell_extranonce(now, out);
                Ok(())
            }
            "mining.suggest_difficulty" => self.suggest(id, false, params, out),
            "mining.suggest_target" => self.suggest(id, true, params, out),
            // Antminer's number of midstates and hash rates are of no use to a pool; sserver leaves
            // them without an answer, which cgminer-like miners cope with less well than with one.
            "mining.multi_version" | "mining.hashrate" | "eth_submitHashrate" => {
                self.grant(id, b"true", out)
            }
            "mining.ping" => self.grant(id, b"\"pong\"", out),
            // AxeOS answers a ping so, and gominer a question for its version.
            "pong" | "mining.pong" | "client.get_version" => Ok(()),
            "agent.get_capabilities" => self.capabilities(id, params, out),
            "mining.get_transactions" => self.deny(id, 20, "Not supported", out),
            // BIP 310 is its successor because it has no answer; it is always sent without an id.
            "mining.capabilities" if id.is_empty() => Ok(()),
            "mining.bye" | "mining.term" => {
                out.push(Action::Close { why: "the miner said so".into() });
                Ok(())
            }
            _ => self.pass_on(id, method, params, out),
        }
    }

    /// `mining.subscribe`: answered before it is known which pool it will be. A second one gets the
    /// same answer, or what the miner was told since.
    fn subscribe(&mut self, id: &[u8], params: &[u8], out: &mut Outbox) -> Result<(), Fault> {
        if self.state.agent == Agent::Silent {
            self.state.agent = match elements(params).next().map(text) {
                Some(Some(agent)) => Agent::Named(shortened(agent, MAX_AGENT)),
                Some(None) => Agent::Odd,
                None => Agent::Silent,
            };
        }
        self.recognise_agent(params);
        if !self.state.subscribed
            && self.state.btcagent.is_none()
            && !self.state.probe
            && self.recall(id, params, out)
        {
            return Ok(());
        }
        self.answer_subscribe(id, out)
    }

    pub(crate) fn answer_subscribe(&mut self, id: &[u8], out: &mut Outbox) -> Result<(), Fault> {
        let own = self.own();
        let session_id = self.state.session_id();
        let mut result = Vec::with_capacity(160);
        result.extend_from_slice(b"[[[\"mining.set_difficulty\",");
        write_string(&mut result, &session_id);
        result.extend_from_slice(b"],[\"mining.notify\",");
        write_string(&mut result, &session_id);
        result.extend_from_slice(b"]],\"");
        let size2 = write_in_force(own, self.state.told.as_deref(), &mut result);
        result.extend_from_slice(format!("\",{size2}]").as_bytes());
        self.grant(id, &result, out)?;

        let is_first = !std::mem::replace(&mut self.state.subscribed, true);
        self.greet_agent(out)?;
        if let (true, Some(active)) = (is_first, self.state.active) {
            // It has logged in before it subscribed, and its leg has work for it already.
            self.push_work(active, false, out);
        }
        Ok(())
    }

    /// `mining.configure`: answered before it is known which pool it will be.
    fn configure(
        &mut self,
        now: Millis,
        id: &[u8],
        params: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let Some(configure) = Configure::read(params) else {
            Self::disregard(out, Side::Downstream, FaultKind::BadParams);
            return self.deny(id, 27, "Illegal params", out);
        };
        let mut told = configure.mask.unwrap_or(0) & self.terms.version_mask;
        if let Some(active) = self.state.active {
            // Its pool was asked for what the miner wanted by then; there is no asking twice.
            told &= self.leg(active).map_or(0, |leg| leg.mask);
        }
        if let Some(asked) = configure.mask {
            self.state.masks = (told != 0).then_some(Masks { asked, told, current: told });
        }
        let mut result = Vec::new();
        let may_tell = self.quirks().set_extranonce != SetExtranonce::Never;
        configure.write_result(told, may_tell, &mut result);
        self.grant(id, &result, out)?;
        if configure.extranonce_subscribe {
            self.may_tell_extranonce(now, out);
        }
        self.greet_agent(out)
    }

    /// The miner may be told another extranonce from here on, if its firmware bears that. A leg that
    /// it would have to come back for may do without now.
    fn may_tell_extranonce(&mut self, now: Millis, out: &mut Outbox) {
        if self.quirks().set_extranonce == SetExtranonce::Never {
            return;
        }
        self.state.extranonce_subscribed = true;
        let waiting = self.state.legs.iter_mut().filter(|leg| leg.sends_back().is_some());
        let waiting: Vec<LegId> = waiting
            .map(|leg| {
                leg.flags.announced = false;
                leg.id
            })
            .collect();
        for leg in waiting {
            self.ready_if_complete(now, leg, out);
        }
    }

    /// `mining.suggest_difficulty` and `mining.suggest_target`: for the pool of now and all later.
    fn suggest(
        &mut self,
        id: &[u8],
        target: bool,
        params: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let is_read = elements(params).next().is_some_and(|value| {
            if target { string(value).is_some() } else { number(value).is_some() }
        });
        if !is_read || params.len() > MAX_SUGGESTION || !is_json(params) {
            Self::disregard(out, Side::Downstream, FaultKind::BadParams);
            return self.deny(id, 27, "Illegal params", out);
        }
        let params = Raw::of(params);
        self.state.suggestion = Some(Box::new(Suggestion { target, params }));
        if let Some(active) = self.state.active {
            self.send_suggestion(active, out);
        }
        self.grant(id, b"true", out)
    }

    /// A method that only a pool may know.
    fn pass_on(
        &mut self,
        id: &[u8],
        method: &str,
        params: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let active = self.state.active.filter(|_| self.state.login == Login::Done);
        let params = if params.is_empty() { b"[]" } else { params };
        let Some(leg) = active.and_then(|active| self.leg(active)).filter(|_| is_json(params))
        else {
            return self.deny(id, 20, "Not supported", out);
        };
        if id.is_empty() {
            // Nobody waits for an answer, so nobody will miss it.
            return Ok(());
        }
        if !leg.has_room() {
            Self::disregard(out, Side::Downstream, FaultKind::Excess);
            return self.deny(id, 20, "Too many requests", out);
        }
        let leg_id = leg.id;
        Self::ask(leg, Ask::Relay, id, method, out, |arena| arena.extend_from_slice(params));
        self.give_up_oldest(leg_id, out)
    }
}
