//! A session in every phase at the moment of the signal.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use stratum_peers::pool::Quirk;
use stratum_peers::{Miner, MinerConfig, Pool, eventually};

use crate::running::{Start, books_agree, has_noticed_nothing, plain, shares_at};
use crate::wire::{SUBSCRIBE, Wire, has_read};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_cut_at_any_byte_is_read_to_its_end_by_the_new_program() {
    let pool = Pool::start(plain("pool")).await;
    let switcher = Start::one(&pool).go().await;
    let mut wires: Vec<_> =
        (0..=SUBSCRIBE.len()).map(|cut| (cut, Wire::connect(switcher.address))).collect();

    for (cut, wire) in &mut wires {
        wire.send(SUBSCRIBE.get(..*cut).unwrap());
    }
    has_read(&switcher, (0..=SUBSCRIBE.len()).sum()).await;
    let last = switcher.upgrade_well().await;
    assert_eq!(last["sessions"], wires.len());
    // A second one finds some of them as the first has left them.
    switcher.upgrade_well().await;

    for (cut, wire) in &mut wires {
        wire.send(SUBSCRIBE.get(*cut..).unwrap());
        let answer = wire.next();
        assert_eq!((&answer["id"], &answer["error"]), (&json!(1), &Value::Null), "cut at {cut}");
        assert!(answer["result"][1].is_string(), "{answer}");
    }
    switcher.has_logged_no_error();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_goes_on_from_any_step() {
    let pool = Pool::start(plain("pool")).await;
    let switcher = Start::one(&pool).go().await;
    let mut wire = Wire::connect(switcher.address);

    switcher.upgrade_well().await;
    wire.send(SUBSCRIBE);
    let extranonce1 = wire.answer(1)["result"][1].clone();
    switcher.upgrade_well().await;
    wire.send("{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"alice.rig\",");
    has_read(&switcher, 1).await;
    switcher.upgrade_well().await;
    wire.send("\"x\"]}\n");
    switcher.upgrade_well().await;

    assert_eq!(wire.answer(2)["result"], true);
    let mut methods = Vec::new();
    while !methods.contains(&json!("mining.notify")) {
        methods.push(wire.next()["method"].clone());
    }
    assert!(extranonce1.is_string());
    assert!(methods.contains(&json!("mining.set_difficulty")), "{methods:?}");
    assert_eq!(switcher.api("/api/v1/sessions")["items"][0]["worker"], "alice.rig");
}

#[tokio::test]
async fn pool_that_speaks_in_halves_serves_through_upgrades_at_any_time() {
    let halves = Quirk::CutsLines(Duration::from_millis(40));
    let pool = Pool::start(plain("pool").quirk(halves)).await;
    let switcher = Start::one(&pool).go().await;
    let slow = MinerConfig::new("alice.rig1").share_every(Duration::from_millis(200));
    let miner = Miner::connect(switcher.address, slow).await;

    for _ in 0..8 {
        switcher.upgrade_well().await;
    }
    eventually("it mines", || miner.report().accepted > 3).await;

    assert_eq!(pool.report().connections, 1, "its handshake was not begun anew");
    books_agree(&[miner], &[&pool]).await;
}

#[tokio::test]
async fn miner_without_a_pool_is_held_through_an_upgrade_until_the_pool_is_back() {
    let mut pool = Pool::start(plain("pool")).await;
    let more = "[timing]\nretry_min = \"100ms\"\nretry_max = \"200ms\"\n";
    let switcher = Start::one(&pool).more(more).go().await;
    let miner = switcher.miner("rig1").await;
    shares_at(&pool, 5).await;
    pool.stop().await;

    switcher.upgrade_well().await;
    switcher.upgrade_well().await;
    pool.restart().await;

    shares_at(&pool, 5).await;
    let report = miner.report();
    assert!(report.connected && report.connections == 1, "{:?}", report.disconnects);
    assert_eq!(report.violations, [] as [String; 0]);
}

#[tokio::test]
async fn dial_in_progress_is_begun_anew() {
    // Two wait to be accepted and nobody accepts them: a third hears nothing.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let filler = TcpStream::connect(address).unwrap();
    let pool = Pool::start(plain("pool")).await;
    let more = "[timing]\ndial = \"20s\"\n";
    let switcher = Start::new([("btc", address)]).more(more).go().await;
    let miner = switcher.miner("rig1").await;
    eventually("it dials", || {
        let text = switcher.get("/metrics");
        text.contains("switcher_pool_dials_total{coin=\"btc\",pool=\"btc-pool\"} 1")
    })
    .await;

    switcher.upgrade_well().await;
    assert_eq!(miner.report().accepted, 0);
    // From here on it leads to a pool.
    drop(filler);
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let to = pool.address();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut to = tokio::net::TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });

    eventually("it mines", || miner.report().accepted > 3).await;
    has_noticed_nothing(&miner);
}

#[tokio::test]
async fn pool_that_stops_reading_gets_every_share_when_it_reads_again() {
    let pool = Pool::start(plain("pool")).await;
    let switcher = Start::one(&pool).go().await;
    let miner = switcher.miner("rig1").await;
    shares_at(&pool, 5).await;

    pool.reconfigure(|config| {
        config.quirks.insert(Quirk::StopsReading);
    });
    let before = miner.report().submitted;
    eventually("shares are under way", || miner.report().submitted >= before + 5).await;
    switcher.upgrade_well().await;
    switcher.upgrade_well().await;
    pool.reconfigure(|config| {
        config.quirks.remove(&Quirk::StopsReading);
    });

    shares_at(&pool, 10).await;
    books_agree(&[miner], &[&pool]).await;
}

#[tokio::test]
async fn peers_that_leave_during_the_pause_are_noticed_behind_it() {
    let pool = Pool::start(plain("pool")).await;
    let start = Start::one(&pool).variable("STRATUM_SWITCHER_FAULT", "commit=300");
    let switcher = start.go().await;
    let miners = [switcher.miner("rig1").await, switcher.miner("rig2").await];
    let stays = switcher.miner("rig3").await;
    shares_at(&pool, 15).await;

    switcher.signal(nix::sys::signal::Signal::SIGUSR2);
    eventually("it freezes", || switcher.log.count("freezing") > 0).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    miners[0].close(false);
    miners[1].close(true);
    switcher.outcome_after(0).await;

    eventually("both are gone", || switcher.api("/api/v1/status")["sessions"] == 1).await;
    shares_at(&pool, 5).await;
    has_noticed_nothing(&stays);
}
