//! Upgrades and the coin source `zookeeper`: a registration under way, and an outage around one.

use coin_source_zookeeper::testing::{Relay, Server, Writer};
use serde_json::Value;
use stratum_peers::{Pool, eventually, eventually_some};

use crate::running::{Start, Switcher, books_agree, has_noticed_nothing, plain, shares_at};

const COINS: &str = "/stratumSwitcher/btcbcc";
const REQUESTS: &str = "/stratumSwitcher/autoreg";

/// A ZooKeeper behind a relay that can fail.
struct World {
    _server: Server,
    writer: Writer,
    relay: Relay,
}

impl World {
    async fn start() -> Self {
        let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
        let writer = Writer::connect(server.address()).await;
        for dir in [COINS, REQUESTS] {
            writer.make_dir(dir).await;
        }
        let relay = Relay::start(server.address()).await;
        Self { _server: server, writer, relay }
    }

    async fn assign(&self, name: &str, coin: &str) {
        self.writer.set(&format!("{COINS}/{name}"), coin).await;
    }

    async fn switcher(&self, pools: &[(&str, &Pool)]) -> Switcher {
        let source = format!(
            "[sources.zookeeper]\nservers = [\"{}\"]\nwatch_dir = \"{COINS}\"\n\
             [sources.zookeeper.registration]\ndir = \"{REQUESTS}\"\n",
            self.relay.address()
        );
        let pools = pools.iter().map(|(coin, pool)| (*coin, pool.address()));
        Start::new(pools).more(&source).go().await
    }
}

/// Waits until the source is, or is not, connected.
async fn is_healthy(switcher: &Switcher, wanted: bool) {
    eventually("the source says how it is", || {
        let status = switcher.api("/api/v1/status");
        let sources = status["sources"].as_array().cloned().unwrap_or_default();
        sources.iter().any(|source: &Value| source["healthy"] == wanted)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn miner_that_waits_for_its_registration_gets_it_from_the_new_program() {
    let world = World::start().await;
    let pool = Pool::start(plain("btc")).await;
    let switcher = world.switcher(&[("btc", &pool)]).await;
    is_healthy(&switcher, true).await;
    let miner = switcher.miner("rig1").await;
    let request = format!("{REQUESTS}/alice");
    while world.writer.value(&request).await.is_none() {
        tokio::task::yield_now().await;
    }

    switcher.upgrade_well().await;
    switcher.upgrade_well().await;
    assert_eq!(miner.report().authorized, None, "nobody has registered it yet");
    assert!(world.writer.value(&request).await.is_some(), "the request stands");
    world.assign("alice", "btc").await;
    world.writer.remove(&request).await;

    shares_at(&pool, 5).await;
    has_noticed_nothing(&miner);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper_that_is_away_around_an_upgrade_moves_nobody_and_is_followed_again() {
    let world = World::start().await;
    let (btc, bch) = (Pool::start(plain("btc")).await, Pool::start(plain("bch")).await);
    world.assign("alice", "bch").await;
    let switcher = world.switcher(&[("btc", &btc), ("bch", &bch)]).await;
    let first = switcher.miner("rig1").await;
    shares_at(&bch, 5).await;

    world.relay.refuse();
    world.relay.cut();
    is_healthy(&switcher, false).await;
    for _ in 0..2 {
        switcher.upgrade_well().await;
        shares_at(&bch, 10).await;
    }
    // Its sub-account's coin was handed over, so a newcomer is served as well.
    let newcomer = switcher.miner("rig2").await;
    eventually("the newcomer mines", || newcomer.report().accepted > 3).await;
    assert_eq!(btc.report().accepted, 0);
    world.assign("alice", "btc").await;
    world.relay.heal();

    eventually_some("both are moved", || (btc.report().accepted > 20).then_some(())).await;
    books_agree(&[first, newcomer], &[&btc, &bch]).await;
    assert_eq!(switcher.stop().await, Some(0));
}
