//! The engine in this process, with a coin source that the test holds in its hand.
//!
//! Only the engine's front door is used: settings, plug-ins, [`run`]. Freezing and resuming go
//! through the same door, so every test of switching can be run through freezes as well.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;
use switcher_core::settings::{CoinSettings, ListenerSettings, Pacing, PoolSettings, USUAL_RUNGS};
use switcher_core::{Control, Settings, Setup, State, Stop, run};
use switcher_plugin::{
    Assignment, BoardWriter, Coin, CoinSource, Notice, SourceContext, SourceError, SourceState,
    StratumDialect, SubAccount, Wanted,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

use stratum_peers::Pool;

/// Which coin each sub-account shall mine, as the test says.
#[derive(Debug, Clone)]
pub struct Instructions(Arc<watch::Sender<BTreeMap<String, Option<String>>>>);

impl Instructions {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }

    /// From here on the sub-account shall mine this coin.
    pub fn assign(&self, sub_account: &str, coin: &str) {
        self.0.send_modify(|map| {
            map.insert(sub_account.to_owned(), Some(coin.to_owned()));
        });
    }

    /// From here on the source does not know the sub-account.
    pub fn forget(&self, sub_account: &str) {
        self.0.send_modify(|map| {
            map.insert(sub_account.to_owned(), None);
        });
    }
}

/// The source behind [`Instructions`].
#[derive(Debug)]
struct TestSource(watch::Receiver<BTreeMap<String, Option<String>>>);

#[async_trait]
impl CoinSource for TestSource {
    #[expect(clippy::unnecessary_literal_bound, reason = "the trait borrows it from self")]
    fn name(&self) -> &str {
        "test"
    }

    async fn run(mut self: Box<Self>, context: SourceContext) -> Result<SourceState, SourceError> {
        let SourceContext { board, mut wanted, mut stop, .. } = context;
        let mut said = BTreeMap::new();
        board.post(Notice::Health { healthy: true, detail: "a test".to_owned() });
        loop {
            tokio::select! {
                Some(wanted) = wanted.recv() => {
                    if let Wanted::Acquire { sub_account, .. } = wanted {
                        let name = sub_account.as_str().to_owned();
                        let coin = self.0.borrow().get(&name).cloned().flatten();
                        said.insert(name, coin.clone());
                        say(&board, &sub_account, coin.as_deref());
                    }
                }
                Ok(()) = self.0.changed() => {
                    let now = self.0.borrow_and_update().clone();
                    for (name, coin) in now {
                        if said.get(&name).is_some_and(|before| *before != coin) {
                            say(&board, &SubAccount::new(&name), coin.as_deref());
                            said.insert(name, coin);
                        }
                    }
                }
                Ok(_) = stop.wait_for(|stop| *stop) => return Ok(SourceState::default()),
            }
        }
    }
}

fn say(board: &BoardWriter, sub_account: &SubAccount, coin: Option<&str>) {
    board.post(match coin {
        Some(coin) => {
            Notice::Assign(sub_account.clone(), Assignment::to(Coin::new(coin), "the test"))
        }
        None => Notice::Unknown(sub_account.clone()),
    });
}

/// A switcher to be: settings with short deadlines and no pacing, to be changed at will.
#[derive(Debug)]
pub struct SwitcherConfig {
    /// The settings. Listeners and pools are added by the methods.
    pub settings: Settings,
    dialects: Vec<Arc<dyn StratumDialect>>,
}

impl Default for SwitcherConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl SwitcherConfig {
    /// One listener for BTC and BCH on a free port of the loopback, two shards, no pacing.
    pub fn new() -> Self {
        let mut settings = Settings::default();
        settings.listeners.push(ListenerSettings {
            name: "miners".to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            dialects: vec!["btc".to_owned(), "bch".to_owned()],
            options: Value::Null,
            rungs: USUAL_RUNGS,
        });
        settings.admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        settings.shards = 2;
        settings.timing.linger_min = Duration::from_secs(3);
        settings.timing.linger_max = Duration::from_secs(10);
        settings.timing.drain = Duration::ZERO;
        let dialects: Vec<Arc<dyn StratumDialect>> =
            vec![Arc::new(dialect_btc::DIALECT), Arc::new(dialect_bch::DIALECT)];
        Self { settings, dialects }
    }

    /// Adds a pool at the end of its coin's list. Coin and dialect have the same name.
    #[must_use]
    pub fn pool(self, coin: &str, pool: &Pool) -> Self {
        self.pool_at(coin, pool.address(), Value::Null)
    }

    /// Adds a pool by its address, with options for the dialect.
    #[must_use]
    pub fn pool_at(mut self, coin: &str, address: SocketAddr, options: Value) -> Self {
        let dialect = if coin == "bch" { "bch" } else { "btc" };
        let entry = self.settings.coins.entry(Coin::new(coin)).or_insert_with(|| CoinSettings {
            dialect: dialect.to_owned(),
            algorithm: "sha256d".to_owned(),
            pools: Vec::new(),
            rungs: USUAL_RUNGS,
        });
        entry.pools.push(PoolSettings {
            name: format!("{coin}-{}", entry.pools.len() + 1),
            host: address.ip().to_string(),
            port: address.port(),
            user: None,
            password: None,
            options,
            pacing: Pacing::OFF,
        });
        self
    }

    /// Changes the settings.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Starts the switcher and waits until miners can connect.
    ///
    /// # Panics
    ///
    /// If it does not start; the message says why.
    pub async fn start(self) -> Switcher {
        let instructions = Instructions::new();
        let mut life = Life { config: Arc::new(self), instructions: instructions.clone() };
        let (run, started) = life.begin(State::default());
        let place = started.await.expect("the switcher starts");
        life.pin(&place);
        Switcher {
            address: *place.listeners.first().expect("there is one listener"),
            admin: place.admin.expect("there is an admin listener"),
            instructions,
            life,
            run: Mutex::new(Some(run)),
        }
    }
}

/// What is the same from freeze to freeze.
#[derive(Debug)]
struct Life {
    config: Arc<SwitcherConfig>,
    instructions: Instructions,
}

type Started = oneshot::Receiver<switcher_core::Started>;

impl Life {
    fn begin(&self, state: State) -> (Run, Started) {
        let (stop, stopped) = watch::channel(None);
        let (started, place) = oneshot::channel();
        let setup = Setup {
            settings: self.config.settings.clone(),
            dialects: self.config.dialects.clone(),
            sources: vec![Box::new(TestSource(self.instructions.0.subscribe()))],
        };
        let control = Control { stop: stopped, started: Some(started) };
        let thread = std::thread::spawn(move || {
            run(setup, state, control).expect("the settings of the test are right")
        });
        (Run { stop, thread }, place)
    }

    /// The admin listener is opened anew after each freeze and must come back at its place.
    fn pin(&mut self, place: &switcher_core::Started) {
        if let Some(config) = Arc::get_mut(&mut self.config) {
            config.settings.admin = place.admin;
        }
    }
}

/// One run of the engine between two freezes.
#[derive(Debug)]
struct Run {
    stop: watch::Sender<Option<Stop>>,
    thread: std::thread::JoinHandle<State>,
}

impl Run {
    fn end(self, how: Stop) -> State {
        let _ = self.stop.send(Some(how));
        self.thread.join().expect("the switcher does not panic")
    }
}

/// A running switcher.
#[derive(Debug)]
pub struct Switcher {
    address: SocketAddr,
    admin: SocketAddr,
    instructions: Instructions,
    life: Life,
    run: Mutex<Option<Run>>,
}

impl Switcher {
    /// Where miners connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin listener is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// From here on the sub-account shall mine this coin.
    pub fn assign(&self, sub_account: &str, coin: &str) {
        self.instructions.assign(sub_account, coin);
    }

    /// From here on no source knows the sub-account.
    pub fn forget(&self, sub_account: &str) {
        self.instructions.forget(sub_account);
    }

    /// Freezes all sessions and resumes them, with the document through its written form. Returns
    /// how long nobody was served.
    ///
    /// # Panics
    ///
    /// If either fails.
    pub async fn freeze_and_resume(&self) -> Duration {
        let run = self.take_run();
        let begin = Instant::now();
        let mut state =
            tokio::task::spawn_blocking(move || run.end(Stop::Freeze)).await.expect("it freezes");
        let written = serde_json::to_vec(&state.document).expect("the document is written");
        state.document = serde_json::from_slice(&written).expect("the document is read");
        let (run, started) = self.life.begin(state);
        started.await.expect("the switcher resumes");
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
        begin.elapsed()
    }

    /// Stops in good order.
    ///
    /// # Panics
    ///
    /// If it panicked.
    pub async fn drain(&self) {
        let run = self.take_run();
        tokio::task::spawn_blocking(move || run.end(Stop::Drain)).await.expect("it drains");
    }

    fn take_run(&self) -> Run {
        self.run
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .expect("the switcher is running")
    }

    /// What the admin listener answers: the status code and the body.
    ///
    /// # Panics
    ///
    /// If it does not answer at all.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).await.expect("the admin listener is open");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (code.expect("a status code"), body.to_owned())
    }

    /// A list or object of the JSON API.
    ///
    /// # Panics
    ///
    /// If the answer is not JSON.
    pub async fn api(&self, path: &str) -> Value {
        let (code, body) = self.get(path).await;
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("the API answers in JSON")
    }

    /// The value of a metric, all its labels summed; 0 if there is none.
    ///
    /// # Panics
    ///
    /// If metrics cannot be had.
    pub async fn metric(&self, name: &str) -> f64 {
        let (code, body) = self.get("/metrics").await;
        assert_eq!(code, 200, "{body}");
        let value = |line: &str| {
            let (head, value) = line.rsplit_once(' ')?;
            let named = head.split('{').next()? == name || head == name;
            named.then(|| value.parse::<f64>().ok())?
        };
        body.lines().filter_map(value).sum()
    }
}

impl Drop for Switcher {
    fn drop(&mut self) {
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(run) = run {
            let _ = run.stop.send(Some(Stop::Drain));
        }
    }
}
