//! What an agent knows, and what it makes of what it is told.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::dig::dig;
use super::{AgentConfig, AgentReport};
use crate::frames::{ACCEPT, Frame, FrameShare};
use crate::notify::Notify;

/// How many jobs have to pass before a byte may name another one.
const NAMES_APART: usize = 200;

/// Jobs that are kept, the latest last.
const JOBS_KEPT: usize = 2;

#[derive(Clone, Debug)]
struct Job {
    name: u8,
    notify: Notify,
    exponents: BTreeMap<u16, u8>,
}

/// The agent itself.
#[derive(Debug)]
pub(super) struct State {
    config: AgentConfig,
    report: AgentReport,
    pub(super) paused: bool,
    asked_first: bool,
    extranonce1: Vec<u8>,
    exponents: BTreeMap<u16, u8>,
    jobs: VecDeque<Job>,
    names: VecDeque<u8>,
    index: u16,
    waiting: BTreeMap<u16, FrameShare>,
    turns: u64,
}

impl State {
    pub(super) fn new(config: AgentConfig, local: SocketAddr) -> Self {
        let report = AgentReport { local_address: Some(local), ..AgentReport::default() };
        Self {
            config,
            report,
            paused: false,
            asked_first: false,
            extranonce1: Vec::new(),
            exponents: BTreeMap::new(),
            jobs: VecDeque::new(),
            names: VecDeque::new(),
            index: 0,
            waiting: BTreeMap::new(),
            turns: 0,
        }
    }

    pub(super) fn report(&self) -> AgentReport {
        let unanswered = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        AgentReport { unanswered, ..self.report.clone() }
    }

    pub(super) fn end(&mut self, how: String) {
        self.report.ending = Some(how);
    }

    fn violation(&mut self, what: impl Into<String>) {
        if self.report.violations.len() < 100 {
            self.report.violations.push(what.into());
        }
    }

    /// What an agent of version 2 says first; it waits for one line.
    pub(super) fn begin(&mut self) -> Vec<u8> {
        if !self.config.asks_first {
            self.asked_first = true;
            return self.burst();
        }
        line(
            &json!({"id": "conn_test", "method": "agent.get_capabilities", "params": [self.wishes()]}),
        )
    }

    fn wishes(&self) -> Value {
        if self.config.answers { json!(["verrol", "subres"]) } else { json!(["verrol"]) }
    }

    /// Takes a line, and returns what it says next.
    pub(super) fn line(&mut self, text: &str) -> Vec<u8> {
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            self.violation(format!("not JSON: {text}"));
            return Vec::new();
        };
        if !std::mem::replace(&mut self.asked_first, true) {
            return self.burst();
        }
        let member = |path: &str| message.pointer(path);
        if let Some(method) = member("/method").and_then(Value::as_str) {
            self.pushed(method, member("/params").unwrap_or(&Value::Null), text);
            return Vec::new();
        }
        match member("/id").and_then(Value::as_str) {
            Some("caps" | "caps_again") => {
                if member("/error").is_some()
                    || member("/result/capabilities") != Some(&json!(["verrol", "subres"]))
                {
                    self.violation(format!("capabilities are not sserver's: {text}"));
                }
            }
            Some("conf") => {}
            Some("sub") => {
                let digits = member("/result/1").and_then(Value::as_str);
                let decoded = digits.and_then(|digits| hex::decode(digits).ok());
                let is_eight = member("/result/2") == Some(&json!(8));
                match decoded.filter(|bytes| bytes.len() == 4 && is_eight) {
                    Some(bytes) => self.extranonce1 = bytes,
                    None => self.violation(format!("agents need 4 + 8 bytes: {text}")),
                }
            }
            Some("auth") if !self.report.logged_in && member("/result") == Some(&json!(true)) => {
                self.report.logged_in = true;
                return (0..self.config.sub_miners).flat_map(register).collect();
            }
            _ => self.violation(format!("an answer to nothing, or a refusal: {text}")),
        }
        Vec::new()
    }

    fn burst(&self) -> Vec<u8> {
        let options =
            json!({"version-rolling.mask": "ffffffff", "version-rolling.min-bit-count": 0});
        [
            ("caps", "agent.get_capabilities", json!([self.wishes()])),
            ("conf", "mining.configure", json!([["version-rolling"], options])),
            ("sub", "mining.subscribe", json!(["btccom-agent/2.0.0-mu"])),
            ("auth", "mining.authorize", json!([self.config.sub_account, ""])),
            ("caps_again", "agent.get_capabilities", json!([self.wishes()])),
        ]
        .into_iter()
        .flat_map(|(id, method, params)| {
            line(&json!({"id": id, "method": method, "params": params}))
        })
        .collect()
    }

    fn pushed(&mut self, method: &str, params: &Value, text: &str) {
        let params = params.as_array().map_or(&[][..], Vec::as_slice);
        let first = params.first();
        match method {
            "mining.set_version_mask" => {
                let digits = first.and_then(Value::as_str);
                let mask = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                self.report.version_mask = mask;
                if mask.is_none() {
                    self.violation(format!("no mask: {text}"));
                }
            }
            "mining.set_difficulty" => {
                if !first.and_then(Value::as_f64).is_some_and(|value| value > 0.0) {
                    self.violation(format!("no difficulty: {text}"));
                }
            }
            "mining.notify" => match Notify::of_params(params) {
                Ok(notify) => self.job(notify),
                Err(why) => self.violation(format!("{why}: {text}")),
            },
            _ => self.violation(format!("nothing for an agent: {text}")),
        }
    }

    fn job(&mut self, notify: Notify) {
        let Ok(name) = notify.job_id.parse::<u8>() else {
            return self.violation(format!("{:?} is no byte", notify.job_id));
        };
        if self.names.contains(&name) {
            self.violation(format!("job {name} is named again too soon"));
        }
        if self.names.len() == NAMES_APART {
            self.names.pop_front();
        }
        self.names.push_back(name);
        self.report.jobs += 1;
        self.report.clean_jobs += u64::from(notify.clean_jobs);
        if self.jobs.len() == JOBS_KEPT {
            self.jobs.pop_front();
        }
        self.jobs.push_back(Job { name, notify, exponents: self.exponents.clone() });
    }

    pub(super) fn frame(&mut self, bytes: &[u8]) {
        match Frame::read(bytes) {
            Ok(Frame::Difficulty(exponent, sids)) => {
                for sid in sids {
                    if sid >= self.config.sub_miners {
                        self.violation(format!("a difficulty for a stranger, {sid}"));
                    }
                    self.exponents.insert(sid, exponent);
                }
            }
            Ok(Frame::Answer(index, status)) => self.answer(index, status),
            Ok(other) => self.violation(format!("not for an agent: {other:?}")),
            Err(why) => self.violation(why),
        }
    }

    fn answer(&mut self, index: u16, status: i32) {
        let Some(share) = self.waiting.remove(&index) else {
            return self.violation(format!("an answer to share {index}, which was not asked"));
        };
        if status == ACCEPT {
            self.report.accepted += 1;
            *self.report.accepted_by_sub_miner.entry(share.sid).or_default() += 1;
        } else {
            *self.report.rejected.entry(status).or_default() += 1;
            if self.report.refusals.len() < 100 {
                self.report.refusals.push(format!("{status}: share {index}, {share:?}"));
            }
        }
    }

    /// One sub-miner's turn to find a share.
    pub(super) fn turn(&mut self) -> Vec<u8> {
        if self.paused || !self.report.logged_in || self.config.sub_miners == 0 {
            return Vec::new();
        }
        self.turns += 1;
        let (turns, late_every) = (self.turns, self.config.late_every);
        let is_late = late_every != 0 && turns % late_every == 0 && self.jobs.len() > 1;
        let job = if is_late { self.jobs.front() } else { self.jobs.back() };
        let sid = u16::try_from(turns % u64::from(self.config.sub_miners)).unwrap_or(0);
        // Who has no difficulty on a job yet does not mine it.
        let Some((job, exponent)) = job.and_then(|job| Some((job, *job.exponents.get(&sid)?)))
        else {
            return Vec::new();
        };
        let count = u32::try_from(turns & 0xffff_ffff).unwrap_or(0);
        let share = FrameShare {
            job: job.name,
            sid,
            extranonce2: count,
            nonce: 0,
            ntime: (turns % 2 == 0).then_some(job.notify.ntime),
            bits: Some(count.rotate_left(13)),
        };
        let mask = self.report.version_mask.unwrap_or(0);
        let difficulty = self.config.unit * f64::from(exponent).exp2();
        let Some(found) = dig(&job.notify, &self.extranonce1, share, mask, difficulty) else {
            return Vec::new();
        };
        self.report.submitted += 1;
        self.report.late += u64::from(is_late);
        if self.config.answers && self.waiting.insert(self.index, found).is_some() {
            self.violation(format!("share {} was never answered", self.index));
        }
        self.index = self.index.wrapping_add(1);
        Frame::Share(found).to_bytes()
    }

    pub(super) fn replace(&mut self, sid: u16) -> Vec<u8> {
        self.exponents.remove(&sid);
        for job in &mut self.jobs {
            job.exponents.remove(&sid);
        }
        [Frame::Unregister(sid).to_bytes(), register(sid)].concat()
    }
}

fn register(sid: u16) -> Vec<u8> {
    Frame::Register(sid, "cgminer/4.11.1".into(), format!("rig{sid}")).to_bytes()
}

fn line(message: &Value) -> Vec<u8> {
    format!("{message}\n").into_bytes()
}
