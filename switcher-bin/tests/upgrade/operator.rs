//! What an operator has of it: the command that waits, the readable file, the service manager.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::time::Duration;

use stratum_peers::{Miner, MinerConfig, Pool, eventually};

use crate::running::{BINARY, Start, has_noticed_nothing, plain, shares_at};

fn command(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_waits_for_the_outcome_and_prints_it() {
    let pool = Pool::start(plain("pool")).await;
    let switcher = Start::one(&pool).go().await;
    let miner = switcher.miner("rig1").await;
    shares_at(&pool, 5).await;
    let pidfile = switcher.folder().join("pid");
    std::fs::write(&pidfile, format!("{}\n", switcher.pid())).unwrap();

    let good = command(&["upgrade", "--pidfile", pidfile.to_str().unwrap()]);
    switcher.replace(b"#!/bin/sh\nexit 3\n", 0o755);
    let bad = command(&["upgrade", "--pid", &switcher.pid().to_string()]);
    let stranger = command(&["upgrade", "--pid", &std::process::id().to_string()]);

    let text = String::from_utf8(good.stdout).unwrap();
    assert_eq!(good.status.code(), Some(0), "{text}");
    assert!(text.starts_with("upgraded from 0.1.0 to 0.1.0: 1 sessions kept, "), "{text}");
    let text = String::from_utf8(bad.stderr).unwrap();
    assert_eq!(bad.status.code(), Some(1));
    assert!(text.starts_with("upgrade refused, nothing was touched: "), "{text}");
    let text = String::from_utf8(stranger.stderr).unwrap();
    assert_eq!(stranger.status.code(), Some(1), "a process that is no switcher is left alone");
    assert!(text.contains("is no stratum-switcher that can be upgraded"), "{text}");
    has_noticed_nothing(&miner);
}

#[tokio::test]
async fn readable_copy_of_the_state_is_for_its_owner_and_has_no_password() {
    let pool = Pool::start(plain("pool")).await;
    let file = "[upgrade]\nruntime_file = \"runtime.json\"\n";
    let switcher = Start::one(&pool).more(file).go().await;
    let config = MinerConfig::new("alice.rig1").password("hunter2");
    let miner = Miner::connect(switcher.address, config).await;
    shares_at(&pool, 5).await;

    let path = switcher.folder().join("runtime.json");
    assert!(!path.exists(), "nothing was carried over yet");
    switcher.upgrade_well().await;
    eventually("the file is written", || path.exists()).await;

    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(text.contains("alice") && text.contains("\"role\": \"listener miners\""), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    has_noticed_nothing(&miner);
}

#[tokio::test]
async fn service_manager_is_told_of_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let next = || {
        let mut buffer = [0; 4096];
        let read = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    };
    let pool = Pool::start(plain("pool")).await;
    let start = Start::one(&pool).variable("NOTIFY_SOCKET", path.to_str().unwrap());
    let switcher = start.go().await;

    let begun = next();
    switcher.upgrade_well().await;
    let (reloading, done) = (next(), next());
    switcher.replace(b"#!/bin/sh\nexit 3\n", 0o755);
    switcher.upgrade().await;
    let (again, refused) = (next(), next());
    assert_eq!(switcher.stop().await, Some(0));
    let stopping = next();

    assert_eq!(begun, "READY=1\nSTATUS=serving\n");
    for text in [reloading, again] {
        assert!(text.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{text}");
    }
    assert!(done.starts_with("READY=1\nSTATUS=upgraded from 0.1.0"), "{done}");
    assert!(refused.starts_with("READY=1\nSTATUS=upgrade refused"), "{refused}");
    assert_eq!(stopping, "STOPPING=1\n");
}
