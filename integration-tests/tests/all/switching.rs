//! The main job: miners go on mining at another pool, on the same connection, without a loss.

use std::sync::Arc;
use std::time::Duration;

use integration_tests::{Switcher, SwitcherConfig};
use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig, eventually_within};
use switcher_plugin::StratumDialect;
use switcher_plugin_abi::testing::Library;

use crate::support::has_noticed_nothing;

/// Two pools a thousandfold apart in difficulty, both moving, with colliding job ids.
async fn pools(size_a: usize, size_b: usize) -> (Pool, Pool) {
    let easy = PoolConfig::new().extranonce2_size(size_a);
    let hard = PoolConfig::new().extranonce1_size(3).extranonce2_size(size_b);
    far_apart(easy, hard).await
}

/// The two as they are, but for their difficulties and jobs.
pub(crate) async fn far_apart(easy: PoolConfig, hard: PoolConfig) -> (Pool, Pool) {
    let every = Duration::from_millis(150);
    let easy = easy.name("a").moving_difficulty([3e-10, 6e-10, 4e-10]).jobs_every(every, 0);
    let hard = hard.name("b").moving_difficulty([3e-7, 6e-7, 4e-7]).jobs_every(every, 0);
    // A share that is on its way while a clean job comes is stale at any pool, switcher or not. So
    // jobs here stay valid for longer than any share is under way.
    let lasting = |mut config: PoolConfig| {
        config.jobs_kept = 256;
        config
    };
    (Pool::start(lasting(easy)).await, Pool::start(lasting(hard)).await)
}

async fn patiently(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(what, Duration::from_mins(1), condition).await;
}

const MINERS: usize = 200;

/// Two coins with a pool each, and miners that are moved between them.
pub(crate) struct Field {
    pub(crate) switcher: Switcher,
    pub(crate) coins: [&'static str; 2],
    pub(crate) pools: [Pool; 2],
    /// Makes the miner of this name.
    pub(crate) miner: fn(String) -> MinerConfig,
}

impl Field {
    /// Two hundred miners, twenty switches, shares all the time. Before the next switch every miner
    /// has mined at the pool of the last one.
    pub(crate) async fn twenty_switches(self, freezes: bool) {
        let Self { switcher, coins, pools, miner } = self;
        switcher.assign("alice", coins[0]);
        let mut miners = Vec::new();
        for n in 0..MINERS {
            let config = miner(format!("alice.rig{n}")).share_every(Duration::from_millis(400));
            miners.push(Miner::connect(switcher.address(), config).await);
        }
        patiently("all miners have shares accepted", || {
            miners.iter().all(|miner| miner.report().accepted > 0)
        })
        .await;
        let sockets: Vec<_> = miners.iter().map(|miner| miner.report().local_address).collect();

        for round in 1..=20 {
            let (coin, pool) = (coins[round % 2], &pools[round % 2]);
            let before = pool.report().accepted_by_name;
            switcher.assign("alice", coin);
            if freezes && round % 3 == 0 {
                switcher.freeze_and_resume().await;
            }
            patiently(&format!("switch {round}: every miner mines {coin}"), || {
                let now = pool.report().accepted_by_name;
                (0..MINERS).all(|n| {
                    let name = format!("alice.rig{n}");
                    now.get(&name) > before.get(&name)
                })
            })
            .await;
        }

        for miner in &miners {
            miner.pause(true).await;
        }
        patiently("all shares are answered", || {
            miners.iter().all(|miner| miner.report().unanswered == 0)
        })
        .await;
        let mut accepted = 0;
        for (miner, socket) in miners.iter().zip(sockets) {
            has_noticed_nothing(miner);
            assert_eq!(miner.report().local_address, socket);
            accepted += miner.report().accepted;
        }
        assert_eq!(accepted, pools.iter().map(|pool| pool.report().accepted).sum::<u64>());
        pools.iter().for_each(nothing_wrong_at);
        assert_eq!(switcher.metric("switcher_switches_total").await, 20.0 * MINERS as f64);
    }
}

/// The miners between pools with these extranonce2 sizes.
async fn twenty_switches(size_a: usize, size_b: usize, freezes: bool) {
    twenty_switches_of(SwitcherConfig::new(), size_a, size_b, freezes).await;
}

async fn twenty_switches_of(config: SwitcherConfig, size_a: usize, size_b: usize, freezes: bool) {
    let (a, b) = pools(size_a, size_b).await;
    let switcher = config.pool("btc", &a).pool("bch", &b).start().await;
    let field = Field {
        switcher,
        coins: ["btc", "bch"],
        pools: [a, b],
        miner: |name| MinerConfig::new(name),
    };
    field.twenty_switches(freezes).await;
}

fn nothing_wrong_at(pool: &Pool) {
    assert_eq!(pool.report().violations, [] as [String; 0]);
    assert_eq!(pool.report().refusals, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_switch_twenty_times_between_pools_of_8_and_8() {
    twenty_switches(8, 8, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_switch_twenty_times_between_pools_of_8_and_4() {
    twenty_switches(8, 4, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_switch_twenty_times_between_pools_of_4_and_8() {
    twenty_switches(4, 8, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_switch_twenty_times_between_pools_of_4_and_4() {
    twenty_switches(4, 4, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn freezes_in_the_midst_of_switches_lose_nothing() {
    twenty_switches(8, 4, true).await;
}

/// The dialect of the miners and of one of the pools is on the other side of the C border.
#[tokio::test(flavor = "multi_thread")]
async fn miners_of_a_loaded_dialect_switch_and_are_frozen_likewise() {
    let library = Library::built("btc");
    let plugin = switcher_plugin_abi::host::load(&library.path(), None).expect("it is loaded");
    let dialect = plugin.dialects.first().expect("it has one");
    let config = SwitcherConfig::new().foreign(Arc::clone(dialect) as Arc<dyn StratumDialect>);

    twenty_switches_of(config, 8, 4, true).await;

    let standing = plugin.health.standing();
    assert_eq!((standing.faults, standing.quarantine), (0, None));
}
