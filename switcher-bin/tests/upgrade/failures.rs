//! Everything that can be wrong with a new program: each time the old one goes on with every miner,
//! and the operator is told why.

use std::fs::File;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use stratum_peers::{Miner, MinerConfig, Pool, eventually};

use crate::running::{BINARY, Start, Switcher, books_agree, plain, shares_at};

/// The hook that only debug builds have.
const FAULT: &str = "STRATUM_SWITCHER_FAULT";

struct Scene {
    pool: Pool,
    miner: Miner,
    switcher: Switcher,
}

impl Scene {
    async fn set(change: impl FnOnce(Start) -> Start) -> Self {
        let pool = Pool::start(plain("pool")).await;
        let switcher = change(Start::one(&pool)).go().await;
        let miner = switcher.miner("rig1").await;
        shares_at(&pool, 5).await;
        Self { pool, miner, switcher }
    }

    /// An attempt that must end like this, for a reason with these words, and be noticed by nobody.
    async fn fails(&self, result: &str, why: &str) -> Value {
        let last = self.switcher.upgrade().await;
        assert_eq!(last["result"], result, "{last}");
        let told = last["why"].as_str().unwrap();
        assert!(told.contains(why), "{told}");
        assert_eq!(last["generation"], 0);
        shares_at(&self.pool, 5).await;
        assert_eq!(self.pool.report().connections, 1);
        assert_eq!(self.switcher.children(), "", "no child, no zombie");
        assert_eq!(self.switcher.api("/api/v1/status")["last_upgrade"], last);
        let metric = format!("switcher_upgrades_total{{result=\"{result}\"}}");
        assert!(self.switcher.get("/metrics").contains(&metric));
        assert!(
            self.switcher
                .log
                .lines()
                .iter()
                .any(|line| line.contains("ERROR") && line.contains(why.lines().next().unwrap()))
        );
        last
    }

    /// With the program put right, an upgrade succeeds; and nothing was lost all along.
    async fn recovers(self) {
        self.switcher.replace(&std::fs::read(BINARY).unwrap(), 0o755);
        self.switcher.upgrade_well().await;
        shares_at(&self.pool, 5).await;
        self.ends_well().await;
    }

    async fn ends_well(self) {
        books_agree(&[self.miner], &[&self.pool]).await;
        assert_eq!(self.switcher.stop().await, Some(0));
    }
}

#[tokio::test]
async fn missing_unfit_and_broken_files_are_refused() {
    let scene = Scene::set(|start| start).await;
    let switcher = &scene.switcher;
    let good = std::fs::read(BINARY).unwrap();

    std::fs::remove_file(&switcher.program).unwrap();
    scene.fails("refused", "No such file or directory").await;
    switcher.replace(&good, 0o644);
    // Root may do everything but execute a file that nobody may.
    scene.fails("refused", "cannot be run: Permission denied").await;
    switcher.replace(good.get(..100_000).unwrap(), 0o755);
    scene.fails("refused", "failed its preflight (signal 11)").await;
    switcher.replace(b"\x7fELF\x02\x01\x01 of another machine", 0o755);
    scene.fails("refused", "Exec format error").await;
    switcher.replace(b"#!/bin/sh\necho hello\n", 0o755);
    scene.fails("refused", "preflight does not read: \"hello\"").await;
    switcher.replace(b"#!/bin/sh\necho no such library >&2\nexit 127\n", 0o755);
    scene.fails("refused", "exit status: 127): no such library").await;
    switcher.replace(b"#!/bin/sh\necho '{\"version\":\"9\",\"schema\":[3,4]}'\n", 0o755);
    scene.fails("refused", "reads states of schema 3 to 4, this one writes 2").await;

    scene.recovers().await;
}

#[tokio::test]
async fn program_that_is_being_written_is_refused() {
    let scene = Scene::set(|start| start).await;
    scene.switcher.replace(&std::fs::read(BINARY).unwrap(), 0o755);

    let writing = File::options().append(true).open(&scene.switcher.program).unwrap();
    scene.fails("refused", "Text file busy").await;
    drop(writing);

    scene.switcher.upgrade_well().await;
    scene.ends_well().await;
}

#[tokio::test]
async fn broken_configuration_is_refused_and_says_which_key() {
    let scene = Scene::set(|start| start).await;
    let good = std::fs::read_to_string(&scene.switcher.config).unwrap();

    scene.switcher.reconfigure(|text| format!("shard = 7\n{text}"));
    scene.fails("refused", "shard: unknown key").await;
    scene.switcher.reconfigure(|text| text.replace("shard = 7\n", "").replace("\"miners\"", "7"));
    scene.fails("refused", "listeners[0].name").await;
    let only_bch = "dialects = [\"bch\"]\nlisten = ";
    scene.switcher.reconfigure(|_| good.replacen("listen = ", only_bch, 1));
    scene.fails("refused", "1 of 1 sessions could not go on").await;

    scene.switcher.reconfigure(|_| good);
    scene.recovers().await;
}

#[tokio::test]
async fn program_that_hangs_in_its_preflight_is_killed_with_all_it_started() {
    let scene = Scene::set(|start| start.more("[upgrade]\npreflight = \"400ms\"\n")).await;
    let mark = scene.switcher.folder().join("mark");

    let script = format!("#!/bin/sh\nsleep 1000 & echo $! > {}\nwait\n", mark.display());
    scene.switcher.replace(script.as_bytes(), 0o755);
    scene.fails("refused", "did not end its preflight within 400ms").await;

    let helper = std::fs::read_to_string(&mark).unwrap();
    let status = format!("/proc/{}/status", helper.trim());
    // Whoever reaps it is not ours; a zombie is as good as gone.
    eventually("the helper is gone", || {
        std::fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ"))
    })
    .await;
    scene.ends_well().await;
}

#[tokio::test]
async fn signal_to_end_calls_a_preflight_off() {
    let scene = Scene::set(|start| start).await;
    scene.switcher.replace(b"#!/bin/sh\nexec sleep 1000\n", 0o755);

    scene.switcher.signal(Signal::SIGUSR2);
    let log = scene.switcher.log.clone();
    eventually("the trial has begun", || log.count("trying the new program out") > 0).await;
    scene.switcher.signal(Signal::SIGUSR2);
    eventually("the second is ignored", || log.count("this one is ignored") > 0).await;
    scene.switcher.signal(Signal::SIGHUP);
    eventually("others are obeyed", || log.count("SIGHUP") > 0).await;

    assert_eq!(scene.switcher.stop().await, Some(0));
}

#[tokio::test]
async fn new_program_that_panics_or_fails_before_it_serves_gives_all_back() {
    for (what, why) in [("panic", "a test wants a panic here"), ("error", "a test wants an error")]
    {
        let scene = Scene::set(|start| start.variable(FAULT, &format!("commit={what}"))).await;
        let fresh = scene.switcher.process();
        scene.fails("rolled_back", why).await;
        let (descriptors, after) = (scene.switcher.descriptors(), scene.switcher.process());
        scene.fails("rolled_back", why).await;

        // Connections to the admin listener come and go; a leak stays.
        eventually("no descriptor is left over", || {
            scene.switcher.descriptors().len() <= descriptors.len()
        })
        .await;
        for name in ["Name", "SigBlk", "SigIgn", "SigCgt"] {
            assert_eq!(after[name], fresh[name], "{name}");
        }
        scene.ends_well().await;
    }
}

/// Found out only when the new program wants the address: after the preflight, before the commit.
/// The old one goes on with the configuration that it had, not with the one that is wrong.
#[tokio::test]
async fn address_that_cannot_be_listened_on_gives_all_back() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let scene = Scene::set(|start| start).await;

    scene.switcher.reconfigure(|text| {
        let more = format!("[[listeners]]\nlisten = \"{address}\"\n[admin]");
        text.replace("[admin]", &more)
    });
    scene.fails("rolled_back", "cannot listen on").await;
    drop(taken);
    let newcomer = scene.switcher.miner("rig2").await;
    eventually("newcomers are served", || newcomer.report().accepted > 0).await;
    drop(newcomer);

    // With the address free, the same configuration will do.
    scene.switcher.upgrade_well().await;
    assert!(std::net::TcpStream::connect(address).is_ok());
    shares_at(&scene.pool, 5).await;
}

#[tokio::test]
async fn state_that_cannot_be_handed_over_is_resumed_in_the_old_program() {
    let scene = Scene::set(|start| start.variable(FAULT, "frozen=error")).await;

    let last = scene.fails("failed", "a test wants an error here").await;
    assert_eq!(last["sessions"], 1);
    scene.fails("failed", "a test wants an error here").await;

    scene.ends_well().await;
}

#[tokio::test]
async fn signal_to_end_that_comes_behind_the_freeze_wins() {
    for place in ["frozen", "commit"] {
        let scene = Scene::set(|start| start.variable(FAULT, &format!("{place}=500"))).await;
        let log = scene.switcher.log.clone();

        scene.switcher.signal(Signal::SIGUSR2);
        eventually("it freezes", || log.count("freezing") > 0).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        scene.switcher.signal(Signal::SIGHUP);
        scene.switcher.signal(Signal::SIGUSR2);
        assert_eq!(scene.switcher.stop().await, Some(0), "{place}");

        let report = scene.miner.report();
        assert_eq!(report.connections, 1);
        assert!(report.rejections.is_empty(), "{report:?}");
        assert!(log.count("ERROR") <= 1, "{:#?}", log.lines());
    }
}

#[tokio::test]
async fn second_signal_during_the_pause_is_kept_for_the_new_program() {
    let scene = Scene::set(|start| start.variable(FAULT, "commit=300")).await;
    let log = scene.switcher.log.clone();

    scene.switcher.signal(Signal::SIGUSR2);
    eventually("it freezes", || log.count("freezing") > 0).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    scene.switcher.signal(Signal::SIGUSR2);
    scene.switcher.signal(Signal::SIGUSR2);

    scene.switcher.outcome_after(1).await;
    shares_at(&scene.pool, 5).await;
    assert_eq!(scene.switcher.told().0, 2, "two signals in the pause are one");
    scene.ends_well().await;
}

#[tokio::test]
async fn shards_that_do_not_freeze_in_time_go_on_and_nobody_is_lost() {
    let pool = Pool::start(plain("pool")).await;
    let switcher = Start::one(&pool).more("[upgrade]\nfreeze = \"1ms\"\n").go().await;
    let mut miners = Vec::new();
    for at in 0..300 {
        let config = MinerConfig::new(format!("alice.rig{at}")).share_every(Duration::from_secs(2));
        miners.push(Miner::connect(switcher.address, config).await);
    }
    eventually("all mine", || miners.iter().all(|miner| miner.report().accepted > 0)).await;

    let last = switcher.upgrade().await;

    assert_eq!(last["result"], "failed", "{last}");
    assert_eq!(last["why"], "not all shards stopped within 1ms");
    eventually("all sessions are back", || {
        switcher.api("/api/v1/status")["sessions"] == miners.len()
    })
    .await;
    assert_eq!(pool.report().connections, 300, "every leg is the same");
    let more: Vec<_> = miners.iter().map(|miner| miner.report().accepted + 1).collect();
    eventually("all mine on", || {
        miners.iter().zip(&more).all(|(miner, more)| miner.report().accepted >= *more)
    })
    .await;
    books_agree(&miners, &[&pool]).await;

    // With enough time it succeeds.
    switcher.reconfigure(|text| text.replace("1ms", "2s"));
    assert_eq!(switcher.upgrade().await["result"], "failed", "the old program has the old limit");
    books_agree(&miners, &[&pool]).await;
    assert_eq!(switcher.stop().await, Some(0));
}
