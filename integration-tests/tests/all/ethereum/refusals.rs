//! What cannot work is refused, says why, and costs nobody a share.

use std::time::{Duration, Instant};

use integration_tests::{Switcher, SwitcherConfig};
use serde_json::{Value, json};
use stratum_peers::eth::verdict::{has_noticed_nothing, nothing_wrong_at, shares_at};
use stratum_peers::eth::{EthMiner, EthMinerConfig, EthPool, EthPoolConfig, Variant};
use stratum_peers::eventually;

use super::{alice, busy, patiently};

/// A switcher with a pool that fits for `etha` and one that does not for `ethb`.
async fn with_pools(
    (good, good_options): (EthPoolConfig, Value),
    (bad, bad_options): (EthPoolConfig, Value),
) -> (Switcher, EthPool, EthPool) {
    let good = EthPool::start(busy(good).name("good", 1).really_every(0)).await;
    let bad = EthPool::start(busy(bad).name("bad", 2).really_every(0)).await;
    let config = SwitcherConfig::ethereum()
        .with(|settings| settings.probe = false)
        .eth_pool("etha", &good, good_options)
        .eth_pool("ethb", &bad, bad_options);
    (config.start().await, good, bad)
}

/// What the API says about the first session.
async fn trouble(switcher: &Switcher) -> String {
    let sessions = switcher.api("/api/v1/sessions").await;
    sessions["items"][0]["trouble"].as_str().unwrap_or_default().to_owned()
}

/// The miner mines at the pool that fits, is sent to the other, and mines on where it is. The
/// reason is this.
async fn stays(
    miner: EthMinerConfig,
    good: (EthPoolConfig, Value),
    bad: (EthPoolConfig, Value),
    reason: &str,
) {
    let (switcher, good, bad) = with_pools(good, bad).await;
    switcher.assign("alice", "etha");
    let miner = EthMiner::connect(switcher.address(), miner).await;
    shares_at(&good, 3).await;

    switcher.assign("alice", "ethb");

    let end = Instant::now() + Duration::from_secs(20);
    while !trouble(&switcher).await.contains(reason) {
        let found = trouble(&switcher).await;
        assert!(Instant::now() < end, "{found:?} instead of {reason:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shares_at(&good, 5).await;
    assert_eq!(bad.report().accepted, 0);
    assert_eq!(bad.report().violations, [] as [String; 0]);
    assert_eq!(switcher.metric("switcher_switches_total").await, 0.0);
    has_noticed_nothing(&miner);
    nothing_wrong_at(&good);
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_nonces_do_not_go_to_a_pool_that_fixes_their_head() {
    for (miner, pool, option) in [
        (Variant::EthProxy, Variant::NiceHash, "nicehash"),
        (Variant::Plain, Variant::Es2, "stratum2"),
    ] {
        stays(
            EthMinerConfig::new(miner, "alice.rig1"),
            (EthPoolConfig::ethermine(), Value::Null),
            (EthPoolConfig::new(pool), json!({"variant": option})),
            "nonce space: the pool fixes the head of the nonce",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_without_a_mix_digest_do_not_go_to_a_pool_that_wants_one() {
    for (miner, pool, option) in [
        (Variant::NiceHash, EthPoolConfig::open_ethereum_pool(), "ethproxy"),
        (Variant::Es2, EthPoolConfig::new(Variant::Plain), "stratum"),
    ] {
        stays(
            EthMinerConfig::new(miner, "alice.rig1"),
            (EthPoolConfig::new(Variant::NiceHash), json!({"variant": "nicehash"})),
            (pool, json!({ "variant": option })),
            "mix digest: the miner sends none, and the pool wants one",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miner_that_cannot_be_told_another_extranonce_stays_where_it_is() {
    stays(
        EthMinerConfig::new(Variant::NiceHash, "alice.rig1").keeping_extranonce(),
        (EthPoolConfig::sserver(), json!({"extranonce": "echo"})),
        (EthPoolConfig::new(Variant::NiceHash), json!({"variant": "nicehash"})),
        "the miner has not asked for mining.extranonce.subscribe",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_no_pool_can_serve_is_told_so_in_its_own_words() {
    for (variant, pool, options, words) in [
        (
            Variant::EthProxy,
            EthPoolConfig::new(Variant::NiceHash),
            json!({"variant": "nicehash"}),
            r#""error":{"code":302,"message":"Connect Stratum Server Failed""#,
        ),
        (
            Variant::NiceHash,
            EthPoolConfig::open_ethereum_pool(),
            json!({"variant": "ethproxy"}),
            r#""error":[302,"Connect Stratum Server Failed","#,
        ),
    ] {
        let (switcher, _good, pool) =
            with_pools((EthPoolConfig::ethermine(), Value::Null), (pool, options)).await;
        switcher.assign("alice", "ethb");

        let miner = alice(&switcher, variant).await;

        patiently("an answer", || miner.report().login.is_some()).await;
        let answer = miner.report().login.and_then(Result::err).unwrap_or_default();
        assert!(answer.contains(words), "{answer}");
        assert_eq!(pool.report().logged_in, 0);
        assert_eq!(miner.report().violations, [] as [String; 0]);
    }
}

/// `ethminer` without a scheme tries one variant after the other, a connection each, and waits for
/// two seconds where it gets no answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_miner_that_tries_all_variants_goes_on_at_once() {
    let pool = EthPool::start(busy(EthPoolConfig::open_ethereum_pool()).really_every(0)).await;
    let switcher = SwitcherConfig::ethereum()
        .with(|settings| settings.listeners[0].options = json!({"variants": ["ethproxy"]}))
        .eth_pool("etha", &pool, Value::Null)
        .start()
        .await;
    switcher.assign("alice", "etha");

    for variant in [Variant::Es2, Variant::NiceHash] {
        let begin = Instant::now();
        let miner = alice(&switcher, variant).await;
        eventually("it is turned away", || !miner.report().connected).await;
        assert!(begin.elapsed() < Duration::from_secs(2), "at once: {:?}", begin.elapsed());
        let refusal = miner.report().refusal.unwrap_or_default();
        assert!(refusal.contains("This protocol is not enabled here"), "{refusal}");
        assert_eq!(miner.report().violations, [] as [String; 0]);
    }
    let miner = alice(&switcher, Variant::EthProxy).await;
    shares_at(&pool, 3).await;

    has_noticed_nothing(&miner);
    nothing_wrong_at(&pool);
}

/// `F2Pool` says nothing at all to whoever speaks the wrong variant.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_silent_on_the_wrong_variant_is_found_out() {
    let mut quiet = EthPoolConfig::f2pool();
    quiet.checks_mix = false;
    let pool = EthPool::start(busy(quiet).really_every(0)).await;
    let switcher = SwitcherConfig::ethereum()
        .with(|settings| settings.probe = false)
        .eth_pool("etha", &pool, json!({"mix_digest": "ignored"}))
        .start()
        .await;
    switcher.assign("alice", "etha");

    let miner = alice(&switcher, Variant::NiceHash).await;
    shares_at(&pool, 3).await;

    has_noticed_nothing(&miner);
    nothing_wrong_at(&pool);
}
