//! Who the miner is: its workers, how they log in, and what they are called towards pools.

use std::fmt;

use jsonrpc::{Message, elements, is_json, write_error, write_reply};
use serde::{Deserialize, Serialize};
use stratum_common::miner;
use stratum_common::names::{NameError, split};
use switcher_plugin::{Action, Coin, Fault, FaultKind, Outbox, Side, SubAccount, WorkerName};

use crate::names::clean;
use crate::raw::Raw;
use crate::session::BitcoinSession;

/// Most workers of one session; one bit each in [`crate::leg::Leg::workers_sent`].
const MAX_WORKERS: usize = 64;

/// Longest password that is taken.
const MAX_PASSWORD: usize = 256;

/// How far the first worker's login is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Login {
    None,
    /// The miner waits for the answer to the request with this id.
    Held(Raw),
    Done,
}

impl Login {
    /// The id of the authorize that the miner waits for.
    pub(crate) fn held(&self) -> Option<&[u8]> {
        match self {
            Self::Held(id) => Some(&id.0),
            Self::None | Self::Done => None,
        }
    }
}

/// One worker of the miner.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub(crate) name: WorkerName,
    /// JSON text of the password; empty if none was given.
    pub(crate) password: Raw,
    /// The miner's id of an authorize that waits for a leg.
    pub(crate) waiting: Option<Raw>,
    /// A pool has accepted it.
    pub(crate) accepted: bool,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password: what is printed may be logged.
        f.debug_struct("Worker")
            .field("name", &self.name)
            .field("waiting", &self.waiting)
            .field("accepted", &self.accepted)
            .finish_non_exhaustive()
    }
}

impl BitcoinSession {
    /// `mining.authorize`.
    pub(crate) fn authorize(
        &mut self,
        id: &[u8],
        message: &Message<'_>,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let params = message.params.unwrap_or_default();
        let name = match read_name(params) {
            Ok(name) => name,
            Err(NameError(code, why)) => {
                Self::disregard(out, Side::Downstream, FaultKind::BadParams);
                return self.deny(id, code, why, out);
            }
        };
        let worker = Worker {
            name: WorkerName::new(&name),
            password: read_password(params),
            waiting: None,
            accepted: false,
        };
        if self.state.login != Login::None {
            return self.authorize_further(id, worker, out);
        }
        self.own();
        self.state.login = Login::Held(Raw::of(id));
        let sub_account = SubAccount::new(split(&name).0);
        let worker_name = worker.name.clone();
        self.state.workers = vec![worker];
        out.push(Action::Identify { sub_account, worker: worker_name });
        Ok(())
    }

    /// A worker behind the first one. It routes nothing, so it must be of the same sub-account.
    fn authorize_further(
        &mut self,
        id: &[u8],
        worker: Worker,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let first = self.state.workers.first().map(|first| first.name.clone());
        let is_same_account =
            first.is_some_and(|first| split(first.as_str()).0 == split(worker.name.as_str()).0);
        if !is_same_account {
            Self::disregard(out, Side::Downstream, FaultKind::Unexpected);
            return self.deny(id, 24, "Unauthorized worker", out);
        }
        let known = self.state.workers.iter().position(|known| known.name == worker.name);
        let is_waiting = known
            .and_then(|at| self.state.workers.get(at))
            .is_some_and(|known| known.waiting.is_some());
        if is_waiting || (known.is_none() && self.state.workers.len() == MAX_WORKERS) {
            Self::disregard(out, Side::Downstream, FaultKind::Excess);
            return self.deny(id, 20, "Too many workers", out);
        }
        let at = known.unwrap_or(self.state.workers.len());
        match self.state.workers.get_mut(at) {
            Some(known) => known.password = worker.password,
            None => self.state.workers.push(worker),
        }
        if let Some(worker) = self.state.workers.get_mut(at) {
            worker.waiting = Some(Raw::of(id));
        }
        self.send_waiting_workers(out);
        self.state.active.map_or(Ok(()), |active| self.give_up_oldest(active, out))
    }

    /// Sends waiting workers up on the active leg, and those that other legs have accepted.
    pub(crate) fn send_waiting_workers(&mut self, out: &mut Outbox) {
        let Some(active) = self.state.active else { return };
        for at in 0..self.state.workers.len() {
            let Some(worker) = self.state.workers.get_mut(at) else { return };
            let waiting = worker.waiting.take();
            let accepted = worker.accepted;
            let is_sent = self.leg(active).is_some_and(|leg| leg.workers_sent & (1 << at) != 0);
            if waiting.is_some() || (accepted && !is_sent) {
                self.send_worker(active, at, waiting, out);
            }
        }
    }

    /// `Input::Assigned`.
    pub(crate) fn assigned(&mut self, coin: &Coin, canonical_name: &str) {
        let own_spelling = self
            .state
            .workers
            .first()
            .is_some_and(|worker| split(worker.name.as_str()).0 == canonical_name);
        self.state.canonical = (!own_spelling).then(|| canonical_name.into());
        self.state.coin = Some(coin.clone());
    }

    /// Answers the first authorize and everything behind it.
    pub(crate) fn answer_login(
        &mut self,
        result: &[u8],
        error: &[u8],
        next: Login,
        out: &mut Outbox,
    ) {
        let Login::Held(id) = std::mem::replace(&mut self.state.login, next) else { return };
        let held = std::mem::take(&mut self.state.held);
        miner::release(&id.0, &held.0, out, |arena| write_reply(arena, &id.0, result, error));
    }

    /// Forgets who the miner is; it may log in anew. Further workers that wait are refused.
    pub(crate) fn forget_login(&mut self, out: &mut Outbox) {
        for worker in std::mem::take(&mut self.state.workers) {
            let waiting = worker.waiting.filter(|id| !id.is_empty());
            if let Some(id) = waiting {
                out.send_with(Side::Downstream, |arena| {
                    write_error(arena, &id.0, 24, "Unauthorized worker");
                });
            }
        }
        self.state.canonical = None;
        self.state.coin = None;
    }
}

pub(crate) fn read_name(params: &[u8]) -> Result<String, NameError> {
    stratum_common::names::read_name(params, |name| clean(&name))
}

/// The password as the miner wrote it, unless a pool could not read it.
pub(crate) fn read_password(params: &[u8]) -> Raw {
    let password = elements(params).nth(1).unwrap_or_default();
    let is_fine = password.len() <= MAX_PASSWORD && is_json(password);
    Raw::of(if is_fine { password } else { b"" })
}
