//! A running switcher of the real binary, in a folder of its own where its file can be replaced.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
pub(crate) use stratum_peers::verdict::{has_noticed_nothing, shares_at};
use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig, eventually, eventually_some};
use tempfile::TempDir;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_stratum-switcher");

/// A plain pool with this name and jobs all the time.
pub(crate) fn plain(name: &str) -> PoolConfig {
    PoolConfig::new().name(name).difficulty(3e-10).jobs_every(Duration::from_millis(300), 0)
}

/// How to start a switcher.
pub(crate) struct Start {
    pools: Vec<(String, SocketAddr)>,
    /// A line in the table of every pool.
    pool_options: String,
    coins: Option<String>,
    more: String,
    listener: String,
    environment: Vec<(String, String)>,
}

impl Start {
    /// Serves miners with these pools, whose coins have the same names as they are given here.
    pub(crate) fn new<'a>(pools: impl IntoIterator<Item = (&'a str, SocketAddr)>) -> Self {
        let pools = pools.into_iter().map(|(coin, at)| (coin.to_owned(), at)).collect();
        Self {
            pools,
            pool_options: String::new(),
            coins: None,
            more: String::new(),
            listener: String::new(),
            environment: Vec::new(),
        }
    }

    /// With one pool for one coin.
    pub(crate) fn one(pool: &Pool) -> Self {
        Self::new([("btc", pool.address())])
    }

    /// With these options of every pool.
    pub(crate) fn pool_options(mut self, options: &str) -> Self {
        self.pool_options = format!("options = {options}\n");
        self
    }

    /// With a file of coins.
    pub(crate) fn coins(mut self, text: &str) -> Self {
        self.coins = Some(text.to_owned());
        self
    }

    /// With more lines of configuration.
    pub(crate) fn more(mut self, text: &str) -> Self {
        self.more.push_str(text);
        self
    }

    /// With more keys of the listener.
    pub(crate) fn listener(mut self, text: &str) -> Self {
        self.listener.push_str(text);
        self
    }

    /// With a variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn configuration(&self) -> String {
        let mut text = String::from("probe = false\nshards = 2\n");
        text.push_str("[[listeners]]\nname = \"miners\"\nlisten = \"127.0.0.1:0\"\n");
        text.push_str(&self.listener);
        text.push_str("[admin]\nlisten = \"127.0.0.1:0\"\n");
        if self.coins.is_some() {
            text.push_str("[sources.file]\npath = \"coins.toml\"\nsettle = \"50ms\"\n");
        }
        for (coin, at) in &self.pools {
            let _ =
                write!(text, "[[coins.{coin}.pools]]\nname = \"{coin}-pool\"\nurl = \"{at}\"\n");
            let _ = writeln!(text, "pacing = {{ dials_per_second = 0, in_flight = 0 }}");
            text.push_str(&self.pool_options);
        }
        text.push_str(&self.more);
        text
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn go(self) -> Switcher {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("stratum-switcher");
        // A link costs nothing; whoever wants another file puts one in its place.
        if std::fs::hard_link(BINARY, &program).is_err() {
            std::fs::copy(BINARY, &program).unwrap();
        }
        let config = folder.path().join("switcher.toml");
        std::fs::write(&config, self.configuration()).unwrap();
        if let Some(coins) = &self.coins {
            std::fs::write(folder.path().join("coins.toml"), coins).unwrap();
        }
        let mut command = Command::new(&program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SWITCHER_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["--config", config.to_str().unwrap()])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::read(child.stderr.take().unwrap());
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let (address, admin) = (nowhere, nowhere);
        let mut switcher = Switcher { folder, program, config, child, log, address, admin };
        switcher.address = switcher.place("listening for miners").await;
        switcher.admin = switcher.place("admin listener is open").await;
        switcher
    }
}

/// What a switcher has logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn read(stream: impl std::io::Read + Send + 'static) -> Self {
        let log = Self::default();
        let lines = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                lines.0.lock().unwrap().push(line);
            }
        });
        log
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// How many lines have this text.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }
}

/// A running switcher. Killed when dropped.
pub(crate) struct Switcher {
    folder: TempDir,
    pub(crate) program: PathBuf,
    pub(crate) config: PathBuf,
    child: Child,
    pub(crate) log: Log,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Switcher {
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The address in the last line with this text.
    pub(crate) async fn place(&self, what: &'static str) -> SocketAddr {
        eventually_some(what, || {
            let line = self.log.lines().into_iter().rfind(|line| line.contains(what))?;
            line.split("address=").nth(1)?.trim().parse().ok()
        })
        .await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().try_into().unwrap()), signal).unwrap();
    }

    /// A miner of alice's with a share every 30 ms.
    pub(crate) async fn miner(&self, rig: &str) -> Miner {
        let config = MinerConfig::new(format!("alice.{rig}"));
        Miner::connect(self.address, config.share_every(Duration::from_millis(30))).await
    }

    /// How many attempts have ended, and the last of them.
    pub(crate) fn told(&self) -> (u64, Value) {
        let text = switcher_upgrade::status::of(self.pid()).unwrap().unwrap_or_default();
        let told: Value = serde_json::from_str(&text).unwrap_or_default();
        (told["attempts"].as_u64().unwrap_or(0), told["last"].clone())
    }

    /// Signals it and waits for the outcome.
    pub(crate) async fn upgrade(&self) -> Value {
        let (before, _) = self.told();
        self.signal(Signal::SIGUSR2);
        self.outcome_after(before).await
    }

    /// Waits for an attempt behind so many.
    pub(crate) async fn outcome_after(&self, before: u64) -> Value {
        eventually_some("the outcome of an upgrade", || {
            let (attempts, last) = self.told();
            (attempts > before).then_some(last)
        })
        .await
    }

    /// Signals it, waits, and wants it to succeed.
    pub(crate) async fn upgrade_well(&self) -> Value {
        let last = self.upgrade().await;
        assert_eq!(last["result"], "done", "{last} {:#?}", self.log.lines());
        last
    }

    /// Puts another file in the place of the program.
    pub(crate) fn replace(&self, with: &[u8], mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        let new = self.folder().join("new");
        std::fs::write(&new, with).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::rename(&new, &self.program).unwrap();
    }

    /// Changes the configuration file.
    pub(crate) fn reconfigure(&self, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        std::fs::write(&self.config, change(text)).unwrap();
    }

    /// What the admin listener answers.
    pub(crate) fn get(&self, path: &str) -> String {
        self.try_get(path).unwrap()
    }

    /// What it answers if no upgrade comes between: its connections are not kept.
    pub(crate) fn try_get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }

    pub(crate) fn api(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path)).unwrap()
    }

    /// What the kernel says about it: mask, ignored and caught signals, and the like.
    pub(crate) fn process(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let pair = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().to_owned()))
        };
        text.lines().filter_map(pair).collect()
    }

    /// What its descriptors are, numbers of sockets left out.
    pub(crate) fn descriptors(&self) -> Vec<String> {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let kind = |entry: std::io::Result<std::fs::DirEntry>| {
            let target = std::fs::read_link(entry.ok()?.path()).ok()?;
            let target = target.to_string_lossy().into_owned();
            Some(target.split(":[").next().unwrap().to_owned())
        };
        let mut kinds: Vec<_> = folder.filter_map(kind).collect();
        kinds.sort();
        kinds
    }

    /// Its children, zombies included.
    pub(crate) fn children(&self) -> String {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Ends it with SIGTERM; the exit code.
    pub(crate) async fn stop(mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        let child = &mut self.child;
        let status = eventually_some("the switcher has ended", || child.try_wait().unwrap()).await;
        status.code()
    }

    /// No line of the log is an error.
    #[track_caller]
    pub(crate) fn has_logged_no_error(&self) {
        let errors: Vec<_> =
            self.log.lines().into_iter().filter(|line| line.contains("ERROR")).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

#[expect(clippy::print_stderr, reason = "a test that fails shows what the switcher had to say")]
impl Drop for Switcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.log.lines();
            let from = lines.len().saturating_sub(60);
            eprintln!("the switcher's log:\n{}", lines.get(from..).unwrap().join("\n"));
        }
    }
}

/// Stops the miners, waits until nothing is under way, and compares their books with the pools'.
pub(crate) async fn books_agree(miners: &[Miner], pools: &[&Pool]) {
    for miner in miners {
        miner.pause(true).await;
    }
    eventually("every share is answered", || {
        miners.iter().all(|miner| {
            let report = miner.report();
            report.accepted + report.rejected_total() >= report.submitted
        })
    })
    .await;
    let at_miners: u64 = miners.iter().map(|miner| miner.report().accepted).sum();
    let at_pools: u64 = pools.iter().map(|pool| pool.report().accepted).sum();
    assert_eq!(at_miners, at_pools, "shares lost or doubled");
    miners.iter().for_each(has_noticed_nothing);
    for pool in pools {
        assert_eq!(pool.report().violations, [] as [String; 0]);
    }
}
