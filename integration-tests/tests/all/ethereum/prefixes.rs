//! The head of the nonce: whose it is, how long it is, and that no two miners have the same.

use std::collections::BTreeSet;

use integration_tests::{Switcher, SwitcherConfig};
use serde_json::json;
use stratum_peers::eth::verdict::{has_noticed_nothing, nothing_wrong_at, shares_at};
use stratum_peers::eth::{EthMiner, EthMinerConfig, EthPool, EthPoolConfig, Variant};
use stratum_peers::eventually;

use super::{alice, busy, patiently};

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_of_every_length_are_served() {
    for (variant, option, lengths) in
        [(Variant::NiceHash, "nicehash", 0..=3), (Variant::Es2, "stratum2", 0..=6)]
    {
        for length in lengths {
            let config = EthPoolConfig::new(variant).extranonce_size(length);
            let pool = EthPool::start(busy(config).really_every(0)).await;
            let switcher = SwitcherConfig::ethereum()
                .eth_pool("etha", &pool, json!({ "variant": option }))
                .start()
                .await;
            switcher.assign("alice", "etha");

            let miner = alice(&switcher, variant).await;
            shares_at(&pool, 3).await;

            has_noticed_nothing(&miner);
            nothing_wrong_at(&pool);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_nonces_go_to_a_pool_that_gives_no_prefix() {
    let config = EthPoolConfig::new(Variant::NiceHash).extranonce_size(0);
    let pool = EthPool::start(busy(config).really_every(0)).await;
    let switcher = SwitcherConfig::ethereum()
        .eth_pool("etha", &pool, json!({"variant": "nicehash"}))
        .start()
        .await;
    switcher.assign("alice", "etha");

    let miner = alice(&switcher, Variant::EthProxy).await;
    shares_at(&pool, 3).await;

    has_noticed_nothing(&miner);
    nothing_wrong_at(&pool);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_may_change_the_prefix_in_mid_session() {
    for (variant, option) in [(Variant::NiceHash, "nicehash"), (Variant::Es2, "stratum2")] {
        let pool = EthPool::start(busy(EthPoolConfig::new(variant)).really_every(0)).await;
        let switcher = SwitcherConfig::ethereum()
            .eth_pool("etha", &pool, json!({ "variant": option }))
            .start()
            .await;
        switcher.assign("alice", "etha");
        let miner = alice(&switcher, variant).await;
        shares_at(&pool, 3).await;

        pool.change_extranonce(3);

        eventually("the new prefix", || miner.report().extranonce.len() == 6).await;
        shares_at(&pool, 3).await;
        has_noticed_nothing(&miner);
        nothing_wrong_at(&pool);
    }
}

/// A switcher before an sserver, which adopts what we give.
async fn before_sserver() -> (Switcher, EthPool) {
    let pool = EthPool::start(busy(EthPoolConfig::sserver()).really_every(0)).await;
    let switcher = SwitcherConfig::ethereum()
        .with(|settings| {
            settings.number = switcher_core::settings::FleetNumber::Fixed(1);
            settings.probe = false;
        })
        .eth_pool("etha", &pool, json!({"extranonce": "echo"}))
        .start()
        .await;
    switcher.assign("alice", "etha");
    (switcher, pool)
}

async fn join(switcher: &Switcher, miners: &mut Vec<EthMiner>, agent: &str) {
    let name = format!("alice.rig{}", miners.len());
    let config = EthMinerConfig::new(Variant::NiceHash, name).agent(agent).keeping_extranonce();
    let miner = EthMiner::connect(switcher.address(), config).await;
    patiently("the miner mines", || miner.report().accepted > 0).await;
    miners.push(miner);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_the_originals_and_nobody_gets_one_that_is_in_use() {
    let (switcher, pool) = before_sserver().await;
    let mut miners = Vec::new();
    for _ in 0..3 {
        join(&switcher, &mut miners, "judge/1").await;
    }

    switcher.freeze_and_resume().await;
    for _ in 0..3 {
        join(&switcher, &mut miners, "judge/1").await;
    }
    join(&switcher, &mut miners, "NiceHash/1.0.0").await;

    let ids: Vec<_> = miners.iter().map(|miner| miner.report().extranonce).collect();
    assert_eq!(ids, ["010080", "010180", "010280", "010380", "010480", "010580", "0106"]);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), miners.len());
    miners.iter().for_each(has_noticed_nothing);
    nothing_wrong_at(&pool);
}

#[tokio::test(flavor = "multi_thread")]
async fn sserver_is_told_what_the_original_told_it() {
    let (switcher, pool) = before_sserver().await;

    // Miners that choose whole nonces must not have the same name, by which these begin to count.
    for (rig, variant, subscribe, login) in [
        (
            "rig1",
            Variant::EthProxy,
            r#"{"id":"subscribe","method":"mining.subscribe","params":["ETHProxy","ETHProxy/1.0.0","010080",2130706433]}"#,
            r#"{"id":"auth","method":"eth_submitLogin","params":["alice.rig1","x"]}"#,
        ),
        (
            "rig2",
            Variant::Plain,
            r#"{"id":"subscribe","method":"mining.subscribe","params":["judge/1.0","Stratum","010180",2130706433]}"#,
            r#"{"id":"auth","method":"mining.authorize","params":["alice.rig2","x"]}"#,
        ),
        (
            "rig3",
            Variant::NiceHash,
            r#"{"id":"subscribe","method":"mining.subscribe","params":["judge/1.0","EthereumStratum/1.0.0","010280",2130706433]}"#,
            r#"{"id":"auth","method":"mining.authorize","params":["alice.rig3","x"]}"#,
        ),
    ] {
        let before = pool.connections().len();
        let config = EthMinerConfig::new(variant, format!("alice.{rig}"));
        let miner = EthMiner::connect(switcher.address(), config).await;
        patiently("the miner mines", || miner.report().accepted > 0).await;

        let lines = pool.connections().remove(before).lines;
        let said: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("< ")).collect();
        assert_eq!(said[..2], [subscribe, login]);
        has_noticed_nothing(&miner);
    }
    nothing_wrong_at(&pool);
}
