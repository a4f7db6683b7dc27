//! Pools and miners face to face: both must find nothing to complain of.

use std::time::Duration;

use super::verdict::{has_noticed_nothing, nothing_wrong_at, shares_at};
use super::*;
use crate::eventually;

async fn face_to_face(config: EthPoolConfig, miner: EthMinerConfig) -> (EthPool, EthMiner) {
    let pool = EthPool::start(config.jobs_every(Duration::from_millis(100)).really_every(5)).await;
    let miner = EthMiner::connect(pool.address(), miner).await;
    (pool, miner)
}

#[tokio::test]
async fn all_four_variants_find_nothing_wrong_with_each_other() {
    for variant in Variant::ALL {
        let config = EthPoolConfig::new(variant).moving_difficulty([9.3e-10, 5e-10]);
        let (pool, miner) = face_to_face(config, EthMinerConfig::new(variant, "alice.rig1")).await;

        shares_at(&pool, 12).await;

        has_noticed_nothing(&miner);
        nothing_wrong_at(&pool);
        assert!(pool.report().really_hashed > 0);
        assert_eq!(pool.connections()[0].variant, Some(variant));
    }
}

#[tokio::test]
async fn a_prefix_that_changes_counts_from_the_next_job_on() {
    for variant in [Variant::NiceHash, Variant::Es2] {
        let (pool, miner) =
            face_to_face(EthPoolConfig::new(variant), EthMinerConfig::new(variant, "a.r")).await;
        shares_at(&pool, 2).await;

        pool.change_extranonce(3);

        eventually("the new prefix", || miner.report().extranonce.len() == 6).await;
        shares_at(&pool, 3).await;
        nothing_wrong_at(&pool);
        has_noticed_nothing(&miner);
    }
}

#[tokio::test]
async fn a_wrong_share_is_refused_for_what_is_wrong_with_it() {
    let config = EthPoolConfig { job_interval: None, ..EthPoolConfig::ethermine() };
    let pool = EthPool::start(config.really_every(0)).await;
    let miner =
        EthMiner::connect(pool.address(), EthMinerConfig::new(Variant::EthProxy, "a")).await;
    shares_at(&pool, 1).await;
    miner.pause(true).await;
    eventually("answers", || miner.report().unanswered == 0).await;
    let header = hex::encode(miner.report().header.unwrap());
    let submit = |nonce: &str, header: &str, mix: &str| {
        let params = format!(r#"["0x{nonce}","0x{header}","0x{mix}"]"#);
        format!(r#"{{"id":7,"method":"eth_submitWork","params":{params}}}"#)
    };
    let last = miner.lines().into_iter().rev().find(|line| line.contains("submitWork")).unwrap();
    let share: serde_json::Value = serde_json::from_str(&last[2..]).unwrap();
    let (nonce, mix) = (share["params"][0].as_str().unwrap(), share["params"][2].as_str().unwrap());
    let (nonce, mix) = (&nonce[2..], &mix[2..]);

    miner.say(submit(nonce, &header, mix), Some(7));
    miner.say(submit(nonce, &header, &"0".repeat(64)), Some(7));
    miner.say(submit(nonce, &"1".repeat(64), mix), Some(7));
    miner.say(submit(&nonce.to_uppercase(), &header, "x"), Some(7));

    eventually("four refusals", || pool.report().refusals.len() == 4).await;
    let codes: Vec<_> = pool.report().refusals.iter().map(|refusal| refusal.code).collect();
    assert_eq!(codes, [22, 23, 21, 20]);
}

#[tokio::test]
async fn strangers_are_treated_as_each_pool_treats_them() {
    let miner = || EthMinerConfig::new(Variant::NiceHash, "a.r");
    let (_pool, refused) = face_to_face(EthPoolConfig::open_ethereum_pool(), miner()).await;
    let (_quiet, ignored) = face_to_face(EthPoolConfig::f2pool(), miner()).await;

    eventually("refused", || !refused.report().connected).await;

    assert!(refused.report().refusal.unwrap().contains("Method not found"));
    assert!(ignored.report().connected && ignored.report().refusal.is_none());
}
