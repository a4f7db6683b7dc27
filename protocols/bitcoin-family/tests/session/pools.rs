//! What pools of the field do, one habit each.

use crate::world::{World, job, job_below};

#[test]
fn requests_of_a_pool_are_answered_without_the_miner() {
    let mut world = World::mining();

    for (line, answer) in [
        (
            r#"{"id":9,"method":"client.get_version","params":[]}"#,
            r#"up1 {"id":9,"result":"cgminer/4.11.1","error":null}"#,
        ),
        (
            r#"{"id":42,"method":"mining.ping","params":[]}"#,
            r#"up1 {"id":42,"result":"pong","error":null}"#,
        ),
    ] {
        assert_eq!(world.pool(1, line), [answer]);
    }
    assert_eq!(
        world.pool(1, r#"{"id":7,"method":"client.get_stats","params":[]}"#),
        [
            r#"up1 {"id":7,"result":null,"error":[20,"Not supported",null]}"#,
            "disregard unexpected by the pool of leg 1"
        ]
    );
}

#[test]
fn a_message_is_shown_and_a_reconnect_is_not() {
    let mut world = World::mining();

    assert_eq!(
        world.pool(1, r#"{"id":null,"method":"client.show_message","params":["Welcome"]}"#),
        [r#"down {"id":null,"method":"client.show_message","params":["Welcome"]}"#]
    );
    for (params, hint) in [
        (r#"["stratum.slushpool.com", 3333, 1]"#, " stratum.slushpool.com:3333"),
        (r#"["solo.ckpool.org","3333",0]"#, " solo.ckpool.org:3333"),
        ("[]", ""),
        (r#"["host"]"#, ""),
        (r#"["host",99999,0]"#, ""),
    ] {
        assert_eq!(
            world.pool(
                1,
                &format!(r#"{{"id":null,"method":"client.reconnect","params":{params}}}"#)
            ),
            [format!("replace 1 the pool has sent client.reconnect{hint}")]
        );
    }
}

#[test]
fn p2pool_pushes_with_ids_of_its_own() {
    let mut world = World::mining();

    assert_eq!(
        world.pool(1, &job("1").replacen("null", "12", 1)),
        [job_below("001", "aabbccdd00010000", "5cb6dda8", false)]
    );
}

#[test]
fn a_bare_number_is_a_difficulty_too() {
    let mut world = World::mining();

    assert_eq!(
        world.pool(1, r#"{"id":null,"method":"mining.set_difficulty","params":1}"#),
        [r#"down {"id":null,"method":"mining.set_difficulty","params":[1]}"#]
    );
    for params in ["[0]", "[-1]", "[null]", "[]", r#"["x"]"#, "{}", "[1e999]"] {
        assert_eq!(
            world.pool(
                1,
                &format!(r#"{{"id":null,"method":"mining.set_difficulty","params":{params}}}"#)
            ),
            ["disregard bad_params by the pool of leg 1"],
            "{params}"
        );
    }
}

#[test]
fn a_mask_is_passed_on_to_who_has_configured_only() {
    let mut world = World::mining();
    let line = r#"{"id":null,"method":"mining.set_version_mask","params":["1fffe000"]}"#;

    assert!(world.pool(1, line).is_empty());
}

#[test]
fn unknown_notifications_are_dropped() {
    let mut world = World::mining();

    for line in [
        r#"{"method":"unknown.method","params":{"x":1}}"#,
        r#"{"id":null,"method":"mining.set_target","params":["00"]}"#,
    ] {
        assert_eq!(world.pool(1, line), ["disregard unexpected by the pool of leg 1"], "{line}");
    }
}

#[test]
fn a_reply_with_garbage_behind_it_counts() {
    let mut world = World::mining();
    world.miner(
        r#"{"id":5,"method":"mining.submit","params":["alice.rig","00j1","000001","5cb6dda9","5345b92c"]}"#,
    );

    assert_eq!(
        world.pool(1, r#"{"id":3,"result":true} trailing"#),
        [
            "disregard bad_frame by the pool of leg 1",
            "share 1 Accept 1024",
            r#"down {"id":5,"result":true,"error":null}"#
        ]
    );
}

#[test]
fn a_job_that_cannot_be_read_is_dropped() {
    let mut world = World::mining();

    for line in [
        r#"{"method": "mining.notify"}"#,
        r#"{"id":null,"method":"mining.notify","params":[]}"#,
        r#"{"id":null,"method":"mining.set_extranonce","params":["deadbeef",-1]}"#,
        r#"{"id":null,"method":"mining.set_version_mask","params":[1]}"#,
    ] {
        assert_eq!(world.pool(1, line), ["disregard bad_params by the pool of leg 1"], "{line}");
    }
}

#[test]
fn what_a_leg_sends_that_is_not_known_is_ignored() {
    let mut world = World::mining();

    assert!(world.pool(9, &job("j1")).is_empty());
    assert!(world.cut_over(9).is_empty());
}
