//! What a miner knows of its connection, and its judgement of each line that comes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use serde_json::{Value, json};

use super::{EthMinerConfig, EthMinerReport};
use crate::eth::config::Variant;
use crate::eth::ethash::SEED;
use crate::eth::work::{Work, target_of};
use crate::lines::{Ring, values_on};
use crate::miner::Rejection;

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pending {
    GetWork,
    Hello,
    Login,
    Other,
    /// For a job with this tag.
    Share(u8),
    Subscribe,
}

/// A job with what was in force when it came.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) work: Work,
    pub(super) extranonce: Vec<u8>,
}

/// One connection as the miner sees it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) report: EthMinerReport,
    pub(super) lines: Ring,
    variant: Variant,
    takes_extranonce: bool,
    pending: HashMap<String, VecDeque<Pending>>,
    answered: HashSet<String>,
    extranonce: Vec<u8>,
    /// From `mining.set_difficulty` or `mining.set`.
    target: Option<[u8; 32]>,
    pub(super) token: String,
    pub(super) job: Option<Job>,
}

impl Session {
    pub(super) fn new(config: &EthMinerConfig) -> Self {
        Self {
            report: EthMinerReport { connected: true, ..EthMinerReport::default() },
            lines: Ring::new(config.lines_kept),
            variant: config.variant,
            takes_extranonce: config.takes_extranonce || config.variant == Variant::Es2,
            pending: HashMap::new(),
            answered: HashSet::new(),
            extranonce: Vec::new(),
            target: None,
            token: String::new(),
            job: None,
        }
    }

    pub(super) fn violation(&mut self, what: impl Into<String>) {
        self.report.violations.push(what.into());
    }

    /// Notes a request that goes out.
    pub(super) fn expect(&mut self, id: u64, pending: Pending) {
        if matches!(pending, Pending::Share(_)) {
            self.report.submitted += 1;
            self.report.unanswered += 1;
        }
        self.pending.entry(id.to_string()).or_default().push_back(pending);
    }

    /// Whether every request so far but shares has its answer.
    pub(super) fn is_in_step(&self) -> bool {
        self.pending.values().flatten().all(|pending| matches!(pending, Pending::Share(_)))
    }

    /// Whether shares may be sent.
    pub(super) fn may_mine(&self) -> bool {
        self.report.login == Some(Ok(())) && self.job.is_some()
    }

    /// Judges one line.
    pub(super) fn hear(&mut self, line: &str) {
        self.lines.push(format!("< {line}"));
        let values = values_on(line);
        if values.len() != 1 {
            self.violation(format!("not one value on the line: {line}"));
        }
        for value in values {
            let judged = match value {
                Ok(message @ Value::Object(_)) => self.message(&message, line),
                Ok(other) => Err(format!("{other} is no object")),
                Err(error) => Err(format!("not JSON ({error})")),
            };
            if let Err(what) = judged {
                self.violation(format!("{what}: {line}"));
            }
        }
    }

    fn message(&mut self, message: &Value, line: &str) -> Result<(), String> {
        let id = message.get("id").cloned().unwrap_or(Value::Null);
        let is_es2 = self.variant == Variant::Es2;
        if is_es2 && message.get("jsonrpc").is_some() {
            return Err("a jsonrpc member".into());
        }
        let Some(method) = message.get("method").and_then(Value::as_str) else {
            if self.variant == Variant::EthProxy {
                if message.get("jsonrpc") != Some(&json!("2.0")) {
                    return Err("no jsonrpc member".into());
                }
                if id == json!(0) {
                    return self.ethproxy_job(message.get("result").unwrap_or(&Value::Null));
                }
            }
            return self.answer(&id, message, line);
        };
        if is_es2 == message.get("id").is_some() {
            return Err("a notification with, or here without, an id member".into());
        }
        if self.report.login != Some(Ok(())) {
            return Err("pushed before the login was answered".into());
        }
        let params = message.get("params").unwrap_or(&Value::Null);
        match (self.variant, method) {
            (Variant::Plain, "mining.notify") => self.plain_job(params),
            (Variant::NiceHash, "mining.set_difficulty") => {
                let difficulty = params.get(0).and_then(Value::as_f64);
                let difficulty = difficulty.filter(|number| number.is_normal() && *number > 0.0);
                self.target = Some(target_of(difficulty.ok_or("no difficulty")?));
                Ok(())
            }
            (Variant::NiceHash, "mining.set_extranonce") => {
                self.extranonce = bytes(params.get(0), 3)?;
                self.report.extranonce_changes += 1;
                if self.takes_extranonce { Ok(()) } else { Err("it never subscribed".into()) }
            }
            (Variant::NiceHash, "mining.notify") => self.nicehash_job(params),
            (Variant::Es2, "mining.set") => self.set(params),
            (Variant::Es2, "mining.notify") => self.es2_job(params),
            _ => Err("not a method of this variant".into()),
        }
    }

    fn ethproxy_job(&mut self, result: &Value) -> Result<(), String> {
        if self.report.login != Some(Ok(())) {
            return Err("a job before the login was answered".into());
        }
        let strip = |at: usize| result.get(at)?.as_str()?.strip_prefix("0x");
        let (Some(header), Some(seed), Some(target)) = (strip(0), strip(1), strip(2)) else {
            return Err("a job without 0x header, seed and target".into());
        };
        let target = format!("{target:0>64}");
        self.take(header.to_owned(), header, seed, hash(&target)?)
    }

    fn plain_job(&mut self, params: &Value) -> Result<(), String> {
        let [id, header, seed, target] = texts(params)?;
        params.get(4).and_then(Value::as_bool).ok_or("no clean flag")?;
        self.take(id.to_owned(), header, seed, hash(target)?)
    }

    fn nicehash_job(&mut self, params: &Value) -> Result<(), String> {
        let [id, seed, header] = texts(params)?;
        params.get(3).and_then(Value::as_bool).ok_or("no clean flag")?;
        let target = self.target.ok_or("a job before any difficulty")?;
        self.take(id.to_owned(), header, seed, target)
    }

    fn es2_job(&mut self, params: &Value) -> Result<(), String> {
        let [id, height, header, clean] = texts(params)?;
        if height.is_empty()
            || (height.starts_with('0') && height != "0")
            || !matches!(clean, "0" | "1")
        {
            return Err("height or flag are not in the form of EIP-1571".into());
        }
        let target = self.target.ok_or("a job before any target")?;
        self.take(id.to_owned(), header, &hex::encode(SEED), target)
    }

    fn set(&mut self, params: &Value) -> Result<(), String> {
        let object = params.as_object().ok_or("mining.set without an object")?;
        for (key, value) in object {
            match (key.as_str(), value.as_str().unwrap_or_default()) {
                ("epoch", "0") | ("algo", "ethash") => {}
                ("target", text) => self.target = Some(hash(text)?),
                ("extranonce", _) => {
                    self.extranonce = bytes(Some(value), 6)?;
                    self.report.extranonce_changes += u64::from(self.job.is_some());
                }
                (key, text) => return Err(format!("{key} is {text:?}")),
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        id: String,
        header: &str,
        seed: &str,
        target: [u8; 32],
    ) -> Result<(), String> {
        if hash(seed)? != SEED {
            return Err("the seed is not epoch 0's: are seed and header swapped?".into());
        }
        let header = hash(header)?;
        let report = &mut self.report;
        report.jobs += 1;
        report.job_at = Some(Instant::now());
        report.header = Some(header);
        report.extranonce = hex::encode(&self.extranonce);
        let extranonce = self.extranonce.clone();
        self.job = Some(Job { id, work: Work { header, target }, extranonce });
        Ok(())
    }

    fn answer(&mut self, id: &Value, message: &Value, line: &str) -> Result<(), String> {
        let key = id.to_string();
        let Some(pending) = self.pending.get_mut(&key).and_then(VecDeque::pop_front) else {
            let second = self.answered.contains(&key);
            return Err(if second { "a second answer" } else { "an answer to nothing" }.into());
        };
        self.answered.insert(key);
        let error = message.get("error").filter(|error| !error.is_null());
        let result = message.get("result").unwrap_or(&Value::Null);
        let is_yes = match (self.variant, pending) {
            // EIP-1571 acknowledges with nothing but the id.
            (Variant::Es2, _) => error.is_none() && *result != json!(false),
            (_, Pending::Share(_) | Pending::Login) => error.is_none() && *result == json!(true),
            _ => error.is_none(),
        };
        if !matches!(pending, Pending::Share(_)) && !is_yes {
            self.report.refusal = Some(line.to_owned());
        }
        match pending {
            Pending::Hello if is_yes && result.get("encoding") != Some(&json!("plain")) => {
                Err("an encoding that the miner did not ask for".into())
            }
            Pending::Subscribe if is_yes => self.subscribed(result),
            Pending::Login => {
                self.report.login = Some(if is_yes { Ok(()) } else { Err(line.to_owned()) });
                result.as_str().unwrap_or_default().clone_into(&mut self.token);
                Ok(())
            }
            Pending::Share(tag) => {
                self.report.unanswered -= 1;
                if is_yes {
                    self.report.accepted += 1;
                    *self.report.accepted_by_tag.entry(tag).or_default() += 1;
                } else {
                    let code = error.and_then(|error| error.get(0).or_else(|| error.get("code")));
                    let code = code.and_then(Value::as_i64).unwrap_or(0);
                    self.report.rejections.push(Rejection { code, answer: line.to_owned() });
                }
                Ok(())
            }
            Pending::GetWork if is_yes => self.ethproxy_job(result),
            _ => Ok(()),
        }
    }

    fn subscribed(&mut self, result: &Value) -> Result<(), String> {
        match self.variant {
            Variant::NiceHash => {
                if result.pointer("/0/2") != Some(&json!("EthereumStratum/1.0.0")) {
                    return Err("the third item does not name the protocol".into());
                }
                self.extranonce = bytes(result.get(1), 3)?;
                self.report.extranonce = hex::encode(&self.extranonce);
                Ok(())
            }
            Variant::Es2 => result.as_str().map(|_| ()).ok_or("no session id".into()),
            Variant::EthProxy | Variant::Plain => Ok(()),
        }
    }
}

/// The first so many parameters, which must be text.
fn texts<const N: usize>(params: &Value) -> Result<[&str; N], String> {
    let mut found = [""; N];
    for (at, place) in found.iter_mut().enumerate() {
        *place =
            params.get(at).and_then(Value::as_str).ok_or(format!("parameter {at} is no text"))?;
    }
    Ok(found)
}

fn hash(text: &str) -> Result<[u8; 32], String> {
    let bytes = hex::decode(text).map_err(|error| format!("{text:?}: {error}"))?;
    bytes.try_into().map_err(|_| format!("{text:?} is not 64 digits"))
}

fn bytes(value: Option<&Value>, most: usize) -> Result<Vec<u8>, String> {
    let text = value.and_then(Value::as_str).ok_or("the extranonce is no text")?;
    let bytes = hex::decode(text).map_err(|error| format!("{text:?}: {error}"))?;
    if bytes.len() > most { Err(format!("{text:?} is too long")) } else { Ok(bytes) }
}
