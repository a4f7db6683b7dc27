//! Nothing moves by accident.

use std::time::Duration;

use serde_json::Value;
use stratum_peers::{Miner, MinerConfig, Pool, eventually, never_within};

use crate::support::{alice, has_noticed_nothing, one_coin, plain, shares_at, two_coins};

#[tokio::test(flavor = "multi_thread")]
async fn an_instruction_that_vanishes_moves_nobody() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = one_coin(&[&pool]).await;
    let miner = alice(&switcher).await;
    shares_at(&pool, 5).await;

    switcher.forget("alice");
    shares_at(&pool, 20).await;

    has_noticed_nothing(&miner);
    assert_eq!(pool.report().connections, 1, "nobody was moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_that_is_not_configured_moves_nobody_and_is_reported() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = one_coin(&[&pool]).await;
    let miner = alice(&switcher).await;
    shares_at(&pool, 5).await;

    switcher.assign("alice", "doge");
    shares_at(&pool, 20).await;

    has_noticed_nothing(&miner);
    assert_eq!(pool.report().connections, 1, "nobody was moved");
    assert_eq!(switcher.metric("switcher_cannot_move_total").await, 1.0);
    let session = &switcher.api("/api/v1/sessions").await["items"][0];
    assert_eq!(session["trouble"], "coin doge is not configured");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_of_another_algorithm_moves_nobody_unless_allowed() {
    let (pool, other) = (Pool::start(plain("btc")).await, Pool::start(plain("bch")).await);
    let switcher = integration_tests::SwitcherConfig::new()
        .pool("btc", &pool)
        .pool("bch", &other)
        .with(|settings| {
            if let Some(coin) = settings.coins.get_mut("bch") {
                coin.algorithm = "scrypt".to_owned();
            }
        })
        .start()
        .await;
    switcher.assign("alice", "btc");
    let miner = alice(&switcher).await;
    shares_at(&pool, 5).await;

    switcher.assign("alice", "bch");
    shares_at(&pool, 20).await;

    has_noticed_nothing(&miner);
    assert_eq!(other.report().accepted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_nobody_knows_is_refused_and_let_go() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = one_coin(&[&pool]).await;

    let miner = Miner::connect(switcher.address(), MinerConfig::new("mallory.rig1").idle()).await;

    eventually("it is refused", || miner.report().authorized == Some(false)).await;
    eventually("it is let go", || !miner.report().connected).await;
    assert_eq!(pool.report().accepted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sub_accounts_are_moved_each_by_its_own_instruction() {
    let (pool, other) = (Pool::start(plain("btc")).await, Pool::start(plain("bch")).await);
    let switcher = two_coins(&pool, &other).await;
    switcher.assign("bob", "btc");
    let alice = alice(&switcher).await;
    let bob = MinerConfig::new("bob.rig1").share_every(Duration::from_millis(30));
    let bob = Miner::connect(switcher.address(), bob).await;
    shares_at(&pool, 10).await;

    switcher.assign("bob", "bch");
    shares_at(&other, 10).await;

    never_within("alice is moved", Duration::from_millis(300), || {
        other.report().accepted_by_name.contains_key("alice.rig1")
    })
    .await;
    has_noticed_nothing(&alice);
    has_noticed_nothing(&bob);
    let accounts = switcher.api("/api/v1/accounts").await;
    let coins: Vec<&Value> =
        accounts["items"].as_array().expect("a list").iter().map(|item| &item["coin"]).collect();
    assert_eq!(coins, ["btc", "bch"]);
}
