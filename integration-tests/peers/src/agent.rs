//! A `BTCAgent` that judges: one connection, many sub-miners that really hash, and a note of all that
//! it is told and should not be.
//!
//! It logs in as the agent of version 2 does. Sub-miners take turns in finding shares; a part of the
//! shares is for the job before the latest, as of miners that had not heard of it yet.

mod dig;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::lines::{End, LineReader, Piece};
use crate::shared::Shared;
use state::State;

/// What 2 to the power of 0 means to agents and their pools in tests. A share that goes to a wrong
/// pool meets its difficulty once in a thousand times or so.
pub const UNIT: f64 = 1e-8;

/// What an agent is like.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    sub_account: String,
    sub_miners: u16,
    unit: f64,
    share_every: Duration,
    late_every: u64,
    answers: bool,
    asks_first: bool,
}

impl AgentConfig {
    /// An agent with so many sub-miners, which wants answers. `unit` is the difficulty that its pools
    /// mean by 2 to the power of 0.
    pub fn new(sub_account: impl Into<String>, sub_miners: u16, unit: f64) -> Self {
        Self {
            sub_account: sub_account.into(),
            sub_miners,
            unit,
            share_every: Duration::from_millis(10),
            late_every: 5,
            answers: true,
            asks_first: true,
        }
    }

    /// A share of one sub-miner or another at this interval.
    #[must_use]
    pub fn share_every(mut self, interval: Duration) -> Self {
        self.share_every = interval;
        self
    }

    /// Every how many shares one is for the job before the latest; 0 for none.
    #[must_use]
    pub fn late_every(mut self, shares: u64) -> Self {
        self.late_every = shares;
        self
    }

    /// An agent that logs in without a question before it, as one of the original's must.
    #[must_use]
    pub fn without_question(mut self) -> Self {
        self.asks_first = false;
        self
    }

    /// An agent that answers its miners itself.
    #[must_use]
    pub fn without_answers(mut self) -> Self {
        self.answers = false;
        self
    }
}

/// The books of an agent.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AgentReport {
    /// Its own end of the connection.
    pub local_address: Option<SocketAddr>,
    /// Whether login was answered with yes.
    pub logged_in: bool,
    /// How the connection ended, once it has.
    pub ending: Option<String>,
    /// Jobs received.
    pub jobs: u64,
    /// Those of them that made all older ones void.
    pub clean_jobs: u64,
    /// Shares sent.
    pub submitted: u64,
    /// Those of them for a job that was not the latest.
    pub late: u64,
    /// Shares without an answer.
    pub unanswered: u64,
    /// Shares taken.
    pub accepted: u64,
    /// Shares taken, by sub-miner.
    pub accepted_by_sub_miner: BTreeMap<u16, u64>,
    /// Shares refused, by status.
    pub rejected: BTreeMap<i32, u64>,
    /// The first refusals in words.
    pub refusals: Vec<String>,
    /// The mask in force.
    pub version_mask: Option<u32>,
    /// What it was told and should not have been.
    pub violations: Vec<String>,
}

/// A running agent. Dropping it closes its connection.
#[derive(Debug)]
pub struct Agent {
    shared: Shared<State>,
    orders: mpsc::UnboundedSender<Vec<u8>>,
    task: JoinHandle<()>,
}

impl Agent {
    /// Connects and logs in by itself from there on.
    ///
    /// # Panics
    ///
    /// If there is nobody at the address.
    pub async fn connect(address: SocketAddr, config: AgentConfig) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens there");
        let _ = stream.set_nodelay(true);
        let local = stream.local_addr().expect("a connected socket has an address");
        let every = config.share_every;
        let shared = Shared::new(State::new(config, local));
        let (orders, inbox) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(shared.clone(), stream, inbox, every));
        Self { shared, orders, task }
    }

    /// The books so far.
    ///
    /// # Panics
    ///
    /// If the agent's task has panicked.
    pub fn report(&self) -> AgentReport {
        self.shared.lock().report()
    }

    /// Stops to find shares, or goes on.
    pub fn pause(&self, pause: bool) {
        self.shared.lock().paused = pause;
    }

    /// A sub-miner leaves and another comes in its place.
    pub fn replace(&self, sid: u16) {
        let bytes = self.shared.lock().replace(sid);
        // An agent that is gone has said so in its books.
        let _ = self.orders.send(bytes);
    }

    /// Sends bytes as they are.
    pub fn send_raw(&self, bytes: &[u8]) {
        let _ = self.orders.send(bytes.to_vec());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    shared: Shared<State>,
    stream: TcpStream,
    mut orders: mpsc::UnboundedReceiver<Vec<u8>>,
    every: Duration,
) {
    let (read, mut write) = stream.into_split();
    let mut reader = LineReader::new(read);
    let mut turns = interval(every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut say = shared.lock().begin();
    let end = loop {
        if !say.is_empty() && write.write_all(&say).await.is_err() {
            break "writing failed".to_owned();
        }
        say = tokio::select! {
            piece = reader.piece() => match piece {
                Ok(Piece::Line(line)) => shared.lock().line(&line),
                Ok(Piece::Frame(frame)) => {
                    shared.lock().frame(&frame);
                    Vec::new()
                }
                Err(End::Closed) => break "closed by the peer".to_owned(),
                Err(other) => break format!("{other:?}"),
            },
            Some(order) = orders.recv() => order,
            _ = turns.tick() => shared.lock().turn(),
        };
    };
    shared.lock().end(end);
}
