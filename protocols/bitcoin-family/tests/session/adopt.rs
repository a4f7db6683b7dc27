//! Sessions of a program that relays: taken over in the middle of a line, and handed back.

use serde_json::{Value, json};
use switcher_plugin::{Input, LegId, Millis};

use crate::agents;
use crate::world::{World, job, job_below};

/// The requests as the original's own file has them.
const SUBSCRIBE: &str = r#"{"id":"subscribe","method":"mining.subscribe","params":["cgminer/4.11.1","01000080",3232235786]}"#;
const AUTHORIZE: &str = r#"{"id":2,"method":"mining.authorize","params":["alice.rig","x"]}"#;

const SHARE: &str = r#"{"id":7,"method":"mining.submit","params":["alice.rig","JOB","0000000000000001","5cb6dda8","00000000"]}"#;

fn adopted() -> World {
    World::adopted(AUTHORIZE, SUBSCRIBE).unwrap()
}

fn share(job: &str) -> String {
    SHARE.replace("JOB", job)
}

#[test]
fn rest_of_a_line_goes_the_way_its_beginning_went() {
    let mut world = adopted();

    let rest = world.miner(r#"001","5cb6dda8","00000000"]}"#);
    assert_eq!(rest, ["forward up1", "disregard torn by the miner"]);
    let rest = world.pool(1, r#"sult":true,"error":null}"#);
    assert_eq!(rest, ["forward down", "disregard torn by the pool of leg 1"]);

    // Once only: from here on garbage is garbage.
    assert_eq!(world.miner(r#"001","5cb6"]}"#), ["disregard bad_frame by the miner"]);
    assert_eq!(world.pool(1, r#"sult":true}"#), ["disregard bad_frame by the pool of leg 1"]);
}

#[test]
fn rest_of_a_line_with_an_object_in_it_is_passed_on_to_its_end() {
    let mut world = adopted();

    let rest = world.miner(r#"{"version-rolling.mask":"1fffe000"}]}"#);

    let part = ["forward up1", "disregard torn by the miner"];
    assert_eq!(rest, [part, part].concat());
    assert_eq!(world.miner(&share("5"))[0], submitted("5"));
}

fn submitted(job: &str) -> String {
    format!(
        r#"up1 {{"id":1073741824,"method":"mining.submit","params":["alice.rig","{job}","0000000000000001","5cb6dda8","00000000"]}}"#
    )
}

#[test]
fn shares_for_jobs_of_the_past_are_answered_by_their_pool() {
    for job in ["0", "12", "255"] {
        let mut world = adopted();

        assert_eq!(world.miner(&share(job)), [submitted(job), "submitted 1".into()]);

        let answer = world.pool(1, r#"{"id":1073741824,"result":true,"error":null}"#);
        let expected = r#"down {"id":7,"result":true,"error":null}"#;
        assert_eq!(answer, ["share 1 Accept 0", expected]);
    }
}

#[test]
fn answers_to_what_only_the_relay_has_seen_reach_the_miner() {
    let mut world = adopted();
    let answer = r#"{"id":3,"result":true,"error":null}"#;

    assert_eq!(world.pool(1, answer), ["forward down"]);
    world.now = Millis(world.now.0 + 61_000);
    assert_eq!(world.pool(1, answer), ["disregard unknown_id by the pool of leg 1"]);
}

#[test]
fn new_jobs_bear_tags_that_no_job_of_the_past_can_be_taken_for() {
    let mut world = adopted();

    assert_eq!(world.pool(1, &job("12")), [job_below("a012", "", "5cb6dda8", false)]);

    assert_eq!(world.miner(&share("a012"))[0], submitted("12"));
}

#[test]
fn miner_that_is_moved_hears_the_end_of_the_old_pools_line_first() {
    let mut world = adopted();
    world.assigned("bch", "alice");
    world.prepare(2, "aabbccdd", 64, "j1");

    // 12 bytes of extranonce2 are needed to fold what the relay has told.
    assert_eq!(world.state()["legs"].as_array().unwrap().len(), 1);
    let echo = json!({ "extranonce": "echo" });
    world.leg_up(3, &echo);
    world.pool(3, r#"{"id":"subscribe","result":[[],"01000080",8],"error":null}"#);
    world.pool(3, r#"{"id":"auth","result":true,"error":null}"#);
    world.pool(3, r#"{"id":null,"method":"mining.set_version_mask","params":["1fffe000"]}"#);
    world.pool(3, r#"{"id":"configure","result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#);
    world.pool(3, r#"{"id":null,"method":"mining.set_difficulty","params":[64]}"#);
    assert!(world.pool(3, &job("9")).contains(&"ready 3 echo".to_owned()));

    let cut = world.cut_over(3);

    assert_eq!(cut[0], "line end to Downstream");
    assert_eq!(cut[1], r#"down {"id":null,"method":"mining.set_difficulty","params":[64]}"#);
    assert_eq!(cut[2], job_below("a19", "", "5cb6dda8", true));
    // Nobody knows which difficulty the miner would have to be told there again.
    assert_eq!(world.pool(1, &job("13")), [] as [&str; 0]);
    let set = r#"{"id":null,"method":"mining.set_difficulty","params":[8]}"#;
    assert_eq!(world.pool(1, set).last().unwrap(), "ready 1 echo");
}

#[test]
fn who_cannot_be_carried_on_is_refused() {
    let nameless = AUTHORIZE.replace("alice.rig", ".rig");
    for (authorize, subscribe) in [(&*nameless, SUBSCRIBE), ("null", SUBSCRIBE), ("", SUBSCRIBE)] {
        assert!(World::adopted(authorize, subscribe).is_err(), "{authorize} {subscribe}");
    }
    // A miner may have named no agent, and the relay names one for it.
    for subscribe in ["null", "", &SUBSCRIBE.replace("cgminer/4.11.1", "stratumSwitcher")] {
        let world = World::adopted(AUTHORIZE, subscribe).unwrap();
        assert_eq!(world.described()["agent"], Value::Null);
    }
}

#[test]
fn session_is_handed_back_with_plain_jobs_and_ids() {
    let mut world = adopted();
    world.pool(1, r#"{"id":null,"method":"mining.set_difficulty","params":[64]}"#);
    world.pool(1, &job("12"));
    world.now = Millis(world.now.0 + 2_000);
    assert_eq!(world.hand_back(), None);

    let told = world.input(Input::HandBack);

    assert_eq!(
        told,
        [
            r#"down {"id":null,"method":"mining.set_difficulty","params":[64]}"#.to_owned(),
            job_below("12", "", "5cb6ddaa", true),
        ]
    );
    assert_eq!(world.pool(1, &job("13")), [job_below("13", "", "5cb6dda8", false)]);
    assert_eq!(world.miner(&share("13")), [format!("up1 {}", share("13"))]);
    assert_eq!(world.pool(1, r#"{"id":7,"result":true,"error":null}"#), ["forward down"]);
    // Shares for jobs from before still know their way.
    assert_eq!(world.miner(&share("a012"))[0], submitted("12"));
    let back = world.hand_back().unwrap();
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!((back.leg.0, back.short_id, back.version_mask), (1, 0x0100_0080, 0x1fff_e000));
    assert_eq!(read(&back.subscribe)["params"], json!(["cgminer/4.11.1"]));
    assert_eq!(read(&back.authorize)["params"], json!(["alice.rig", "x"]));
}

#[test]
fn folded_session_is_not_handed_back() {
    let mut world = World::mining();

    assert_eq!(world.input(Input::HandBack), [] as [&str; 0]);

    assert_eq!(world.hand_back(), None);
}

#[test]
fn half_a_line_that_went_up_when_nobody_took_over_is_followed_by_the_rest() {
    let mut world = adopted();
    world.pool(1, &job("12"));
    world.input(Input::HandBack);

    let rest = world.miner(r#"001","5cb6dda8","00000000"]}"#);
    assert_eq!(rest, ["forward up1", "disregard torn by the miner"]);
    let rest = world.pool(1, r#"sult":true,"error":null}"#);
    assert_eq!(rest, ["forward down", "disregard torn by the pool of leg 1"]);

    assert_eq!(world.miner(&share("12")), [format!("up1 {}", share("12"))]);
}

/// What can stand at the beginning of a stream of which the frames before were not seen.
const PIECES: [&[u8]; 4] = [b"\x01\x00ab\x7f", b"\x02\x0f\x00\n{\x7f", b"{\"id\":5,", b"\n\n"];

fn agent() -> World {
    let subscribe = SUBSCRIBE.replace("cgminer/4.11.1", "btccom-agent/2.0.1");
    World::adopted(AUTHORIZE, &subscribe).unwrap()
}

#[test]
fn agent_is_relayed_unseen_wherever_its_streams_stand() {
    let mut world = agent();

    for piece in PIECES {
        assert_eq!(world.miner_bytes(piece), ["forward up1"]);
        assert_eq!(world.pool_bytes(1, piece), ["forward down"]);
    }
    assert_eq!(world.described()["agent"], "btccom-agent/2.0.1");
}

#[test]
fn agent_that_is_relayed_unseen_is_let_go_when_another_pool_stands_or_its_own_falls() {
    let gone = "close an agent whose sub-miners are not known comes back by itself";

    let mut world = agent();
    assert_eq!(world.assigned("bch", "alice"), [] as [&str; 0]);
    assert_eq!(world.leg_up(2, &json!({ "extranonce": "echo" })), [gone]);

    let mut world = agent();
    assert_eq!(world.input(Input::LegDown(LegId(1))), [gone]);
}

#[test]
fn agent_that_is_relayed_unseen_is_handed_back_as_it_is() {
    let mut world = agent();

    assert_eq!(world.input(Input::HandBack), [] as [&str; 0]);

    assert_eq!(world.miner_bytes(PIECES[0]), ["forward up1"]);
    let back = world.hand_back().unwrap();
    assert!(back.subscribe.contains("btccom-agent/2.0.1"), "{}", back.subscribe);
}

#[test]
fn agent_of_ours_is_handed_back_as_it_is_unless_it_needs_us() {
    let mut world = World::agent_mining();
    // One share is on its way, one is answered.
    world.miner_bytes(&[agents::share(9, 5), agents::share(9, 6)].concat());
    world.pool_bytes(1, &agents::answer(0, agents::ACCEPT));
    assert_eq!(world.hand_back(), None);

    assert_eq!(world.input(Input::HandBack), [] as [&str; 0]);

    for piece in PIECES {
        assert_eq!(world.miner_bytes(piece), ["forward up1"]);
        assert_eq!(world.pool_bytes(1, piece), ["forward down"]);
    }
    let back = world.hand_back().unwrap();
    assert!(back.subscribe.contains("btccom-agent/2.0.0-mu"), "{}", back.subscribe);
    let login: Value = serde_json::from_str(&back.authorize).unwrap();
    assert_eq!(login["params"], json!(["alice", ""]));

    // A share that the pool has not counted; jobs of another leg; a leg that was taken up anew.
    let uncounted: fn(&mut World) = |world| drop(world.miner_bytes(&agents::share(9, 7)));
    let moved: fn(&mut World) = |world| {
        world.agent_leg(2);
        world.capable(2, 1);
        world.pool(2, &job("1"));
        world.cut_over(2);
    };
    let returned: fn(&mut World) = |world| {
        world.agent_leg(2);
        world.capable(2, 1);
        world.pool(2, &job("1"));
        world.cut_over(2);
        world.cut_over(1);
    };
    for happens in [uncounted, moved, returned] {
        let mut world = World::agent_mining();
        happens(&mut world);
        assert_eq!(world.input(Input::HandBack), [] as [&str; 0]);
        assert_eq!(world.hand_back(), None);
    }
}
