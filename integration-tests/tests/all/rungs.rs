//! Pools too small to fold: who is told another extranonce, who is sent back, and who stays.

use std::time::Duration;

use integration_tests::{Switcher, SwitcherConfig};
use serde_json::json;
use stratum_peers::miner::Handshake;
use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig, eventually, eventually_within};
use switcher_core::Settings;
use switcher_core::settings::USUAL_RUNGS;
use switcher_plugin::Rung;

use crate::support::{has_noticed_nothing, plain, shares_at};

/// A pool whose jobs stay valid for longer than any share is under way.
fn lasting(name: &str, size: usize) -> PoolConfig {
    let mut config = plain(name).extranonce2_size(size);
    config.jobs_kept = 256;
    config
}

/// A switcher with btc at a pool with 8 bytes and bch at the small one, `alice` on btc.
async fn border(big: &Pool, small: &Pool, change: impl FnOnce(&mut Settings)) -> Switcher {
    let config = SwitcherConfig::new().pool("btc", big).pool("bch", small);
    let switcher = config.with(change).start().await;
    switcher.assign("alice", "btc");
    switcher
}

fn config(handshake: Handshake, rig: &str) -> MinerConfig {
    MinerConfig::new(format!("alice.{rig}"))
        .handshake(handshake)
        .share_every(Duration::from_millis(50))
}

/// Without an extranonce subscription, so that it has to come back.
fn antminer_without_xnsub() -> Handshake {
    let mut handshake = Handshake::bmminer();
    handshake.steps.retain(|step| !format!("{step:?}").contains("extranonce.subscribe"));
    handshake
}

fn times_told(miner: &Miner) -> usize {
    let told = |line: &&String| line.starts_with('<') && line.contains("mining.set_extranonce");
    miner.lines().iter().filter(told).count()
}

/// The miner's own shares and none of them refused or lost while it was connected.
fn nothing_refused(miner: &Miner, pools: &[&Pool]) {
    let report = miner.report();
    assert_eq!(report.rejections, []);
    assert_eq!(report.violations, [] as [String; 0]);
    for pool in pools {
        assert_eq!(pool.report().rejected_total(), 0, "{:?}", pool.report().refusals);
        assert_eq!(pool.report().violations, [] as [String; 0]);
    }
}

async fn patiently(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(what, Duration::from_mins(1), condition).await;
}

const MINERS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_miners_that_asked_for_it_switch_to_a_pool_without_room_and_back() {
    let (big, small) = (lasting("big", 8), lasting("small", 3).extranonce1_size(5));
    let (big, small) = (Pool::start(big).await, Pool::start(small).await);
    let switcher = border(&big, &small, |_| {}).await;
    let mut miners = Vec::new();
    for n in 0..MINERS {
        let pace = Duration::from_millis(400);
        let config = config(Handshake::bmminer(), &format!("r{n}")).share_every(pace);
        miners.push(Miner::connect(switcher.address(), config).await);
    }
    patiently("all mine", || miners.iter().all(|miner| miner.report().accepted > 0)).await;

    for round in 1..=6 {
        let (coin, pool) = if round % 2 == 0 { ("btc", &big) } else { ("bch", &small) };
        let before = pool.report().accepted_by_name;
        switcher.assign("alice", coin);
        if round == 3 {
            switcher.freeze_and_resume().await;
        }
        patiently(&format!("switch {round}: every miner mines {coin}"), || {
            let now = pool.report().accepted_by_name;
            let has_more = |n| {
                let name = format!("alice.r{n}");
                now.get(&name) > before.get(&name)
            };
            (0..MINERS).all(has_more)
        })
        .await;
    }

    for miner in &miners {
        miner.pause(true).await;
    }
    patiently("all is answered", || miners.iter().all(|miner| miner.report().unanswered == 0))
        .await;
    let mut accepted = 0;
    for miner in &miners {
        has_noticed_nothing(miner);
        nothing_refused(miner, &[]);
        assert_eq!((times_told(miner), miner.report().lost), (6, 0));
        accepted += miner.report().accepted;
    }
    nothing_refused(&miners[0], &[&big, &small]);
    assert_eq!(accepted, big.report().accepted + small.report().accepted);
    assert_eq!(rung(&switcher, "announce").await, 3.0 * MINERS as f64);
    assert_eq!(rung(&switcher, "reconnect").await, 0.0);
}

/// Cut-overs by a rung.
async fn rung(switcher: &Switcher, name: &str) -> f64 {
    switcher.metric(&format!("switcher_cut_overs_total{{rung=\"{name}\"}}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_that_did_not_ask_come_back_once_and_mine_at_the_small_pool_at_once() {
    let big = Pool::start(lasting("big", 8)).await;
    let small = Pool::start(lasting("small", 3)).await;
    let switcher = border(&big, &small, |_| {}).await;
    // By its session id, by its place, and pipelined without one.
    let handshakes = [antminer_without_xnsub(), Handshake::cgminer(), Handshake::axeos()];
    let mut miners = Vec::new();
    for n in 0..30 {
        let mut handshake = handshakes[n % 3].clone();
        if handshake.agent.starts_with("bitaxe") {
            handshake.steps.retain(|step| !format!("{step:?}").contains("extranonce.subscribe"));
        }
        let config = config(handshake, &format!("r{n}")).reconnecting(Duration::from_millis(50));
        miners.push(Miner::connect(switcher.address(), config).await);
    }
    patiently("all mine", || miners.iter().all(|miner| miner.report().accepted > 0)).await;

    switcher.assign("alice", "bch");
    patiently("all mine at the small pool", || {
        let now = small.report().accepted_by_name;
        (0..30).all(|n| now.contains_key(&format!("alice.r{n}")))
    })
    .await;
    // Back again nobody has to leave: what fits three bytes fits eight.
    let before = big.report().accepted_by_name;
    switcher.assign("alice", "btc");
    patiently("all are back", || {
        let now = big.report().accepted_by_name;
        (0..30).all(|n| now.get(&format!("alice.r{n}")) > before.get(&format!("alice.r{n}")))
    })
    .await;

    for miner in &miners {
        let report = miner.report();
        assert_eq!((report.connections, report.reconnect_requests.len()), (2, 1), "{report:?}");
        assert_eq!(report.extranonce2_size, 2);
        assert_eq!(times_told(miner), 0);
    }
    nothing_refused(&miners[0], &[&big, &small]);
    assert_eq!(rung(&switcher, "reconnect").await, 30.0);
    // Two notes each. Those of a session id are left over where the miner brings none along.
    assert_eq!(switcher.metric("switcher_notes_recalled_total").await, 50.0);
    assert_eq!(switcher.metric("switcher_notes").await, 10.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_for_a_small_pool_comes_back_once() {
    let small = Pool::start(lasting("small", 3)).await;
    let config = SwitcherConfig::new().pool("btc", &small).with(|settings| settings.probe = false);
    let switcher = config.start().await;
    switcher.assign("alice", "btc");
    let config = config_of_returning(Handshake::cgminer());
    let miner = Miner::connect(switcher.address(), config).await;

    shares_at(&small, 5).await;

    assert_eq!(miner.report().connections, 2, "{:?}", miner.report().disconnects);
    nothing_refused(&miner, &[&small]);
}

fn config_of_returning(handshake: Handshake) -> MinerConfig {
    config(handshake, "rig1").reconnecting(Duration::from_millis(50))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_crashes_on_it_never_sees_it_and_stays() {
    let big = Pool::start(lasting("big", 8)).await;
    let small = Pool::start(lasting("small", 3)).await;
    let switcher = border(&big, &small, |_| {}).await;
    let miner =
        Miner::connect(switcher.address(), config_of_returning(Handshake::nerdqaxe())).await;
    shares_at(&big, 5).await;

    switcher.assign("alice", "bch");
    patiently_metric(&switcher, "switcher_cannot_move_total", 1.0).await;
    shares_at(&big, 5).await;

    has_noticed_nothing(&miner);
    assert_eq!((times_told(&miner), small.report().accepted), (0, 0));
    let sessions = switcher.api("/api/v1/sessions").await;
    let trouble = sessions["items"][0]["trouble"].as_str().unwrap_or_default().to_owned();
    assert!(trouble.contains("no room to fold") && trouble.contains("reconnect:"), "{sessions}");
}

async fn patiently_metric(switcher: &Switcher, name: &str, value: f64) {
    let mut seen = switcher.metric(name).await;
    for _ in 0..1_000 {
        if seen >= value {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        seen = switcher.metric(name).await;
    }
    assert!(seen >= value, "{name} does not reach {value}: {seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_can_say_what_an_agent_bears() {
    let big = Pool::start(lasting("big", 8)).await;
    let small = Pool::start(lasting("small", 3)).await;
    let quirks = json!({"quirks": [{"agent": "NerdQAxe", "set_extranonce": "any"}]});
    let switcher = border(&big, &small, |settings| settings.listeners[0].options = quirks).await;
    let miner = Miner::connect(switcher.address(), config(Handshake::nerdqaxe(), "rig1")).await;
    shares_at(&big, 5).await;

    switcher.assign("alice", "bch");
    shares_at(&small, 5).await;

    has_noticed_nothing(&miner);
    assert_eq!(times_told(&miner), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miner_that_ignores_the_request_stays_where_it_is() {
    let big = Pool::start(lasting("big", 8)).await;
    let small = Pool::start(lasting("small", 3)).await;
    let switcher = border(&big, &small, |_| {}).await;
    let miner = config(Handshake::cgminer(), "rig1").ignoring_reconnect();
    let miner = Miner::connect(switcher.address(), miner).await;
    shares_at(&big, 5).await;

    switcher.assign("alice", "bch");
    eventually("it is asked", || miner.report().reconnect_requests.len() == 1).await;
    patiently_metric(&switcher, "switcher_cannot_move_total", 1.0).await;
    shares_at(&big, 5).await;

    has_noticed_nothing(&miner);
    assert_eq!(miner.report().reconnect_requests.len(), 1, "it is not asked again");
    nothing_refused(&miner, &[&big, &small]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_sent_back_twice_stays_on_its_coin() {
    let big = Pool::start(lasting("big", 8)).await;
    let small = Pool::start(lasting("small", 3)).await;
    let switcher = border(&big, &small, |_| {}).await;
    let config = config_of_returning(Handshake::cgminer());
    let miner = Miner::connect(switcher.address(), config).await;
    shares_at(&big, 5).await;

    // Each time the miner comes back the pool has less room than it had.
    switcher.assign("alice", "bch");
    eventually("it is sent back", || miner.report().reconnect_requests.len() == 1).await;
    small.reconfigure(|config| config.extranonce2_size = 2);
    eventually("and again", || miner.report().reconnect_requests.len() == 2).await;
    small.reconfigure(|config| config.extranonce2_size = 1);
    shares_at(&big, 5).await;

    let report = miner.report();
    assert_eq!((report.connections, report.reconnect_requests.len()), (3, 2), "{report:?}");
    assert_eq!(report.rejections, []);
    assert_eq!(switcher.metric("switcher_cannot_move_total").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_resets_the_miner_where_it_is_allowed() {
    let big = Pool::start(lasting("big", 8)).await;
    let small = Pool::start(lasting("small", 3)).await;
    let switcher = border(&big, &small, |settings| {
        let rungs = USUAL_RUNGS.with(Rung::Drop);
        settings.listeners[0].rungs = rungs;
        settings.coins.values_mut().for_each(|coin| coin.rungs = rungs);
    })
    .await;
    let config = config_of_returning(Handshake::nerdminer());
    let miner = Miner::connect(switcher.address(), config).await;
    shares_at(&big, 5).await;

    switcher.assign("alice", "bch");
    shares_at(&small, 5).await;

    let report = miner.report();
    assert_eq!((report.connections, report.reconnect_requests.len()), (2, 0), "{report:?}");
    assert!(report.disconnects[0].contains("reset"), "{:?}", report.disconnects);
    assert_eq!(report.extranonce2_size, 2);
    nothing_refused(&miner, &[&big, &small]);
    assert_eq!(rung(&switcher, "drop").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rungs_can_be_forbidden_for_a_coin() {
    let big = Pool::start(lasting("big", 8)).await;
    let small = Pool::start(lasting("small", 3)).await;
    let switcher = border(&big, &small, |settings| {
        if let Some(coin) = settings.coins.get_mut("bch") {
            coin.rungs = USUAL_RUNGS.without(Rung::Announce).without(Rung::Reconnect);
        }
    })
    .await;
    let miner = Miner::connect(switcher.address(), config_of_returning(Handshake::bmminer())).await;
    shares_at(&big, 5).await;

    switcher.assign("alice", "bch");
    patiently_metric(&switcher, "switcher_cannot_move_total", 1.0).await;
    shares_at(&big, 5).await;

    has_noticed_nothing(&miner);
    assert_eq!(times_told(&miner), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miner_is_remembered_across_an_upgrade() {
    let big = Pool::start(lasting("big", 8)).await;
    let small = Pool::start(lasting("small", 3)).await;
    let switcher = border(&big, &small, |_| {}).await;
    let config = config(Handshake::cgminer(), "rig1").reconnecting(Duration::from_millis(1500));
    let miner = Miner::connect(switcher.address(), config).await;
    shares_at(&big, 5).await;

    switcher.assign("alice", "bch");
    eventually("it has left", || !miner.report().connected).await;
    assert_eq!(switcher.metric("switcher_notes").await, 2.0);
    switcher.freeze_and_resume().await;
    assert_eq!(switcher.metric("switcher_notes").await, 2.0);
    shares_at(&small, 5).await;

    assert_eq!(miner.report().connections, 2);
    assert_eq!(miner.report().extranonce2_size, 2);
    nothing_refused(&miner, &[&big, &small]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pools_own_change_reaches_a_miner_that_mines_by_its_extranonce() {
    let big = Pool::start(lasting("big", 8)).await;
    let small = Pool::start(lasting("small", 3)).await;
    let switcher = border(&big, &small, |_| {}).await;
    let miner = Miner::connect(switcher.address(), config(Handshake::bmminer(), "rig1")).await;
    shares_at(&big, 5).await;
    switcher.assign("alice", "bch");
    shares_at(&small, 5).await;

    small.change_extranonce(5, 2);
    eventually("the miner is told", || miner.report().extranonce2_size == 2).await;
    shares_at(&small, 5).await;
    miner.pause(true).await;
    eventually("all is answered", || miner.report().unanswered == 0).await;

    has_noticed_nothing(&miner);
    nothing_refused(&miner, &[&big, &small]);
    let session = switcher.api("/api/v1/sessions").await;
    assert_eq!(session["items"][0]["state"]["extranonce2_size"], "2");
}
