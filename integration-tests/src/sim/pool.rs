//! A pool at the other end of one leg: follows the wire, hashes nothing.

use serde_json::{Value, json};

use super::books::{Books, Job};
use super::dice::Dice;
use super::scene::Spec;

/// How a pool is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// Takes connections and says nothing on them.
    Mute,
    /// Refuses every user.
    Denies,
    /// Leaves connects unanswered.
    Hangs,
    /// Answers subscribe with an error or nonsense, and configure not at all.
    Odd,
    /// Refuses connections.
    Refuses,
    Well,
}

/// One connection as its pool sees it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: u32,
    pub(crate) extranonce1: String,
    pub(crate) extranonce2_size: usize,
    pub(crate) subscribed: bool,
    pub(crate) authorized: bool,
    pub(crate) jobs: u32,
    /// How often extranonce or difficulty were changed.
    pub(crate) changes: u32,
    difficulty: Option<f64>,
    pub(crate) difficulties: Vec<f64>,
}

fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

impl Connection {
    pub(crate) fn new(number: u32) -> Self {
        Self {
            number,
            extranonce1: String::new(),
            extranonce2_size: 0,
            subscribed: false,
            authorized: false,
            jobs: 0,
            changes: 0,
            difficulty: None,
            difficulties: Vec::new(),
        }
    }

    /// A new job.
    pub(crate) fn job(&mut self, clean: bool, books: &mut Books) -> Vec<u8> {
        self.jobs += 1;
        let (number, no) = (self.number, self.jobs);
        let time = 0x6000_0000 + no * 30;
        let job = Job {
            id: format!("{no:x}"),
            coinbase1: format!("{number:08x}{no:08x}"),
            coinbase2: format!("ff{no:04x}"),
            extranonce1: self.extranonce1.clone(),
            extranonce2_size: self.extranonce2_size,
            difficulty: self.difficulty,
            rest: [json!("ab"), json!([]), json!("20000000"), json!("1d00ffff")],
            time,
            changes: self.changes,
        };
        let [hash, branches, version, bits] = job.rest.clone();
        let params = json!([
            job.id,
            hash,
            job.coinbase1,
            job.coinbase2,
            branches,
            version,
            bits,
            format!("{time:08x}"),
            clean,
        ]);
        books.jobs.insert((number, no), job);
        line(&json!({"id": null, "method": "mining.notify", "params": params}))
    }

    /// Another difficulty, which no other connection has.
    pub(crate) fn difficulty(&mut self) -> Vec<u8> {
        let part = u32::try_from(self.difficulties.len()).unwrap_or(0) % 900;
        let difficulty = f64::from(self.number * 1000 + part + 2);
        self.difficulty = Some(difficulty);
        self.difficulties.push(difficulty);
        self.changes += 1;
        line(&json!({"id": null, "method": "mining.set_difficulty", "params": [difficulty]}))
    }

    /// Another extranonce, which holds from the next job on.
    pub(crate) fn extranonce(&mut self, spec: &Spec, size2: usize, dice: &mut Dice) -> Vec<u8> {
        self.extranonce1 = extranonce1(spec.extranonce1_size, false, dice);
        self.extranonce2_size = size2;
        self.changes += 1;
        let params = json!([self.extranonce1, size2]);
        line(&json!({"id": null, "method": "mining.set_extranonce", "params": params}))
    }

    /// What the pool says to a request.
    pub(crate) fn take(
        &mut self,
        message: &Value,
        spec: &Spec,
        health: Health,
        dice: &mut Dice,
        books: &mut Books,
    ) -> Vec<Vec<u8>> {
        let id = message.get("id").cloned().unwrap_or(Value::Null);
        let params = message.get("params").and_then(Value::as_array).cloned().unwrap_or_default();
        if health == Health::Mute {
            return Vec::new();
        }
        let calm = health == Health::Well;
        match message.get("method").and_then(Value::as_str).unwrap_or_default() {
            "mining.configure" if !calm && dice.chance(60) => Vec::new(),
            "mining.configure" => {
                let result = json!({"version-rolling": true, "version-rolling.mask": "1fffe000"});
                vec![line(&json!({"id": id, "result": result, "error": null}))]
            }
            "mining.subscribe" => self.subscribe(&id, &params, spec, health, dice, books),
            "mining.authorize" => self.authorize(&id, health, dice, books),
            "mining.submit" => {
                let answer = match dice.below(20) {
                    0 => (Value::Null, json!([21, "Job not found", null])),
                    1 => (Value::Null, json!([23, "Above target", null])),
                    2 => (json!(false), Value::Null),
                    3 if !calm => return Vec::new(),
                    _ => (json!(true), Value::Null),
                };
                let nonce = params.get(4).and_then(Value::as_str).unwrap_or_default();
                if let Some(share) = books.shares.get_mut(nonce) {
                    share.verdict = Some(answer.clone());
                }
                vec![line(&json!({"id": id, "result": answer.0, "error": answer.1}))]
            }
            "" => Vec::new(),
            _ => vec![line(&json!({"id": id, "result": true, "error": null}))],
        }
    }

    fn subscribe(
        &mut self,
        id: &Value,
        params: &[Value],
        spec: &Spec,
        health: Health,
        dice: &mut Dice,
        books: &mut Books,
    ) -> Vec<Vec<u8>> {
        if health == Health::Odd {
            let answer = if dice.chance(50) {
                json!({"id": id, "result": "proxy full", "error": null})
            } else {
                json!({"id": id, "result": null, "error": [20, "busy", null]})
            };
            return vec![line(&answer)];
        }
        let proposed = params.get(1).and_then(Value::as_str);
        self.extranonce1 = match proposed {
            Some(proposed) if spec.echo => proposed.to_owned(),
            _ => extranonce1(spec.extranonce1_size, spec.constant, dice),
        };
        self.extranonce2_size = spec.extranonce2_size;
        self.subscribed = true;
        let result = json!([[["mining.notify", "1"]], self.extranonce1, self.extranonce2_size]);
        let mut lines = vec![line(&json!({"id": id, "result": result, "error": null}))];
        if dice.chance(15) {
            if dice.chance(50) {
                lines.push(self.difficulty());
            }
            lines.push(self.job(true, books));
        }
        lines
    }

    fn authorize(
        &mut self,
        id: &Value,
        health: Health,
        dice: &mut Dice,
        books: &mut Books,
    ) -> Vec<Vec<u8>> {
        if health == Health::Denies {
            let error = json!([24, "Unauthorized worker", null]);
            return vec![line(&json!({"id": id, "result": false, "error": error}))];
        }
        let answer = line(&json!({"id": id, "result": true, "error": null}));
        if std::mem::replace(&mut self.authorized, true) {
            return vec![answer];
        }
        match dice.below(5) {
            0 => vec![self.difficulty(), self.job(true, books), answer],
            1 => vec![answer, self.job(true, books), self.difficulty()],
            2 => vec![answer, self.job(true, books)],
            3 if health != Health::Well => vec![answer],
            _ => vec![answer, self.difficulty(), self.job(true, books)],
        }
    }
}

fn extranonce1(size: usize, constant: bool, dice: &mut Dice) -> String {
    if constant { "00".repeat(size) } else { dice.hex(size) }
}
