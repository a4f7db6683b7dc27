//! What a miner may ask, and what it is answered without asking a pool.

use jsonrpc::{Message, Raw, elements, is_fit_id, is_json, members, text, write_string};
use stratum_common::names::shortened;
use switcher_plugin::{Action, Fault, FaultKind, LegId, Outbox, Side};

use crate::extranonce::Extranonce;
use crate::leg::Ask;
use crate::login::Login;
use crate::replies::Refused;
use crate::replies::write_refused;
use crate::session::EthSession;
use crate::variant::Variant;

/// Longest agent and protocol that are kept, in bytes.
const MAX_AGENT: usize = 128;

/// Longest parameters of a hash rate that are passed on.
const MAX_HASHRATE: usize = 256;

/// What open-ethereum-pool says while there is no job.
const WORK_NOT_READY: &str = "Work not ready";

/// `BTCAgent` asks on each new connection, and gives up if it gets no answer at all.
const CAPABILITIES: &[u8] = b"{\"capabilities\":[]}";

impl EthSession {
    /// One object from the miner.
    pub(crate) fn miner_said(
        &mut self,
        line: &[u8],
        message: &Message<'_>,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let Some(method) = message.method else {
            if message.result.is_none() && message.error.is_none() {
                Self::disregard(out, Side::Downstream, FaultKind::BadParams);
            }
            return Ok(());
        };
        let id = message.request_id().unwrap_or_default();
        let method = text(method).filter(|_| is_fit_id(id));
        let Some(method) = method else {
            Self::disregard(out, Side::Downstream, FaultKind::BadParams);
            return Ok(());
        };
        if self.state.variant.is_none() {
            let Some(variant) = variant_of(&method, message.params.unwrap_or_default()) else {
                return self.before_variant(id, &method, out);
            };
            self.state.variant = Some(variant);
            if !self.terms.variants.contains(&variant) {
                return self.not_enabled(id, variant, out);
            }
        }
        self.request(id, &method, line, message, out)
    }

    /// A request that any variant may begin with, or none.
    fn before_variant(&mut self, id: &[u8], method: &str, out: &mut Outbox) -> Result<(), Fault> {
        match method {
            "mining.extranonce.subscribe" => {
                self.state.extranonce_subscribed = true;
                self.grant(id, b"true", out)
            }
            "mining.noop" => self.grant(id, b"true", out),
            "agent.get_capabilities" => self.grant(id, CAPABILITIES, out),
            "mining.bye" => {
                out.push(Action::Close { why: "the miner said so".into() });
                Ok(())
            }
            "mining.authorize" | "mining.submit" => self.deny(id, 101, "Need Subscribed", out),
            _ => self.deny(id, -3, "Method not found", out),
        }
    }

    /// Miners that try one variant after the other go on at once if they are refused.
    fn not_enabled(&mut self, id: &[u8], variant: Variant, out: &mut Outbox) -> Result<(), Fault> {
        let code = if variant == Variant::Stratum2 { 400 } else { -3 };
        self.deny(id, code, "This protocol is not enabled here", out)?;
        let why = format!("{} is not enabled on this listener", variant.label());
        out.push(Action::Close { why: why.into() });
        Ok(())
    }

    fn request(
        &mut self,
        id: &[u8],
        method: &str,
        line: &[u8],
        message: &Message<'_>,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let params = message.params.unwrap_or_default();
        let variant = self.state.variant.unwrap_or(Variant::Plain);
        let is_ethproxy = variant == Variant::EthProxy;
        match method {
            "eth_submitWork" if is_ethproxy => self.submit(id, params, out),
            "mining.submit" if !is_ethproxy => self.submit(id, params, out),
            "eth_submitLogin" | "eth_login" | "mining.authorize" => {
                self.log_in(id, line, params, out)
            }
            "eth_getWork" if is_ethproxy => self.get_work(id, out),
            "mining.subscribe" if !is_ethproxy => self.subscribe(id, params, out),
            "mining.hello" if variant == Variant::Stratum2 => self.hello(id, params, out),
            "mining.extranonce.subscribe" => {
                self.state.extranonce_subscribed = true;
                self.grant(id, b"true", out)
            }
            "eth_submitHashrate" | "mining.hashrate" => self.hashrate(id, method, params, out),
            "mining.ping" => self.grant(id, b"\"pong\"", out),
            "agent.get_capabilities" => self.grant(id, CAPABILITIES, out),
            "mining.noop" | "mining.suggest_difficulty" | "mining.suggest_target" => {
                self.grant(id, b"true", out)
            }
            "mining.bye" => {
                out.push(Action::Close { why: "the miner said so".into() });
                Ok(())
            }
            // Nothing else is passed on: open-ethereum-pool hangs up on what it does not know.
            _ => self.deny(id, -3, "Method not found", out),
        }
    }

    /// `mining.hello`. What follows is plain text; we cannot be asked to compress it.
    fn hello(&mut self, id: &[u8], params: &[u8], out: &mut Outbox) -> Result<(), Fault> {
        let agent = members(params).find(|(name, _)| &**name == "agent");
        self.state.agent = agent.and_then(|(_, span)| kept(span));
        let mut result = Vec::with_capacity(128);
        result.extend_from_slice(b"{\"proto\":\"EthereumStratum/2.0.0\",\"encoding\":\"plain\",");
        result.extend_from_slice(
            b"\"resume\":\"0\",\"timeout\":\"b4\",\"maxerrors\":\"5\",\"node\":",
        );
        write_string(&mut result, stratum_common::pool::OWN_AGENT);
        result.push(b'}');
        self.grant(id, &result, out)
    }

    /// `mining.subscribe`: answered before it is known which pool it will be. A second one gets the
    /// same answer.
    fn subscribe(&mut self, id: &[u8], params: &[u8], out: &mut Outbox) -> Result<(), Fault> {
        let is_first = !std::mem::replace(&mut self.state.subscribed, true);
        if is_first && self.state.variant != Some(Variant::Stratum2) {
            let mut items = elements(params);
            self.state.agent = items.next().and_then(kept);
            self.state.protocol = items.next().and_then(kept);
        }
        let is_nicehash = self.state.variant == Some(Variant::NiceHash);
        if is_nicehash && self.state.subscribing.is_some() {
            return self.deny(id, 102, "Duplicate Subscribed", out);
        }
        if is_nicehash && is_first && self.recall(id, out) {
            return Ok(());
        }
        self.answer_subscribe(id, out)
    }

    /// Answers a subscribe: with what the miner has been told, or with an extranonce of ours.
    pub(crate) fn answer_subscribe(&mut self, id: &[u8], out: &mut Outbox) -> Result<(), Fault> {
        match self.state.variant {
            Some(Variant::NiceHash) => {
                let own = self.own_extranonce();
                let told = *self.state.told.extranonce.get_or_insert(own);
                let id6 = self.state.id6();
                let result =
                    format!("[[\"mining.notify\",\"{id6}\",\"EthereumStratum/1.0.0\"],\"{told}\"]");
                self.grant(id, result.as_bytes(), out)
            }
            Some(Variant::Stratum2) => {
                let session = u128::from_be_bytes(self.state.entropy);
                self.grant(id, format!("\"{session:032x}\"").as_bytes(), out)
            }
            _ => self.grant(id, b"true", out),
        }
    }

    /// The extranonce that we propose: the short id, of which `NiceHash`'s own clients take only two
    /// bytes.
    pub(crate) fn own_extranonce(&self) -> Extranonce {
        let id6 = self.state.id6();
        let digits = if self.takes_two_bytes() { id6.get(..4) } else { None };
        Extranonce::read(digits.unwrap_or(&id6).as_bytes()).unwrap_or_default()
    }

    /// Whether the miner is a client of `NiceHash`.
    pub(crate) fn takes_two_bytes(&self) -> bool {
        self.state.variant == Some(Variant::NiceHash) && self.state.agent_starts_with("nicehash/")
    }

    /// `eth_getWork`: the work of now, or as soon as there is some.
    fn get_work(&mut self, id: &[u8], out: &mut Outbox) -> Result<(), Fault> {
        let is_held = matches!(self.state.login, Login::Held(_));
        if self.state.login == Login::None {
            return self.deny(id, 25, "Not subscribed", out);
        }
        let active = self.state.active;
        if let Some(active) = active {
            self.ask_for_work(active, out);
            if self.leg(active).is_some_and(|leg| leg.job.is_some()) {
                self.push_work(active, false, id, out);
                return Ok(());
            }
        }
        if (is_held || active.is_some()) && self.state.wants_work.is_none() && !id.is_empty() {
            self.state.wants_work = Some(Raw::of(id));
            return Ok(());
        }
        self.deny(id, 0, WORK_NOT_READY, out)
    }

    /// Tells who waits for work that there is none.
    pub(crate) fn no_work(&mut self, out: &mut Outbox) {
        let Some(id) = self.state.wants_work.take() else { return };
        let refused = Refused { code: 0, why: WORK_NOT_READY.to_owned() };
        let variant = self.state.variant;
        out.send_with(Side::Downstream, |arena| {
            write_refused(arena, variant, &id.0, b"null", &refused, None);
        });
    }

    /// A hash rate: of use to a pool of the same variant, and answered here.
    fn hashrate(
        &mut self,
        id: &[u8],
        method: &str,
        params: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        if let Some(active) = self.state.active
            && params.len() <= MAX_HASHRATE
            && is_json(params)
        {
            self.pass_hashrate_on(active, method, params, out);
        }
        self.grant(id, b"true", out)
    }

    fn pass_hashrate_on(&mut self, active: LegId, method: &str, params: &[u8], out: &mut Outbox) {
        let Some(leg) = self.leg(active).filter(|leg| leg.has_room()) else { return };
        match (leg.way.variant, method) {
            (Variant::EthProxy, "eth_submitHashrate") => {
                let params = params.to_vec();
                Self::ask(leg, Ask::Ignore, b"", method, out, |arena| {
                    arena.extend_from_slice(&params);
                });
            }
            (Variant::Stratum2, "mining.hashrate") => {
                let Some(rate) = elements(params).next() else { return };
                let token = leg.token.clone();
                Self::ask(leg, Ask::Ignore, b"", method, out, |arena| {
                    arena.push(b'[');
                    arena.extend_from_slice(rate);
                    arena.push(b',');
                    arena.extend_from_slice(&token.0);
                    arena.push(b']');
                });
            }
            _ => {}
        }
    }
}

/// What a miner speaks whose first request this is; `None` if it does not tell.
pub(crate) fn variant_of(method: &str, params: &[u8]) -> Option<Variant> {
    if method.starts_with("eth_") {
        return Some(Variant::EthProxy);
    }
    match method {
        "mining.hello" => Some(Variant::Stratum2),
        "mining.subscribe" => {
            let mut items = elements(params).map(text);
            let agent = items.next().flatten().unwrap_or_default().to_ascii_lowercase();
            let protocol = items.next().flatten().unwrap_or_default().to_ascii_lowercase();
            // BTCAgent does not say so, but wants nothing else.
            let is_nicehash =
                protocol.starts_with("ethereumstratum/") || agent.starts_with("btccom-agent/");
            Some(if is_nicehash { Variant::NiceHash } else { Variant::Plain })
        }
        _ => None,
    }
}

pub(crate) fn kept(span: &[u8]) -> Option<Box<str>> {
    Some(shortened(text(span)?, MAX_AGENT))
}
