//! The light miners: thousands in one process, each with a real handshake and a strict count of
//! its shares.
//!
//! They do not hash. Every submit must get exactly one answer, with its own id; jobs are known by
//! their time field, which no proxy touches.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::control::reply;
use super::net::{Net, Role, run};
use super::now;
use super::table::spread;

/// Connections begun between two looks at the sockets.
const DIALS_AT_ONCE: usize = 128;

const SUBSCRIBE: &[u8] =
    b"{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"cgminer/4.10.0\"]}\n";
const CONFIGURE: &[u8] = b"{\"id\": 0, \"method\": \"mining.configure\", \"params\": [[\"version-rolling\"], {\"version-rolling.mask\": \"ffffffff\"}]}\n";

/// The first id of a share.
const FIRST_SHARE: u64 = 10;

/// Answers may take this long once submitting has stopped.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct LightMiner {
    number: u64,
    connected: bool,
    extranonce2_size: usize,
    job_id: String,
    marker: String,
    marker_at: u64,
    next_id: u64,
    /// Sending time of each share without an answer, by id.
    outstanding: HashMap<u64, u64>,
}

/// What the coordinator waits for.
#[derive(Debug)]
enum Waiting {
    /// Every miner's first job, since the given time.
    FirstJobs { wanted: usize, since: u64, until: Instant },
    /// A job with this marker at every miner, sent at the given time.
    Marker { marker: String, since: u64, until: Instant },
    /// Answers to everything that was submitted.
    Answers { until: Instant },
}

/// Shares being submitted round and round.
#[derive(Debug)]
struct Submitting {
    left: u64,
    /// Nanoseconds between two shares.
    every: u64,
    due: u64,
    turn: usize,
}

/// Counts since the last report.
#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    accepted: u64,
    refused: BTreeMap<String, u64>,
    lost: u64,
    unasked: u64,
    latencies: Vec<u64>,
}

/// All miners of this process.
#[derive(Debug)]
pub struct LightMiners {
    target: SocketAddr,
    miners: HashMap<usize, LightMiner>,
    order: Vec<usize>,
    to_dial: usize,
    dialled: u64,
    ready: Vec<u64>,
    failed: u64,
    dropped: u64,
    waiting: Option<Waiting>,
    submitting: Option<Submitting>,
    /// When anybody heard anything last, and the longest time nobody did while shares were sent.
    heard: u64,
    silence: u64,
    counts: Counts,
}

/// Runs light miners against `target` until standard input ends.
///
/// # Errors
///
/// When epoll fails.
pub fn serve(target: SocketAddr) -> std::io::Result<()> {
    let mut miners = LightMiners {
        target,
        miners: HashMap::new(),
        order: Vec::new(),
        to_dial: 0,
        dialled: 0,
        ready: Vec::new(),
        failed: 0,
        dropped: 0,
        waiting: None,
        submitting: None,
        heard: 0,
        silence: 0,
        counts: Counts::default(),
    };
    run(&mut miners, |_| {
        reply(&json!({"ready": true}));
        Ok(())
    })
}

impl LightMiners {
    fn dial(&mut self, net: &mut Net) {
        for _ in 0..self.to_dial.min(DIALS_AT_ONCE) {
            self.to_dial -= 1;
            match net.connect(self.target) {
                Ok(token) => {
                    let miner = LightMiner {
                        number: self.dialled,
                        next_id: FIRST_SHARE,
                        ..LightMiner::default()
                    };
                    self.dialled += 1;
                    self.miners.insert(token, miner);
                    self.order.push(token);
                }
                Err(_) => self.failed += 1,
            }
        }
    }

    fn job(&mut self, token: usize, line: &str) {
        let Some(miner) = self.miners.get_mut(&token) else { return };
        let Some((job_id, marker)) = job_of(line) else {
            self.counts.unasked += 1;
            return;
        };
        miner.marker_at = now();
        if miner.job_id.is_empty() {
            self.ready.push(miner.marker_at);
        }
        job_id.clone_into(&mut miner.job_id);
        marker.clone_into(&mut miner.marker);
    }

    fn answer(&mut self, net: &mut Net, token: usize, line: &str) {
        let Some(miner) = self.miners.get_mut(&token) else { return };
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            self.counts.unasked += 1;
            return;
        };
        let Some(id) = message.get("id").and_then(Value::as_u64) else {
            self.counts.unasked += 1;
            return;
        };
        let result = message.get("result").unwrap_or(&Value::Null);
        match id {
            0 => net.send(token, SUBSCRIBE),
            1 => {
                let size = result.get(2).and_then(Value::as_u64).unwrap_or(0);
                miner.extranonce2_size = usize::try_from(size).unwrap_or(0);
                let line = format!(
                    "{{\"id\": 2, \"method\": \"mining.authorize\", \"params\": [\"load.w{}\", \"x\"]}}\n",
                    miner.number
                );
                net.send(token, line.as_bytes());
            }
            2 if *result == json!(true) => {}
            2 => self.failed += 1,
            _ => match miner.outstanding.remove(&id) {
                None => self.counts.unasked += 1,
                Some(sent) => {
                    self.counts.latencies.push(now() - sent);
                    if *result == json!(true) {
                        self.counts.accepted += 1;
                    } else {
                        let why = message.get("error").unwrap_or(result).to_string();
                        *self.counts.refused.entry(why).or_default() += 1;
                    }
                }
            },
        }
    }

    fn submit(&mut self, net: &mut Net, token: usize) {
        let Some(miner) = self.miners.get_mut(&token) else { return };
        if miner.job_id.is_empty() {
            return;
        }
        let id = miner.next_id;
        miner.next_id += 1;
        let line = format!(
            "{{\"params\": [\"load.w{}\", \"{}\", \"{id:0width$x}\", \"{}\", \"{id:08x}\"], \"id\": {id}, \
             \"method\": \"mining.submit\"}}\n",
            miner.number,
            miner.job_id,
            miner.marker,
            width = miner.extranonce2_size * 2,
        );
        miner.outstanding.insert(id, now());
        self.counts.sent += 1;
        net.send(token, line.as_bytes());
    }

    fn submit_due(&mut self, net: &mut Net) -> Option<Instant> {
        let mut submitting = self.submitting.take()?;
        let time = now();
        while submitting.left > 0 && submitting.due <= time {
            submitting.due += submitting.every;
            submitting.left -= 1;
            submitting.turn += 1;
            let place = submitting.turn % self.order.len().max(1);
            if let Some(&token) = self.order.get(place) {
                self.submit(net, token);
            }
        }
        if submitting.left == 0 {
            self.waiting = Some(Waiting::Answers { until: Instant::now() + GRACE });
            return None;
        }
        let pause = Duration::from_nanos(submitting.due.saturating_sub(now()));
        self.submitting = Some(submitting);
        Some(Instant::now() + pause)
    }

    /// Replies to the coordinator if what it waits for is there, or too late.
    fn check(&mut self) -> Option<Instant> {
        let waiting = self.waiting.take()?;
        let time = Instant::now();
        let (done, until) = match &waiting {
            Waiting::FirstJobs { wanted, since, until } => {
                let done = self.ready.len() >= *wanted || time >= *until;
                if done {
                    let times = self.ready.iter().map(|at| at.saturating_sub(*since)).collect();
                    let missing = wanted.saturating_sub(self.ready.len());
                    reply(
                        &json!({"spread": spread(times), "missing": missing, "failed": self.failed}),
                    );
                }
                (done, *until)
            }
            Waiting::Marker { marker, since, until } => {
                let times: Vec<u64> = self
                    .miners
                    .values()
                    .filter(|miner| miner.marker.starts_with(marker))
                    .map(|miner| miner.marker_at.saturating_sub(*since))
                    .collect();
                let missing = self.miners.len() - times.len();
                let done = missing == 0 || time >= *until;
                if done {
                    reply(
                        &json!({"spread": spread(times), "missing": missing, "dropped": self.dropped}),
                    );
                }
                (done, *until)
            }
            Waiting::Answers { until } => {
                let open = self.miners.values().map(|miner| miner.outstanding.len()).sum::<usize>();
                let done = open == 0 || time >= *until;
                if done {
                    self.report_shares(open);
                }
                (done, *until)
            }
        };
        if done {
            return None;
        }
        self.waiting = Some(waiting);
        // The jobs and answers themselves wake this up; the deadline is for those that never come.
        Some(until)
    }

    fn report_shares(&mut self, unanswered: usize) {
        for miner in self.miners.values_mut() {
            miner.outstanding.clear();
        }
        let counts = std::mem::take(&mut self.counts);
        reply(&json!({
            "sent": counts.sent,
            "accepted": counts.accepted,
            "refused": counts.refused.values().sum::<u64>(),
            "reasons": counts.refused,
            "unanswered": unanswered,
            "lost": counts.lost,
            "unasked": counts.unasked,
            "dropped": self.dropped,
            "silence": std::mem::take(&mut self.silence) / 1_000_000,
            "spread": spread(counts.latencies),
        }));
    }
}

impl Role for LightMiners {
    fn opened(&mut self, net: &mut Net, token: usize) {
        if let Some(miner) = self.miners.get_mut(&token) {
            miner.connected = true;
        }
        net.send(token, CONFIGURE);
    }

    fn closed(&mut self, _: &mut Net, token: usize) {
        if let Some(miner) = self.miners.remove(&token) {
            self.counts.lost += u64::try_from(miner.outstanding.len()).unwrap_or(0);
            if miner.connected {
                self.dropped += 1;
            } else {
                self.failed += 1;
            }
            self.order.retain(|&other| other != token);
        }
    }

    fn line(&mut self, net: &mut Net, token: usize, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let before = std::mem::replace(&mut self.heard, now());
        if self.submitting.is_some() {
            self.silence = self.silence.max(self.heard.saturating_sub(before));
        }
        if line.contains("\"mining.notify\"") && line.contains("\"method\"") {
            self.job(token, &line);
        } else if !line.contains("\"method\"") {
            self.answer(net, token, &line);
        } else if line.contains("\"mining.ping\"") {
            net.send(token, b"{\"id\":42,\"result\":\"pong\",\"error\":null}\n");
        }
    }

    fn command(&mut self, _: &mut Net, words: &[&str]) {
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        let until = |seconds: &str| Instant::now() + Duration::from_secs(number(seconds));
        match *words {
            ["connect", count, seconds] => {
                self.to_dial = usize::try_from(number(count)).unwrap_or(0);
                let wanted = self.ready.len() + self.to_dial;
                self.waiting =
                    Some(Waiting::FirstJobs { wanted, since: now(), until: until(seconds) });
            }
            ["arrivals", marker, since, seconds] => {
                let (marker, since) = (marker.to_owned(), number(since));
                self.waiting = Some(Waiting::Marker { marker, since, until: until(seconds) });
            }
            // So many shares over all miners at so many a second; answered when all have answers.
            ["submit", count, rate] => {
                let every = 1_000_000_000 / number(rate).max(1);
                self.heard = now();
                self.submitting =
                    Some(Submitting { left: number(count), every, due: now(), turn: 0 });
            }
            ["halt"] => {
                self.submitting = None;
                self.waiting = Some(Waiting::Answers { until: Instant::now() + GRACE });
            }
            _ => reply(&json!({"miners": self.miners.len(), "dropped": self.dropped})),
        }
    }

    fn tick(&mut self, net: &mut Net) -> Option<Instant> {
        if self.to_dial > 0 {
            self.dial(net);
        }
        let submit = self.submit_due(net);
        let check = self.check();
        let dial = (self.to_dial > 0).then(Instant::now);
        [submit, check, dial].into_iter().flatten().min()
    }
}

/// The job id and the time field of a notify line.
fn job_of(line: &str) -> Option<(&str, &str)> {
    let (_, params) = line.split_once("\"params\"")?;
    let mut texts = params.split('"').skip(1).step_by(2);
    let job_id = texts.next()?;
    let marker = texts.last()?;
    (marker.len() == 8).then_some((job_id, marker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_known_by_its_first_and_its_last_text() {
        let line = r#"{"id":null,"method":"mining.notify","params":["t1-7","ab","c","d",["e"],"20000000","17034219","a0000007",true]}"#;
        assert_eq!(job_of(line), Some(("t1-7", "a0000007")));
    }
}
