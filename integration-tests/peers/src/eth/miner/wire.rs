//! The task of a miner: introduces itself, hears, digs.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::EthMinerConfig;
use super::session::{Job, Pending, Session};
use crate::eth::config::Variant;
use crate::lines::{End, LineReader};
use crate::shared::Shared;

/// What the handle asks of the task.
#[derive(Debug)]
pub(super) enum Order {
    Pause(bool, oneshot::Sender<()>),
    Say(String, Option<u64>),
}

pub(super) async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A miner at work.
pub(super) struct Worker {
    config: EthMinerConfig,
    shared: Shared<Session>,
    orders: mpsc::UnboundedReceiver<Order>,
    steps: VecDeque<(Pending, &'static str, Value)>,
    next_id: u64,
    nonce: u64,
    paused: bool,
    due: Instant,
    poll_due: Instant,
}

impl Worker {
    pub(super) fn new(
        config: EthMinerConfig,
        shared: Shared<Session>,
        orders: mpsc::UnboundedReceiver<Order>,
    ) -> Self {
        // Miners that choose whole nonces must not choose the same ones.
        let mut hasher = DefaultHasher::new();
        config.name.hash(&mut hasher);
        Self {
            steps: steps(&config),
            config,
            shared,
            orders,
            next_id: 1,
            nonce: hasher.finish(),
            paused: false,
            due: Instant::now(),
            poll_due: Instant::now(),
        }
    }

    pub(super) async fn run(mut self, stream: TcpStream) {
        let how = self.work(stream).await;
        let mut session = self.shared.lock();
        session.report.connected = false;
        session.report.ending = how;
    }

    /// Works until the connection ends, and says how it did; `None` if the handle is gone.
    async fn work(&mut self, stream: TcpStream) -> Option<String> {
        let (read, mut write) = stream.into_split();
        let mut lines = LineReader::new(read);
        loop {
            let said = self.introduce(&mut write).await;
            if let Err(error) = said {
                return Some(error.to_string());
            }
            let mines = !self.paused
                && self.config.share_interval.is_some()
                && self.steps.is_empty()
                && self.shared.lock().may_mine();
            let polls = mines && self.config.polls.is_some();
            let said = tokio::select! {
                line = lines.next() => match line {
                    Ok(line) => {
                        self.shared.lock().hear(&line);
                        Ok(())
                    }
                    Err(End::Closed) => return Some("closed by the peer".into()),
                    Err(End::Failed(error)) => return Some(error),
                    Err(end) => {
                        self.shared.lock().violation(format!("{end:?}"));
                        return Some(format!("{end:?}"));
                    }
                },
                order = self.orders.recv() => match order? {
                    Order::Pause(paused, done) => {
                        self.paused = paused;
                        // Whoever asked may have stopped waiting.
                        let _ = done.send(());
                        Ok(())
                    }
                    Order::Say(line, id) => {
                        if let Some(id) = id {
                            self.shared.lock().expect(id, Pending::Other);
                        }
                        self.write(&mut write, &line).await
                    }
                },
                () = sleep_until(self.due), if mines => self.share(&mut write).await,
                () = sleep_until(self.poll_due), if polls => {
                    self.poll_due = Instant::now() + self.config.polls.unwrap_or_default();
                    self.request(&mut write, Pending::GetWork, "eth_getWork", &json!([])).await
                }
            };
            if let Err(error) = said {
                return Some(error.to_string());
            }
        }
    }

    /// Sends the next request of the handshake when the last one is answered.
    async fn introduce(&mut self, write: &mut OwnedWriteHalf) -> io::Result<()> {
        let may_go_on = {
            let session = self.shared.lock();
            session.is_in_step() && session.report.refusal.is_none()
        };
        if may_go_on && let Some((pending, method, params)) = self.steps.pop_front() {
            return self.request(write, pending, method, &params).await;
        }
        Ok(())
    }

    async fn request(
        &mut self,
        write: &mut OwnedWriteHalf,
        pending: Pending,
        method: &str,
        params: &Value,
    ) -> io::Result<()> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(write, id, pending, method, params).await
    }

    async fn send(
        &mut self,
        write: &mut OwnedWriteHalf,
        id: u64,
        pending: Pending,
        method: &str,
        params: &Value,
    ) -> io::Result<()> {
        self.shared.lock().expect(id, pending);
        let mut request = json!({"id": id, "method": method, "params": params});
        if let Some(object) = request.as_object_mut() {
            if self.config.variant == Variant::EthProxy {
                object.insert("jsonrpc".into(), json!("2.0"));
            }
            if self.config.rig_apart
                && let Some((_, rig)) = self.config.name.rsplit_once('.')
            {
                object.insert("worker".into(), json!(rig));
            }
        }
        self.write(write, &request.to_string()).await
    }

    async fn write(&self, write: &mut OwnedWriteHalf, line: &str) -> io::Result<()> {
        self.shared.lock().lines.push(format!("> {line}"));
        write.write_all(format!("{line}\n").as_bytes()).await
    }

    /// Digs at the newest job and submits what is found.
    async fn share(&mut self, write: &mut OwnedWriteHalf) -> io::Result<()> {
        let Some(job) = self.shared.lock().job.clone() else { return Ok(()) };
        let Some((nonce, mix)) = self.dig(&job) else {
            // The interval is kept between shares, not turns.
            self.due = Instant::now();
            tokio::task::yield_now().await;
            return Ok(());
        };
        self.due = Instant::now() + self.config.share_interval.unwrap_or_default();
        let Job { id, work, extranonce } = job;
        let zero_x = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
        let whole = zero_x(&nonce.to_be_bytes());
        let rest = whole.get(2 + extranonce.len() * 2..).unwrap_or_default();
        let name = self.config.name.clone();
        let (method, params) = match self.config.variant {
            Variant::EthProxy => {
                ("eth_submitWork", json!([whole, zero_x(&work.header), zero_x(&mix)]))
            }
            Variant::Plain => {
                ("mining.submit", json!([name, id, whole, zero_x(&work.header), zero_x(&mix)]))
            }
            Variant::NiceHash => ("mining.submit", json!([name, id, rest])),
            Variant::Es2 => {
                let token = self.shared.lock().token.clone();
                ("mining.submit", json!([id, rest, token]))
            }
        };
        let id = self.config.submit_id.unwrap_or_else(|| {
            self.next_id += 1;
            self.next_id - 1
        });
        self.send(write, id, Pending::Share(work.header[1]), method, &params).await
    }

    /// A nonce that is a share, and its mix digest; `None` if this turn finds none.
    fn dig(&mut self, job: &Job) -> Option<(u64, [u8; 32])> {
        for _ in 0..self.config.tries {
            self.nonce = self.nonce.wrapping_add(1);
            let mut bytes = self.nonce.to_be_bytes();
            bytes.iter_mut().zip(&job.extranonce).for_each(|(byte, given)| *byte = *given);
            let nonce = u64::from_be_bytes(bytes);
            let hashed = job.work.hash(nonce);
            if job.work.is_met_by(&hashed.result) {
                return Some((nonce, hashed.mix));
            }
        }
        None
    }
}

/// The handshake, request by request.
fn steps(config: &EthMinerConfig) -> VecDeque<(Pending, &'static str, Value)> {
    let login = match config.name.rsplit_once('.') {
        Some((account, _)) if config.rig_apart => account,
        _ => &config.name,
    };
    let authorize = (Pending::Login, "mining.authorize", json!([login, "x"]));
    let mut steps = Vec::new();
    match config.variant {
        Variant::EthProxy => steps.push((Pending::Login, "eth_submitLogin", json!([login, "x"]))),
        Variant::Plain => {
            steps.push((Pending::Subscribe, "mining.subscribe", json!([config.agent])));
            steps.push(authorize);
        }
        Variant::NiceHash => {
            let params = json!([config.agent, "EthereumStratum/1.0.0"]);
            steps.push((Pending::Subscribe, "mining.subscribe", params));
            if config.takes_extranonce {
                steps.push((Pending::Other, "mining.extranonce.subscribe", json!([])));
            }
            steps.push(authorize);
        }
        Variant::Es2 => {
            let hello = json!({"agent": config.agent, "host": "pool.example", "port": "115c",
                               "proto": "EthereumStratum/2.0.0"});
            steps.push((Pending::Hello, "mining.hello", hello));
            steps.push((Pending::Subscribe, "mining.subscribe", json!([])));
            steps.push(authorize);
        }
    }
    steps.into()
}
