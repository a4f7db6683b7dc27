//! Every line ever collected of Decred's miners and pools: what becomes of it is written down here,
//! line by line, so that a change of it does not go unnoticed.

#![expect(clippy::indexing_slicing, reason = "a line of the wrong shape shall fail the test")]

use dialect_dcr::DIALECT;
use serde_json::{Value, json};
use switcher_plugin::{
    Action, Coin, DialectSession, Input, LegId, ListenerView, Millis, Outbox, Rungs, Seat,
    SessionId, SessionSeat, Side, StratumDialect, UpstreamSettings,
};

/// What was done about the lines of a file, one text for each.
fn outcomes(file: &str, side: Side) -> Vec<String> {
    let mut all = Vec::new();
    for row in file.lines() {
        let row: Value = serde_json::from_str(row).expect("corpus rows are JSON");
        let line = row["line"].as_str().expect("corpus rows have a line");
        let line = if side == Side::Downstream { tagged(line) } else { line.to_owned() };
        // A session for each, so that no line depends on the one before.
        all.push(mining().take(Input::Frame(side, format!("{line}\n").as_bytes())));
    }
    all
}

/// A share with the tag in front of its job's id, with which the job has gone down.
fn tagged(line: &str) -> String {
    line.replace("\"7c62\"", "\"007c62\"").replace("\"76df\"", "\"0076df\"")
}

/// A session and what it asks for.
struct World {
    session: Box<dyn DialectSession>,
}

/// A miner of the normal form at an sserver, with one job whose id is `7c62` there.
fn mining() -> World {
    let listener = ListenerView { options: json!({"form": "normal"}), ..ListenerView::default() };
    let seat = SessionSeat {
        session: SessionId(1),
        short_id: 0x0100_0080,
        entropy: [0; 16],
        peer: None,
        listener: &listener,
    };
    let mut world = World { session: DIALECT.open(Seat::Miner(seat)) };
    let up = Side::Upstream(LegId(1));
    let miner = [
        r#"{"id":1,"method":"mining.subscribe","params":["ccminer/2.3"]}"#,
        r#"{"id":2,"method":"mining.authorize","params":["DsUser.rig1","x"]}"#,
    ];
    for line in miner {
        world.take(Input::Frame(Side::Downstream, line.as_bytes()));
    }
    world.take(Input::Assigned { coin: &Coin::new("dcr"), canonical_name: "DsUser" });
    world.leg_up(1, &json!({"extranonce": "echo"}));
    let answers = [
        r#"{"id":"subscribe","result":[[],"000000000000000080000001",8],"error":null}"#,
        r#"{"id":"auth","result":true,"error":null}"#,
    ];
    for line in answers {
        world.take(Input::Frame(up, line.as_bytes()));
    }
    world.take(Input::CutOver(LegId(1)));
    world.take(Input::Frame(
        up,
        br#"{"id":null,"method":"mining.notify","params":["7c62","aa","c1","c2",[],"05000000","1a00a4ea","59eeb494",false]}"#,
    ));
    world
}

impl World {
    fn leg_up(&mut self, leg: u32, options: &Value) {
        let coin = Coin::new("dcr");
        let settings =
            UpstreamSettings { name: "p", coin: &coin, user: None, password: None, options };
        let profile = DIALECT.profile(&settings).expect("the options are right");
        let leg = LegId(leg);
        self.take(Input::LegUp { leg, profile: &profile, form: 0, rungs: Rungs::ALL });
    }

    fn take(&mut self, input: Input<'_>) -> String {
        let mut out = Outbox::new();
        let outcome = self.session.handle(Millis(1), input, &mut out);
        assert_eq!(outcome, Ok(()), "no line ends a session");
        let mut all = Vec::new();
        for action in out.actions() {
            match action {
                Action::Send(side, range) => {
                    let lines = std::str::from_utf8(out.sent(range)).expect("JSON is text");
                    all.extend(lines.lines().map(|line| format!("{} {}", to(*side), gist(line))));
                }
                Action::Disregard(fault) => all.push(format!("disregard {fault}")),
                Action::Submitted(_) | Action::Job(_) => {}
                other => all.push(format!("{other:?}")),
            }
        }
        all.join("; ")
    }
}

fn to(side: Side) -> &'static str {
    if side == Side::Downstream { "down" } else { "up" }
}

/// The method with its second and third parameter, or the answer.
fn gist(line: &str) -> String {
    let line: Value = serde_json::from_str(line).expect("what is sent is JSON");
    match line["method"].as_str() {
        Some("mining.submit") => format!("submit {} {}", line["params"][1], line["params"][2]),
        Some("mining.notify") => format!("notify {}", line["params"][0]),
        Some(method) => format!("{method} {}", line["params"]),
        None if line["error"].is_null() => format!("result {}", line["result"][1]),
        None => format!("error {}", line["error"]),
    }
}

#[test]
fn lines_of_miners() {
    let subscribed = r#"down result "000000000000000080000001""#;

    assert_eq!(
        outcomes(include_str!("corpus/decred-miner-to-pool.jsonl"), Side::Downstream),
        [
            // ccminer at NiceHash; its user is another than the session's.
            subscribed,
            r#"disregard unexpected by the miner; down error [24,"Unauthorized worker",null]"#,
            "down result null",
            // gominer. What it says of its version is an answer, whatever it looks like.
            subscribed,
            r#"up mining.authorize ["DsUser.rig1","x"]"#,
            "",
            r#"up submit "76df" "0000000000000000e3014335""#,
            // ccminer again.
            r#"up submit "7c62" "010000000000000001003f80""#,
        ]
    );
}

#[test]
fn lines_of_pools() {
    let to_nothing = "disregard unknown_id by the pool of leg 1";

    assert_eq!(
        outcomes(include_str!("corpus/decred-pool-to-miner.jsonl"), Side::Upstream(LegId(1))),
        [
            // NiceHash: a subscription that this leg did not ask for, and a line without its end.
            to_nothing,
            "disregard bad_frame by the pool of leg 1",
            // What gominer replays of a pool of yiimp's kind.
            to_nothing,
            "down mining.set_difficulty [1]",
            to_nothing,
            // suprnova.
            r#"down notify "007c62""#,
            // dcrpool.
            to_nothing,
            to_nothing,
            "down mining.set_difficulty [8]",
            to_nothing,
            // sserver in both forms.
            to_nothing,
            to_nothing,
            r#"down notify "000007""#,
        ]
    );
}

#[test]
fn what_pools_answer_to_subscribe() {
    let file = include_str!("corpus/decred-pool-to-miner.jsonl");
    let rows = file.lines().map(|row| serde_json::from_str::<Value>(row).expect("JSON"));
    let mut refused = Vec::new();
    for row in rows {
        let line = row["line"].as_str().expect("corpus rows have a line");
        let is_subscription = serde_json::from_str::<Value>(line)
            .is_ok_and(|line| line["id"] == 1 && line["result"].is_array());
        if !is_subscription {
            continue;
        }
        let mut world = mining();
        world.leg_up(2, &json!({}));
        let asked = world.take(Input::Frame(Side::Upstream(LegId(2)), line.as_bytes()));
        let (_, why) = asked.rsplit_once("why: ").expect("the leg is refused");
        refused.push(why.trim_end_matches(" }").trim_matches('"').to_owned());
    }

    let folded = "nothing can be folded into Decred's header: the pool has extranonce1";
    let others = "the miner was told others; announce: not asked for";
    assert_eq!(
        refused,
        [
            format!("{folded} 780010894b and extranonce2 size 7, {others}"),
            format!("{folded} 0000000000000000e3014335 and extranonce2 size 12, {others}"),
            format!("{folded} 0000000d and extranonce2 size 4, {others}"),
            // Another session's id.
            format!("{folded} 6e000001 and extranonce2 size 8, {others}"),
            format!("{folded} 00000000000000006e000001 and extranonce2 size 8, {others}"),
        ]
    );
}
