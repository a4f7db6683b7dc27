//! The rungs below folding: who is told a pool's extranonce, who is sent back, and what a miner that
//! comes back is given.

use serde_json::{Value, json};
use switcher_plugin::{Rung, Rungs};

use crate::world::{Setting, World, job, job_below};

const XNSUB: &str = r#"{"id":9,"method":"mining.extranonce.subscribe","params":[]}"#;

/// A miner with this agent that mines at a pool with 8 bytes, with a leg at one with 3 that has sent
/// all but its answer to authorize.
fn at_the_border(agent: &str, options: Value, subscribes: bool) -> World {
    let mut world = World::with(Setting::default().options(options));
    world.rungs = Rungs::ALL.without(Rung::Drop);
    world.subscribe_and_authorize(agent);
    world.leg_up(1, &Value::Null);
    world.serve(1, "aabbccdd", 8);
    world.cut_over(1);
    world.pool(1, r#"{"id":null,"method":"mining.set_difficulty","params":[1024]}"#);
    world.pool(1, &job("j1"));
    if subscribes {
        world.miner(XNSUB);
    }
    world
}

/// The pool's side of a leg to a pool with this size; returns what its last line brings about.
fn small_pool(world: &mut World, leg: u32, size: u8) -> Vec<String> {
    world.leg_up(leg, &Value::Null);
    let refused = world.serve(leg, "5fa07c3111", size);
    if refused.iter().any(|line| line.starts_with("refuse")) {
        return refused;
    }
    world.pool(leg, r#"{"id":null,"method":"mining.set_difficulty","params":[512]}"#);
    world.pool(leg, &job("k1"))
}

#[test]
fn who_asked_for_it_is_told_the_pools_extranonce_in_the_cut_and_ours_on_the_way_back() {
    let mut world = at_the_border("bmminer/2.0.0", Value::Null, true);

    assert_eq!(small_pool(&mut world, 2, 3).last().unwrap(), "ready 2 announce");
    assert_eq!(
        world.cut_over(2),
        [
            r#"down {"id":null,"method":"mining.set_extranonce","params":["5fa07c3111",3]}"#,
            r#"down {"id":null,"method":"mining.set_difficulty","params":[512]}"#,
            &job_below("01k1", "", "5cb6dda8", true),
            "ready 1 fold",
        ]
    );
    assert_eq!(world.described()["extranonce1"], "5fa07c3111");
    // A late share has the old extranonce2, a new one the pool's own.
    let late = r#"{"id":5,"method":"mining.submit","params":["alice.rig","00j1","010203","5cb6dda9","00000001"]}"#;
    let late = world.miner(late);
    assert!(late[0].starts_with("up1") && late[0].contains("\"0001000080010203\""), "{late:?}");
    let new = r#"{"id":6,"method":"mining.submit","params":["alice.rig","01k1","aabbcc","5cb6dda9","00000001"]}"#;
    let new = world.miner(new);
    assert!(new[0].starts_with("up2") && new[0].contains("\"k1\",\"aabbcc\""), "{new:?}");

    let back = world.cut_over(1);
    assert_eq!(back[0], r#"down {"id":null,"method":"mining.set_extranonce","params":["80",3]}"#);
    assert!(back[2].contains("c1aabbccdd00010000"), "{back:?}");
}

#[test]
fn a_pools_own_change_goes_down_where_the_miner_mines_by_the_pools_extranonce() {
    let mut world = at_the_border("bmminer/2.0.0", Value::Null, true);
    small_pool(&mut world, 2, 3);
    world.cut_over(2);

    assert_eq!(
        world.pool(2, r#"{"id":null,"method":"mining.set_extranonce","params":["0102",2]}"#),
        [r#"down {"id":null,"method":"mining.set_extranonce","params":["0102",2]}"#]
    );
    assert_eq!(world.pool(2, &job("k2")), [job_below("02k2", "", "5cb6dda8", false)]);
    // The size of the job's time counts, not the one of now.
    let old = r#"{"id":6,"method":"mining.submit","params":["alice.rig","01k1","aabbcc","5cb6dda9","00000001"]}"#;
    assert!(world.miner(old)[0].starts_with("up2"));
    let wrong = r#"{"id":7,"method":"mining.submit","params":["alice.rig","02k2","aabbcc","5cb6dda9","00000001"]}"#;
    assert!(world.miner(wrong)[0].starts_with("disregard"));

    // With room again it is folded, and the miner is told its own extranonce.
    world.pool(2, r#"{"id":null,"method":"mining.set_extranonce","params":["0304",8]}"#);
    let folded = world.pool(2, &job("k3"));
    assert_eq!(folded[0], r#"down {"id":null,"method":"mining.set_extranonce","params":["80",3]}"#);
    assert_eq!(folded[1], job_below("03k3", "030400010000", "5cb6dda8", false));
}

#[test]
fn who_is_told_the_extranonce_already_gets_the_same_answer_to_a_second_subscribe() {
    let mut world = at_the_border("bmminer/2.0.0", Value::Null, true);
    small_pool(&mut world, 2, 3);
    world.cut_over(2);

    let again = world.miner(r#"{"id":11,"method":"mining.subscribe","params":[]}"#);

    assert!(again[0].contains(r#""5fa07c3111",3]"#), "{again:?}");
}

#[test]
fn who_did_not_ask_is_sent_back_with_a_note_of_what_fits() {
    let mut world = at_the_border("cgminer/4.11.1", Value::Null, false);

    assert_eq!(small_pool(&mut world, 2, 3).last().unwrap(), "ready 2 reconnect");
    assert_eq!(
        world.cut_over(2),
        [
            "remember id:abababababababababababababababab 1+2",
            "remember at:192.168.1.10/cgminer/4.11.1 1+2",
            r#"down {"id":null,"method":"client.reconnect","params":[]}"#,
        ]
    );
    // Until it goes, the leg it has serves it.
    world.pool(1, &job("j2"));
    assert!(world.state()["told"].is_null());
}

#[test]
fn a_pool_that_takes_its_room_away_before_it_serves_is_come_back_for() {
    let mut world = at_the_border("cgminer/4.11.1", Value::Null, false);
    world.leg_up(2, &Value::Null);
    world.serve(2, "5fa07c3111", 8);
    world.pool(2, &job("k1"));

    world.pool(2, r#"{"id":null,"method":"mining.set_extranonce","params":["c30f4f",2]}"#);
    let ready = world.pool(2, r#"{"id":null,"method":"mining.set_difficulty","params":[512]}"#);

    assert_eq!(ready.last().unwrap(), "ready 2 reconnect");
    assert_eq!(world.cut_over(2)[0], "remember id:abababababababababababababababab 1+1");
}

#[test]
fn a_newcomer_that_must_come_back_is_welcomed_first_and_only_once_the_pool_has_work() {
    let mut world = World::new();
    world.rungs = Rungs::ALL;
    world.subscribe_and_authorize("cgminer/4.11.1");
    world.leg_up(1, &Value::Null);
    let served = world.serve(1, "5fa07c3111", 3);
    assert!(!served.iter().any(|line| line.starts_with("ready")), "{served:?}");
    assert_eq!(world.pool(1, &job("k1")).last().unwrap(), "ready 1 reconnect");

    let sent = world.cut_over(1);

    assert_eq!(sent[2], r#"down {"id":2,"result":true,"error":null}"#);
    assert!(sent[3].contains("client.reconnect"), "{sent:?}");
}

#[test]
fn a_miner_comes_back_to_what_fits_by_its_session_id_or_its_place() {
    let id = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
    for (key, params) in [
        (format!("id:{id}"), json!(["cgminer/4.11.1", id])),
        (format!("id:{id}"), json!(["cgminer/4.11.1", id.to_uppercase()])),
        ("at:192.168.1.10/cgminer/4.11.1".to_owned(), json!(["cgminer/4.11.1"])),
        ("at:192.168.1.10/cgminer/4.11.1".to_owned(), json!(["cgminer/4.11.1", id])),
        ("at:192.168.1.10/".to_owned(), json!([])),
    ] {
        let mut world = World::new();
        world.notes.insert(key, "1+2".to_owned());

        let request = json!({"id": 1, "method": "mining.subscribe", "params": params});
        let answer = world.miner(&request.to_string());

        assert!(answer[0].ends_with(r#""80",2],"error":null}"#), "{params}: {answer:?}");
        assert!(world.notes.is_empty(), "a note is given out once");
    }
}

#[test]
fn who_logs_in_before_it_subscribes_is_given_what_fits_too() {
    let id = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
    let mut world = World::new();
    world.rungs = Rungs::ALL;
    world.notes.insert(format!("id:{id}"), "1+2".to_owned());
    world.miner(r#"{"id":1,"method":"mining.authorize","params":["alice.rig","x"]}"#);
    world.assigned("btc", "alice");
    world.leg_up(1, &Value::Null);

    world
        .miner(&format!(r#"{{"id":2,"method":"mining.subscribe","params":["cgminer/4","{id}"]}}"#));
    assert_eq!(world.serve(1, "5fa07c3111", 3).last().unwrap(), "ready 1 fold");
    let told = world.cut_over(1);

    assert!(told.iter().any(|line| line.contains(r#""80",2]"#)), "{told:?}");
}

#[test]
fn the_second_note_of_a_miner_is_taken_along_and_foreign_ids_find_nothing() {
    let id = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
    let mut world = World::new();
    world.notes.insert(format!("id:{id}"), "1+2".to_owned());
    world.notes.insert("at:192.168.1.10/x".to_owned(), "1+1".to_owned());
    let answer =
        world.miner(&format!(r#"{{"id":1,"method":"mining.subscribe","params":["x","{id}"]}}"#));
    assert!(answer[0].contains(r#""80",2]"#) && world.notes.is_empty(), "{answer:?}");

    let mut world = World::new();
    world.notes.insert("id:deadbeef".to_owned(), "1+2".to_owned());
    let answer = world.miner(r#"{"id":1,"method":"mining.subscribe","params":["x","deadbeef"]}"#);
    assert!(answer[0].contains(r#""80",3]"#) && world.notes.len() == 1, "{answer:?}");
}

#[test]
fn an_agent_that_must_not_see_it_never_does() {
    let mut world = at_the_border("nerdqaxe/BM1368/v1.0.10", Value::Null, true);
    let refused = small_pool(&mut world, 2, 3);
    assert!(refused.last().unwrap().contains("reconnect: not known to be obeyed"), "{refused:?}");

    let configure =
        r#"{"id":12,"method":"mining.configure","params":[["subscribe-extranonce"],{}]}"#;
    assert_eq!(
        world.miner(configure),
        [r#"down {"id":12,"result":{"subscribe-extranonce":false},"error":null}"#]
    );
}

#[test]
fn an_operator_knows_better() {
    let quirks = json!({"quirks": [{"agent": "nerdqaxe", "set_extranonce": "any"}]});
    let mut world = at_the_border("nerdqaxe/BM1368/v1.0.10", quirks, true);
    assert_eq!(small_pool(&mut world, 2, 3).last().unwrap(), "ready 2 announce");

    let quirks =
        json!({"quirks": [{"agent": "bmminer", "set_extranonce": "never", "reconnect": false}]});
    let mut world = at_the_border("bmminer/2.0.0", quirks, true);
    assert!(small_pool(&mut world, 2, 3).last().unwrap().starts_with("refuse 2 Permanent"));
}

#[test]
fn a_miner_that_asks_late_need_not_come_back() {
    let mut world = at_the_border("bmminer/2.0.0", Value::Null, false);
    assert_eq!(small_pool(&mut world, 2, 3).last().unwrap(), "ready 2 reconnect");

    assert_eq!(world.miner(XNSUB).last().unwrap(), "ready 2 announce");
    assert!(world.cut_over(2)[0].contains("mining.set_extranonce"));
}

#[test]
fn a_miner_that_was_told_nothing_yet_gets_what_fits_without_coming_back() {
    let mut world = World::new();
    world.rungs = Rungs::ALL;
    world.miner(r#"{"id":2,"method":"mining.authorize","params":["alice.rig","x"]}"#);
    world.assigned("btc", "alice");
    world.leg_up(1, &Value::Null);

    assert_eq!(world.serve(1, "5fa07c3111", 3).last().unwrap(), "ready 1 fold");
    let answer = world.miner(r#"{"id":1,"method":"mining.subscribe","params":["x"]}"#);
    world.cut_over(1);
    let told = answer.first().cloned().or_else(|| Some(world.state()["own"].to_string()));
    assert!(told.is_some_and(|told| told.contains("\"size2\":2") || told.contains("\"80\",2]")));
}

#[test]
fn a_miner_that_rolls_late_does_not_cost_it_the_pool() {
    let mut world = World::mining();
    let profile = crate::world::profile("pool2", &Value::Null);
    let mut world = {
        world.leg_up_with(2, &profile);
        world
    };
    // Its pool was not asked, so the active leg allows no bits and the miner rolls none.
    let configure = r#"{"id":12,"method":"mining.configure","params":[["version-rolling"],{}]}"#;
    let told = world.miner(configure);
    assert!(told[0].contains(r#"{"version-rolling":false}"#), "{told:?}");
    world.serve(2, "5fa07c31", 8);
    world.pool(2, r#"{"id":null,"method":"mining.set_difficulty","params":[512]}"#);
    assert_eq!(world.pool(2, &job("k1")).last().unwrap(), "ready 2 fold");
}
