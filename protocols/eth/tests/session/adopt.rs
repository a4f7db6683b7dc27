//! Sessions of a program that relays: taken over in the middle of a line, and handed back. All three
//! variants that the original speaks, with the requests as its own file has them.

use serde_json::{Value, json};
use switcher_plugin::{Input, LegId, Side};

use crate::world::World;

const ETHPROXY: [&str; 2] = [
    r#"{"id":"subscribe","method":"mining.subscribe","params":["ETHProxy","ETHProxy/1.0.0","010080",3232235786]}"#,
    r#"{"id":2,"method":"eth_submitLogin","params":["0x00d8c82Eb65124Ea3452CaC59B64aCC230AA3482","x"],"worker":"alice.rig"}"#,
];
const PLAIN: [&str; 2] = [
    r#"{"id":"subscribe","method":"mining.subscribe","params":["stratumSwitcher","Stratum","010080",3232235786]}"#,
    AUTHORIZE,
];
const NICEHASH: [&str; 2] = [
    r#"{"id":"subscribe","method":"mining.subscribe","params":["ethminer 0.15.0rc1","EthereumStratum/1.0.0","010080",3232235786]}"#,
    AUTHORIZE,
];
const TWO_BYTES: [&str; 2] = [
    r#"{"id":"subscribe","method":"mining.subscribe","params":["NiceHash/1.0.0","EthereumStratum/1.0.0","010080",3232235786]}"#,
    AUTHORIZE,
];
const AGENT: [&str; 2] = [
    r#"{"id":"subscribe","method":"mining.subscribe","params":["btccom-agent/2.0.0-mu","Stratum","010080",3232235786]}"#,
    AUTHORIZE,
];
const AUTHORIZE: &str = r#"{"id":2,"method":"mining.authorize","params":["alice.rig","x"]}"#;

const OLD: &str = "31d21c699d1bd47211e669c2a46fd8ed92bfe81f9467ed797bfd852e483457f5";
const NEW: &str = "94a789fba387d454312db3287f8440f841de762522da8ba620b7fcf34a80330c";
const SEED: &str = "787fc048d668f524ffd65484f99d9e60a25cfa3e5e8254f111e6b7968f195e9c";
const TARGET: &str = "00000000ffff0000000000000000000000000000000000000000000000000000";
const MIX: &str = "ee6834f71232517ae547e5140a9b57c7a5643ada6655f1ec3c24423e791ef597";

/// What the first request of ours on an adopted leg bears.
const FIRST: &str = "1073741824";

fn adopted([subscribe, authorize]: [&str; 2]) -> World {
    World::adopted(subscribe, authorize).unwrap()
}

fn work(header: &str) -> String {
    format!(
        r#"{{"id":0,"jsonrpc":"2.0","result":["0x{header}","0x{SEED}","0x{TARGET}","010080"]}}"#
    )
}

fn plain_job(name: &str, header: &str) -> String {
    format!(
        r#"{{"id":null,"method":"mining.notify","params":["{name}","{header}","{SEED}","{TARGET}",true]}}"#
    )
}

fn nicehash_job(name: &str, header: &str) -> String {
    format!(
        r#"{{"id":null,"method":"mining.notify","params":["{name}","{SEED}","{header}",true]}}"#
    )
}

fn submit_work(header: &str) -> String {
    format!(
        r#"{{"id":7,"method":"eth_submitWork","params":["0x00000000000000a1","0x{header}","0x{MIX}"]}}"#
    )
}

fn plain_share(name: &str, header: &str) -> String {
    format!(
        r#"{{"id":7,"method":"mining.submit","params":["alice.rig","{name}","0x00000000000000a1","0x{header}","0x{MIX}"]}}"#
    )
}

fn nicehash_share(name: &str, nonce: &str) -> String {
    format!(r#"{{"id":7,"method":"mining.submit","params":["alice.rig","{name}","{nonce}"]}}"#)
}

fn up(leg: u32, line: &str, id: &str) -> String {
    format!("up{leg} {}", line.replace(r#"{"id":7"#, &format!(r#"{{"id":{id}"#)))
}

/// A second sserver, of which the session has heard nothing.
fn serve_echo(world: &mut World, leg: u32, lines: &[&str]) -> Vec<String> {
    world.leg_up(leg, &json!({ "extranonce": "echo" }));
    lines.iter().flat_map(|line| world.pool(leg, line)).collect()
}

#[test]
fn rest_of_a_line_goes_the_way_its_beginning_went() {
    for past in [ETHPROXY, PLAIN, NICEHASH] {
        let mut world = adopted(past);

        let rest = world.miner(&format!(r#"a1","0x{OLD}"]}}"#));
        assert_eq!(rest, ["Forward(Upstream(LegId(1)))", "disregard torn by the miner"]);
        let rest = world.pool(1, r#"sult":true,"error":null}"#);
        assert_eq!(rest, ["Forward(Downstream)", "disregard torn by the pool of leg 1"]);

        assert_eq!(world.miner("a1\"]}"), ["disregard bad_frame by the miner"]);
        assert_eq!(world.pool(1, "\"]}"), ["disregard bad_frame by the pool of leg 1"]);
    }
}

#[test]
fn shares_for_jobs_of_the_past_are_answered_by_their_pool() {
    let mut world = adopted(ETHPROXY);
    let asked = world.miner(&submit_work(OLD));
    assert_eq!(asked, [up(1, &submit_work(OLD), FIRST), "submitted".into()]);
    let answer = world.pool(1, r#"{"id":1073741824,"jsonrpc":"2.0","result":true}"#);
    assert_eq!(answer, ["share Accept", r#"down {"id":7,"jsonrpc":"2.0","result":true}"#]);

    let mut world = adopted(PLAIN);
    let asked = world.miner(&plain_share(OLD, OLD));
    assert_eq!(asked, [up(1, &plain_share(OLD, OLD), FIRST), "submitted".into()]);
    let answer = world.pool(1, r#"{"id":1073741824,"result":true,"error":null}"#);
    assert_eq!(answer, ["share Accept", r#"down {"id":7,"result":true,"error":null}"#]);

    for (past, extranonce, nonce) in
        [(NICEHASH, "010080", "00000000a1"), (TWO_BYTES, "0100", "8000000000a1")]
    {
        let mut world = adopted(past);
        assert_eq!(world.described()["extranonce"], extranonce);
        let share = nicehash_share(OLD, nonce);
        assert_eq!(world.miner(&share), [up(1, &share, FIRST), "submitted".into()]);
        // With the whole nonce, as some do.
        let whole = nicehash_share(OLD, &format!("{extranonce}{nonce}"));
        assert_eq!(world.miner(&whole)[0], up(1, &share, "1073741825"));
    }
}

#[test]
fn answers_to_what_only_the_relay_has_seen_reach_the_miner() {
    let share = r#"{"id":3,"jsonrpc":"2.0","result":true}"#;
    let get_work = work(OLD).replace(r#""id":0"#, r#""id":5"#);
    for answer in [share, &get_work] {
        let mut world = adopted(ETHPROXY);

        assert_eq!(world.pool(1, answer), ["Forward(Downstream)"]);

        world.wait(61_000);
        assert_ne!(world.pool(1, answer)[0], "Forward(Downstream)");
    }
}

#[test]
fn new_jobs_bear_tags_and_the_old_ones_are_not_taken_for_theirs() {
    let mut world = adopted(PLAIN);
    let told = world.pool(1, &plain_job(NEW, NEW));
    assert_eq!(told, ["job".into(), format!("down {}", plain_job(&format!("01{NEW}"), NEW))]);
    let share = plain_share(&format!("0x01{NEW}"), NEW);
    assert_eq!(world.miner(&share)[0], up(1, &plain_share(NEW, NEW), FIRST));
    // Its first digits read like the tag of the new one.
    let like = format!("01{}", &OLD[2..]);
    let share = plain_share(&like, &like);
    assert_eq!(world.miner(&share)[0], up(1, &share, "1073741825"));
}

#[test]
fn nicehash_keeps_the_difficulty_it_has_until_its_pool_sets_another() {
    let mut world = adopted(NICEHASH);

    let told = world.pool(1, &nicehash_job(NEW, NEW));
    assert_eq!(told, ["job".into(), format!("down {}", nicehash_job(&format!("00{NEW}"), NEW))]);

    let set = r#"{"id":null,"method":"mining.set_difficulty","params":[4]}"#;
    assert_eq!(world.pool(1, set), [] as [&str; 0]);
    let told = world.pool(1, &nicehash_job(OLD, OLD));
    assert_eq!(told[1], format!("down {set}"));
    assert_eq!(told[2], format!("down {}", nicehash_job(&format!("01{OLD}"), OLD)));
}

#[test]
fn miners_are_moved_and_their_late_shares_go_back() {
    let mut world = adopted(ETHPROXY);
    let ready = serve_echo(
        &mut world,
        2,
        &[
            r#"{"id":"subscribe","result":true,"error":null}"#,
            r#"{"id":"auth","jsonrpc":"2.0","result":true}"#,
            &work(NEW),
        ],
    );
    assert_eq!(ready.last().unwrap(), "LegReady(LegId(2), Echo)");
    let cut = world.cut_over(2);
    assert_eq!(cut, ["end of line to Downstream".into(), format!("down {}", work(NEW))]);
    assert_eq!(world.miner(&submit_work(NEW))[0], up(2, &submit_work(NEW), "1"));
    assert_eq!(world.miner(&submit_work(OLD))[0], up(1, &submit_work(OLD), FIRST));

    let mut world = adopted(NICEHASH);
    let set = r#"{"id":null,"method":"mining.set_difficulty","params":[2]}"#;
    let ready = serve_echo(
        &mut world,
        2,
        &[
            r#"{"id":"subscribe","result":[["mining.notify","010080","EthereumStratum/1.0.0"],"010080"],"error":null}"#,
            r#"{"id":"auth","result":true,"error":null}"#,
            set,
            &nicehash_job(NEW, NEW),
        ],
    );
    assert_eq!(ready.last().unwrap(), "LegReady(LegId(2), Echo)");
    let cut = world.cut_over(2);
    let job = nicehash_job(&format!("01{NEW}"), NEW);
    assert_eq!(
        cut,
        ["end of line to Downstream".into(), format!("down {set}"), format!("down {job}")]
    );
    let share = nicehash_share(OLD, "00000000a1");
    assert_eq!(world.miner(&share)[0], up(1, &share, FIRST));
    // Which difficulty it would have to be told there again nobody knows, until it is set.
    assert_eq!(world.pool(1, &nicehash_job(NEW, NEW)), ["job"]);
    world.pool(1, set);
    let again = world.pool(1, &nicehash_job(OLD, OLD));
    assert_eq!(again.last().unwrap(), "LegReady(LegId(1), Echo)");
}

#[test]
fn who_cannot_be_carried_on_is_refused() {
    let nameless = AUTHORIZE.replace("alice.rig", ".rig");
    for [subscribe, authorize] in [
        [NICEHASH[0], nameless.as_str()],
        [NICEHASH[0], "null"],
        ["null", AUTHORIZE],
        ["", ""],
        [NICEHASH[0], r#"{"id":1,"method":"mining.submit","params":["alice"]}"#],
    ] {
        assert!(World::adopted(subscribe, authorize).is_err(), "{subscribe} {authorize}");
    }
    // Handed back by us and taken over again, without a switch in between.
    let world = World::adopted("null", ETHPROXY[1]).unwrap();
    assert_eq!(world.described()["variant"], "ethproxy");
    assert_eq!(adopted(PLAIN).described()["agent"], Value::Null);
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn ethproxy_is_handed_back_as_it_is() {
    let mut world = adopted(ETHPROXY);
    world.pool(1, &work(NEW));
    assert_eq!(world.hand_back(), None);

    assert_eq!(world.input(Input::HandBack), [] as [&str; 0]);

    assert_eq!(world.miner(&submit_work(NEW)), [format!("up1 {}", submit_work(NEW))]);
    let answer = r#"{"id":7,"jsonrpc":"2.0","result":true}"#;
    assert_eq!(world.pool(1, answer), ["Forward(Downstream)"]);
    assert_eq!(world.pool(1, &work(OLD)), ["job".into(), format!("down {}", work(OLD))]);
    let back = world.hand_back().unwrap();
    assert_eq!((back.leg, back.short_id, back.subscribe.as_str()), (LegId(1), 0x01_0080, "null"));
    let login = read(&back.authorize);
    assert_eq!(
        login,
        json!({"id": null, "method": "eth_submitLogin", "params": ["alice.rig", "x"]})
    );
}

#[test]
fn variants_with_job_names_are_handed_back_with_plain_ones() {
    let mut world = adopted(NICEHASH);
    world.pool(1, &nicehash_job(NEW, NEW));

    let told = world.input(Input::HandBack);

    // Its difficulty nobody knows to this day, so it keeps it.
    assert_eq!(told, [format!("down {}", nicehash_job(NEW, NEW))]);
    let share = nicehash_share(NEW, "00000000a1");
    assert_eq!(world.miner(&share), [format!("up1 {share}")]);
    assert_eq!(world.pool(1, r#"{"id":7,"result":true,"error":null}"#), ["Forward(Downstream)"]);
    // Shares for jobs from before still know their way.
    let tagged = nicehash_share(&format!("00{NEW}"), "00000000a1");
    assert_eq!(world.miner(&tagged)[0], up(1, &share, FIRST));
    // Half a line that went up when nobody took over is followed by the rest.
    assert_eq!(world.miner("a1\"]}")[0], "Forward(Upstream(LegId(1)))");
    let back = world.hand_back().unwrap();
    let subscribe = read(&back.subscribe);
    assert_eq!(subscribe["params"], json!(["ethminer 0.15.0rc1", "EthereumStratum/1.0.0"]));
    assert_eq!(read(&back.authorize)["params"], json!(["alice.rig", "x"]));

    let mut world = adopted(PLAIN);
    world.pool(1, &plain_job(NEW, NEW));
    let told = world.input(Input::HandBack);
    assert_eq!(told, [format!("down {}", plain_job(NEW, NEW))]);
    let back = world.hand_back().unwrap();
    assert_eq!(read(&back.subscribe)["params"], json!(["stratumSwitcher", "Stratum"]));
}

#[test]
fn who_has_a_pools_extranonce_is_not_handed_back() {
    for variant in ["ethproxy", "stratum", "nicehash", "stratum2"] {
        let mut world = World::mining(variant);

        assert_eq!(world.input(Input::HandBack), [] as [&str; 0], "{variant}");

        assert_eq!(world.hand_back(), None, "{variant}");
    }
}

#[test]
fn agent_is_relayed_unseen_wherever_its_streams_stand() {
    let mut world = adopted(AGENT);
    let pool = Side::Upstream(LegId(1));

    for piece in [&b"\x01\x00ab\x7f"[..], b"\x02\x0e\x00\n{\x7f", b"{\"id\":5,"] {
        assert_eq!(world.bytes(Side::Downstream, piece), ["Forward(Upstream(LegId(1)))"]);
        assert_eq!(world.bytes(pool, piece), ["Forward(Downstream)"]);
    }
    let job = nicehash_job(OLD, OLD);
    assert_eq!(world.bytes(pool, job.as_bytes()), ["job", "Forward(Downstream)"]);

    world.input(Input::HandBack);
    assert_eq!(world.bytes(Side::Downstream, b"\x00"), ["Forward(Upstream(LegId(1)))"]);
    let back = world.hand_back().unwrap();
    assert_eq!(read(&back.subscribe)["params"][0], "btccom-agent/2.0.0-mu");

    let ready = serve_echo(
        &mut world,
        2,
        &[
            r#"{"id":"subscribe","result":[["mining.notify","010080","EthereumStratum/1.0.0"],"010080"],"error":null}"#,
            r#"{"id":"auth","result":true,"error":null}"#,
            r#"{"id":null,"method":"mining.set_difficulty","params":[2]}"#,
            &job,
        ],
    );
    assert_eq!(ready.last().unwrap(), "LegReady(LegId(2), Reconnect)");
    assert_eq!(world.cut_over(2), ["close an agent comes back to another pool by itself"]);
}
