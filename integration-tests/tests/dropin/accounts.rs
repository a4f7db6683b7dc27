//! Who a sub-account is: unknown ones, registration, and the canonical spelling.

use serde_json::{Value, json};
use stratum_peers::eventually;

use crate::world::{INDEX, REQUESTS, World, has_noticed_nothing, node, shares_at, sserver};

const UNKNOWN: &str = r#""result":null,"error":[201,"Invalid Sub-account Name",1]}"#;

/// A world with registration on and one pool.
async fn registering(pool: &stratum_peers::Pool) -> World {
    World::new(&[("btc", pool)]).await.with("EnableUserAutoReg", true)
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_accounts_and_unknown_coins_are_refused_with_the_originals_codes() {
    let pool = sserver("btc").await;
    let world = World::new(&[("btc", &pool)]).await;
    world.writer.set(&node("bob"), "doge").await;
    let switcher = world.start().await;

    let (mallory, bob) = (switcher.refusal("mallory.x").await, switcher.refusal("bob.x").await);

    assert!(mallory.ends_with(UNKNOWN), "{mallory}");
    assert!(bob.ends_with(r#""error":[301,"Stratum Server Not Found",1]}"#), "{bob}");
    assert_eq!(world.writer.children(REQUESTS).await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_account_is_registered_and_mines() {
    for number in [0, 200] {
        is_registered_and_mines(number).await;
    }
}

async fn is_registered_and_mines(number: u8) {
    let pool = sserver("btc").await;
    let world = registering(&pool).await.with("ServerID", number);
    let switcher = world.start().await;
    let request = format!("{REQUESTS}/alice");

    let miner = switcher.miner("alice.rig1").await;
    world.requests_are(&["alice"]).await;
    let found = world.writer.value(&request).await.expect("the request stands");
    let request_says: Value = serde_json::from_slice(&found).expect("it is JSON");
    assert_eq!(request_says["Worker"], "alice.rig1");
    let id = u32::try_from(request_says["SessionID"].as_u64().expect("a number"));
    world.writer.set(&node("alice"), "btc").await;
    world.writer.remove(&request).await;
    shares_at(&pool, 3).await;

    let id = id.expect("of 32 bits");
    assert_eq!(format!("{id:08x}"), miner.report().extranonce1, "the id sserver knows it by");
    has_noticed_nothing(&miner);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_is_refused_is_told() {
    let pool = sserver("btc").await;
    let world = registering(&pool).await;
    let switcher = world.start().await;

    let miner = switcher.miner("alice.rig1").await;
    world.requests_are(&["alice"]).await;
    world.writer.remove(&format!("{REQUESTS}/alice")).await;
    eventually("the miner is turned away", || !miner.report().connected).await;

    assert!(miner.lines().iter().any(|line| line.ends_with(UNKNOWN)), "{:#?}", miner.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_nobody_answers_ends_and_is_taken_back() {
    let pool = sserver("btc").await;
    let world = registering(&pool).await.set("sources.zookeeper.registration.timeout=1s");
    let switcher = world.start().await;

    let refusal = switcher.refusal("alice.rig1").await;

    assert!(refusal.ends_with(UNKNOWN), "{refusal}");
    world.requests_are(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_may_wait_to_be_registered() {
    let pool = sserver("btc").await;
    let world = registering(&pool).await.with("AutoRegMaxWaitUsers", 1);
    let switcher = world.start().await;
    let alice = switcher.miner("alice.rig1").await;
    world.requests_are(&["alice"]).await;

    let refusal = switcher.refusal("bob.rig1").await;

    assert!(refusal.ends_with(UNKNOWN), "{refusal}");
    assert!(alice.report().connected, "who waits goes on waiting");
    assert_eq!(world.writer.children(REQUESTS).await, ["alice"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_spelt_as_the_index_says() {
    let pool = sserver("btc").await;
    let world = World::new(&[("btc", &pool)]).await;
    let world = world.with("ZKUserCaseInsensitiveIndex", format!("{INDEX}/"));
    world.writer.set(&format!("{INDEX}/alice"), "Alice").await;
    world.writer.set(&node("Alice"), "btc").await;
    let switcher = world.start().await;

    let miner = switcher.miner("aLICE.rig1").await;
    shares_at(&pool, 3).await;

    let authorized = pool.last_connection().expect("there is one").authorized;
    assert_eq!(json!(authorized.keys().collect::<Vec<_>>()), json!(["Alice.rig1"]));
    has_noticed_nothing(&miner);
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_that_disregard_case_get_lower_case() {
    let pool = sserver("btc").await;
    let world = World::new(&[("btc", &pool)]).await;
    let world = world.with("StratumServerCaseInsensitive", true);
    world.writer.set(&node("alice"), "btc").await;
    let switcher = world.start().await;

    let miner = switcher.miner("ALICE.Rig1").await;
    shares_at(&pool, 3).await;

    let authorized = pool.last_connection().expect("there is one").authorized;
    assert_eq!(json!(authorized.keys().collect::<Vec<_>>()), json!(["alice.Rig1"]));
    has_noticed_nothing(&miner);
}
