//! A Stratum V1 miner that judges: it introduces itself like a known program, really hashes, and
//! keeps books of every answer, of every missing one and of everything it did not ask for.
//!
//! [`Miner`] is the handle a test holds. Dropping it closes the connection.

mod config;
mod dig;
mod handshake;
mod record;
mod session;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use config::{MinerConfig, Writing};
pub use handshake::{Handshake, Step};
pub use record::{MinerReport, Outcome, Rejection};

use crate::shared::Shared;
use dig::Digger;
use record::Book;
use session::Session;
use wire::{ANSWER_PATIENCE, Order, Worker, dial};

/// A share submitted on demand; all but the first are wrong in one way.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ShareKind {
    /// A share that should be accepted.
    Good,
    /// The last share once more.
    Duplicate,
    /// A time far beyond the job's.
    LateTime,
    /// One byte too much of extranonce2.
    LongExtranonce2,
    /// A hash that misses the difficulty.
    LowDifficulty,
    /// Another name than the authorized one.
    OtherName(String),
    /// One byte of extranonce2 missing.
    ShortExtranonce2,
    /// A good share for the newest job that a clean one ended.
    Stale,
    /// A job id that no pool ever gave.
    UnknownJob,
    /// All 32 version bits set, whatever the mask.
    UnmaskedVersion,
}

/// A miner at work.
#[derive(Debug)]
pub struct Miner {
    shared: Shared<Session>,
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
}

impl Miner {
    /// Connects and starts to introduce itself; does not wait for any answer.
    ///
    /// # Panics
    ///
    /// When nobody listens at `address`.
    pub fn connect(address: SocketAddr, config: MinerConfig) -> impl Future<Output = Self> {
        // Boxed, so that tests which hold many miners keep small futures.
        Box::pin(async move {
            Self::dial(address, config).await.expect("somebody listens at the address")
        })
    }

    /// As [`Miner::connect`], for addresses where nobody may listen.
    ///
    /// # Errors
    ///
    /// What the system says of the attempt.
    pub fn try_connect(
        address: SocketAddr,
        config: MinerConfig,
    ) -> impl Future<Output = io::Result<Self>> {
        Box::pin(Self::dial(address, config))
    }

    async fn dial(address: SocketAddr, config: MinerConfig) -> io::Result<Self> {
        let handshake = &config.handshake;
        let session = Session::new(
            Book::new(config.lines_kept),
            config.chain,
            handshake.needs_error_member,
            handshake.pongs_with_method,
        );
        let shared = Shared::new(session);
        let stream = dial(address, &config, &shared).await?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let worker = Worker {
            address,
            next_id: config.handshake.first_id,
            config,
            shared: shared.clone(),
            orders: inbox,
            digger: Digger::default(),
            own_shares: 0,
            paused: false,
            deaf: false,
        };
        let task = tokio::spawn(worker.run(stream));
        Ok(Self { shared, orders, task })
    }

    /// The books, over all connections.
    pub fn report(&self) -> MinerReport {
        self.shared.lock().book.report.clone()
    }

    /// The last lines heard and said (`<` and `>` in front), oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.shared.lock().book.lines.to_vec()
    }

    /// Submits a share of this kind and waits for what becomes of it.
    ///
    /// # Panics
    ///
    /// When there is no outcome in a long while.
    pub async fn submit(&self, kind: ShareKind) -> Outcome {
        let (waiter, outcome) = oneshot::channel();
        self.order(Order::Submit(kind, waiter));
        let outcome = timeout(ANSWER_PATIENCE, outcome).await.expect("a submit has an outcome");
        // The task drops the waiter when its connection ends before the share is sent.
        outcome.unwrap_or(Outcome::Lost)
    }

    /// Sends a request and waits for its answer; `None` when the connection ends first.
    ///
    /// # Panics
    ///
    /// When there is no answer in a long while.
    pub async fn ask(&self, method: &str, params: Value) -> Option<Value> {
        let (waiter, answer) = oneshot::channel();
        self.order(Order::Ask { method: method.into(), params, waiter });
        timeout(ANSWER_PATIENCE, answer).await.expect("a request has an answer").ok()
    }

    /// Writes bytes as they are. Answers to them count as answers to nothing.
    pub fn send_raw(&self, bytes: impl Into<Vec<u8>>) {
        self.order(Order::Raw(bytes.into()));
    }

    /// Stops finding shares, or goes on, and returns when it is so: from then on the report counts
    /// every share that will ever be sent. Answers are still heard.
    pub async fn pause(&self, paused: bool) {
        let (done, obeyed) = oneshot::channel();
        self.order(Order::Pause(paused, done));
        // A miner whose connection has ended finds none either.
        let _ = obeyed.await;
    }

    /// Stops reading from the connection, or reads on; what it says is not affected.
    pub fn deafen(&self, deaf: bool) {
        self.order(Order::Deafen(deaf));
    }

    /// Closes the connection, with a reset or in good order. A reconnecting miner comes back.
    pub fn close(&self, reset: bool) {
        self.order(Order::Close { reset });
    }

    fn order(&self, order: Order) {
        // A miner whose connection has ended obeys no more; its report says so.
        let _ = self.orders.send(order);
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        self.task.abort();
    }
}
