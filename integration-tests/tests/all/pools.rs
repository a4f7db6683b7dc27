//! Pools that fail, lie and fall silent: the miner stays, and goes on at the next pool.

use std::time::{Duration, Instant};

use serde_json::Value;
use stratum_peers::pool::{Answers, FirstJob, Quirk};
use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig, eventually, never_within};
use switcher_core::settings::Pacing;

use crate::support::{
    alice, has_noticed_nothing, is_in_order, one_coin, one_coin_with, plain, shares_at,
};

/// A newcomer ends up at the second pool, as the first one does this.
async fn newcomer_goes_past(quirk: Quirk) {
    let bad = Pool::start(plain("bad").quirk(quirk)).await;
    let good = Pool::start(plain("good")).await;
    let switcher = one_coin_with(&[&bad, &good], |config| {
        config.with(|settings| {
            settings.timing.handshake = Duration::from_millis(500);
            settings.timing.silence = Duration::from_secs(1);
            settings.timing.no_job = Duration::from_secs(1);
        })
    })
    .await;

    let miner = alice(&switcher).await;
    shares_at(&good, 10).await;

    is_in_order(&miner);
    assert_eq!(good.report().rejected_total(), 0);
}

/// A miner that mines at one coin stays there and works, as the other coin's only pool does this.
async fn switch_waits_for(quirk: Quirk) {
    let good = Pool::start(plain("good")).await;
    let bad = Pool::start(plain("bad").quirk(quirk)).await;
    let switcher = one_coin_with(&[&good], |config| {
        config
            .pool("bch", &bad)
            .with(|settings| settings.timing.handshake = Duration::from_millis(500))
    })
    .await;
    let miner = alice(&switcher).await;
    shares_at(&good, 5).await;

    switcher.assign("alice", "bch");
    eventually("the other pool was tried", || bad.report().connections > 0).await;
    shares_at(&good, 40).await;

    has_noticed_nothing(&miner);
    let session = &switcher.api("/api/v1/sessions").await["items"][0];
    assert_eq!(session["coin"], "bch", "it is known where it shall be");
    assert_ne!(session["trouble"], Value::Null, "and that something is in the way: {session}");

    bad.reconfigure(|config| config.quirks.clear());
    shares_at(&bad, 10).await;
    has_noticed_nothing(&miner);
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_accepts_and_never_answers_is_passed_by_a_newcomer() {
    newcomer_goes_past(Quirk::AcceptsAndNeverAnswers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_accepts_and_never_answers_keeps_a_switch_waiting() {
    switch_waits_for(Quirk::AcceptsAndNeverAnswers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_closes_after_the_subscribe_is_passed_by_a_newcomer() {
    newcomer_goes_past(Quirk::ClosesAfterSubscribe).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_closes_after_the_subscribe_keeps_a_switch_waiting() {
    switch_waits_for(Quirk::ClosesAfterSubscribe).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_is_full_is_passed_by_a_newcomer() {
    newcomer_goes_past(Quirk::ProxyFull).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_is_full_keeps_a_switch_waiting() {
    switch_waits_for(Quirk::ProxyFull).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_refuses_authorize_keeps_a_switch_waiting() {
    switch_waits_for(Quirk::RefusesAuthorize).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_is_silent_after_login_is_left() {
    newcomer_goes_past(Quirk::SilentAfterLogin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_is_silent_after_login_keeps_a_switch_waiting() {
    switch_waits_for(Quirk::SilentAfterLogin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_pings_without_jobs_is_left() {
    newcomer_goes_past(Quirk::PingsWithoutJobs(Duration::from_millis(100))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_leaves_submits_unanswered_is_left_and_the_shares_are_answered_once() {
    let bad = Pool::start(plain("bad").quirk(Quirk::IgnoresSubmits)).await;
    let good = Pool::start(plain("good")).await;
    let switcher = one_coin_with(&[&bad, &good], |config| {
        config.with(|settings| settings.timing.unanswered = Duration::from_secs(1))
    })
    .await;

    let miner = alice(&switcher).await;
    shares_at(&good, 10).await;
    miner.pause(true).await;
    eventually("all shares are answered", || miner.report().unanswered == 0).await;

    is_in_order(&miner);
    let ignored = bad.report().ignored;
    assert!(ignored > 0 && miner.report().rejected_total() >= ignored, "{:?}", miner.report());
    assert_eq!(switcher.metric("switcher_pool_unanswered_total").await, ignored as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_of_a_newcomer_is_the_pools_own_and_the_miner_may_try_again() {
    let pool = Pool::start(plain("pool").quirk(Quirk::RefusesAuthorize)).await;
    let switcher = one_coin(&[&pool]).await;
    let miner = Miner::connect(switcher.address(), MinerConfig::new("alice.rig1").idle()).await;
    eventually("the refusal came", || miner.report().authorized == Some(false)).await;
    let refusal = miner.lines().into_iter().find(|line| line.contains("[24,"));
    assert!(refusal.is_some(), "{:?}", miner.lines());

    pool.reconfigure(|config| config.quirks.clear());
    let answer = miner
        .ask("mining.authorize", serde_json::json!(["alice.rig1", "x"]))
        .await
        .expect("the connection still stands");

    assert_eq!(answer["result"], true, "{answer}");
    is_in_order(&miner);
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_killed_and_restarted_gets_its_miners_back_on_their_connections() {
    let mut pool = Pool::start(plain("pool")).await;
    let switcher = one_coin(&[&pool]).await;
    let miner = alice(&switcher).await;
    shares_at(&pool, 5).await;

    pool.stop().await;
    eventually("the miner is told that there is no pool", || miner.report().rejected_total() > 0)
        .await;
    pool.restart().await;
    shares_at(&pool, 10).await;

    is_in_order(&miner);
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_fail_over_to_the_second_pool_and_come_back_to_the_first() {
    let mut first = Pool::start(plain("first")).await;
    let second = Pool::start(plain("second")).await;
    let switcher = one_coin(&[&first, &second]).await;
    let miner = alice(&switcher).await;
    shares_at(&first, 5).await;

    first.stop().await;
    shares_at(&second, 5).await;
    first.restart().await;
    let before = first.report().accepted;
    stratum_peers::eventually_within("the miner comes back", Duration::from_secs(50), || {
        first.report().accepted > before + 5
    })
    .await;

    is_in_order(&miner);
}

#[tokio::test(flavor = "multi_thread")]
async fn miner_without_any_pool_is_held_and_then_let_go() {
    let mut pool = Pool::start(plain("pool")).await;
    let switcher = one_coin_with(&[&pool], |config| {
        config.with(|settings| settings.timing.hold = Duration::from_secs(2))
    })
    .await;
    let miner = alice(&switcher).await;
    shares_at(&pool, 5).await;

    pool.stop().await;
    never_within("let go early", Duration::from_secs(1), || !miner.report().connected).await;
    eventually("it is let go", || !miner.report().connected).await;

    assert!(miner.report().adds_up());
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomer_without_any_pool_is_told_at_once() {
    let mut pool = Pool::start(plain("pool")).await;
    let switcher = one_coin(&[&pool]).await;
    pool.stop().await;

    let miner = Miner::connect(switcher.address(), MinerConfig::new("alice.rig1").idle()).await;

    eventually("it is refused", || miner.report().authorized == Some(false)).await;
    eventually("it is let go", || !miner.report().connected).await;
}

/// A pool with this configuration is mined at without a refusal.
async fn mined_without_a_refusal(config: PoolConfig) -> (Pool, Miner) {
    let pool = Pool::start(config).await;
    let switcher = one_coin(&[&pool]).await;
    let miner = alice(&switcher).await;

    shares_at(&pool, 20).await;
    miner.pause(true).await;
    eventually("all shares are answered", || miner.report().unanswered == 0).await;

    has_noticed_nothing(&miner);
    assert_eq!(pool.report().violations, [] as [String; 0]);
    switcher.drain().await;
    (pool, miner)
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_cuts_lines_in_two_is_mined_at() {
    let quirk = Quirk::CutsLines(Duration::from_millis(5));
    mined_without_a_refusal(plain("pool").quirk(quirk)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_sends_jobs_before_the_authorize_answer_is_mined_at() {
    let ckpool = PoolConfig::ckpool().difficulty(3e-10);
    mined_without_a_refusal(ckpool.first_job(FirstJob::BeforeAuthorizeAnswer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_sends_jobs_after_the_subscribe_is_mined_at() {
    mined_without_a_refusal(PoolConfig::miningcore().difficulty(3e-10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_answers_no_configure_is_mined_at() {
    mined_without_a_refusal(plain("pool").quirk(Quirk::AnswersNoConfigure)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_answers_without_an_error_member_is_mined_at() {
    mined_without_a_refusal(plain("pool").quirk(Quirk::AnswersWithoutErrorMember)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_answers_in_reverse_order_is_mined_at() {
    mined_without_a_refusal(plain("pool").answers(Answers::Reversed(3))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_with_an_empty_extranonce1_is_mined_at() {
    mined_without_a_refusal(plain("pool").extranonce1_size(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_asks_to_reconnect_to_a_foreign_host_is_not_obeyed() {
    let quirk = Quirk::ReconnectsElsewhere("thief.example".to_owned(), 3333);
    let (_, miner) = mined_without_a_refusal(plain("pool").quirk(quirk)).await;

    assert_eq!(miner.report().reconnect_requests, [] as [String; 0]);
}

/// A pool that changes its extranonce in mid-session goes on being mined at.
async fn extranonce_changes_to(size: usize, extranonce2_size: usize) {
    let pool = Pool::start(plain("pool").difficulty(1e-7)).await;
    let switcher = one_coin(&[&pool]).await;
    let miner = alice(&switcher).await;
    shares_at(&pool, 10).await;

    pool.change_extranonce(size, extranonce2_size);
    pool.new_job(false);
    shares_at(&pool, 20).await;
    miner.pause(true).await;
    eventually("all shares are answered", || miner.report().unanswered == 0).await;

    has_noticed_nothing(&miner);
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_changes_its_extranonce_in_mid_session() {
    extranonce_changes_to(4, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_changes_its_extranonce_to_another_length_in_mid_session() {
    extranonce_changes_to(2, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_that_echo_are_served_by_rung_echo() {
    let sserver = PoolConfig::sserver().difficulty(3e-10);
    let (one, other) = (Pool::start(sserver.clone()).await, Pool::start(sserver).await);
    let options = serde_json::json!({"extranonce": "echo"});
    let switcher = integration_tests::SwitcherConfig::new()
        .pool_at("btc", one.address(), options.clone())
        .pool_at("bch", other.address(), options)
        .start()
        .await;
    switcher.assign("alice", "btc");
    let miner = alice(&switcher).await;
    shares_at(&one, 10).await;

    switcher.assign("alice", "bch");
    shares_at(&other, 10).await;

    has_noticed_nothing(&miner);
    assert_eq!(switcher.metric(r#"switcher_cut_overs_total{rung="echo"}"#).await, 2.0);
    assert_eq!(one.report().violations, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_that_wait_for_their_turn_to_dial_are_not_let_go() {
    let pool = Pool::start(plain("pool")).await;
    let switcher = one_coin_with(&[&pool], |config| {
        config.with(|settings| {
            settings.timing.hold = Duration::from_secs(1);
            for coin in settings.coins.values_mut() {
                for pool in &mut coin.pools {
                    pool.pacing = Pacing { dials_per_second: 10, in_flight: 4 };
                }
            }
        })
    })
    .await;
    let begin = Instant::now();
    let mut miners = Vec::new();
    for _ in 0..40 {
        miners.push(alice(&switcher).await);
    }

    eventually("all have got their turn", || {
        miners.iter().all(|miner| miner.report().accepted > 0)
    })
    .await;

    // 40 dials at 10 a second.
    assert!(begin.elapsed() > Duration::from_secs(3), "{:?}", begin.elapsed());
    for miner in &miners {
        has_noticed_nothing(miner);
    }
}
