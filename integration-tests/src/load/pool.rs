//! The light pool: answers the handshake, sends jobs on command, checks that submits are for its
//! own jobs and of the right form, answers each.
//!
//! Does not hash; the judging pool does.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::control::reply;
use super::net::{Net, Role, run};
use super::now;

/// Bytes of extranonce2 that a light pool gives.
const EXTRANONCE2_SIZE: usize = 8;

/// Broadcasts that were asked for and are not all sent.
#[derive(Debug)]
struct Broadcasts {
    left: u64,
    every: Duration,
    due: Instant,
    first: u64,
}

/// A light pool.
#[derive(Debug)]
pub struct LightPool {
    /// Letter in front of its job ids, and the top digit of its jobs' times.
    mark: char,
    miners: HashSet<usize>,
    connections: u64,
    jobs: u64,
    notify: Vec<u8>,
    accepted: u64,
    foreign: u64,
    malformed: u64,
    broadcasts: Option<Broadcasts>,
}

/// Runs a light pool at `address` whose jobs carry `mark`, a hex letter.
///
/// # Errors
///
/// When it cannot listen.
pub fn serve(address: SocketAddr, mark: char) -> std::io::Result<()> {
    let mut pool = LightPool {
        mark,
        miners: HashSet::new(),
        connections: 0,
        jobs: 0,
        notify: Vec::new(),
        accepted: 0,
        foreign: 0,
        malformed: 0,
        broadcasts: None,
    };
    pool.next_job();
    run(&mut pool, |net| {
        let address = net.listen(address)?;
        reply(&json!({"address": address.to_string()}));
        Ok(())
    })
}

impl LightPool {
    /// Makes the next job's line. Its time field is the marker by which miners know it, because a
    /// proxy may rename jobs but never touches times.
    fn next_job(&mut self) {
        self.jobs += 1;
        let branches = vec![format!("\"{}\"", "5c".repeat(32)); 11].join(",");
        let (mark, jobs) = (self.mark, self.jobs);
        let line = format!(
            "{{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"{mark}{jobs:x}\",\"{}\",\"{}\",\
             \"{}\",[{branches}],\"20000000\",\"17034219\",\"{}\",true]}}\n",
            "3f".repeat(32),
            "02".repeat(83),
            "04".repeat(123),
            self.marker(),
        );
        self.notify = line.into_bytes();
    }

    fn marker(&self) -> String {
        format!("{}{:07x}", self.mark, self.jobs)
    }

    fn broadcast(&mut self, net: &mut Net) -> u64 {
        self.next_job();
        let start = now();
        for &token in &self.miners {
            net.send(token, &self.notify);
        }
        start
    }

    fn answer(net: &mut Net, token: usize, id: &Value, result: &Value, error: &Value) {
        let line = format!("{{\"id\":{id},\"result\":{result},\"error\":{error}}}\n");
        net.send(token, line.as_bytes());
    }

    fn submit(&mut self, net: &mut Net, token: usize, id: &Value, params: &[Value]) {
        let text = |place: usize| params.get(place).and_then(Value::as_str).unwrap_or_default();
        let is_own = text(1).strip_prefix(self.mark).is_some_and(|number| {
            u64::from_str_radix(number, 16).is_ok_and(|number| (1..=self.jobs).contains(&number))
        });
        let is_whole = text(2).len() == EXTRANONCE2_SIZE * 2 && text(3).starts_with(self.mark);
        let error = if !is_own {
            self.foreign += 1;
            json!([21, "Job not found", null])
        } else if is_whole {
            self.accepted += 1;
            return Self::answer(net, token, id, &json!(true), &Value::Null);
        } else {
            self.malformed += 1;
            json!([20, "Other/Unknown", null])
        };
        Self::answer(net, token, id, &Value::Null, &error);
    }
}

impl Role for LightPool {
    fn opened(&mut self, _: &mut Net, _: usize) {
        self.connections += 1;
    }

    fn closed(&mut self, _: &mut Net, token: usize) {
        self.miners.remove(&token);
    }

    fn line(&mut self, net: &mut Net, token: usize, line: &[u8]) {
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            self.malformed += 1;
            return;
        };
        let id = message.get("id").unwrap_or(&Value::Null);
        let no_params = Vec::new();
        let params = message.get("params").and_then(Value::as_array).unwrap_or(&no_params);
        match message.get("method").and_then(Value::as_str) {
            Some("mining.submit") => self.submit(net, token, id, params),
            Some("mining.configure") => {
                let result = json!({"version-rolling": true, "version-rolling.mask": "1fffe000"});
                Self::answer(net, token, id, &result, &Value::Null);
            }
            Some("mining.subscribe") => {
                let extranonce1 = format!("{:08x}", 0x6000_0000 + self.connections);
                let result =
                    json!([[["mining.notify", extranonce1]], extranonce1, EXTRANONCE2_SIZE]);
                Self::answer(net, token, id, &result, &Value::Null);
            }
            Some("mining.authorize") => {
                Self::answer(net, token, id, &json!(true), &Value::Null);
                if self.miners.insert(token) {
                    net.send(
                        token,
                        b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[8192]}\n",
                    );
                    net.send(token, &self.notify);
                }
            }
            Some("mining.ping") => Self::answer(net, token, id, &json!("pong"), &Value::Null),
            Some(_) => Self::answer(net, token, id, &json!(true), &Value::Null),
            None => {}
        }
    }

    fn command(&mut self, net: &mut Net, words: &[&str]) {
        match *words {
            ["job"] => {
                let start = self.broadcast(net);
                reply(
                    &json!({"start": start, "marker": self.marker(), "miners": self.miners.len()}),
                );
            }
            ["jobs", count, every_ms] => {
                let every = Duration::from_millis(every_ms.parse().unwrap_or(100));
                let left = count.parse().unwrap_or(1).max(1);
                self.broadcasts =
                    Some(Broadcasts { left, every, due: Instant::now(), first: now() });
            }
            _ => reply(&json!({
                "connections": self.connections,
                "miners": self.miners.len(),
                "accepted": self.accepted,
                "foreign": self.foreign,
                "malformed": self.malformed,
            })),
        }
    }

    fn tick(&mut self, net: &mut Net) -> Option<Instant> {
        let mut broadcasts = self.broadcasts.take()?;
        while broadcasts.left > 0 && Instant::now() >= broadcasts.due {
            broadcasts.due += broadcasts.every;
            broadcasts.left -= 1;
            let start = self.broadcast(net);
            if broadcasts.left == 0 {
                let (marker, miners) = (self.marker(), self.miners.len());
                let first = broadcasts.first;
                reply(&json!({"start": start, "first": first, "marker": marker, "miners": miners}));
                return None;
            }
        }
        let due = broadcasts.due;
        self.broadcasts = Some(broadcasts);
        Some(due)
    }
}
