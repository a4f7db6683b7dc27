//! The task of a miner: connects, introduces itself, hears, digs, and comes back if told to.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, sleep_until};

use super::ShareKind;
use super::config::{MinerConfig, Writing};
use super::dig::{Aim, Digger, Found};
use super::handshake::{Step, fill};
use super::record::Outcome;
use super::session::{Job, Pending, Session};
use crate::lines::{End, LineReader};
use crate::shared::Shared;

/// Turns of hashing spent on a share that was asked for by name.
const TURNS_ON_DEMAND: u32 = 200;

/// What the handle asks of the task.
#[derive(Debug)]
pub(super) enum Order {
    Ask { method: String, params: Value, waiter: oneshot::Sender<Value> },
    Close { reset: bool },
    Deafen(bool),
    Pause(bool, oneshot::Sender<()>),
    Raw(Vec<u8>),
    Submit(ShareKind, oneshot::Sender<Outcome>),
}

/// Opens a connection the way `config` says and notes it.
pub(super) async fn dial(
    address: SocketAddr,
    config: &MinerConfig,
    shared: &Shared<Session>,
) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(source) = config.source {
        socket.bind((source, 0).into())?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    shared.lock().connected(stream.local_addr()?, address.port());
    Ok(stream)
}

/// Why the task leaves a connection.
enum Leave {
    /// The handle is gone.
    ForGood,
    /// The connection ended or was left, with a word on how.
    Over(String),
}

/// A miner at work.
pub(super) struct Worker {
    pub(super) address: SocketAddr,
    pub(super) config: MinerConfig,
    pub(super) shared: Shared<Session>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) next_id: u64,
    pub(super) digger: Digger,
    pub(super) own_shares: u64,
    pub(super) paused: bool,
    /// Reads nothing from its connection.
    pub(super) deaf: bool,
}

/// What belongs to one connection only.
struct Connection {
    write: OwnedWriteHalf,
    steps: VecDeque<Step>,
    /// Lines that wait to be ten.
    held: Vec<String>,
    last_share: Option<Found>,
    due: tokio::time::Instant,
    /// When the last line came, or when its absence was last complained of.
    heard: tokio::time::Instant,
}

impl Worker {
    /// Works on `stream`, and on others after it if the miner comes back.
    pub(super) async fn run(mut self, stream: TcpStream) {
        let mut next = Some(stream);
        while let Some(stream) = next.take() {
            match Box::pin(self.work(stream)).await {
                Leave::ForGood => return,
                Leave::Over(how) => self.shared.lock().disconnected(how),
            }
            let Some(pause) = self.config.reconnect else { return };
            while next.is_none() {
                sleep(pause).await;
                next = dial(self.address, &self.config, &self.shared).await.ok();
            }
        }
    }

    async fn work(&mut self, stream: TcpStream) -> Leave {
        let (read, write) = stream.into_split();
        let mut lines = LineReader::new(read);
        let mut connection = Connection {
            write,
            steps: self.config.handshake.steps.clone().into(),
            held: Vec::new(),
            last_share: None,
            due: tokio::time::Instant::now(),
            heard: tokio::time::Instant::now(),
        };
        let preface = std::mem::take(&mut self.config.preface);
        let sent = connection.write.write_all(&preface).await;
        self.config.preface = preface;
        if let Err(error) = sent {
            return Leave::Over(error.to_string());
        }
        loop {
            match Box::pin(self.turn(&mut connection, &mut lines)).await {
                Ok(()) => {}
                Err(leave) => return leave,
            }
        }
    }

    async fn turn(
        &mut self,
        connection: &mut Connection,
        lines: &mut LineReader<OwnedReadHalf>,
    ) -> Result<(), Leave> {
        self.introduce(connection).await?;
        let mines = self.mines(connection);
        let silence = connection.heard + self.config.silence_limit;
        tokio::select! {
            line = lines.next(), if !self.deaf => {
                let line = line.map_err(|end| Leave::Over(self.judge_end(end)))?;
                connection.heard = tokio::time::Instant::now();
                let (replies, leaves) = {
                    let mut session = self.shared.lock();
                    (session.hear(&line), session.wants_to_leave)
                };
                self.write(connection, replies).await?;
                if leaves && self.config.obeys_reconnect {
                    return Err(Leave::Over("left on request".into()));
                }
            }
            () = sleep_until(connection.due), if mines => {
                let pause = self.config.share_interval.unwrap_or_default();
                connection.due = tokio::time::Instant::now() + pause;
                self.share(connection).await?;
            }
            order = self.orders.recv() => match order {
                None => return Err(Leave::ForGood),
                Some(order) => Box::pin(self.obey(order, connection)).await?,
            },
            () = sleep_until(silence), if !self.deaf => {
                connection.heard = silence;
                let limit = self.config.silence_limit;
                self.shared.lock().book.violation(format!("silence for {limit:?}"));
            }
        }
        Ok(())
    }

    /// Whether it is time to dig by itself.
    fn mines(&self, connection: &Connection) -> bool {
        self.config.share_interval.is_some()
            && !self.paused
            && connection.steps.is_empty()
            && self.config.share_limit.is_none_or(|limit| self.own_shares < limit)
            && self.shared.lock().may_mine()
    }

    /// Sends the steps of the handshake that are due, in one write.
    async fn introduce(&mut self, connection: &mut Connection) -> Result<(), Leave> {
        let mut lines = Vec::new();
        while let Some(step) = connection.steps.front() {
            match step {
                Step::Await if self.shared.lock().is_in_step() => {}
                Step::Await => break,
                Step::Ask { method, params, id } => {
                    lines.push(self.request(method, params, id.clone(), true));
                }
                Step::Tell { method, params, id } => {
                    lines.push(self.request(method, params, id.clone(), false));
                }
            }
            connection.steps.pop_front();
        }
        self.write(connection, lines).await
    }

    fn request(
        &mut self,
        method: &str,
        params: &Value,
        id: Option<Value>,
        in_order: bool,
    ) -> String {
        let id = id.unwrap_or_else(|| json!(self.fresh_id()));
        let mut session = self.shared.lock();
        let known_session = session.book.report.session.clone();
        let params = fill(params, |name| match name {
            "$agent" => Some(self.config.handshake.agent.clone()),
            "$worker" => Some(self.config.worker.clone()),
            "$password" => Some(self.config.password.clone()),
            _ => known_session.clone().or_else(|| self.config.session.clone()),
        });
        if !id.is_null() {
            let pending = match method {
                "mining.authorize" => Pending::Authorize,
                "mining.configure" => {
                    let wants_extranonce = params.to_string().contains("subscribe-extranonce");
                    Pending::Configure { wants_extranonce }
                }
                "mining.extranonce.subscribe" => Pending::ExtranonceSubscribe,
                "mining.subscribe" => Pending::Subscribe,
                _ => Pending::Other,
            };
            session.expect(&id, pending, in_order);
        }
        format!(r#"{{"id": {id}, "method": "{method}", "params": {params}}}"#)
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Digs once at the newest job and submits what is found.
    async fn share(&mut self, connection: &mut Connection) -> Result<(), Leave> {
        let (job, mask, told) = {
            let session = self.shared.lock();
            let report = &session.book.report;
            (session.jobs.back().cloned(), report.version_mask, report.told_difficulty)
        };
        let Some(mut job) = job else { return Ok(()) };
        if self.config.difficulty_at_once {
            job.difficulty = told.unwrap_or(job.difficulty);
        }
        let Some(found) =
            self.digger.dig(self.config.chain, &job, mask, Aim::Hit, self.config.hashes_per_turn)
        else {
            // The next turn goes on at once: an interval is kept between shares, not turns.
            connection.due = tokio::time::Instant::now();
            return Ok(());
        };
        self.own_shares += 1;
        let worker = self.config.worker.clone();
        self.submit(connection, &worker, &found, job.difficulty, None).await
    }

    async fn submit(
        &mut self,
        connection: &mut Connection,
        worker: &str,
        found: &Found,
        difficulty: f64,
        waiter: Option<oneshot::Sender<Outcome>>,
    ) -> Result<(), Leave> {
        let id = match self.config.handshake.submit_id {
            Some(id) => json!(id),
            None => json!(self.fresh_id()),
        };
        let mut params = vec![
            json!(worker),
            json!(found.job_id),
            json!(hex::encode(&found.extranonce2)),
            json!(format!("{:08x}", found.ntime)),
            json!(format!("{:08x}", found.nonce)),
        ];
        params.extend(found.bits.map(|bits| json!(format!("{bits:08x}"))));
        let params = Value::Array(params);
        let share = Pending::Share { difficulty, sent: Instant::now(), waiter };
        self.shared.lock().expect(&id, share, false);
        connection.last_share = Some(found.clone());
        let line = format!(r#"{{"params": {params}, "id": {id}, "method": "mining.submit"}}"#);
        self.write(connection, vec![line]).await
    }

    async fn obey(&mut self, order: Order, connection: &mut Connection) -> Result<(), Leave> {
        match order {
            Order::Ask { method, params, waiter } => {
                let id = json!(self.fresh_id());
                self.shared.lock().expect(&id, Pending::Asked(waiter), false);
                let line = format!(r#"{{"id": {id}, "method": "{method}", "params": {params}}}"#);
                self.write(connection, vec![line]).await
            }
            Order::Close { reset } => {
                if reset {
                    let _ = connection.write.as_ref().set_zero_linger();
                }
                Err(Leave::Over("closed by the miner".into()))
            }
            Order::Deafen(deaf) => {
                self.deaf = deaf;
                // What was missed meanwhile was not the other side's silence.
                connection.heard = tokio::time::Instant::now();
                Ok(())
            }
            Order::Pause(paused, done) => {
                self.paused = paused;
                let held = std::mem::take(&mut connection.held);
                let put = self.put(connection, held).await;
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
                put
            }
            Order::Raw(bytes) => connection
                .write
                .write_all(&bytes)
                .await
                .map_err(|error| Leave::Over(error.to_string())),
            Order::Submit(kind, waiter) => self.submit_on_demand(&kind, waiter, connection).await,
        }
    }

    async fn submit_on_demand(
        &mut self,
        kind: &ShareKind,
        waiter: oneshot::Sender<Outcome>,
        connection: &mut Connection,
    ) -> Result<(), Leave> {
        let (job, mask) = {
            let session = self.shared.lock();
            let job = match kind {
                ShareKind::Stale => session.stale.clone(),
                _ => session.jobs.back().cloned(),
            };
            (job, session.book.report.version_mask)
        };
        let found = match (kind, &job) {
            (ShareKind::Duplicate, _) => connection.last_share.clone(),
            (_, Some(job)) => self.dig_long(job, mask, kind).await,
            (_, None) => None,
        };
        let (Some(job), Some(mut found)) = (job, found) else {
            // Whoever asked may have stopped waiting.
            let _ = waiter.send(Outcome::NothingToSubmit);
            return Ok(());
        };
        let mut worker = self.config.worker.clone();
        match kind {
            ShareKind::Duplicate
            | ShareKind::Good
            | ShareKind::LowDifficulty
            | ShareKind::Stale => {}
            ShareKind::LongExtranonce2 => found.extranonce2.push(0),
            ShareKind::ShortExtranonce2 => {
                found.extranonce2.pop();
            }
            ShareKind::LateTime => found.ntime = found.ntime.saturating_add(100_000),
            ShareKind::OtherName(name) => worker.clone_from(name),
            ShareKind::UnknownJob => found.job_id = "no such job".into(),
            ShareKind::UnmaskedVersion => found.bits = Some(0xffff_ffff),
        }
        self.submit(connection, &worker, &found, job.difficulty, Some(waiter)).await
    }

    async fn dig_long(&mut self, job: &Job, mask: Option<u32>, kind: &ShareKind) -> Option<Found> {
        let aim = if *kind == ShareKind::LowDifficulty { Aim::Miss } else { Aim::Hit };
        for _ in 0..TURNS_ON_DEMAND {
            if let found @ Some(_) =
                self.digger.dig(self.config.chain, job, mask, aim, self.config.hashes_per_turn)
            {
                return found;
            }
            tokio::task::yield_now().await;
        }
        None
    }

    /// Sends lines in the miner's way of writing.
    async fn write(
        &mut self,
        connection: &mut Connection,
        lines: Vec<String>,
    ) -> Result<(), Leave> {
        if lines.is_empty() {
            return Ok(());
        }
        for line in &lines {
            self.shared.lock().book.lines.push(format!("> {line}"));
        }
        if self.config.writing == Writing::TenLinesAtOnce && connection.steps.is_empty() {
            connection.held.extend(lines);
            if connection.held.len() < 10 {
                return Ok(());
            }
            let held = std::mem::take(&mut connection.held);
            return self.put(connection, held).await;
        }
        self.put(connection, lines).await
    }

    async fn put(&self, connection: &mut Connection, lines: Vec<String>) -> Result<(), Leave> {
        let bytes = match self.config.writing {
            Writing::CarriageReturns => lines.iter().flat_map(|line| [line, "\r\n"]).collect(),
            Writing::Unseparated => lines.concat() + "\n",
            _ => lines.iter().flat_map(|line| [line, "\n"]).collect::<String>(),
        };
        let sent = if self.config.writing == Writing::ByteByByte {
            write_bytes(&mut connection.write, bytes.as_bytes()).await
        } else {
            connection.write.write_all(bytes.as_bytes()).await
        };
        sent.map_err(|error| Leave::Over(error.to_string()))
    }

    fn judge_end(&self, end: End) -> String {
        match end {
            End::Closed => "closed by the peer".into(),
            End::ClosedInLine => {
                self.shared.lock().book.violation("closed in the middle of a line");
                "closed by the peer".into()
            }
            End::Failed(error) => error,
            End::TooLong => {
                self.shared.lock().book.violation("a line without end");
                "a line without end".into()
            }
        }
    }
}

async fn write_bytes(write: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes.chunks(1) {
        write.write_all(byte).await?;
        // Lets the reader see some of the bytes alone, also on one core.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// How long a handle waits for an answer before it gives up.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
