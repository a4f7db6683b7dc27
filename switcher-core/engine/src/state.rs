//! What a freeze returns and a start takes: everything that must not be lost between two runs.
//!
//! Plain data beside a list of sockets. In one process the sockets are simply carried along; an
//! upgrade clears close-on-exec on them and writes their numbers down.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use switcher_plugin::{SourceState, SubAccount};

use crate::board::Entry;
use crate::session::frozen::{FrozenData, FrozenSession};

/// See the module. The empty state is a first start.
#[derive(Debug, Default)]
pub struct State {
    /// The data.
    pub document: Document,
    /// The sockets: the listeners', then each session's in the order of the document.
    pub sockets: Vec<OwnedFd>,
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
    /// The number the next session gets.
    pub(crate) next_session: u64,
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
        self.listeners.len() + self.sessions.iter().map(FrozenData::sockets).sum::<usize>()
    }

    /// Number of sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

/// A listening socket by its name and address.
pub(crate) type TakenListener = (SavedListener, OwnedFd);

impl State {
    /// Takes listeners and sessions out.
    pub(crate) fn take_sockets(
        &mut self,
    ) -> Result<(Vec<TakenListener>, Vec<FrozenSession>), SocketMismatch> {
        let (named, found) = (self.document.sockets(), self.sockets.len());
        if named != found {
            return Err(SocketMismatch { named, found });
        }
        let mut sockets = std::mem::take(&mut self.sockets).into_iter();
        let listeners = std::mem::take(&mut self.document.listeners);
        let listeners = listeners.into_iter().zip(sockets.by_ref()).collect();
        let sessions = std::mem::take(&mut self.document.sessions);
        let thawed = sessions
            .into_iter()
            .map(|data| {
                let own = sockets.by_ref().take(data.sockets()).collect();
                FrozenSession { data, sockets: own }
            })
            .collect();
        Ok((listeners, thawed))
    }

    /// Puts a session in.
    pub(crate) fn push_session(&mut self, session: FrozenSession) {
        self.sockets.extend(session.sockets);
        self.document.sessions.push(session.data);
    }
}
