//! Miners go from pool to pool, whatever each of them speaks, on one connection and without a loss.

use std::time::Duration;

use integration_tests::{Switcher, SwitcherConfig};
use serde_json::{Value, json};
use stratum_peers::eth::verdict::{has_noticed_nothing, nothing_wrong_at};
use stratum_peers::eth::{EthMiner, EthMinerConfig, EthPool, EthPoolConfig, Variant};

use super::{busy, patiently};

const COINS: [&str; 4] = ["etha", "ethb", "ethc", "ethd"];

/// What serves miners that choose whole nonces: either variant of those, BTCPool's sserver, and a
/// pool with prefixes that it does not insist on.
fn for_whole_nonces() -> [(EthPoolConfig, Value); 4] {
    let mut lenient = EthPoolConfig::new(Variant::NiceHash);
    lenient.takes_whole_nonces = true;
    [
        (EthPoolConfig::open_ethereum_pool(), Value::Null),
        (EthPoolConfig::new(Variant::Plain), json!({"variant": "stratum"})),
        (EthPoolConfig::sserver(), json!({"extranonce": "echo"})),
        (lenient, json!({"variant": "nicehash", "nonce_prefix": "ignored"})),
    ]
}

/// What serves miners that are given a prefix: either variant of those, sserver, and a pool that
/// does not look at the mix digest, which such miners do not send.
fn for_prefixes() -> [(EthPoolConfig, Value); 4] {
    let mut lenient = EthPoolConfig::ethermine();
    lenient.checks_mix = false;
    [
        (EthPoolConfig::new(Variant::NiceHash), json!({"variant": "nicehash"})),
        (EthPoolConfig::new(Variant::Es2), json!({"variant": "stratum2"})),
        (EthPoolConfig::sserver(), json!({"extranonce": "echo"})),
        (lenient, json!({"variant": "ethproxy", "mix_digest": "ignored"})),
    ]
}

async fn start(pools: [(EthPoolConfig, Value); 4], really: u64) -> (Vec<EthPool>, Switcher) {
    let mut config = SwitcherConfig::ethereum();
    let mut running = Vec::new();
    for ((pool, options), (tag, coin)) in pools.into_iter().zip((1..).zip(COINS)) {
        // Two difficulties, so that a share judged by another job's is found out.
        let pool = busy(pool).name(coin, tag).moving_difficulty([9.3e-10, 4e-10]);
        let pool = EthPool::start(pool.really_every(really)).await;
        config = config.eth_pool(coin, &pool, options);
        running.push(pool);
    }
    let switcher = config.start().await;
    switcher.assign("alice", COINS[0]);
    (running, switcher)
}

/// So many miners go round the four pools, so many times, with a freeze now and then. Before the
/// next switch every miner has mined at the pool of the last one.
async fn rounds(
    variant: Variant,
    pools: [(EthPoolConfig, Value); 4],
    miners: usize,
    moves: usize,
    really: u64,
) {
    let (pools, switcher) = start(pools, really).await;
    let mut connected = Vec::new();
    for n in 0..miners {
        let config = EthMinerConfig::new(variant, format!("alice.rig{n}"));
        let config = config.share_every(Duration::from_millis(400));
        connected.push(EthMiner::connect(switcher.address(), config).await);
    }
    patiently("all miners have shares accepted", || {
        connected.iter().all(|miner| miner.report().accepted > 0)
    })
    .await;

    for (round, (tag, coin)) in (1..=moves).zip((1_u8..).zip(COINS).cycle().skip(1)) {
        let accepted = |miner: &EthMiner| miner.report().accepted_by_tag.get(&tag).copied();
        let before: Vec<_> = connected.iter().map(accepted).collect();
        switcher.assign("alice", coin);
        if round % 6 == 0 {
            switcher.freeze_and_resume().await;
        }
        patiently(&format!("switch {round}: every miner mines {coin}"), || {
            connected.iter().zip(&before).all(|(miner, before)| accepted(miner) > *before)
        })
        .await;
        assert!(connected.iter().all(|miner| miner.report().tag() == Some(tag)), "work of {coin}");
    }

    for miner in &connected {
        miner.pause(true).await;
    }
    patiently("all shares are answered", || {
        connected.iter().all(|miner| miner.report().unanswered == 0)
    })
    .await;
    connected.iter().for_each(has_noticed_nothing);
    pools.iter().for_each(nothing_wrong_at);
    let at_miners: u64 = connected.iter().map(|miner| miner.report().accepted).sum();
    let at_pools: u64 = pools.iter().map(|pool| pool.report().accepted).sum();
    assert_eq!(at_miners, at_pools, "shares lost or doubled");
    if really == 1 {
        assert!(pools.iter().all(|pool| pool.report().really_hashed == pool.report().accepted));
    }
    let counted = switcher.metric("switcher_switches_total").await;
    assert_eq!(counted, (miners * moves) as f64, "every switch is counted once");
}

/// As many miners and switches as the promise is about. The stand-in hash is agreed on: a machine
/// cannot hash so many shares in earnest, and what it covers is the same.
async fn many(variant: Variant, pools: [(EthPoolConfig, Value); 4]) {
    rounds(variant, pools, 200, 20, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ethproxy_miners_switch_twenty_times() {
    many(Variant::EthProxy, for_whole_nonces()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_miners_switch_twenty_times() {
    many(Variant::Plain, for_whole_nonces()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nicehash_miners_switch_twenty_times() {
    many(Variant::NiceHash, for_prefixes()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn es2_miners_switch_twenty_times() {
    many(Variant::Es2, for_prefixes()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_that_are_really_hashed_are_good_at_every_pool() {
    for variant in Variant::ALL {
        let pools = if variant.has_prefix() { for_prefixes() } else { for_whole_nonces() };
        rounds(variant, pools, 3, 6, 1).await;
    }
}
