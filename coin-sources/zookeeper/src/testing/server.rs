//! ZooKeeper servers as child processes, each with a directory of its own, killed by their ids.
//! Uses the Debian package `zookeeper`; does not install it.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Where Debian puts the server; `ZOOKEEPER_JAR` names another place.
const JAR: &str = "/usr/share/java/zookeeper.jar";
const MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
/// Below the ports the kernel hands out, so that no client sits on a server's port while that is
/// down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const START_LIMIT: Duration = Duration::from_mins(1);

/// A ZooKeeper server on this machine. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Option<Child>,
    dir: TempDir,
    port: u16,
}

impl Server {
    /// Starts a server of its own and waits until it serves.
    ///
    /// # Panics
    ///
    /// If ZooKeeper or Java is not installed, or the server does not serve within a minute.
    pub fn start() -> Self {
        let mut server = Self::prepare(free_port(), "");
        server.restart();
        server
    }

    fn prepare(port: u16, ensemble: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let config = format!(
            "tickTime=500\ninitLimit=20\nsyncLimit=4\ndataDir={}\nclientPort={port}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\n\
             minSessionTimeout=1000\nmaxSessionTimeout=60000\n4lw.commands.whitelist=*\n{ensemble}",
            dir.path().display()
        );
        std::fs::write(dir.path().join("zoo.cfg"), config).expect("the directory is ours");
        Self { child: None, dir, port }
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Kills it at once, as a power failure would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Starts it again with the data it had, and waits until it serves.
    ///
    /// # Panics
    ///
    /// As [`Server::start`].
    pub fn restart(&mut self) {
        self.launch();
        self.await_service();
    }

    /// Starts it again without waiting.
    ///
    /// # Panics
    ///
    /// If ZooKeeper or Java is not installed.
    pub fn launch(&mut self) {
        self.kill();
        let log =
            std::fs::File::create(self.dir.path().join("log")).expect("the directory is ours");
        let child = Command::new("java")
            .args(["-Xmx256m", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .args(["-Dzookeeper.forceSync=no", "-Djava.awt.headless=true"])
            .arg("-cp")
            .arg(jar())
            .arg(MAIN)
            .arg(self.dir.path().join("zoo.cfg"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| {
            panic!("java does not start ({error}); install it: apt-get install -y zookeeper")
        }));
    }

    /// Waits until it serves.
    ///
    /// # Panics
    ///
    /// If it does not within a minute.
    pub fn await_service(&self) {
        let deadline = Instant::now() + START_LIMIT;
        while !self.ask("srvr").contains("Mode: ") {
            assert!(Instant::now() < deadline, "ZooKeeper does not serve: {}", self.log());
            sleep(Duration::from_millis(50));
        }
    }

    /// The answer to one of the server's four-letter words; empty if there is none.
    pub fn ask(&self, word: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(self.address()) {
            stream.set_read_timeout(Some(Duration::from_secs(5))).ok();
            stream.write_all(word.as_bytes()).ok();
            stream.read_to_string(&mut answer).ok();
        }
        answer
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three servers that are one.
#[derive(Debug)]
pub struct Ensemble {
    servers: Vec<Server>,
}

impl Ensemble {
    /// Starts three servers and waits until all serve.
    ///
    /// # Panics
    ///
    /// As [`Server::start`].
    pub fn start() -> Self {
        let mut members = String::new();
        for id in 1..=3 {
            let (quorum, election) = (free_port(), free_port());
            writeln!(members, "server.{id}=127.0.0.1:{quorum}:{election}").ok();
        }
        let mut servers: Vec<Server> =
            (0..3).map(|_| Server::prepare(free_port(), &members)).collect();
        for (id, server) in (1..).zip(&mut servers) {
            let file = server.dir.path().join("myid");
            std::fs::write(file, format!("{id}\n")).expect("the directory is ours");
            server.launch();
        }
        let ensemble = Self { servers };
        for server in &ensemble.servers {
            server.await_service();
        }
        ensemble
    }

    /// Where they serve.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Server::address).collect()
    }

    /// Kills the one that leads; the place it had.
    ///
    /// # Panics
    ///
    /// If none leads.
    pub fn kill_leader(&mut self) -> usize {
        let leader = self.servers.iter().position(|s| s.ask("srvr").contains("Mode: leader"));
        let leader = leader.expect("one of three leads");
        if let Some(server) = self.servers.get_mut(leader) {
            server.kill();
        }
        leader
    }

    /// The servers.
    pub fn servers(&mut self) -> &mut [Server] {
        &mut self.servers
    }
}

fn jar() -> PathBuf {
    let jar = std::env::var_os("ZOOKEEPER_JAR").map_or_else(|| PathBuf::from(JAR), PathBuf::from);
    assert!(
        Path::exists(&jar),
        "{} is not there: these tests need ZooKeeper; apt-get install -y zookeeper",
        jar.display()
    );
    jar
}

/// A port nobody listens on. Processes begin at different places, so that they do not meet.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    let start = u16::try_from(std::process::id().wrapping_mul(37) % u32::from(span));
    for _ in 0..span {
        let offset = start.unwrap_or_default().wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + offset % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {} and {}", PORTS.start, PORTS.end);
}
