//! A miner of the ETH family that judges every line it is told.

mod session;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::config::Variant;
use crate::miner::Rejection;
use crate::shared::Shared;
use session::Session;
use wire::{Order, Worker, dial};

/// What a miner is like.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EthMinerConfig {
    /// What it speaks.
    pub variant: Variant,
    /// What it logs in as; the part behind the last dot is the rig.
    pub name: String,
    /// What it calls itself.
    pub agent: String,
    /// Whether it sends `mining.extranonce.subscribe`. Without, it takes no `mining.set_extranonce`.
    pub takes_extranonce: bool,
    /// Whether the rig stands in the `worker` member instead of the name.
    pub rig_apart: bool,
    /// Asks for work by `eth_getWork` at this interval besides taking what is pushed.
    pub polls: Option<Duration>,
    /// The pause between shares; `None` for none at all.
    pub share_interval: Option<Duration>,
    /// Nonces tried in one turn.
    pub tries: u32,
    /// The id of its submits, if it is always the same one, as `ethminer`'s is.
    pub submit_id: Option<u64>,
    /// Lines remembered.
    pub lines_kept: usize,
}

impl EthMinerConfig {
    /// A miner of this variant that sends a share every tenth of a second.
    pub fn new(variant: Variant, name: impl Into<String>) -> Self {
        Self {
            variant,
            name: name.into(),
            agent: "judge/1.0".into(),
            takes_extranonce: true,
            rig_apart: false,
            polls: None,
            share_interval: Some(Duration::from_millis(100)),
            tries: 16,
            submit_id: (variant == Variant::EthProxy).then_some(40),
            lines_kept: 400,
        }
    }

    /// The pause between shares.
    #[must_use]
    pub fn share_every(mut self, interval: Duration) -> Self {
        self.share_interval = Some(interval);
        self
    }

    /// A miner that never asks for `mining.extranonce.subscribe`.
    #[must_use]
    pub fn keeping_extranonce(mut self) -> Self {
        self.takes_extranonce = false;
        self
    }

    /// Calls itself this.
    #[must_use]
    pub fn agent(mut self, agent: &str) -> Self {
        agent.clone_into(&mut self.agent);
        self
    }
}

/// The books of a miner.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EthMinerReport {
    /// Whether it is connected.
    pub connected: bool,
    /// How its connection ended.
    pub ending: Option<String>,
    /// The answer to its login, and the error if it was one.
    pub login: Option<Result<(), String>>,
    /// An error before the login was answered.
    pub refusal: Option<String>,
    /// Prefix of the nonce in force for the newest job, in hex.
    pub extranonce: String,
    /// Prefixes told in mid-session.
    pub extranonce_changes: u64,
    /// Header of the newest job.
    pub header: Option<[u8; 32]>,
    /// Jobs received.
    pub jobs: u64,
    /// When the newest job came.
    pub job_at: Option<Instant>,
    /// Shares sent.
    pub submitted: u64,
    /// Shares taken.
    pub accepted: u64,
    /// … by the tag of the pool whose job each was for.
    pub accepted_by_tag: BTreeMap<u8, u64>,
    /// Shares that wait for their answer.
    pub unanswered: u64,
    /// Shares refused, in detail.
    pub rejections: Vec<Rejection>,
    /// Breaches of the protocol in words.
    pub violations: Vec<String>,
}

impl EthMinerReport {
    /// The tag of the pool whose job is the newest.
    pub fn tag(&self) -> Option<u8> {
        self.header.map(|header| header[1])
    }

    /// Whether every share sent has exactly one outcome or still waits for it.
    pub fn adds_up(&self) -> bool {
        let rejected = u64::try_from(self.rejections.len()).unwrap_or(u64::MAX);
        self.submitted == self.accepted + rejected + self.unanswered
    }
}

/// A miner at work. Dropping it closes its connection.
#[derive(Debug)]
pub struct EthMiner {
    shared: Shared<Session>,
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
}

impl EthMiner {
    /// Connects and starts to introduce itself; does not wait for any answer.
    ///
    /// # Panics
    ///
    /// When nobody listens at `address`.
    pub async fn connect(address: SocketAddr, config: EthMinerConfig) -> Self {
        let stream = dial(address).await.expect("somebody listens at the address");
        let shared = Shared::new(Session::new(&config));
        let (orders, inbox) = mpsc::unbounded_channel();
        let worker = Worker::new(config, shared.clone(), inbox);
        Self { shared, orders, task: tokio::spawn(worker.run(stream)) }
    }

    /// The books.
    pub fn report(&self) -> EthMinerReport {
        self.shared.lock().report.clone()
    }

    /// The last lines heard and said (`<` and `>` in front), oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.shared.lock().lines.to_vec()
    }

    /// Stops finding shares, or goes on, and returns when it is so: from then on the report counts
    /// every share that will ever be sent. Answers are still heard.
    pub async fn pause(&self, paused: bool) {
        let (done, obeyed) = oneshot::channel();
        // A miner whose connection has ended obeys no more; its report says so.
        let _ = self.orders.send(Order::Pause(paused, done));
        let _ = obeyed.await;
    }

    /// Writes a line as it is. Its answer counts as one to nothing, unless it is expected under
    /// this id.
    pub fn say(&self, line: impl Into<String>, id: Option<u64>) {
        // As above.
        let _ = self.orders.send(Order::Say(line.into(), id));
    }
}

impl Drop for EthMiner {
    fn drop(&mut self) {
        self.task.abort();
    }
}
