//! Who the miner is and how it logs in.

use std::fmt;

use jsonrpc::{Raw, elements, is_json, member, text};
use serde::{Deserialize, Serialize};
use stratum_common::miner;
use stratum_common::names::{NameError, split};
use switcher_plugin::{Action, Coin, Fault, FaultKind, Outbox, Side, SubAccount, WorkerName};

use crate::names::full_name;
use crate::replies::{Refused, write_refused, write_result};
use crate::session::EthSession;
use crate::variant::Variant;

/// Longest parameters behind the name that are taken.
const MAX_REST: usize = 512;

/// How far the miner's login is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Login {
    None,
    /// It is known who the miner is, which has not said so yet; see [`crate::returning`].
    Expected,
    /// The miner waits for the answer to the request with this id.
    Held(Raw),
    Done,
}

/// What the miner has logged in with.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub(crate) name: WorkerName,
    /// The parameters behind the name, JSON text with commas between: a password, or an e-mail.
    pub(crate) rest: Raw,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password: what is printed may be logged.
        f.debug_struct("Worker").field("name", &self.name).finish_non_exhaustive()
    }
}

impl EthSession {
    /// `eth_submitLogin`, `mining.authorize`.
    pub(crate) fn log_in(
        &mut self,
        id: &[u8],
        line: &[u8],
        params: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let name = match read_name(line, params) {
            Ok(name) => name,
            Err(NameError(code, why)) => {
                Self::disregard(out, Side::Downstream, FaultKind::BadParams);
                return self.deny(id, code, why, out);
            }
        };
        if self.state.variant != Some(Variant::EthProxy) && !self.state.subscribed {
            return self.deny(id, 101, "Need Subscribed", out);
        }
        let worker = Worker { name: WorkerName::new(&name), rest: read_rest(params) };
        match self.state.login {
            Login::None => {
                let sub_account = SubAccount::new(split(&name).0);
                self.state.login = Login::Held(Raw::of(id));
                out.push(Action::Identify { sub_account, worker: worker.name.clone() });
                self.state.worker = Some(worker);
                Ok(())
            }
            Login::Expected => self.expected(id, worker, out),
            Login::Held(_) | Login::Done => self.log_in_again(id, &name, out),
        }
    }

    /// A second login is a repetition, or somebody else, who needs a connection of his own.
    fn log_in_again(&mut self, id: &[u8], name: &str, out: &mut Outbox) -> Result<(), Fault> {
        let is_same = self.state.worker.as_ref().is_some_and(|first| first.name.as_str() == name);
        if is_same && self.state.login == Login::Done {
            let result = self.login_result();
            return self.grant(id, &result, out);
        }
        Self::disregard(out, Side::Downstream, FaultKind::Unexpected);
        self.deny(id, 24, "One worker for each connection", out)
    }

    /// What a miner gets that has logged in.
    fn login_result(&self) -> Vec<u8> {
        match self.state.variant {
            // Comes back with each share; there is one worker, so it says nothing.
            Some(Variant::Stratum2) => format!("\"{}\"", self.state.id6()).into_bytes(),
            _ => b"true".to_vec(),
        }
    }

    /// `Input::Assigned`.
    pub(crate) fn assigned(&mut self, coin: &Coin, canonical_name: &str) {
        let worker = self.state.worker.as_ref();
        let own_spelling =
            worker.is_some_and(|worker| split(worker.name.as_str()).0 == canonical_name);
        self.state.canonical = (!own_spelling).then(|| canonical_name.into());
        self.state.coin = Some(coin.clone());
    }

    /// Tells the miner that it is in, and everything that waits behind that.
    pub(crate) fn admit(&mut self, out: &mut Outbox) {
        let result = self.login_result();
        let variant = self.state.variant;
        self.answer_login(Login::Done, out, |arena, id| write_result(arena, variant, id, &result));
    }

    /// Tells the miner that it is not, and forgets who it is: it may try anew.
    pub(crate) fn turn_away(&mut self, refused: &Refused, out: &mut Outbox) {
        let (variant, server) = (self.state.variant, self.server_in(refused.code));
        self.answer_login(Login::None, out, |arena, id| {
            write_refused(arena, variant, id, b"null", refused, server);
        });
        self.no_work(out);
        if let Some(id) = self.state.subscribing.take().filter(|id| !id.is_empty()) {
            out.send_with(Side::Downstream, |arena| {
                write_refused(arena, variant, &id.0, b"null", refused, server);
            });
        }
        self.state.worker = None;
        self.state.canonical = None;
        self.state.coin = None;
    }

    fn answer_login(
        &mut self,
        next: Login,
        out: &mut Outbox,
        write: impl FnOnce(&mut Vec<u8>, &[u8]),
    ) {
        let Login::Held(id) = std::mem::replace(&mut self.state.login, next) else { return };
        let held = std::mem::take(&mut self.state.held);
        miner::release(&id.0, &held.0, out, |arena| write(arena, &id.0));
    }
}

/// The name of a miner by its login, `line`, with these parameters.
pub(crate) fn read_name(line: &[u8], params: &[u8]) -> Result<String, NameError> {
    stratum_common::names::read_name(params, |login| {
        let worker = member(line, "worker").and_then(text);
        full_name(&login, worker.as_deref())
    })
}

/// What stands behind the name, unless a pool could not read it.
pub(crate) fn read_rest(params: &[u8]) -> Raw {
    let rest: Vec<&[u8]> = elements(params).skip(1).collect();
    let rest = rest.join(&b","[..]);
    let is_fine = rest.len() <= MAX_REST && is_json(&[b"[", &*rest, b"]"].concat());
    Raw::of(if is_fine { &rest } else { b"" })
}
