//! Recorded conversations, played through a session: its miner says what the miner of the recording
//! said, its pool what the pool said, and the miner must get all of it.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::world::World;

/// One recording on its way through a session.
struct Replay {
    world: World,
    /// The pool's answers by the miner's id.
    answers: HashMap<String, Value>,
    /// The miner's ids by method, for requests that the session asks in its own time.
    asked: HashMap<String, String>,
    /// The id of the miner's request of now.
    current: String,
    options: Value,
    is_up: bool,
    /// Jobs as the miner was told them, by the pool's name.
    told: HashMap<String, String>,
    jobs: usize,
    accepted: usize,
    answered: HashMap<String, usize>,
}

/// The lines of a recording from `start` on: whether the miner said it, and what.
fn lines(file: &str, start: &str) -> Vec<(bool, Value)> {
    let from = file.find(start).expect("the recording has such a place");
    file[from..]
        .lines()
        .filter_map(|line| {
            let json = |text: &str| serde_json::from_str(text).expect("recordings are JSON");
            let up = line.strip_prefix(">>> ").map(|line| (true, json(line)));
            up.or_else(|| line.strip_prefix("<<< ").map(|line| (false, json(line))))
        })
        .collect()
}

impl Replay {
    fn play(file: &str, start: &str, variant: &str) -> Self {
        let lines = lines(file, start);
        let is_answer = |line: &Value| line.get("method").is_none() && line["id"] != 0;
        let answers = lines.iter().filter(|(up, line)| !up && is_answer(line));
        let requests = lines.iter().filter(|(up, _)| *up);
        let mut replay = Self {
            world: World::new(),
            answers: answers.map(|(_, line)| (line["id"].to_string(), line.clone())).collect(),
            asked: requests
                .map(|(_, line)| (text(&line["method"]), line["id"].to_string()))
                .collect(),
            current: String::new(),
            options: json!({"variant": variant}),
            is_up: false,
            told: HashMap::new(),
            jobs: 0,
            accepted: 0,
            answered: HashMap::new(),
        };
        for (up, line) in &lines {
            if *up {
                replay.current = line["id"].to_string();
                let mut line = line.to_string();
                for (job, told) in &replay.told {
                    line = line.replace(&format!("\"{job}\""), &format!("\"{told}\""));
                }
                let asked = replay.world.miner(&line);
                replay.carry_out(&asked);
            } else if !is_answer(line) && replay.is_up {
                let asked = replay.world.pool(1, &line.to_string());
                replay.carry_out(&asked);
            }
        }
        replay
    }

    /// Does what the session asks for; the pool answers as it did in the recording.
    fn carry_out(&mut self, asked: &[String]) {
        for asked in asked {
            if let Some(line) = asked.strip_prefix("down ") {
                self.miner_got(&serde_json::from_str(line).unwrap());
            } else if let Some(line) = asked.strip_prefix("up1 ") {
                let request: Value = serde_json::from_str(line).unwrap();
                let method = text(&request["method"]);
                let is_share = method.contains("submitWork") || method == "mining.submit";
                let id = if is_share { Some(&self.current) } else { self.asked.get(&method) };
                let answer = id.and_then(|id| self.answers.get(id)).cloned();
                if let Some(mut answer) = answer {
                    answer["id"] = request["id"].clone();
                    let asked = self.world.pool(1, &answer.to_string());
                    self.carry_out(&asked);
                }
            } else if asked.starts_with("identify") {
                self.world.assigned();
                self.is_up = true;
                let asked = self.world.leg_up(1, &self.options.clone());
                self.carry_out(&asked);
            } else if asked.starts_with("LegReady") {
                let asked = self.world.cut_over(1);
                self.carry_out(&asked);
            } else if asked == "share Accept" {
                self.accepted += 1;
            }
        }
    }

    fn miner_got(&mut self, line: &Value) {
        let is_push = line["result"].is_array() && line["id"] == 0;
        if is_push || line["method"] == "mining.notify" {
            self.jobs += 1;
            let told = text(&line["params"][0]);
            self.told.insert(told.get(2..).unwrap_or_default().to_owned(), told);
        } else if line.get("method").is_none() {
            *self.answered.entry(line["id"].to_string()).or_default() += 1;
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_nicehash_order_at_a_pool() {
    let file = include_str!("../sessions/16-nicehash-order-to-pool-eth.txt");

    // NiceHash does not ask for extranonce changes, and the pool gives 0001 where we have told 0100:
    // what cannot be told is refused with its reason, and nothing else is said.
    let replay = Replay::play(file, "\n>>>", "nicehash");

    assert_eq!((replay.jobs, replay.accepted), (0, 0));
    assert_eq!(replay.answered, HashMap::from([("1".to_owned(), 1)]));
}

#[test]
fn ethproxy_at_ethermine() {
    // The recording hides the wallet.
    let file = include_str!("../sessions/17-alphagruis-ethermine-ethproxy.txt");
    let file = &file.replace("[\"...\"]", "[\"alice\"]");

    let replay = Replay::play(file, "\n>>>", "ethproxy");

    let pushes = file.matches("<<< {\"id\":0").count();
    // The first push answers the eth_getWork that waited for it.
    assert_eq!((replay.jobs, replay.accepted), (pushes - 1, 3));
    assert_eq!(replay.answered["14"], 1);
    assert_eq!(replay.answered["13"], file.matches("eth_submitHashrate").count());
    for id in ["1", "1001", "1002", "1003"] {
        assert_eq!(replay.answered[id], 1, "{id}");
    }
}

#[test]
fn another_algorithm_on_the_same_framing() {
    let file = include_str!("../sessions/20-nbminer-f2pool-ergo.txt");

    let replay = Replay::play(file, "\n>>>", "stratum");

    // Its jobs are none of ours, so the miner gets no work, but every answer.
    assert_eq!((replay.jobs, replay.accepted), (0, 0));
    let once = ["1", "2", "3", "4"].map(|id| (id.to_owned(), 1));
    assert_eq!(replay.answered, HashMap::from(once));
}

#[test]
fn the_example_of_nicehash_s_specification() {
    let file = include_str!("../sessions/23-nicehash-spec-real-world-scenario.txt");
    // Its miner must have asked for extranonce changes, or it could not be at this pool.
    let asks = ">>> {\"id\": 9, \"method\": \"mining.extranonce.subscribe\", \"params\": []}\n";
    let file = file.replacen(">>> {\"id\": 2", &format!("{asks}>>> {{\"id\": 2"), 1);

    let replay = Replay::play(&file, "\n>>>", "nicehash");

    assert_eq!((replay.jobs, replay.accepted), (1, 1));
    let once = ["1", "2", "3", "9"].map(|id| (id.to_owned(), 1));
    assert_eq!(replay.answered, HashMap::from(once));
}

#[test]
fn ethminer_at_last_finds_what_is_spoken() {
    let file = include_str!("../sessions/26-ethminer-autodetect.txt");

    let replay = Replay::play(file, "# connection 3", "ethproxy");

    let once = ["1", "5", "9"].map(|id| (id.to_owned(), 1));
    assert_eq!(replay.answered, HashMap::from(once));
}
