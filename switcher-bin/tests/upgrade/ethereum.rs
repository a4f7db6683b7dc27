//! Sessions of the ETH family live on like all others, and keep their extranonce.

use std::time::Duration;

use stratum_peers::eth::verdict::{has_noticed_nothing, nothing_wrong_at, shares_at};
use stratum_peers::eth::{EthMiner, EthMinerConfig, EthPool, EthPoolConfig, Variant};
use stratum_peers::eventually;

use crate::running::{Start, Switcher};

async fn pool(variant: Variant, tag: u8) -> EthPool {
    let mut config = EthPoolConfig::new(variant).name("pool", tag).really_every(0);
    // A share that meets a new job on its way is stale at any pool.
    config.jobs_kept = 256;
    EthPool::start(config.jobs_every(Duration::from_millis(300))).await
}

async fn miner(switcher: &Switcher, variant: Variant, name: &str) -> EthMiner {
    EthMiner::connect(switcher.address, EthMinerConfig::new(variant, name)).await
}

fn coins(whole: &str, prefixed: &str) -> String {
    format!("[accounts]\nalice = \"{whole}\"\nbob = \"{prefixed}\"\n")
}

#[tokio::test]
async fn miners_of_all_variants_mine_on_through_upgrades_and_switches() {
    let mut pools = Vec::new();
    for (tag, variant) in (1..).zip(Variant::ALL) {
        pools.push(pool(variant, tag).await);
    }
    let names = ["etha", "ethb", "ethc", "ethd"];
    let dialects = names.map(|coin| format!("[coins.{coin}]\ndialect = \"eth\"\n")).concat();
    let switcher = Start::new(names.into_iter().zip(pools.iter().map(EthPool::address)))
        .more(&dialects)
        .coins(&coins("etha", "ethc"))
        .go()
        .await;
    let miners = [
        miner(&switcher, Variant::EthProxy, "alice.rig1").await,
        miner(&switcher, Variant::Plain, "alice.rig2").await,
        miner(&switcher, Variant::NiceHash, "bob.rig1").await,
        miner(&switcher, Variant::Es2, "bob.rig2").await,
    ];
    shares_at(&pools[0], 5).await;
    shares_at(&pools[2], 5).await;
    eventually("all mine", || miners.iter().all(|miner| miner.report().accepted > 0)).await;
    let before: Vec<_> = miners.iter().map(|miner| miner.report().extranonce).collect();

    let last = switcher.upgrade_well().await;
    shares_at(&pools[0], 5).await;
    shares_at(&pools[2], 5).await;

    assert_eq!(last["sessions"], 4, "{last}");
    let after: Vec<_> = miners.iter().map(|miner| miner.report().extranonce).collect();
    assert_eq!(before, after);

    for (whole, prefixed) in [(1, 3), (0, 2)] {
        let text = coins(names[whole], names[prefixed]);
        std::fs::write(switcher.folder().join("coins.toml"), text).unwrap();
        // In the midst of the move, or before, or after: nobody can say.
        switcher.upgrade_well().await;
        eventually("everybody has the new work", || {
            let tag = |at: usize| miners[at].report().tag().map(usize::from);
            (0..2).all(|at| tag(at) == Some(whole + 1))
                && (2..4).all(|at| tag(at) == Some(prefixed + 1))
        })
        .await;
        shares_at(&pools[whole], 5).await;
        shares_at(&pools[prefixed], 5).await;
    }

    for miner in &miners {
        miner.pause(true).await;
    }
    eventually("every share is answered", || {
        miners.iter().all(|miner| miner.report().unanswered == 0)
    })
    .await;
    miners.iter().for_each(has_noticed_nothing);
    pools.iter().for_each(nothing_wrong_at);
    let at_miners: u64 = miners.iter().map(|miner| miner.report().accepted).sum();
    let at_pools: u64 = pools.iter().map(|pool| pool.report().accepted).sum();
    assert_eq!(at_miners, at_pools, "shares lost or doubled");
    switcher.has_logged_no_error();
}
