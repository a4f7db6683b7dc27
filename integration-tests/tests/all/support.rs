//! What several tests do in the same way.

use std::time::Duration;

use integration_tests::{Switcher, SwitcherConfig};
use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig, eventually};

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

/// A miner of alice's.
pub(crate) async fn alice(switcher: &Switcher) -> Miner {
    let config = MinerConfig::new("alice.rig1").share_every(Duration::from_millis(30));
    Miner::connect(switcher.address(), config).await
}

/// Waits until this many more shares were accepted there than now.
pub(crate) async fn shares_at(pool: &Pool, more: u64) {
    let before = pool.report().accepted;
    eventually("shares are accepted", || pool.report().accepted >= before + more).await;
}

/// The miner never noticed anything and no share was refused.
#[track_caller]
pub(crate) fn has_noticed_nothing(miner: &Miner) {
    let report = miner.report();
    assert!(report.connected && report.connections == 1, "{:?}", report.disconnects);
    assert_eq!(report.rejections, [], "no share is refused");
    assert_eq!(report.violations, [] as [String; 0], "no message was not asked for");
    assert!(report.adds_up(), "{report:?}");
}

/// The miner was not disconnected, got one answer to each share and nothing it did not ask for.
#[track_caller]
pub(crate) fn is_in_order(miner: &Miner) {
    let report = miner.report();
    assert!(report.connected && report.connections == 1, "{:?}", report.disconnects);
    assert_eq!(report.violations, [] as [String; 0], "no message was not asked for");
    assert!(report.adds_up(), "{report:?}");
}
