//! The shards as everybody else sees them: queues of commands and counters.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use switcher_plugin::Millis;
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::counters::ShardCounters;
use crate::evict;
use crate::plan::Plan;
use crate::session::frozen::FrozenSession;
use crate::shard::Command;

/// The other side's view of a shard.
#[derive(Debug)]
pub(crate) struct ShardHandle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) counters: Arc<ShardCounters>,
    /// Which listeners it serves: those of this group.
    pub(crate) group: usize,
}

/// All shards.
#[derive(Debug, Clone)]
pub(crate) struct Shards {
    handles: Arc<Mutex<Vec<ShardHandle>>>,
    /// The group of each listener.
    groups: Arc<[usize]>,
    evicted: Arc<Mutex<Eviction>>,
}

#[derive(Debug, Default)]
struct Eviction {
    last: Millis,
    ports: Vec<u16>,
}

impl Shards {
    pub(crate) fn new(handles: Vec<ShardHandle>, plan: &Plan) -> Self {
        let groups = plan.listeners.iter().map(|listener| listener.group);
        Self {
            handles: Arc::new(Mutex::new(handles)),
            groups: groups.collect(),
            evicted: Arc::default(),
        }
    }

    fn with<T>(&self, call: impl FnOnce(&[ShardHandle]) -> T) -> T {
        call(&self.handles.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn counters(&self, at: usize) -> Arc<ShardCounters> {
        self.with(|handles| {
            let handle = handles.get(at).expect("asked for by its own number");
            Arc::clone(&handle.counters)
        })
    }

    /// The counters of every shard.
    pub(crate) fn all_counters(&self) -> Vec<Arc<ShardCounters>> {
        self.with(|handles| handles.iter().map(|shard| Arc::clone(&shard.counters)).collect())
    }

    fn group_of(&self, listener: usize) -> usize {
        self.groups.get(listener).copied().unwrap_or(0)
    }

    fn least_loaded(handles: &[ShardHandle], group: usize) -> Option<&ShardHandle> {
        let handles = handles.iter().filter(|shard| shard.group == group);
        handles.min_by_key(|shard| shard.counters.load.load(Ordering::Relaxed))
    }

    /// Gives a new connection to the least loaded shard of its listener's group.
    pub(crate) fn hand_out(&self, stream: std::net::TcpStream, peer: SocketAddr, listener: usize) {
        let group = self.group_of(listener);
        self.with(|handles| {
            if let Some(shard) = Self::least_loaded(handles, group) {
                shard.counters.load.fetch_add(1, Ordering::Relaxed);
                let _ = shard.commands.send(Command::Accept { stream, peer, listener });
            }
        });
    }

    pub(crate) fn resume(&self, session: FrozenSession, listener: usize) {
        let group = self.group_of(listener);
        self.with(|handles| {
            if let Some(shard) = Self::least_loaded(handles, group) {
                shard.counters.load.fetch_add(1, Ordering::Relaxed);
                let _ = shard.commands.send(Command::Resume(Box::new(session)));
            }
        });
    }

    /// Tells every shard.
    pub(crate) fn tell(&self, command: impl Fn() -> Command) {
        self.with(|handles| {
            for shard in handles {
                // A shard that is gone has no sessions left.
                let _ = shard.commands.send(command());
            }
        });
    }

    /// Asks every shard.
    pub(crate) fn ask<T>(
        &self,
        command: impl Fn(oneshot::Sender<T>) -> Command,
    ) -> Vec<oneshot::Receiver<T>> {
        self.with(|handles| {
            let ask = |shard: &ShardHandle| {
                let (answer, receiver) = oneshot::channel();
                let _ = shard.commands.send(command(answer));
                receiver
            };
            handles.iter().map(ask).collect()
        })
    }

    /// Ends sessions whose miners are gone, as their places are wanted.
    pub(crate) fn evict_dead(&self) {
        let mut eviction = self.evicted.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        if now.since(eviction.last) < 1_000 {
            return;
        }
        eviction.last = now;
        let peers = evict::dead_peers(&eviction.ports);
        if !peers.is_empty() {
            tracing::warn!(miners = peers.len(), "evicting miners that acknowledge nothing");
            self.tell(|| Command::Evict(peers.clone()));
        }
    }

    pub(crate) fn watch_ports(&self, ports: impl Iterator<Item = u16>) {
        self.evicted.lock().unwrap_or_else(PoisonError::into_inner).ports = ports.collect();
    }

    pub(crate) fn disconnect(&self) {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn save_counters(&self, plan: &Plan) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for counters in self.all_counters() {
            counters.each(plan, |name, counter| {
                *sums.entry(name).or_insert(0) += counter.value();
            });
        }
        sums
    }

    pub(crate) fn load_counters(&self, plan: &Plan, saved: &BTreeMap<String, u64>) {
        let Some(first) = self.all_counters().into_iter().next() else { return };
        first.each(plan, |name, counter| {
            if let Some(value) = saved.get(&name) {
                counter.set(*value);
            }
        });
    }
}
