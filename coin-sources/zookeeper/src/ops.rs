//! What the source asks of a ZooKeeper client, so that another client can take the place of the
//! one in use. Every call is bounded in time by whoever implements it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::settings::Credentials;

/// What is known of a node beside its value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NodeStat {
    /// Transaction of the last change of the value.
    pub(crate) mzxid: i64,
    /// Number of changes of the value.
    pub(crate) version: i32,
    /// Length of the value in bytes.
    pub(crate) length: usize,
    /// The session that owns it, 0 if it is not ephemeral.
    pub(crate) owner: i64,
}

/// How long a node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// As long as the session that made it.
    Ephemeral,
    /// Until somebody removes it.
    Persistent,
}

/// Why a call came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ZkFault {
    #[error("the credentials are refused (AuthFailed)")]
    AuthFailed,
    #[error("the connection is lost")]
    Away,
    #[error("the version is another")]
    BadVersion,
    #[error("no answer in time")]
    Late,
    #[error("not authorised (NoAuth)")]
    NoAuth,
    #[error("no such node")]
    NoNode,
    #[error("the node exists")]
    NodeExists,
    #[error("refused by the server with code {0}")]
    Refused(i32),
}

impl ZkFault {
    /// Whether the same call may succeed on the next connection.
    pub(crate) fn is_passing(self) -> bool {
        matches!(self, Self::Away | Self::Late)
    }
}

/// The calls.
#[async_trait]
pub(crate) trait ZkOps: Send + Sync {
    /// The value of a node. A watch is left only if the node exists.
    async fn read(&self, path: &str, watch: bool) -> Result<(Vec<u8>, NodeStat), ZkFault>;

    /// The state of a node. A watch is left whether it exists or not, and tells of its creation,
    /// change and removal.
    async fn exists(&self, path: &str, watch: bool) -> Result<Option<NodeStat>, ZkFault>;

    /// Makes a node.
    async fn create(&self, path: &str, data: Vec<u8>, lifetime: Lifetime) -> Result<(), ZkFault>;

    /// Removes a node if it has this version; -1 is any.
    async fn delete(&self, path: &str, version: i32) -> Result<(), ZkFault>;

    /// The names below a node. Asked only of the directory of numbers.
    async fn children(&self, path: &str) -> Result<Vec<String>, ZkFault>;

    /// Says who we are; good for one connection.
    async fn authenticate(&self, credentials: &Credentials) -> Result<(), ZkFault>;

    /// Whether the server accepts connections only to close them, so that it is no use, and no
    /// kindness, to try on.
    async fn is_turned_away(&self) -> bool {
        false
    }
}

/// What a client says of its own accord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ZkEvent {
    /// A watch fired for this path. It is gone with that.
    Changed(String),
    /// The connection stands, with the session it had before if it had one. All watches are gone.
    Connected,
    /// The connection is lost and the client tries to get it back.
    Connecting,
    /// The session has ended.
    Ended,
}

/// A client that stands. Dropping it ends all its tasks and its connection, but not its session.
pub(crate) struct Client {
    pub(crate) ops: Arc<dyn ZkOps>,
    pub(crate) events: mpsc::UnboundedReceiver<ZkEvent>,
    /// Where it is connected, for people.
    pub(crate) endpoint: String,
    /// Its end is what stops the client.
    pub(crate) _keeper: Option<oneshot::Sender<()>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Makes clients.
#[async_trait]
pub(crate) trait Connect: Send + Sync {
    /// Connects to one of the servers; `avoid` comes last. The problem in words if none would.
    async fn connect(&self, avoid: Option<&str>) -> Result<Client, String>;
}
