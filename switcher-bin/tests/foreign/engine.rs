//! Loaded plug-ins in an engine of this process: the border with as little around it as can be.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stratum_peers::eventually;
use switcher_core::settings::{CoinSettings, ListenerSettings, Pacing, PoolSettings};
use switcher_core::{Control, Settings, Setup, State, Stop, run};
use switcher_plugin::{Coin, StratumDialect, testing};
use switcher_plugin_abi::host::{Plugin, load};
use tokio::sync::{oneshot, watch};

use crate::build::{fifo, kaspa, kaspa_crate};
use crate::fifo::Fifo;
use crate::peers::{Miner, Pool, PoolConfig, books_agree};

fn settings(pools: &[(&str, &Pool)]) -> Settings {
    let mut settings = Settings::default();
    settings.listeners.push(ListenerSettings {
        name: "miners".to_owned(),
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        dialects: vec!["kaspa".to_owned()],
        options: Value::Null,
    });
    settings.shards = 2;
    settings.timing.linger_min = Duration::from_secs(1);
    settings.timing.drain = Duration::ZERO;
    settings.probe = false;
    for (coin, pool) in pools {
        let pool = PoolSettings {
            name: format!("{coin}-pool"),
            host: pool.address().ip().to_string(),
            port: pool.address().port(),
            user: None,
            password: None,
            options: Value::Null,
            pacing: Pacing::OFF,
        };
        let (dialect, algorithm) = ("kaspa".to_owned(), "kheavyhash".to_owned());
        let coin_settings = CoinSettings { dialect, algorithm, pools: vec![pool] };
        settings.coins.insert(Coin::new(coin), coin_settings);
    }
    settings
}

/// Both plug-ins and what they are told.
struct Plugins {
    dialect: Plugin,
    source: Plugin,
    fifo: Value,
}

impl Plugins {
    fn load(folder: &Path, fifo_path: &Path) -> Self {
        Self {
            dialect: load(&kaspa(folder), None).unwrap(),
            source: load(&fifo("1.0.0", folder), None).unwrap(),
            fifo: json!({"path": fifo_path}),
        }
    }

    fn setup(&self, settings: &Settings) -> Setup {
        Setup {
            settings: settings.clone(),
            dialects: vec![Arc::clone(&self.dialect.dialects[0]) as Arc<dyn StratumDialect>],
            sources: vec![self.source.sources[0].source(&self.fifo)],
        }
    }
}

struct Engine {
    address: SocketAddr,
    stop: watch::Sender<Option<Stop>>,
    thread: std::thread::JoinHandle<State>,
}

impl Engine {
    async fn start(setup: Setup, state: State) -> Self {
        let (stop, stopped) = watch::channel(None);
        let (started, place) = oneshot::channel();
        let control = Control { stop: stopped, started: Some(started) };
        let thread = std::thread::spawn(move || run(setup, state, control).unwrap());
        Self { address: place.await.unwrap().listeners[0], stop, thread }
    }

    async fn end(self, how: Stop) -> State {
        self.stop.send_replace(Some(how));
        tokio::task::spawn_blocking(move || self.thread.join().unwrap()).await.unwrap()
    }
}

#[test]
fn the_dialect_conforms_through_the_border() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = load(&kaspa(folder.path()), None).unwrap();
    let transcripts = kaspa_crate().join("tests/transcripts");
    let dialect = &*plugin.dialects[0];

    testing::transcripts(&[dialect], &transcripts);
    // Fewer than in its own tests, which are optimised.
    let limits = testing::Limits { seeds: 4, flood: 600, ..testing::Limits::default() };
    testing::check_conformance(&[dialect], &testing::scripts(&transcripts), &limits).unwrap();

    assert_eq!((&*plugin.name, &*plugin.version), ("switcher-kaspa", "1.0.0"));
    assert_eq!(plugin.health.standing().faults, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn miners_go_where_the_lines_say_and_sessions_outlive_freezes() {
    let folder = tempfile::tempdir().unwrap();
    let coins = Fifo::make(folder.path().join("coins"));
    let kas = Pool::start(PoolConfig::new("kas")).await;
    let kls = Pool::start(PoolConfig::new("kls").difficulty(4.0)).await;
    let plugins = Plugins::load(folder.path(), coins.path());
    let settings = settings(&[("kas", &kas), ("kls", &kls)]);
    coins.say("alice kas\nbob kls\n");
    let mut engine = Engine::start(plugins.setup(&settings), State::default()).await;
    let miners = [
        Miner::connect(engine.address, "alice.rig1", "lolMiner 1.76").await,
        Miner::connect(engine.address, "alice.rig2", "IceRiverMiner-v1.1").await,
        Miner::connect(engine.address, "bob.rig1", "BzMiner-v21.0.0").await,
    ];
    eventually("all mine", || miners.iter().all(|miner| miner.report().accepted > 5)).await;
    assert_eq!((kas.report().connections, kls.report().connections), (2, 1));

    for round in 0..6 {
        let to = ["kls", "kas"][round % 2];
        let before = miners[0].report();
        coins.say(&format!("alice {to}\n"));
        if round % 3 == 0 {
            let state = engine.end(Stop::Freeze).await;
            engine = Engine::start(plugins.setup(&settings), state).await;
        }
        eventually("alice was moved and mines", || {
            let now = miners[0].report();
            now.extranonces.len() > before.extranonces.len() && now.accepted > before.accepted + 5
        })
        .await;
    }

    books_agree(&miners, &[&kas, &kls]).await;
    assert_eq!(miners[2].report().extranonces.len(), 1, "bob was never moved");
    assert_eq!(plugins.dialect.health.standing().faults, 0);
    drop(miners);
    engine.end(Stop::Drain).await;
}
