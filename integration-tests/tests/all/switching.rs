//! The main job: miners go on mining at another pool, on the same connection, without a loss.

use std::sync::Arc;
use std::time::Duration;

use integration_tests::SwitcherConfig;
use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig, eventually_within};
use switcher_plugin::StratumDialect;
use switcher_plugin_abi::testing::Library;

/// Two pools a thousandfold apart in difficulty, both moving, with colliding job ids.
async fn pools(size_a: usize, size_b: usize) -> (Pool, Pool) {
    let every = Duration::from_millis(150);
    let easy = PoolConfig::new()
        .name("a")
        .extranonce2_size(size_a)
        .moving_difficulty([3e-10, 6e-10, 4e-10])
        .jobs_every(every, 0);
    let hard = PoolConfig::new()
        .name("b")
        .extranonce1_size(3)
        .extranonce2_size(size_b)
        .moving_difficulty([3e-7, 6e-7, 4e-7])
        .jobs_every(every, 0);
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

/// Two hundred miners, twenty switches, shares all the time. Before the next switch every miner has
/// mined at the pool of the last one.
async fn twenty_switches(size_a: usize, size_b: usize, freezes: bool) {
    twenty_switches_of(SwitcherConfig::new(), (size_a, size_b), freezes).await;
}

async fn twenty_switches_of(
    config: SwitcherConfig,
    (size_a, size_b): (usize, usize),
    freezes: bool,
) {
    let (pool_a, pool_b) = pools(size_a, size_b).await;
    let switcher = config.pool("btc", &pool_a).pool("bch", &pool_b).start().await;
    switcher.assign("alice", "btc");
    let mut miners = Vec::new();
    for n in 0..MINERS {
        let config =
            MinerConfig::new(format!("alice.rig{n}")).share_every(Duration::from_millis(400));
        miners.push(Miner::connect(switcher.address(), config).await);
    }
    patiently("all miners have shares accepted", || {
        miners.iter().all(|miner| miner.report().accepted > 0)
    })
    .await;
    let sockets: Vec<_> = miners.iter().map(|miner| miner.report().local_address).collect();

    for round in 1..=20 {
        let (coin, pool) = if round % 2 == 0 { ("btc", &pool_a) } else { ("bch", &pool_b) };
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
        miner.pause(true);
    }
    patiently("all shares are answered", || {
        miners.iter().all(|miner| miner.report().unanswered == 0)
    })
    .await;
    let mut accepted = 0;
    for (miner, socket) in miners.iter().zip(sockets) {
        let report = miner.report();
        assert!(report.connected && report.connections == 1, "{:?}", report.disconnects);
        assert_eq!(report.local_address, socket);
        assert!(report.adds_up(), "{report:?}");
        assert_eq!(report.rejections, [], "no share is refused");
        assert_eq!(report.violations, [] as [String; 0], "no message was not asked for");
        accepted += report.accepted;
    }
    assert_eq!(accepted, pool_a.report().accepted + pool_b.report().accepted);
    nothing_wrong_at(&pool_a);
    nothing_wrong_at(&pool_b);
    assert_eq!(switcher.metric("switcher_switches_total").await, 20.0 * MINERS as f64);
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

    twenty_switches_of(config, (8, 4), true).await;

    let standing = plugin.health.standing();
    assert_eq!((standing.faults, standing.quarantine), (0, None));
}
