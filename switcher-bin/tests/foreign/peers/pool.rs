//! A pool that gives each connection an extranonce, and takes a share only under the name, job,
//! nonces and difficulty it has given out there.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stratum_peers::lines::LineReader;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Work;

/// What a pool is like.
#[derive(Clone, Debug)]
pub(crate) struct PoolConfig {
    name: &'static str,
    user: &'static str,
    difficulty: f64,
    jobs_every: Duration,
}

impl PoolConfig {
    /// Takes any user.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, user: "", difficulty: 2.0, jobs_every: Duration::from_millis(150) }
    }

    /// Users must begin like this.
    pub(crate) fn users(self, user: &'static str) -> Self {
        Self { user, ..self }
    }

    /// With this difficulty.
    pub(crate) fn difficulty(self, difficulty: f64) -> Self {
        Self { difficulty, ..self }
    }
}

/// The books of a pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolReport {
    pub(crate) connections: u64,
    pub(crate) closed: u64,
    pub(crate) accepted: u64,
    pub(crate) complaints: Vec<String>,
}

/// A running pool. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Pool {
    address: SocketAddr,
    report: Arc<Mutex<PoolReport>>,
    task: JoinHandle<()>,
}

impl Pool {
    pub(crate) async fn start(config: PoolConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let report = Arc::new(Mutex::new(PoolReport::default()));
        let books = Arc::clone(&report);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = {
                    let mut books = books.lock().unwrap();
                    books.connections += 1;
                    books.connections
                };
                let connection = Connection::new(config.clone(), number, Arc::clone(&books));
                tokio::spawn(connection.serve(stream));
            }
        });
        Self { address, report, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn report(&self) -> PoolReport {
        self.report.lock().unwrap().clone()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Connection {
    config: PoolConfig,
    number: u64,
    report: Arc<Mutex<PoolReport>>,
    /// Two bytes, unlike any other of this pool.
    extranonce: String,
    likes_digits: bool,
    user: Option<String>,
    jobs: BTreeMap<String, Work>,
    job_count: u64,
    seen: HashSet<(String, u64)>,
}

impl Connection {
    fn new(config: PoolConfig, number: u64, report: Arc<Mutex<PoolReport>>) -> Self {
        let kind = Sha256::digest(config.name)[0];
        let extranonce = format!("{kind:02x}{:02x}", number % 256);
        Self {
            config,
            number,
            report,
            extranonce,
            likes_digits: false,
            user: None,
            jobs: BTreeMap::new(),
            job_count: 0,
            seen: HashSet::new(),
        }
    }

    async fn serve(mut self, stream: TcpStream) {
        let (reader, mut writer) = stream.into_split();
        let mut lines = LineReader::new(reader);
        let mut ticks = tokio::time::interval(self.config.jobs_every);
        loop {
            let said = tokio::select! {
                line = lines.next() => match line {
                    Ok(line) => self.take(&line),
                    Err(_) => break,
                },
                _ = ticks.tick() => if self.user.is_some() { self.job() } else { String::new() },
            };
            if writer.write_all(said.as_bytes()).await.is_err() {
                break;
            }
        }
        self.report.lock().unwrap().closed += 1;
    }

    fn complain(&self, what: &str) {
        let text = format!("{} {}: {what}", self.config.name, self.number);
        self.report.lock().unwrap().complaints.push(text);
    }

    fn take(&mut self, line: &str) -> String {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            self.complain(&format!("no JSON: {line}"));
            return String::new();
        };
        let (id, params) = (&message["id"], &message["params"]);
        let answer = |result: Value, error: Value| {
            format!("{}\n", json!({"id": id, "jsonrpc": "2.0", "result": result, "error": error}))
        };
        match message["method"].as_str() {
            Some("mining.subscribe") => {
                let agent = params[0].as_str().unwrap_or_default();
                self.likes_digits = agent.contains("IceRiver");
                if params[1] != "EthereumStratum/1.0.0" {
                    self.complain(&format!("odd subscribe: {line}"));
                }
                answer(json!([true, "EthereumStratum/1.0.0"]), Value::Null)
            }
            Some("mining.authorize") => {
                let user = params[0].as_str().unwrap_or_default();
                if !user.starts_with(self.config.user) {
                    self.complain(&format!("a stranger: {line}"));
                    return answer(json!(false), json!([24, "Unauthorized worker", null]));
                }
                self.user = Some(user.to_owned());
                let notify = |method: &str, params: Value| {
                    let line = json!({"id": null, "method": method, "params": params});
                    format!("{line}\n")
                };
                answer(json!(true), Value::Null)
                    + &notify("mining.set_extranonce", json!([self.extranonce]))
                    + &notify("mining.set_difficulty", json!([self.config.difficulty]))
                    + &self.job()
            }
            Some("mining.submit") => match self.judge(params) {
                Ok(()) => {
                    self.report.lock().unwrap().accepted += 1;
                    answer(json!(true), Value::Null)
                }
                Err((code, why)) => {
                    self.complain(&format!("{why}: {line}"));
                    answer(Value::Null, json!([code, why, null]))
                }
            },
            _ => {
                self.complain(&format!("odd request: {line}"));
                answer(Value::Null, json!([20, "Not supported", null]))
            }
        }
    }

    fn job(&mut self) -> String {
        self.job_count += 1;
        let seed = format!("{} {} {}", self.config.name, self.number, self.job_count);
        let digest = Sha256::digest(seed);
        let eight = |at: usize| u64::from_be_bytes(digest[8 * at..8 * at + 8].try_into().unwrap());
        let header = [eight(0), eight(1), eight(2), eight(3)];
        let work = Work { header, time: 1_662_696_346 + self.job_count };
        let form = if self.likes_digits { work.digits() } else { work.words() };
        // Every pool and connection counts from 1: the same ids everywhere.
        let id = self.job_count.to_string();
        self.jobs.insert(id.clone(), work);
        format!("{{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"{id}\",{form}]}}\n")
    }

    fn judge(&mut self, params: &Value) -> Result<(), (i32, &'static str)> {
        let text = |at: usize| params[at].as_str().ok_or((20, "Malformed share"));
        if Some(text(0)?) != self.user.as_deref() {
            return Err((24, "Unauthorized worker"));
        }
        let work = self.jobs.get(text(1)?).ok_or((21, "Job not found"))?;
        let digits = text(2)?.trim_start_matches("0x");
        let nonce = u64::from_str_radix(digits, 16).map_err(|_| (20, "Malformed nonce"))?;
        if digits.len() != 16 || !digits.starts_with(&self.extranonce) {
            return Err((20, "Nonce out of range"));
        }
        if !work.is_share(nonce, self.config.difficulty) {
            return Err((23, "Low difficulty share"));
        }
        let is_new = self.seen.insert((text(1)?.to_owned(), nonce));
        if is_new { Ok(()) } else { Err((22, "Duplicate share")) }
    }
}
