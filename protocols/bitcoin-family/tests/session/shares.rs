//! Shares and other requests of a miner that mines.

use serde_json::Value;

use crate::world::{World, job};

fn share(id: &str, user: &str, job_id: &str, extranonce2: &str) -> String {
    format!(
        r#"{{"id":{id},"method":"mining.submit","params":["{user}","{job_id}","{extranonce2}","5cb6dda9","5345b92c","00006000"]}}"#
    )
}

#[test]
fn ids_of_every_kind_come_back_byte_for_byte() {
    let mut world = World::mining();
    for (up_id, id) in
        (3..).zip(["4", "4", r#""txlist\u0041""#, "3.0", "9007199254740993", "-1", r#""""#])
    {
        world.miner(&share(id, "alice.rig", "00j1", "000001"));

        let asked = world.pool(1, &format!(r#"{{"id":{up_id},"result":true,"error":null}}"#));

        assert_eq!(asked[1], format!(r#"down {{"id":{id},"result":true,"error":null}}"#));
    }
}

#[test]
fn a_share_without_an_id_is_sent_and_its_answer_booked_only() {
    let mut world = World::mining();

    assert_eq!(world.miner(&share("null", "alice.rig", "00j1", "000001"))[1], "submitted 1");
    assert_eq!(world.pool(1, r#"{"id":3,"result":true,"error":null}"#), ["share 1 Accept 1024"]);
}

#[test]
fn version_bits_go_up_as_they_are() {
    let mut world = World::mining();

    assert!(
        world.miner(&share("5", "alice.rig", "00j1", "000001"))[0].ends_with(r#","00006000"]}"#)
    );
}

#[test]
fn the_answer_is_the_pools_own_in_every_form_it_has() {
    for (answer, verdict, below) in [
        (
            r#"{"reject-reason":"Above target","result":false,"error":null,"id":3}"#,
            "Reject(23)",
            r#""result":false,"error":null,"reject-reason":"Above target"}"#,
        ),
        (
            r#"{"reject-reason":"Stale","result":false,"error":null,"id":3}"#,
            "Reject(21)",
            r#""result":false,"error":null,"reject-reason":"Stale"}"#,
        ),
        (
            r#"{"result":null,"error":"Stale","id":3}"#,
            "Reject(21)",
            r#""result":null,"error":"Stale"}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","error":{"code":22,"message":"duplicate share","data":null},"id":3}"#,
            "Reject(22)",
            r#""result":null,"error":{"code":22,"message":"duplicate share","data":null}}"#,
        ),
        (
            r#"{"id":3,"result":false,"error":[-1,"Job not found",NULL]}"#,
            "Reject(-1)",
            r#""result":false,"error":[-1,"Job not found",null]}"#,
        ),
        (r#"{"result":true,"id":3}"#, "Accept", r#""result":true,"error":null}"#),
        (
            r#"{"id":50,"id":3,"result":null,"error":[21,"Job not found",""]}"#,
            "Reject(21)",
            r#""result":null,"error":[21,"Job not found",""]}"#,
        ),
    ] {
        let mut world = World::mining();
        world.miner(&share("8", "alice.rig", "00j1", "000001"));

        assert_eq!(
            world.pool(1, answer),
            [format!("share 1 {verdict} 1024"), format!(r#"down {{"id":8,{below}"#)]
        );
    }
}

#[test]
fn the_operator_sees_what_the_pool_said_of_the_latest_share_it_refused() {
    let mut world = World::mining();
    assert_eq!(world.described()["last_refusal"], Value::Null);

    let long = format!(r#"{{"id":5,"result":null,"error":"{}"}}"#, "x".repeat(1000));
    for (id, answer, shown) in [
        (
            3,
            r#"{"id":3,"result":null,"error":[20,"H-not-zero",null]}"#,
            r#"[20,"H-not-zero",null]"#,
        ),
        (4, r#"{"reject-reason":"Stale","result":false,"error":null,"id":4}"#, r#""Stale""#),
        (5, &long, &format!("\"{}", "x".repeat(119))),
        (6, r#"{"id":6,"result":false,"error":null}"#, "false"),
        (7, r#"{"id":7,"result":true,"error":null}"#, "false"),
    ] {
        world.miner(&share(&id.to_string(), "alice.rig", "00j1", &format!("{id:06x}")));

        world.pool(1, answer);

        assert_eq!(world.described()["last_refusal"], shown, "{answer}");
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_dropped() {
    let mut world = World::mining();

    for line in [
        r#"{"id":77,"result":true,"error":null}"#,
        r#"{"id":"auth","result":true,"error":null}"#,
        r#"{"id":null,"result":null,"error":[20,"Internal server error",null]}"#,
        r#"{"id":2,"result":true,"error":null}"#,
    ] {
        assert_eq!(world.pool(1, line), ["disregard unknown_id by the pool of leg 1"], "{line}");
    }
}

#[test]
fn a_share_that_is_none_is_refused_here() {
    let mut world = World::mining();
    let refused = [
        "disregard bad_params by the miner",
        r#"down {"id":5,"result":null,"error":[27,"Illegal params",null]}"#,
    ];

    assert_eq!(world.miner(&share("5", "alice.rig", "00j1", "0001")), refused);
    assert_eq!(world.miner(&share("5", "alice.rig", "00j1", "00000g")), refused);
    assert_eq!(world.miner(r#"{"id":5,"method":"mining.submit","params":[1,2,3,4,5]}"#), refused);
    assert_eq!(
        world.miner(
            r#"{"id":5,"method":"mining.submit","params":["a","00j1","000001","5cb6dda9"]}"#
        ),
        refused
    );
    assert_eq!(world.miner(r#"{"id":5,"method":"mining.submit"}"#), refused);
}

#[test]
fn names_and_job_ids_may_be_escaped() {
    let mut world = World::mining();

    assert_eq!(
        world.miner(&share("5", "alice\\u002erig", "00\\u006a1", "000001"))[0],
        r#"up1 {"id":3,"method":"mining.submit","params":["alice.rig","j1","0001000080000001","5cb6dda9","5345b92c","00006000"]}"#
    );
}

#[test]
fn a_job_id_that_is_not_ours_is_an_orphan() {
    let mut world = World::mining();
    for job_id in ["zzj1", "j", "", "J0j1", "99", "\\u0000\\u0000j1"] {
        assert_eq!(
            world.miner(&share("5", "alice.rig", job_id, "000001")),
            [
                "share - Orphan 0",
                r#"down {"id":5,"result":null,"error":[21,"Job not found",null]}"#
            ]
        );
    }
}

#[test]
fn a_share_of_another_sub_account_is_refused_and_of_an_unknown_worker_left_to_the_pool() {
    let mut world = World::mining();

    assert_eq!(
        world.miner(&share("5", "bob.rig", "00j1", "000001")),
        [
            "disregard bad_params by the miner",
            r#"down {"id":5,"result":null,"error":[24,"Unauthorized worker",null]}"#
        ]
    );
    assert!(
        world.miner(&share("5", "alice.new", "00j1", "000001"))[0].contains(r#"["alice.new","#)
    );
    assert!(
        world.miner(&share("5", "alice. rig", "00j1", "000001"))[0].contains(r#"["alice.rig","#)
    );
}

#[test]
fn so_many_shares_may_be_outstanding_and_no_more() {
    let mut world = World::mining();
    for _ in 0..256 {
        assert_eq!(world.miner(&share("5", "alice.rig", "00j1", "000001"))[1], "submitted 1");
    }

    assert_eq!(
        world.miner(&share("5", "alice.rig", "00j1", "000001")),
        [
            "disregard excess by the miner",
            r#"down {"id":5,"result":null,"error":[20,"Too many requests",null]}"#
        ]
    );
    world.pool(1, r#"{"id":3,"result":true,"error":null}"#);
    assert_eq!(world.miner(&share("5", "alice.rig", "00j1", "000001"))[1], "submitted 1");
}

#[test]
fn the_difficulty_of_a_share_is_that_of_its_leg_job() {
    let mut world = World::mining();
    world.pool(1, r#"{"id":null,"method":"mining.set_difficulty","params":[8000]}"#);
    world.miner(&share("5", "alice.rig", "00j1", "000001"));
    assert_eq!(world.pool(1, r#"{"id":3,"result":true,"error":null}"#)[0], "share 1 Accept 1024");

    world.pool(1, &job("j2"));
    world.miner(&share("5", "alice.rig", "00j2", "000001"));
    world.miner(&share("6", "alice.rig", "00j1", "000002"));
    assert_eq!(world.pool(1, r#"{"id":4,"result":true,"error":null}"#)[0], "share 1 Accept 8000");
    assert_eq!(world.pool(1, r#"{"id":5,"result":true,"error":null}"#)[0], "share 1 Accept 1024");
}

#[test]
fn a_share_that_the_pool_skips_is_given_up_and_the_leg_replaced() {
    let mut world = World::mining();
    world.miner(&share("5", "alice.rig", "00j1", "000001"));
    world.now = world.now.plus(29_000);
    world.miner(&share("6", "alice.rig", "00j1", "000002"));
    world.miner(&share("7", "alice.rig", "00j1", "000003"));
    assert_eq!(world.pool(1, r#"{"id":4,"result":true,"error":null}"#).len(), 2, "not yet");

    world.now = world.now.plus(1_000);
    assert_eq!(
        world.pool(1, r#"{"id":5,"result":true,"error":null}"#),
        [
            "share 1 Accept 1024",
            r#"down {"id":7,"result":true,"error":null}"#,
            "share 1 Unanswered 1024",
            r#"down {"id":5,"result":null,"error":[20,"The pool does not answer",null]}"#,
            "replace 1 the pool has left a share unanswered",
        ]
    );
    let late = world.pool(1, r#"{"id":3,"result":true,"error":null}"#);
    assert!(late[0].starts_with("disregard"), "{late:?}");
}

#[test]
fn a_method_that_only_the_pool_may_know_is_passed_on() {
    let mut world = World::mining();

    assert_eq!(
        world.miner(r#"{"id":"q","method":"mining.custom","params":{"x":1}}"#),
        [r#"up1 {"id":3,"method":"mining.custom","params":{"x":1}}"#]
    );
    assert_eq!(
        world.pool(1, r#"{"id":3,"result":{"y":2}}"#),
        [r#"down {"id":"q","result":{"y":2},"error":null}"#]
    );
}

#[test]
fn methods_that_a_pool_never_answers_take_no_room_from_shares() {
    let mut world = World::mining();

    let answered = (0..100)
        .flat_map(|_| world.miner(r#"{"id":"q","method":"mining.custom","params":[]}"#))
        .filter(|asked| asked.contains("does not answer"))
        .count();
    for _ in 0..100 {
        world.miner(r#"{"id":"s","method":"mining.suggest_difficulty","params":[1]}"#);
    }

    assert_eq!(answered, 100 - 16);
    let outstanding = world.state()["legs"][0]["outstanding"].as_array().map(Vec::len);
    assert!(outstanding.is_some_and(|outstanding| outstanding <= 40), "{outstanding:?}");
    assert_eq!(world.miner(&share("5", "alice.rig", "00j1", "000001"))[1], "submitted 1");
}

#[test]
fn the_table_of_requests_is_freed_when_it_is_empty() {
    let mut world = World::mining();
    world.miner(&share("5", "alice.rig", "00j1", "000001"));
    world.pool(1, r#"{"id":3,"result":true,"error":null}"#);

    assert_eq!(world.state()["legs"][0]["outstanding"], Value::Array(Vec::new()));
}
