//! What an operator can see.

use stratum_peers::Pool;

use crate::support::{alice, one_coin, plain, shares_at};

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_are_told() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = one_coin(&[&pool]).await;

    assert_eq!(switcher.get("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(switcher.get("/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(switcher.get("/nothing").await.0, 404);
    let (code, index) = switcher.get("/").await;
    assert_eq!(code, 200);
    for path in index.lines().filter_map(|line| line.split(' ').next()) {
        if path.starts_with('/') {
            assert_eq!(switcher.get(path).await.0, 200, "{path} is listed and there");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_of_the_metrics_agree_with_the_pools() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = one_coin(&[&pool]).await;
    let miner = alice(&switcher).await;
    shares_at(&pool, 20).await;
    miner.pause(true).await;
    stratum_peers::eventually("all are answered", || miner.report().unanswered == 0).await;

    let report = pool.report();
    assert_eq!(switcher.metric("switcher_pool_submitted_total").await, report.accepted as f64);
    assert_eq!(switcher.metric("switcher_pool_accepted_total").await, report.accepted as f64);
    assert_eq!(switcher.metric("switcher_sessions").await, 1.0);
    assert_eq!(switcher.metric("switcher_pool_sessions").await, 1.0);
    assert_eq!(switcher.metric("switcher_pool_legs").await, 1.0);
    assert!(switcher.metric("switcher_pool_jobs_total").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_shown_with_all_that_explains_it() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = one_coin(&[&pool]).await;
    let miner = alice(&switcher).await;
    shares_at(&pool, 5).await;

    let sessions = switcher.api("/api/v1/sessions").await;
    let session = &sessions["items"][0];

    let socket = miner.report().local_address.expect("it is connected").to_string();
    assert_eq!(session["peer"], socket);
    assert_eq!(session["sub_account"], "alice");
    assert_eq!(session["worker"], "alice.rig1");
    assert_eq!(session["coin"], "btc");
    assert_eq!(session["legs"][0]["role"], "active");
    assert_eq!(session["legs"][0]["rung"], "fold");
    assert_eq!(session["legs"][0]["pool"], "btc-1");
    assert_eq!(session["state"]["extranonce1"], miner.report().extranonce1);
    assert!(session["accepted"].as_u64() >= Some(5), "{session}");
    assert!(session["state"]["agent"].is_string(), "{session}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = one_coin(&[&pool]).await;
    let mut miners = Vec::new();
    for _ in 0..5 {
        miners.push(alice(&switcher).await);
    }
    shares_at(&pool, 5).await;

    let mut seen = std::collections::BTreeSet::new();
    let mut path = "/api/v1/sessions?limit=2".to_owned();
    for _ in 0..3 {
        let page = switcher.api(&path).await;
        for item in page["items"].as_array().expect("a list") {
            seen.insert(item["session"].to_string());
        }
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/sessions?limit=2&after={next}");
    }

    assert_eq!(seen.len(), 5);
    assert_eq!(switcher.get("/api/v1/sessions?after=nonsense").await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_and_coins_are_shown() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = one_coin(&[&pool]).await;
    let _miner = alice(&switcher).await;
    shares_at(&pool, 5).await;

    let pools = switcher.api("/api/v1/pools").await;
    assert_eq!(pools[0]["pool"], "btc-1");
    assert_eq!(pools[0]["address"], pool.address().to_string());
    assert_eq!(pools[0]["down"], false);
    assert_eq!(pools[0]["sessions"], 1);
    assert_eq!(pools[0]["fact"]["extranonce2_size"], 8);
    let coins = switcher.api("/api/v1/coins").await;
    assert_eq!(coins[0]["coin"], "btc");
    assert_eq!(coins[0]["pools"][0], "btc-1");
    let status = switcher.api("/api/v1/status").await;
    assert_eq!(status["sessions"], 1);
    assert_eq!(status["sources"][0]["healthy"], true);
}
