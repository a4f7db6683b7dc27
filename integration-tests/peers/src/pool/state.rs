//! Everything a pool knows, behind one lock: its settings, its jobs and its connections.
//!
//! No sockets here. Lines to send go into the outboxes of the connections, whose tasks write them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::agents::AgentSide;
use super::config::{AgentTerms, PoolConfig};
use super::jobs::JobMaker;
use super::record::Book;
use crate::header::Hash;
use crate::notify::Notify;

/// What a connection's writer is told.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// The answer to a submit, sent when the pool's manners say so.
    Answer(String),
    /// Ends the connection, by a reset or in good order.
    Close { reset: bool },
    /// A line, sent at once.
    Line(String),
    /// Bytes, sent as they are.
    Raw(Vec<u8>),
}

/// A job as one connection got it.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    /// What the connection knows it by.
    pub(super) id: String,
    pub(super) work: Arc<Work>,
    pub(super) difficulty: f64,
    pub(super) extranonce1: Vec<u8>,
    pub(super) extranonce2_size: usize,
    /// Powers of 2 for the sub-miners that were registered when it was issued.
    pub(super) exponents: BTreeMap<u16, u8>,
}

/// A job of the pool, the same for all connections.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) serial: u64,
    pub(super) notify: Notify,
    pub(super) difficulty: f64,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) book: Book,
    /// Gone once the connection has ended.
    pub(super) outbox: Option<mpsc::UnboundedSender<Outgoing>>,
    pub(super) subscribed: bool,
    /// Whether jobs go to this connection.
    pub(super) mining: bool,
    pub(super) silent: bool,
    pub(super) extranonce1: Vec<u8>,
    pub(super) extranonce2_size: usize,
    pub(super) wanted_difficulty: Option<f64>,
    pub(super) told_difficulty: Option<f64>,
    pub(super) jobs: VecDeque<Issued>,
    pub(super) ids_issued: HashSet<String>,
    /// Ids of requests of ours that wait for an answer.
    pub(super) asked: HashSet<u64>,
    /// What there is besides if the other end is an agent.
    pub(super) agent: Option<AgentSide>,
}

impl Connection {
    pub(super) fn new(book: Book, outbox: mpsc::UnboundedSender<Outgoing>) -> Self {
        Self {
            book,
            outbox: Some(outbox),
            subscribed: false,
            mining: false,
            silent: false,
            extranonce1: Vec::new(),
            extranonce2_size: 0,
            wanted_difficulty: None,
            told_difficulty: None,
            jobs: VecDeque::new(),
            ids_issued: HashSet::new(),
            asked: HashSet::new(),
            agent: None,
        }
    }

    /// Queues a line unless the pool has fallen silent here.
    pub(super) fn send(&mut self, line: String) {
        self.put(line, Outgoing::Line);
    }

    pub(super) fn send_answer(&mut self, line: String) {
        self.put(line, Outgoing::Answer);
    }

    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        if let Some(outbox) = &self.outbox {
            // A writer that is gone has closed already.
            let _ = outbox.send(Outgoing::Raw(bytes.to_vec()));
        }
    }

    pub(super) fn notify(&mut self, method: &str, params: &Value) {
        self.send(format!(r#"{{"id":null,"method":"{method}","params":{params}}}"#));
    }

    pub(super) fn close(&mut self, reset: bool) {
        if let Some(outbox) = &self.outbox {
            // A writer that is gone has closed already.
            let _ = outbox.send(Outgoing::Close { reset });
        }
    }

    pub(super) fn tell_difficulty(&mut self, difficulty: f64) {
        self.told_difficulty = Some(difficulty);
        self.notify("mining.set_difficulty", &json!([difficulty]));
    }

    /// Sends a job, with its difficulty in front if that is news.
    pub(super) fn issue(
        &mut self,
        work: &Arc<Work>,
        clean_jobs: bool,
        jobs_kept: usize,
        agents: Option<&AgentTerms>,
    ) {
        let for_agent =
            self.agent.as_mut().zip(agents).map(|(agent, terms)| agent.job(work, terms));
        let wanted = match &for_agent {
            Some(job) => job.difficulty,
            None => self.wanted_difficulty.unwrap_or(work.difficulty),
        };
        let difficulty = match self.told_difficulty {
            #[expect(clippy::float_cmp, reason = "asks whether the very same number was sent")]
            Some(told) if told == wanted => told,
            _ => {
                self.tell_difficulty(wanted);
                wanted
            }
        };
        let clean_jobs = clean_jobs || self.jobs.is_empty();
        let mut notify = Notify { clean_jobs, ..work.notify.clone() };
        let mut exponents = BTreeMap::new();
        if let Some(job) = for_agent {
            notify.job_id = job.id;
            exponents = job.exponents;
            self.send_raw(&job.frames);
        }
        if clean_jobs {
            self.jobs.clear();
        }
        while self.jobs.len() >= jobs_kept.max(1) {
            self.jobs.pop_front();
        }
        self.ids_issued.insert(notify.job_id.clone());
        self.jobs.push_back(Issued {
            id: notify.job_id.clone(),
            work: Arc::clone(work),
            difficulty,
            extranonce1: self.extranonce1.clone(),
            extranonce2_size: self.extranonce2_size,
            exponents,
        });
        self.book.report.jobs_sent += 1;
        self.notify("mining.notify", &notify.to_params());
    }

    pub(super) fn end(&mut self, how: &str) {
        if self.outbox.take().is_some() {
            self.book.report.open = false;
            self.book.report.closed_at = Some(Instant::now());
            self.book.report.ending = Some(how.to_owned());
            self.mining = false;
            self.jobs = VecDeque::new();
        }
    }

    fn put(&mut self, line: String, form: fn(String) -> Outgoing) {
        if self.silent {
            return;
        }
        if let Some(outbox) = &self.outbox {
            self.book.lines.push(format!("> {line}"));
            // A writer that is gone has closed already.
            let _ = outbox.send(form(line));
        }
    }
}

/// The pool itself.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: PoolConfig,
    pub(super) connections: Vec<Connection>,
    maker: JobMaker,
    current: Option<Arc<Work>>,
    serial: u64,
    extranonces: u64,
    /// Headers of accepted shares, by the serial number of their job.
    pub(super) seen: HashMap<u64, HashSet<Hash>>,
}

impl State {
    pub(super) fn new(config: PoolConfig) -> Self {
        Self {
            config,
            connections: Vec::new(),
            maker: JobMaker::new(),
            current: None,
            serial: 0,
            extranonces: 0,
            seen: HashMap::new(),
        }
    }

    pub(super) fn open(
        &mut self,
        peer: SocketAddr,
        outbox: mpsc::UnboundedSender<Outgoing>,
    ) -> usize {
        let number = self.connections.len();
        let book = Book::open(number, peer, self.config.lines_kept);
        self.connections.push(Connection::new(book, outbox));
        number
    }

    /// An extranonce1 no other connection of this pool has (as far as `size` bytes reach).
    pub(super) fn fresh_extranonce1(&mut self, size: usize) -> Vec<u8> {
        self.extranonces += 1;
        let bytes = (0x6000_0000_0000_0000 | self.extranonces).to_le_bytes();
        bytes.into_iter().take(size).collect()
    }

    /// Makes a job and sends it to everyone who mines.
    pub(super) fn new_job(&mut self, clean_jobs: bool) {
        let work = self.make_work(clean_jobs);
        let kept = self.config.jobs_kept;
        if clean_jobs {
            self.seen.clear();
        }
        self.seen.retain(|serial, _| serial + u64::try_from(kept).unwrap_or(0) > work.serial);
        for connection in self.connections.iter_mut().filter(|connection| connection.mining) {
            connection.issue(&work, clean_jobs, kept, self.config.agents.as_ref());
        }
    }

    /// Gives one connection its first difficulty and job.
    pub(super) fn start_mining(&mut self, number: usize) {
        if !self.config.sends_jobs() {
            return;
        }
        let work = match &self.current {
            Some(work) => Arc::clone(work),
            None => self.make_work(true),
        };
        let kept = self.config.jobs_kept;
        if let Some(connection) = self.connections.get_mut(number)
            && !connection.mining
        {
            connection.mining = true;
            connection.issue(&work, true, kept, self.config.agents.as_ref());
        }
    }

    /// Forgets jobs and duplicates, as a pool that was started anew.
    pub(super) fn restart(&mut self) {
        self.maker.restart();
        self.current = None;
        self.seen.clear();
    }

    fn make_work(&mut self, clean_jobs: bool) -> Arc<Work> {
        let branches = in_turn(&self.config.branch_counts, self.serial).copied().unwrap_or(1);
        let difficulty = in_turn(&self.config.difficulties, self.serial).copied().unwrap_or(1.0);
        self.serial += 1;
        let notify = self.maker.make(self.config.chain, branches, clean_jobs);
        let work = Arc::new(Work { serial: self.serial, notify, difficulty });
        self.current = Some(Arc::clone(&work));
        work
    }
}

/// The element whose turn it is in round `round`.
pub(super) fn in_turn<T>(list: &[T], round: u64) -> Option<&T> {
    let length = u64::try_from(list.len()).unwrap_or(0).max(1);
    list.get(usize::try_from(round % length).unwrap_or(0))
}
