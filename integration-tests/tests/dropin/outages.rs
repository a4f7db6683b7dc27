//! ZooKeeper killed and back again: miners notice nothing, and what changed meanwhile is seen.

use std::time::{Duration, Instant};

use coin_source_zookeeper::testing::Relay;
use stratum_peers::{Pool, eventually_within};

use crate::world::{
    IDS, World, has_noticed_nothing, have_nothing_to_complain, node, shares_at, sserver,
};

/// A change must be seen this soon after the server is back.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_not_noticed_and_a_change_is_seen_when_it_is_back() {
    let (btc, bcc) = (sserver("btc").await, sserver("bcc").await);
    let mut world = World::new(&[("btc", &btc), ("bcc", &bcc)]).await;
    world.writer.set(&node("alice"), "btc").await;
    let switcher = world.start().await;
    let alice = switcher.miner("alice.rig1").await;
    shares_at(&btc, 5).await;

    for (coin, from, to) in [("bcc", &btc, &bcc), ("btc", &bcc, &btc)] {
        world.server.kill();
        shares_at(from, 50).await;
        // Another of the sub-account comes meanwhile, and gets the coin that is known.
        let late = switcher.miner("alice.late").await;
        shares_at(from, 20).await;
        world.server.restart();
        let back = Instant::now();
        world.writer.set(&node("alice"), coin).await;
        let patience = SOON.saturating_sub(back.elapsed());
        let before = to.report().accepted;
        eventually_within("the change is seen", patience, || to.report().accepted > before).await;
        has_noticed_nothing(&late);
    }

    has_noticed_nothing(&alice);
    have_nothing_to_complain(&[&btc, &bcc]);
    assert_eq!(world.writer.children(IDS).await, ["1"], "the number is the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_outlives_the_session_changes_nothing() {
    let (btc, bcc) = (sserver("btc").await, sserver("bcc").await);
    let mut world = World::new(&[("btc", &btc), ("bcc", &bcc)])
        .await
        .set("sources.zookeeper.session_timeout=4s");
    world.writer.set(&node("alice"), "btc").await;
    let switcher = world.start().await;
    let alice = switcher.miner("alice.rig1").await;
    shares_at(&btc, 5).await;
    world.server.kill();
    let begin = Instant::now();

    while begin.elapsed() < Duration::from_secs(12) {
        shares_at(&btc, 10).await;
    }
    world.server.restart();
    world.writer.set(&node("alice"), "bcc").await;
    let before = bcc.report().accepted;
    eventually_within("the change is seen", SOON, || bcc.report().accepted > before).await;

    has_noticed_nothing(&alice);
    let later = switcher.miner("alice.rig2").await;
    shares_at(&bcc, 5).await;
    assert_eq!(&later.report().extranonce1[..2], "01", "the number is the same");
}

/// A world whose switcher reaches ZooKeeper by a relay; the writer does not.
async fn behind_a_relay(pools: &[(&str, &Pool)]) -> (World, Relay) {
    let world = World::new(pools).await;
    let relay = Relay::start(world.server.address()).await;
    let world = world
        .with("ZKBroker", vec![relay.address().to_string()])
        .set("sources.zookeeper.session_timeout=4s");
    (world, relay)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_behind_a_silent_link_is_seen_when_it_speaks_again() {
    let (btc, bcc) = (sserver("btc").await, sserver("bcc").await);
    let (world, relay) = behind_a_relay(&[("btc", &btc), ("bcc", &bcc)]).await;
    world.writer.set(&node("alice"), "btc").await;
    let switcher = world.start().await;
    let alice = switcher.miner("alice.rig1").await;
    shares_at(&btc, 5).await;

    relay.swallow();
    let begin = Instant::now();
    world.writer.set(&node("alice"), "bcc").await;
    while begin.elapsed() < Duration::from_secs(8) {
        shares_at(&btc, 10).await;
    }
    let before = bcc.report().accepted;
    assert_eq!(before, 0, "nothing can be known of the change yet");
    relay.heal();
    eventually_within("the change is seen", SOON, || bcc.report().accepted > before).await;

    has_noticed_nothing(&alice);
    have_nothing_to_complain(&[&btc, &bcc]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_cuts_of_the_link_are_not_noticed() {
    let (btc, bcc) = (sserver("btc").await, sserver("bcc").await);
    let (world, relay) = behind_a_relay(&[("btc", &btc), ("bcc", &bcc)]).await;
    world.writer.set(&node("alice"), "btc").await;
    let switcher = world.start().await;
    let alice = switcher.miner("alice.rig1").await;
    shares_at(&btc, 5).await;

    for round in 1..=200 {
        relay.cut();
        shares_at(&btc, 1).await;
        if round == 200 {
            world.writer.set(&node("alice"), "bcc").await;
        }
    }
    let before = bcc.report().accepted;
    eventually_within("the change is seen", SOON, || bcc.report().accepted > before).await;

    has_noticed_nothing(&alice);
    have_nothing_to_complain(&[&btc, &bcc]);
    let later = switcher.miner("alice.rig2").await;
    shares_at(&bcc, 5).await;
    assert_eq!(&later.report().extranonce1[..2], "01", "the number is the same");
}
