//! Sessions of the ETH family taken over from the Go original, and given back to it.

use std::collections::BTreeSet;
use std::time::Duration;

use stratum_peers::eth::verdict::{has_noticed_nothing, nothing_wrong_at, shares_at};
use stratum_peers::eth::{EthMiner, EthMinerConfig, EthPool, EthPoolConfig, Variant};
use stratum_peers::eventually;

use crate::original::World;

/// Miners of each kind.
const EACH: usize = 3;

async fn sserver(name: &str, tag: u8) -> EthPool {
    let mut config = EthPoolConfig::sserver().name(name, tag).really_every(0);
    // A share that meets a new job on its way is stale at any pool.
    config.jobs_kept = 256;
    EthPool::start(config.jobs_every(Duration::from_millis(300))).await
}

async fn mine_on(miners: &[EthMiner]) {
    let before: Vec<_> = miners.iter().map(|miner| miner.report().accepted).collect();
    eventually("all mine on", || {
        let mut both = miners.iter().zip(&before);
        both.all(|(miner, before)| miner.report().accepted > before + 10)
    })
    .await;
}

async fn newcomers(world: &World, batch: usize) -> Vec<EthMiner> {
    let kinds = [
        (Variant::EthProxy, "judge/1.0"),
        (Variant::Plain, "ethminer-0.19.0"),
        (Variant::NiceHash, "ethminer-0.19.0"),
        (Variant::NiceHash, "NiceHash/1.0.0"),
    ];
    let mut miners = Vec::new();
    for at in 0..EACH {
        for (kind, (variant, agent)) in kinds.into_iter().enumerate() {
            let name = format!("alice.rig{batch}x{kind}x{at}");
            let config = EthMinerConfig::new(variant, name).agent(agent).keeping_extranonce();
            let mut config = config.share_every(Duration::from_millis(30));
            config.rig_apart = variant == Variant::EthProxy && at > 0;
            miners.push(EthMiner::connect(world.address, config).await);
        }
    }
    miners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn miners_of_all_variants_go_from_the_original_to_us_and_back_and_mine_on() {
    let (eth, etc) = (sserver("eth", 1).await, sserver("etc", 2).await);
    let pools = [("btc", eth.address()), ("bcc", etc.address())];
    let world = World::start_chain("ethereum", &pools, "").await;
    let mut miners = newcomers(&world, 0).await;
    mine_on(&miners).await;
    let told: Vec<_> = miners.iter().map(|miner| miner.report().extranonce).collect();

    world.take_over().await;
    mine_on(&miners).await;
    let connections = eth.report().connections;
    assert!(connections <= 4 * EACH as u64 + 2, "the legs are the same; two were probes");

    // They can be moved, there and back, and so can newcomers.
    world.assign("bcc").await;
    shares_at(&etc, 100).await;
    miners.extend(newcomers(&world, 1).await);
    mine_on(&miners).await;
    world.assign("btc").await;
    shares_at(&eth, 100).await;
    mine_on(&miners).await;
    let ids: BTreeSet<_> = miners.iter().map(|miner| miner.report().extranonce).collect();
    assert_eq!(ids.len(), 2 * 2 * EACH + 1, "every extranonce is another: {ids:?}");

    let before = eth.report().connections;
    world.go_back().await;
    mine_on(&miners).await;

    assert_eq!(eth.report().connections, before, "the legs are the same");
    for miner in &miners {
        miner.pause(true).await;
    }
    // What the original reads while it executes is lost with it; what the stand-in or we read is not.
    let lost = if std::env::var_os("GO_SWITCHER").is_some() { 4 } else { 0 };
    let unanswered = || miners.iter().map(|miner| miner.report().unanswered).sum::<u64>();
    eventually("shares are answered", || unanswered() <= lost).await;
    miners.iter().for_each(has_noticed_nothing);
    let after = miners.iter().map(|miner| miner.report().extranonce);
    assert!(after.zip(told).all(|(after, told)| after == told));
    [&eth, &etc].into_iter().for_each(nothing_wrong_at);
    let submitted: u64 = miners.iter().map(|miner| miner.report().submitted).sum();
    eprintln!("{submitted} shares, {} without an answer", unanswered());
}
