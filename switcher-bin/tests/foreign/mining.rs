//! Miners at pools that only a plug-in can speak to, sent there by another.

use stratum_peers::eventually;
use switcher_plugin::testing;
use switcher_plugin_abi::host::load;

use crate::build::{fifo, kaspa, kaspa_2, kaspa_crate};
use crate::peers::{Miner, Pool, PoolConfig, books_agree};
use crate::program::Switcher;

#[test]
fn the_dialect_conforms_through_the_border() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = load(&kaspa(folder.path()), None).unwrap();
    let transcripts = kaspa_crate().join("tests/transcripts");
    let dialect = &*plugin.dialects[0];

    testing::transcripts(&[dialect], &transcripts);
    // Fewer than in its own tests.
    let limits = testing::Limits { seeds: 4, flood: 600, ..testing::Limits::default() };
    testing::check_conformance(&[dialect], &testing::scripts(&transcripts), &limits).unwrap();

    assert_eq!((&*plugin.name, &*plugin.version), ("switcher-kaspa", "1.0.0"));
    assert_eq!(plugin.health.standing().faults, 0);
}

#[test]
fn the_dialect_passes_its_own_tests() {
    crate::build::run(crate::build::cargo(&kaspa_crate()).args(["test", "--locked", "--quiet"]));
}

/// Waits until the miner was told a new extranonce and has shares accepted behind that.
async fn moved(miner: &Miner, act: impl FnOnce()) {
    let before = miner.report();
    act();
    eventually("the miner was moved and mines", || {
        let now = miner.report();
        now.extranonces.len() > before.extranonces.len() && now.accepted > before.accepted + 5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn miners_go_where_the_lines_say() {
    let kas = Pool::start(PoolConfig::new("kas").users("kas:")).await;
    let kls = Pool::start(PoolConfig::new("kls").users("kls:").difficulty(4.0)).await;
    let pools = [("kas", &kas), ("kls", &kls)];
    let switcher = Switcher::start("alice kas\nbob kls\n", &pools).await;
    let miners = [
        Miner::connect(switcher.address, "alice.rig1", "lolMiner 1.76").await,
        Miner::connect(switcher.address, "alice.rig2", "IceRiverMiner-v1.1").await,
        Miner::connect(switcher.address, "bob.rig1", "BzMiner-v21.0.0").await,
    ];
    eventually("all mine", || miners.iter().all(|miner| miner.report().accepted > 5)).await;
    assert_eq!((kas.report().connections, kls.report().connections), (2, 1));

    for coin in ["kls", "kas", "kls"] {
        moved(&miners[0], || switcher.coins.say(&format!("alice {coin}\n"))).await;
    }
    // Forgotten, and sent to a coin there is none of: nobody moves for that.
    switcher.coins.say("alice -\nbob gold\n");
    let stranger = Miner::connect(switcher.address, "carol.rig", "lolMiner 1.76").await;
    eventually("a stranger is refused", || !stranger.report().complaints.is_empty()).await;

    let complaint = &stranger.report().complaints[0];
    assert!(complaint.contains("Unauthorized worker"), "{complaint}");
    books_agree(&miners, &[&kas, &kls]).await;
    assert_eq!(miners[0].report().extranonces.len(), miners[1].report().extranonces.len());
    assert_eq!(miners[2].report().extranonces.len(), 1, "bob was never moved");
    switcher.has_logged_no_error();
    drop(miners);
    assert_eq!(switcher.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_plug_ins_outlive_twenty_upgrades_and_new_versions_of_the_plug_ins() {
    let kas = Pool::start(PoolConfig::new("kas").users("kas:")).await;
    let kls = Pool::start(PoolConfig::new("kls").users("kls:")).await;
    let pools = [("kas", &kas), ("kls", &kls)];
    let switcher = Switcher::start("alice kas\nbob kls\n", &pools).await;
    let mut miners = vec![Miner::connect(switcher.address, "bob.rig", "BzMiner-v21.0.0").await];
    for (rig, agent) in ["lolMiner 1.76", "IceRiverMiner-v1.1", "SRBMiner"].iter().enumerate() {
        miners.push(Miner::connect(switcher.address, &format!("alice.rig{rig}"), agent).await);
    }
    eventually("all mine", || miners.iter().all(|miner| miner.report().accepted > 5)).await;
    let version = |number: &str| {
        ["fifo", "switcher-kaspa"].map(|name| (name.to_owned(), number.to_owned())).to_vec()
    };
    assert_eq!(switcher.versions(), version("1.0.0"));

    for round in 0..20 {
        if round == 10 {
            fifo("2.0.0", switcher.folder());
            kaspa_2(switcher.folder());
        }
        // Half a line: it is not lost in the upgrade, nor taken for a whole one.
        let coin = ["kls", "kas"][round % 2];
        let (line, rest) = (format!("alice {coin}\n"), round % 3);
        switcher.coins.say(&line[..7 + rest]);
        let last = switcher.upgrade().await;
        assert_eq!((&last["result"], &last["sessions"]), (&"done".into(), &4.into()), "{last}");
        moved(&miners[1], || switcher.coins.say(&line[7 + rest..])).await;
    }

    assert_eq!(switcher.versions(), version("2.0.0"));
    assert_eq!(switcher.api("/api/v1/status")["generation"], 20);
    books_agree(&miners, &[&kas, &kls]).await;
    assert_eq!(miners[0].report().extranonces.len(), 1, "bob was never moved");
    switcher.has_logged_no_error();
    drop(miners);
    assert_eq!(switcher.stop().await, Some(0));
}
