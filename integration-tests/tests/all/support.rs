//! What several tests do in the same way.

use std::time::Duration;

use integration_tests::{Switcher, SwitcherConfig};
pub(crate) use stratum_peers::verdict::{has_noticed_nothing, is_in_order, shares_at};
use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig};

/// A plain pool of this name.
pub(crate) fn plain(name: &str) -> PoolConfig {
    PoolConfig::new().name(name).difficulty(3e-10).jobs_every(Duration::from_millis(300), 0)
}

/// A switcher with one coin and these pools, best first, with `alice` assigned to it.
pub(crate) async fn one_coin(pools: &[&Pool]) -> Switcher {
    one_coin_with(pools, |config| config).await
}

/// The same, with the configuration changed.
pub(crate) async fn one_coin_with(
    pools: &[&Pool],
    change: impl FnOnce(SwitcherConfig) -> SwitcherConfig,
) -> Switcher {
    let config = pools.iter().fold(SwitcherConfig::new(), |config, pool| config.pool("btc", pool));
    let switcher = change(config.with(|settings| settings.probe = false)).start().await;
    switcher.assign("alice", "btc");
    switcher
}

/// A switcher with the first pool for btc and the second for bch, with `alice` assigned to btc.
pub(crate) async fn two_coins(btc: &Pool, bch: &Pool) -> Switcher {
    let switcher = SwitcherConfig::new().pool("btc", btc).pool("bch", bch).start().await;
    switcher.assign("alice", "btc");
    switcher
}

/// A miner of alice's.
pub(crate) async fn alice(switcher: &Switcher) -> Miner {
    let config = MinerConfig::new("alice.rig1").share_every(Duration::from_millis(30));
    Miner::connect(switcher.address(), config).await
}
