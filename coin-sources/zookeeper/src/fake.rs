//! A ZooKeeper of one map, for tests that need a fault at one certain call.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use crate::ops::{Lifetime, NodeStat, ZkFault, ZkOps};
use crate::settings::Credentials;

/// The nodes, and what goes wrong.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    nodes: Mutex<BTreeMap<String, (Vec<u8>, NodeStat)>>,
    /// The session that makes nodes from now on.
    pub(crate) session: Mutex<i64>,
    zxid: Mutex<i64>,
    /// The answer to the next creation is lost, though it is carried out.
    pub(crate) lose_answer: Mutex<bool>,
    /// Somebody makes this node right before our next creation.
    pub(crate) forestall: Mutex<Option<Vec<u8>>>,
}

impl Fake {
    pub(crate) fn put(&self, path: &str, data: &[u8], owner: i64) {
        let mut zxid = self.zxid.lock().unwrap();
        *zxid += 1;
        let stat = NodeStat { mzxid: *zxid, version: 0, length: data.len(), owner };
        self.nodes.lock().unwrap().insert(path.to_owned(), (data.to_vec(), stat));
    }

    pub(crate) fn value(&self, path: &str) -> Option<Vec<u8>> {
        self.nodes.lock().unwrap().get(path).map(|(data, _)| data.clone())
    }

    pub(crate) fn remove(&self, path: &str) {
        self.nodes.lock().unwrap().remove(path);
    }
}

#[async_trait]
impl ZkOps for Fake {
    async fn read(&self, path: &str, _watch: bool) -> Result<(Vec<u8>, NodeStat), ZkFault> {
        self.nodes.lock().unwrap().get(path).cloned().ok_or(ZkFault::NoNode)
    }

    async fn exists(&self, path: &str, _watch: bool) -> Result<Option<NodeStat>, ZkFault> {
        Ok(self.nodes.lock().unwrap().get(path).map(|(_, stat)| *stat))
    }

    async fn create(&self, path: &str, data: Vec<u8>, lifetime: Lifetime) -> Result<(), ZkFault> {
        if let Some(other) = self.forestall.lock().unwrap().take() {
            self.put(path, &other, -1);
        }
        if self.value(path).is_some() {
            return Err(ZkFault::NodeExists);
        }
        let session = *self.session.lock().unwrap();
        self.put(path, &data, if lifetime == Lifetime::Ephemeral { session } else { 0 });
        if std::mem::take(&mut *self.lose_answer.lock().unwrap()) {
            return Err(ZkFault::Away);
        }
        Ok(())
    }

    async fn delete(&self, path: &str, version: i32) -> Result<(), ZkFault> {
        let (_, stat) = self.read(path, false).await?;
        if version != -1 && version != stat.version {
            return Err(ZkFault::BadVersion);
        }
        self.remove(path);
        Ok(())
    }

    async fn children(&self, path: &str) -> Result<Vec<String>, ZkFault> {
        let nodes = self.nodes.lock().unwrap();
        if !nodes.contains_key(path) {
            return Err(ZkFault::NoNode);
        }
        let child = |full: &String| {
            full.strip_prefix(path)?.strip_prefix('/').filter(|c| !c.contains('/')).map(Into::into)
        };
        Ok(nodes.keys().filter_map(child).collect())
    }

    async fn authenticate(&self, _credentials: &Credentials) -> Result<(), ZkFault> {
        Ok(())
    }
}
