//! Taking over from the Go original while it runs, and giving everything back to it.
//!
//! With the variable `GO_SWITCHER` naming a binary of the original, it is the original itself.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use coin_source_zookeeper::testing::{Server, Writer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig, eventually};
use tempfile::TempDir;

use crate::running::{BINARY, Log, plain, shares_at};
use crate::stand_in;

const COINS: &str = "/stratumSwitcher/btcbcc";

/// The process, whatever program it is, with its ZooKeeper and its pools.
pub(crate) struct World {
    folder: TempDir,
    program: PathBuf,
    child: Child,
    log: Log,
    pub(crate) address: SocketAddr,
    writer: Writer,
    _server: Server,
}

impl World {
    /// The original serves alice at `btc`; bob is assigned to `own`.
    async fn start(pools: &[(&str, &Pool)]) -> Self {
        Self::start_with(pools, "").await
    }

    /// With a fault of ours.
    async fn start_with(pools: &[(&str, &Pool)], fault: &str) -> Self {
        let pools: Vec<_> = pools.iter().map(|(name, pool)| (*name, pool.address())).collect();
        Self::start_chain("bitcoin", &pools, fault).await
    }

    /// With another chain.
    pub(crate) async fn start_chain(
        chain: &str,
        pools: &[(&str, SocketAddr)],
        fault: &str,
    ) -> Self {
        let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
        let writer = Writer::connect(server.address()).await;
        for dir in [COINS, "/stratumSwitcher/autoreg", "/stratumSwitcher/ids"] {
            writer.make_dir(dir).await;
        }
        writer.set(&format!("{COINS}/alice"), "btc").await;
        writer.set(&format!("{COINS}/bob"), "own").await;
        let folder = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = |pool: &SocketAddr| json!({ "URL": pool.to_string() });
        let servers = pools.iter().map(|(name, pool)| ((*name).to_owned(), url(pool)));
        let servers: serde_json::Map<_, _> = servers.collect();
        let config = json!({
            "ServerID": 7, "ChainType": chain, "ListenAddr": free.to_string(),
            "StratumServerMap": servers,
            "ZKBroker": [server.address().to_string()],
            "ZKServerIDAssignDir": "/stratumSwitcher/ids/",
            "ZKSwitcherWatchDir": format!("{COINS}/"),
            "EnableUserAutoReg": false, "ZKAutoRegWatchDir": "/stratumSwitcher/autoreg/",
            "AutoRegMaxWaitUsers": 5, "StratumServerCaseInsensitive": false,
            "ZKUserCaseInsensitiveIndex": "", "EnableHTTPDebug": false,
            "HTTPDebugListenAddr": "127.0.0.1:6060",
            "StandIn": { "alice": "btc" },
        });
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let program = folder.path().join("stratumSwitcher");
        place_original(&program);
        let mut child = Command::new(&program)
            .current_dir(folder.path())
            .args(["-config=./config.json", "-logtostderr"])
            .env("STRATUM_SWITCHER_FAULT", fault)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::read(child.stderr.take().unwrap());
        let address = free;
        let world = Self { folder, program, child, log, address, writer, _server: server };
        world.original_serves(1).await;
        world
    }

    async fn original_serves(&self, times: usize) {
        eventually("the original serves", || self.log.count("Now Upgradable") == times).await;
    }

    /// Our binary at the original's path, and the original's own signal.
    pub(crate) async fn take_over(&self) {
        let new = self.folder.path().join("ours");
        std::fs::copy(BINARY, &new).unwrap();
        std::fs::rename(&new, &self.program).unwrap();
        let before = self.log.count("listening for miners");
        self.signal();
        eventually("ours serves", || self.log.count("listening for miners") > before).await;
    }

    fn signal(&self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGUSR2).unwrap();
    }

    /// `rollback-to-go` with the original in place.
    pub(crate) async fn go_back(&self) {
        let said = self.try_to_go_back().await;
        assert_eq!(said.status.code(), Some(0), "{said:?}");
        self.original_serves(2).await;
    }

    async fn try_to_go_back(&self) -> Output {
        place_original(&self.program);
        let pid = self.child.id().to_string();
        let command =
            move || Command::new(BINARY).args(["rollback-to-go", "--pid", &pid]).output().unwrap();
        tokio::task::spawn_blocking(command).await.unwrap()
    }

    /// Where alice mines from now on.
    pub(crate) async fn assign(&self, coin: &str) {
        self.writer.set(&format!("{COINS}/alice"), coin).await;
    }

    async fn miner(&self, worker: &str) -> Miner {
        let config = MinerConfig::new(worker).share_every(Duration::from_millis(30));
        Miner::connect(self.address, config).await
    }
}

#[expect(clippy::print_stderr, reason = "a test that fails shows what the switcher had to say")]
impl Drop for World {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the log:\n{}", self.log.lines().join("\n"));
        }
    }
}

fn place_original(path: &std::path::Path) {
    match std::env::var_os("GO_SWITCHER") {
        Some(original) => {
            let new = path.with_extension("new");
            std::fs::copy(original, &new).unwrap();
            std::fs::rename(&new, path).unwrap();
        }
        None => stand_in::install(path),
    }
}

fn sserver(name: &str) -> PoolConfig {
    let config = PoolConfig::sserver().name(name).difficulty(3e-10);
    config.jobs_every(Duration::from_millis(300), 0)
}

/// Still on its first connection, with every answer but those the original may have lost.
#[track_caller]
fn goes_on(miner: &Miner, lost: u64) {
    let report = miner.report();
    assert!(report.connected && report.connections == 1, "{:?}", report.disconnects);
    assert_eq!(report.violations, [] as [String; 0]);
    assert!(report.rejected_total() <= lost, "{:?}", report.rejections);
    assert_eq!((report.extranonce2_size, report.extranonce1.len()), (8, 8));
}

/// Shares that went up and were not answered, by the miners' books.
fn unanswered(miners: &[Miner]) -> u64 {
    miners.iter().map(|miner| miner.report().unanswered).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn original_is_replaced_and_comes_back_and_its_miners_mine_on() {
    let btc = Pool::start(sserver("btc")).await;
    let bcc = Pool::start(sserver("bcc")).await;
    let world = World::start(&[("btc", &btc), ("bcc", &bcc)]).await;
    let mut miners = Vec::new();
    for at in 0..20 {
        miners.push(world.miner(&format!("alice.rig{at}")).await);
    }
    let mine_on = async |miners: &[Miner]| {
        let before: Vec<_> = miners.iter().map(|miner| miner.report().accepted).collect();
        eventually("all mine on", || {
            let mut both = miners.iter().zip(&before);
            both.all(|(miner, before)| miner.report().accepted > before + 10)
        })
        .await;
    };
    mine_on(&miners).await;

    world.take_over().await;
    mine_on(&miners).await;
    assert!(btc.report().connections <= 22, "the legs are the same; two were probes");
    for miner in &miners {
        goes_on(miner, 0);
    }
    let lost_by_original = unanswered(&miners);

    // Now they can be moved without losing anything.
    world.assign("bcc").await;
    shares_at(&bcc, 100).await;
    for miner in &miners {
        goes_on(miner, 0);
    }
    miners.push(world.miner("alice.new").await);
    mine_on(&miners).await;
    let ids: BTreeSet<_> = miners.iter().map(|miner| miner.report().extranonce1).collect();
    assert_eq!(ids.len(), 21, "every extranonce1 is another");

    let connections = bcc.report().connections;
    world.go_back().await;
    mine_on(&miners).await;

    assert_eq!(bcc.report().connections, connections, "the legs are the same");
    for miner in &miners {
        goes_on(miner, 0);
    }
    for pool in [&btc, &bcc] {
        assert_eq!(pool.report().violations, [] as [String; 0]);
    }
    let submitted: u64 = miners.iter().map(|miner| miner.report().submitted).sum();
    for miner in &miners {
        miner.pause(true).await;
    }
    // What the original reads while it executes is lost with it; what we read is not.
    let lost = || unanswered(&miners);
    eventually("all else is answered", || lost() <= lost_by_original).await;
    eprintln!("{submitted} shares, {} without an answer", lost());
    assert!(lost() <= 1, "{}", lost());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_the_original_cannot_carry_is_let_go_before_it_takes_over() {
    let btc = Pool::start(sserver("btc")).await;
    let own = Pool::start(plain("own")).await;
    let world = World::start(&[("btc", &btc), ("own", &own)]).await;
    let alice = world.miner("alice.rig").await;
    eventually("alice mines", || alice.report().accepted > 3).await;
    world.take_over().await;
    // Its pool has an extranonce of its own, which is folded in.
    let bob = world.miner("bob.rig").await;
    eventually("bob mines", || bob.report().accepted > 3).await;

    world.go_back().await;

    let before = alice.report().accepted;
    eventually("alice mines on", || alice.report().accepted > before + 3).await;
    goes_on(&alice, 0);
    assert!(!bob.report().connected, "{:?}", bob.report());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn way_back_that_fails_at_the_last_moment_leaves_the_miners_where_they_are() {
    let (btc, bcc) = (Pool::start(sserver("btc")).await, Pool::start(sserver("bcc")).await);
    let world = World::start_with(&[("btc", &btc), ("bcc", &bcc)], "frozen=error").await;
    let alice = world.miner("alice.rig").await;
    eventually("alice mines", || alice.report().accepted > 3).await;
    world.take_over().await;

    for _ in 0..2 {
        let said = world.try_to_go_back().await;
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        shares_at(&btc, 10).await;
    }

    // It can be moved as before.
    world.assign("bcc").await;
    shares_at(&bcc, 10).await;
    goes_on(&alice, 0);
    alice.pause(true).await;
    eventually("every share is answered", || alice.report().unanswered == 0).await;
}
