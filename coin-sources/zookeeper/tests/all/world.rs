//! A source that runs, a board that remembers everything, and ways to wait for what it says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use coin_source_zookeeper::testing::{Server, Writer};
use coin_source_zookeeper::{Counters, Settings, ZookeeperSource};
use switcher_plugin::{
    BoardWriter, CoinSource, Notice, SessionId, SourceContext, SourceState, SubAccount, Wanted,
    WorkerName,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A change must be seen this soon.
pub(crate) const SOON: Duration = Duration::from_secs(5);
/// The directory of coins in most tests.
pub(crate) const COINS: &str = "/stratumSwitcher/btcbcc";

/// What the source has said.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pub(crate) log: Vec<Notice>,
    /// The coin each sub-account was told last.
    pub(crate) coins: HashMap<String, String>,
    pub(crate) health: Option<(bool, String)>,
    pub(crate) server_id: Option<u8>,
    /// How often each coin was told.
    pub(crate) told: HashMap<String, usize>,
    /// Keeps nothing for each sub-account.
    pub(crate) light: bool,
}

impl Board {
    /// What was said of one sub-account.
    pub(crate) fn of(&self, name: &str) -> Vec<String> {
        self.log
            .iter()
            .filter_map(|notice| match notice {
                Notice::Assign(sub, assignment) if sub.as_str() == name => {
                    Some(format!("assign {}", assignment.coin()?))
                }
                Notice::Unknown(sub) if sub.as_str() == name => Some("unknown".into()),
                Notice::Registering(sub) if sub.as_str() == name => Some("registering".into()),
                Notice::RegistrationRefused(sub, why) if sub.as_str() == name => {
                    Some(format!("refused: {why}"))
                }
                Notice::Renamed(sub, to) if sub.as_str() == name => Some(format!("renamed {to}")),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn last_of(&self, name: &str) -> String {
        self.of(name).pop().unwrap_or_default()
    }

    pub(crate) fn assigns(&self) -> usize {
        self.told.values().sum()
    }

    fn take(&mut self, notice: Notice) {
        match &notice {
            Notice::Assign(sub, assignment) => {
                let coin = assignment.coin().map(ToString::to_string).unwrap_or_default();
                *self.told.entry(coin.clone()).or_default() += 1;
                if self.light {
                    return;
                }
                self.coins.insert(sub.to_string(), coin);
            }
            Notice::Health { healthy, detail } => self.health = Some((*healthy, detail.clone())),
            Notice::ServerId(id) => self.server_id = Some(*id),
            _ => {}
        }
        self.log.push(notice);
    }
}

/// A running source.
pub(crate) struct Source {
    board: Arc<(Mutex<Board>, Notify)>,
    wanted: mpsc::UnboundedSender<Wanted>,
    stop: watch::Sender<bool>,
    run: JoinHandle<SourceState>,
    pub(crate) counters: Arc<Counters>,
}

impl Source {
    pub(crate) fn start(settings: Settings) -> Self {
        Self::resume(settings, SourceState::default())
    }

    pub(crate) fn resume(settings: Settings, saved: SourceState) -> Self {
        Self::run(settings, saved, Board::default())
    }

    pub(crate) fn run(settings: Settings, saved: SourceState, board: Board) -> Self {
        let source = Box::new(ZookeeperSource::new(settings).expect("the settings are good"));
        let counters = source.counters();
        let board = Arc::new((Mutex::new(board), Notify::new()));
        let sink = Arc::clone(&board);
        let writer = BoardWriter::new(move |notice| {
            sink.0.lock().unwrap().take(notice);
            sink.1.notify_waiters();
        });
        let (wanted, wanted_rx) = mpsc::unbounded_channel();
        let (stop, stop_rx) = watch::channel(false);
        let context = SourceContext { board: writer, wanted: wanted_rx, stop: stop_rx, saved };
        let run = tokio::spawn(async { source.run(context).await.expect("the source works") });
        Self { board, wanted, stop, run, counters }
    }

    pub(crate) fn acquire(&self, name: &str) {
        self.acquire_as(name, SessionId(0x0100_0080), &format!("{name}.rig1"));
    }

    pub(crate) fn acquire_as(&self, name: &str, session: SessionId, worker: &str) {
        let (sub_account, worker) = (SubAccount::new(name), WorkerName::new(worker));
        self.wanted.send(Wanted::Acquire { sub_account, session, worker }).unwrap();
    }

    pub(crate) fn release(&self, name: &str) {
        self.wanted.send(Wanted::Release(SubAccount::new(name))).unwrap();
    }

    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.0.lock().unwrap()
    }

    /// Waits for a state of the board, and says how long that took.
    pub(crate) async fn until(
        &self,
        within: Duration,
        what: &str,
        holds: impl Fn(&Board) -> bool,
    ) -> Duration {
        let start = Instant::now();
        loop {
            let mut changed = std::pin::pin!(self.board.1.notified());
            changed.as_mut().enable();
            if holds(&self.board()) {
                return start.elapsed();
            }
            let left = within.saturating_sub(start.elapsed());
            if timeout(left, changed).await.is_err() && !holds(&self.board()) {
                let board = self.board();
                let last: Vec<_> = board.log.iter().rev().take(12).collect();
                panic!("not within {within:?}: {what}; last said, newest first: {last:#?}");
            }
        }
    }

    pub(crate) async fn coin(&self, name: &str, coin: &str) -> Duration {
        self.coin_within(SOON, name, coin).await
    }

    pub(crate) async fn coin_within(&self, within: Duration, name: &str, coin: &str) -> Duration {
        let wanted = format!("assign {coin}");
        self.until(within, &format!("{name}: {wanted}"), |board| board.last_of(name) == wanted)
            .await
    }

    pub(crate) async fn said(&self, name: &str, what: &str) -> Duration {
        self.until(SOON, &format!("{name}: {what}"), |board| board.last_of(name) == what).await
    }

    /// Waits until all is well, and says in which words.
    pub(crate) async fn healthy(&self) -> String {
        self.healthy_within(SOON).await
    }

    pub(crate) async fn healthy_within(&self, within: Duration) -> String {
        self.health(within, true, "").await
    }

    /// Waits until all is not well, in these words among others.
    pub(crate) async fn ailing(&self, words: &str) -> String {
        self.health(3 * SOON, false, words).await
    }

    async fn health(&self, within: Duration, wanted: bool, words: &str) -> String {
        self.until(within, &format!("healthy: {wanted}, {words:?}"), |board| {
            board
                .health
                .as_ref()
                .is_some_and(|(healthy, detail)| *healthy == wanted && detail.contains(words))
        })
        .await;
        self.board().health.clone().unwrap_or_default().1
    }

    pub(crate) async fn server_id(&self) -> u8 {
        self.until(SOON, "a server id", |board| board.server_id.is_some()).await;
        self.board().server_id.unwrap_or_default()
    }

    pub(crate) async fn stop(self) -> SourceState {
        self.stop.send_replace(true);
        self.run.await.expect("the source does not panic")
    }
}

/// A server with a directory of coins, and one who writes there.
pub(crate) async fn server() -> (Server, Writer) {
    let server = start_server().await;
    let writer = Writer::connect(server.address()).await;
    writer.make_dir(COINS).await;
    (server, writer)
}

pub(crate) async fn start_server() -> Server {
    tokio::task::spawn_blocking(Server::start).await.unwrap()
}

pub(crate) fn settings(server: std::net::SocketAddr) -> Settings {
    let mut settings = Settings::new(vec![server.to_string()], COINS);
    settings.session_timeout_seconds = 4;
    settings
}

pub(crate) fn node(name: &str) -> String {
    format!("{COINS}/{name}")
}
