//! What is tried before an upgrade, without touching anybody: a sample of the state taken from
//! sessions that go on, and, in the program that is to take over, whether it could resume them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use switcher_plugin::ResumeError;

use crate::board::Board;
use crate::ids::Ids;
use crate::memory::Memory;
use crate::plan::Plan;
use crate::session::frozen::ThawError;
use crate::shard::Command;
use crate::shards::Shards;
use crate::state::{Document, SavedListener};
use crate::switcher::{RunError, Setup};
use crate::texts::Texts;
use crate::upgrades::Upgrades;

/// A hand on a run from which samples of its state can be had.
#[derive(Debug, Clone)]
pub struct Sampler {
    pub(crate) plan: Arc<Plan>,
    pub(crate) shards: Shards,
    pub(crate) board: Arc<Board>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) listeners: Vec<SavedListener>,
    pub(crate) upgrades: Upgrades,
}

impl Sampler {
    /// From here on sessions are saved for a reader of these versions, by dialect, first and last;
    /// in their newest if there are none.
    ///
    /// # Errors
    ///
    /// A dialect writes none of them.
    pub fn save_for(&self, reader: &BTreeMap<String, (u16, u16)>) -> Result<(), String> {
        self.plan.save_for(reader)
    }

    /// From here on samples and a freeze write what sessions have in common once for all of them, or do
    /// not: the next program must be able to read that.
    pub fn pack(&self, packing: bool) {
        self.plan.pack(packing);
    }

    /// What a freeze would give at this moment, but for sources' states. None if a shard does not
    /// answer within `patience`.
    pub async fn sample(&self, patience: Duration) -> Option<Document> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut document = Document {
            listeners: self.listeners.clone(),
            board: self.board.save(),
            counters: self.shards.save_counters(&self.plan),
            next_session: self.ids.peek(),
            short_ids: self.ids.cursors(),
            upgrades: self.upgrades.book(),
            notes: self.memory.save(),
            ..Document::default()
        };
        document.save_pools(&self.plan);
        for answer in self.shards.ask(Command::Sample) {
            let sessions = tokio::time::timeout_at(deadline, answer).await.ok()?.ok()?;
            document.sessions.extend(sessions);
        }
        if self.plan.is_packing() {
            let texts = Texts::default();
            document.sessions.iter_mut().for_each(|session| session.pack(&texts));
            document.texts = Some(texts);
        }
        Some(document)
    }
}

/// What a rehearsal has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rehearsal {
    /// Sessions that can go on.
    pub sessions: usize,
    /// Sessions that are saved in a version that is not read here.
    pub unread: usize,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Why a rehearsal has failed.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The settings contradict themselves or the plug-ins.
    #[error(transparent)]
    Settings(#[from] RunError),
    /// Sessions would be lost.
    #[error("{count} of {of} sessions could not go on, the first: {first}")]
    Sessions {
        /// How many.
        count: usize,
        /// Of so many.
        of: usize,
        /// Why.
        first: String,
    },
}

/// Whether this setup could take over a state, tried without its sockets.
///
/// # Errors
///
/// It could not, or not without losing sessions.
pub fn rehearse(setup: &Setup, document: &Document) -> Result<Rehearsal, Unfit> {
    let plan = Plan::new(&setup.settings, &setup.dialects).map_err(RunError::Settings)?;
    let (mut refused, mut unread) = (0, 0);
    let mut first = None;
    let mut warnings = BTreeSet::new();
    for session in &document.sessions {
        match session.rehearse(&plan, document.texts.as_ref()) {
            Err(ThawError::Resume(ResumeError::Version { .. })) => unread += 1,
            Err(error) => {
                refused += 1;
                first.get_or_insert_with(|| format!("session {}: {error}", session.id()));
            }
            Ok(()) => {}
        }
        if !plan.listeners.iter().any(|listener| listener.name == session.listener()) {
            let name = session.listener();
            warnings.insert(format!("listener {name:?} is gone; its sessions are kept"));
        }
        for pool in session.pools().filter(|pool| plan.pool_named(pool).is_none()) {
            warnings.insert(format!("pool {pool:?} is gone; its sessions will be moved"));
        }
    }
    let of = document.sessions.len();
    if let Some(first) = first {
        return Err(Unfit::Sessions { count: refused, of, first });
    }
    let warnings = warnings.into_iter().collect();
    Ok(Rehearsal { sessions: of - unread, unread, warnings })
}
