//! An agent and a pool face to face, with nothing between them that could be wrong.

use std::time::Duration;

use super::{Agent, AgentConfig};
use crate::eventually::eventually;
use crate::{Pool, PoolConfig};

const UNIT: f64 = 1e-9;

/// A pool that gives this agent its own extranonce1, as sserver does without a switcher.
async fn pool() -> Pool {
    let config = PoolConfig::new().agents(UNIT, [1, 3]).jobs_every(Duration::from_millis(100), 0);
    Pool::start(config).await
}

#[tokio::test]
async fn an_agent_and_a_pool_have_nothing_to_say_against_each_other() {
    let pool = pool().await;
    let agent = Agent::connect(pool.address(), AgentConfig::new("alice", 8, UNIT)).await;

    eventually("every sub-miner has shares taken", || {
        agent.report().accepted_by_sub_miner.len() == 8
    })
    .await;
    agent.replace(3);
    let before = agent.report().accepted_by_sub_miner.get(&3).copied();
    eventually("the new sub-miner has, too", || {
        agent.report().accepted_by_sub_miner.get(&3).copied() > before
    })
    .await;
    agent.pause(true);
    eventually("all shares are answered", || agent.report().unanswered == 0).await;

    let (agent, pool) = (agent.report(), pool.report());
    assert_eq!((&agent.violations, &pool.violations), (&vec![], &vec![]));
    assert!(agent.rejected.is_empty() && agent.late > 0, "{:?}", agent.refusals);
    assert_eq!(agent.accepted, pool.accepted);
}

#[tokio::test]
async fn a_wrong_frame_is_held_against_the_agent() {
    let pool = pool().await;
    let agent = Agent::connect(pool.address(), AgentConfig::new("alice", 2, UNIT)).await;
    eventually("shares are taken", || agent.report().accepted > 0).await;

    // A share of a sub-miner that is not there, and a submit that is too short.
    agent.send_raw(b"\x7f\x02\x0f\x00\x01\x09\x00\x01\x00\x00\x00\x06\x57\x4b\xce");
    agent.send_raw(b"\x7f\x02\x0e\x00\x01\x01\x00\x01\x00\x00\x00\x06\x57\x4b");

    eventually("both are named", || pool.report().violations.len() == 2).await;
}

#[tokio::test]
async fn a_wrong_answer_is_held_against_the_pool() {
    let pool = pool().await;
    let agent = Agent::connect(pool.address(), AgentConfig::new("alice", 2, UNIT)).await;
    eventually("shares are taken", || agent.report().accepted > 0).await;

    pool.send_raw(b"\x7f\x10\x0a\x00\xff\xff\x87\x96\x2c\x6b");
    pool.send_raw(b"\x7f\x05\x09\x00\x01\x01\x00\x63\x00");

    eventually("both are named", || agent.report().violations.len() == 2).await;
}
