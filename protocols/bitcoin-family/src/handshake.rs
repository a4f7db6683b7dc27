//! From a new connection to a leg that can serve: configure, subscribe, authorize, replayed workers,
//! and what must have come before the miner may be cut over.
//!
//! Whether a pool is sserver in switcher mode can be left to be found out. A pool nothing is known
//! about is asked as any pool is; sserver says then, with an error of its own, that it wants a
//! switcher, and in the second form of the handshake it is proposed an extranonce1, but no address.
//! Once it has adopted one it is a proven sserver, and is spoken to as one from the next leg on.

use std::net::IpAddr;

use jsonrpc::{Message, elements, is_truthy, unsigned, write_string};
use stratum_common::pool::{ECHO_AGENT, OWN_AGENT, name_hash};
use switcher_plugin::{Action, LegId, Millis, Outbox, Profile, Retry, Rung, Rungs};

use crate::extranonce::{Means, Theirs};
use crate::leg::{Ask, Epoch, Flags, Leg, Welcome};
use crate::login::Login;
use crate::options::Known;
use crate::profile::{Fact, PoolTerms};
use crate::raw::Raw;
use crate::session::{Agent, BitcoinSession};
use crate::submits::{is_positive, plain_answer};
use crate::version_rolling::{DEFAULT_MASK, write_mask};

/// What is not waited for with a deadline of ours.
const NEVER: Millis = Millis(u64::MAX);

/// How long something is waited for that a pool may leave out.
const PATIENCE_MS: u64 = 2_000;

/// What sserver in switcher mode answers to a subscribe without an id: "Client is not a stratum
/// switcher" (btccom/btcpool, src/Stratum.h).
const NOT_A_SWITCHER: u64 = 400;

impl BitcoinSession {
    /// `Input::LegUp`.
    pub(crate) fn leg_up(
        &mut self,
        id: LegId,
        profile: &Profile,
        form: u8,
        rungs: Rungs,
        out: &mut Outbox,
    ) {
        if self.lets_unseen_go(out) {
            return;
        }
        let terms = match PoolTerms::read(profile) {
            Ok(terms) => terms,
            Err(why) => return self.refuse_leg(id, Retry::Permanent, &why, out),
        };
        if self.state.workers.is_empty() && !self.state.probe {
            return self.refuse_leg(id, Retry::Later, "the miner has not logged in", out);
        }
        if self.state.btcagent.is_some() && !terms.echo && !terms.detect {
            let why = "an agent's frames are understood by sserver only, and the pool is not \
                       configured as one (extranonce = \"echo\" or \"detect\")";
            return self.refuse_leg(id, Retry::Permanent, why, out);
        }
        let is_echo = terms.echo || (terms.detect && self.has_adopted(&terms));
        let mut leg = Leg::new(id, profile.clone(), is_echo, rungs);
        leg.flags.proposed = is_echo || (terms.detect && form > 0);
        let flags = leg.flags;
        let mask = match self.state.masks {
            Some(masks) => Some(masks.asked),
            None => self.state.probe.then_some(DEFAULT_MASK),
        };
        leg.flags.asked_mask = mask.is_some();
        if let Some(mask) = mask {
            Self::ask(&mut leg, Ask::Configure, b"", "mining.configure", out, |arena| {
                arena.extend_from_slice(b"[[\"version-rolling\"],{\"version-rolling.mask\":");
                write_mask(arena, mask);
                arena.extend_from_slice(b"}]");
            });
        }
        Self::ask(&mut leg, Ask::Subscribe, b"", "mining.subscribe", out, |arena| {
            self.write_subscribe(&terms, flags, arena);
        });
        self.state.legs.reserve_exact(1);
        self.state.legs.push(leg);
        if terms.pipelines(is_echo) && !self.state.probe {
            self.send_authorize(id, &terms, out);
        }
    }

    /// Whether the pool has adopted an extranonce1 of ours before.
    fn has_adopted(&self, terms: &PoolTerms) -> bool {
        let pool = name_hash(&terms.pool);
        let mut known = self.state.learnt.iter().chain(&*self.terms.known);
        known.find(|known| known.pool == pool).is_some_and(|known| known.fact.echo)
    }

    /// The agent for everyone, and for sserver the extranonce1 that we propose and the miner's
    /// address. A pool that is not known to be sserver is never told an address.
    fn write_subscribe(&self, terms: &PoolTerms, flags: Flags, arena: &mut Vec<u8>) {
        arena.push(b'[');
        match &self.state.agent {
            _ if self.state.probe => write_string(arena, &terms.probe.agent),
            Agent::Named(agent) => write_string(arena, agent),
            Agent::Odd if flags.echo => write_string(arena, ""),
            Agent::Silent if flags.echo => write_string(arena, ECHO_AGENT),
            Agent::Odd | Agent::Silent => write_string(arena, OWN_AGENT),
        }
        if flags.proposed {
            arena.extend_from_slice(format!(",\"{:08x}\"", self.state.short_id).as_bytes());
        }
        if flags.echo {
            let ip = match self.peer.map(|peer| peer.to_canonical()) {
                Some(IpAddr::V4(ip)) => u32::from(ip),
                Some(IpAddr::V6(_)) | None => 0,
            };
            arena.extend_from_slice(format!(",{ip}").as_bytes());
        }
        arena.push(b']');
    }

    /// Authorizes the first worker.
    fn send_authorize(&mut self, id: LegId, terms: &PoolTerms, out: &mut Outbox) {
        if self.state.probe {
            let Some(user) = terms.probe.user.clone() else { return };
            let Some(leg) = self.leg(id) else { return };
            Self::ask(leg, Ask::Authorize, b"", "mining.authorize", out, |arena| {
                arena.push(b'[');
                write_string(arena, &user);
                arena.push(b',');
                write_string(arena, &terms.probe.password);
                arena.push(b']');
            });
            return;
        }
        self.authorize_worker(id, 0, Ask::Authorize, b"", terms, out);
    }

    /// Authorizes a worker behind the first on `leg`; the miner waits for the answer if it has asked.
    pub(crate) fn send_worker(
        &mut self,
        leg: LegId,
        at: usize,
        waiting: Option<Raw>,
        out: &mut Outbox,
    ) {
        let Ok(place) = u8::try_from(at) else { return };
        let Some(terms) = self.leg(leg).and_then(|leg| PoolTerms::read(&leg.profile).ok()) else {
            return;
        };
        let ask = if waiting.is_some() { Ask::Worker(place) } else { Ask::Replay(place) };
        let miner_id = waiting.unwrap_or_default();
        self.authorize_worker(leg, at, ask, &miner_id.0, &terms, out);
    }

    fn authorize_worker(
        &mut self,
        leg: LegId,
        at: usize,
        ask: Ask,
        miner_id: &[u8],
        terms: &PoolTerms,
        out: &mut Outbox,
    ) {
        let Self { state, .. } = self;
        let Some(worker) = state.workers.get(at) else { return };
        let Some(leg) = state.legs.iter_mut().find(|other| other.id == leg) else { return };
        let (name, canonical) = (worker.name.as_str(), state.canonical.as_deref());
        let renamed = Self::renamed(terms, name, canonical, leg.flags.suffixed);
        Self::ask(leg, ask, miner_id, "mining.authorize", out, |arena| {
            arena.push(b'[');
            write_string(arena, renamed.as_deref().unwrap_or(name));
            if let Some(password) = terms.password(name, canonical) {
                arena.push(b',');
                write_string(arena, &password);
            } else if !worker.password.is_empty() {
                arena.push(b',');
                arena.extend_from_slice(&worker.password.0);
            }
            arena.push(b']');
        });
        leg.workers_sent |= 1 << at;
        if renamed.is_some() || leg.names().len() > at {
            let suffixed = leg.flags.suffixed;
            let names = &mut leg.rare().names;
            // Workers in front that keep their name must have a place, too.
            for before in names.len()..=at {
                let name = state.workers.get(before).map_or("", |worker| worker.name.as_str());
                let name = terms.user(name, canonical, suffixed);
                names.push(name.into());
            }
            if let (Some(place), Some(renamed)) = (names.get_mut(at), renamed) {
                *place = renamed;
            }
        }
    }

    /// The answer to our subscribe.
    pub(crate) fn subscribe_answered(
        &mut self,
        now: Millis,
        leg_id: LegId,
        message: &Message<'_>,
        out: &mut Outbox,
    ) {
        let refused = message.error.is_some_and(is_truthy);
        let theirs = if refused {
            let (_, error) = plain_answer(message);
            if self.wants_a_switcher(leg_id, &error) {
                let why = "the pool wants an extranonce1 proposed";
                return self.refuse_leg(leg_id, Retry::NextForm, why, out);
            }
            Err(format!("the pool refuses to subscribe: {}", String::from_utf8_lossy(&error)))
        } else {
            Theirs::of_subscribe(message.result.unwrap_or_default())
        };
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(why) => return self.refuse_leg(leg_id, Retry::Later, &why, out),
        };
        let mut told = false;
        if !self.state.probe {
            self.refit(theirs.size2());
            let (own, means) = (self.own(), self.means_of(leg_id));
            match self.rung_at(&theirs, own, means) {
                Ok(rung) => told = rung == Rung::Announce,
                Err(why) => {
                    // Its sizes are worth knowing even so: later sessions may leave room.
                    self.learn(leg_id, &theirs, out);
                    return self.refuse_leg(leg_id, Retry::Permanent, &why, out);
                }
            }
        }
        let tag = self.new_tag();
        let own = self.own();
        let Some(leg) = self.leg(leg_id) else { return };
        leg.start_epoch(Epoch::new(tag, theirs, told));
        let asked = |ask: Ask| leg.outstanding.iter().any(|asked| asked.ask == ask);
        let needs_login = !leg.flags.authorized && !asked(Ask::Authorize);
        let Ok(terms) = PoolTerms::read(&leg.profile) else { return };
        if terms.detect {
            leg.flags.echo = leg.flags.proposed && theirs.is_proposal(own);
        }
        if self.state.probe && terms.probe.user.is_none() {
            return self.finish_probe(leg_id, out);
        }
        if needs_login {
            self.send_authorize(leg_id, &terms, out);
        }
        self.ready_if_complete(now, leg_id, out);
    }

    /// Whether an answer to subscribe is what sserver says to one that proposes nothing.
    fn wants_a_switcher(&mut self, leg: LegId, error: &[u8]) -> bool {
        let code = elements(error).next().and_then(unsigned);
        let Some(leg) = self.leg(leg) else { return false };
        let may_find_out = PoolTerms::read(&leg.profile).is_ok_and(|terms| terms.detect);
        may_find_out && !leg.flags.proposed && code == Some(NOT_A_SWITCHER)
    }

    /// The answer to the first worker's authorize.
    pub(crate) fn authorize_answered(
        &mut self,
        now: Millis,
        leg_id: LegId,
        message: &Message<'_>,
        out: &mut Outbox,
    ) {
        if self.state.probe {
            return self.finish_probe(leg_id, out);
        }
        if !is_positive(message) {
            return self.authorize_refused(leg_id, message, out);
        }
        let (result, error) = plain_answer(message);
        let Some(leg) = self.leg(leg_id) else { return };
        leg.flags.authorized = true;
        leg.patient_since = now;
        if (&*result, &*error) != (b"true", b"null") {
            let (result, error) = (Raw(result.into()), Raw(error.into()));
            leg.rare().welcome = Some(Welcome { result, error });
        }
        self.send_suggestion(leg_id, out);
        self.enrol(leg_id, out);
        let accepted: Vec<usize> = self
            .state
            .workers
            .iter()
            .enumerate()
            .skip(1)
            .filter_map(|(at, worker)| worker.accepted.then_some(at))
            .collect();
        for at in accepted {
            self.send_worker(leg_id, at, None, out);
        }
        self.ready_if_complete(now, leg_id, out);
    }

    fn authorize_refused(&mut self, leg_id: LegId, message: &Message<'_>, out: &mut Outbox) {
        let Some(leg) = self.leg(leg_id) else { return };
        if leg.flags.echo && !leg.flags.suffixed {
            // The original's second try; only sserver knows sub-accounts by a suffix, elsewhere it
            // would be a stranger's name.
            leg.flags.suffixed = true;
            leg.rare().names = Vec::new();
            if let Ok(terms) = PoolTerms::read(&leg.profile) {
                self.send_authorize(leg_id, &terms, out);
            }
            return;
        }
        let (result, error) = plain_answer(message);
        let shown = String::from_utf8_lossy(&error).into_owned();
        let why = format!("the pool refuses the user: {shown}");
        if self.state.login.held().is_some() {
            self.answer_login(&result, &error, Login::None, out);
            self.forget_login(out);
            self.refuse_leg(leg_id, Retry::Login, &why, out);
        } else {
            self.refuse_leg(leg_id, Retry::User, &why, out);
        }
    }

    /// Passes the miner's wish for a difficulty on, if it has one.
    pub(crate) fn send_suggestion(&mut self, leg_id: LegId, out: &mut Outbox) {
        let Self { state, .. } = self;
        let Some(suggestion) = &state.suggestion else { return };
        let Some(leg) = state.legs.iter_mut().find(|leg| leg.id == leg_id) else { return };
        if !leg.has_room() {
            return;
        }
        let method =
            if suggestion.target { "mining.suggest_target" } else { "mining.suggest_difficulty" };
        Self::ask(leg, Ask::Ignore, b"", method, out, |arena| {
            arena.extend_from_slice(&suggestion.params.0);
        });
    }

    /// Says that the leg is ready, as soon as nothing is missing.
    pub(crate) fn ready_if_complete(&mut self, now: Millis, leg_id: LegId, out: &mut Outbox) {
        let own = self.own();
        let is_first = !self.state.cut_once;
        let is_active = self.state.active == Some(leg_id);
        let Some(leg) = self.leg(leg_id) else { return };
        let (flags, rungs) = (leg.flags, leg.rungs);
        if is_active || !flags.authorized || flags.announced || flags.unfit {
            return;
        }
        if leg.relay().is_some() && leg.difficulty_in_force().is_none() {
            // Nobody knows what it would have to be told again.
            return;
        }
        let means = self.means(rungs);
        let Some(leg) = self.leg(leg_id) else { return };
        let Some(epoch) = &leg.epoch else { return };
        let rung = if flags.served {
            epoch.rung(own)
        } else {
            // What the miner has asked for since may have opened a better one.
            let theirs = epoch.theirs;
            let rung = self.rung_at(&theirs, own, means).ok();
            let latest = self.leg(leg_id).and_then(|leg| leg.latest_theirs());
            let Some(epoch) = self.leg(leg_id).and_then(|leg| leg.epoch.as_mut()) else { return };
            epoch.told = rung == Some(Rung::Announce);
            // From its next job on the pool may have no room any more.
            match latest.and_then(|latest| self.rung_at(&latest, own, means).ok()) {
                next @ Some(Rung::Reconnect | Rung::Drop) => next,
                _ => rung,
            }
        };
        let Some(rung) = rung else { return };
        // Nobody is sent away for a pool that has not shown that it has work.
        let sends_back = matches!(rung, Rung::Reconnect | Rung::Drop);
        let has_job = self.leg(leg_id).is_some_and(|leg| leg.job.is_some());
        if (!is_first || sends_back) && !has_job {
            return;
        }
        if !sends_back && self.waits_until(leg_id).is_some_and(|time| now < time) {
            return self.wake_when_needed(now, out);
        }
        self.announce(leg_id, rung, out);
    }

    fn announce(&mut self, leg_id: LegId, rung: Rung, out: &mut Outbox) {
        let is_first = !self.state.cut_once;
        let (mask, theirs) = match self.leg(leg_id) {
            Some(leg) => (leg.mask, leg.epoch.map(|epoch| epoch.theirs)),
            None => return,
        };
        if let Some(theirs) = theirs {
            self.learn(leg_id, &theirs, out);
        }
        if let Some(masks) = self.state.masks
            && !is_first
            && !matches!(rung, Rung::Reconnect | Rung::Drop)
            && masks.current & !mask != 0
            && !self.obeys_version_mask()
        {
            let (current, allowed) = (masks.current, mask & masks.told);
            let why = format!(
                "version mask: the miner rolls {current:08x}, the pool allows {allowed:08x}, and \
                 the miner is not known to obey mining.set_version_mask"
            );
            return match self.leg(leg_id).map(|leg| leg.flags) {
                Some(flags) if flags.served => {}
                // The miner has asked for version rolling since the leg is up.
                Some(flags) if !flags.asked_mask => {
                    let why = "the pool was not asked for the version bits that the miner rolls";
                    self.refuse_leg(leg_id, Retry::NextForm, why, out);
                }
                _ => self.refuse_leg(leg_id, Retry::Permanent, &why, out),
            };
        }
        if let Some(leg) = self.leg(leg_id) {
            leg.flags.announced = true;
            leg.ready_by = Some(rung);
        }
        out.push(Action::LegReady(leg_id, rung));
    }

    fn obeys_version_mask(&self) -> bool {
        self.quirks().obeys_version_mask
    }

    /// What may be done for the pool of a leg if it has no room.
    pub(crate) fn means_of(&self, leg: LegId) -> Means {
        let rungs = self.state.legs.iter().find(|other| other.id == leg).map(|leg| leg.rungs);
        self.means(rungs.unwrap_or(Rungs::NONE))
    }

    /// `Input::Wake`.
    pub(crate) fn wake(&mut self, now: Millis, out: &mut Outbox) {
        let ids: Vec<LegId> = self.state.legs.iter().map(|leg| leg.id).collect();
        for id in ids {
            self.ready_if_complete(now, id, out);
        }
    }

    /// Until when a leg waits for something that may never come, if it lacks something. One that is to
    /// follow another: a difficulty, the answer to configure (`ViaBTC` has none for some), and answers
    /// for workers behind the first (ckpool has none).
    fn waits_until(&self, leg: LegId) -> Option<Millis> {
        let leg = self.state.legs.iter().find(|other| other.id == leg)?;
        let lacks =
            leg.difficulty_in_force().is_none() || (!leg.flags.served && leg.lacks_answers());
        let follows = (lacks && self.state.cut_once).then(|| leg.patient_since.plus(PATIENCE_MS));
        follows.max(self.agent_waits_until(leg))
    }

    /// Asks to be woken when the first leg has waited long enough.
    fn wake_when_needed(&self, now: Millis, out: &mut Outbox) {
        let waiting = self.state.legs.iter().filter(|leg| !leg.flags.announced);
        let times = waiting.filter_map(|leg| self.waits_until(leg.id));
        if let Some(time) = times.filter(|time| *time > now && *time < NEVER).min() {
            out.push(Action::WakeAt(time));
        }
    }

    /// Reports a pool's sizes and mask if they are news.
    fn learn(&mut self, leg_id: LegId, theirs: &Theirs, out: &mut Outbox) {
        let asked = match self.state.masks {
            Some(masks) => masks.asked,
            None if self.state.probe => DEFAULT_MASK,
            None => 0,
        };
        let own = self.own();
        let Some(leg) = self.leg(leg_id) else { return };
        let Ok(terms) = PoolTerms::read(&leg.profile) else { return };
        // What a miner is granted says something about the pool only if it has asked for all.
        let is_answered = leg.outstanding.iter().all(|asked| asked.ask != Ask::Configure);
        let asked_all = asked & DEFAULT_MASK == DEFAULT_MASK;
        let mask = (asked_all && is_answered).then_some(leg.mask & DEFAULT_MASK);
        let echo = leg.flags.proposed && theirs.is_proposal(own);
        let pool = name_hash(&terms.pool);
        let all = self.state.learnt.iter().chain(&*self.terms.known);
        let before = all.filter(|known| known.pool == pool).map(|known| known.fact).next();
        let fact = Fact {
            extranonce1_size: u8::try_from(theirs.len()).unwrap_or(u8::MAX),
            extranonce2_size: theirs.size2(),
            version_mask: mask.or(before.and_then(|before| before.version_mask)),
            echo,
        };
        if before == Some(fact) {
            return;
        }
        self.state.learnt.retain(|known| known.pool != pool);
        self.state.learnt.reserve_exact(1);
        self.state.learnt.push(Known { pool, fact });
        out.push(Action::Learn { leg: leg_id, fact: fact.to_json().into() });
    }

    fn finish_probe(&mut self, leg_id: LegId, out: &mut Outbox) {
        let theirs = self.leg(leg_id).and_then(|leg| leg.epoch).map(|epoch| epoch.theirs);
        if let Some(theirs) = theirs {
            self.learn(leg_id, &theirs, out);
        }
        out.push(Action::Close { why: "the probe has seen enough".into() });
    }

    /// Gives a leg up that has not served.
    pub(crate) fn refuse_leg(&mut self, leg: LegId, retry: Retry, why: &str, out: &mut Outbox) {
        self.state.legs.retain(|other| other.id != leg);
        out.push(Action::LegRefused { leg, retry, why: why.into() });
        if self.state.probe {
            out.push(Action::Close { why: "the probe was refused".into() });
        }
    }
}
