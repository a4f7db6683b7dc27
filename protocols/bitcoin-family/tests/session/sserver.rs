//! BTCPool's sserver: spoken to in the bytes of the original, found out where nobody says what a pool
//! is, and never confused with a stranger's pool.

use serde_json::{Value, json};
use switcher_plugin::Input;
use switcher_plugin::Refusal;

use crate::world::{Setting, World, job, profile};

/// What the original sends to sserver.
const TO_SSERVER: &str = include_str!("../corpus/switcher-to-sserver.jsonl");

/// What the original sends to miners.
const TO_MINER: &str = include_str!("../corpus/switcher-to-miner.jsonl");

const SSERVER_REFUSES: &str =
    r#"{"id":1,"result":null,"error":[400,"Client is not a stratum switcher",null]}"#;

/// Whether the original sends this line for Bitcoin.
#[track_caller]
fn is_the_originals(corpus: &str, line: &str) {
    let mut rows = corpus.lines().map(|row| serde_json::from_str::<Value>(row).unwrap());
    let is_there = rows.any(|row| {
        row["client"].as_str().unwrap().contains("Bitcoin") && row["line"].as_str() == Some(line)
    });
    assert!(is_there, "the original does not send {line}");
}

fn detect() -> Value {
    json!({"extranonce": "detect"})
}

/// A session that may meet one pool with this fact about it.
fn world(options: &Value, fact: Option<&str>) -> World {
    let mut world = World::with(Setting::default().pool("pool1", options, fact));
    world.subscribe_and_authorize("cgminer/4.9.0");
    world
}

#[test]
fn every_line_to_sserver_is_the_originals_to_the_byte() {
    let echo = json!({"extranonce": "echo"});
    let mask = r#"{"id":0,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}"#;
    for (short_id, subscribe) in [
        (0x0100_0080, r#"{"id":1,"method":"mining.subscribe","params":["cgminer/4.9.0"]}"#),
        (0x0100_0082, r#"{"id":1,"method":"mining.subscribe","params":[null]}"#),
    ] {
        let setting = Setting { short_id, ..Setting::default() }.pool("pool1", &echo, None);
        let mut world = World::with(setting);
        world.miner(mask);
        world.miner(subscribe);
        world.miner(r#"{"id":2,"method":"mining.authorize","params":["testacc.rig1","x"]}"#);
        world.assigned("btc", "testacc");

        let asked = world.leg_up(1, &echo);

        assert_eq!(asked.len(), 3, "{asked:?}");
        for line in asked {
            is_the_originals(TO_SSERVER, line.strip_prefix("up1 ").unwrap());
        }
    }
}

#[test]
fn errors_of_ours_are_the_originals_to_the_byte() {
    let mut lines = Vec::new();
    for params in ["[123]", r#"[""]"#] {
        let mut world = World::new();
        let line = format!(r#"{{"id":2,"method":"mining.authorize","params":{params}}}"#);
        lines.extend(world.miner(&line));
    }
    let mut world = World::new();
    world.subscribe_and_authorize("x");
    lines.extend(world.input(Input::Refused(Refusal::NoPool)));

    let lines: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("down ")).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in lines {
        is_the_originals(TO_MINER, line);
    }
}

#[test]
fn without_a_number_in_the_fleet_the_third_place_is_null() {
    let mut world = World::with(Setting { short_id: 0x80, ..Setting::default() });

    let asked = world.miner(r#"{"id":2,"method":"mining.authorize","params":[]}"#);

    assert_eq!(asked[1], r#"down {"id":2,"result":null,"error":[103,"Too Few Params",null]}"#);
}

#[test]
fn an_unknown_pool_is_asked_as_any_pool_and_told_nothing_of_the_miner() {
    let mut world = world(&detect(), None);

    let asked = world.leg_up(1, &detect());

    assert_eq!(asked, [r#"up1 {"id":1,"method":"mining.subscribe","params":["cgminer/4.9.0"]}"#]);
    world.pool(1, r#"{"id":1,"result":[[],"aabbccdd",8],"error":null}"#);
    let asked = world.pool(1, r#"{"id":2,"result":true,"error":null}"#);
    assert!(asked.contains(&"ready 1 fold".to_owned()), "{asked:?}");
    let fact = r#"learn 1 {"extranonce1_size":4,"extranonce2_size":8}"#.to_owned();
    assert!(asked.contains(&fact), "{asked:?}");
}

#[test]
fn a_pool_that_wants_a_switcher_is_proposed_an_extranonce_but_no_address() {
    let mut world = world(&detect(), None);
    world.leg_up(1, &detect());

    assert_eq!(
        world.pool(1, SSERVER_REFUSES),
        ["refuse 1 NextForm the pool wants an extranonce1 proposed"]
    );
    assert_eq!(
        world.leg_up_in(2, &profile("pool1", &detect()), 1),
        [r#"up2 {"id":1,"method":"mining.subscribe","params":["cgminer/4.9.0","01000080"]}"#]
    );
    let adopted = r#"{"id":1,"result":[[["mining.notify","01000080"]],"01000080",8],"error":null}"#;
    assert_eq!(
        world.pool(2, adopted),
        [r#"up2 {"id":"auth","method":"mining.authorize","params":["alice.rig","x"]}"#]
    );
    // From here on it is a proven sserver: it has the second try with the suffix, too.
    assert_eq!(
        world.pool(2, r#"{"id":"auth","result":null,"error":[29,"Invalid username",null]}"#),
        [r#"up2 {"id":"auth","method":"mining.authorize","params":["alice_btc.rig","x"]}"#]
    );
    let asked = world.pool(2, r#"{"id":"auth","result":true,"error":null}"#);
    let fact = r#"learn 2 {"extranonce1_size":4,"extranonce2_size":8,"echo":true}"#.to_owned();
    assert!(asked.contains(&fact), "{asked:?}");
    world.cut_over(2);
    world.pool(2, &job("j1"));

    let asked = world.leg_up_with(3, &profile("pool1", &detect()));

    assert_eq!(
        asked[0],
        r#"up3 {"id":"subscribe","method":"mining.subscribe","params":["cgminer/4.9.0","01000080",3232235786]}"#
    );
}

#[test]
fn a_pool_known_to_be_sserver_is_spoken_to_as_one_at_once() {
    let fact = r#"{"extranonce1_size":4,"extranonce2_size":8,"echo":true}"#;
    let mut world = World::with(Setting::default().pool("pool1", &detect(), Some(fact)));

    let subscribed = world.miner(r#"{"id":1,"method":"mining.subscribe","params":["x"]}"#);

    assert!(subscribed[0].contains(r#"]],"01000080",8],"error":null"#), "{subscribed:?}");
    world.miner(r#"{"id":2,"method":"mining.authorize","params":["alice.rig","x"]}"#);
    assert_eq!(world.leg_up(1, &detect()).len(), 2, "subscribe and authorize in one piece");
    world.pool(1, r#"{"id":"subscribe","result":[[],"01000080",8],"error":null}"#);
    let asked = world.pool(1, r#"{"id":"auth","result":true,"error":null}"#);
    assert!(asked.contains(&"ready 1 echo".to_owned()), "{asked:?}");
}

#[test]
fn a_stranger_in_the_place_of_a_proven_sserver_is_found_out_and_gets_no_suffix() {
    let fact = r#"{"extranonce1_size":4,"extranonce2_size":8,"echo":true}"#;
    let mut world = world(&detect(), Some(fact));
    world.leg_up(1, &detect());
    world.pool(1, r#"{"id":"subscribe","result":[[],"aabbccdd",16],"error":null}"#);

    let asked =
        world.pool(1, r#"{"id":"auth","result":null,"error":[29,"Invalid username",null]}"#);

    assert!(asked.iter().all(|line| !line.contains("alice_btc")), "{asked:?}");
}

#[test]
fn a_configured_stranger_is_never_proposed_anything() {
    let mut world = world(&Value::Null, None);
    world.leg_up(1, &Value::Null);

    let asked = world.pool(1, SSERVER_REFUSES);

    assert!(asked[0].starts_with("refuse 1 Later"), "{asked:?}");
}

#[test]
fn a_probe_finds_out_whether_a_pool_is_sserver() {
    let mut world = World::with(Setting { probe: true, short_id: 0x80, ..Setting::default() });
    world.leg_up(1, &detect());
    // Its first request was configure.
    let asked = world.pool(1, &SSERVER_REFUSES.replace(r#""id":1"#, r#""id":2"#));
    assert!(asked[0].starts_with("refuse 1 NextForm"), "{asked:?}");

    let mut world = World::with(Setting { probe: true, short_id: 0x80, ..Setting::default() });
    let asked = world.leg_up_in(1, &profile("pool1", &detect()), 1);
    assert!(asked[1].ends_with(r#","00000080"]}"#), "{asked:?}");
    let adopted = r#"{"id":2,"result":[[],"00000080",8],"error":null}"#;
    let asked = world.pool(1, adopted);
    let fact = r#"learn 1 {"extranonce1_size":4,"extranonce2_size":8,"echo":true}"#.to_owned();
    assert!(asked.contains(&fact), "{asked:?}");
}

#[test]
fn the_canonical_name_goes_up_plain_and_with_its_suffix() {
    let echo = json!({"extranonce": "echo"});
    let mut world = World::with(Setting::default().pool("pool1", &echo, None));
    world.miner(r#"{"id":1,"method":"mining.subscribe","params":["x"]}"#);
    world.miner(r#"{"id":2,"method":"mining.authorize","params":["ALICE.rig","x"]}"#);
    world.assigned("btc", "Alice");

    assert_eq!(
        world.leg_up(1, &echo)[1],
        r#"up1 {"id":"auth","method":"mining.authorize","params":["Alice.rig","x"]}"#
    );
    world.pool(1, r#"{"id":"subscribe","result":[[],"01000080",8],"error":null}"#);
    assert_eq!(
        world.pool(1, r#"{"id":"auth","result":false,"error":null}"#),
        [r#"up1 {"id":"auth","method":"mining.authorize","params":["Alice_btc.rig","x"]}"#]
    );
}
