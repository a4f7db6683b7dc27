//! The real binary as the original's supervisor starts it: its command line, its configuration, a
//! ZooKeeper, an sserver and a miner.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use coin_source_zookeeper::testing::{Server, Writer};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig, eventually, eventually_some};

/// Writes a configuration with the keys of the original's own example.
fn configure(folder: &Path, zookeeper: SocketAddr, pool: SocketAddr) {
    let text = format!(
        r#"{{
    "ServerID": 0,
    "ChainType": "bitcoin",
    "ListenAddr": "127.0.0.1:0",
    "StratumServerMap": {{
        "btc": {{ "URL": "{pool}" }},
        "bcc2btc": {{ "URL": "{pool}", "UserSuffix": "btc" }}
    }},
    "ZKBroker": [ "{zookeeper}" ],
    "ZKServerIDAssignDir": "/stratumSwitcher/bitcoin_swid/",
    "ZKSwitcherWatchDir": "/stratumSwitcher/btcbcc/",
    "EnableUserAutoReg": true,
    "ZKAutoRegWatchDir": "/stratumSwitcher/bitcoin_autoreg/",
    "AutoRegMaxWaitUsers": 50,
    "StratumServerCaseInsensitive": false,
    "ZKUserCaseInsensitiveIndex": "/stratumSwitcher/bitcoin_case/",
    "EnableHTTPDebug": false,
    "HTTPDebugListenAddr": "127.0.0.1:6060"
}}"#
    );
    std::fs::write(folder.join("config.json"), text).unwrap();
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stratum-switcher"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SWITCHER_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder);
    command
}

/// A running program, ended with the test.
struct Running(Child);

impl Running {
    fn end(&mut self) -> Option<i32> {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where miners connect, from the log.
async fn address(log: &Path) -> SocketAddr {
    eventually_some("the log tells the address", || {
        let text = std::fs::read_to_string(log).ok()?;
        let line = text.lines().find(|line| line.contains("listening for miners"))?.to_owned();
        let at = line.find("127.0.0.1:")?;
        line[at..].split(|c: char| c == '"' || c.is_whitespace()).next()?.parse().ok()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_originals_supervisor_entry_starts_it_and_it_serves() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let writer = Writer::connect(server.address()).await;
    writer.make_dir("/stratumSwitcher/btcbcc").await;
    writer.set("/stratumSwitcher/btcbcc/alice", "btc").await;
    let every = Duration::from_millis(300);
    let pool = Pool::start(PoolConfig::sserver().difficulty(3e-10).jobs_every(every, 0)).await;
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), server.address(), pool.address());
    std::fs::create_dir(folder.path().join("log")).unwrap();
    let here = folder.path().display();

    let errors = folder.path().join("stdout.log");
    let child = program(folder.path())
        .arg(format!("-config={here}/config.json"))
        .arg(format!("-log_dir={here}/log"))
        .args(["-v", "2"])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let address = address(&folder.path().join("log/stratum-switcher.log")).await;
    let config = MinerConfig::new("alice.rig1").share_every(Duration::from_millis(30));
    let miner = Miner::connect(address, config).await;
    eventually("shares are accepted", || pool.report().accepted > 5).await;

    let report = miner.report();
    assert_eq!(&report.extranonce1[..2], "01");
    assert_eq!(report.rejections, []);
    assert_eq!(report.violations, [] as [String; 0]);
    assert_eq!(pool.report().violations, [] as [String; 0]);
    assert_eq!(running.end(), Some(0));
    let errors = std::fs::read_to_string(errors).unwrap();
    assert_eq!(errors, "", "glog copies nothing but errors");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_named_it_reads_the_one_in_its_folder() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), server.address(), SocketAddr::from(([127, 0, 0, 1], 9)));

    let log = folder.path().join("stderr");
    let child = program(folder.path())
        .arg("-logtostderr")
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    address(&log).await;

    assert_eq!(running.end(), Some(0));
}

/// The original's own USR2 starts this program in its place, with its sockets left open. This one has
/// no pool: both of its sockets are the miner's.
#[tokio::test(flavor = "multi_thread")]
async fn session_of_the_original_that_cannot_go_on_is_let_go_at_once() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), server.address(), SocketAddr::from(([127, 0, 0, 1], 9)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut miner = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let left_open = listener.accept().unwrap().0;
    fcntl(&left_open, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let number = left_open.as_raw_fd();
    let sessions = format!(
        r#"{{"Action":"upgrade","ServerID":1,"SessionDatas":[{{"SessionID":16777344,"MiningCoin":"btc","ClientConnFD":{number},"ServerConnFD":{number}}}]}}"#
    );
    std::fs::write(folder.path().join("runtime.json"), sessions).unwrap();

    let log = folder.path().join("stderr");
    let child = program(folder.path())
        .args(["-config=config.json", "-runtime=./runtime.json"])
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    drop(left_open);
    address(&log).await;

    miner.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(miner.read(&mut [0]).unwrap(), 0, "the miner sees the end and comes again");
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("is named twice") && text.contains("named=1 sessions=0"), "{text}");
    assert_eq!(running.end(), Some(0));
}
