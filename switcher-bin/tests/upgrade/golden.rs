//! A state of every released schema, that every later version must read.
//!
//! `GOLDEN=1 cargo test -p switcher-bin --test upgrade golden` writes that of this version anew:
//! only for a schema that was not released yet.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use stratum_peers::{Pool, eventually_some};

use crate::running::{BINARY, Start, Switcher, plain, shares_at};

const CONFIGURATION: &str = "probe = false
[[listeners]]
name = \"miners\"
listen = \"127.0.0.1:0\"
[sources.static]
coin = \"btc\"
[[coins.btc.pools]]
name = \"btc-pool\"
url = \"127.0.0.1:9\"
[[coins.bch.pools]]
name = \"bch-pool\"
url = \"127.0.0.1:8\"
";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade/state-1.0")
}

#[tokio::test]
async fn golden_state_of_schema_1_is_read() {
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::write(path(), record().await).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("switcher.toml");
    std::fs::write(&config, CONFIGURATION).unwrap();

    let output = Command::new(BINARY)
        .args(["--preflight", "--config", config.to_str().unwrap()])
        .stdin(Stdio::from(std::fs::File::open(path()).unwrap()))
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let fitness: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(fitness["sessions"], 4, "{fitness}");
    assert_eq!(fitness["warnings"], Value::Array(Vec::new()), "{fitness}");
}

/// Sessions that mine at either coin, one that has said nothing, one in the middle of a line.
async fn record() -> Vec<u8> {
    use std::io::Write as _;
    let (btc, bch) = (Pool::start(plain("btc")).await, Pool::start(plain("bch")).await);
    let switcher = Start::new([("btc", btc.address()), ("bch", bch.address())])
        .coins("[accounts]\nalice = \"btc\"\n")
        .variable("STRATUM_SWITCHER_FAULT", "commit=1000")
        .go()
        .await;
    let _stays = switcher.miner("rig1").await;
    let _moves = switcher.miner("rig2").await;
    shares_at(&btc, 10).await;
    let _silent = std::net::TcpStream::connect(switcher.address).unwrap();
    let mut half = std::net::TcpStream::connect(switcher.address).unwrap();
    half.write_all(b"{\"id\":1,\"method\":\"mining.sub").unwrap();
    std::fs::write(switcher.folder().join("coins.toml"), "[accounts]\nalice = \"bch\"\n").unwrap();
    shares_at(&bch, 10).await;

    switcher.signal(Signal::SIGUSR2);
    eventually_some("the state is handed over", || state(&switcher)).await
}

/// What the new program was handed.
fn state(switcher: &Switcher) -> Option<Vec<u8>> {
    // Not before it is whole: the old program seals it, the new one has it from its start.
    std::thread::sleep(Duration::from_millis(50));
    let folder = std::fs::read_dir(format!("/proc/{}/fd", switcher.pid())).ok()?;
    folder.filter_map(Result::ok).map(|entry| entry.path()).find_map(|path| {
        let target = std::fs::read_link(&path).ok()?;
        let wanted = target.to_string_lossy().starts_with("/memfd:stratum-switcher-state");
        wanted.then(|| std::fs::read(&path).ok()).flatten()
    })
}
