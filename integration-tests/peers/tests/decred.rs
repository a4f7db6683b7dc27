//! Decred's pool and miner face to face: both find nothing to complain about, and a pool tells a share
//! that is placed in the other form from a good one.

use stratum_peers::decred::Form;
use stratum_peers::{Chain, Miner, MinerConfig, Pool, PoolConfig, eventually};

/// A pool that makes extranonces of its own, so that no switcher is needed.
async fn dcrpool(difficulty: f64) -> Pool {
    Pool::start(PoolConfig::dcrpool().difficulty(difficulty)).await
}

#[tokio::test]
async fn shares_of_a_decred_miner_are_accepted() {
    let pool = dcrpool(1e-8).await;
    let miner = Miner::connect(pool.address(), MinerConfig::decred("a.b", Form::Appended)).await;

    eventually("ten shares", || miner.report().accepted >= 10).await;

    assert_eq!(miner.report().rejections, []);
    assert_eq!(miner.report().violations, [] as [String; 0]);
    assert_eq!(pool.report().violations, [] as [String; 0]);
}

#[tokio::test]
async fn a_share_in_another_form_is_no_share() {
    let pool = dcrpool(1e-7).await;
    let miner = Miner::connect(pool.address(), MinerConfig::decred("a.b", Form::Template)).await;

    eventually("three refusals", || miner.report().rejected_total() >= 3).await;

    assert_eq!(miner.report().accepted, 0);
}

#[tokio::test]
async fn a_bitcoin_header_is_no_share_of_decred() {
    let pool = dcrpool(1e-7).await;
    let mut config = MinerConfig::decred("a.b", Form::Appended);
    config.chain = Chain::Bitcoin;
    let miner = Miner::connect(pool.address(), config).await;

    eventually("three refusals", || miner.report().rejected_total() >= 3).await;

    assert_eq!(miner.report().accepted, 0);
}
