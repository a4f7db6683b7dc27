//! Folding proven through the whole dialect: what the miner hashes is what the pool hashes.

use bitcoin_family::{BitcoinDialect, Extranonce, Flavour};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use switcher_plugin::{
    Action, Coin, DialectSession, Input, LegId, ListenerView, Millis, Outbox, Rung, Rungs, Seat,
    SessionId, SessionSeat, Side, StratumDialect, UpstreamSettings,
};

const FLAVOUR: Flavour =
    Flavour { name: "btc", address_prefixes: &[], extranonce: Extranonce::Coinbase };
const LEG: LegId = LegId(1);

/// One way of dealing with an extranonce of a pool: its own sizes and ours.
#[derive(Debug, Clone)]
struct Split {
    extranonce1: Vec<u8>,
    extranonce2_size: usize,
    size1: usize,
    size2: usize,
    short_id: u32,
}

/// A session between a pool and a miner, without an engine.
struct Wire {
    session: Box<dyn DialectSession>,
    out: Outbox,
}

impl Wire {
    /// A session that mines, and `E` in hex as the miner was told; or why there is none.
    fn mining(split: &Split, worker: &str) -> Result<(Self, String), String> {
        let dialect = BitcoinDialect::new(&FLAVOUR);
        let sizes = json!({"extranonce": {"size1": split.size1, "size2": split.size2}});
        let listener = ListenerView { options: sizes, ..ListenerView::default() };
        let seat = SessionSeat {
            session: SessionId(1),
            short_id: split.short_id,
            entropy: [7; 16],
            peer: None,
            listener: &listener,
        };
        let mut wire = Self { session: dialect.open(Seat::Miner(seat)), out: Outbox::new() };
        let subscribed = wire.miner(&json!({"id": 1, "method": "mining.subscribe", "params": []}));
        let told = subscribed[0]["result"].clone();
        assert_eq!(told[2], split.size2);
        wire.miner(&json!({"id": 2, "method": "mining.authorize", "params": [worker]}));
        let coin = Coin::new("btc");
        let settings = UpstreamSettings {
            name: "p",
            coin: &coin,
            user: None,
            password: None,
            options: &Value::Null,
        };
        let profile = dialect.profile(&settings).unwrap();
        let rungs = Rungs::NONE.with(Rung::Echo).with(Rung::Fold);
        wire.input(Input::LegUp { leg: LEG, profile: &profile, form: 0, rungs });
        let answer = json!([[], hex::encode(&split.extranonce1), split.extranonce2_size]);
        wire.pool(&json!({"id": 1, "result": answer, "error": null}).to_string());
        let refused = wire.out.actions().iter().find_map(|action| match action {
            Action::LegRefused { why, .. } => Some(why.to_string()),
            _ => None,
        });
        if let Some(why) = refused {
            return Err(why);
        }
        wire.pool(r#"{"id":2,"result":true,"error":null}"#);
        wire.input(Input::CutOver(LEG));
        Ok((wire, told[1].as_str().unwrap().to_owned()))
    }

    /// Gives one input and returns the lines that are sent.
    fn input(&mut self, input: Input<'_>) -> Vec<Value> {
        self.out.clear();
        self.session.handle(Millis(0), input, &mut self.out).unwrap();
        let mut lines = Vec::new();
        for action in self.out.actions() {
            if let Action::Send(_, range) = action {
                let sent = std::str::from_utf8(self.out.sent(range)).unwrap();
                lines.extend(sent.lines().map(|line| serde_json::from_str(line).unwrap()));
            }
        }
        lines
    }

    fn miner(&mut self, line: &Value) -> Vec<Value> {
        self.input(Input::Frame(Side::Downstream, line.to_string().as_bytes()))
    }

    fn pool(&mut self, line: &str) -> Vec<Value> {
        self.input(Input::Frame(Side::Upstream(LEG), line.as_bytes()))
    }
}

/// The header that a share for a job makes, as whoever sees both assembles it.
fn header(job: &Value, extranonce1: &str, share: &Value) -> Vec<u8> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let number = |value: &Value| {
        let mut bytes = hex::decode(text(value)).unwrap();
        bytes.reverse();
        bytes
    };
    let coinbase = [&text(&job[2]), extranonce1, &text(&share[2]), &text(&job[3])].concat();
    let mut root = double_sha256(&hex::decode(coinbase).unwrap());
    for branch in job[4].as_array().unwrap() {
        root = double_sha256(&[root, hex::decode(text(branch)).unwrap()].concat());
    }
    let mut previous = hex::decode(text(&job[1])).unwrap();
    previous.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    [number(&job[5]), previous, root, number(&share[3]), number(&job[6]), number(&share[4])]
        .concat()
}

fn double_sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(Sha256::digest(bytes)).to_vec()
}

/// All ways to see `whole` as `P ‖ pad ‖ E ‖ extranonce2` that a session can have. `pad ‖ E` is the
/// low end of the session's short id, so it must be a number of 32 bits.
fn splits(whole: &[u8]) -> Vec<Split> {
    let mut all = Vec::new();
    for at in 0..whole.len() {
        for (size1, size2) in (1..=8).flat_map(|size1| (1..=8).map(move |size2| (size1, size2))) {
            let extranonce2_size = whole.len() - at;
            if size1 + size2 > extranonce2_size {
                continue;
            }
            let middle = &whole[at..whole.len() - size2];
            let number = middle.iter().try_fold(0_u32, |number, byte| {
                number.checked_mul(256).map(|number| number | u32::from(*byte))
            });
            let Some(short_id) = number else { continue };
            let extranonce1 = whole[..at].to_vec();
            all.push(Split { extranonce1, extranonce2_size, size1, size2, short_id });
        }
    }
    all
}

#[test]
fn recorded_shares_hash_to_the_same_on_both_sides_in_every_split() {
    let mut proven = 0;
    for row in include_str!("../corpus/vectors-btc-shares.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let text = |name: &str| row[name].as_str().expect("a text of the vector").to_owned();
        let notify = text("notify");
        let job: Value = serde_json::from_str(&notify).unwrap();
        let mut share: Value = serde_json::from_str(&text("submit")).unwrap();
        let worker = share["params"][0].as_str().unwrap().to_owned();
        let extranonce2 = share["params"][2].as_str().unwrap().to_owned();
        let whole = hex::decode(text("extranonce1") + &extranonce2).unwrap();
        let mut recorded = hex::decode(text("hash_display")).unwrap();
        recorded.reverse();
        for split in splits(&whole) {
            let (mut wire, own) =
                Wire::mining(&split, &worker).expect("there is room in every split");

            let down = wire.pool(&notify);
            let below = &down.last().expect("the job goes down")["params"];
            share["params"][1] = below[0].clone();
            share["params"][2] = json!(hex::encode(&whole[whole.len() - split.size2..]));
            let mined = header(below, &own, &share["params"]);
            let up = wire.miner(&share);
            let received = &up[0]["params"];
            let extranonce1 = hex::encode(&split.extranonce1);
            let judged = header(&job["params"], &extranonce1, received);

            assert_eq!(hex::encode(&judged), text("header_hex"), "{split:?}");
            assert_eq!(mined, judged, "{split:?}");
            assert_eq!(double_sha256(&judged), recorded, "{split:?}");
            assert_eq!(received[0], worker);
            assert_eq!(received[1], job["params"][0]);
            assert_eq!(
                received[2].as_str().map(str::len),
                Some(2 * split.extranonce2_size),
                "{split:?}"
            );
            proven += 1;
        }
    }
    assert!(proven > 5_000, "{proven} splits are too few to prove anything");
}

fn split() -> impl Strategy<Value = Split> {
    (
        prop::collection::vec(any::<u8>(), 0..=16),
        1..=32_usize,
        1..=8_usize,
        1..=8_usize,
        any::<u32>(),
    )
        .prop_map(|(extranonce1, extranonce2_size, size1, size2, short_id)| Split {
            extranonce1,
            extranonce2_size,
            size1,
            size2,
            short_id,
        })
}

proptest! {
    #[test]
    fn the_coinbase_is_the_same_on_both_sides_for_all_sizes(
        split in split(),
        coinbase1 in prop::collection::vec(any::<u8>(), 0..200),
        coinbase2 in prop::collection::vec(any::<u8>(), 0..200),
        extranonce2: [u8; 8],
    ) {
        let job = json!({"id": null, "method": "mining.notify", "params": [
            "bf", "00".repeat(32), hex::encode(&coinbase1), hex::encode(&coinbase2),
            ["11".repeat(32)], "20000000", "207fffff", "5cb6dda8", true,
        ]});
        let fits = split.extranonce2_size >= split.size1 + split.size2;
        let mine = [[0; 4], split.short_id.to_be_bytes()].concat();
        let is_echo = split.extranonce2_size == split.size2
            && split.extranonce1 == mine[8 - split.size1..];
        match Wire::mining(&split, "hu60.111") {
            Err(why) => {
                prop_assert!(!fits && !is_echo, "{}", why);
            }
            Ok((mut wire, own)) => {
                prop_assert!(fits || is_echo);
                let below = wire.pool(&job.to_string()).pop().expect("the job goes down");
                let share = json!({"id": 9, "method": "mining.submit", "params": [
                    "hu60.111", below["params"][0],
                    hex::encode(&extranonce2[..split.size2]), "5cb6dda8", "00000001",
                ]});
                let mined = header(&below["params"], &own, &share["params"]);
                let up = wire.miner(&share);
                let extranonce1 = hex::encode(&split.extranonce1);
                prop_assert_eq!(
                    mined, header(&job["params"], &extranonce1, &up[0]["params"])
                );
                prop_assert_eq!(
                    up[0]["params"][2].as_str().map(str::len), Some(2 * split.extranonce2_size)
                );
            }
        }
    }
}

#[test]
fn two_sessions_never_share_their_part_of_the_extranonce() {
    // A pool that gives every connection the same extranonce1, as Braiins does.
    let of = |short_id: u32| {
        let split =
            Split { extranonce1: vec![0], extranonce2_size: 6, size1: 1, size2: 3, short_id };
        let (mut wire, _) = Wire::mining(&split, "hu60.111").unwrap();
        wire.pool(r#"{"id":null,"method":"mining.notify","params":["4","aa","01","02",[],"20000000","207fffff","5cb6dda8",true]}"#);
        let up = wire.miner(&json!({"id": 9, "method": "mining.submit", "params": [
            "hu60.111", "004", "000000", "5cb6dda8", "00000001",
        ]}));
        up[0]["params"][2].as_str().unwrap().to_owned()
    };
    let mut all: Vec<String> = (0..1000_u32).map(|id| of(0x0100_0080 + id)).collect();
    all.sort();
    all.dedup();

    assert_eq!(all.len(), 1000);
}
