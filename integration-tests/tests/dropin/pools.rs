//! What the pools of an original's configuration may be, and what each is told of its miners.

use std::time::Duration;

use serde_json::{Value, json};
use stratum_peers::decred::Form;
use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig, eventually};

use crate::world::{
    World, has_noticed_nothing, have_nothing_to_complain, node, ordinary, shares_at, sserver,
};

/// What was sent with every subscribe so far.
fn subscribes(pool: &Pool) -> Vec<Vec<Value>> {
    pool.connections().into_iter().filter_map(|one| one.subscribe_params).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sserver_is_found_out_and_spoken_to_as_the_original_does() {
    let pool = sserver("btc").await;
    let world = World::new(&[("btc", &pool)]).await;
    world.writer.set(&node("alice"), "btc").await;
    let switcher = world.start().await;

    let miner = switcher.miner("alice.rig1").await;
    shares_at(&pool, 5).await;

    let report = miner.report();
    assert_eq!(report.extranonce2_size, 8, "as sserver's own miners have it");
    let last = subscribes(&pool).pop().expect("there was a subscribe");
    // 127.0.0.1 as a number.
    assert_eq!(last[1..], [json!(report.extranonce1), json!(2_130_706_433_u32)]);
    let lines = pool.last_connection().expect("there is one").lines;
    let asked = lines.iter().filter_map(|line| line.strip_prefix('<'));
    let ids =
        asked.filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["id"].clone()));
    assert_eq!(ids.take(3).collect::<Vec<_>>(), ["configure", "subscribe", "auth"], "{lines:#?}");
    has_noticed_nothing(&miner);
    have_nothing_to_complain(&[&pool]);
}

#[tokio::test(flavor = "multi_thread")]
async fn decred_is_spoken_to_as_the_original_does_in_both_forms() {
    for (chain, form) in [("decred-normal", Form::Template), ("decred-gominer", Form::Appended)] {
        let config = || {
            let every = Duration::from_millis(300);
            PoolConfig::decred_sserver(form).difficulty(1e-8).jobs_every(every, 0)
        };
        let (dcr, fork) = (Pool::start(config()).await, Pool::start(config()).await);
        let world = World::new(&[("dcr", &dcr), ("fork", &fork)]).await.with("ChainType", chain);
        world.writer.set(&node("alice"), "dcr").await;
        let switcher = world.start().await;

        let config = MinerConfig::decred("alice.rig1", form).share_every(Duration::from_millis(30));
        let miner = Miner::connect(switcher.address, config).await;
        shares_at(&dcr, 5).await;
        world.writer.set(&node("alice"), "fork").await;
        shares_at(&fork, 5).await;

        for pool in [&dcr, &fork] {
            let last = subscribes(pool).pop().expect("there was a subscribe");
            let agent = json!(miner_agent(form));
            // 127.0.0.1 as a number.
            assert_eq!((&last[0], &last[2]), (&agent, &json!(2_130_706_433_u32)), "{chain}");
            let id = hex::decode(last[1].as_str().expect("an id is proposed"));
            let id = id.expect("it is in hex").try_into().expect("it has four bytes");
            assert_eq!(miner.report().extranonce1, hex::encode(form.told(id)));
            let lines = pool.last_connection().expect("there is one").lines;
            let asked: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("< ")).collect();
            let start =
                format!(r#"{{"id":"subscribe","method":"mining.subscribe","params":[{agent},"#);
            assert!(asked[0].starts_with(&start), "{asked:?}");
            let login = r#"{"id":"auth","method":"mining.authorize","params":["alice.rig1","x"]}"#;
            assert_eq!(asked[1], login);
        }
        assert_eq!(miner.report().extranonce2_size, 8);
        has_noticed_nothing(&miner);
        have_nothing_to_complain(&[&dcr, &fork]);
    }
}

/// What a Decred miner of this form calls itself.
fn miner_agent(form: Form) -> String {
    MinerConfig::decred("alice.rig1", form).handshake.agent
}

#[tokio::test(flavor = "multi_thread")]
async fn without_probes_the_first_miner_finds_sserver_out_and_tells_it_no_address() {
    let pool = sserver("btc").await;
    let world = World::new(&[("btc", &pool)]).await.set("probe=false");
    world.writer.set(&node("alice"), "btc").await;
    let switcher = world.start().await;

    let first = switcher.miner("alice.rig1").await;
    shares_at(&pool, 5).await;
    let second = switcher.miner("alice.rig2").await;
    eventually("both mine", || second.report().accepted > 5).await;

    let sizes: Vec<_> = subscribes(&pool).iter().map(Vec::len).collect();
    // The pool remembers no parameters of the subscribe it has refused.
    assert_eq!(sizes, [2, 3], "found out, known");
    assert_eq!(pool.report().connections, 3);
    assert_eq!(second.report().extranonce2_size, 8);
    has_noticed_nothing(&first);
    has_noticed_nothing(&second);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_pool_serves_as_well_and_is_told_nothing_of_the_miner() {
    for size in [8, 4] {
        let (btc, bcc) = (sserver("btc").await, ordinary("bcc", size).await);
        let world = World::new(&[("btc", &btc), ("bcc", &bcc)]).await;
        world.writer.set(&node("alice"), "btc").await;
        let switcher = world.start().await;
        let miner = switcher.miner("alice.rig1").await;
        shares_at(&btc, 5).await;

        world.writer.set(&node("alice"), "bcc").await;
        shares_at(&bcc, 5).await;
        world.writer.set(&node("alice"), "btc").await;
        shares_at(&btc, 5).await;

        for params in subscribes(&bcc) {
            assert_eq!(params.len(), 1, "only the agent: {params:?}");
        }
        let names: Vec<_> = bcc.report().accepted_by_name.into_keys().collect();
        assert_eq!(names, ["alice.rig1"], "nobody but the miner itself");
        has_noticed_nothing(&miner);
        have_nothing_to_complain(&[&btc, &bcc]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sserver_gets_the_second_try_with_the_suffix_of_its_coin() {
    let pool = sserver("btc").await;
    pool.reconfigure(|config| {
        let known = ["alice_bch".to_owned()].into_iter().collect();
        config.names = stratum_peers::pool::Names::SubAccounts(known);
    });
    let servers = json!({ "bcc": { "URL": pool.address().to_string(), "UserSuffix": "bch" } });
    let world = World::new(&[]).await.with("StratumServerMap", servers);
    world.writer.set(&node("alice"), "bcc").await;
    let switcher = world.start().await;

    let miner = switcher.miner("alice.rig1").await;
    shares_at(&pool, 3).await;

    has_noticed_nothing(&miner);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_cannot_be_reached_is_told_with_the_originals_code() {
    let mut pool = sserver("btc").await;
    let world = World::new(&[("btc", &pool)]).await.set("timing.hold=1s");
    world.writer.set(&node("alice"), "btc").await;
    let switcher = world.start().await;
    pool.stop().await;

    let refusal = switcher.refusal("alice.rig1").await;

    assert!(refusal.ends_with(r#""error":[302,"Connect Stratum Server Failed",1]}"#), "{refusal}");
    pool.restart().await;
    let config = MinerConfig::new("alice.rig1").reconnecting(Duration::from_millis(500));
    let miner = Miner::connect(switcher.address, config).await;
    eventually("it is served again", || miner.report().accepted > 2).await;
}
