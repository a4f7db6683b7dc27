//! Miners of `NiceHash`'s variant that cannot be told another extranonce: they are sent away, and
//! when they come back they get their pool's at their subscribe.
//!
//! Every pool gives each connection another extranonce, so the leg must stand before the answer to
//! subscribe, and the miner has not said by then who it is. That is what the note says. Miners
//! behind one address may come back in another order than they went: one of the same sub-account
//! is logged in by its own name at the pool, any other has to try again.

use jsonrpc::Raw;
use stratum_common::names::split;
use stratum_common::pool::OWN_AGENT;
use switcher_plugin::{Action, Fault, FaultKind, LegId, Outbox, Rung, Side, SubAccount};

use crate::leg::Leg;
use crate::login::{Login, Worker};
use crate::profile::PoolTerms;
use crate::session::EthSession;
use crate::variant::Variant;

/// Longest note; longer ones are not kept.
const MAX_NOTE: usize = 500;

impl EthSession {
    /// Asks what is remembered of a miner that subscribes. False if nothing can be.
    pub(crate) fn recall(&mut self, id: &[u8], out: &mut Outbox) -> bool {
        let is_free = self.state.login == Login::None && !self.is_agent();
        let Some(key) = self.place_key().filter(|_| is_free) else { return false };
        self.state.subscribing = Some(Raw::of(id));
        out.push(Action::Recall { key });
        true
    }

    /// `Input::Recalled`.
    pub(crate) fn recalled(&mut self, note: Option<&str>, out: &mut Outbox) -> Result<(), Fault> {
        let worker = note.and_then(|note| serde_json::from_str::<Worker>(note).ok());
        let Some(worker) = worker.filter(|_| self.state.login == Login::None) else {
            return self.answer_waiting(out);
        };
        let sub_account = SubAccount::new(split(worker.name.as_str()).0);
        self.state.login = Login::Expected;
        out.push(Action::Identify { sub_account, worker: worker.name.clone() });
        self.state.worker = Some(worker);
        Ok(())
    }

    /// Answers a subscribe that has waited, if there is one.
    pub(crate) fn answer_waiting(&mut self, out: &mut Outbox) -> Result<(), Fault> {
        match self.state.subscribing.take() {
            Some(id) => self.answer_subscribe(&id.0, out),
            None => Ok(()),
        }
    }

    /// The miner that is expected, or another one, logs in.
    pub(crate) fn expected(
        &mut self,
        id: &[u8],
        worker: Worker,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let before = self.state.worker.as_ref().map(|worker| worker.name.clone());
        let before = before.as_ref().map_or("", |name| name.as_str());
        if split(before).0 != split(worker.name.as_str()).0 {
            Self::disregard(out, Side::Downstream, FaultKind::Unexpected);
            self.deny(id, 24, "Another worker was expected, connect again", out)?;
            let why = "a miner of another sub-account has come back in its place".into();
            out.push(Action::Close { why });
            return Ok(());
        }
        let is_same = before == worker.name.as_str();
        self.state.login = Login::Held(Raw::of(id));
        self.state.worker = Some(worker);
        if !is_same {
            let legs: Vec<LegId> = self.state.legs.iter().map(|leg| leg.id).collect();
            for leg in legs {
                self.log_in_anew(leg, out);
            }
        } else if let Some(active) = self.state.active {
            self.admit(out);
            self.push_work(active, false, b"0", out);
        }
        Ok(())
    }

    /// Tells a pool the name that the miner has in fact.
    fn log_in_anew(&mut self, id: LegId, out: &mut Outbox) {
        let Some(leg) = self.leg(id).filter(|leg| !leg.user.is_empty()) else { return };
        leg.flags.authorized = false;
        if let Ok(terms) = PoolTerms::read(&leg.profile) {
            self.send_login(id, &terms, out);
        }
    }

    /// Whether a miner may be sent away so that this leg's pool can serve it.
    pub(crate) fn may_come_back(&self, leg: &Leg) -> bool {
        self.state.variant == Some(Variant::NiceHash)
            && leg.rungs.has(Rung::Drop)
            && self.place_key().is_some()
            && self.note().is_some()
    }

    /// `Input::CutOver` to a leg that the miner must come back for. The engine hangs up.
    pub(crate) fn send_back(&mut self, out: &mut Outbox) {
        if let (Some(key), Some(note)) = (self.place_key(), self.note()) {
            out.push(Action::Remember { key, note });
        }
    }

    fn note(&self) -> Option<Box<str>> {
        let note = serde_json::to_string(self.state.worker.as_ref()?).ok()?;
        (note.len() <= MAX_NOTE).then(|| note.into())
    }

    /// Under what a miner is looked for.
    fn place_key(&self) -> Option<Box<str>> {
        let peer = self.peer?.to_canonical();
        let agent = self.state.agent.as_deref().unwrap_or(OWN_AGENT);
        Some(format!("at:{peer}/{agent}").into())
    }
}
