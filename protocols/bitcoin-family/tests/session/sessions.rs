//! Recorded conversations, played through a session. Its miner says what the recorded miner said,
//! and the pool answers each request as the recorded pool answered that method. What comes of it is
//! counted, kind by kind, and must be what is written here.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::{Value, json};

use crate::world::{Setting, World};

/// One recording on its way through a session.
struct Replay {
    world: World,
    /// Answers of the pool that nobody has asked for yet, by method.
    answers: HashMap<String, VecDeque<Value>>,
    /// Answers of the pool to shares, by the miner's id.
    verdicts: HashMap<String, Value>,
    /// What the pool said before there was a leg to say it on.
    early: Vec<Value>,
    leg: Option<u32>,
    /// Methods by the miner's id.
    asked: HashMap<String, String>,
    /// The frame of now, for what is forwarded.
    current: Value,
    /// The id of the miner's request of now.
    request: String,
    /// Jobs as the miner was told them, by the pool's name.
    told: HashMap<String, String>,
    extranonce2_digits: usize,
    happened: BTreeMap<String, usize>,
    by_byte: bool,
    /// Options of the pool.
    options: Value,
}

/// Who says a line of a recording, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Miner,
    /// A switcher to its server; told apart so that answers can be matched with their methods.
    Switcher,
    Pool,
}

fn lines(file: &str) -> Vec<(From, Value)> {
    let marks = [
        (">>> ", From::Miner),
        ("<<< ", From::Pool),
        ("M> ", From::Miner),
        ("S> ", From::Switcher),
    ];
    let marks = [marks.as_slice(), &[("S< ", From::Pool)]].concat();
    let line = |line: &str| {
        marks.iter().find_map(|(mark, from)| {
            let json = serde_json::from_str(line.strip_prefix(mark)?);
            Some((*from, json.expect("recordings are JSON")))
        })
    };
    file.lines().filter_map(line).collect()
}

/// Plays every connection of a recording; a miner that subscribes again has begun another.
fn play(file: &str) -> String {
    let mut connections: Vec<Vec<(From, Value)>> = vec![vec![]];
    for line in lines(file) {
        let last = connections.last().unwrap();
        let is_subscribe =
            |line: &(From, Value)| line.0 == From::Miner && line.1["method"] == "mining.subscribe";
        if is_subscribe(&line) && last.iter().any(is_subscribe) {
            connections.push(vec![]);
        }
        connections.last_mut().unwrap().push(line);
    }
    let outcome = |by_byte| {
        let played = connections.iter().map(|lines| Replay::play(lines, by_byte));
        played.collect::<Vec<_>>().join("--\n")
    };
    let whole = outcome(false);
    assert_eq!(outcome(true), whole, "in pieces it goes otherwise");
    whole
}

impl Replay {
    fn play(lines: &[(From, Value)], by_byte: bool) -> String {
        let has_switcher = lines.iter().any(|(from, _)| *from == From::Switcher);
        // Behind the original stands sserver, which adopts what it is proposed.
        let options = if has_switcher { json!({"extranonce": "echo"}) } else { Value::Null };
        let mut replay = Self {
            world: World::with(Setting::default().pool("pool1", &options, None)),
            answers: HashMap::new(),
            verdicts: HashMap::new(),
            early: Vec::new(),
            leg: None,
            asked: HashMap::new(),
            current: Value::Null,
            request: String::new(),
            told: HashMap::new(),
            extranonce2_digits: 0,
            happened: BTreeMap::new(),
            by_byte,
            options,
        };
        let asker = if has_switcher { From::Switcher } else { From::Miner };
        let mut methods = HashMap::new();
        for (from, line) in lines {
            let id = line["id"].to_string();
            if *from == asker {
                methods.insert(id, text(&line["method"]));
            } else if *from == From::Pool && is_answer(line) {
                match methods[&id].as_str() {
                    "mining.submit" => drop(replay.verdicts.insert(id, line.clone())),
                    method => {
                        replay
                            .answers
                            .entry(method.to_owned())
                            .or_default()
                            .push_back(line.clone());
                    }
                }
            }
        }
        let mut configured = 0;
        for (from, line) in lines {
            match from {
                From::Miner => replay.miner(line),
                From::Pool if !is_answer(line) => replay.push(line),
                // A switcher that asks again from the start has a new connection.
                From::Switcher if line["method"] == "mining.configure" => {
                    configured += 1;
                    if configured > 1 {
                        replay.leg_up(configured);
                    }
                }
                From::Pool | From::Switcher => {}
            }
        }
        let state = replay.happened.iter().map(|(what, count)| format!("{count} {what}\n"));
        state.collect()
    }

    fn miner(&mut self, line: &Value) {
        let mut line = line.clone();
        if line["method"] == "mining.submit" {
            let job = text(&line["params"][1]);
            line["params"][1] = json!(self.told.get(&job).unwrap_or(&job));
            let extranonce2 = text(&line["params"][2]);
            // What the session keeps for itself is not the miner's.
            let kept = extranonce2.len().saturating_sub(self.extranonce2_digits);
            line["params"][2] = json!(extranonce2[kept..]);
        }
        self.request = line["id"].to_string();
        self.asked.insert(self.request.clone(), text(&line["method"]));
        let bytes = format!("{line}\n");
        if self.by_byte {
            for end in 1..bytes.len() - 2 {
                let asked = self.world.miner_bytes(&bytes.as_bytes()[..end]);
                assert!(asked.is_empty(), "half a frame is handled");
            }
        }
        self.current = line;
        let asked = self.world.miner_bytes(bytes.as_bytes());
        self.carry_out(&asked);
    }

    fn push(&mut self, line: &Value) {
        match self.leg {
            Some(leg) => self.pool(leg, line),
            None => self.early.push(line.clone()),
        }
    }

    fn pool(&mut self, leg: u32, line: &Value) {
        let bytes = format!("{line}\n");
        if self.by_byte {
            for end in 1..bytes.len() - 2 {
                let asked = self.world.pool_bytes(leg, &bytes.as_bytes()[..end]);
                assert!(asked.is_empty(), "half a frame is handled");
            }
        }
        self.current = line.clone();
        let asked = self.world.pool_bytes(leg, bytes.as_bytes());
        self.carry_out(&asked);
    }

    fn leg_up(&mut self, leg: u32) {
        self.leg = Some(leg);
        let asked = self.world.leg_up(leg, &self.options);
        self.carry_out(&asked);
        for line in std::mem::take(&mut self.early) {
            self.pool(leg, &line);
        }
    }

    /// Does what the session asks for; the pool answers as it did in the recording.
    fn carry_out(&mut self, asked: &[String]) {
        let current = self.current.clone();
        for asked in asked {
            let (what, rest) = asked.split_once(' ').unwrap();
            if what == "down" {
                self.miner_got(&serde_json::from_str(rest).unwrap());
            } else if asked == "forward down" {
                self.miner_got(&current);
            } else if let Some(leg) = asked.strip_prefix("forward up") {
                self.pool_got(leg.parse().unwrap(), &current);
            } else if let Some(leg) = what.strip_prefix("up") {
                self.pool_got(leg.parse().unwrap(), &serde_json::from_str(rest).unwrap());
            } else if what == "identify" {
                self.count(asked.clone());
                let asked = self.world.assigned("btc", rest.split(' ').next().unwrap());
                self.carry_out(&asked);
                self.leg_up(1);
            } else if what == "ready" {
                self.count(asked.clone());
                let asked = self.world.cut_over(self.leg.unwrap());
                self.carry_out(&asked);
            } else if !["wake", "remember"].contains(&what) {
                self.count(asked.clone());
            }
        }
    }

    fn pool_got(&mut self, leg: u32, request: &Value) {
        let method = text(&request["method"]);
        self.count(format!("pool: {method}"));
        let answer = if method == "mining.submit" {
            self.verdicts.remove(&self.request)
        } else {
            self.answers.get_mut(&method).and_then(VecDeque::pop_front)
        };
        if let Some(mut answer) = answer {
            answer["id"] = request["id"].clone();
            self.pool(leg, &answer);
        }
    }

    fn miner_got(&mut self, line: &Value) {
        let mut what = text(&line["method"]);
        if what.is_empty() {
            let method = &self.asked[&line["id"].to_string()];
            if method == "mining.subscribe" {
                self.extranonce2_digits =
                    usize::try_from(line["result"][2].as_u64().unwrap()).unwrap() * 2;
            }
            what = format!("answer to {method}");
            if !line["error"].is_null() {
                what = format!("{what}, error {}", line["error"][0]);
            }
        } else if what == "mining.notify" {
            let told = text(&line["params"][0]);
            let pool_s = if self.current["method"] == "mining.notify" {
                text(&self.current["params"][0])
            } else {
                told.get(2..).unwrap_or_default().to_owned()
            };
            self.told.insert(pool_s, told);
        }
        self.count(format!("miner: {what}"));
    }

    fn count(&mut self, what: String) {
        *self.happened.entry(what).or_default() += 1;
    }
}

fn is_answer(line: &Value) -> bool {
    line.get("method").is_none()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// One test per recording: its name, its file, and what happens, counted.
macro_rules! recordings {
    ($($name:ident: $file:literal => $expected:literal;)*) => {$(
        #[test]
        fn $name() {
            let played = play(include_str!(concat!("../sessions/", $file)));

            let lines: Vec<_> = played.lines().collect();
            let expected: Vec<_> = $expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
            assert_eq!(lines, expected);
        }
    )*};
}

recordings! {
    bitaxe_at_antpool: "01-bitaxe-antpool.txt" => r"
        1 identify xvf9u xvf9u.001
        1 miner: answer to mining.configure
        1 miner: answer to mining.subscribe
        1 pool: mining.authorize
        1 pool: mining.configure
        1 pool: mining.subscribe
    ";
    bitaxe_at_braiins: "02-bitaxe-braiins-out-of-order.txt" => r#"
        1 identify poemechr poemechr.bitaxe
        1 learn 1 {"extranonce1_size":1,"extranonce2_size":6,"version_mask":"00000000"}
        1 miner: answer to mining.authorize
        1 miner: answer to mining.configure
        1 miner: answer to mining.subscribe
        1 miner: answer to mining.suggest_difficulty
        1 miner: mining.set_version_mask
        1 pool: mining.authorize
        1 pool: mining.configure
        1 pool: mining.subscribe
        1 pool: mining.suggest_difficulty
        1 ready 1 fold
    "#;
    bitaxe_at_public_pool: "04-bitaxe-public-pool.txt" => r#"
        1 identify bc1qqkredrrxc0pqjpcyp8ku3ry46e40tp40zrf0k0 bc1qqkredrrxc0pqjpcyp8ku3ry46e40tp40zrf0k0.bitaxe
        1 learn 1 {"extranonce1_size":4,"extranonce2_size":4,"version_mask":"1fffe000"}
        1 miner: answer to mining.authorize
        1 miner: answer to mining.configure
        1 miner: answer to mining.subscribe
        1 miner: answer to mining.suggest_difficulty
        1 miner: mining.notify
        1 miner: mining.set_difficulty
        1 pool: mining.authorize
        1 pool: mining.configure
        1 pool: mining.subscribe
        1 pool: mining.suggest_difficulty
        1 ready 1 fold
    "#;
    bitaxe_at_ocean: "05-bitaxe-ocean.txt" => r#"
        1 identify bc1-- bc1--.bitaxe
        1 learn 1 {"extranonce1_size":4,"extranonce2_size":8,"version_mask":"1fffe000"}
        1 miner: answer to mining.authorize
        1 miner: answer to mining.configure
        1 miner: answer to mining.submit, error 23
        1 miner: answer to mining.subscribe
        1 miner: answer to mining.suggest_difficulty
        1 miner: mining.notify
        1 miner: mining.set_difficulty
        1 pool: mining.authorize
        1 pool: mining.configure
        1 pool: mining.submit
        1 pool: mining.subscribe
        1 pool: mining.suggest_difficulty
        1 ready 1 fold
        1 share 1 Reject(23) 16383.75
        1 submitted 1
    "#;
    bitaxe_at_nicehash: "07-bitaxe-nicehash-xnsub.txt" => r#"
        1 identify 3 3
        1 learn 1 {"extranonce1_size":5,"extranonce2_size":3,"version_mask":"1fffe000"}
        1 miner: answer to mining.configure
        1 miner: answer to mining.subscribe
        1 pool: mining.configure
        1 pool: mining.subscribe
        1 refuse 1 Permanent no room to fold: the pool's extranonce2 has 3 bytes, the miner's extranonce1 and extranonce2 need 1 + 3; announce: not allowed; reconnect: not allowed, or tried in vain
    "#;
    bitaxe_at_unmineable: "09-bitaxe-unmineable-viabtc.txt" => r#"
        1 identify BTC:bc1qxxxxxxxxxxxxxxxxxxxxx BTC:bc1qxxxxxxxxxxxxxxxxxxxxx
        1 learn 1 {"extranonce1_size":4,"extranonce2_size":8,"version_mask":"1fffe000"}
        1 miner: answer to mining.authorize
        1 miner: answer to mining.configure
        1 miner: answer to mining.submit, error 21
        1 miner: answer to mining.subscribe
        1 miner: answer to mining.suggest_difficulty
        2 miner: mining.set_difficulty
        1 pool: mining.authorize
        1 pool: mining.configure
        1 pool: mining.subscribe
        1 pool: mining.suggest_difficulty
        1 ready 1 fold
        1 share - Orphan 0
    "#;
    nerdqaxe_at_a_miningcore_fork: "10-nerdqaxe-miningcore-fork.txt" => r"
        1 identify username-here username-here
        1 miner: answer to mining.configure
        1 miner: answer to mining.subscribe
        1 pool: mining.authorize
        1 pool: mining.configure
        1 pool: mining.subscribe
    ";
    whatsminer_at_a_translator: "12-whatsminer-sri-translator-loop.txt" => r"
        1 miner: answer to mining.configure
        1 miner: answer to mining.subscribe
    ";
    antminer_at_an_sserver: "13-antminer-bmminer-btcpool-sserver.txt" => r#"
        1 identify user1 user1.test
        1 learn 1 {"extranonce1_size":4,"extranonce2_size":8}
        1 miner: answer to mining.authorize
        1 miner: answer to mining.multi_version
        1 miner: answer to mining.subscribe
        1 pool: mining.authorize
        1 pool: mining.subscribe
        1 ready 1 fold
        --
        1 identify user1 user1.test
        1 learn 1 {"extranonce1_size":4,"extranonce2_size":8}
        1 miner: answer to mining.authorize
        1 miner: answer to mining.multi_version
        1 miner: answer to mining.subscribe
        1 pool: mining.authorize
        1 pool: mining.subscribe
        1 ready 1 fold
    "#;
    minerd_at_public_pool: "14-minerd-public-pool-resume.txt" => r"
        1 disregard bad_params by the miner
        1 miner: answer to mining.authorize, error 105
        1 miner: answer to mining.subscribe
        --
        1 miner: answer to mining.subscribe
    ";
    the_replay_log_of_an_sserver: "22-btcpool-sserver-replay-log.txt" => r#"
        1 identify hu60 hu60.111
        1 learn 1 {"extranonce1_size":4,"extranonce2_size":8}
        1 miner: answer to mining.authorize
        11 miner: answer to mining.submit
        1 miner: answer to mining.submit, error 21
        2 miner: answer to mining.submit, error 22
        1 miner: answer to mining.submit, error 23
        1 miner: answer to mining.subscribe
        7 miner: mining.notify
        1 miner: mining.set_difficulty
        1 pool: mining.authorize
        15 pool: mining.submit
        1 pool: mining.subscribe
        1 ready 1 fold
        11 share 1 Accept 1
        1 share 1 Reject(21) 1
        2 share 1 Reject(22) 1
        1 share 1 Reject(23) 1
        15 submitted 1
    "#;
    // Login with the suffix, once answered; the second server is ready only with a job, which the
    // recording ends before.
    a_coin_switch_of_the_original: "24-original-switcher-btc-coin-switch.txt" => r#"
        1 identify testacc testacc.rig1
        1 learn 1 {"extranonce1_size":4,"extranonce2_size":8,"version_mask":"1fffe000","echo":true}
        1 miner: answer to mining.authorize
        1 miner: answer to mining.configure
        1 miner: answer to mining.extranonce.subscribe
        1 miner: answer to mining.subscribe
        1 miner: mining.set_difficulty
        3 pool: mining.authorize
        2 pool: mining.configure
        2 pool: mining.subscribe
        1 ready 1 echo
    "#;
}
