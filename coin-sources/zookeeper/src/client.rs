//! `zookeeper-async` behind [`ZkOps`]. Each client lives in a thread and a runtime of its own,
//! because dropping that runtime is the only way to end its tasks. Hosts are looked up and probed
//! here, since the client would resolve once, wait for a dead host for minutes and spin while all
//! refuse. Decides nothing about when to connect.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use zookeeper_async::{
    Acl, CreateMode, Permission, Stat, WatchedEvent, ZkError, ZkState, ZooKeeper,
};

use crate::ops::{Client, Connect, Lifetime, NodeStat, ZkEvent, ZkFault, ZkOps};
use crate::settings::{AclChoice, Credentials, Settings};

const PROBE_LIMIT: Duration = Duration::from_secs(2);
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);
/// Pause of the client between two attempts to get its connection back.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
const DEFAULT_PORT: u16 = 2181;
/// More of the answer to a probe is not read.
const PROBE_BYTES: u64 = 16 * 1024;

/// Connects with `zookeeper-async`.
#[derive(Debug)]
pub(crate) struct AsyncConnector {
    servers: Vec<String>,
    session_timeout: Duration,
    acl: Vec<Acl>,
}

impl AsyncConnector {
    pub(crate) fn new(settings: &Settings) -> Self {
        let creator = Acl::new(Permission::ALL, "auth", "");
        let acl = match settings.acl {
            AclChoice::Open => vec![Acl::new(Permission::ALL, "world", "anyone")],
            AclChoice::Creator => vec![creator],
            AclChoice::CreatorReadable => {
                vec![creator, Acl::new(Permission::READ, "world", "anyone")]
            }
        };
        Self { servers: settings.servers.clone(), session_timeout: settings.session_timeout(), acl }
    }

    /// Addresses of all servers in random order, with the name each belongs to.
    async fn candidates(&self, avoid: Option<&str>) -> Result<Vec<(String, SocketAddr)>, String> {
        let mut found = Vec::new();
        let mut problem = String::from("no server");
        for server in &self.servers {
            match lookup(server).await {
                Ok(addresses) => {
                    found.extend(addresses.into_iter().map(|address| {
                        let name = if address.to_string() == *server {
                            server.clone()
                        } else {
                            format!("{server} ({address})")
                        };
                        (name, address)
                    }));
                }
                Err(why) => problem = why,
            }
        }
        found.sort_by_cached_key(|(name, _)| (avoid == Some(name.as_str()), random()));
        if found.is_empty() { Err(problem) } else { Ok(found) }
    }

    async fn connect_to(&self, name: String, address: SocketAddr) -> Result<Client, String> {
        probe(address).await.map_err(|problem| format!("{name}: {problem}"))?;
        let (keeper, stop) = oneshot::channel();
        let (events_tx, mut events) = mpsc::unbounded_channel();
        let (handle_tx, handle) = oneshot::channel();
        let session_timeout = self.session_timeout;
        std::thread::Builder::new()
            .name("zookeeper-client".into())
            .spawn(move || live(address, session_timeout, events_tx, handle_tx, stop))
            .map_err(|error| format!("no thread for the client: {error}"))?;
        let limit = (session_timeout / 3).clamp(Duration::from_secs(2), Duration::from_secs(3));
        let inner = async {
            let inner = handle.await.ok()?;
            while events.recv().await? != ZkEvent::Connected {}
            Some(inner)
        };
        let Ok(Some(inner)) = timeout(limit, inner).await else {
            return Err(format!("{name}: accepts connections but opens no session"));
        };
        let acl = self.acl.clone();
        let ops = Arc::new(Bounded { inner, address, limit: session_timeout, acl });
        Ok(Client { ops, events, endpoint: name, _keeper: Some(keeper) })
    }
}

#[async_trait]
impl Connect for AsyncConnector {
    async fn connect(&self, avoid: Option<&str>) -> Result<Client, String> {
        let mut problems = Vec::new();
        for (name, address) in self.candidates(avoid).await? {
            match self.connect_to(name, address).await {
                Ok(client) => return Ok(client),
                Err(problem) => problems.push(problem),
            }
        }
        Err(problems.join(", "))
    }
}

/// The life of one client: its thread. Ends when `stop` or its other end is dropped.
fn live(
    address: SocketAddr,
    session_timeout: Duration,
    events: mpsc::UnboundedSender<ZkEvent>,
    handle: oneshot::Sender<ZooKeeper>,
    stop: oneshot::Receiver<()>,
) {
    // The client logs each event and each failed attempt; what matters of it is said by us.
    let _quiet = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::new());
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    runtime.block_on(async {
        let watched = events.clone();
        let address = address.to_string();
        let connecting = ZooKeeper::connect_with_retry_time(
            &address,
            session_timeout,
            // Runs on the client's own task: it must neither block nor panic.
            move |event: WatchedEvent| {
                if let Some(path) = event.path.filter(|path| !path.is_empty()) {
                    watched.send(ZkEvent::Changed(path)).ok();
                }
            },
            RETRY_PAUSE,
        );
        let stopped = async { stop.await.ok() };
        tokio::pin!(stopped);
        tokio::select! {
            connected = connecting => if let Ok(client) = connected {
                // Nothing was awaited since the client was made, so no state is missed.
                client.add_listener(move |state| {
                    let event = match state {
                        ZkState::Connected | ZkState::ConnectedReadOnly => ZkEvent::Connected,
                        ZkState::Connecting => ZkEvent::Connecting,
                        _ => ZkEvent::Ended,
                    };
                    events.send(event).ok();
                });
                if handle.send(client).is_ok() {
                    stopped.await;
                }
            },
            _ = &mut stopped => {}
        }
    });
}

async fn lookup(server: &str) -> Result<Vec<SocketAddr>, String> {
    let has_port = server.parse::<SocketAddr>().is_ok()
        || (server.matches(':').count() == 1 && !server.ends_with(':'));
    let target = if has_port { server.to_owned() } else { format!("{server}:{DEFAULT_PORT}") };
    match timeout(LOOKUP_LIMIT, lookup_host(target)).await {
        Err(_) => Err(format!("{server}: the name server does not answer")),
        Ok(Err(error)) => Err(format!("{server}: {error}")),
        Ok(Ok(addresses)) => Ok(addresses.collect()),
    }
}

/// Why a server is not worth a client.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ProbeFault {
    #[error("closes the connection")]
    Closes,
    #[error("no answer to a connection attempt")]
    Mute,
    #[error("serves nobody, perhaps for want of a quorum")]
    NotServing,
    #[error("{0}")]
    Refuses(String),
}

/// Asks a server how it is, with the word that is allowed by default. One that does not allow it
/// says so, which will do.
async fn probe(address: SocketAddr) -> Result<(), ProbeFault> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"srvr").await?;
        let mut answer = Vec::new();
        stream.take(PROBE_BYTES).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match timeout(PROBE_LIMIT, ask).await {
        Err(_) => Err(ProbeFault::Mute),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset => Err(ProbeFault::Closes),
        Ok(Err(error)) => Err(ProbeFault::Refuses(error.to_string())),
        Ok(Ok(answer)) if answer.is_empty() => Err(ProbeFault::Closes),
        Ok(Ok(answer)) => {
            let answer = String::from_utf8_lossy(&answer);
            if answer.contains("not currently serving") {
                Err(ProbeFault::NotServing)
            } else {
                Ok(())
            }
        }
    }
}

/// Some number, another one each time.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The client with a time limit on every call.
struct Bounded {
    inner: ZooKeeper,
    address: SocketAddr,
    limit: Duration,
    acl: Vec<Acl>,
}

impl Bounded {
    /// Boxed, because the client's futures are large and each reading holds one.
    fn call<'a, T: 'a>(
        &self,
        call: impl Future<Output = Result<T, ZkError>> + Send + 'a,
    ) -> Pin<Box<dyn Future<Output = Result<T, ZkFault>> + Send + 'a>> {
        let limit = self.limit;
        Box::pin(async move {
            match timeout(limit, call).await {
                Ok(answer) => answer.map_err(fault_of),
                Err(_) => Err(ZkFault::Late),
            }
        })
    }
}

#[async_trait]
impl ZkOps for Bounded {
    async fn read(&self, path: &str, watch: bool) -> Result<(Vec<u8>, NodeStat), ZkFault> {
        let (data, stat) = self.call(self.inner.get_data(path, watch)).await?;
        Ok((data, stat_of(&stat)))
    }

    async fn exists(&self, path: &str, watch: bool) -> Result<Option<NodeStat>, ZkFault> {
        let stat = self.call(self.inner.exists(path, watch)).await?;
        Ok(stat.as_ref().map(stat_of))
    }

    async fn create(&self, path: &str, data: Vec<u8>, lifetime: Lifetime) -> Result<(), ZkFault> {
        let mode = match lifetime {
            Lifetime::Ephemeral => CreateMode::Ephemeral,
            Lifetime::Persistent => CreateMode::Persistent,
        };
        self.call(self.inner.create(path, data, self.acl.clone(), mode)).await.map(drop)
    }

    async fn delete(&self, path: &str, version: i32) -> Result<(), ZkFault> {
        self.call(self.inner.delete(path, Some(version))).await
    }

    async fn children(&self, path: &str) -> Result<Vec<String>, ZkFault> {
        self.call(self.inner.get_children(path, false)).await
    }

    async fn authenticate(&self, credentials: &Credentials) -> Result<(), ZkFault> {
        self.call(self.inner.add_auth("digest", credentials.as_bytes().to_vec())).await
    }

    async fn is_turned_away(&self) -> bool {
        matches!(probe(self.address).await, Err(ProbeFault::Closes | ProbeFault::NotServing))
    }
}

fn stat_of(stat: &Stat) -> NodeStat {
    NodeStat {
        mzxid: stat.mzxid,
        version: stat.version,
        length: usize::try_from(stat.data_length).unwrap_or_default(),
        owner: stat.ephemeral_owner,
    }
}

fn fault_of(error: ZkError) -> ZkFault {
    match error {
        ZkError::AuthFailed => ZkFault::AuthFailed,
        ZkError::BadVersion => ZkFault::BadVersion,
        ZkError::NoAuth => ZkFault::NoAuth,
        ZkError::NoNode => ZkFault::NoNode,
        ZkError::NodeExists => ZkFault::NodeExists,
        ZkError::ConnectionLoss | ZkError::SessionExpired | ZkError::SessionMoved => ZkFault::Away,
        ZkError::OperationTimeout => ZkFault::Late,
        other => ZkFault::Refused(other as i32),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Probes a server that answers each connection like this.
    async fn probed(answer: &'static [u8]) -> Result<(), ProbeFault> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(answer).await.unwrap();
        });
        let result = probe(address).await;
        server.await.unwrap();
        result
    }

    #[tokio::test]
    async fn server_that_serves_or_forbids_the_word_is_good() {
        assert_eq!(probed(b"Zookeeper version: 3.8.0\nMode: follower\n").await, Ok(()));
        let forbidden = b"srvr is not executed because it is not in the whitelist.";
        assert_eq!(probed(forbidden).await, Ok(()));
    }

    #[tokio::test]
    async fn server_without_a_quorum_is_not() {
        let answer = b"This ZooKeeper instance is not currently serving requests\n";

        assert_eq!(probed(answer).await, Err(ProbeFault::NotServing));
    }

    #[tokio::test]
    async fn server_that_closes_is_not() {
        assert_eq!(probed(b"").await, Err(ProbeFault::Closes));
    }

    #[tokio::test]
    async fn port_is_the_usual_one_unless_given() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();

        assert_eq!(lookup("127.0.0.1").await, Ok(vec![address("127.0.0.1:2181")]));
        assert_eq!(lookup("127.0.0.1:99").await, Ok(vec![address("127.0.0.1:99")]));
        assert_eq!(lookup("[::1]:99").await, Ok(vec![address("[::1]:99")]));
    }
}
