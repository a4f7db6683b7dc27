//! `BTCAgent`: sub-miners in frames, jobs in bytes, answers by index.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use serde_json::{Value, json};
use switcher_plugin::{Input, LegId, Millis};

use crate::world::{Setting, World, job, profile};

const CAPABILITIES: &str = r#"{"capabilities":["verrol","subres"]}"#;

/// Bytes that are written in hex, blanks between them.
fn hex(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

fn echo() -> Value {
    json!({"extranonce": "echo"})
}

fn register(sid: u16, name: &str) -> Vec<u8> {
    let body = [&sid.to_le_bytes()[..], b"cg\0", name.as_bytes(), b"\0"].concat();
    let length = u16::try_from(body.len() + 4).unwrap().to_le_bytes();
    [&[0x7f, 0x01][..], &length, &body].concat()
}

pub(crate) fn share(job: u8, sid: u16) -> Vec<u8> {
    let body = [&[job][..], &sid.to_le_bytes(), &[1, 0, 0, 0, 6, 0x57, 0x4b, 0xce]].concat();
    [&[0x7f, 0x02, 0x0f, 0x00][..], &body].concat()
}

pub(crate) fn answer(index: u16, status: i32) -> Vec<u8> {
    [&[0x7f, 0x10, 0x0a, 0x00][..], &index.to_le_bytes(), &status.to_le_bytes()].concat()
}

pub(crate) const ACCEPT: i32 = 0x6b2c_9687;

impl World {
    /// An agent that has logged in and waits for its pool.
    fn agent() -> Self {
        let mut world = Self::new();
        world.miner(
            r#"{"id":"c","method":"agent.get_capabilities","params":[["verrol","subres"]]}"#,
        );
        world.miner(r#"{"id":"s","method":"mining.subscribe","params":["btccom-agent/2.0.0-mu"]}"#);
        world.miner(r#"{"id":"a","method":"mining.authorize","params":["alice",""]}"#);
        world.miner(
            r#"{"id":"d","method":"agent.get_capabilities","params":[["verrol","subres"]]}"#,
        );
        world.assigned("btc", "alice");
        world
    }

    /// The login of an agent at an echo pool, up to the answer to authorize.
    pub(crate) fn agent_leg(&mut self, leg: u32) -> Vec<String> {
        self.leg_up(leg, &echo());
        self.pool(leg, r#"{"id":"subscribe","result":[[],"01000080",8],"error":null}"#);
        self.pool(leg, r#"{"id":"auth","result":true,"error":null}"#)
    }

    pub(crate) fn capable(&mut self, leg: u32, id: u32) -> Vec<String> {
        self.pool(leg, &format!(r#"{{"id":{id},"result":{CAPABILITIES}}}"#))
    }

    /// An agent with the sub-miners 5 and 6, which mines on leg 1, job `9`.
    pub(crate) fn agent_mining() -> Self {
        let mut world = Self::agent();
        world.agent_leg(1);
        world.capable(1, 1);
        world.cut_over(1);
        world.miner_bytes(&[register(5, "s5"), register(6, "s6")].concat());
        world.pool(1, r#"{"id":null,"method":"mining.set_difficulty","params":[1024]}"#);
        world.pool(1, &job("9"));
        world
    }

    /// A second leg with everything but a job from behind the registrations.
    pub(crate) fn agent_switching() -> Self {
        let mut world = Self::agent_mining();
        world.agent_leg(2);
        world.pool(2, r#"{"id":null,"method":"mining.set_difficulty","params":[2048]}"#);
        world.pool(2, &job("0"));
        world
    }
}

#[test]
fn sub_miners_are_registered_before_the_new_pool_takes_over() {
    let mut world = World::agent_mining();

    let asked = world.agent_leg(2);

    assert_eq!(
        asked,
        [
            "up2 7f010c000500636700733500",
            "up2 7f010c000600636700733600",
            r#"up2 {"id":1,"method":"agent.get_capabilities","params":[["verrol","subres"]]}"#
        ]
    );
}

#[test]
fn a_job_from_before_the_registrations_is_waited_out() {
    let mut world = World::agent_switching();

    assert_eq!(world.capable(2, 1), ["wake 1010000"]);
    world.now = Millis(1_005_000);
    let asked = world.pool(2, &job("1"));

    assert_eq!(asked[asked.len() - 1], "ready 2 echo", "{asked:?}");
    let cut = world.cut_over(2);
    // 2048 is 2^11, for whom the pool has not said otherwise.
    assert!(cut.contains(&"down 7f050b000b020005000600".to_owned()), "{cut:?}");
    assert!(cut.iter().any(|line| line.contains(r#""params":["1","#) && line.contains("true]")));
}

#[test]
fn without_a_new_job_the_agent_goes_on_with_those_of_the_leg_it_leaves() {
    for new_job in [true, false] {
        let mut world = World::agent_switching();
        world.capable(2, 1);
        world.now = Millis(1_010_000);

        assert!(world.input(Input::Wake).contains(&"ready 2 echo".to_owned()));
        let cut = world.cut_over(2);
        assert!(cut.iter().all(|line| !line.starts_with("down")), "{cut:?}");
        // Its shares are still for the leg it was left, whose own news it does not get.
        assert!(world.miner_bytes(&share(9, 5))[0].starts_with("up1 7f02"));
        assert_eq!(world.pool(1, &job("10")), [] as [&str; 0]);
        assert_eq!(
            world.pool(2, r#"{"id":null,"method":"mining.set_difficulty","params":[4096]}"#),
            [] as [&str; 0]
        );

        let asked =
            if new_job { world.pool(2, &job("1")) } else { world.input(Input::LegGone(LegId(1))) };

        let jobs = asked.iter().filter(|line| line.contains("mining.notify")).count();
        assert_eq!(jobs, 1, "{asked:?}");
        assert!(world.miner_bytes(&share(named(&asked), 5))[0].starts_with("up2 7f02"));
    }
}

#[test]
fn a_thousand_registrations_go_up_in_pieces() {
    let mut world = World::agent_mining();
    let name = "n".repeat(80);
    let frames: Vec<u8> = (100..1_900).flat_map(|sid| register(sid, &name)).collect();
    assert_eq!(world.alone(&frames), 0);

    let mut asked = world.agent_leg(2);
    let first = asked.len() - 1;
    // While the pool reads the first piece, one of each half comes and goes.
    assert_eq!(world.miner_bytes(&hex("7f040600 6400")).len(), 2, "100 is known to both");
    assert_eq!(world.miner_bytes(&hex("7f040600 6b07")).len(), 1, "1899 to the first only");
    assert_eq!(world.miner_bytes(&register(7, "new")).len(), 2);
    assert_eq!(world.miner_bytes(&register(1_950, "new")).len(), 1);
    let mut id = 1;
    loop {
        let more = world.capable(2, id);
        if more.is_empty() || !more[0].starts_with("up2 7f01") {
            break;
        }
        asked.extend(more);
        id += 1;
    }

    assert!(id > 1 && first < 1_000, "{id} {first}");
    let registered = asked.iter().filter(|line| line.starts_with("up2 7f01")).count();
    // Those of the beginning, 100 among them, without 1899 and with 1950.
    assert_eq!(registered, 2 + 1_800);
}

#[test]
fn more_registrations_than_an_agent_may_have_are_refused_and_counted() {
    let mut world = World::agent_mining();
    let name = "n".repeat(89);
    let mut refused = 0;
    for chunk in 0..24_u16 {
        let frames: Vec<u8> =
            (0..1_000).flat_map(|n| register(chunk * 1_000 + n + 10, &name)).collect();
        // Without a twin: this is about how much is taken.
        refused += world.alone(&frames);
    }

    let described = world.described();
    let count = |name: &str| described[name].as_str().unwrap().parse::<usize>().unwrap();
    assert!(refused > 0 && refused == count("sub_miners_refused"), "{described}");
    assert_eq!(count("sub_miners"), 2 + 24_000 - refused);
    assert!(count("sub_miners") > 20_000);
    // Who was refused is told so.
    assert_eq!(world.miner_bytes(&share(0, 24_000)), ["down 7f100a00000018000000"]);
}

#[test]
fn a_share_without_a_time_gets_the_one_that_its_agent_was_given() {
    let mut world = World::agent_switching();
    world.capable(2, 1);
    world.pool(2, &job("1"));
    world.cut_over(2);
    world.now = Millis(1_007_000);

    // Back on a leg that has served: the same job, later.
    let cut = world.cut_over(1);
    let again = cut.iter().find(|line| line.contains("mining.notify")).unwrap();
    assert!(again.contains(r#""params":["2","#) && again.contains("5cb6ddaf"), "{again}");

    // The share that had no time now has one; so has that with bits; job 9 has the pool's own.
    assert_eq!(world.miner_bytes(&share(2, 5))[0], "up1 7f0313000905000100000006574bceafddb65c");
    let with_bits = hex("7f121300 02 0500 01000000 06574bce 0000c000");
    assert_eq!(
        world.miner_bytes(&with_bits)[0],
        "up1 7f1317000905000100000006574bceafddb65c0000c000"
    );
    assert_eq!(world.miner_bytes(&share(9, 5))[0], "up1 7f020f000905000100000006574bce");
    // A time of its own is kept, and 0 means the job's.
    let own = hex("7f031300 02 0500 01000000 06574bce 01000000");
    assert!(world.miner_bytes(&own)[0].ends_with("01000000"));
    let zero = hex("7f031300 02 0500 01000000 06574bce 00000000");
    assert!(world.miner_bytes(&zero)[0].ends_with("afddb65c"));
}

#[test]
fn a_pool_that_answers_no_shares_is_refused() {
    let mut world = World::agent();
    world.agent_leg(1);

    let asked = world.pool(1, r#"{"id":1,"result":{"capabilities":["verrol"]}}"#);

    assert_eq!(
        asked,
        ["refuse 1 Permanent the pool does not answer the shares of agents (no \"subres\")"]
    );
}

#[test]
fn only_a_pool_that_adopts_the_extranonce_serves_an_agent() {
    let mut world = World::agent();
    let stranger = profile("stranger", &Value::Null);
    assert!(world.leg_up_with(1, &stranger)[0].starts_with("refuse 1 Permanent an agent's frames"));

    // One with room to fold it in does not understand frames either.
    let detected = profile("maybe", &json!({"extranonce": "detect"}));
    world.leg_up_with(2, &detected);
    let asked = world.pool(2, r#"{"id":1,"result":[[],"aabbccdd",16],"error":null}"#);
    assert!(asked[1].starts_with("refuse 2 Permanent an agent's frames"), "{asked:?}");
}

#[test]
fn an_agent_has_its_sizes_whatever_is_configured() {
    let setting = Setting::default().options(json!({"extranonce": {"size1": 1, "size2": 3}}));
    let mut world = World::with(setting);

    let told = world.miner(r#"{"id":1,"method":"mining.subscribe","params":["BTCcom-Agent/0.1"]}"#);

    assert!(told[0].contains(r#""01000080",8"#), "{told:?}");
}

#[test]
fn a_pool_that_allows_no_version_rolling_is_said_to_an_agent() {
    let mut world = World::new();
    world.miner(r#"{"id":"s","method":"mining.subscribe","params":["btccom-agent/2.0.0-mu"]}"#);
    let told = world.miner(
        r#"{"id":"c","method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}"#,
    );
    assert!(told[1].contains(r#""mining.set_version_mask","params":["1fffe000"]"#), "{told:?}");
    world.miner(r#"{"id":"a","method":"mining.authorize","params":["alice",""]}"#);
    world.assigned("btc", "alice");
    world.leg_up(1, &echo());
    world.pool(1, r#"{"id":"configure","result":{"version-rolling":false},"error":null}"#);
    world.pool(1, r#"{"id":"subscribe","result":[[],"01000080",8],"error":null}"#);
    world.pool(1, r#"{"id":"auth","result":true,"error":null}"#);
    world.capable(1, 1);

    let cut = world.cut_over(1);

    assert!(cut[1].contains(r#""mining.set_version_mask","params":["00000000"]"#), "{cut:?}");
}

#[test]
fn shares_in_lines_are_none() {
    let mut world = World::agent_mining();

    let asked = world.miner(
        r#"{"id":9,"method":"mining.submit","params":["alice.x","0","0000000500000001","5cb6dda8","00000000"]}"#,
    );

    assert_eq!(asked[0], "disregard unexpected by the miner");
    assert_eq!(asked[1], r#"down {"id":9,"result":null,"error":[20,"Not supported",null]}"#);
}

/// What became of each row of the file with frames, in its order.
const FRAMES: &[&str] = &[
    // REGISTER 0x1122, 0xfffe, 0, 0 again (the first counts), 0xfffe again.
    "up1",
    "up1",
    "up1",
    "up1",
    "up1",
    // Shares for job 169, which nobody was given: stale.
    "share",
    "share",
    "share",
    // Shares of sub-miner 0xfffe for job 57: likewise.
    "share",
    "share",
    // UNREGISTER 0x1122.
    "up1",
    // GET_NONCE_PREFIX, of Ethereum.
    "disregard",
    // SET_DIFFICULTY.
    "forward",
    // Answers to shares that never went up.
    "disregard",
    "disregard",
    "disregard",
    // SET_NONCE_PREFIX, of Ethereum.
    "disregard",
    // The example that is longer than its bytes: waits for the rest.
    "",
];

#[test]
fn every_frame_of_the_corpus_has_the_outcome_that_is_written_down() {
    let mut world = World::agent_mining();
    let rows = include_str!("../corpus/btcagent-ex-messages.jsonl").lines();
    let mut outcomes = Vec::new();
    for row in rows {
        let row: Value = serde_json::from_str(row).unwrap();
        let bytes = hex(row["hex"].as_str().unwrap());
        let asked = if row["direction"] == "agent-to-pool" {
            world.miner_bytes(&bytes)
        } else {
            world.pool_bytes(1, &bytes)
        };
        outcomes.push(
            asked.first().map_or(String::new(), |first| {
                first.split(' ').next().unwrap_or_default().to_owned()
            }),
        );
    }

    assert_eq!(outcomes, FRAMES);
}

#[test]
fn every_line_of_an_agent_is_answered_in_the_order_of_its_session() {
    let answers = |agent: &str| {
        let mut world = World::new();
        let rows = include_str!("../corpus/btcagent-to-pool.jsonl").lines();
        let mut first = Vec::new();
        for row in rows {
            let row: Value = serde_json::from_str(row).unwrap();
            if row["client"].as_str().unwrap().contains(agent) {
                first.extend(world.miner(row["line"].as_str().unwrap()).into_iter().next());
            }
        }
        (first, world.described())
    };

    // Version 2, and its lines for Ethereum, which are the same question with an empty list.
    let (first, described) = answers("2.0.0");
    let caps = |id: &str| format!(r#"down {{"id":"{id}","result":{CAPABILITIES}}}"#);
    assert_eq!(first[..3], [caps("conn_test"), caps("caps"), caps("caps")]);
    assert!(first[3].contains(r#""id":"conf","result":{"version-rolling":true"#));
    assert!(first[4].contains(r#""id":"sub","result":[[["mining.set_difficulty""#));
    assert_eq!(first[5..], [caps("caps")]);
    assert_eq!(described["sub_miners"], "0");

    // The older ones subscribe first, or after one question.
    let (first, described) = answers("C++ 0.1");
    assert!(first[0].contains(r#""id":1,"result":[[["mining.set_difficulty""#), "{first:?}");
    assert_eq!(described["sub_miners"], "0");
    let (first, described) = answers("Huobi");
    assert_eq!(first[0], caps("agent.caps"));
    assert!(first[1].contains(r#""01000080",8"#), "{first:?}");
    assert_eq!(described["sub_miners"], "0");
}

#[test]
fn every_line_of_a_pool_for_agents_is_taken_for_what_it_is() {
    let mut world = World::agent();
    world.leg_up(1, &echo());
    for row in include_str!("../corpus/btcagent-from-pool.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let asked = world.pool(1, row["line"].as_str().unwrap());

        // Its ids are those of the agent's own requests, so all but the login and the mask, which
        // has no id, are answers to nothing.
        let outcome = match row["line"].as_str().unwrap() {
            line if line.contains("set_version_mask") => asked.is_empty(),
            line if line.contains(r#""auth","result":true"#) => {
                asked.iter().any(|line| line.contains("get_capabilities"))
            }
            line if line.contains(r#""auth","result":null"#) => {
                asked == ["disregard unknown_id by the pool of leg 1"]
            }
            _ => asked == ["disregard unknown_id by the pool of leg 1"],
        };
        assert!(outcome, "{row}: {asked:?}");
    }
}

/// One thing that happens to an agent in the model below.
#[derive(Debug, Clone)]
enum Event {
    Share { known: bool, late: bool },
    Answer { leg: u8, at: prop::sample::Index },
    Job { leg: u8 },
    Switch,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (prop::bool::weighted(0.9), any::<bool>())
            .prop_map(|(known, late)| Event::Share { known, late }),
        4 => (1..3_u8, any::<prop::sample::Index>())
            .prop_map(|(leg, at)| Event::Answer { leg, at }),
        1 => (1..3_u8).prop_map(|leg| Event::Job { leg }),
        1 => Just(Event::Switch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Shares for two pools in any mixture, answered in any order: each goes to the pool of its job
    /// under that pool's id, and each answer comes back under the index that the agent has counted.
    #[test]
    fn every_answer_finds_its_share(events in prop::collection::vec(event(), 1..200)) {
        let mut world = World::agent_switching();
        world.capable(2, 1);
        world.pool(2, &job("1"));
        world.cut_over(2);
        // By leg: the index of the next share there, and what waits by (there, the agent's).
        let mut next = BTreeMap::from([(1_u8, 0_u16), (2, 0)]);
        let mut waiting: BTreeMap<u8, Vec<(u16, u16)>> = BTreeMap::new();
        // What the agent was given: name, leg, id there.
        let mut jobs = VecDeque::from([(9_u8, 1_u8, 9_u8), (1, 2, 1)]);
        let (mut index, mut active, mut ids) = (0_u16, 2_u8, [0, 20_u8, 30]);
        for event in events {
            match event {
                Event::Share { known, late } => {
                    let at = if late { jobs.len() - 2 } else { jobs.len() - 1 };
                    let (name, leg, id) = jobs[at];
                    let asked = world.miner_bytes(&share(name, if known { 5 } else { 7 }));
                    if known {
                        // With a time of ours or without.
                        let start = format!("up{leg} 7f0");
                        prop_assert!(asked[0].starts_with(&start), "{:?}", asked);
                        prop_assert_eq!(&asked[0][12..14], &format!("{id:02x}"));
                        let there = next.get_mut(&leg).unwrap();
                        waiting.entry(leg).or_default().push((*there, index));
                        *there += 1;
                    } else {
                        prop_assert_eq!(asked, [format!("down {}", hex::encode(answer(index, 24)))]);
                    }
                    index += 1;
                }
                Event::Answer { leg, at } => {
                    let open = waiting.entry(leg).or_default();
                    if open.is_empty() {
                        continue;
                    }
                    let (theirs, ours) = open.remove(at.index(open.len()));
                    let asked = world.pool_bytes(leg.into(), &answer(theirs, ACCEPT));
                    prop_assert_eq!(
                        &asked[1..],
                        &[format!("down {}", hex::encode(answer(ours, ACCEPT)))]
                    );
                }
                Event::Job { leg } => {
                    let id = ids[usize::from(leg)];
                    ids[usize::from(leg)] += 1;
                    let asked = world.pool(leg.into(), &job(&id.to_string()));
                    if leg == active {
                        let name = named(&asked);
                        jobs.push_back((name, leg, id));
                    }
                }
                Event::Switch => {
                    active = 3 - active;
                    let name = named(&world.cut_over(active.into()));
                    let sent = ids[usize::from(active)];
                    let first = if active == 1 { 20 } else { 30 };
                    let id = if sent > first { sent - 1 } else if active == 1 { 9 } else { 1 };
                    jobs.push_back((name, active, id));
                }
            }
            if ids[1] == 30 || ids[2] == 255 {
                break;
            }
        }
    }

    /// Any bytes on both sides, in frames or not.
    #[test]
    fn no_bytes_make_an_agent_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        command in prop::sample::select(vec![1_u8, 2, 3, 4, 5, 16, 18, 19, 20, 33, 34]),
        length in 0..70_u16,
    ) {
        let frame = [&[0x7f, command][..], &length.to_le_bytes(), &bytes].concat();
        let mut world = World::agent_switching();
        world.capable(2, 1);
        world.miner_bytes(&frame);
        world.pool_bytes(1, &frame);
        world.pool_bytes(2, &frame);
        world.miner_bytes(&bytes);
    }
}

/// The name of the job that went down.
fn named(asked: &[String]) -> u8 {
    let line = asked.iter().find(|line| line.contains("mining.notify")).expect("a job goes down");
    let line: Value = serde_json::from_str(line.strip_prefix("down ").unwrap()).unwrap();
    line["params"][0].as_str().unwrap().parse().unwrap()
}
