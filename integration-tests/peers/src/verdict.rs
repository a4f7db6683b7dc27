//! What tests ask of pools and miners when all is done: has anybody noticed anything?
//!
//! Each panics with the whole story, so that a failing test needs no second run.

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
