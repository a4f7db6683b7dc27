//! From one leg to another and back.

use serde_json::{Value, json};
use switcher_plugin::{Input, LegId, Millis};

use crate::world::{World, job, job_below};

/// `P` and `pad` of leg 2 in hex; leg 1 has `aabbccdd00010000`.
const INSERT2: &str = "eeff00010000";

fn share(id: u32, job_id: &str) -> String {
    format!(
        r#"{{"id":{id},"method":"mining.submit","params":["alice.rig","{job_id}","010203","5cb6dda9","5345b92c"]}}"#
    )
}

#[test]
fn a_later_leg_is_ready_with_its_job_and_difficulty_only() {
    let mut world = World::mining();
    world.leg_up(2, &Value::Null);

    assert_eq!(world.serve(2, "eeff", 8).len(), 1, "authorize is sent and nothing said");
    assert_eq!(world.pool(2, &job("k1")), ["wake 1002000"]);
    assert_eq!(
        world.pool(2, r#"{"id":null,"method":"mining.set_difficulty","params":[512]}"#),
        [r#"learn 2 {"extranonce1_size":2,"extranonce2_size":8}"#, "ready 2 fold"]
    );
}

#[test]
fn a_pool_that_sets_no_difficulty_is_waited_for_two_seconds() {
    let mut world = World::mining();
    world.leg_up(2, &Value::Null);
    world.serve(2, "eeff", 8);
    world.pool(2, &job("k1"));

    world.now = Millis(1_001_999);
    assert_eq!(world.input(Input::Wake), ["wake 1002000"]);
    world.now = Millis(1_002_000);
    assert!(world.input(Input::Wake).contains(&"ready 2 fold".to_owned()));
    assert_eq!(
        world.cut_over(2),
        [
            r#"down {"id":null,"method":"mining.set_difficulty","params":[1]}"#.to_owned(),
            job_below("01k1", INSERT2, "5cb6dda8", true),
            "ready 1 fold".to_owned(),
        ]
    );
}

#[test]
fn more_jobs_do_not_make_the_wait_for_a_difficulty_longer() {
    let mut world = World::mining();
    world.leg_up(2, &Value::Null);
    world.serve(2, "eeff", 8);
    world.pool(2, &job("k1"));

    world.now = Millis(1_001_500);
    world.pool(2, &job("k2"));
    world.now = Millis(1_002_000);

    assert!(world.input(Input::Wake).contains(&"ready 2 fold".to_owned()));
}

#[test]
fn a_later_leg_waits_for_the_answer_to_configure_for_a_while() {
    let mut world = World::new();
    world.miner(r#"{"id":0,"method":"mining.configure","params":[["version-rolling"],{}]}"#);
    world.subscribe_and_authorize("unheard-of");
    let granted = r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#;
    for leg in [1, 2] {
        world.leg_up(leg, &Value::Null);
        if leg == 1 {
            world.pool(1, granted);
        }
        world.pool(leg, r#"{"id":2,"result":[[],"eeff",8],"error":null}"#);
        world.pool(leg, r#"{"id":3,"result":true,"error":null}"#);
        if leg == 1 {
            world.cut_over(1);
        }
    }
    world.pool(2, r#"{"id":null,"method":"mining.set_difficulty","params":[512]}"#);

    assert_eq!(world.pool(2, &job("k1")), ["wake 1002000"]);
    assert!(world.pool(2, granted).contains(&"ready 2 fold".to_owned()));
}

#[test]
fn the_cut_is_one_piece_with_difficulty_then_a_clean_job_then_a_later_difficulty() {
    let mut world = World::mining();
    world.prepare(2, "eeff", 512, "k1");
    world.pool(2, r#"{"id":null,"method":"mining.set_difficulty","params":[4096]}"#);

    assert_eq!(
        world.cut_over(2),
        [
            r#"down {"id":null,"method":"mining.set_difficulty","params":[512]}"#.to_owned(),
            job_below("01k1", INSERT2, "5cb6dda8", true),
            r#"down {"id":null,"method":"mining.set_difficulty","params":[4096]}"#.to_owned(),
            "ready 1 fold".to_owned(),
        ]
    );
}

#[test]
fn a_difficulty_that_comes_right_after_the_first_job_counts_for_it() {
    let mut world = World::mining();
    world.leg_up(2, &Value::Null);
    world.serve(2, "eeff", 8);
    world.pool(2, &job("k1"));
    world.pool(2, r#"{"id":null,"method":"mining.set_difficulty","params":[65536]}"#);

    assert_eq!(
        world.cut_over(2)[..2],
        [
            r#"down {"id":null,"method":"mining.set_difficulty","params":[65536]}"#.to_owned(),
            job_below("01k1", INSERT2, "5cb6dda8", true),
        ]
    );
}

#[test]
fn nothing_of_the_leg_that_was_left_reaches_the_miner() {
    let mut world = World::mining();
    world.prepare(2, "eeff", 512, "k1");
    world.cut_over(2);

    for line in [
        r#"{"id":null,"method":"mining.set_difficulty","params":[1]}"#,
        &job("j2"),
        r#"{"id":null,"method":"mining.set_extranonce","params":["ffee",8]}"#,
        &job("j3"),
        r#"{"id":null,"method":"client.show_message","params":["hello"]}"#,
    ] {
        assert!(world.pool(1, line).is_empty(), "{line}");
    }
    assert_eq!(world.pool(2, &job("k2")), [job_below("01k2", INSERT2, "5cb6dda8", false)]);
}

#[test]
fn a_leg_that_was_left_and_can_serve_no_longer_is_not_returned_to() {
    for line in [
        r#"{"id":null,"method":"mining.set_extranonce","params":["ffee",2]}"#,
        r#"{"id":null,"method":"client.reconnect","params":[]}"#,
    ] {
        let mut world = World::mining();
        world.prepare(2, "eeff", 512, "k1");
        world.cut_over(2);

        let asked = world.pool(1, line);

        assert!(asked.len() == 1 && asked[0].starts_with("replace 1 "), "{asked:?}");
    }
}

#[test]
fn late_shares_go_to_the_leg_that_issued_their_job_and_are_answered_by_it() {
    let mut world = World::mining();
    world.prepare(2, "eeff", 512, "k1");
    world.cut_over(2);

    assert_eq!(
        world.miner(&share(7, "00j1")),
        [
            r#"up1 {"id":3,"method":"mining.submit","params":["alice.rig","j1","0001000080010203","5cb6dda9","5345b92c"]}"#,
            "submitted 1"
        ]
    );
    assert_eq!(
        world.miner(&share(7, "01k1"))[0],
        r#"up2 {"id":3,"method":"mining.submit","params":["alice.rig","k1","0001000080010203","5cb6dda9","5345b92c"]}"#
    );
    assert_eq!(
        world.pool(2, r#"{"id":3,"result":true,"error":null}"#),
        ["share 2 Accept 512", r#"down {"id":7,"result":true,"error":null}"#]
    );
    assert_eq!(
        world.pool(1, r#"{"id":3,"result":null,"error":[21,"Job not found",null]}"#),
        [
            "share 1 Reject(21) 1024",
            r#"down {"id":7,"result":null,"error":[21,"Job not found",null]}"#
        ]
    );
}

#[test]
fn a_share_of_a_leg_that_is_gone_is_an_orphan() {
    let mut world = World::mining();
    world.prepare(2, "eeff", 512, "k1");
    world.cut_over(2);
    world.input(Input::LegGone(LegId(1)));

    assert_eq!(
        world.miner(&share(7, "00j1")),
        ["share - Orphan 0", r#"down {"id":7,"result":null,"error":[21,"Job not found",null]}"#]
    );
}

#[test]
fn back_on_a_lingering_leg_the_job_is_clean_and_its_time_moves_on() {
    let mut world = World::mining();
    world.prepare(2, "eeff", 512, "k1");
    world.cut_over(2);
    world.now = world.now.plus(5_400);

    assert_eq!(
        world.cut_over(1),
        [
            r#"down {"id":null,"method":"mining.set_difficulty","params":[1024]}"#.to_owned(),
            job_below("02j1", "aabbccdd00010000", "5cb6ddad", true),
            "ready 2 fold".to_owned(),
        ]
    );
    // Again within the same second: the time must differ from the one before.
    world.cut_over(2);
    assert_eq!(world.cut_over(1)[1], job_below("04j1", "aabbccdd00010000", "5cb6ddae", true));
    // Shares of all its epochs are its own.
    for job_id in ["00j1", "02j1", "04j1"] {
        assert_eq!(world.miner(&share(9, job_id))[1], "submitted 1");
    }
}

#[test]
fn back_within_the_second_the_time_moves_on_by_one() {
    let mut world = World::mining();
    world.prepare(2, "eeff", 512, "k1");
    world.cut_over(2);

    assert_eq!(world.cut_over(1)[1], job_below("02j1", "aabbccdd00010000", "5cb6dda9", true));
}

#[test]
fn a_job_that_the_miner_never_had_keeps_its_time() {
    let mut world = World::mining();
    world.prepare(2, "eeff", 512, "k1");
    world.cut_over(2);
    world.pool(1, &job("j2"));
    world.now = world.now.plus(5_000);

    assert_eq!(world.cut_over(1)[1], job_below("02j2", "aabbccdd00010000", "5cb6dda8", true));
}

#[test]
fn a_leg_that_was_left_without_a_job_says_that_it_is_ready_when_one_comes() {
    let mut world = World::new();
    world.subscribe_and_authorize("x");
    world.leg_up(1, &Value::Null);
    world.serve(1, "aabbccdd", 8);
    world.cut_over(1);
    world.pool(1, r#"{"id":null,"method":"mining.set_difficulty","params":[8]}"#);
    world.prepare(2, "eeff", 512, "k1");

    assert!(!world.cut_over(2).contains(&"ready 1 fold".to_owned()));
    assert_eq!(world.pool(1, &job("j1")), ["ready 1 fold"]);
    assert!(world.pool(1, &job("j2")).is_empty());
}

#[test]
fn the_leg_after_a_lost_one_brings_a_clean_job() {
    let mut world = World::mining();
    world.miner(&share(7, "00j1"));

    assert_eq!(
        world.input(Input::LegDown(LegId(1))),
        [
            "share 1 Unanswered 1024",
            r#"down {"id":7,"result":null,"error":[20,"Pool connection lost",null]}"#
        ]
    );
    assert_eq!(
        world.miner(&share(8, "00j1")),
        [
            "share - Poolless 0",
            r#"down {"id":8,"result":null,"error":[20,"No pool at the moment",null]}"#
        ]
    );
    world.prepare(2, "eeff", 512, "k1");
    assert_eq!(
        world.cut_over(2),
        [
            r#"down {"id":null,"method":"mining.set_difficulty","params":[512]}"#.to_owned(),
            job_below("01k1", INSERT2, "5cb6dda8", true),
        ]
    );
}

#[test]
fn the_pools_own_extranonce_change_never_reaches_the_miner() {
    let mut world = World::mining();

    assert!(
        world
            .pool(
                1,
                r#"{"id":null,"method":"mining.set_extranonce","params":["12905085617eff8e",6]}"#
            )
            .is_empty()
    );
    // The job of before is still mined with the extranonce of before.
    assert!(world.miner(&share(7, "00j1"))[0].contains(r#""j1","0001000080010203""#));
    assert_eq!(
        world.pool(1, &job("j1")),
        [job_below("01j1", "12905085617eff8e0000", "5cb6dda8", false)]
    );
    assert!(world.miner(&share(8, "01j1"))[0].contains(r#""j1","000080010203""#));
    assert!(world.miner(&share(9, "00j1"))[0].contains(r#""j1","0001000080010203""#));
    // Without a size, the size stays.
    world.pool(1, r#"{"id":null,"method":"mining.set_extranonce","params":["ff"]}"#);
    assert_eq!(world.pool(1, &job("j2")), [job_below("02j2", "ff0000", "5cb6dda8", false)]);
}

#[test]
fn an_extranonce_that_cannot_be_folded_asks_for_another_leg_once() {
    let mut world = World::mining();
    let line = r#"{"id":null,"method":"mining.set_extranonce","params":["3263b370affeb0d550",3]}"#;

    let asked = world.pool(1, line);

    assert!(asked[0].starts_with("replace 1 no room to fold"), "{asked:?}");
    assert!(world.pool(1, line).is_empty());
    assert!(world.pool(1, &job("j2")).is_empty(), "nobody could mine it");
    assert!(world.miner(&share(7, "00j1"))[0].starts_with("up1"));
}

#[test]
fn a_leg_with_too_narrow_a_mask_is_refused_unless_the_miner_obeys() {
    for (agent, outcome) in
        [("unheard-of", "refuse 2 Permanent version mask"), ("cgminer/4", "ready 2")]
    {
        let mut world = World::new();
        world.miner(r#"{"id":0,"method":"mining.configure","params":[["version-rolling"],{}]}"#);
        world.subscribe_and_authorize(agent);
        for (leg, mask) in [(1, "1fffe000"), (2, "0fffe000")] {
            world.leg_up(leg, &Value::Null);
            world.pool(leg, &format!(r#"{{"id":1,"result":{{"version-rolling":true,"version-rolling.mask":"{mask}"}},"error":null}}"#));
            world.pool(leg, r#"{"id":2,"result":[[],"eeff",8],"error":null}"#);
            world.pool(leg, r#"{"id":null,"method":"mining.set_difficulty","params":[512]}"#);
            if leg == 1 {
                world.pool(1, r#"{"id":3,"result":true,"error":null}"#);
                assert!(!world.cut_over(1).iter().any(|asked| asked.contains("version_mask")));
            } else {
                world.pool(2, r#"{"id":3,"result":true,"error":null}"#);
            }
        }

        let asked = world.pool(2, &job("k1"));

        assert!(asked.iter().any(|asked| asked.starts_with(outcome)), "{agent}: {asked:?}");
        if agent == "cgminer/4" {
            assert_eq!(
                world.cut_over(2)[0],
                r#"down {"id":null,"method":"mining.set_version_mask","params":["0fffe000"]}"#
            );
        }
    }
}

#[test]
fn a_user_refused_by_a_later_pool_is_not_told() {
    let mut world = World::mining();
    world.leg_up(2, &Value::Null);
    world.pool(2, r#"{"id":1,"result":[[],"eeff",8],"error":null}"#);

    assert_eq!(
        world.pool(2, r#"{"id":2,"result":false,"error":null}"#),
        ["refuse 2 User the pool refuses the user: null"]
    );
    assert!(world.pool(2, r#"{"id":3,"result":false,"error":null}"#).is_empty());
}

#[test]
fn a_miners_wish_for_a_difficulty_goes_to_every_leg() {
    let mut world = World::mining();

    assert_eq!(
        world.miner(r#"{"id":9,"method":"mining.suggest_difficulty","params":["0.001"]}"#),
        [
            r#"up1 {"id":3,"method":"mining.suggest_difficulty","params":["0.001"]}"#,
            r#"down {"id":9,"result":true,"error":null}"#,
        ]
    );
    world.leg_up(2, &Value::Null);
    assert_eq!(
        world.serve(2, "eeff", 8)[1],
        r#"up2 {"id":3,"method":"mining.suggest_difficulty","params":["0.001"]}"#
    );
}

#[test]
fn further_workers_log_in_on_the_active_leg_and_on_every_later_one_first() {
    let mut world = World::mining();

    assert_eq!(
        world.miner(r#"{"id":"b","method":"mining.authorize","params":["alice.two","p"]}"#),
        [r#"up1 {"id":3,"method":"mining.authorize","params":["alice.two","p"]}"#]
    );
    assert_eq!(
        world.pool(1, r#"{"id":3,"result":true,"error":null}"#),
        [r#"down {"id":"b","result":true,"error":null}"#]
    );
    assert_eq!(
        world.miner(r#"{"id":"c","method":"mining.authorize","params":["bob.one","p"]}"#),
        [
            "disregard unexpected by the miner",
            r#"down {"id":"c","result":null,"error":[24,"Unauthorized worker",null]}"#
        ]
    );
    world.leg_up(2, &Value::Null);
    assert_eq!(
        world.serve(2, "eeff", 8),
        [
            r#"up2 {"id":2,"method":"mining.authorize","params":["alice.rig","x"]}"#,
            r#"up2 {"id":3,"method":"mining.authorize","params":["alice.two","p"]}"#,
        ]
    );
    world.pool(2, r#"{"id":null,"method":"mining.set_difficulty","params":[512]}"#);
    assert_eq!(world.pool(2, &job("k1")), ["wake 1002000"]);
    assert!(
        world
            .pool(2, r#"{"id":3,"result":true,"error":null}"#)
            .contains(&"ready 2 fold".to_owned())
    );
    world.cut_over(2);
    assert!(
        world
            .miner(r#"{"id":9,"method":"mining.submit","params":["alice.two","01k1","010203","5cb6dda9","5345b92c"]}"#)[0]
            .contains(r#"["alice.two","k1""#)
    );
}

#[test]
fn a_pool_that_ignores_further_workers_delays_the_switch_and_no_more() {
    let mut world = World::mining();
    world.miner(r#"{"id":"b","method":"mining.authorize","params":["alice.two","p"]}"#);
    world.pool(1, r#"{"id":3,"result":true,"error":null}"#);
    world.prepare(2, "eeff", 512, "k1");

    world.now = Millis(1_002_000);

    assert!(world.input(Input::Wake).contains(&"ready 2 fold".to_owned()));
}

#[test]
fn a_worker_that_logs_in_while_there_is_no_pool_waits_for_the_next() {
    let mut world = World::mining();
    world.input(Input::LegDown(LegId(1)));

    assert!(
        world
            .miner(r#"{"id":"b","method":"mining.authorize","params":["alice.two","p"]}"#)
            .is_empty()
    );
    world.prepare(2, "eeff", 512, "k1");
    assert_eq!(
        world.cut_over(2).last().unwrap(),
        r#"up2 {"id":3,"method":"mining.authorize","params":["alice.two","p"]}"#
    );
}

#[test]
fn an_echo_leg_and_a_foreign_one_serve_the_same_miner() {
    let echo = json!({"extranonce": "echo"});
    let mut world = World::mining();
    world.leg_up(2, &echo);
    world.pool(2, r#"{"id":"subscribe","result":[[],"01000080",8],"error":null}"#);
    world.pool(2, r#"{"id":"auth","result":true,"error":null}"#);
    world.pool(2, r#"{"id":null,"method":"mining.set_difficulty","params":[16384]}"#);

    assert!(world.pool(2, &job("7")).contains(&"ready 2 fold".to_owned()));
    assert_eq!(world.cut_over(2)[1], job_below("017", "0100008000010000", "5cb6dda8", true));
    assert!(world.miner(&share(7, "017"))[0].contains(r#""7","0001000080010203""#));
}

#[test]
fn the_session_says_what_it_is() {
    let world = World::mining();

    let all = world.described();

    for (name, value) in [
        ("agent", "cgminer/4.11.1"),
        ("extranonce1", "80"),
        ("extranonce2_size", "3"),
        ("rung", "fold"),
        ("difficulty", "1024"),
        ("workers", "1"),
    ] {
        assert_eq!(all.get(name), Some(&json!(value)), "{name}");
    }
}
