//! A miner that is never told anything it must not be told, and says so.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use stratum_peers::lines::LineReader;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::Work;

/// Pause between two shares.
const PACE: Duration = Duration::from_millis(25);

/// The books of a miner.
#[derive(Clone, Debug, Default)]
pub(crate) struct MinerReport {
    /// Finds no more shares. It stands beside their number, so that none is under way uncounted.
    paused: bool,
    pub(crate) submitted: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: Vec<String>,
    /// All extranonces it was told, in their order.
    pub(crate) extranonces: Vec<String>,
    pub(crate) complaints: Vec<String>,
}

impl MinerReport {
    /// Whether every share has its answer.
    pub(crate) fn is_settled(&self) -> bool {
        self.accepted + self.refused.len() as u64 >= self.submitted
    }
}

/// A running miner. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Miner {
    report: Arc<Mutex<MinerReport>>,
    task: JoinHandle<()>,
}

impl Miner {
    /// Connects and mines as this worker.
    pub(crate) async fn connect(to: SocketAddr, worker: &str, agent: &str) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let report = Arc::new(Mutex::new(MinerReport::default()));
        let rig = Rig {
            worker: worker.to_owned(),
            report: Arc::clone(&report),
            asked: BTreeSet::from([1, 2]),
            next_id: 3,
            authorized: false,
            extranonce: String::new(),
            difficulty: None,
            job: None,
            next_nonce: 1,
        };
        let task = tokio::spawn(rig.mine(stream, agent.to_owned()));
        Self { report, task }
    }

    pub(crate) fn report(&self) -> MinerReport {
        self.report.lock().unwrap().clone()
    }

    /// No more shares.
    pub(crate) fn pause(&self) {
        self.report.lock().unwrap().paused = true;
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A job, and what was in force when it came.
struct Job {
    id: String,
    work: Work,
    extranonce: String,
    difficulty: f64,
}

struct Rig {
    worker: String,
    report: Arc<Mutex<MinerReport>>,
    /// Ids without an answer.
    asked: BTreeSet<u64>,
    next_id: u64,
    authorized: bool,
    extranonce: String,
    difficulty: Option<f64>,
    job: Option<Job>,
    next_nonce: u64,
}

impl Rig {
    async fn mine(mut self, stream: TcpStream, agent: String) {
        let (reader, mut writer) = stream.into_split();
        let mut lines = LineReader::new(reader);
        let subscribe = json!({"id": 1, "method": "mining.subscribe",
            "params": [agent, "EthereumStratum/1.0.0"]});
        let authorize =
            json!({"id": 2, "method": "mining.authorize", "params": [self.worker, "x"]});
        let mut said = format!("{subscribe}\n{authorize}\n");
        let mut ticks = tokio::time::interval(PACE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Err(error) = writer.write_all(said.as_bytes()).await {
                return self.complain(&format!("writing: {error}"));
            }
            said = tokio::select! {
                line = lines.next() => match line {
                    Ok(line) => {
                        self.take(&line);
                        String::new()
                    }
                    Err(end) => return self.complain(&format!("the connection: {end:?}")),
                },
                _ = ticks.tick() => self.share(),
            };
        }
    }

    fn complain(&self, what: &str) {
        let text = format!("{}: {what}", self.worker);
        self.report.lock().unwrap().complaints.push(text);
    }

    fn take(&mut self, line: &str) {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            return self.complain(&format!("no JSON: {line}"));
        };
        let params = message["params"].as_array().cloned().unwrap_or_default();
        match message["method"].as_str() {
            None => self.answered(&message, line),
            Some(_) if !self.authorized => self.complain(&format!("too early: {line}")),
            Some("mining.set_extranonce") => match params.first().and_then(Value::as_str) {
                Some(extranonce) => {
                    extranonce.clone_into(&mut self.extranonce);
                    self.report.lock().unwrap().extranonces.push(extranonce.to_owned());
                    // What was told before was told by the pool before.
                    self.difficulty = None;
                }
                None => self.complain(&format!("no extranonce: {line}")),
            },
            Some("mining.set_difficulty") => {
                self.difficulty = params.first().and_then(Value::as_f64);
            }
            Some("mining.notify") => {
                let id = params.first().and_then(Value::as_str);
                match (id, Work::read(&params), self.difficulty) {
                    (Some(id), Some(work), Some(difficulty)) => {
                        let (id, extranonce) = (id.to_owned(), self.extranonce.clone());
                        self.job = Some(Job { id, work, extranonce, difficulty });
                    }
                    _ => self.complain(&format!("a job that cannot be worked on: {line}")),
                }
            }
            Some(_) => self.complain(&format!("not asked for: {line}")),
        }
    }

    fn answered(&mut self, message: &Value, line: &str) {
        let id = message["id"].as_u64().unwrap_or(0);
        if !self.asked.remove(&id) {
            return self.complain(&format!("answers nothing: {line}"));
        }
        let is_yes = message["result"] == true && message["error"].is_null();
        match id {
            1 => {}
            2 if is_yes => self.authorized = true,
            2 => self.complain(&format!("not let in: {line}")),
            _ if is_yes => self.report.lock().unwrap().accepted += 1,
            _ => self.report.lock().unwrap().refused.push(line.to_owned()),
        }
    }

    /// A share of the latest job.
    fn share(&mut self) -> String {
        let mut report = self.report.lock().unwrap();
        if report.paused {
            return String::new();
        }
        let Some(job) = &self.job else { return String::new() };
        let digits = 16 - job.extranonce.len();
        let nonce = loop {
            self.next_nonce += 1;
            let text = format!("{}{:0digits$x}", job.extranonce, self.next_nonce);
            let nonce = u64::from_str_radix(&text, 16).unwrap();
            if job.work.is_share(nonce, job.difficulty) {
                break text;
            }
        };
        let id = self.next_id;
        self.next_id += 1;
        self.asked.insert(id);
        report.submitted += 1;
        let params = json!([self.worker, job.id, format!("0x{nonce}")]);
        format!("{}\n", json!({"id": id, "method": "mining.submit", "params": params}))
    }
}
