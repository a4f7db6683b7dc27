//! What tests ask of pools and miners when all is done: has anybody noticed anything?
//!
//! Each panics with the whole story, so that a failing test needs no second run.

use std::collections::BTreeMap;

use crate::agent::Agent;
use crate::eventually::eventually;
use crate::miner::Miner;
use crate::pool::Pool;

/// Waits until this many more shares were accepted there than now.
///
/// # Panics
///
/// When they are not accepted in a long while.
pub async fn shares_at(pool: &Pool, more: u64) {
    let before = pool.report().accepted;
    eventually("shares are accepted", || pool.report().accepted >= before + more).await;
}

/// The miner was not disconnected, got one answer to each share and nothing it did not ask for.
///
/// # Panics
///
/// When it was otherwise.
#[track_caller]
pub fn is_in_order(miner: &Miner) {
    let report = miner.report();
    assert!(report.connected && report.connections == 1, "{:?}", report.disconnects);
    assert_eq!(report.violations, [] as [String; 0], "no message was not asked for");
    assert!(report.adds_up(), "{report:?}");
}

/// The miner is in order, and no share of it was refused.
///
/// # Panics
///
/// When it was otherwise.
#[track_caller]
pub fn has_noticed_nothing(miner: &Miner) {
    assert_eq!(miner.report().rejections, [], "no share is refused");
    is_in_order(miner);
}

/// Whether each of an agent's sub-miners has had more shares taken by this pool than `before`.
pub fn all_mine_at(pool: &Pool, sub_miners: u16, before: &BTreeMap<String, u64>) -> bool {
    let now = pool.report().accepted_by_name;
    (0..sub_miners).all(|sid| {
        let name = format!("rig{sid}");
        now.get(&name) > before.get(&name)
    })
}

/// Stops the agent; all its shares were taken, each by one of these pools, and nobody has been told
/// anything out of turn.
///
/// # Panics
///
/// When it was otherwise.
pub async fn agent_has_lost_nothing(agent: &Agent, pools: &[&Pool]) {
    agent.pause(true);
    eventually("all shares are answered", || agent.report().unanswered == 0).await;
    let report = agent.report();
    assert_eq!(report.violations, [] as [String; 0]);
    assert_eq!(report.ending, None);
    assert!(report.rejected.is_empty(), "{:?}", report.refusals);
    assert_eq!(report.accepted, report.submitted);
    let at_pools: u64 = pools.iter().map(|pool| pool.report().accepted).sum();
    assert_eq!(report.accepted, at_pools, "shares lost, doubled or misdirected");
    for pool in pools {
        assert_eq!(pool.report().violations, [] as [String; 0]);
        assert!(pool.report().rejected.is_empty(), "{:?}", pool.report().refusals);
    }
}
