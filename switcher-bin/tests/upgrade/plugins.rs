//! Loaded plug-ins in the real binary: upgrades with their sessions, and a call that hangs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use stratum_peers::{Pool, eventually};
use switcher_plugin_abi::testing::Library;

use crate::running::{BINARY, Start, Switcher, books_agree, plain, shares_at};

/// A miner of the dialect that misbehaves as it is told.
struct Naughty {
    lines: BufReader<TcpStream>,
    said: u64,
}

impl Naughty {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { lines: BufReader::new(stream), said: 0 }
    }

    fn tell(&mut self, line: &str) {
        self.said += 1;
        self.lines.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        // One that was reset has been closed as well.
        let _ = self.lines.read_line(&mut line);
        line.trim_end().to_owned()
    }

    /// The session counts its lines, so an answer shows that it is the one it was.
    fn is_served(&mut self) {
        self.tell("echo");
        assert_eq!(self.hear(), format!("{} echo", self.said));
    }

    fn login(&mut self, name: &str) {
        self.tell(&format!("login {name}"));
        assert_eq!(self.hear(), format!("{} login {name}", self.said));
        assert_eq!(self.hear(), "mining");
    }
}

/// A switcher with a listener for the loaded dialect beside that for btc.
async fn start(library: &Library, pool: &Pool) -> (Switcher, SocketAddr, TcpListener) {
    let nothing = TcpListener::bind("127.0.0.1:0").unwrap();
    let odd = address_of_its_own();
    let more = format!(
        "[[plugins.load]]\npath = \"{}\"\n[[listeners]]\nname = \"odd\"\nlisten = \"{odd}\"\n\
         dialects = [\"naughty\"]\n[[coins.odd.pools]]\nurl = \"{}\"\n[coins.odd]\n\
         dialect = \"naughty\"\n",
        library.path().display(),
        nothing.local_addr().unwrap(),
    );
    let switcher = Start::one(pool).coins("[accounts]\nalice = \"btc\"\nbob = \"odd\"\n");
    let switcher = switcher.more(&more).listener("dialects = [\"btc\"]\n").go().await;
    (switcher, odd, nothing)
}

/// The log sums up all listeners but the first, so the second has an address that is known, and no
/// other test's.
fn address_of_its_own() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(3333);
    let [_, bytes @ ..] = std::process::id().to_be_bytes();
    let [high, middle, low] = bytes;
    SocketAddr::from(([127, high, middle, low], NEXT.fetch_add(1, Ordering::Relaxed)))
}

fn health(switcher: &Switcher) -> serde_json::Value {
    let plugins = switcher.api("/api/v1/plugins");
    let plugins = plugins.as_array().unwrap();
    assert_eq!(plugins[0]["origin"], "built in");
    assert_eq!(plugins[1]["plugin"], "plugin-naughty");
    assert_eq!(plugins[1]["abi"], "1.0");
    plugins[1]["health"].clone()
}

#[tokio::test]
async fn session_of_a_loaded_dialect_goes_through_twenty_upgrades() {
    let (library, pool) = (Library::built("naughty"), Pool::start(plain("pool")).await);
    let (switcher, odd, _nothing) = start(&library, &pool).await;
    let miner = switcher.miner("rig1").await;
    let (mut mining, mut greeting) = (Naughty::connect(odd), Naughty::connect(odd));
    mining.login("bob");
    greeting.is_served();

    for round in 1..=20 {
        // A new file in its place is what a new version of the plug-in is.
        if round % 5 == 0 {
            let new = library.path().with_extension("new");
            std::fs::copy(library.path(), &new).unwrap();
            std::fs::rename(&new, library.path()).unwrap();
        }
        switcher.upgrade_well().await;
        mining.is_served();
        greeting.is_served();
    }
    greeting.login("bob");

    assert_eq!(health(&switcher)["faults"], 0);
    let sessions = switcher.api("/api/v1/sessions");
    let states: Vec<_> = sessions["items"].as_array().unwrap().iter().collect();
    assert!(states.iter().any(|item| item["state"]["lines"] == "21"), "{sessions}");
    shares_at(&pool, 5).await;
    books_agree(&[miner], &[&pool]).await;
    switcher.has_logged_no_error();
    assert_eq!(switcher.stop().await, Some(0));
}

#[tokio::test]
async fn state_that_cannot_be_saved_is_found_before_anything_is_at_stake() {
    let (library, pool) = (Library::built("naughty"), Pool::start(plain("pool")).await);
    let (switcher, odd, _nothing) = start(&library, &pool).await;
    let (mut good, mut bad) = (Naughty::connect(odd), Naughty::connect(odd));
    good.is_served();
    bad.tell("unsavable");
    bad.hear();

    let last = switcher.upgrade().await;

    assert_eq!(last["result"], "refused", "{last}");
    let why = last["why"].as_str().unwrap();
    assert!(why.contains("its plug-in could not save it"), "{why}");
    good.is_served();
    bad.tell("echo");
    assert_eq!(bad.hear(), "", "the session that failed is over");
    switcher.upgrade_well().await;
    good.is_served();
}

#[tokio::test]
async fn dialect_that_recalls_for_ever_loses_that_session_only() {
    let (library, pool) = (Library::built("naughty"), Pool::start(plain("pool")).await);
    let (switcher, odd, _nothing) = start(&library, &pool).await;
    let (mut good, mut bad) = (Naughty::connect(odd), Naughty::connect(odd));
    good.is_served();

    bad.tell("recall me");

    assert_eq!(bad.hear(), "1 recall me");
    assert_eq!(bad.hear(), "", "the session that failed is over");
    good.is_served();
    let metrics = switcher.get("/metrics");
    let counted = metrics.lines().find(|line| line.contains("kind=\"plugin_failed\""));
    assert!(counted.is_some_and(|line| line.ends_with(" 1")), "{counted:?}");
    eventually("the log has it", || switcher.log.count("dialect has failed") == 1).await;
}

#[tokio::test]
async fn plug_in_that_does_not_load_any_more_refuses_the_upgrade() {
    let (library, pool) = (Library::built("naughty"), Pool::start(plain("pool")).await);
    let (switcher, odd, _nothing) = start(&library, &pool).await;
    let mut miner = Naughty::connect(odd);
    miner.is_served();

    let broken = library.path().with_extension("new");
    std::fs::write(&broken, "no library").unwrap();
    std::fs::rename(&broken, library.path()).unwrap();
    let last = switcher.upgrade().await;

    assert_eq!(last["result"], "refused", "{last}");
    assert!(last["why"].as_str().unwrap().contains("plugins.load[0].path"), "{last}");
    miner.is_served();
}

#[tokio::test]
async fn call_that_hangs_holds_up_its_own_miners_only_and_is_named() {
    let (library, pool) = (Library::built("naughty"), Pool::start(plain("pool")).await);
    let (switcher, odd, _nothing) = start(&library, &pool).await;
    let miner = switcher.miner("rig1").await;
    shares_at(&pool, 3).await;
    let mut bad = Naughty::connect(odd);
    bad.is_served();

    // Longer than this test takes.
    bad.tell("sleep 60000");
    eventually("the plug-in is in quarantine", || !health(&switcher)["quarantine"].is_null()).await;

    assert_eq!(health(&switcher)["hanging_calls"], 1);
    let metrics = switcher.get("/metrics");
    assert!(metrics.contains("switcher_plugin_hanging_calls{plugin=\"plugin-naughty\"} 1"));
    assert!(metrics.contains("switcher_plugin_quarantined{plugin=\"plugin-naughty\"} 1"));
    let told = || switcher.log.count("plug-in does not come back from a call");
    eventually("the log has it", || told() > 0).await;
    shares_at(&pool, 20).await;
    assert_eq!(told(), 1);
    let last = switcher.upgrade().await;
    assert_eq!(last["result"], "refused", "{last}");
    let why = last["why"].as_str().unwrap();
    assert!(why.contains("the plug-in plugin-naughty does not come back"), "{why}");
    shares_at(&pool, 20).await;
    books_agree(&[miner], &[&pool]).await;

    let began = Instant::now();
    switcher.stop().await;
    assert!(began.elapsed() < Duration::from_secs(30), "it does not hang for ever");
}

#[tokio::test]
async fn plugins_lists_what_a_configuration_loads() {
    let (library, pool) = (Library::built("naughty"), Pool::start(plain("pool")).await);
    let (switcher, _odd, _nothing) = start(&library, &pool).await;

    let listed = Command::new(BINARY)
        .args(["plugins", "--config", switcher.config.to_str().unwrap()])
        .output()
        .unwrap();

    let text = String::from_utf8(listed.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("naughty ")).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(words[1..6], ["dialect", version, "1.0", "1-1", "ok"], "{line}");
    assert!(line.ends_with("libswitcher_naughty.so"), "{line}");
    assert!(text.lines().any(|line| line.starts_with("flighty ") && line.contains("source")));
}
