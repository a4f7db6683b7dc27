//! The scripted miner: what it asks, what it is told, and whether that is what it may expect.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};
use switcher_plugin::Millis;

use super::books::{Books, JobKey, Share};
use super::dice::Dice;

/// What a miner calls itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agent {
    /// One that is known to bear much.
    Cgminer,
    /// One of which that is not known.
    NiceHash,
    /// Nothing, or nothing that is a name.
    Silent,
}

/// How far the login is, as the miner knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    Done,
    Held,
    None,
}

/// What was asked under an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Authorize,
    Configure,
    /// To be told of other extranonces.
    Extranonces,
    /// A further worker.
    Further,
    /// Something only a pool may know.
    Relay,
    /// A share, by its nonce.
    Share(String),
    /// Something that the switcher answers.
    Simple,
    Subscribe,
}

/// A job as the miner got it.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) key: JobKey,
    id: String,
    coinbase1: String,
    coinbase2: String,
    time: u32,
    /// What it is mined by.
    own: (String, usize),
}

#[derive(Debug)]
struct Request {
    asked: Asked,
    /// It has reached the switcher.
    delivered: bool,
}

/// See the module.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, all combinations occur")]
pub(crate) struct Miner {
    /// Frames that were not delivered yet, as one stream.
    pub(crate) tx: Vec<u8>,
    /// What was delivered of it and is not a whole frame.
    pub(crate) rx: Vec<u8>,
    requests: HashMap<String, Request>,
    /// Requests that are answered in this order.
    order: VecDeque<String>,
    pub(crate) login: Login,
    /// It has written a line that logs in.
    pub(crate) sent_login: bool,
    pub(crate) subscribed: bool,
    sent_subscribe: bool,
    configured: bool,
    /// What the next job is mined by.
    pub(crate) own: Option<(String, usize)>,
    /// What it was given when it subscribed.
    pub(crate) first_own: Option<(String, usize)>,
    /// It has asked to be told of other extranonces.
    takes_extranonce: bool,
    /// What it calls itself, from the first time it says so.
    agent: Option<Agent>,
    /// The session id that it was given, here or before.
    session: Option<String>,
    /// When it was told to reconnect.
    pub(crate) told_to_leave: bool,
    pub(crate) work: VecDeque<Work>,
    difficulty: Option<f64>,
    next_id: u32,
    next_nonce: u32,
    /// Shares whose frames were delivered in the call that just ended.
    pub(crate) fresh_shares: Vec<String>,
    pub(crate) accepted: u32,
    /// Jobs that came in the call that just ended.
    pub(crate) fresh_jobs: u32,
    /// Shares that went up and were answered by the switcher, in the call that just ended.
    pub(crate) authored: Vec<String>,
    name: u32,
}

impl Miner {
    /// A new connection of a miner that had another before.
    pub(crate) fn new(name: u32, before: Option<Self>) -> Self {
        let (agent, session) = before.map_or((None, None), |before| (before.agent, before.session));
        Self {
            tx: Vec::new(),
            rx: Vec::new(),
            requests: HashMap::new(),
            order: VecDeque::new(),
            login: Login::None,
            sent_login: false,
            subscribed: false,
            sent_subscribe: false,
            configured: false,
            own: None,
            first_own: None,
            takes_extranonce: false,
            agent,
            session,
            told_to_leave: false,
            work: VecDeque::new(),
            difficulty: None,
            next_id: 0,
            next_nonce: 0,
            fresh_shares: Vec::new(),
            accepted: 0,
            fresh_jobs: 0,
            authored: Vec::new(),
            name,
        }
    }

    /// Writes a request. Ids are of all kinds, but no two alike.
    fn ask(&mut self, method: &str, params: &Value, asked: Asked, dice: &mut Dice) {
        self.next_id += 1;
        let id = match dice.below(4) {
            0 => json!(format!("m{}", self.next_id)),
            1 => json!(f64::from(self.next_id) + 0.5),
            _ => json!(self.next_id),
        };
        self.requests.insert(id.to_string(), Request { asked, delivered: false });
        let line = json!({"id": id, "method": method, "params": params}).to_string();
        self.tx.extend_from_slice(line.as_bytes());
        match dice.below(10) {
            0 => {}
            1 => self.tx.extend_from_slice(b"\r\n"),
            _ => self.tx.push(b'\n'),
        }
    }

    pub(crate) fn subscribe(&mut self, dice: &mut Dice) {
        self.sent_subscribe = true;
        let drawn = match dice.below(6) {
            0 | 2 => Agent::Silent,
            1 => Agent::NiceHash,
            _ => Agent::Cgminer,
        };
        let name = match *self.agent.get_or_insert(drawn) {
            Agent::Cgminer => Some("cgminer/4.11.1"),
            Agent::NiceHash => Some("NiceHash/1.0.0"),
            Agent::Silent => None,
        };
        let params = match (name, &self.session) {
            (Some(name), Some(session)) => json!([name, session]),
            (Some(name), None) => json!([name]),
            (None, _) if dice.chance(50) => json!([]),
            (None, _) => json!([7]),
        };
        self.ask("mining.subscribe", &params, Asked::Subscribe, dice);
    }

    pub(crate) fn authorize(&mut self, dice: &mut Dice) {
        self.sent_login = true;
        self.ask("mining.authorize", &json!(["alice.r0", "x"]), Asked::Authorize, dice);
    }

    pub(crate) fn configure(&mut self, dice: &mut Dice) {
        let params = json!([["version-rolling"], {"version-rolling.mask": "ffffffff"}]);
        self.ask("mining.configure", &params, Asked::Configure, dice);
    }

    pub(crate) fn ask_for_extranonces(&mut self, dice: &mut Dice) {
        self.ask("mining.extranonce.subscribe", &json!([]), Asked::Extranonces, dice);
    }

    /// What a miner does to get work, if it has not done it.
    pub(crate) fn want_work(&mut self, dice: &mut Dice) {
        if !self.sent_subscribe {
            self.subscribe(dice);
        }
        if !self.sent_login {
            self.authorize(dice);
        }
    }

    /// Something a miner may do at any time.
    pub(crate) fn anything(&mut self, dice: &mut Dice) {
        match dice.below(12) {
            0 => self.configure(dice),
            1 => self.subscribe(dice),
            2 => self.ask_for_extranonces(dice),
            3 => self.ask("mining.suggest_difficulty", &json!([4]), Asked::Simple, dice),
            4 => self.ask("mining.ping", &json!([]), Asked::Simple, dice),
            5 => self.ask("mining.get_transactions", &json!(["1"]), Asked::Simple, dice),
            6 => self.ask("mining.custom", &json!([1]), Asked::Relay, dice),
            7 if self.login == Login::Done => {
                let worker = format!("alice.r{}", 1 + dice.below(3));
                self.ask("mining.authorize", &json!([worker, "x"]), Asked::Further, dice);
            }
            8 if self.login == Login::Done => {
                self.ask("mining.authorize", &json!(["bob.r0", "x"]), Asked::Simple, dice);
            }
            9 => self.tx.extend_from_slice(b"{\"id\":null,\"method\":\"mining.ping\"}\n"),
            10 => self.tx.extend_from_slice(b"nonsense\n"),
            _ => self.ask("mining.submit", &json!(["alice.r0", "x"]), Asked::Simple, dice),
        }
    }

    /// Finds a share, mostly of the latest job.
    pub(crate) fn share(&mut self, latest: bool, dice: &mut Dice, books: &mut Books) {
        if self.work.is_empty() {
            return;
        }
        let back = if latest || dice.chance(70) { 0 } else { dice.index(self.work.len().min(6)) };
        let Some(work) = self.work.get(self.work.len() - 1 - back).cloned() else { return };
        self.next_nonce += 1;
        let nonce = format!("{:04x}{:04x}", self.name & 0xffff, self.next_nonce);
        let (extranonce1, size2) = &work.own;
        let extranonce2 = dice.hex(*size2);
        let coinbase = [&*work.coinbase1, extranonce1, &*extranonce2, &*work.coinbase2].concat();
        let time = format!("{:08x}", work.time + u32::try_from(dice.below(5)).unwrap_or(0));
        let worker = if dice.chance(90) { "alice.r0" } else { "alice.r9" };
        let share = Share {
            job: work.key,
            coinbase,
            time: time.clone(),
            worker: worker.to_owned(),
            went_up: 0,
            went_at: Millis(0),
            verdict: None,
            answered: false,
        };
        books.shares.insert(nonce.clone(), share);
        let params = json!([worker, work.id, extranonce2, time, nonce]);
        self.ask("mining.submit", &params, Asked::Share(nonce), dice);
    }

    /// A whole frame of the miner is about to reach the switcher.
    pub(crate) fn delivers(&mut self, frame: &[u8], books: &mut Books) {
        let Ok(message) = serde_json::from_slice::<Value>(frame) else { return };
        let id = message.get("id").map(ToString::to_string).unwrap_or_default();
        let Some(request) = self.requests.get_mut(&id) else { return };
        if std::mem::replace(&mut request.delivered, true) {
            books.broken(|| format!("{id} was delivered twice"));
        }
        let in_order = match &request.asked {
            Asked::Authorize if self.login == Login::None => {
                self.login = Login::Held;
                true
            }
            Asked::Authorize | Asked::Further => false,
            Asked::Relay => self.login != Login::Done,
            Asked::Share(nonce) => {
                self.fresh_shares.push(nonce.clone());
                self.login != Login::Done
            }
            Asked::Extranonces => {
                self.takes_extranonce = true;
                true
            }
            Asked::Configure | Asked::Simple | Asked::Subscribe => true,
        };
        if in_order {
            self.order.push_back(id);
        }
    }

    /// A line from the switcher.
    pub(crate) fn reads(&mut self, line: &Value, books: &mut Books) {
        match line.get("method").and_then(Value::as_str) {
            None => self.answered(line, books),
            Some(method) => {
                let may_push = self.subscribed && self.login == Login::Done;
                books.hold(may_push, || format!("{method} before subscribe and login"));
                let params =
                    line.get("params").and_then(Value::as_array).cloned().unwrap_or_default();
                match method {
                    "mining.notify" => self.job(&params, books),
                    "mining.set_difficulty" => {
                        self.difficulty = params.first().and_then(Value::as_f64);
                    }
                    "mining.set_version_mask" => {
                        let configured = self.configured;
                        books.hold(configured, || "a mask without configure".to_owned());
                    }
                    "mining.set_extranonce" => self.is_told(&params, books),
                    "client.reconnect" => self.told_to_leave = true,
                    "client.show_message" => {}
                    _ => books.broken(|| format!("the miner is told {line}")),
                }
            }
        }
    }

    fn answered(&mut self, line: &Value, books: &mut Books) {
        let id = line.get("id").map(ToString::to_string).unwrap_or_default();
        let Some(request) = self.requests.remove(&id) else {
            return books.broken(|| format!("an answer that nobody waits for: {line}"));
        };
        books.hold(request.delivered, || format!("answered before it was asked: {line}"));
        if let Some(at) = self.order.iter().position(|other| *other == id) {
            books.hold(at == 0, || format!("{id} is answered before {:?}", self.order.front()));
            self.order.remove(at);
        }
        let null = Value::Null;
        let result = line.get("result").unwrap_or(&null);
        let error = line.get("error").unwrap_or(&null);
        match request.asked {
            Asked::Authorize if self.login == Login::Held => {
                let yes = result.as_bool() == Some(true) && error.is_null();
                self.login = if yes { Login::Done } else { Login::None };
                self.sent_login = yes;
            }
            Asked::Configure => {
                self.configured |= result.get("version-rolling.mask").is_some();
            }
            Asked::Subscribe => self.is_subscribed(result, books),
            Asked::Share(nonce) => self.judged(&nonce, result, error, books),
            Asked::Authorize
            | Asked::Extranonces
            | Asked::Further
            | Asked::Relay
            | Asked::Simple => {}
        }
    }

    fn is_subscribed(&mut self, result: &Value, books: &mut Books) {
        let extranonce1 = result.get(1).and_then(Value::as_str).unwrap_or_default().to_owned();
        let size2 = result.get(2).and_then(Value::as_u64).unwrap_or_default();
        let own = (extranonce1, usize::try_from(size2).unwrap_or_default());
        let is_same = self.own.as_ref().is_none_or(|before| *before == own);
        books.hold(is_same, || format!("the extranonce changed to {own:?}"));
        self.first_own.get_or_insert_with(|| own.clone());
        self.session = result.pointer("/0/0/1").and_then(Value::as_str).map(str::to_owned);
        self.own = Some(own);
        self.subscribed = true;
    }

    /// Another extranonce, by which jobs are mined from the next one on.
    fn is_told(&mut self, params: &[Value], books: &mut Books) {
        books.told += 1;
        let asked = self.takes_extranonce;
        books.hold(asked, || format!("told {params:?} without asking"));
        let extranonce1 = params.first().and_then(Value::as_str).map(str::to_owned);
        let size2 = params.get(1).and_then(Value::as_u64).and_then(|size| size.try_into().ok());
        self.own = extranonce1.zip(size2);
        books.hold(self.own.is_some(), || format!("told {params:?}"));
    }

    fn judged(&mut self, nonce: &str, result: &Value, error: &Value, books: &mut Books) {
        let is_yes = result.as_bool() == Some(true) && error.is_null();
        books.answered(nonce, is_yes);
        let Some(share) = books.shares.get(nonce) else { return };
        let (went_up, verdict) = (share.went_up, share.verdict.clone());
        let is_pools = verdict == Some((result.clone(), error.clone()));
        let code = error.get(0).and_then(Value::as_i64);
        books.hold(!is_yes || is_pools, || {
            format!("share {nonce} is accepted, but its pool said {verdict:?}")
        });
        let ours = matches!(code, Some(20 | 21 | 24 | 25));
        books.hold(is_pools || ours, || format!("share {nonce} is answered {result} {error}"));
        if !is_pools && went_up > 0 {
            books.hold(code == Some(20), || format!("share {nonce} went up, answer {error}"));
            self.authored.push(nonce.to_owned());
        }
        self.accepted += u32::from(is_yes);
    }

    fn job(&mut self, params: &[Value], books: &mut Books) {
        let text = |at: usize| params.get(at).and_then(Value::as_str).unwrap_or_default();
        let coinbase1 = text(2);
        let part = |from: usize, to: usize| {
            let digits = coinbase1.get(from..to).unwrap_or_default();
            u32::from_str_radix(digits, 16).unwrap_or(0)
        };
        let key = (part(0, 8), part(8, 16));
        let Some(job) = books.jobs.get(&key).cloned() else {
            return books.broken(|| format!("a job that no pool has issued: {params:?}"));
        };
        let rest = [1, 4, 5, 6].map(|at: usize| params.get(at).cloned().unwrap_or_default());
        books.hold(rest == job.rest, || format!("job {key:?} is changed: {params:?}"));
        let time = u32::from_str_radix(text(7), 16).unwrap_or(0);
        books.hold(time >= job.time, || format!("job {key:?} has time {}", text(7)));
        books.hold(text(3) == job.coinbase2, || format!("job {key:?} has coinb2 {}", text(3)));
        let own = self.own.clone().unwrap_or_default();
        let down = coinbase1.len() + own.0.len() + 2 * own.1;
        let up = job.coinbase1.len() + job.extranonce1.len() + 2 * job.extranonce2_size;
        books.hold(down == up, || {
            format!("job {key:?}: the miner's coinbase has {down} digits, the pool's {up}")
        });
        if let Some(difficulty) = job.difficulty {
            let told = self.difficulty;
            books.hold(told == Some(difficulty), || {
                format!("job {key:?} is for {difficulty}, the miner does {told:?}")
            });
        }
        let moved = self.work.back().is_some_and(|before| before.key.0 != key.0);
        let clean = params.get(8).and_then(Value::as_bool);
        books.hold(!moved || clean == Some(true), || format!("job {key:?} is not clean"));
        self.fresh_jobs += 1;
        self.work.push_back(Work {
            key,
            id: text(0).to_owned(),
            coinbase1: coinbase1.to_owned(),
            coinbase2: text(3).to_owned(),
            time,
            own,
        });
        if self.work.len() > 12 {
            self.work.pop_front();
        }
    }

    /// What the difficulty is if the pool had set none before its first job.
    pub(crate) fn difficulty(&self) -> Option<f64> {
        self.difficulty
    }

    /// Requests that have reached the switcher and have no answer: what they were, but for those
    /// that wait for a pool.
    pub(crate) fn unanswered(&self) -> Vec<String> {
        let waits = |request: &&Request| {
            request.delivered
                && !matches!(request.asked, Asked::Further | Asked::Relay | Asked::Share(_))
        };
        self.requests.values().filter(waits).map(|request| format!("{:?}", request.asked)).collect()
    }

    /// It does not bring along what it was given before.
    pub(crate) fn forget_session(&mut self) {
        self.session = None;
    }

    /// Whether it is known to bear another extranonce, and to obey when it is told to reconnect.
    pub(crate) fn is_agile(&self) -> bool {
        self.agent == Some(Agent::Cgminer)
    }

    /// Whether it can be told another extranonce.
    pub(crate) fn can_be_told(&self) -> bool {
        self.takes_extranonce && self.is_agile()
    }

    /// When the miner last had reason to wait for its login.
    pub(crate) fn is_waiting(&self) -> bool {
        self.login == Login::Held
    }
}

/// The time since something, for bounds.
pub(crate) fn lasted(since: Option<Millis>, now: Millis) -> u64 {
    since.map_or(0, |since| now.since(since))
}
