//! From a new connection to a leg that can serve: which way of speaking is tried, the login, and
//! what must have come before the miner may be cut over.
//!
//! A pool that does not understand gets another way on a new connection, as most of them hang up.

use std::net::IpAddr;

use jsonrpc::{Message, Raw, elements, is_json, is_null, is_truthy, members, string};
use jsonrpc::{write_request_start, write_string};
use stratum_common::pool::{ECHO_AGENT, OWN_AGENT, name_hash};
use switcher_plugin::{Action, LegId, Millis, Outbox, Profile, Retry, Rung, Rungs, Side};

use crate::extranonce::Extranonce;
use crate::leg::{Ask, IDS, Leg};
use crate::login::Login;
use crate::profile::{Chooser, Fact, PoolTerms, Way, fill, ways};
use crate::replies::{Refused, is_positive};
use crate::session::{EthSession, Learnt};
use crate::variant::Variant;

/// What the original tells sserver if the miner names no protocol.
pub(crate) const ECHO_PROTOCOL: &str = "Stratum";

/// What sserver in switcher mode answers to a subscribe without an id.
const NOT_A_SWITCHER: i32 = 400;

/// How long a difficulty is waited for that may never come.
const PATIENCE_MS: u64 = 2_000;

/// How long a pool may be silent before another way is tried, if there is one.
const SILENCE_MS: u64 = 3_000;

/// Longest token of a pool that is kept.
const MAX_TOKEN: usize = 256;

/// Most pools whose ways a session remembers.
const MAX_LEARNT: usize = 16;

impl EthSession {
    /// `Input::LegUp`.
    pub(crate) fn leg_up(
        &mut self,
        now: Millis,
        id: LegId,
        profile: &Profile,
        form: u8,
        rungs: Rungs,
        out: &mut Outbox,
    ) {
        if self.state.probe {
            // What a pool speaks is learnt by the first miner; it does no harm before.
            let why = "there is nothing to find out without a miner".into();
            return out.push(Action::Close { why });
        }
        let refuse = |retry, why: &str, out: &mut Outbox| {
            out.push(Action::LegRefused { leg: id, retry, why: why.into() });
        };
        let terms = match PoolTerms::read(profile) {
            Ok(terms) => terms,
            Err(why) => return refuse(Retry::Permanent, &why, out),
        };
        let (Some(miner), true) = (self.state.variant, self.state.worker.is_some()) else {
            return refuse(Retry::Later, "the miner has not logged in", out);
        };
        if self.is_agent() && terms.extranonce == Chooser::Own {
            let why = "only sserver understands BTCAgent (extranonce = \"echo\")";
            return refuse(Retry::Permanent, why, out);
        }
        let learnt = self.learnt(&terms);
        let ways = match ways(&terms, miner, learnt.fact) {
            Ok(ways) => ways,
            Err(why) => return refuse(Retry::Permanent, &why, out),
        };
        let at = usize::from(learnt.silent) + usize::from(form);
        let left = ways.len().checked_sub(usize::from(form) + 1);
        let way = at.checked_rem(ways.len()).and_then(|at| ways.get(at));
        let (Some(left), Some(&way)) = (left, way) else {
            return refuse(Retry::Later, "the pool takes none of the ways to speak to it", out);
        };
        let mut leg = Leg::new(id, profile.clone(), rungs, way, form);
        leg.ways_left = u8::try_from(left).unwrap_or(u8::MAX);
        leg.patient_since = now;
        leg.flags.prefix_ignored = terms.prefix_ignored;
        self.state.legs.reserve_exact(1);
        self.state.legs.push(leg);
        self.greet(id, &terms, out);
        self.wake_when_needed(now, out);
    }

    /// What is known about a pool.
    fn learnt(&self, terms: &PoolTerms) -> Learnt {
        let pool = name_hash(&terms.pool);
        let own = self.state.learnt.iter().find(|learnt| learnt.pool == pool).copied();
        let mut learnt = own.unwrap_or(Learnt { pool, fact: None, silent: 0 });
        if learnt.fact.is_none() {
            let known = self.terms.known.iter().find(|(known, _)| *known == pool);
            learnt.fact = known.map(|(_, fact)| *fact);
        }
        learnt
    }

    /// Keeps what was found out about a pool.
    pub(crate) fn remember(&mut self, learnt: Learnt) {
        self.state.learnt.retain(|other| other.pool != learnt.pool);
        if self.state.learnt.len() == MAX_LEARNT {
            self.state.learnt.remove(0);
        }
        self.state.learnt.push(learnt);
    }

    /// The first request, or requests.
    fn greet(&mut self, id: LegId, terms: &PoolTerms, out: &mut Outbox) {
        let agent = self.state.agent.clone();
        let subscribe = self.write_echo_subscribe();
        let Some(leg) = self.leg(id) else { return };
        if leg.way.echo {
            Self::ask(leg, Ask::Subscribe, b"", "mining.subscribe", out, |arena| {
                arena.extend_from_slice(&subscribe);
            });
            return self.send_login(id, terms, out);
        }
        let agent = agent.as_deref().unwrap_or(OWN_AGENT);
        match leg.way.variant {
            Variant::EthProxy => {
                leg.flags.subscribed = true;
                self.send_login(id, terms, out);
            }
            Variant::Plain => {
                Self::ask(leg, Ask::Subscribe, b"", "mining.subscribe", out, |arena| {
                    arena.push(b'[');
                    write_string(arena, agent);
                    arena.push(b']');
                });
            }
            Variant::NiceHash => {
                Self::ask(leg, Ask::Subscribe, b"", "mining.subscribe", out, |arena| {
                    arena.push(b'[');
                    write_string(arena, agent);
                    arena.extend_from_slice(b",\"EthereumStratum/1.0.0\"]");
                });
            }
            Variant::Stratum2 => {
                let host = terms.pool.clone();
                Self::ask(leg, Ask::Hello, b"", "mining.hello", out, |arena| {
                    arena.extend_from_slice(b"{\"agent\":");
                    write_string(arena, agent);
                    arena.extend_from_slice(b",\"host\":");
                    write_string(arena, &host);
                    arena
                        .extend_from_slice(b",\"port\":\"0\",\"proto\":\"EthereumStratum/2.0.0\"}");
                });
            }
        }
    }

    /// The parameters of a subscribe as the original sends them to sserver.
    fn write_echo_subscribe(&self) -> Vec<u8> {
        let state = &self.state;
        let (agent, protocol) = match state.variant {
            Some(Variant::EthProxy) => ("ETHProxy", "ETHProxy/1.0.0"),
            Some(Variant::Stratum2) => {
                (state.agent.as_deref().unwrap_or(ECHO_AGENT), "EthereumStratum/1.0.0")
            }
            // BTCAgent asks for nothing and wants this.
            Some(Variant::NiceHash) => (
                state.agent.as_deref().unwrap_or(ECHO_AGENT),
                state.protocol.as_deref().unwrap_or("EthereumStratum/1.0.0"),
            ),
            _ => (
                state.agent.as_deref().unwrap_or(ECHO_AGENT),
                state.protocol.as_deref().unwrap_or(ECHO_PROTOCOL),
            ),
        };
        let ip = match self.peer.map(|peer| peer.to_canonical()) {
            Some(IpAddr::V4(ip)) => u32::from(ip),
            Some(IpAddr::V6(_)) | None => 0,
        };
        let mut params = vec![b'['];
        write_string(&mut params, agent);
        params.push(b',');
        write_string(&mut params, protocol);
        params.extend_from_slice(format!(",\"{}\",{ip}]", state.id6()).as_bytes());
        params
    }

    /// The login of the miner.
    pub(crate) fn send_login(&mut self, id: LegId, terms: &PoolTerms, out: &mut Outbox) {
        let state = &mut self.state;
        let Some(worker) = &state.worker else { return };
        let Some(leg) = state.legs.iter_mut().find(|leg| leg.id == id) else { return };
        let (name, canonical) = (worker.name.as_str(), state.canonical.as_deref());
        let suffixed = leg.flags.suffixed;
        let filled = |template: &str| fill(template, name, canonical, "");
        leg.user = terms.user(name, canonical, suffixed).into();
        leg.worker = terms.worker.as_deref().map(|template| filled(template).into());
        let is_ethproxy = leg.way.variant == Variant::EthProxy;
        let mut params = vec![b'['];
        write_string(&mut params, &leg.user);
        if let Some(password) = &terms.password {
            params.push(b',');
            write_string(&mut params, &filled(password));
        } else if !worker.rest.is_empty() {
            params.push(b',');
            params.extend_from_slice(&worker.rest.0);
        } else if !is_ethproxy && !leg.way.echo {
            // There are pools that want two parameters and do not look at the second.
            params.extend_from_slice(b",\"x\"");
        }
        params.push(b']');
        let method = if is_ethproxy { "eth_submitLogin" } else { "mining.authorize" };
        Self::ask(leg, Ask::Authorize, b"", method, out, |arena| {
            arena.extend_from_slice(&params);
        });
    }

    /// Asks an `ETHProxy` pool for work, unless it was asked and has not answered.
    pub(crate) fn ask_for_work(&mut self, id: LegId, out: &mut Outbox) {
        let Some(leg) = self.leg(id) else { return };
        // sserver pushes all it has.
        let is_due = leg.way == Way { variant: Variant::EthProxy, echo: false }
            && leg.flags.authorized
            && !leg.awaits(Ask::GetWork)
            && leg.has_room();
        if is_due {
            Self::ask(leg, Ask::GetWork, b"", "eth_getWork", out, |arena| {
                arena.extend_from_slice(b"[]");
            });
        }
    }

    /// The answer to `mining.hello`.
    pub(crate) fn hello_answered(&mut self, id: LegId, message: &Message<'_>, out: &mut Outbox) {
        let result = message.result.unwrap_or_default();
        let encoding = members(result).find(|(name, _)| &**name == "encoding");
        let is_gzip = encoding.is_some_and(|(_, encoding)| string(encoding) == Some(b"gzip"));
        if !is_positive(message, Variant::EthProxy) || is_gzip {
            let why = if is_gzip {
                "the pool compresses what it sends (encoding gzip)"
            } else {
                "the pool refuses EthereumStratum/2.0.0"
            };
            return self.refuse_way(id, Retry::Later, why, out);
        }
        let Some(leg) = self.leg(id) else { return };
        Self::ask(leg, Ask::Subscribe, b"", "mining.subscribe", out, |arena| {
            arena.extend_from_slice(b"[]");
        });
    }

    /// The answer to our subscribe.
    pub(crate) fn subscribe_answered(
        &mut self,
        now: Millis,
        id: LegId,
        line: &[u8],
        message: &Message<'_>,
        out: &mut Outbox,
    ) {
        let Some(leg) = self.leg(id) else { return };
        let (way, result) = (leg.way, message.result.unwrap_or_default());
        if message.error.is_some_and(is_truthy) || result == b"false" {
            let refused = Refused::of(line, message);
            let why = format!("the pool refuses to subscribe: {} {}", refused.code, refused.why);
            let hint =
                if refused.code == NOT_A_SWITCHER { " (extranonce = \"echo\"?)" } else { "" };
            return self.refuse_way(id, Retry::Later, &format!("{why}{hint}"), out);
        }
        if way.variant == Variant::NiceHash {
            let extranonce = elements(result).nth(1).and_then(string).and_then(Extranonce::read);
            let Some(extranonce) = extranonce else {
                let why = "the pool answers subscribe otherwise than EthereumStratum/1.0.0 does";
                return self.refuse_way(id, Retry::Later, why, out);
            };
            leg.next.extranonce = extranonce;
        }
        // EIP-1571 tells it later.
        leg.flags.subscribed = way.variant != Variant::Stratum2;
        if !self.fits(id, out) {
            return;
        }
        let may_be_told = self.may_be_told();
        let Some(leg) = self.leg(id) else { return };
        if !way.echo {
            if way.variant == Variant::NiceHash && may_be_told {
                Self::ask(leg, Ask::Ignore, b"", "mining.extranonce.subscribe", out, |arena| {
                    arena.extend_from_slice(b"[]");
                });
            }
            if let Ok(terms) = PoolTerms::read(&leg.profile) {
                self.send_login(id, &terms, out);
            }
        }
        self.ready_if_complete(now, id, out);
    }

    /// The answer to the login.
    pub(crate) fn login_answered(
        &mut self,
        now: Millis,
        id: LegId,
        line: &[u8],
        message: &Message<'_>,
        out: &mut Outbox,
    ) {
        let Some(leg) = self.leg(id) else { return };
        if !is_positive(message, leg.way.variant) {
            return self.login_refused(id, &Refused::of(line, message), out);
        }
        leg.flags.authorized = true;
        leg.patient_since = now;
        if leg.way.variant == Variant::Stratum2 {
            let token = message
                .result
                .filter(|token| token.len() <= MAX_TOKEN && !is_null(token) && is_json(token));
            leg.token = Raw::of(token.unwrap_or(b"\"\""));
        }
        self.ask_for_work(id, out);
        if self.state.active == Some(id) && matches!(self.state.login, Login::Held(_)) {
            self.admit(out);
            return self.push_work(id, false, b"0", out);
        }
        self.ready_if_complete(now, id, out);
    }

    fn login_refused(&mut self, id: LegId, refused: &Refused, out: &mut Outbox) {
        let Some(leg) = self.leg(id) else { return };
        if leg.way.echo && !leg.flags.suffixed {
            // The original's second try; only sserver knows sub-accounts by a suffix, elsewhere it
            // would be a stranger's name.
            leg.flags.suffixed = true;
            if let Ok(terms) = PoolTerms::read(&leg.profile) {
                self.send_login(id, &terms, out);
            }
            return;
        }
        let has_more = leg.ways_left > 0;
        let why = format!("the pool refuses the user: {} {}", refused.code, refused.why);
        if self.state.active == Some(id) {
            // It has come back in place of another, whom the pool knows.
            self.turn_away(refused, out);
            return out.push(Action::Close { why: why.into() });
        }
        if has_more && is_about_words(refused) {
            return self.refuse_leg(id, Retry::NextForm, &why, out);
        }
        if matches!(self.state.login, Login::Held(_) | Login::Expected) {
            self.turn_away(refused, out);
            self.refuse_leg(id, Retry::Login, &why, out);
        } else {
            self.refuse_leg(id, Retry::User, &why, out);
        }
    }

    /// Whether the miner can be told another extranonce.
    fn may_be_told(&self) -> bool {
        match self.state.variant {
            Some(Variant::Stratum2) => true,
            Some(Variant::NiceHash) => self.state.extranonce_subscribed,
            _ => false,
        }
    }

    /// By which rung a leg serves the miner from the next job on.
    ///
    /// # Errors
    ///
    /// By none; the text says why.
    pub(crate) fn rung(&self, leg: &Leg) -> Result<Rung, String> {
        if self.is_agent() && self.state.cut_once && !leg.flags.served {
            return Ok(if leg.rungs.has(Rung::Reconnect) { Rung::Reconnect } else { Rung::Drop });
        }
        let theirs = leg.next.extranonce;
        let Some(miner) = self.state.variant else { return Ok(Rung::Echo) };
        if theirs.is_empty() || leg.flags.prefix_ignored {
            return Ok(Rung::Echo);
        }
        if !miner.has_extranonce() {
            return Err(format!(
                "nonce space: the pool fixes the head of the nonce ({theirs}), and a miner that \
                 speaks {} cannot be told",
                miner.label()
            ));
        }
        let told = self.state.told.extranonce;
        if told.is_some_and(|told| told.starts_with(&theirs)) {
            return Ok(Rung::Echo);
        }
        let most = if self.takes_two_bytes() { 2 } else { miner.most_extranonce() };
        if theirs.len() > most {
            return Err(format!(
                "extranonce: the pool gives {theirs}, the miner takes {most} bytes"
            ));
        }
        match told {
            None => Ok(Rung::Echo),
            Some(_) if self.may_be_told() => Ok(Rung::Announce),
            Some(_) if self.may_come_back(leg) => Ok(Rung::Drop),
            Some(told) => Err(format!(
                "extranonce: the miner has {told}, the pool gives {theirs}, and the miner has not \
                 asked for mining.extranonce.subscribe"
            )),
        }
    }

    /// Whether a leg can serve by a rung that is allowed; it is refused if not.
    pub(crate) fn fits(&mut self, id: LegId, out: &mut Outbox) -> bool {
        let Some(leg) = self.state.legs.iter().find(|leg| leg.id == id) else { return false };
        let why = match self.rung(leg) {
            Ok(rung) if leg.rungs.has(rung) => return true,
            Ok(rung) => format!("the rung {} is not allowed", rung.label()),
            Err(why) => why,
        };
        self.refuse_way(id, Retry::Permanent, &why, out);
        false
    }

    /// Says that the leg is ready, as soon as nothing is missing.
    pub(crate) fn ready_if_complete(&mut self, now: Millis, id: LegId, out: &mut Outbox) {
        let is_first = !self.state.cut_once;
        let is_active = self.state.active == Some(id);
        let Some(leg) = self.state.legs.iter().find(|leg| leg.id == id) else { return };
        let flags = leg.flags;
        if is_active || !flags.subscribed || !flags.authorized || flags.announced || flags.unfit {
            return;
        }
        if leg.relay.is_some() && leg.job.as_ref().is_none_or(|job| job.terms.goal.is_none()) {
            // Nobody knows what the miner would have to be told again.
            return;
        }
        let Ok(rung) = self.rung(leg) else { return };
        // Nobody is sent away for a pool that has not shown that it has work.
        let sends_back = rung == Rung::Drop;
        if (!is_first || sends_back) && leg.job.is_none() {
            return;
        }
        if !is_first && !sends_back && waits_until(leg).is_some_and(|time| now < time) {
            return self.wake_when_needed(now, out);
        }
        if self.state.subscribing.is_some() && !leg.next.extranonce.is_empty() {
            self.state.told.extranonce = Some(leg.next.extranonce);
        }
        self.learn(id, out);
        if let Some(leg) = self.leg(id) {
            leg.flags.announced = true;
            leg.flags.sends_back = sends_back;
        }
        // Nothing waits in front of it that could be too much.
        let _ = self.answer_waiting(out);
        out.push(Action::LegReady(id, rung));
    }

    /// `Input::Wake`.
    pub(crate) fn wake(&mut self, now: Millis, out: &mut Outbox) {
        let ids: Vec<LegId> = self.state.legs.iter().map(|leg| leg.id).collect();
        for id in ids {
            let Some(leg) = self.leg(id) else { continue };
            if speaks_until(leg).is_some_and(|time| now >= time) {
                let why = "the pool does not answer; it may speak otherwise";
                self.refuse_leg(id, Retry::NextForm, why, out);
            } else {
                self.ready_if_complete(now, id, out);
            }
        }
        self.wake_when_needed(now, out);
    }

    /// Asks to be woken when the first leg has waited long enough.
    fn wake_when_needed(&self, now: Millis, out: &mut Outbox) {
        let times = self.state.legs.iter().flat_map(|leg| {
            let waits = waits_until(leg).filter(|_| !leg.flags.announced && leg.job.is_some());
            [waits, speaks_until(leg)]
        });
        if let Some(time) = times.flatten().filter(|time| *time > now).min() {
            out.push(Action::WakeAt(time));
        }
    }

    /// Reports how the pool is spoken to if that is news.
    fn learn(&mut self, id: LegId, out: &mut Outbox) {
        let Some(leg) = self.leg(id) else { return };
        let Way { variant, echo } = leg.way;
        let Ok(terms) = PoolTerms::read(&leg.profile) else { return };
        let before = self.learnt(&terms);
        let fact = Fact { variant, echo };
        if before.silent != 0 || before.fact != Some(fact) {
            self.remember(Learnt { fact: Some(fact), silent: 0, ..before });
        }
        if before.fact != Some(fact) {
            out.push(Action::Learn { leg: id, fact: fact.to_json().into() });
        }
    }

    /// A leg ended before its pool had accepted the miner: another way may do.
    pub(crate) fn went_silently(&mut self, leg: &Leg) {
        if leg.ways_left == 0 && leg.form == 0 {
            return;
        }
        let Ok(terms) = PoolTerms::read(&leg.profile) else { return };
        let before = self.learnt(&terms);
        if before.fact.is_some() {
            // It is known how it is spoken to; it is in trouble.
            return;
        }
        let silent = before.silent.wrapping_add(leg.form).wrapping_add(1);
        self.remember(Learnt { silent, ..before });
    }

    /// Gives a leg up that has not served, for another way if there is one.
    fn refuse_way(&mut self, id: LegId, last: Retry, why: &str, out: &mut Outbox) {
        let has_more = self.leg(id).is_some_and(|leg| leg.ways_left > 0);
        self.refuse_leg(id, if has_more { Retry::NextForm } else { last }, why, out);
    }

    /// Gives a leg up that has not served.
    pub(crate) fn refuse_leg(&mut self, leg: LegId, retry: Retry, why: &str, out: &mut Outbox) {
        self.state.legs.retain(|other| other.id != leg);
        out.push(Action::LegRefused { leg, retry, why: why.into() });
    }

    /// Sends a request of ours up; `params` appends the parameters.
    pub(crate) fn ask(
        leg: &mut Leg,
        ask: Ask,
        miner_id: &[u8],
        method: &str,
        out: &mut Outbox,
        params: impl FnOnce(&mut Vec<u8>),
    ) {
        let id = leg.ask(ask, miner_id);
        let is_ethproxy = leg.way.variant == Variant::EthProxy;
        let worker = leg
            .worker
            .as_deref()
            .filter(|_| !leg.way.echo && matches!(ask, Ask::Authorize | Ask::Share | Ask::Ignore));
        out.send_with(Side::Upstream(leg.id), |arena| {
            let mut text = Vec::with_capacity(12);
            IDS.write(&mut text, id);
            // sserver gets the original's form, without the member.
            if is_ethproxy && !leg.way.echo {
                text.extend_from_slice(b",\"jsonrpc\":\"2.0\"");
            }
            write_request_start(arena, &text, method);
            params(arena);
            if let Some(worker) = worker {
                arena.extend_from_slice(b",\"worker\":");
                write_string(arena, worker);
            }
            arena.extend_from_slice(b"}\n");
        });
    }
}

/// Until when a leg that is to follow another waits for a difficulty, if it lacks one.
fn waits_until(leg: &Leg) -> Option<Millis> {
    let lacks = leg.job.as_ref().is_some_and(|job| job.terms.goal.is_none());
    lacks.then(|| leg.patient_since.plus(PATIENCE_MS))
}

/// Until when a pool is given to say anything at all, if there is another way to speak to it.
fn speaks_until(leg: &Leg) -> Option<Millis> {
    let waits = leg.ways_left > 0 && !leg.flags.spoken;
    waits.then(|| leg.patient_since.plus(SILENCE_MS))
}

/// Whether a refusal is about how we speak and not about who we are.
fn is_about_words(refused: &Refused) -> bool {
    let why = refused.why.to_ascii_lowercase();
    matches!(refused.code, -3 | -32_601 | -32_600 | -32_700 | NOT_A_SWITCHER)
        || ["method", "json", "protocol", "not supported", "unknown command"]
            .iter()
            .any(|word| why.contains(word))
}
