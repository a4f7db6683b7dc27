//! A state of every released schema, that every later version must read.
//!
//! `GOLDEN=state-2.0 cargo test -p switcher-bin --test upgrade golden` writes that of this version
//! anew: only for a schema that was not released yet.

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

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade").join(name)
}

/// What the program says about taking this state over.
fn fitness(state: &Path) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("switcher.toml");
    std::fs::write(&config, CONFIGURATION).unwrap();
    let output = Command::new(BINARY)
        .args(["--preflight", "--config", config.to_str().unwrap()])
        .stdin(Stdio::from(std::fs::File::open(state).unwrap()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn golden_state_of_schema_1_is_read() {
    let fitness = fitness(&path("state-1.0"));

    assert_eq!(fitness["sessions"], 4, "{fitness}");
    assert_eq!(fitness["warnings"], Value::Array(Vec::new()), "{fitness}");
}

#[tokio::test]
async fn golden_state_with_what_miners_were_told_since_is_read() {
    let fitness = fitness(&path("state-1.1"));

    assert_eq!(fitness["sessions"], 1, "{fitness}");
    let text = String::from_utf8_lossy(&std::fs::read(path("state-1.1")).unwrap()).into_owned();
    assert!(text.contains("\"version\":2") && text.contains("\"notes\":[{"), "{text}");
}

#[tokio::test]
async fn golden_state_of_schema_2_is_read() {
    if std::env::var_os("GOLDEN").is_some_and(|name| name == "state-2.0") {
        std::fs::write(path("state-2.0"), record().await).unwrap();
    }

    let fitness = fitness(&path("state-2.0"));

    assert_eq!(fitness["sessions"], 4, "{fitness}");
    assert_eq!(fitness["warnings"], Value::Array(Vec::new()), "{fitness}");
    let text = String::from_utf8_lossy(&std::fs::read(path("state-2.0")).unwrap()).into_owned();
    assert_eq!(text.matches("mining.notify").count(), 2, "one job of either pool");
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
