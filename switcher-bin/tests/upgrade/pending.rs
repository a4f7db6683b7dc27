//! Bytes that a peer has not read at the moment of the signal.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::{Value, json};
use socket2::SockRef;
use stratum_peers::{Pool, eventually};

use crate::running::{Start, Switcher, plain};
use crate::wire::{self, SUBSCRIBE, Wire, has_read};

/// What has to wait for a slow reader.
const WAITING: u64 = 64 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_a_slow_miner_has_not_read_reach_it_once_and_in_order() {
    let pool = Pool::start(plain("pool")).await;
    let more = "[limits]\nunsent = 16777216\n[upgrade]\nruntime_file = \"runtime.json\"\n";
    let switcher = Start::one(&pool).more(more).go().await;
    let mut wire = Wire::connect_slow(switcher.address);
    wire.send(SUBSCRIBE);
    wire.answer(1);

    let (mut asked, mut sent) = (1, SUBSCRIBE.len());
    for _ in 0..40 {
        let mut text = String::new();
        for _ in 0..2_000 {
            asked += 1;
            let id = asked;
            let method = "mining.extranonce.subscribe";
            let request = json!({ "id": id, "method": method, "params": [] });
            let _ = writeln!(text, "{request}");
        }
        wire.send(&text);
        sent += text.len();
        has_read(&switcher, sent).await;
        switcher.upgrade_well().await;
        if unsent(&switcher).await.0 >= WAITING {
            break;
        }
    }
    let (waiting, _) = unsent(&switcher).await;
    assert!(waiting >= WAITING, "{waiting} bytes wait after {asked} requests");
    switcher.upgrade_well().await;

    for id in 2..=asked {
        assert_eq!(wire.next()["id"], id);
    }
    eprintln!("{waiting} bytes waited; {asked} answers came in order");
}

/// A leg takes 256 shares without an answer. Of the usual length those are 25 kB, which the buffers of
/// the system swallow; so these are long ones. What waits are whole shares and a part of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_a_slow_pool_has_not_read_reach_it_once_and_in_order() {
    const SHARES: u64 = 40;
    const FIRST: u64 = 10;
    let listener = wire::pool(true);
    let limits = "[limits]\nunsent = 16777216\ndownstream_frame = 1048576\n";
    let more = format!("{limits}[upgrade]\nruntime_file = \"runtime.json\"\n");
    let address = listener.local_addr().unwrap();
    let switcher = Start::new([("btc", address)]).more(&more).go().await;
    let mut miner = Wire::connect(switcher.address);
    let pool = std::thread::spawn(move || Wire::accept(&listener).0);
    let work = miner.log_in();
    let mut pool = pool.join().unwrap();

    // It is read from only as long as its pool reads.
    let mut stream = miner.stream.try_clone().unwrap();
    let filler = |number: u64| format!("{number:05} ").repeat(66_000);
    let sending = std::thread::spawn(move || {
        for number in FIRST..FIRST + SHARES {
            let line = work.share(number, &filler(number));
            stream.write_all(line.as_bytes()).unwrap();
        }
    });
    let mut arrived = FIRST;
    let mut next = |pool: &mut Wire| {
        let line = pool.next();
        let params = &line["params"];
        assert_eq!(line["method"], "mining.submit");
        assert_eq!(params[4], format!("{arrived:08x}"), "lost, doubled or out of order");
        assert_eq!(params[5], filler(arrived));
        arrived += 1;
        line["id"].clone()
    };
    let mut ids = Vec::new();
    let mut waiting = 0;
    while ids.len() < 30 {
        switcher.upgrade_well().await;
        waiting = unsent(&switcher).await.1;
        if waiting >= WAITING {
            break;
        }
        ids.push(next(&mut pool));
    }
    assert!(waiting >= WAITING, "{waiting} bytes wait after {} shares were read", ids.len());
    switcher.upgrade_well().await;

    SockRef::from(&pool.stream).set_recv_buffer_size(1 << 20).unwrap();
    while ids.len() < usize::try_from(SHARES).unwrap() {
        ids.push(next(&mut pool));
    }
    sending.join().unwrap();
    for id in &ids {
        pool.send(&wire::answer(id, &json!(true)));
    }
    for number in FIRST..FIRST + SHARES {
        let answer = miner.next();
        assert_eq!((&answer["id"], &answer["result"]), (&json!(number), &json!(true)));
    }
    eprintln!("{waiting} bytes waited; {SHARES} shares came in order, and their answers");
    switcher.has_logged_no_error();
}

/// Bytes for the first session's miner and for its first pool that waited at the last upgrade.
async fn unsent(switcher: &Switcher) -> (u64, u64) {
    let path = switcher.folder().join("runtime.json");
    let generation = switcher.told().1["generation"].clone();
    let mut found = (0, 0);
    eventually("the file is of the last upgrade", || {
        let Ok(text) = std::fs::read_to_string(&path) else { return false };
        let state: Value = serde_json::from_str(&text).unwrap();
        let before = state["document"]["upgrades"]["generation"].as_u64().unwrap();
        let session = &state["document"]["sessions"][0];
        let bytes = |residue: &Value| {
            let text = residue["tx"].as_str()?;
            text.split(' ').next()?.parse().ok()
        };
        let pool = bytes(&session["stage"]["speaking"]["legs"][0][1]).unwrap_or(0);
        found = (bytes(&session["down"]).unwrap(), pool);
        before + 1 == generation
    })
    .await;
    found
}
