//! The ordinary case: the program is replaced and nobody notices.

use std::time::Duration;

use stratum_peers::{Miner, MinerConfig, Pool, eventually};

use crate::running::{BINARY, Start, books_agree, has_noticed_nothing, plain, shares_at};

#[tokio::test]
async fn miner_mines_on_through_an_upgrade() {
    let pool = Pool::start(plain("pool")).await;
    let switcher = Start::one(&pool).go().await;
    let miner = switcher.miner("rig1").await;
    shares_at(&pool, 5).await;

    let last = switcher.upgrade_well().await;
    shares_at(&pool, 20).await;

    assert_eq!((&last["generation"], &last["sessions"]), (&1.into(), &1.into()), "{last}");
    assert_eq!(pool.report().connections, 1, "the leg is the same");
    books_agree(&[miner], &[&pool]).await;
    switcher.has_logged_no_error();
    assert_eq!(switcher.stop().await, Some(0));
}

#[tokio::test]
async fn another_file_at_the_path_becomes_the_program() {
    let pool = Pool::start(plain("pool")).await;
    let switcher = Start::one(&pool).go().await;
    let miner = switcher.miner("rig1").await;
    shares_at(&pool, 5).await;
    let before = std::fs::read_link(format!("/proc/{}/exe", switcher.pid())).unwrap();

    switcher.replace(&std::fs::read(BINARY).unwrap(), 0o755);
    let away = std::fs::read_link(format!("/proc/{}/exe", switcher.pid())).unwrap();
    switcher.upgrade_well().await;
    shares_at(&pool, 5).await;

    let after = std::fs::read_link(format!("/proc/{}/exe", switcher.pid())).unwrap();
    assert!(away.to_string_lossy().ends_with("(deleted)"), "{away:?}");
    assert_eq!(after, before);
    assert_eq!(switcher.process()["Name"], "stratum-switche");
    has_noticed_nothing(&miner);
}

#[tokio::test]
async fn process_is_the_same_behind_fifty_upgrades_of_many_sessions() {
    let sessions = number("UPGRADE_SESSIONS", 200);
    let generations = number("UPGRADE_GENERATIONS", 50);
    let pool = Pool::start(plain("pool")).await;
    let switcher = Start::one(&pool).go().await;
    let mut miners: Vec<Miner> = Vec::new();
    for at in 0..sessions {
        let config = MinerConfig::new(format!("alice.rig{at}"));
        let slow = config.share_every(Duration::from_secs(1));
        miners.push(Miner::connect(switcher.address, slow).await);
    }
    eventually("all miners mine", || miners.iter().all(|miner| miner.report().accepted > 0)).await;
    let fresh = switcher.process();
    switcher.upgrade_well().await;
    let descriptors = switcher.descriptors();

    let mut longest = 0;
    for _ in 1..generations {
        let last = switcher.upgrade_well().await;
        longest = longest.max(last["pause_ms"].as_u64().unwrap());
    }

    eprintln!("{sessions} sessions, {generations} generations, longest pause {longest} ms");
    let after = switcher.process();
    for name in ["Pid", "PPid", "SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(after[name], fresh[name], "{name}");
    }
    assert!(after["SigIgn"].ends_with("1000"), "SIGPIPE is ignored: {}", after["SigIgn"]);
    assert!(after["SigBlk"].ends_with("4803"), "what is meant is blocked: {}", after["SigBlk"]);
    eventually("descriptors are as they were", || switcher.descriptors() == descriptors).await;
    assert_eq!(switcher.children(), "", "no child, no zombie");
    assert_eq!(switcher.api("/api/v1/status")["generation"], generations);
    assert_eq!(pool.report().connections, sessions, "every leg is the same");
    books_agree(&miners, &[&pool]).await;
    switcher.has_logged_no_error();
}

/// A number from a variable, so that a larger run can be asked for.
fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[tokio::test]
async fn listener_at_a_new_address_is_opened_and_its_sessions_are_kept() {
    let pool = Pool::start(plain("pool")).await;
    let switcher = Start::one(&pool).go().await;
    let miner = switcher.miner("rig1").await;
    shares_at(&pool, 5).await;

    // Another name as well: by default it follows the address.
    switcher.reconfigure(|text| {
        text.replace("name = \"miners\"\nlisten = \"127.0.0.1:0\"", "listen = \"127.0.0.2:0\"")
            .replace("shards = 2", "shards = 3")
    });
    switcher.upgrade_well().await;
    shares_at(&pool, 5).await;

    let new = switcher.place("listening for miners").await;
    let newcomer = Miner::connect(new, MinerConfig::new("alice.rig2")).await;
    eventually("the newcomer mines", || newcomer.report().accepted > 0).await;
    assert!(std::net::TcpStream::connect(switcher.address).is_err(), "the old one is closed");
    assert!(switcher.get("/metrics").contains("switcher_shards 3"));
    has_noticed_nothing(&miner);
}

#[tokio::test]
async fn coins_are_followed_behind_an_upgrade_and_a_switch_under_way_goes_on() {
    let (btc, bch) = (Pool::start(plain("btc")).await, Pool::start(plain("bch")).await);
    let switcher = Start::new([("btc", btc.address()), ("bch", bch.address())])
        .coins("[accounts]\nalice = \"btc\"\n")
        .go()
        .await;
    let miner = switcher.miner("rig1").await;
    shares_at(&btc, 5).await;

    let file = switcher.folder().join("coins.toml");
    for coin in ["bch", "btc", "bch"] {
        std::fs::write(&file, format!("[accounts]\nalice = \"{coin}\"\n")).unwrap();
        switcher.upgrade_well().await;
        shares_at(if coin == "btc" { &btc } else { &bch }, 5).await;
    }

    assert_eq!(switcher.api("/api/v1/sessions")["items"][0]["coin"], "bch");
    // The pools were left and come back to: connections there, but none from the miner.
    books_agree(&[miner], &[&btc, &bch]).await;
}
