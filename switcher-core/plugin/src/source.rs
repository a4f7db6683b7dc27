//! The trait of coin sources: where the switcher learns which coin each sub-account shall mine.
//!
//! Sources push facts; the board keeps them; sessions never meet a source. Transient trouble is the
//! source's own business: it says [`Notice::Health`] and goes on trying, and the board stands.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::types::{Coin, SessionId, SubAccount, WorkerName};

/// A source of assignments.
#[async_trait]
pub trait CoinSource: fmt::Debug + Send + 'static {
    /// The key in the configuration.
    fn name(&self) -> &str;

    /// Works until told to stop, and returns what the next run, perhaps in another process image,
    /// should know.
    ///
    /// # Errors
    ///
    /// Only what makes it useless for good. Everything else is retried inside.
    async fn run(self: Box<Self>, context: SourceContext) -> Result<SourceState, SourceError>;
}

/// What a source works with.
#[derive(Debug)]
pub struct SourceContext {
    /// Where facts go.
    pub board: BoardWriter,
    /// Which sub-accounts have sessions. A source that knows everything anyway may ignore it,
    /// except that a [`Notice::Default`] or [`Notice::Unknown`] is due for each acquired name.
    pub wanted: mpsc::UnboundedReceiver<Wanted>,
    /// Turns true when the source shall return.
    pub stop: watch::Receiver<bool>,
    /// What the run before this one returned.
    pub saved: SourceState,
}

/// State of a source between two runs, in a form of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState(pub String);

/// A change of interest in a sub-account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Its first session came.
    Acquire {
        /// The sub-account, as the miner spelt it.
        sub_account: SubAccount,
        /// The session that asked.
        session: SessionId,
        /// The worker that asked.
        worker: WorkerName,
    },
    /// Its last session went.
    Release(SubAccount),
}

/// Coins of a sub-account with their weights, and where the instruction comes from. One entry is
/// used today: the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// Coins and weights, never empty.
    pub coins: Vec<(Coin, f64)>,
    /// What the operator will look for in the audit: a file and its line, a znode and its mzxid.
    pub origin: Arc<str>,
}

impl Assignment {
    /// An assignment to one coin.
    pub fn to(coin: Coin, origin: impl AsRef<str>) -> Self {
        Self { coins: vec![(coin, 1.0)], origin: Arc::from(origin.as_ref()) }
    }

    /// The coin in use.
    pub fn coin(&self) -> Option<&Coin> {
        self.coins.first().map(|(coin, _)| coin)
    }
}

/// A fact posted by a source.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// The sub-account shall mine this. Moves its sessions.
    Assign(SubAccount, Assignment),
    /// Newcomers of the sub-account shall mine this. Never moves a session that mines.
    Default(SubAccount, Assignment),
    /// Whether the source can do its work at the moment, and what is wrong if not. Said on change.
    Health {
        /// True if all is well.
        healthy: bool,
        /// For the log and the API.
        detail: String,
    },
    /// The sub-account is being registered; its sessions wait.
    Registering(SubAccount),
    /// The registration of the sub-account failed.
    RegistrationRefused(SubAccount, String),
    /// The sub-account is to be spelt like this towards pools.
    Renamed(SubAccount, Box<str>),
    /// The number of this switcher in its fleet, 1 to 255.
    ServerId(u8),
    /// The source does not know the sub-account. Turns newcomers away; never moves a session.
    Unknown(SubAccount),
}

/// Takes notices. Cheap to clone, callable from any thread, never blocks.
#[derive(Clone)]
pub struct BoardWriter(Arc<dyn Fn(Notice) + Send + Sync>);

impl BoardWriter {
    /// A writer that calls `post`, which must not block.
    pub fn new(post: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self(Arc::new(post))
    }

    /// Posts a fact.
    pub fn post(&self, notice: Notice) {
        (self.0)(notice);
    }
}

impl fmt::Debug for BoardWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoardWriter")
    }
}

/// What makes a source useless for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("coin source {name}: {problem}")]
pub struct SourceError {
    /// Name of the source.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}
