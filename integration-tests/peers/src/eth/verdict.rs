//! What tests ask of pools and miners of the ETH family when all is done.

use super::miner::EthMiner;
use super::pool::EthPool;
use crate::eventually::eventually_within;

/// Waits until this many more shares were accepted there than now.
///
/// # Panics
///
/// When they are not accepted in a long while.
pub async fn shares_at(pool: &EthPool, more: u64) {
    let before = pool.report().accepted;
    let patience = std::time::Duration::from_mins(1);
    eventually_within("shares are accepted", patience, || pool.report().accepted >= before + more)
        .await;
}

/// The miner was not disconnected, no share of it was refused, and no message was not asked for.
///
/// # Panics
///
/// When it was otherwise.
#[track_caller]
pub fn has_noticed_nothing(miner: &EthMiner) {
    let report = miner.report();
    assert!(report.connected, "{:?}", report.ending);
    assert_eq!(report.violations, [] as [String; 0], "no message was not asked for");
    assert_eq!(report.rejections, [], "no share is refused");
    assert!(report.adds_up(), "{report:?}");
}

/// The pool had nothing to refuse and nothing to complain of.
///
/// # Panics
///
/// When it was otherwise.
#[track_caller]
pub fn nothing_wrong_at(pool: &EthPool) {
    let report = pool.report();
    assert_eq!(report.violations, [] as [String; 0]);
    assert_eq!(report.refusals, []);
}
