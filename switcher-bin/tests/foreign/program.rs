//! The real program with both plug-ins, in a folder of its own.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use stratum_peers::eventually_some;
use tempfile::TempDir;

use crate::build::{BINARY, fifo, kaspa};
use crate::fifo::Fifo;
use crate::peers::Pool;

/// A running switcher. Killed when dropped.
pub(crate) struct Switcher {
    folder: TempDir,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) coins: Fifo,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
}

impl Switcher {
    /// Starts it with these lines in the FIFO and these pools, whose coins have the names given, and
    /// waits until it listens.
    pub(crate) async fn start(lines: &str, pools: &[(&str, &Pool)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        kaspa(folder.path());
        fifo("1.0.0", folder.path());
        let coins = Fifo::make(folder.path().join("coins"));
        coins.say(lines);
        let config = folder.path().join("switcher.toml");
        std::fs::write(&config, configuration(pools, coins.path())).unwrap();
        let mut child = Command::new(BINARY)
            .args(["--config", config.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stream, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut switcher = Self { folder, child, log, coins, address: nowhere, admin: nowhere };
        switcher.address = switcher.place("listening for miners").await;
        switcher.admin = switcher.place("admin listener is open").await;
        switcher
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    async fn place(&self, what: &'static str) -> SocketAddr {
        eventually_some(what, || {
            let line = self.lines().into_iter().find(|line| line.contains(what))?;
            line.split("address=").nth(1)?.trim().parse().ok()
        })
        .await
    }

    fn told(&self) -> (u64, Value) {
        let text = switcher_upgrade::status::of(self.child.id()).unwrap().unwrap_or_default();
        let told: Value = serde_json::from_str(&text).unwrap_or_default();
        (told["attempts"].as_u64().unwrap_or(0), told["last"].clone())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Sends USR2 and waits for the outcome.
    pub(crate) async fn upgrade(&self) -> Value {
        let (before, _) = self.told();
        self.signal(Signal::SIGUSR2);
        eventually_some("the outcome of an upgrade", || {
            let (attempts, last) = self.told();
            (attempts > before).then_some(last)
        })
        .await
    }

    /// What the API answers.
    pub(crate) fn api(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Version of each loaded plug-in by name.
    pub(crate) fn versions(&self) -> Vec<(String, String)> {
        let plugins = self.api("/api/v1/plugins");
        let all = plugins.as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let loaded = all.filter(|plugin| plugin["origin"] != "built in");
        let mut versions: Vec<_> =
            loaded.map(|plugin| (text(&plugin["plugin"]), text(&plugin["version"]))).collect();
        versions.sort();
        versions
    }

    /// Ends it with SIGTERM: the exit code.
    pub(crate) async fn stop(mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        let child = &mut self.child;
        eventually_some("the switcher has ended", || child.try_wait().unwrap()).await.code()
    }

    /// No line of the log is an error.
    #[track_caller]
    pub(crate) fn has_logged_no_error(&self) {
        let lines = self.lines();
        let errors: Vec<_> = lines.iter().filter(|line| line.contains("ERROR")).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

fn configuration(pools: &[(&str, &Pool)], coins: &Path) -> String {
    let mut text = String::from(
        "probe = false\n\
         shards = 2\n\
         [[plugins.load]]\n\
         path = \"libswitcher_kaspa.so\"\n\
         [[plugins.load]]\n\
         path = \"libswitcher_fifo.so\"\n\
         [[listeners]]\n\
         listen = \"127.0.0.1:0\"\n\
         [admin]\n\
         listen = \"127.0.0.1:0\"\n\
         [timing]\n\
         linger_min = \"1s\"\n\
         drain = \"0s\"\n",
    );
    writeln!(text, "[sources.fifo]\npath = \"{}\"", coins.display()).unwrap();
    for (coin, pool) in pools {
        write!(
            text,
            "[coins.{coin}]\n\
             dialect = \"kaspa\"\n\
             [[coins.{coin}.pools]]\n\
             url = \"{}\"\n\
             user = \"{coin}:{{worker}}\"\n\
             pacing = {{ dials_per_second = 0, in_flight = 0 }}\n",
            pool.address()
        )
        .unwrap();
    }
    text
}

#[expect(clippy::print_stderr, reason = "a test that fails shows what the switcher had to say")]
impl Drop for Switcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.lines();
            let from = lines.len().saturating_sub(60);
            eprintln!("the switcher's log:\n{}", lines[from..].join("\n"));
        }
    }
}
