//! What miners of the field do, one habit each.

use serde_json::Value;
use switcher_plugin::{Recognition, StratumDialect as _};

use crate::world::{DIALECT, Setting, World, job};

#[test]
fn a_miner_is_recognised_by_its_first_whole_request() {
    for (first, recognition) in [
        (r#"{"id":1,"method":"mining.subscribe","params":[]}"#, Recognition::Mine),
        ("\r\n\n {\"Method\":\"mining.configure\",\"params\":[]}\n", Recognition::Mine),
        (r#"{"id":null,"method":"mining.suggest_target","params":["00"]}"#, Recognition::Mine),
        (r#"{"id":1,"method":"agent.get_capabilities"}"#, Recognition::Mine),
        (r#"{"id":1,"method":"mining.sub"#, Recognition::NeedMore),
        ("", Recognition::NeedMore),
        ("\r\n", Recognition::NeedMore),
        ("GET / HTTP/1.1\r\n", Recognition::NotMine),
        ("\u{16}\u{3}\u{1}", Recognition::NotMine),
        ("SSH-2.0-Go", Recognition::NotMine),
        (r#"{"id":1,"method":"eth_submitLogin","params":["0x"]}"#, Recognition::NotMine),
        (r#"{"id":1,"method":"mining.hello","params":{}}"#, Recognition::NotMine),
        (
            r#"{"id":1,"method":"mining.subscribe","params":["x","EthereumStratum/1.0.0"]}"#,
            Recognition::NotMine,
        ),
        (r#"{"id":1,"method":42}"#, Recognition::NotMine),
        ("{nonsense}\n", Recognition::NotMine),
        ("[1,2,3]\n", Recognition::NotMine),
    ] {
        assert_eq!(DIALECT.recognise(first.as_bytes()), recognition, "{first:?}");
    }
}

#[test]
fn cgminer_subscribes_again_with_less_and_gets_the_same_answer() {
    let mut world = World::new();

    let first = world.miner(r#"{"id":1,"method":"mining.subscribe","params":["cgminer/4.13.0","ae6812eb4cd7735a302a8a9dd95cf71f"]}"#);
    let second = world.miner(r#"{"id":2,"method":"mining.subscribe","params":[]}"#);

    assert_eq!(second[0], first[0].replacen(r#""id":1"#, r#""id":2"#, 1));
}

#[test]
fn nanominer_writes_objects_without_a_line_feed() {
    let mut world = World::new();

    let asked = world.miner(
        r#"{"id":1,"method":"mining.ping"} {"id":2,"method":"mining.ping"}{"id":3,"method":"mining.ping"}"#,
    );

    assert_eq!(asked.len(), 3);
    assert_eq!(asked[2], r#"down {"id":3,"result":"pong","error":null}"#);
}

#[test]
fn antminer_tells_its_midstates() {
    let mut world = World::mining();

    assert_eq!(
        world.miner(r#"{"id": 183506, "method": "mining.multi_version", "params": [1]}"#),
        [r#"down {"id":183506,"result":true,"error":null}"#]
    );
}

#[test]
fn bfgminer_asks_for_things_without_an_id_and_for_transactions() {
    let mut world = World::new();
    let target = "00000000ffff0000000000000000000000000000000000000000000000000000";

    assert!(
        world
            .miner(&format!(
                r#"{{"id":null,"method":"mining.suggest_target","params":["{target}"]}}"#
            ))
            .is_empty()
    );
    assert!(world.miner(r#"{"id":null,"method":"mining.capabilities","params":[{}]}"#).is_empty());
    world.subscribe_and_authorize("bfgminer/5.5.0");
    world.leg_up(1, &Value::Null);
    assert_eq!(
        world.serve(1, "aabbccdd", 8)[1],
        format!(r#"up1 {{"id":3,"method":"mining.suggest_target","params":["{target}"]}}"#)
    );
    world.cut_over(1);
    assert_eq!(
        world.miner(r#"{"params": ["bf"], "id": "txlistbf", "method": "mining.get_transactions"}"#),
        [r#"down {"id":"txlistbf","result":null,"error":[20,"Not supported",null]}"#]
    );
    assert_eq!(
        world.miner(r#"{"id": "xnsub", "method": "mining.extranonce.subscribe", "params": []}"#),
        [r#"down {"id":"xnsub","result":true,"error":null}"#]
    );
}

#[test]
fn answers_of_a_miner_are_taken_in_silence() {
    let mut world = World::mining();

    for line in [
        r#"{"id":42,"method":"pong","params":[]}"#,
        r#"{"id":10,"result":"bitaxe/BM1370/v2.12.2","error":null}"#,
        r#"{"id":5,"result":null,"error":[-1,"Failed to parse message",null]}"#,
    ] {
        assert!(world.miner(line).is_empty(), "{line}");
    }
}

#[test]
fn agents_need_sizes_of_their_own() {
    for (agent, told) in [
        ("NiceHash/1.0.0", r#""80",4]"#),
        ("btccom-agent/2.0.1", r#""01000080",8]"#),
        ("cgminer/4.11.1", r#""80",3]"#),
    ] {
        let mut world = World::new();

        let asked =
            world.miner(&format!(r#"{{"id":1,"method":"mining.subscribe","params":["{agent}"]}}"#));

        assert!(asked[0].contains(told), "{asked:?}");
    }
}

#[test]
fn luxos_asks_for_three_extensions() {
    let mut world = World::new();

    assert_eq!(
        world.miner(r#"{"id":1,"method":"mining.configure","params":[["version-rolling","minimum-difficulty","subscribe-extranonce"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":16,"minimum-difficulty.value":150000}]}"#),
        [r#"down {"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000","minimum-difficulty":false,"subscribe-extranonce":true},"error":null}"#]
    );
    assert_eq!(world.described()["extranonce_subscribed"], "true");
}

#[test]
fn axeos_configures_after_it_has_subscribed() {
    let mut world = World::new();
    world.miner(r#"{"id":1,"method":"mining.subscribe","params":["bitaxe/BM1368/v2.3.1"]}"#);
    world.miner(
        r#"{"id":2,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}"#,
    );
    world.miner(r#"{"id":3,"method":"mining.authorize","params":["poemechr.bitaxe","x"]}"#);
    assert!(
        world.miner(r#"{"id":4,"method":"mining.suggest_difficulty","params":[1000]}"#).is_empty()
    );

    // Braiins wants configure first, so it goes first whatever the miner's order was.
    assert!(world.leg_up(1, &Value::Null)[0].contains("mining.configure"));
}

#[test]
fn a_miner_that_asks_for_rolling_while_it_mines_gets_what_its_pool_allows() {
    let mut world = World::mining();

    assert_eq!(
        world.miner(r#"{"id":7,"method":"mining.configure","params":[["version-rolling"],{}]}"#),
        [r#"down {"id":7,"result":{"version-rolling":false},"error":null}"#]
    );
}

#[test]
fn names_that_are_none_are_refused_with_the_originals_codes() {
    for (params, error) in [
        ("[]", r#"[103,"Too Few Params",1]"#),
        ("[123]", r#"[104,"Worker Name Must be a String",1]"#),
        (r#"[""]"#, r#"[105,"Sub-account Name Cannot be Empty",1]"#),
        (r#"[".rig"]"#, r#"[105,"Sub-account Name Cannot be Empty",1]"#),
    ] {
        let mut world = World::new();

        assert_eq!(
            world.miner(&format!(r#"{{"id":1,"method":"mining.authorize","params":{params}}}"#)),
            [
                "disregard bad_params by the miner".to_owned(),
                format!(r#"down {{"id":1,"result":null,"error":{error}}}"#)
            ]
        );
    }
}

#[test]
fn a_cash_address_is_a_sub_account_with_its_prefix() {
    for name in ["bitcoincash:qpm2", "bitcoincash%3Aqpm2"] {
        let mut world = World::new();

        assert_eq!(
            world.miner(&format!(
                r#"{{"id":3,"method":"mining.authorize","params":["{name}.s19"]}}"#
            )),
            ["identify bitcoincash:qpm2 bitcoincash:qpm2.s19"]
        );
    }
}

#[test]
fn lines_end_as_they_like() {
    let mut world = World::new();

    assert!(world.miner("\r\n\r").is_empty());
    assert_eq!(world.miner("{\"id\":1,\"method\":\"mining.ping\"}\r").len(), 1);
}

#[test]
fn the_two_halves_of_a_chunk_are_one_line() {
    // Cutting decides nothing by what it has seen before, so any chunking gives the same frames.
    let session = DIALECT.open(switcher_plugin::Seat::Miner(switcher_plugin::SessionSeat {
        session: switcher_plugin::SessionId(1),
        short_id: 1,
        entropy: [0; 16],
        peer: None,
        listener: &Setting::default().listener,
    }));
    let bytes = br#"{"id":1,"method":"mining.ping","params":["}\""]}"#;

    for end in 0..bytes.len() {
        let cut = session.cut(switcher_plugin::Side::Downstream, bytes.get(..end).unwrap());

        assert_eq!(cut, switcher_plugin::Cut::Partial);
    }
}

#[test]
fn work_is_pushed_to_who_has_subscribed_only() {
    let mut world = World::new();
    world.miner(r#"{"id":1,"method":"mining.authorize","params":["alice.rig"]}"#);
    world.leg_up(1, &Value::Null);
    world.serve(1, "aabbccdd", 8);
    world.cut_over(1);

    for line in [
        r#"{"id":null,"method":"mining.set_difficulty","params":[1]}"#,
        r#"{"id":null,"method":"mining.set_version_mask","params":["1fffe000"]}"#,
        r#"{"id":null,"method":"client.show_message","params":["hello"]}"#,
        &job("j1"),
    ] {
        assert!(world.pool(1, line).is_empty(), "{line}");
    }
}
