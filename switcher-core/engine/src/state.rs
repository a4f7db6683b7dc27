//! What a freeze returns and a start takes: everything that must not be lost between two runs.
//!
//! Plain data beside a list of sockets. In one process the sockets are simply carried along; an
//! upgrade clears close-on-exec on them and writes their numbers down.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use switcher_plugin::{SourceState, SubAccount};
use tokio::sync::oneshot;

use crate::board::Entry;
use crate::ids::Cursor;
use crate::memory::SavedNote;
use crate::plan::Plan;
use crate::session::frozen::{FrozenData, FrozenSession};
use crate::texts::Texts;
use crate::upgrades::UpgradeBook;

/// See the module. The empty state is a first start.
#[derive(Debug, Default)]
pub struct State {
    /// The data.
    pub document: Document,
    /// The sockets: the listeners', the admin listener's, then each session's in the order of the
    /// document.
    pub sockets: Vec<OwnedFd>,
    /// What shards will give back that have not answered the freeze yet.
    pub(crate) late: Vec<oneshot::Receiver<Vec<FrozenSession>>>,
}

/// The data of a [`State`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Document {
    /// Sessions at rest.
    pub(crate) sessions: Vec<FrozenData>,
    /// Listening sockets by name and address.
    pub(crate) listeners: Vec<SavedListener>,
    /// The board.
    pub(crate) board: BTreeMap<SubAccount, Entry>,
    /// What each source returned, by name.
    pub(crate) sources: BTreeMap<String, SourceState>,
    /// What was learnt, by pool.
    pub(crate) facts: BTreeMap<String, String>,
    /// Counters by name, summed over the shards.
    pub(crate) counters: BTreeMap<String, u64>,
    /// Addresses of pools by `host:port`, so that nobody waits for a resolver.
    pub(crate) addresses: BTreeMap<String, Vec<SocketAddr>>,
    /// The number the next session gets.
    pub(crate) next_session: u64,
    /// Where the search for the next short id goes on, for dialects with ids of their own form.
    pub(crate) short_ids: Vec<Cursor>,
    /// Where the admin listener is; its socket is the one behind the listeners'.
    pub(crate) admin: Option<SocketAddr>,
    /// Notes about miners that were sent back and are expected.
    pub(crate) notes: Vec<SavedNote>,
    /// How upgrades have gone so far.
    pub upgrades: UpgradeBook,
    /// What all sessions are packed with, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) texts: Option<Texts>,
}

/// A listening socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SavedListener {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
}

/// The sockets of a state do not match its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state names {named} sockets and has {found}")]
pub struct SocketMismatch {
    named: usize,
    found: usize,
}

impl Document {
    /// Number of sockets that belong to it.
    pub fn sockets(&self) -> usize {
        let own = self.listeners.len() + usize::from(self.admin.is_some());
        own + self.sessions.iter().map(FrozenData::sockets).sum::<usize>()
    }

    /// What each socket is for, in their order.
    pub fn roles(&self) -> impl Iterator<Item = String> {
        let listeners = self.listeners.iter().map(|saved| format!("listener {}", saved.name));
        let admin = self.admin.iter().map(|_| "admin".to_owned());
        listeners.chain(admin).chain(self.sessions.iter().flat_map(FrozenData::roles))
    }

    /// Writes down what is known about pools.
    pub(crate) fn save_pools(&mut self, plan: &Plan) {
        for pool in &plan.pools {
            if let Some(fact) = pool.fact() {
                self.facts.insert(pool.name.clone(), fact.to_string());
            }
            let addresses = pool.addresses().to_vec();
            if !addresses.is_empty() {
                self.addresses.insert(format!("{}:{}", pool.host, pool.port), addresses);
            }
        }
    }

    /// Tells a plan what was known about its pools.
    pub(crate) fn load_pools(&self, plan: &Plan) {
        for (name, fact) in &self.facts {
            if let Some(pool) = plan.pool_named(name) {
                plan.learn(pool, fact);
            }
        }
        for pool in plan.pools.iter().filter(|pool| pool.has_name()) {
            if let Some(known) = self.addresses.get(&format!("{}:{}", pool.host, pool.port)) {
                pool.set_addresses(known.as_slice().into());
            }
        }
    }

    /// Whether it is that of a first start. Sessions of another program may be in it, but a run has
    /// always had a listener.
    pub(crate) fn is_first(&self) -> bool {
        self.listeners.is_empty()
    }

    /// Number of sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Whether what sessions have in common is written once for all of them.
    pub fn is_packed(&self) -> bool {
        self.texts.is_some()
    }
}

/// What [`State::take_sockets`] takes out.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) listeners: Vec<OwnedFd>,
    pub(crate) admin: Option<OwnedFd>,
    pub(crate) sessions: Vec<FrozenSession>,
}

impl State {
    /// Whether shards have not answered the freeze in time. Such a state is only good for another
    /// run in this process: their sessions join it as soon as they come.
    pub fn is_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Whether the sockets are as many as the document names.
    pub(crate) fn check(&self) -> Result<(), SocketMismatch> {
        let (named, found) = (self.document.sockets(), self.sockets.len());
        if named == found { Ok(()) } else { Err(SocketMismatch { named, found }) }
    }

    /// Takes the sockets and the sessions out.
    pub(crate) fn take_sockets(&mut self) -> Taken {
        let mut sockets = std::mem::take(&mut self.sockets).into_iter();
        let listeners = sockets.by_ref().take(self.document.listeners.len()).collect();
        let admin = self.document.admin.and_then(|_| sockets.next());
        let sessions = std::mem::take(&mut self.document.sessions);
        let texts = self.document.texts.take();
        let thawed = sessions
            .into_iter()
            .map(|mut data| {
                data.packed_with(texts.as_ref());
                let own = sockets.by_ref().take(data.sockets()).collect();
                FrozenSession { data, sockets: own }
            })
            .collect();
        Taken { listeners, admin, sessions: thawed }
    }

    /// Puts a session in.
    pub(crate) fn push_session(&mut self, session: FrozenSession) {
        self.sockets.extend(session.sockets);
        self.document.sessions.push(session.data);
    }
}
