//! Signals as fast as they come, under load.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use stratum_peers::{Miner, MinerConfig, Pool, eventually};

use crate::running::{Start, books_agree, plain};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_of_upgrades_loses_nothing_and_lets_newcomers_in() {
    let pool = Pool::start(plain("pool")).await;
    let switcher = Start::one(&pool).go().await;
    let mut miners = Vec::new();
    for at in 0..40 {
        let config = MinerConfig::new(format!("alice.rig{at}"));
        let pace = config.share_every(Duration::from_millis(100));
        miners.push(Miner::connect(switcher.address, pace).await);
    }

    let began = Instant::now();
    let mut sent = 0;
    let mut newcomers = Vec::new();
    while began.elapsed() < Duration::from_secs(5) {
        switcher.signal(Signal::SIGUSR2);
        sent += 1;
        if sent % 50 == 0 {
            let config = MinerConfig::new(format!("alice.new{sent}"));
            let pace = config.share_every(Duration::from_millis(100));
            newcomers.push(Miner::connect(switcher.address, pace).await);
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    eventually("the newcomers mine", || newcomers.iter().all(|miner| miner.report().accepted > 3))
        .await;
    // One that is still on its way shall not meet the end of the test.
    switcher.outcome_after(switcher.told().0.saturating_sub(1)).await;

    let (attempts, last) = switcher.told();
    eprintln!("{sent} signals, {attempts} upgrades, {} newcomers, last {last}", newcomers.len());
    assert!(attempts >= 5, "{attempts}");
    assert_eq!(last["generation"], attempts, "all of them succeeded");
    assert!(newcomers.len() >= 5);
    // Who mines keeps its leg. A newcomer that is frozen while it dials dials anew, and the pool may
    // have taken the first call by then.
    let came = newcomers.len() as u64;
    miners.append(&mut newcomers);
    let redials = pool.report().connections - miners.len() as u64;
    assert!(redials <= came, "{redials} redials of {came} newcomers");
    eventually("the first calls are over", || pool.report().closed == redials).await;
    books_agree(&miners, &[&pool]).await;
    switcher.has_logged_no_error();
}
