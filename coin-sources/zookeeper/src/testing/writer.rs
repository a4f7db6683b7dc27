//! The operator's side: sets, changes and removes nodes. Repeats a call whose connection was
//! lost, so that tests may write while servers come and go.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use zookeeper_async::{Acl, CreateMode, Permission, WatchedEvent, ZkError, ZkResult, ZooKeeper};

/// Calls under way at once in the calls for many nodes.
const AT_ONCE: usize = 200;
const ATTEMPTS: usize = 100;

/// A client that writes. Every call panics if it is refused.
#[derive(Clone)]
pub struct Writer {
    client: std::sync::Arc<ZooKeeper>,
    acl: Vec<Acl>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// Connects.
    ///
    /// # Panics
    ///
    /// If the address is none.
    pub async fn connect(server: SocketAddr) -> Self {
        let server = server.to_string();
        let connecting = ZooKeeper::connect_with_retry_time(
            &server,
            Duration::from_secs(30),
            |_: WatchedEvent| {},
            Duration::from_millis(100),
        );
        let client = Box::pin(connecting).await.expect("an address is a connect string");
        let acl = vec![Acl::new(Permission::ALL, "world", "anyone")];
        Self { client: std::sync::Arc::new(client), acl }
    }

    /// From here on nodes are made with all rights for these credentials (`user:password`) only.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn log_in(&mut self, credentials: &str) {
        let auth = self.client.add_auth("digest", credentials.as_bytes().to_vec()).await;
        auth.expect("digest credentials are never refused");
        self.acl = vec![Acl::new(Permission::ALL, "auth", "")];
    }

    async fn insist<T, F: Future<Output = ZkResult<T>>>(
        &self,
        call: impl Fn() -> F,
    ) -> ZkResult<T> {
        for _ in 0..ATTEMPTS {
            match Box::pin(call()).await {
                Err(ZkError::ConnectionLoss) => sleep(Duration::from_millis(100)).await,
                result => return result,
            }
        }
        Err(ZkError::ConnectionLoss)
    }

    /// Makes a directory and all above it.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn make_dir(&self, path: &str) {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        for end in ends {
            self.create(path.split_at(end).0, b"", CreateMode::Persistent).await;
        }
    }

    async fn create(&self, path: &str, value: &[u8], mode: CreateMode) {
        let result =
            self.insist(|| self.client.create(path, value.to_vec(), self.acl.clone(), mode)).await;
        assert!(matches!(result, Ok(_) | Err(ZkError::NodeExists)), "create {path}: {result:?}");
    }

    /// Sets the value of a node, which is made if absent.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn set(&self, path: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        match self.insist(|| self.client.set_data(path, value.to_vec(), None)).await {
            Ok(_) => {}
            Err(ZkError::NoNode) => self.create(path, value, CreateMode::Persistent).await,
            Err(error) => panic!("set {path}: {error}"),
        }
    }

    /// Makes an ephemeral node, which stands as long as this client.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn hold(&self, path: &str, value: impl AsRef<[u8]>) {
        self.create(path, value.as_ref(), CreateMode::Ephemeral).await;
    }

    /// Sets many nodes.
    ///
    /// # Panics
    ///
    /// If the server refuses one.
    pub async fn set_all(&self, nodes: impl IntoIterator<Item = (String, String)>) {
        let mut calls = JoinSet::new();
        for (path, value) in nodes {
            if calls.len() >= AT_ONCE {
                calls.join_next().await.expect("some are under way").expect("no call panics");
            }
            let writer = self.clone();
            calls.spawn(async move { writer.set(&path, value).await });
        }
        while let Some(done) = calls.join_next().await {
            done.expect("no call panics");
        }
    }

    /// Removes a node if it is there.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn remove(&self, path: &str) {
        let gone = self.insist(|| self.client.delete(path, None)).await;
        assert!(matches!(gone, Ok(()) | Err(ZkError::NoNode)), "delete {path}: {gone:?}");
    }

    /// Removes a directory with all its children, and lets their names be known.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn remove_dir(&self, path: &str) {
        for child in self.children(path).await {
            self.remove(&format!("{path}/{child}")).await;
        }
        self.remove(path).await;
    }

    /// The names below a node, in order; none if there is no such node.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn children(&self, path: &str) -> Vec<String> {
        match self.insist(|| self.client.get_children(path, false)).await {
            Ok(mut names) => {
                names.sort();
                names
            }
            Err(ZkError::NoNode) => Vec::new(),
            Err(error) => panic!("children of {path}: {error}"),
        }
    }

    /// The value of a node, if it is there.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn value(&self, path: &str) -> Option<Vec<u8>> {
        match self.insist(|| self.client.get_data(path, false)).await {
            Ok((value, _)) => Some(value),
            Err(ZkError::NoNode) => None,
            Err(error) => panic!("value of {path}: {error}"),
        }
    }

    /// The session that holds an ephemeral node, if the node is there.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn holder(&self, path: &str) -> Option<i64> {
        let stat = self.insist(|| self.client.exists(path, false)).await;
        stat.expect("a look is not refused").map(|stat| stat.ephemeral_owner)
    }

    /// The rights on a node, as `scheme:id:rights`.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn rights(&self, path: &str) -> Vec<String> {
        let (acl, _) = self.insist(|| self.client.get_acl(path)).await.expect("the node is there");
        acl.iter().map(|acl| format!("{}:{}:{}", acl.scheme, acl.id, acl.perms)).collect()
    }

    /// Ends the session, and with it the nodes it holds.
    pub async fn close(self) {
        self.client.close().await.ok();
    }
}
