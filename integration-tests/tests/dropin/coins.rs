//! Nodes set, changed, deleted, made again, with a coin nobody has or with garbage.

use std::time::Duration;

use stratum_peers::{eventually, never_within};

use crate::world::{
    COINS, IDS, World, has_noticed_nothing, have_nothing_to_complain, node, shares_at, sserver,
};

#[tokio::test(flavor = "multi_thread")]
async fn miners_follow_their_node_and_nothing_else_moves_them() {
    let (btc, bcc) = (sserver("btc").await, sserver("bcc").await);
    let world = World::new(&[("btc", &btc), ("bcc", &bcc)]).await;
    world.writer.set(&node("alice"), "btc").await;
    world.writer.set(&node("bob"), "bcc").await;
    let switcher = world.start().await;
    let alice = switcher.miner("alice.rig1").await;
    let bob = switcher.miner("bob.rig1").await;
    shares_at(&btc, 3).await;
    shares_at(&bcc, 3).await;

    for coin in ["bcc", "btc", "bcc"] {
        world.writer.set(&node("alice"), coin).await;
        let pool = if coin == "btc" { &btc } else { &bcc };
        let name = "alice.rig1";
        let before = pool.report().accepted_by_name.get(name).copied().unwrap_or_default();
        eventually(format!("alice mines {coin}"), || {
            pool.report().accepted_by_name.get(name).copied().unwrap_or_default() > before + 2
        })
        .await;
    }

    let accepted_at_btc = || btc.report().accepted;
    // What was under way to the pool left has its answer by now.
    eventually("the old connection is gone", || btc.report().open == 0).await;
    let before = accepted_at_btc();
    world.writer.set(&node("alice"), "doge").await;
    shares_at(&bcc, 10).await;
    world.writer.set(&node("alice"), [0xff, 0x00, 0xfe]).await;
    shares_at(&bcc, 10).await;
    world.writer.set(&node("alice"), "").await;
    shares_at(&bcc, 10).await;
    world.writer.remove(&node("alice")).await;
    shares_at(&bcc, 10).await;
    world.writer.remove_dir(COINS).await;
    shares_at(&bcc, 20).await;
    assert_eq!(accepted_at_btc(), before, "nobody has moved");

    world.writer.make_dir(COINS).await;
    world.writer.set(&node("alice"), "btc").await;
    shares_at(&btc, 3).await;
    for miner in [&alice, &bob] {
        has_noticed_nothing(miner);
    }
    have_nothing_to_complain(&[&btc, &bcc]);
}

#[tokio::test(flavor = "multi_thread")]
async fn switchers_have_numbers_of_their_own_and_so_have_their_miners() {
    let pool = sserver("btc").await;
    let world = World::new(&[("btc", &pool)]).await;
    world.writer.set(&node("alice"), "btc").await;
    let (one, other) = (world.start().await, world.start().await);

    let mut miners = Vec::new();
    for switcher in [&one, &other] {
        for rig in ["alice.1", "alice.2"] {
            miners.push(switcher.miner(rig).await);
        }
    }
    shares_at(&pool, 10).await;

    assert_eq!(world.writer.children(IDS).await, ["1", "2"]);
    let mut ids: Vec<_> = miners.iter().map(|miner| miner.report().extranonce1).collect();
    ids.sort();
    assert_eq!(ids.iter().map(|id| &id[..2]).collect::<Vec<_>>(), ["01", "01", "02", "02"]);
    ids.dedup();
    assert_eq!(ids.len(), 4, "every miner has its own: {ids:?}");
    let node = world.writer.value(&format!("{IDS}/1")).await.expect("the node stands");
    let node: serde_json::Value = serde_json::from_slice(&node).expect("it is JSON");
    assert_eq!(node["ChainType"], "bitcoin");
    assert_eq!(node["Coins"], serde_json::json!(["btc"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_miner_is_served_before_the_switcher_has_a_number() {
    let pool = sserver("btc").await;
    let mut world = World::new(&[("btc", &pool)]).await;
    world.writer.set(&node("alice"), "btc").await;
    world.server.kill();

    let launched = world.launch();
    never_within("served without a number", Duration::from_secs(2), || launched.is_serving()).await;
    world.server.launch();
    let switcher = launched.serves().await;

    let miner = switcher.miner("alice.rig1").await;
    shares_at(&pool, 3).await;
    assert_eq!(&miner.report().extranonce1[..2], "01");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_the_configuration_is_used_and_none_is_taken() {
    let pool = sserver("btc").await;
    let world = World::new(&[("btc", &pool)]).await.with("ServerID", 200);
    world.writer.set(&node("alice"), "btc").await;
    let switcher = world.start().await;

    let miner = switcher.miner("alice.rig1").await;
    shares_at(&pool, 3).await;

    assert_eq!(&miner.report().extranonce1[..2], "c8");
    assert_eq!(world.writer.value(&format!("{IDS}/200")).await, None);
}
