//! Everything a pool knows, behind one lock: its settings, its jobs and its connections.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::record::EthConnectionReport;
use crate::eth::config::{EthPoolConfig, Fourth, Variant};
use crate::eth::ethash::SEED;
use crate::eth::work::{Work, is_real};
use crate::lines::Ring;

/// The height of the first job.
const HEIGHT: u64 = 12_000;

/// A job of the pool, the same for all connections.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) serial: u64,
    pub(super) work: Work,
    difficulty: f64,
}

/// A job as one connection got it.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub(super) id: String,
    pub(super) job: Arc<Job>,
    pub(super) extranonce: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) report: EthConnectionReport,
    pub(super) lines: Ring,
    /// Gone once the connection has ended. `None` closes it.
    outbox: Option<mpsc::UnboundedSender<Option<String>>>,
    pub(super) variant: Option<Variant>,
    pub(super) subscribed: bool,
    pub(super) mining: bool,
    pub(super) extranonce: Vec<u8>,
    /// The id that sserver was told.
    pub(super) session_id: Option<String>,
    pub(super) jobs: VecDeque<Issued>,
    told_difficulty: Option<f64>,
    told_extranonce: Option<Vec<u8>>,
}

impl Connection {
    /// A copy of the books, with the last lines in it.
    pub(super) fn copy(&self) -> EthConnectionReport {
        EthConnectionReport { lines: self.lines.to_vec(), ..self.report.clone() }
    }

    pub(super) fn send(&mut self, line: String) {
        if let Some(outbox) = &self.outbox {
            self.lines.push(format!("> {line}"));
            // A writer that is gone has closed already.
            let _ = outbox.send(Some(line));
        }
    }

    pub(super) fn close(&mut self) {
        if let Some(outbox) = &self.outbox {
            // As above.
            let _ = outbox.send(None);
        }
    }

    pub(super) fn end(&mut self) {
        self.outbox = None;
        self.report.open = false;
        self.mining = false;
        self.jobs = VecDeque::new();
    }

    pub(super) fn set_extranonce(&mut self, fresh: &[u8]) {
        self.extranonce = fresh.to_vec();
        self.report.extranonce = hex::encode(fresh);
    }

    /// A new prefix in mid-session, in force from the next job on.
    pub(super) fn change_extranonce(&mut self, fresh: &[u8]) {
        if !self.mining || !self.variant.is_some_and(Variant::has_prefix) {
            return;
        }
        self.set_extranonce(fresh);
        if self.variant == Some(Variant::NiceHash) {
            let text = &self.report.extranonce;
            let line =
                format!(r#"{{"id":null,"method":"mining.set_extranonce","params":["{text}"]}}"#);
            self.send(line);
        }
    }

    /// Sends a job in the words of the connection's variant.
    fn issue(&mut self, job: &Arc<Job>, clean: bool, config: &EthPoolConfig) {
        let clean = clean || self.jobs.is_empty();
        if clean {
            self.jobs.clear();
        }
        while self.jobs.len() >= config.jobs_kept.max(1) {
            self.jobs.pop_front();
        }
        let header = hex::encode(job.work.header);
        let id = match self.variant {
            // sserver's id is the header; so is ETHProxy's, in a way.
            Some(Variant::EthProxy) | None => header.clone(),
            Some(_) if self.session_id.is_some() => header.clone(),
            Some(_) => format!("{:x}", job.serial),
        };
        let extranonce = self.extranonce.clone();
        self.jobs.push_back(Issued { id: id.clone(), job: Arc::clone(job), extranonce });
        let (seed, target) = (hex::encode(SEED), hex::encode(job.work.target));
        match self.variant {
            Some(Variant::EthProxy) => {
                let work = self.ethproxy_work(job, config);
                self.send(format!(r#"{{"id":0,"jsonrpc":"2.0","result":{work}}}"#));
            }
            Some(Variant::Plain) => {
                self.notify("mining.notify", &json!([id, header, seed, target, clean]));
            }
            Some(Variant::NiceHash) => {
                if self.told_difficulty != Some(job.difficulty) {
                    self.told_difficulty = Some(job.difficulty);
                    self.notify("mining.set_difficulty", &json!([job.difficulty]));
                }
                self.notify("mining.notify", &json!([id, seed, header, clean]));
            }
            Some(Variant::Es2) => {
                let news = self.told_difficulty != Some(job.difficulty)
                    || self.told_extranonce.as_ref() != Some(&self.extranonce);
                if news {
                    self.told_difficulty = Some(job.difficulty);
                    self.told_extranonce = Some(self.extranonce.clone());
                    let set = json!({"epoch": "0", "target": target, "algo": "ethash",
                                     "extranonce": self.report.extranonce});
                    self.send(format!(r#"{{"method":"mining.set","params":{set}}}"#));
                }
                let height = format!("{:x}", HEIGHT + job.serial);
                let params = json!([id, height, header, if clean { "1" } else { "0" }]);
                self.send(format!(r#"{{"method":"mining.notify","params":{params}}}"#));
            }
            None => {}
        }
    }

    /// The four items, or three, of an `ETHProxy` job.
    pub(super) fn ethproxy_work(&self, job: &Job, config: &EthPoolConfig) -> Value {
        let target = hex::encode(job.work.target);
        let target = if config.cuts_targets {
            // sserver leaves out six digits, whatever they are: they are zeros at real difficulties.
            target.strip_prefix("000000").unwrap_or(&target)
        } else {
            &target
        };
        let mut items = vec![
            json!(format!("0x{}", hex::encode(job.work.header))),
            json!(format!("0x{}", hex::encode(SEED))),
            json!(format!("0x{target}")),
        ];
        match config.fourth {
            Fourth::None => {}
            Fourth::Height => items.push(json!(format!("0x{:x}", HEIGHT + job.serial))),
            Fourth::SessionId => items.push(json!(self.session_id)),
        }
        Value::Array(items)
    }

    fn notify(&mut self, method: &str, params: &Value) {
        self.send(format!(r#"{{"id":null,"method":"{method}","params":{params}}}"#));
    }
}

/// The pool itself.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: EthPoolConfig,
    pub(super) connections: Vec<Connection>,
    current: Option<Arc<Job>>,
    serial: u64,
    extranonces: u64,
    /// Nonces of accepted shares, by the serial number of their job.
    pub(super) seen: HashMap<u64, HashSet<u64>>,
}

impl State {
    pub(super) fn new(config: EthPoolConfig) -> Self {
        let seen = HashMap::new();
        Self { config, connections: Vec::new(), current: None, serial: 0, extranonces: 0, seen }
    }

    pub(super) fn open(&mut self, outbox: mpsc::UnboundedSender<Option<String>>) -> usize {
        let number = self.connections.len();
        self.connections.push(Connection {
            report: EthConnectionReport { number, open: true, ..EthConnectionReport::default() },
            lines: Ring::new(self.config.lines_kept),
            outbox: Some(outbox),
            variant: None,
            subscribed: false,
            mining: false,
            extranonce: Vec::new(),
            session_id: None,
            jobs: VecDeque::new(),
            told_difficulty: None,
            told_extranonce: None,
        });
        number
    }

    /// A prefix no other connection of this pool has, as far as `size` bytes reach.
    pub(super) fn fresh_extranonce(&mut self, size: usize) -> Vec<u8> {
        self.extranonces += 1;
        self.extranonces.to_le_bytes().into_iter().take(size).collect()
    }

    /// Makes a job and sends it to everyone who mines.
    pub(super) fn new_job(&mut self, clean: bool) {
        let job = self.make_job();
        let oldest = self.serial.saturating_sub(u64::try_from(self.config.jobs_kept).unwrap_or(0));
        self.seen.retain(|serial, _| *serial >= oldest);
        for connection in self.connections.iter_mut().filter(|one| one.mining) {
            connection.issue(&job, clean, &self.config);
        }
    }

    /// Gives one connection its first job.
    pub(super) fn start_mining(&mut self, number: usize) {
        let job = self.current.clone().unwrap_or_else(|| self.make_job());
        if let Some(connection) = self.connections.get_mut(number).filter(|one| !one.mining) {
            connection.mining = true;
            connection.issue(&job, true, &self.config);
        }
    }

    fn make_job(&mut self) -> Arc<Job> {
        self.serial += 1;
        let index =
            usize::try_from(self.serial).unwrap_or(0) % self.config.difficulties.len().max(1);
        let difficulty = self.config.difficulties.get(index).copied().unwrap_or(1.0);
        let every = self.config.really_every;
        let really = every != 0 && self.serial.is_multiple_of(every);
        let work = Work::make(self.config.tag, self.serial, really, difficulty);
        let job = Arc::new(Job { serial: self.serial, work, difficulty });
        self.current = Some(Arc::clone(&job));
        job
    }
}

impl Job {
    pub(super) fn is_real(&self) -> bool {
        is_real(&self.work.header)
    }
}
