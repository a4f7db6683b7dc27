//! Any order of events: whatever miner, pools and engine do, every request of the miner is answered
//! exactly once, no share is booked twice, and what the miner sees is in order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;
use switcher_plugin::{Input, LegId, Refusal};

use crate::world::{World, job};

/// Something that may happen.
#[derive(Debug, Clone, Copy)]
enum Event {
    Answer { leg: u8, accept: bool },
    Authorize { worker: u8 },
    CutOver { leg: u8 },
    Difficulty { leg: u8, difficulty: u8 },
    Extranonce { leg: u8, size: u8 },
    Gone { leg: u8 },
    Job { leg: u8 },
    LegUp { size: u8, echo: bool },
    Pass { seconds: u8 },
    Request { method: u8 },
    Share { job: u8 },
    Subscribe,
    Wake,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..3_u8, prop::bool::weighted(0.8))
            .prop_map(|(leg, accept)| Event::Answer { leg, accept }),
        1 => (0..4_u8).prop_map(|worker| Event::Authorize { worker }),
        2 => (0..3_u8).prop_map(|leg| Event::CutOver { leg }),
        2 => (0..3_u8, 1..9_u8).prop_map(|(leg, difficulty)| Event::Difficulty { leg, difficulty }),
        1 => (0..3_u8, 3..9_u8).prop_map(|(leg, size)| Event::Extranonce { leg, size }),
        1 => (0..3_u8).prop_map(|leg| Event::Gone { leg }),
        3 => (0..3_u8).prop_map(|leg| Event::Job { leg }),
        1 => (3..9_u8, prop::bool::weighted(0.2))
            .prop_map(|(size, echo)| Event::LegUp { size, echo }),
        1 => (0..3_u8).prop_map(|seconds| Event::Pass { seconds }),
        2 => (0..6_u8).prop_map(|method| Event::Request { method }),
        4 => any::<u8>().prop_map(|job| Event::Share { job }),
        1 => Just(Event::Subscribe),
        1 => Just(Event::Wake),
    ]
}

/// One pool connection as its pool sees it.
#[derive(Debug, Default)]
struct Pool {
    size: u8,
    asked: Vec<(Value, String)>,
    ready: bool,
}

/// An engine that keeps to the rules, pools that answer what they were asked, and a miner that keeps
/// count.
#[derive(Debug)]
struct Field {
    world: World,
    pools: BTreeMap<u32, Pool>,
    active: Option<u32>,
    identified: bool,
    next_leg: u32,
    next_id: u32,
    waiting: BTreeSet<String>,
    jobs: Vec<String>,
    submitted: u32,
    judged: u32,
    closed: bool,
}

impl Field {
    fn new() -> Self {
        Self {
            world: World::new(),
            pools: BTreeMap::new(),
            active: None,
            identified: false,
            next_leg: 1,
            next_id: 0,
            waiting: BTreeSet::new(),
            jobs: Vec::new(),
            submitted: 0,
            judged: 0,
            closed: false,
        }
    }

    fn nth_leg(&self, at: u8) -> Option<u32> {
        self.pools.keys().nth(usize::from(at)).copied()
    }

    fn request(&mut self, method: &str, params: &str) {
        self.next_id += 1;
        let id = format!("\"m{}\"", self.next_id);
        let line = format!(r#"{{"id":{id},"method":"{method}","params":{params}}}"#);
        assert!(self.waiting.insert(id));
        let asked = self.world.miner(&line);
        self.carry_out(asked);
    }

    fn pool_says(&mut self, leg: u32, line: &str) {
        let asked = self.world.pool(leg, line);
        self.carry_out(asked);
    }

    fn carry_out(&mut self, asked: Vec<String>) {
        for asked in asked {
            let (word, rest) = asked.split_once(' ').unwrap_or((&asked, ""));
            match word {
                "down" => self.miner_gets(rest),
                "ready" => {
                    let leg: u32 = rest.split(' ').next().unwrap().parse().unwrap();
                    assert_ne!(self.active, Some(leg), "ready is said of legs that do not serve");
                    self.pools.get_mut(&leg).expect("a leg that lives").ready = true;
                }
                "refuse" => {
                    let leg: u32 = rest.split(' ').next().unwrap().parse().unwrap();
                    assert_ne!(self.active, Some(leg), "the active leg is replaced, not refused");
                    self.pools.remove(&leg).expect("a leg that lives");
                    if rest.contains(" Login ") {
                        self.identified = false;
                    }
                }
                "identify" => {
                    assert!(!std::mem::replace(&mut self.identified, true));
                }
                "submitted" => self.submitted += 1,
                "share" => {
                    if !rest.starts_with('-') {
                        self.judged += 1;
                    }
                }
                "close" => self.closed = true,
                "fault" => panic!("a well-behaved peer is at fault: {rest}"),
                _ => {
                    if let Some(leg) = word.strip_prefix("up") {
                        self.pool_gets(leg.parse().unwrap(), rest);
                    }
                }
            }
        }
    }

    fn miner_gets(&mut self, line: &str) {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["method"] == "mining.notify" {
            self.jobs.push(line["params"][0].as_str().unwrap().to_owned());
        }
        if !line["id"].is_null() {
            let id = line["id"].to_string();
            assert!(self.waiting.remove(&id), "{id} is answered a second time, or was not asked");
        }
    }

    fn pool_gets(&mut self, leg: u32, line: &str) {
        let line: Value = serde_json::from_str(line).unwrap();
        let method = line["method"].as_str().unwrap().to_owned();
        let pool = self.pools.get_mut(&leg).expect("only living legs are spoken to");
        pool.asked.push((line["id"].clone(), method));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Answer { leg, accept } => self.answer(leg, accept),
            Event::Authorize { worker } => {
                self.request("mining.authorize", &format!(r#"["alice.{worker}","x"]"#));
            }
            Event::CutOver { leg } => {
                let Some(leg) = self.nth_leg(leg) else { return };
                let pool = self.pools.get_mut(&leg).unwrap();
                if std::mem::replace(&mut pool.ready, false) {
                    self.active = Some(leg);
                    let asked = self.world.cut_over(leg);
                    self.carry_out(asked);
                }
            }
            Event::Difficulty { leg, difficulty } => {
                let Some(leg) = self.nth_leg(leg) else { return };
                self.pool_says(
                    leg,
                    &format!(
                        r#"{{"id":null,"method":"mining.set_difficulty","params":[{difficulty}]}}"#
                    ),
                );
            }
            Event::Extranonce { leg, size } => {
                let Some(leg) = self.nth_leg(leg) else { return };
                self.pool_says(leg, &format!(
                    r#"{{"id":null,"method":"mining.set_extranonce","params":["0{size}",{size}]}}"#
                ));
            }
            Event::Gone { leg } => {
                let Some(leg) = self.nth_leg(leg) else { return };
                self.lose(leg);
            }
            Event::Job { leg } => {
                let Some(leg) = self.nth_leg(leg) else { return };
                self.pool_says(leg, &job("bf"));
            }
            Event::LegUp { size, echo } => {
                if !self.identified || self.pools.len() >= 3 {
                    return;
                }
                let leg = self.next_leg;
                self.next_leg += 1;
                self.pools.insert(leg, Pool { size, ..Pool::default() });
                let mode = if echo { "echo" } else { "own" };
                let asked = self.world.leg_up(leg, &serde_json::json!({"extranonce": mode}));
                self.carry_out(asked);
            }
            Event::Pass { seconds } => {
                self.world.now = self.world.now.plus(1000 * u64::from(seconds));
            }
            Event::Request { method } => {
                let (method, params) = [
                    ("mining.suggest_difficulty", "[4]"),
                    ("mining.extranonce.subscribe", "[]"),
                    ("mining.ping", "[]"),
                    ("mining.custom", "[1]"),
                    ("mining.configure", r#"[["version-rolling"],{}]"#),
                    ("mining.get_transactions", r#"["1"]"#),
                ][usize::from(method)];
                self.request(method, params);
            }
            Event::Share { job } => {
                let job = self.jobs.iter().rev().nth(usize::from(job) % 8).cloned();
                let job = job.unwrap_or_else(|| "zzz".to_owned());
                self.request(
                    "mining.submit",
                    &format!(r#"["alice.0","{job}","010203","5cb6dda9","5345b92c"]"#),
                );
            }
            Event::Subscribe => self.request("mining.subscribe", r#"["cgminer/4"]"#),
            Event::Wake => {
                let asked = self.world.input(Input::Wake);
                self.carry_out(asked);
            }
        }
    }

    /// The pool answers the oldest request that it has not answered.
    fn answer(&mut self, leg: u8, accept: bool) {
        let Some(leg) = self.nth_leg(leg) else { return };
        let pool = self.pools.get_mut(&leg).unwrap();
        if pool.asked.is_empty() {
            return;
        }
        let (id, method) = pool.asked.remove(0);
        let result = match method.as_str() {
            "mining.subscribe" => format!(r#"[[],"0{}",{}]"#, pool.size, pool.size),
            "mining.configure" => {
                r#"{"version-rolling":true,"version-rolling.mask":"1fffe000"}"#.to_owned()
            }
            _ if accept => "true".to_owned(),
            _ => "false".to_owned(),
        };
        self.pool_says(leg, &format!(r#"{{"id":{id},"result":{result},"error":null}}"#));
    }

    fn lose(&mut self, leg: u32) {
        self.pools.remove(&leg);
        let was_active = self.active == Some(leg);
        if was_active {
            self.active = None;
        }
        let leg = LegId(leg);
        let input = if was_active { Input::LegDown(leg) } else { Input::LegGone(leg) };
        let asked = self.world.input(input);
        self.carry_out(asked);
    }

    /// Everything goes away, and nothing may stay unanswered but further workers that wait for a
    /// pool.
    fn end(&mut self) {
        while let Some(leg) = self.nth_leg(0) {
            self.lose(leg);
        }
        let asked = self.world.input(Input::Refused(Refusal::NoPool));
        self.carry_out(asked);
        let state = self.world.state();
        let workers = state["workers"].as_array().unwrap();
        let waiting: BTreeSet<String> = workers
            .iter()
            .filter_map(|worker| worker["waiting"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(self.waiting, waiting, "requests that nobody has answered");
        assert_eq!(self.submitted, self.judged, "every share sent up is booked once");
        assert!(state.to_string().len() < 20_000, "the state is bounded");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_request_is_answered_exactly_once(
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut field = Field::new();
        for event in [Event::Subscribe, Event::Authorize { worker: 0 }].into_iter().chain(events) {
            if field.closed {
                break;
            }
            field.happen(event);
        }
        field.end();
    }
}
