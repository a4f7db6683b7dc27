//! The ETH family: every variant of miner at every variant of pool that can serve it.

mod prefixes;
mod refusals;
mod switching;

use std::time::Duration;

use stratum_peers::eth::{EthMiner, EthMinerConfig, EthPoolConfig, Variant};
use stratum_peers::eventually_within;

use integration_tests::Switcher;

/// With jobs all the time, which stay valid for longer than any share is under way: one that meets
/// a new job on its way is stale at any pool, switcher or not.
fn busy(mut config: EthPoolConfig) -> EthPoolConfig {
    config.jobs_kept = 256;
    config.jobs_every(Duration::from_millis(300))
}

async fn patiently(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(what, Duration::from_mins(2), condition).await;
}

/// A miner of alice's.
async fn alice(switcher: &Switcher, variant: Variant) -> EthMiner {
    EthMiner::connect(switcher.address(), EthMinerConfig::new(variant, "alice.rig1")).await
}
