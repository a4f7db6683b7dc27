//! `BTCAgent`: many miners behind one connection, which a switch must not cost.

use std::collections::BTreeMap;
use std::time::Duration;

use integration_tests::{Switcher, SwitcherConfig};
use serde_json::{Value, json};
use stratum_peers::agent::UNIT;
use stratum_peers::verdict::{self, agent_has_lost_nothing};
use stratum_peers::{
    Agent, AgentConfig, Miner, MinerConfig, Pool, PoolConfig, eventually, eventually_within,
};

use crate::support::is_in_order;

const SUB_MINERS: u16 = 50;

async fn sserver(name: &str, exponents: [u8; 2]) -> Pool {
    Pool::start(PoolConfig::agents_sserver(exponents).name(name)).await
}

fn echo() -> Value {
    json!({"extranonce": "echo"})
}

/// A switcher with such a pool for each of two coins.
async fn between(a: &Pool, b: &Pool, options: &Value) -> Switcher {
    let config = SwitcherConfig::new().pool_at("btc", a.address(), options.clone()).pool_at(
        "bch",
        b.address(),
        options.clone(),
    );
    let switcher = config.start().await;
    switcher.assign("alice", "btc");
    switcher
}

async fn agent(switcher: &Switcher) -> Agent {
    Agent::connect(switcher.address(), AgentConfig::new("alice", SUB_MINERS, UNIT)).await
}

async fn patiently(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(what, Duration::from_mins(1), condition).await;
}

fn all_mine_at(pool: &Pool, before: &BTreeMap<String, u64>) -> bool {
    verdict::all_mine_at(pool, SUB_MINERS, before)
}

async fn ten_switches(freezes: bool) {
    let (a, b) = (sserver("a", [3, 5]).await, sserver("b", [4, 6]).await);
    let switcher = between(&a, &b, &echo()).await;
    let agent = agent(&switcher).await;
    patiently("all sub-miners mine", || all_mine_at(&a, &BTreeMap::new())).await;

    for round in 1..=10 {
        let (coin, pool) = if round % 2 == 0 { ("btc", &a) } else { ("bch", &b) };
        let before = pool.report().accepted_by_name;
        switcher.assign("alice", coin);
        if freezes {
            switcher.freeze_and_resume().await;
        }
        patiently(&format!("switch {round}: every sub-miner mines {coin}"), || {
            all_mine_at(pool, &before)
        })
        .await;
        // One sub-miner leaves and another comes in its place.
        let before = agent.report().accepted_by_sub_miner;
        agent.replace(round);
        eventually("the newcomer mines", || {
            agent.report().accepted_by_sub_miner.get(&round) > before.get(&round)
        })
        .await;
    }

    let report = agent.report();
    assert!(report.late > 0 && report.clean_jobs > 10, "{report:?}");
    let session = &switcher.api("/api/v1/sessions").await["items"][0];
    assert_eq!(session["state"]["sub_miners"], "50", "{session}");
    agent_has_lost_nothing(&agent, &[&a, &b]).await;
    assert_eq!(switcher.metric("switcher_switches_total").await, 10.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_fifty_sub_miners_is_switched_ten_times_without_a_loss() {
    ten_switches(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_switched_ten_times_through_ten_freezes_without_a_loss() {
    ten_switches(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_turns_out_to_be_sserver_serves_agents() {
    let (a, b) = (sserver("a", [3, 5]).await, sserver("b", [4, 6]).await);
    let switcher = between(&a, &b, &json!({"extranonce": "detect"})).await;
    let agent = agent(&switcher).await;
    patiently("all sub-miners mine", || all_mine_at(&a, &BTreeMap::new())).await;

    switcher.assign("alice", "bch");
    patiently("all sub-miners mine there", || all_mine_at(&b, &BTreeMap::new())).await;

    agent_has_lost_nothing(&agent, &[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_stays_where_it_is_if_the_other_pool_is_a_stranger() {
    let a = sserver("a", [3, 5]).await;
    let b = Pool::start(PoolConfig::new().name("b").extranonce2_size(16)).await;
    let config = SwitcherConfig::new().pool_at("btc", a.address(), echo()).pool_at(
        "bch",
        b.address(),
        Value::Null,
    );
    let switcher = config.start().await;
    switcher.assign("alice", "btc");
    let agent = agent(&switcher).await;
    patiently("all sub-miners mine", || all_mine_at(&a, &BTreeMap::new())).await;

    switcher.assign("alice", "bch");
    let mut trouble = String::new();
    while !trouble.contains("understood by sserver only") {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let sessions = switcher.api("/api/v1/sessions").await;
        trouble = sessions["items"][0]["trouble"].to_string();
    }
    let before = a.report().accepted_by_name;
    patiently("all sub-miners mine on", || all_mine_at(&a, &before)).await;

    agent_has_lost_nothing(&agent, &[&a]).await;
    assert_eq!(b.report().accepted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_lost_costs_the_agent_nothing_but_the_shares_under_way() {
    let (a, b) = (sserver("a", [3, 5]).await, sserver("b", [4, 6]).await);
    let switcher = between(&a, &b, &echo()).await;
    let agent = agent(&switcher).await;
    patiently("all sub-miners mine", || all_mine_at(&a, &BTreeMap::new())).await;

    // The same pool is there for a new leg, and knows nobody.
    let before = a.report().accepted_by_name;
    a.kick_all(true);
    patiently("all sub-miners mine again", || all_mine_at(&a, &before)).await;

    agent.pause(true);
    eventually("all shares are answered", || agent.report().unanswered == 0).await;
    let report = agent.report();
    assert_eq!((&report.ending, &report.violations), (&None, &vec![]));
    assert!(report.rejected.keys().all(|status| [21, 30].contains(status)), "{report:?}");
    assert_eq!(a.report().violations, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_frame_costs_the_agent_and_nobody_else() {
    let (a, b) = (sserver("a", [3, 5]).await, sserver("b", [4, 6]).await);
    let switcher = between(&a, &b, &echo()).await;
    let (bad, good) = (agent(&switcher).await, agent(&switcher).await);
    let config = MinerConfig::new("alice.rig").share_every(Duration::from_millis(30));
    let miner = Miner::connect(switcher.address(), config).await;
    eventually("all mine", || {
        bad.report().accepted > 0 && good.report().accepted > 0 && miner.report().accepted > 0
    })
    .await;

    // What sserver would only drop is dropped.
    bad.send_raw(b"\x7f\x99\x04\x00\x7f\x01\x05\x00\x00");
    let before = bad.report().accepted;
    eventually("it mines on", || bad.report().accepted > before + 5).await;
    // A length that cannot be.
    bad.send_raw(b"\x7f\x02\x03\x00");
    eventually("it is let go", || bad.report().ending.is_some()).await;

    let before = (good.report().accepted, miner.report().accepted);
    eventually("the others mine on", || {
        good.report().accepted > before.0 + 50 && miner.report().accepted > before.1 + 5
    })
    .await;
    assert_eq!((good.report().ending, good.report().violations), (None, vec![]));
    is_in_order(&miner);
    assert_eq!(a.report().violations, [] as [String; 0]);
    assert_eq!(switcher.api("/api/v1/sessions").await["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_frame_of_a_pool_costs_its_legs_and_no_agent() {
    let (a, b) = (sserver("a", [3, 5]).await, sserver("b", [4, 6]).await);
    let switcher = between(&a, &b, &echo()).await;
    let agent = agent(&switcher).await;
    patiently("all sub-miners mine", || all_mine_at(&a, &BTreeMap::new())).await;

    let before = a.report().accepted_by_name;
    a.send_raw(b"\x7f\x10\x00\x00");
    eventually("the leg is replaced", || a.report().connections > 1).await;
    patiently("all sub-miners mine again", || all_mine_at(&a, &before)).await;

    assert_eq!((agent.report().ending, agent.report().violations), (None, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_answers_its_miners_itself_is_told_nothing_and_counted_all_the_same() {
    let (a, b) = (sserver("a", [3, 5]).await, sserver("b", [4, 6]).await);
    let switcher = between(&a, &b, &echo()).await;
    let config = AgentConfig::new("alice", SUB_MINERS, UNIT).without_answers();
    let agent = Agent::connect(switcher.address(), config).await;

    patiently("all sub-miners mine", || all_mine_at(&a, &BTreeMap::new())).await;
    agent.pause(true);
    eventually("all shares are judged", || a.report().accepted == agent.report().submitted).await;

    assert_eq!(agent.report().violations, [] as [String; 0]);
    let submitted = agent.report().submitted as f64;
    let mut counted = 0.0;
    while counted < submitted {
        tokio::time::sleep(Duration::from_millis(20)).await;
        counted = switcher.metric("switcher_pool_accepted_total").await;
    }
    assert_eq!(counted, submitted);
}
