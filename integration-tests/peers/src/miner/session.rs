//! What a miner knows of its connection, and its judgement of each line that comes.
//!
//! No sockets: [`Session::hear`] takes a line and returns what the miner says to it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::record::{Book, Outcome, Rejection};
use crate::chain::Chain;
use crate::lines::values_on;
use crate::notify::{Notify, bytes_of, word_of};

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) enum Pending {
    Asked(oneshot::Sender<Value>),
    Authorize,
    Configure { wants_extranonce: bool },
    ExtranonceSubscribe,
    Other,
    Share { difficulty: f64, sent: Instant, waiter: Option<oneshot::Sender<Outcome>> },
    Subscribe,
}

/// A job with what was in force when it came.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) notify: Notify,
    pub(super) difficulty: f64,
    pub(super) extranonce1: Vec<u8>,
    pub(super) extranonce2_size: usize,
}

/// One connection as the miner sees it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact that was or was not agreed on")]
pub(super) struct Session {
    pub(super) book: Book,
    needs_error_member: bool,
    pongs_with_method: bool,
    pending: HashMap<String, VecDeque<Pending>>,
    /// Ids of handshake requests in the order in which they must be answered.
    in_order: VecDeque<String>,
    answered: HashSet<String>,
    extranonce: (Vec<u8>, usize),
    takes_extranonce: bool,
    configured: bool,
    authorize_answered: bool,
    pub(super) jobs: VecDeque<Job>,
    /// The newest job that a clean one made stale.
    pub(super) stale: Option<Job>,
    pub(super) wants_to_leave: bool,
    port: u16,
    chain: Chain,
}

impl Session {
    pub(super) fn new(
        book: Book,
        chain: Chain,
        needs_error_member: bool,
        pongs_with_method: bool,
    ) -> Self {
        Self {
            book,
            chain,
            needs_error_member,
            pongs_with_method,
            pending: HashMap::new(),
            in_order: VecDeque::new(),
            answered: HashSet::new(),
            extranonce: (Vec::new(), 0),
            takes_extranonce: false,
            configured: false,
            authorize_answered: false,
            jobs: VecDeque::new(),
            stale: None,
            wants_to_leave: false,
            port: 0,
        }
    }

    /// Starts a new connection: all that belonged to the last one is forgotten.
    pub(super) fn connected(&mut self, local: std::net::SocketAddr, port: u16) {
        let (needs_error_member, pongs) = (self.needs_error_member, self.pongs_with_method);
        let fresh = Self::new(Book::new(0), self.chain, needs_error_member, pongs);
        let book = std::mem::replace(&mut self.book, Book::new(0));
        *self = Self { book, port, ..fresh };
        let report = &mut self.book.report;
        report.connected = true;
        report.connections += 1;
        report.local_address = Some(local);
        report.authorized = None;
        report.version_mask = None;
        report.told_difficulty = None;
    }

    /// Ends a connection: shares without an answer are lost.
    pub(super) fn disconnected(&mut self, how: String) {
        for (_, queue) in self.pending.drain() {
            for pending in queue {
                if let Pending::Share { waiter, .. } = pending {
                    self.book.report.unanswered -= 1;
                    self.book.report.lost += 1;
                    if let Some(waiter) = waiter {
                        // Whoever asked may have stopped waiting.
                        let _ = waiter.send(Outcome::Lost);
                    }
                }
            }
        }
        self.jobs.clear();
        self.book.disconnected(how);
    }

    /// Notes a request that goes out. `in_order` ones must be answered in their order.
    pub(super) fn expect(&mut self, id: &Value, pending: Pending, in_order: bool) {
        let key = id.to_string();
        if let Pending::Share { .. } = pending {
            self.book.report.submitted += 1;
            self.book.report.unanswered += 1;
        }
        self.takes_extranonce |= matches!(pending, Pending::ExtranonceSubscribe);
        if in_order {
            self.in_order.push_back(key.clone());
        }
        self.pending.entry(key).or_default().push_back(pending);
    }

    /// Whether everything asked in the handshake is answered.
    pub(super) fn is_in_step(&self) -> bool {
        self.in_order.is_empty()
    }

    /// Whether shares may be sent.
    pub(super) fn may_mine(&self) -> bool {
        self.book.report.authorized == Some(true) && !self.jobs.is_empty()
    }

    /// Judges one line and returns the miner's answers to it.
    pub(super) fn hear(&mut self, line: &str) -> Vec<String> {
        self.book.lines.push(format!("< {line}"));
        if line.ends_with('\r') {
            self.book.violation("the line ends with a carriage return");
        }
        let values = values_on(line);
        if values.len() > 1 {
            self.book.violation(format!("several values on one line: {line}"));
        }
        let mut replies = Vec::new();
        for value in values {
            match value {
                Ok(message @ Value::Object(_)) => {
                    replies.extend(self.message(&message, line));
                }
                Ok(other) => self.book.violation(format!("{other} is no object")),
                Err(error) => self.book.violation(format!("not JSON ({error}): {line}")),
            }
        }
        replies
    }

    fn message(&mut self, message: &Value, line: &str) -> Option<String> {
        let id = message.get("id").cloned().unwrap_or(Value::Null);
        let Some(method) = message.get("method") else {
            self.answer(&id, message, line);
            return None;
        };
        let method = method.as_str().unwrap_or_default();
        let no_params = Vec::new();
        let params = message.get("params").and_then(Value::as_array).unwrap_or(&no_params);
        self.check_moment(method, line);
        let judged = match method {
            "mining.notify" => self.job(params),
            "mining.set_difficulty" => self.set_difficulty(params),
            "mining.set_extranonce" => self.set_extranonce(params),
            "mining.set_version_mask" => self.set_version_mask(params),
            "client.reconnect" => self.reconnect(params, line),
            "client.show_message" => Ok(()),
            "mining.ping" if self.pongs_with_method => {
                return Some(format!(r#"{{"id":{id},"method":"pong","params":[]}}"#));
            }
            "mining.ping" => return Some(format!(r#"{{"id":{id},"result":"pong","error":null}}"#)),
            "client.get_version" => {
                return Some(format!(r#"{{"id":{id},"result":"judge/1.0","error":null}}"#));
            }
            _ => Err("unknown method".to_owned()),
        };
        if let Err(what) = judged {
            self.book.violation(format!("{what}: {line}"));
        }
        None
    }

    fn check_moment(&mut self, method: &str, line: &str) {
        // cgminer takes the one line behind its configure for the answer.
        let configuring = self.pending.values().flatten();
        if configuring.into_iter().any(|one| matches!(one, Pending::Configure { .. })) {
            self.book.violation(format!("pushed before configure was answered: {line}"));
        }
        if !self.book.report.subscribed
            && matches!(method, "mining.notify" | "mining.set_difficulty" | "mining.set_extranonce")
        {
            self.book.violation(format!("pushed before subscribe was answered: {line}"));
        }
        self.book.report.early_pushes += u64::from(!self.authorize_answered);
    }

    fn job(&mut self, params: &[Value]) -> Result<(), String> {
        let notify = Notify::of_params(params)?;
        self.chain.time_of(&notify)?;
        let report = &mut self.book.report;
        report.jobs += 1;
        report.clean_jobs += u64::from(notify.clean_jobs);
        report.job_at = Some(Instant::now());
        report.job_id = Some(notify.job_id.clone());
        report.difficulty = report.told_difficulty;
        report.extranonce1 = hex::encode(&self.extranonce.0);
        report.extranonce2_size = self.extranonce.1;
        let difficulty = report.told_difficulty;
        if notify.clean_jobs {
            self.stale = self.jobs.pop_back().or(self.stale.take());
            self.jobs.clear();
        }
        let twin = self.jobs.iter().find(|job| job.notify.job_id == notify.job_id);
        let reused = twin.is_some_and(|job| {
            Notify { clean_jobs: false, ..job.notify.clone() } != notify
                || job.extranonce1 != self.extranonce.0
        });
        // Old jobs that no clean one ended: real miners keep a handful as well.
        if self.jobs.len() >= 64 {
            self.jobs.pop_front();
        }
        let (extranonce1, extranonce2_size) = self.extranonce.clone();
        self.jobs.push_back(Job {
            notify,
            difficulty: difficulty.unwrap_or(1.0),
            extranonce1,
            extranonce2_size,
        });
        if reused {
            return Err("the id of a live job is used for another one".into());
        }
        difficulty.map(|_| ()).ok_or_else(|| "a job before any difficulty".into())
    }

    fn set_difficulty(&mut self, params: &[Value]) -> Result<(), String> {
        let difficulty = params.first().and_then(Value::as_f64).ok_or("difficulty is no number")?;
        if !difficulty.is_normal() || difficulty < 0.0 {
            return Err("difficulty is not positive".into());
        }
        self.book.report.told_difficulty = Some(difficulty);
        Ok(())
    }

    fn set_extranonce(&mut self, params: &[Value]) -> Result<(), String> {
        let [extranonce1, size] = params else { return Err("not two parameters".into()) };
        let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
        self.extranonce = (bytes_of(extranonce1)?, size.ok_or("size is no number")?);
        if self.takes_extranonce {
            Ok(())
        } else {
            Err("set_extranonce without a subscription".into())
        }
    }

    fn set_version_mask(&mut self, params: &[Value]) -> Result<(), String> {
        let mask = word_of(params.first().unwrap_or(&Value::Null))?;
        if !self.configured {
            return Err("set_version_mask without configure".into());
        }
        self.book.report.version_mask = Some(mask);
        Ok(())
    }

    fn reconnect(&mut self, params: &[Value], line: &str) -> Result<(), String> {
        self.book.report.reconnect_requests.push(line.to_owned());
        let host = params.first().and_then(Value::as_str);
        let port = params.get(1).and_then(|port| match port {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        });
        let same_host = host.is_none_or(|host| host.is_empty() || host == "127.0.0.1");
        if !same_host || port.is_some_and(|port| port != u64::from(self.port)) {
            return Err("sent to a foreign host".into());
        }
        self.wants_to_leave = true;
        Ok(())
    }

    fn answer(&mut self, id: &Value, message: &Value, line: &str) {
        let key = id.to_string();
        let Some(pending) = self.pending.get_mut(&key).and_then(VecDeque::pop_front) else {
            let which = if self.answered.contains(&key) {
                "a second answer"
            } else {
                "an answer to nothing"
            };
            return self.book.violation(format!("{which}: {line}"));
        };
        if let Some(place) = self.in_order.iter().position(|waiting| *waiting == key) {
            if place != 0 {
                self.book.violation(format!("answered out of order: {line}"));
            }
            self.in_order.remove(place);
        }
        self.answered.insert(key);
        if self.needs_error_member
            && (message.get("error").is_none() || message.get("result").is_none())
        {
            self.book.violation(format!("an answer without result or error member: {line}"));
        }
        let error = message.get("error").filter(|error| !error.is_null());
        let result = message.get("result").unwrap_or(&Value::Null);
        let is_positive = error.is_none() && *result == json!(true);
        match pending {
            Pending::Asked(waiter) => {
                // Whoever asked may have stopped waiting.
                let _ = waiter.send(message.clone());
            }
            Pending::Authorize => {
                self.authorize_answered = true;
                self.book.report.authorized = Some(is_positive);
            }
            Pending::Configure { wants_extranonce } => {
                self.configure_answered(result, wants_extranonce);
            }
            Pending::ExtranonceSubscribe | Pending::Other => {}
            Pending::Share { difficulty, sent, waiter } => {
                let report = &mut self.book.report;
                report.unanswered -= 1;
                report.slowest_answer = report.slowest_answer.max(sent.elapsed());
                let outcome = if is_positive {
                    report.accepted += 1;
                    report.difficulty_sum += difficulty;
                    Outcome::Accepted
                } else {
                    let rejection = Rejection { code: code_of(error), answer: line.to_owned() };
                    self.book.reject(rejection.clone());
                    Outcome::Rejected(rejection)
                };
                if let Some(waiter) = waiter {
                    // Whoever asked may have stopped waiting.
                    let _ = waiter.send(outcome);
                }
            }
            Pending::Subscribe => {
                if let Err(what) = self.subscribe_answered(result) {
                    // A refusal is no breach; the miner just never gets work.
                    if error.is_none() && result.is_array() {
                        self.book.violation(format!("{what}: {line}"));
                    }
                }
            }
        }
    }

    fn configure_answered(&mut self, result: &Value, wants_extranonce: bool) {
        if wants_extranonce && result.get("subscribe-extranonce") == Some(&json!(true)) {
            self.takes_extranonce = true;
        }
        self.configured = true;
        if result.get("version-rolling") == Some(&json!(true)) {
            match word_of(result.get("version-rolling.mask").unwrap_or(&Value::Null)) {
                Ok(mask) => self.book.report.version_mask = Some(mask),
                Err(what) => self.book.violation(format!("version rolling without a mask: {what}")),
            }
        }
    }

    fn subscribe_answered(&mut self, result: &Value) -> Result<(), String> {
        let Some([subscriptions, extranonce1, size]) = result.as_array().map(Vec::as_slice) else {
            return Err("the subscribe result is no array of three".into());
        };
        let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
        self.extranonce = (bytes_of(extranonce1)?, size.ok_or("the size is no number")?);
        let report = &mut self.book.report;
        report.subscribed = true;
        report.session = session_of(subscriptions);
        report.extranonce1 = hex::encode(&self.extranonce.0);
        report.extranonce2_size = self.extranonce.1;
        Ok(())
    }
}

/// The id cgminer takes as its session: the second of the pair whose first is "mining.notify".
fn session_of(subscriptions: &Value) -> Option<String> {
    let pairs = subscriptions.as_array()?;
    let pair =
        pairs.iter().find(|pair| pair.get(0).and_then(Value::as_str) == Some("mining.notify"))?;
    pair.get(1)?.as_str().map(str::to_owned)
}

/// The code of an error in any of the forms in use, 0 where it has none.
fn code_of(error: Option<&Value>) -> i64 {
    let code = error.and_then(|error| error.get(0).or_else(|| error.get("code")));
    code.and_then(Value::as_i64).unwrap_or(0)
}
