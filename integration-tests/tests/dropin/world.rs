//! The program as it serves, run with a `config.json` of the original, and its ZooKeeper.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use coin_source_zookeeper::testing::{Server, Writer};
use serde_json::{Value, json};
use stratum_peers::eventually::PATIENCE;
pub(crate) use stratum_peers::verdict::{has_noticed_nothing, shares_at};
use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig, eventually};
use switcher_bin::config::{Inputs, load};
use switcher_bin::plugins::BUILT_IN;
use switcher_bin::{Control, State, Stop, serve};
use tokio::sync::{oneshot, watch};

/// Directories of the original's layout, as every test has them.
pub(crate) const COINS: &str = "/stratumSwitcher/btcbcc";
pub(crate) const IDS: &str = "/stratumSwitcher/bitcoin_swid";
pub(crate) const REQUESTS: &str = "/stratumSwitcher/bitcoin_autoreg";
pub(crate) const INDEX: &str = "/stratumSwitcher/bitcoin_case";

/// Where the coin of a sub-account stands.
pub(crate) fn node(name: &str) -> String {
    format!("{COINS}/{name}")
}

/// An sserver of this name, with a job every now and then.
pub(crate) async fn sserver(name: &str) -> Pool {
    let every = Duration::from_millis(300);
    Pool::start(PoolConfig::sserver().name(name).difficulty(3e-10).jobs_every(every, 0)).await
}

/// An ordinary pool of this name and extranonce2 size.
pub(crate) async fn ordinary(name: &str, size: usize) -> Pool {
    let config = PoolConfig::new().name(name).extranonce2_size(size).difficulty(3e-10);
    Pool::start(config.jobs_every(Duration::from_millis(300), 0)).await
}

/// The servers and the configuration of a test.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) writer: Writer,
    config: Value,
    flags: Vec<String>,
}

impl World {
    /// A ZooKeeper with the original's directories, and a configuration with these coins.
    pub(crate) async fn new(pools: &[(&str, &Pool)]) -> Self {
        let server = tokio::task::spawn_blocking(Server::start).await.expect("it starts");
        let writer = Writer::connect(server.address()).await;
        for directory in [COINS, REQUESTS, INDEX] {
            writer.make_dir(directory).await;
        }
        let url = |pool: &Pool| json!({ "URL": pool.address().to_string() });
        let servers: serde_json::Map<_, _> =
            pools.iter().map(|(coin, pool)| ((*coin).to_owned(), url(pool))).collect();
        let config = json!({
            "ServerID": 0,
            "ChainType": "bitcoin",
            "ListenAddr": "127.0.0.1:0",
            "StratumServerMap": servers,
            "ZKBroker": [server.address().to_string()],
            "ZKServerIDAssignDir": format!("{IDS}/"),
            "ZKSwitcherWatchDir": format!("{COINS}/"),
            "EnableUserAutoReg": false,
            "ZKAutoRegWatchDir": format!("{REQUESTS}/"),
            "AutoRegMaxWaitUsers": 50,
            "StratumServerCaseInsensitive": false,
            "ZKUserCaseInsensitiveIndex": "",
            "EnableHTTPDebug": false,
            "HTTPDebugListenAddr": "127.0.0.1:6060",
        });
        let flags = ["shards=2", "timing.drain=0s", "timing.linger_min=1s"];
        let flags = flags.into_iter().map(str::to_owned).collect();
        Self { server, writer, config, flags }
    }

    /// With a key of the original changed.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config[key] = value.into();
        self
    }

    /// With a key of ours set above the original's file.
    pub(crate) fn set(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Waits until these sub-accounts have a request for registration, and no others.
    pub(crate) async fn requests_are(&self, names: &[&str]) {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = self.writer.children(REQUESTS).await;
            if found == names {
                return;
            }
            assert!(tokio::time::Instant::now() < end, "{found:?} instead of {names:?}");
        }
    }

    /// Starts a switcher and does not wait for it.
    pub(crate) fn launch(&self) -> Launched {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let file = folder.path().join("config.json");
        std::fs::write(&file, self.config.to_string()).expect("the directory is ours");
        let config = load(&inputs(file, &self.flags), BUILT_IN)
            .unwrap_or_else(|mistakes| panic!("the configuration: {mistakes}"));
        let (stop, stopped) = watch::channel(None);
        let (sender, started) = oneshot::channel();
        let control = Control { stop: stopped, started: Some(sender) };
        let thread = std::thread::spawn(move || {
            serve(&config, BUILT_IN, State::default(), control)
                .unwrap_or_else(|error| panic!("the switcher: {error:#}"));
        });
        Launched { started, switcher: Running { stop, thread: Some(thread) } }
    }

    /// Starts a switcher and waits until miners can connect.
    pub(crate) async fn start(&self) -> Switcher {
        self.launch().serves().await
    }
}

fn inputs(file: PathBuf, flags: &[String]) -> Inputs {
    Inputs { file: Some(file), text: None, environment: Vec::new(), flags: flags.to_vec() }
}

/// A switcher that has not said yet that it serves.
pub(crate) struct Launched {
    started: oneshot::Receiver<switcher_bin::Started>,
    switcher: Running,
}

impl Launched {
    /// Waits until miners can connect.
    pub(crate) async fn serves(self) -> Switcher {
        let started = self.started.await.expect("the switcher starts");
        let address = *started.listeners.first().expect("there is one listener");
        Switcher { address, _running: self.switcher }
    }

    /// Whether miners can connect by now.
    pub(crate) fn is_serving(&self) -> bool {
        !self.started.is_empty()
    }
}

/// Stops when dropped.
struct Running {
    stop: watch::Sender<Option<Stop>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.send(Some(Stop::Drain));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the switcher has panicked");
        }
    }
}

/// A switcher that serves.
pub(crate) struct Switcher {
    pub(crate) address: SocketAddr,
    _running: Running,
}

impl Switcher {
    /// A miner that finds a share every 30 ms.
    pub(crate) async fn miner(&self, worker: &str) -> Miner {
        let config = MinerConfig::new(worker).share_every(Duration::from_millis(30));
        Miner::connect(self.address, config).await
    }

    /// What a miner is told that logs in like this and is turned away.
    pub(crate) async fn refusal(&self, worker: &str) -> String {
        let miner = self.miner(worker).await;
        eventually("the miner is turned away", || !miner.report().connected).await;
        let lines = miner.lines();
        let found = lines.iter().rev().find(|line| line.contains("\"error\":["));
        found.unwrap_or_else(|| panic!("no error in {lines:#?}")).clone()
    }
}

/// No pool has a complaint.
#[track_caller]
pub(crate) fn have_nothing_to_complain(pools: &[&Pool]) {
    for pool in pools {
        assert_eq!(pool.report().violations, [] as [String; 0]);
    }
}
