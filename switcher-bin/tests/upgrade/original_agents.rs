//! `BTCAgent`s taken over from the Go original, and given back to it.

use std::collections::BTreeMap;
use std::time::Duration;

use stratum_peers::agent::UNIT;
use stratum_peers::{Agent, AgentConfig, Pool, PoolConfig, eventually, eventually_within};

use crate::original::World;

const SUB_MINERS: u16 = 10;

async fn sserver(name: &str) -> Pool {
    let config = PoolConfig::agents_sserver([3, 5]).name(name);
    Pool::start(config.jobs_every(Duration::from_millis(300), 0)).await
}

fn config() -> AgentConfig {
    AgentConfig::new("alice", SUB_MINERS, UNIT).share_every(Duration::from_millis(20))
}

/// Every sub-miner has five more shares accepted there than now.
async fn all_mine_at(pool: &Pool) {
    let count = |all: &BTreeMap<String, u64>, sid: u16| all.get(&format!("rig{sid}")).copied();
    let before = pool.report().accepted_by_name;
    eventually_within("all sub-miners mine", Duration::from_mins(1), || {
        let now = pool.report().accepted_by_name;
        (0..SUB_MINERS).all(|sid| count(&now, sid) >= Some(count(&before, sid).unwrap_or(0) + 5))
    })
    .await;
}

/// Still on its first connection; nothing was refused, and nothing said that makes no sense.
#[track_caller]
fn has_noticed_nothing(agent: &Agent) {
    let report = agent.report();
    assert_eq!((&report.ending, &report.violations), (&None, &vec![]));
    assert!(report.rejected.is_empty(), "{:?}", report.refusals);
}

async fn settle(agents: &[&Agent], pool: &Pool) {
    for agent in agents {
        agent.pause(true);
    }
    let unanswered = || agents.iter().map(|agent| agent.report().unanswered).sum::<u64>();
    eventually("all shares are answered", || unanswered() == 0).await;
    agents.iter().copied().for_each(has_noticed_nothing);
    assert_eq!(pool.report().violations, [] as [String; 0]);
}

/// A switcher of ours that has taken over from the original, the pools of btc and bcc, and an agent
/// that was there before and mines btc.
async fn taken_over() -> (World, Pool, Pool, Agent) {
    let (btc, bcc) = (sserver("btc").await, sserver("bcc").await);
    let pools = [("btc", btc.address()), ("bcc", bcc.address())];
    let world = World::start_chain("bitcoin", &pools, "").await;
    // The original does not answer the question that agents begin with.
    let old = Agent::connect(world.address, config().without_question()).await;
    all_mine_at(&btc).await;
    world.take_over().await;
    all_mine_at(&btc).await;
    (world, btc, bcc, old)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_go_from_the_original_to_us_and_back_and_their_sub_miners_mine_on() {
    let (world, btc, _bcc, old) = taken_over().await;
    let ours = Agent::connect(world.address, config()).await;
    all_mine_at(&btc).await;
    eventually("the new one mines", || ours.report().accepted > 50).await;
    has_noticed_nothing(&old);
    let connections = btc.report().connections;

    world.go_back().await;
    let before = [old.report().accepted, ours.report().accepted];
    all_mine_at(&btc).await;
    eventually("both mine on", || {
        let now = [old.report().accepted, ours.report().accepted];
        now.iter().zip(before).all(|(now, before)| *now > before + 50)
    })
    .await;

    assert_eq!(btc.report().connections, connections, "the legs are the same");
    settle(&[&old, &ours], &btc).await;
    let submitted = old.report().submitted + ours.report().submitted;
    assert_eq!(btc.report().accepted, submitted);
    eprintln!("{submitted} shares");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_of_the_original_is_let_go_at_the_first_switch_and_kept_at_the_next() {
    let (world, btc, bcc, old) = taken_over().await;

    // Nobody could tell the other pool who its sub-miners are.
    world.assign("bcc").await;
    eventually("it is let go", || old.report().ending.is_some()).await;
    assert_eq!(old.report().violations, [] as [String; 0]);

    let back = Agent::connect(world.address, config()).await;
    all_mine_at(&bcc).await;
    world.assign("btc").await;
    all_mine_at(&btc).await;
    settle(&[&back], &btc).await;
}
