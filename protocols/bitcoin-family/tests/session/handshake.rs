//! From the first line to the first job.

use serde_json::{Value, json};
use switcher_plugin::{Input, Refusal};

use crate::world::{Setting, World, job, job_below, profile_with};

const SUBSCRIBED: &str = r#"down {"id":1,"result":[[["mining.set_difficulty","abababababababababababababababab"],["mining.notify","abababababababababababababababab"]],"80",3],"error":null}"#;

#[test]
fn a_miner_is_brought_to_its_first_job() {
    let mut world = World::new();

    assert_eq!(
        world.miner(r#"{"id":1,"method":"mining.subscribe","params":["cgminer/4.11.1"]}"#),
        [SUBSCRIBED]
    );
    assert_eq!(
        world.miner(r#"{"id":2,"method":"mining.authorize","params":["alice.rig","x"]}"#),
        ["identify alice alice.rig"]
    );
    assert!(world.assigned("btc", "alice").is_empty());
    assert_eq!(
        world.leg_up(1, &Value::Null),
        [r#"up1 {"id":1,"method":"mining.subscribe","params":["cgminer/4.11.1"]}"#]
    );
    assert_eq!(
        world.pool(1, r#"{"id":1,"result":[[["mining.notify","x"]],"aabbccdd",8],"error":null}"#),
        [r#"up1 {"id":2,"method":"mining.authorize","params":["alice.rig","x"]}"#]
    );
    assert_eq!(
        world.pool(1, r#"{"id":2,"result":true,"error":null}"#),
        [r#"learn 1 {"extranonce1_size":4,"extranonce2_size":8}"#, "ready 1 fold"]
    );
    assert_eq!(world.cut_over(1), [r#"down {"id":2,"result":true,"error":null}"#]);
    assert_eq!(
        world.pool(1, r#"{"id":null,"method":"mining.set_difficulty","params":[1024]}"#),
        [r#"down {"id":null,"method":"mining.set_difficulty","params":[1024]}"#]
    );
    assert_eq!(
        world.pool(1, &job("j1")),
        [job_below("00j1", "aabbccdd00010000", "5cb6dda8", false)]
    );
}

#[test]
fn what_the_pool_sends_before_the_answer_to_authorize_comes_after_it() {
    let mut world = World::new();
    world.subscribe_and_authorize("x");
    world.leg_up(1, &Value::Null);
    world.pool(1, r#"{"id":1,"result":[[["mining.notify","x"]],"aabbccdd",8],"error":null}"#);

    assert!(world.pool(1, r#"{"method":"mining.set_difficulty","params":[16383.75]}"#).is_empty());
    assert!(world.pool(1, &job("j1")).is_empty());
    world.pool(1, r#"{"id":2,"result":true,"error":null}"#);

    assert_eq!(
        world.cut_over(1),
        [
            r#"down {"id":2,"result":true,"error":null}"#.to_owned(),
            r#"down {"id":null,"method":"mining.set_difficulty","params":[16383.75]}"#.to_owned(),
            job_below("00j1", "aabbccdd00010000", "5cb6dda8", false),
        ]
    );
}

#[test]
fn the_mask_is_told_before_the_pool_is_known_and_corrected_at_the_cut() {
    let mut world = World::new();

    assert_eq!(
        world.miner(
            r#"{"id":0,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}"#
        ),
        [r#"down {"id":0,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#]
    );
    world.subscribe_and_authorize("unheard-of");
    assert_eq!(
        world.leg_up(1, &Value::Null),
        [
            r#"up1 {"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}"#,
            r#"up1 {"id":2,"method":"mining.subscribe","params":["unheard-of"]}"#,
        ]
    );
    world.pool(1, r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"00ffe000"},"error":null}"#);
    world.pool(1, r#"{"id":2,"result":[[],"aabbccdd",8],"error":null}"#);
    assert_eq!(
        world.pool(1, r#"{"id":3,"result":true,"error":null}"#),
        [
            r#"learn 1 {"extranonce1_size":4,"extranonce2_size":8,"version_mask":"00ffe000"}"#,
            "ready 1 fold"
        ]
    );
    assert_eq!(
        world.cut_over(1),
        [
            r#"down {"id":2,"result":true,"error":null}"#,
            r#"down {"id":null,"method":"mining.set_version_mask","params":["00ffe000"]}"#,
        ]
    );
}

#[test]
fn a_configure_without_an_answer_does_not_block() {
    let mut world = World::new();
    world.miner(r#"{"id":0,"method":"mining.configure","params":[["version-rolling"],{}]}"#);
    world.subscribe_and_authorize("x");
    world.leg_up(1, &Value::Null);
    world.pool(1, r#"{"id":2,"result":[[],"aabbccdd",8],"error":null}"#);

    assert!(
        world.pool(1, r#"{"id":3,"result":true,"error":null}"#).contains(&"ready 1 fold".into())
    );
    assert_eq!(
        world.cut_over(1)[1],
        r#"down {"id":null,"method":"mining.set_version_mask","params":["00000000"]}"#
    );
    // It comes late, and sets things right.
    assert_eq!(
        world.pool(
            1,
            r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#
        ),
        [r#"down {"id":null,"method":"mining.set_version_mask","params":["1fffe000"]}"#]
    );
}

#[test]
fn an_echo_pool_is_spoken_to_as_the_original_does() {
    let echo = json!({"extranonce": "echo"});
    let mut world = World::with(Setting::default().pool("sserver", &echo, None));

    let subscribed =
        world.miner(r#"{"id":1,"method":"mining.subscribe","params":["cgminer/4.9.0"]}"#);
    assert!(subscribed[0].contains(r#"]],"01000080",8],"error":null"#), "{subscribed:?}");
    world.miner(r#"{"id":4,"method":"mining.authorize","params":["testacc.rig1","x"]}"#);
    assert_eq!(
        world.leg_up(1, &echo),
        [
            r#"up1 {"id":"subscribe","method":"mining.subscribe","params":["cgminer/4.9.0","01000080",3232235786]}"#,
            r#"up1 {"id":"auth","method":"mining.authorize","params":["testacc.rig1","x"]}"#,
        ]
    );
    world.pool(
        1,
        r#"{"id":"subscribe","result":[[["mining.set_difficulty","01000080"],["mining.notify","01000080"]],"01000080",8],"error":null}"#,
    );
    assert_eq!(
        world.pool(1, r#"{"id":"auth","result":null,"error":[29,"Invalid username",null]}"#),
        [r#"up1 {"id":"auth","method":"mining.authorize","params":["testacc_btc.rig1","x"]}"#]
    );
    assert!(
        world
            .pool(1, r#"{"id":"auth","result":true,"error":null}"#)
            .contains(&"ready 1 echo".to_owned())
    );
    assert_eq!(world.cut_over(1), [r#"down {"id":4,"result":true,"error":null}"#]);
    assert_eq!(world.pool(1, &job("7")), [job_below("007", "", "5cb6dda8", false)]);
    assert_eq!(
        world.miner(
            r#"{"id":5,"method":"mining.submit","params":["testacc.rig1","007","0000000000000001","5cb6dda9","5345b92c"]}"#
        ),
        [
            r#"up1 {"id":1,"method":"mining.submit","params":["testacc_btc.rig1","7","0000000000000001","5cb6dda9","5345b92c"]}"#,
            "submitted 1"
        ]
    );
}

#[test]
fn a_pool_that_does_not_adopt_our_extranonce_is_an_ordinary_one() {
    let echo = json!({"extranonce": "echo"});
    let mut world = World::new();
    world.subscribe_and_authorize("x");
    world.leg_up(1, &echo);
    world.pool(1, r#"{"id":"subscribe","result":[[],"ffffffff",8],"error":null}"#);

    assert!(
        world
            .pool(1, r#"{"id":"auth","result":true,"error":null}"#)
            .contains(&"ready 1 fold".to_owned())
    );
}

#[test]
fn the_first_authorize_refused_by_the_pool_is_told_and_may_be_tried_anew() {
    let mut world = World::new();
    world.subscribe_and_authorize("x");
    world.leg_up(1, &Value::Null);
    world.pool(1, r#"{"id":1,"result":[[],"aabbccdd",8],"error":null}"#);

    assert_eq!(
        world.pool(1, r#"{"id":2,"result":false,"error":[24,"init_auth: alice",null]}"#),
        [
            r#"down {"id":2,"result":false,"error":[24,"init_auth: alice",null]}"#,
            r#"refuse 1 Login the pool refuses the user: [24,"init_auth: alice",null]"#,
        ]
    );
    assert_eq!(
        world.miner(r#"{"id":3,"method":"mining.authorize","params":["bob.rig","x"]}"#),
        ["identify bob bob.rig"]
    );
}

#[test]
fn a_pool_without_room_is_refused_with_the_numbers_and_learnt() {
    let mut world = World::new();
    world.subscribe_and_authorize("x");
    world.leg_up(1, &Value::Null);

    assert_eq!(
        world.pool(1, r#"{"id":1,"result":[[],"6351117f64",3],"error":null}"#),
        [
            r#"learn 1 {"extranonce1_size":5,"extranonce2_size":3}"#,
            "refuse 1 Permanent no room to fold: the pool's extranonce2 has 3 bytes, the miner's \
             extranonce1 and extranonce2 need 1 + 3; announce: not allowed; reconnect: not \
             allowed, or tried in vain",
        ]
    );
}

#[test]
fn a_full_pool_is_tried_later() {
    let mut world = World::new();
    world.subscribe_and_authorize("x");
    world.leg_up(1, &Value::Null);

    assert_eq!(
        world.pool(1, r#"{"id":1,"result":"proxy full","error":null}"#),
        [r#"refuse 1 Later the pool's answer to subscribe is no subscription: "proxy full""#]
    );
    world.leg_up(2, &Value::Null);
    assert_eq!(
        world.pool(
            2,
            r#"{"id":1,"result":null,"error":[400,"Client is not a stratum switcher",null]}"#
        ),
        [
            r#"refuse 2 Later the pool refuses to subscribe: [400,"Client is not a stratum switcher",null]"#
        ]
    );
}

#[test]
fn authorize_before_subscribe_is_a_login() {
    let mut world = World::new();

    assert_eq!(
        world.miner(r#"{"id":1,"method":"mining.authorize","params":["alice.rig"]}"#),
        ["identify alice alice.rig"]
    );
    world.leg_up(1, &Value::Null);
    assert_eq!(
        world.pool(1, r#"{"id":1,"result":[[],"aabbccdd",8],"error":null}"#),
        [r#"up1 {"id":2,"method":"mining.authorize","params":["alice.rig"]}"#]
    );
    world.pool(1, r#"{"id":2,"result":true,"error":null}"#);
    assert_eq!(world.cut_over(1), [r#"down {"id":1,"result":true,"error":null}"#]);
    assert!(world.pool(1, &job("j1")).is_empty());

    let after = world.miner(r#"{"id":2,"method":"mining.subscribe","params":[]}"#);

    assert!(after[0].contains(r#""80",3]"#), "{after:?}");
    assert_eq!(after[1], job_below("00j1", "aabbccdd00010000", "5cb6dda8", false));
}

#[test]
fn answers_stand_in_the_order_of_the_requests_while_authorize_waits() {
    let mut world = World::new();
    world.subscribe_and_authorize("x");

    for line in [
        r#"{"id":3,"method":"mining.suggest_difficulty","params":[1000]}"#,
        r#"{"id":4,"method":"mining.extranonce.subscribe","params":[]}"#,
        r#"{"id":5,"method":"mining.multi_version","params":[1]}"#,
        r#"{"id":6,"method":"mining.unheard_of","params":[]}"#,
    ] {
        assert!(world.miner(line).is_empty());
    }
    assert_eq!(
        world.miner(r#"{"id":7,"method":"mining.submit","params":["a","b","c","d","e"]}"#),
        ["disregard unexpected by the miner"]
    );
    world.leg_up(1, &Value::Null);
    assert_eq!(
        world.serve(1, "aabbccdd", 8)[1],
        r#"up1 {"id":3,"method":"mining.suggest_difficulty","params":[1000]}"#
    );

    assert_eq!(
        world.cut_over(1),
        [
            r#"down {"id":2,"result":true,"error":null}"#,
            r#"down {"id":3,"result":true,"error":null}"#,
            r#"down {"id":4,"result":true,"error":null}"#,
            r#"down {"id":5,"result":true,"error":null}"#,
            r#"down {"id":6,"result":null,"error":[20,"Not supported",null]}"#,
            r#"down {"id":7,"result":null,"error":[24,"Unauthorized worker",null]}"#,
        ]
    );
    assert!(world.pool(1, r#"{"id":3,"result":null,"error":[-3,"no",null]}"#).is_empty());
}

#[test]
fn what_is_held_back_is_bounded() {
    let mut world = World::new();
    world.subscribe_and_authorize("x");

    let asked = (0..10_000)
        .map(|_| world.miner(r#"{"id":3,"method":"mining.ping","params":[]}"#))
        .find(|asked| !asked.is_empty());

    assert_eq!(asked.unwrap(), ["fault excess by the miner"]);
}

#[test]
fn a_newcomer_without_a_pool_is_told_and_let_go() {
    for (refusal, error) in [
        (Refusal::UnknownSubAccount, r#"[201,"Invalid Sub-account Name",1]"#),
        (Refusal::NoSuchCoin, r#"[301,"Stratum Server Not Found",1]"#),
        (Refusal::NoPool, r#"[302,"Connect Stratum Server Failed",1]"#),
    ] {
        let mut world = World::new();
        world.subscribe_and_authorize("x");

        assert_eq!(
            world.input(Input::Refused(refusal)),
            [
                format!(r#"down {{"id":2,"result":null,"error":{error}}}"#),
                format!("close {}", refusal.label())
            ]
        );
    }
}

#[test]
fn who_mines_is_not_told_that_there_is_no_pool() {
    let mut world = World::mining();

    assert!(world.input(Input::Refused(Refusal::NoPool)).is_empty());
}

#[test]
fn names_go_up_by_the_pools_templates() {
    let mut world = World::new();
    world.miner(r#"{"id":1,"method":"mining.subscribe","params":[]}"#);
    world.miner(r#"{"id":2,"method":"mining.authorize","params":["ALICE.rig","secret"]}"#);
    world.assigned("btc", "Alice");
    let profile =
        profile_with("p", Some("1Pool.{canonical}-{rig}"), Some("d={sub_account}"), &Value::Null);
    world.leg_up_with(1, &profile);

    assert_eq!(
        world.serve(1, "aabbccdd", 8)[0],
        r#"up1 {"id":2,"method":"mining.authorize","params":["1Pool.Alice-rig","d=ALICE"]}"#
    );
    world.cut_over(1);
    world.pool(1, &job("j1"));
    assert_eq!(
        world.miner(
            r#"{"id":3,"method":"mining.submit","params":["ALICE.rig","00j1","010203","5cb6dda9","5345b92c"]}"#
        )[0],
        r#"up1 {"id":3,"method":"mining.submit","params":["1Pool.Alice-rig","j1","0001000080010203","5cb6dda9","5345b92c"]}"#
    );
}

#[test]
fn the_canonical_spelling_goes_up_by_default() {
    let mut world = World::new();
    world.miner(r#"{"id":1,"method":"mining.subscribe","params":[]}"#);
    world.miner(r#"{"id":2,"method":"mining.authorize","params":["ALICE.rig"]}"#);
    world.assigned("btc", "Alice");
    world.leg_up(1, &Value::Null);

    assert_eq!(
        world.serve(1, "aabbccdd", 8)[0],
        r#"up1 {"id":2,"method":"mining.authorize","params":["Alice.rig"]}"#
    );
}

#[test]
fn a_pool_may_be_asked_in_one_piece() {
    let mut world = World::new();
    world.subscribe_and_authorize("x");

    assert_eq!(world.leg_up(1, &json!({"pipeline": true})).len(), 2);
    // Answers in the other order are fine, too.
    world.pool(1, r#"{"id":2,"result":true,"error":null}"#);
    assert!(
        world
            .pool(1, r#"{"id":1,"result":[[],"aabbccdd",8],"error":null}"#)
            .contains(&"ready 1 fold".to_owned())
    );
}

#[test]
fn sizes_follow_what_is_known_about_the_pools() {
    let fact = |size: u8| format!(r#"{{"extranonce1_size":4,"extranonce2_size":{size}}}"#);
    for (first, second, told) in
        [(8, 8, r#""01000080",4]"#), (8, 6, r#""0080",4]"#), (8, 4, r#""80",3]"#)]
    {
        let setting = Setting::default().pool("a", &Value::Null, Some(&fact(first))).pool(
            "b",
            &Value::Null,
            Some(&fact(second)),
        );
        let mut world = World::with(setting);

        let asked = world.miner(r#"{"id":1,"method":"mining.subscribe","params":[]}"#);

        assert!(asked[0].contains(told), "{first} {second}: {asked:?}");
    }
}

#[test]
fn sizes_can_be_configured_and_pools_stated() {
    let configured = Setting::default().options(json!({"extranonce": {"size1": 2, "size2": 6}}));
    let stated = Setting::default().pool("a", &json!({"extranonce2_size": 7}), None);
    for (setting, told) in [(configured, r#""0080",6]"#), (stated, r#""000080",4]"#)] {
        let mut world = World::with(setting);

        let asked = world.miner(r#"{"id":1,"method":"mining.subscribe","params":[]}"#);

        assert!(asked[0].contains(told), "{asked:?}");
    }
}

#[test]
fn the_mask_told_is_one_that_every_known_pool_allows_unless_it_is_configured() {
    let fact = r#"{"extranonce1_size":4,"extranonce2_size":8,"version_mask":"00ffe000"}"#;
    let learnt = Setting::default().pool("a", &Value::Null, Some(fact));
    let configured = json!({"version_mask": "1fff0000"});
    let configured = Setting::default().options(configured).pool("a", &Value::Null, Some(fact));
    for (setting, told) in [(learnt, "00ffe000"), (configured, "1fff0000")] {
        let mut world = World::with(setting);

        let asked = world
            .miner(r#"{"id":0,"method":"mining.configure","params":[["version-rolling"],{}]}"#);

        let told = format!(r#""version-rolling.mask":"{told}""#);
        assert!(asked[0].contains(&told), "{asked:?}");
    }
}

#[test]
fn what_is_known_is_not_learnt_again() {
    let setting = Setting::default().pool(
        "pool1",
        &Value::Null,
        Some(r#"{"extranonce1_size":4,"extranonce2_size":8}"#),
    );
    let mut world = World::with(setting);
    world.subscribe_and_authorize("x");
    world.leg_up(1, &Value::Null);

    let asked = world.serve(1, "aabbccdd", 8);

    assert_eq!(asked.last().unwrap(), "ready 1 fold");
    assert!(!asked.iter().any(|asked| asked.starts_with("learn")), "{asked:?}");
}

#[test]
fn a_probe_looks_and_leaves() {
    let mut world = World::with(Setting { probe: true, ..Setting::default() });
    let options = json!({"probe_agent": "cgminer/4.12"});

    assert_eq!(
        world.leg_up(1, &options),
        [
            r#"up1 {"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}"#,
            r#"up1 {"id":2,"method":"mining.subscribe","params":["cgminer/4.12"]}"#
        ]
    );
    world.pool(1, r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#);
    assert_eq!(
        world.pool(1, r#"{"id":2,"result":[[],"aabbccdd",8],"error":null}"#),
        [
            r#"learn 1 {"extranonce1_size":4,"extranonce2_size":8,"version_mask":"1fffe000"}"#,
            "close the probe has seen enough"
        ]
    );
}

#[test]
fn a_probe_with_a_user_logs_in_first() {
    let mut world = World::with(Setting { probe: true, ..Setting::default() });
    world.leg_up(1, &json!({"probe_user": "alice.probe"}));

    assert_eq!(
        world.pool(1, r#"{"id":2,"result":[[],"aabbccdd",8],"error":null}"#),
        [r#"up1 {"id":3,"method":"mining.authorize","params":["alice.probe","x"]}"#]
    );
    assert_eq!(
        world.pool(1, r#"{"id":3,"result":true,"error":null}"#),
        [
            r#"learn 1 {"extranonce1_size":4,"extranonce2_size":8}"#,
            "close the probe has seen enough"
        ]
    );
}
