//! Decred: the same miners on the same connections, with their extranonce in the header.

use integration_tests::SwitcherConfig;
use serde_json::{Value, json};
use stratum_peers::decred::Form;
use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig, eventually};

use crate::support::{has_noticed_nothing, shares_at};
use crate::switching::{Field, far_apart};

/// Two sservers of this form, each with its coin, and miners as the form is called in the settings.
async fn field(name: &str, form: Form, miner: fn(String) -> MinerConfig) -> Field {
    let sserver = || PoolConfig::decred_sserver(form);
    let (a, b) = far_apart(sserver(), sserver()).await;
    let echo = || json!({"extranonce": "echo"});
    let switcher = SwitcherConfig::decred(name)
        .pool_at("dcr", a.address(), echo())
        .pool_at("dcr-fork", b.address(), echo())
        .start()
        .await;
    Field { switcher, coins: ["dcr", "dcr-fork"], pools: [a, b], miner }
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_of_the_normal_form_switch_twenty_times() {
    let miner = |name| MinerConfig::decred(name, Form::Template);
    field("normal", Form::Template, miner).await.twenty_switches(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_of_the_gominer_form_switch_twenty_times() {
    let miner = |name| MinerConfig::decred(name, Form::Appended);
    field("gominer", Form::Appended, miner).await.twenty_switches(false).await;
}

/// Antminer DR3 submits 12 bytes, of which sserver would take the wrong 8.
#[tokio::test(flavor = "multi_thread")]
async fn miners_that_submit_whole_blocks_switch_twenty_times_through_freezes() {
    let miner = |name| MinerConfig::decred(name, Form::AppendedWhole);
    field("gominer", Form::Appended, miner).await.twenty_switches(true).await;
}

/// A normal miner of alice's mines at an sserver that is found out to be one, and shall go elsewhere.
/// It stays, and the reason that is given says why.
async fn stays_because(elsewhere: PoolConfig, options: Value, why: &str) {
    let sserver = Pool::start(PoolConfig::decred_sserver(Form::Template)).await;
    let elsewhere = Pool::start(elsewhere).await;
    let switcher = SwitcherConfig::decred("normal")
        .pool_at("dcr", sserver.address(), json!({"extranonce": "detect"}))
        .pool_at("dcr-fork", elsewhere.address(), options)
        .with(|settings| settings.probe = false)
        .start()
        .await;
    switcher.assign("alice", "dcr");
    let config = MinerConfig::decred("alice.rig1", Form::Template);
    let miner = Miner::connect(switcher.address(), config).await;
    shares_at(&sserver, 5).await;

    switcher.assign("alice", "dcr-fork");
    eventually("the other pool was tried", || elsewhere.report().closed > 0).await;
    shares_at(&sserver, 20).await;

    has_noticed_nothing(&miner);
    let session = &switcher.api("/api/v1/sessions").await["items"][0];
    assert!(session["trouble"].to_string().contains(why), "{session}");
    assert_eq!(elsewhere.report().accepted + elsewhere.report().rejected_total(), 0);
}

#[tokio::test]
async fn a_miner_stays_when_a_pool_has_extranonces_of_its_own() {
    let why = "nothing can be folded into Decred's header";
    stays_because(PoolConfig::dcrpool(), Value::Null, why).await;
}

#[tokio::test]
async fn a_miner_stays_when_an_sserver_has_the_other_form() {
    let other = PoolConfig::decred_sserver(Form::Appended);
    let why = "where gominer miners have it";
    stays_because(other, json!({"extranonce": "echo"}), why).await;
}

#[tokio::test]
async fn the_pool_is_told_the_id_and_the_miner_what_becomes_of_it() {
    let pool = Pool::start(PoolConfig::decred_sserver(Form::Template)).await;
    let switcher = SwitcherConfig::decred("auto")
        .pool_at("dcr", pool.address(), json!({"extranonce": "echo"}))
        .start()
        .await;
    switcher.assign("alice", "dcr");
    let config = MinerConfig::decred("alice.rig1", Form::Template);
    let miner = Miner::connect(switcher.address(), config).await;
    shares_at(&pool, 3).await;

    let proposed = pool.last_connection().and_then(|connection| connection.subscribe_params);
    let proposed = proposed.expect("it was subscribed to")[1].as_str().map(str::to_owned);
    let mut id = hex::decode(proposed.expect("an id is proposed")).expect("it is in hex");
    id.reverse();
    assert_eq!(miner.report().extranonce1, format!("0000000000000000{}", hex::encode(id)));
    has_noticed_nothing(&miner);
}
