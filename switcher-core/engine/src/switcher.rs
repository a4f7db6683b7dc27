//! The spine: from a state to a state.
//!
//! A first start is an empty state; after a freeze it is what [`run`] returned. There is one way
//! to bring sessions to life, so a re-exec, a failed one and a test all go the same way.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use switcher_plugin::{CoinSource, SourceContext, SourceState, StratumDialect};
use tokio::sync::{mpsc, oneshot, watch};

use crate::accept;
use crate::admin::{self, AdminContext};
use crate::board::Board;
use crate::budget::Budget;
use crate::clock::{self, millis};
use crate::counters::ShardCounters;
use crate::evict;
use crate::ids::Ids;
use crate::plan::Plan;
use crate::pool_watch;
use crate::session::frozen::FrozenSession;
use crate::settings::{FleetNumber, Settings, SettingsError};
use crate::shard::{self, Command, Shared};
use crate::state::{Document, SavedListener, SocketMismatch, State, TakenListener};

/// Newcomers wait at most so long for the first probes.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

/// How long a source may take to stop.
const SOURCE_PATIENCE: Duration = Duration::from_secs(2);

/// After so long without a number of its own the switcher says what it waits for.
const NUMBER_PATIENCE: Duration = Duration::from_secs(2);

/// What to run.
pub struct Setup {
    /// Settings.
    pub settings: Settings,
    /// Enabled dialects.
    pub dialects: Vec<Arc<dyn StratumDialect>>,
    /// Coin sources in order of priority.
    pub sources: Vec<Box<dyn CoinSource>>,
}

/// How to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Close all sessions in good order.
    Drain,
    /// Stop with all sessions kept, for the next [`run`].
    Freeze,
}

/// The caller's hand on a run.
#[derive(Debug)]
pub struct Control {
    /// Set to end it.
    pub stop: watch::Receiver<Option<Stop>>,
    /// Told when miners can connect.
    pub started: Option<oneshot::Sender<Started>>,
}

/// Where a run can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Listening addresses, in the order of the settings.
    pub listeners: Vec<SocketAddr>,
    /// The admin listener's address.
    pub admin: Option<SocketAddr>,
}

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The settings contradict themselves or the plug-ins.
    #[error("{} mistakes in the settings, the first: {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Settings(Vec<SettingsError>),
    /// An address could not be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
    /// The state is damaged.
    #[error(transparent)]
    State(#[from] SocketMismatch),
    /// The system refused a thread or a runtime.
    #[error("the system refused a thread: {0}")]
    System(#[from] io::Error),
}

/// Runs until told to stop. Blocks the calling thread, which serves as the control thread.
///
/// # Errors
///
/// What kept it from beginning. Once it runs, it does not fail.
pub fn run(setup: Setup, mut state: State, control: Control) -> Result<State, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let plan = Arc::new(Plan::new(&setup.settings, &setup.dialects).map_err(RunError::Settings)?);
    for (name, fact) in &state.document.facts {
        if let Some(pool) = plan.pool_named(name) {
            plan.learn(pool, fact);
        }
    }
    let (saved_listeners, sessions) = state.take_sockets()?;
    let listeners = open_listeners(&setup.settings, saved_listeners)?;
    let (shards, threads, board, budget, ids) = start_shards(&setup, &plan, &state.document)?;
    let mut engine = Engine { plan, shards, board, budget, ids, listeners, threads };
    Ok(runtime.block_on(engine.main(setup, state.document, sessions, control)))
}

struct Engine {
    plan: Arc<Plan>,
    shards: Shards,
    board: Arc<Board>,
    budget: Arc<Budget>,
    ids: Arc<Ids>,
    listeners: Vec<(SavedListener, TcpListener)>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    async fn main(
        &mut self,
        setup: Setup,
        document: Document,
        sessions: Vec<FrozenSession>,
        mut control: Control,
    ) -> State {
        let (stop_sources, stopped) = watch::channel(false);
        let sources = self.start_sources(setup.sources, document.sources, &stopped);
        for session in sessions {
            self.budget.add_session();
            self.ids.hold(session.id());
            self.shards.resume(session);
        }
        pool_watch::resolve_first(&self.plan).await;
        let resolver = tokio::spawn(pool_watch::keep_resolving(Arc::clone(&self.plan)));
        let prober = tokio::spawn(pool_watch::probe_unknown(
            Arc::clone(&self.plan),
            Arc::clone(&self.ids),
            setup.settings.probe,
        ));
        let mut prober = Box::pin(prober);
        let _ = tokio::time::timeout(PROBE_PATIENCE, &mut prober).await;
        self.shards.watch_ports(self.listeners.iter().map(|(saved, _)| saved.address.port()));
        let draining = Arc::default();
        let admin = self.open_admin(setup.settings.admin, &draining);
        if setup.settings.number == FleetNumber::FromSource {
            self.await_number(&mut control.stop).await;
        }
        let accepting = self.accept();
        let started = Started {
            listeners: self.listeners.iter().map(|(saved, _)| saved.address).collect(),
            admin: admin.as_ref().map(|admin| admin.address),
        };
        for address in &started.listeners {
            tracing::info!(%address, "listening for miners");
        }
        if let Some(address) = started.admin {
            tracing::info!(%address, "admin listener is open");
        }
        if let Some(sender) = control.started.take() {
            let _ = sender.send(started);
        }
        let stop = match control.stop.wait_for(Option::is_some).await {
            Ok(stop) => stop.unwrap_or(Stop::Drain),
            // Whoever held the control is gone; nobody could stop us any more.
            Err(_) => Stop::Drain,
        };
        for task in accepting {
            task.abort();
        }
        resolver.abort();
        prober.abort();
        draining.store(true, Ordering::Relaxed);
        let mut state = State::default();
        match stop {
            Stop::Drain => {
                self.listeners.clear();
                self.drain().await;
            }
            Stop::Freeze => self.freeze(&mut state).await,
        }
        state.document.board = self.board.save();
        let _ = stop_sources.send(true);
        for (name, source) in sources {
            state.document.sources.insert(name, stop_source(source).await);
        }
        if let Some(admin) = admin {
            admin.stop();
        }
        self.shards.disconnect();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard has panicked");
            }
        }
        state
    }

    /// Waits for a source to give this switcher its number, or for the end.
    async fn await_number(&self, stop: &mut watch::Receiver<Option<Stop>>) {
        let tell = async {
            tokio::time::sleep(NUMBER_PATIENCE).await;
            tracing::warn!(
                "no coin source has given this switcher its number yet; miners wait for it"
            );
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.board.numbered() => {
                tracing::info!(number = self.board.server_id(), "number in the fleet");
            }
            _ = stop.wait_for(Option::is_some) => {}
            () = tell => {}
        }
    }

    fn accept(&self) -> Vec<tokio::task::JoinHandle<io::Result<()>>> {
        let mut accepting = Vec::new();
        for (at, (saved, listener)) in self.listeners.iter().enumerate() {
            match listener.try_clone() {
                Ok(listener) => accepting.push(tokio::spawn(accept::accept(
                    listener,
                    at,
                    self.shards.clone(),
                    Arc::clone(&self.budget),
                    self.plan.timing.user_timeout,
                ))),
                Err(error) => {
                    tracing::error!(listener = saved.name, %error, "cannot accept");
                }
            }
        }
        accepting
    }

    fn open_admin(
        &self,
        address: Option<SocketAddr>,
        draining: &Arc<AtomicBool>,
    ) -> Option<admin::Admin> {
        let address = address?;
        let context = AdminContext {
            plan: Arc::clone(&self.plan),
            shards: self.shards.clone(),
            board: Arc::clone(&self.board),
            budget: Arc::clone(&self.budget),
            started: clock::now(),
            draining: Arc::clone(draining),
        };
        match admin::start(address, context) {
            Ok(admin) => Some(admin),
            Err(error) => {
                tracing::error!(%address, %error, "the admin listener could not be opened");
                None
            }
        }
    }

    fn start_sources(
        &self,
        sources: Vec<Box<dyn CoinSource>>,
        mut saved: BTreeMap<String, SourceState>,
        stop: &watch::Receiver<bool>,
    ) -> Vec<(String, tokio::task::JoinHandle<SourceState>)> {
        let start = |(priority, source): (usize, Box<dyn CoinSource>)| {
            let name = source.name().to_owned();
            let context = SourceContext {
                board: self.board.writer(priority),
                wanted: self.board.connect_source(),
                stop: stop.clone(),
                saved: saved.remove(&name).unwrap_or_default(),
            };
            let label = name.clone();
            let task = tokio::spawn(async move {
                source.run(context).await.unwrap_or_else(|error| {
                    tracing::error!(source = label, %error, "coin source has given up");
                    SourceState::default()
                })
            });
            (name, task)
        };
        sources.into_iter().enumerate().map(start).collect()
    }

    async fn drain(&self) {
        let over = millis(self.plan.timing.drain);
        tracing::info!(sessions = self.budget.sessions(), over_ms = over, "draining");
        self.shards.tell(|| Command::Drain(over));
        // Each session may take its farewell's time on top.
        let deadline =
            tokio::time::Instant::now() + self.plan.timing.drain + Duration::from_secs(6);
        while self.budget.sessions() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn freeze(&mut self, state: &mut State) {
        for (saved, listener) in self.listeners.drain(..) {
            state.sockets.push(listener.into());
            state.document.listeners.push(saved);
        }
        for answer in self.shards.ask(Command::Freeze) {
            let Ok(sessions) = answer.await else {
                tracing::error!("a shard did not answer the freeze");
                continue;
            };
            for session in sessions {
                state.push_session(session);
            }
        }
        for pool in &self.plan.pools {
            if let Some(fact) = pool.fact() {
                state.document.facts.insert(pool.name.clone(), fact.to_string());
            }
        }
        state.document.counters = self.shards.save_counters(&self.plan);
        state.document.next_session = self.ids.peek();
    }
}

async fn stop_source(mut task: tokio::task::JoinHandle<SourceState>) -> SourceState {
    if let Ok(state) = tokio::time::timeout(SOURCE_PATIENCE, &mut task).await {
        return state.unwrap_or_default();
    }
    tracing::warn!("a coin source did not stop in time");
    task.abort();
    SourceState::default()
}

fn open_listeners(
    settings: &Settings,
    mut saved: Vec<TakenListener>,
) -> Result<Vec<(SavedListener, TcpListener)>, RunError> {
    let mut listeners = Vec::new();
    for listener in &settings.listeners {
        let wanted = listener.address;
        let at = saved.iter().position(|(saved, _)| {
            saved.name == listener.name
                && saved.address.ip() == wanted.ip()
                && (wanted.port() == 0 || saved.address.port() == wanted.port())
        });
        let socket = match at {
            Some(at) => TcpListener::from(saved.swap_remove(at).1),
            None => accept::listen(wanted)
                .map_err(|error| RunError::Listen { address: wanted, error })?,
        };
        let address = socket.local_addr()?;
        listeners.push((SavedListener { name: listener.name.clone(), address }, socket));
    }
    Ok(listeners)
}

type Parts = (Shards, Vec<JoinHandle<()>>, Arc<Board>, Arc<Budget>, Arc<Ids>);

fn start_shards(setup: &Setup, plan: &Arc<Plan>, document: &Document) -> io::Result<Parts> {
    let count = match setup.settings.shards {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    let mut handles = Vec::new();
    let mut queues = Vec::new();
    for _ in 0..count {
        let (commands, queue) = mpsc::unbounded_channel();
        handles.push(ShardHandle { commands, counters: Arc::new(ShardCounters::new(plan)) });
        queues.push(queue);
    }
    let shards = Shards::new(handles);
    shards.load_counters(plan, &document.counters);
    let names: Vec<_> = setup.sources.iter().map(|source| source.name().to_owned()).collect();
    let tell = shards.clone();
    let number = match setup.settings.number {
        FleetNumber::Fixed(number) => number,
        FleetNumber::None | FleetNumber::FromSource => 0,
    };
    let board = Arc::new(Board::new(number, &names, document.board.clone(), move |sub_account| {
        tell.tell(|| Command::News(sub_account.clone()));
    }));
    let budget = Arc::new(Budget::new(&plan.limits));
    let ids = Arc::new(Ids::from(document.next_session));
    let mut threads = Vec::new();
    for (at, queue) in queues.into_iter().enumerate() {
        let shared = Shared {
            plan: Arc::clone(plan),
            board: Arc::clone(&board),
            budget: Arc::clone(&budget),
            ids: Arc::clone(&ids),
        };
        let counters = shards.counters(at);
        let thread = std::thread::Builder::new().name(format!("shard-{at}")).spawn(move || {
            if let Err(error) = shard::run(shared, count, counters, queue) {
                tracing::error!(%error, "a shard could not start");
            }
        })?;
        threads.push(thread);
    }
    Ok((shards, threads, board, budget, ids))
}

/// The other side's view of a shard.
#[derive(Debug)]
struct ShardHandle {
    commands: mpsc::UnboundedSender<Command>,
    counters: Arc<ShardCounters>,
}

/// All shards.
#[derive(Debug, Clone)]
pub(crate) struct Shards {
    handles: Arc<Mutex<Vec<ShardHandle>>>,
    evicted: Arc<Mutex<Eviction>>,
}

#[derive(Debug, Default)]
struct Eviction {
    last: switcher_plugin::Millis,
    ports: Vec<u16>,
}

impl Shards {
    fn new(handles: Vec<ShardHandle>) -> Self {
        Self { handles: Arc::new(Mutex::new(handles)), evicted: Arc::default() }
    }

    fn with<T>(&self, call: impl FnOnce(&[ShardHandle]) -> T) -> T {
        call(&self.handles.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn counters(&self, at: usize) -> Arc<ShardCounters> {
        self.with(|handles| {
            let handle = handles.get(at).expect("asked for by its own number");
            Arc::clone(&handle.counters)
        })
    }

    /// The counters of every shard.
    pub(crate) fn all_counters(&self) -> Vec<Arc<ShardCounters>> {
        self.with(|handles| handles.iter().map(|shard| Arc::clone(&shard.counters)).collect())
    }

    fn least_loaded(handles: &[ShardHandle]) -> Option<&ShardHandle> {
        handles.iter().min_by_key(|shard| shard.counters.load.load(Ordering::Relaxed))
    }

    /// Gives a new connection to the least loaded shard.
    pub(crate) fn hand_out(&self, stream: std::net::TcpStream, peer: SocketAddr, listener: usize) {
        self.with(|handles| {
            if let Some(shard) = Self::least_loaded(handles) {
                shard.counters.load.fetch_add(1, Ordering::Relaxed);
                let _ = shard.commands.send(Command::Accept { stream, peer, listener });
            }
        });
    }

    fn resume(&self, session: FrozenSession) {
        self.with(|handles| {
            if let Some(shard) = Self::least_loaded(handles) {
                shard.counters.load.fetch_add(1, Ordering::Relaxed);
                let _ = shard.commands.send(Command::Resume(Box::new(session)));
            }
        });
    }

    /// Tells every shard.
    pub(crate) fn tell(&self, command: impl Fn() -> Command) {
        self.with(|handles| {
            for shard in handles {
                // A shard that is gone has no sessions left.
                let _ = shard.commands.send(command());
            }
        });
    }

    /// Asks every shard.
    pub(crate) fn ask<T>(
        &self,
        command: impl Fn(oneshot::Sender<T>) -> Command,
    ) -> Vec<oneshot::Receiver<T>> {
        self.with(|handles| {
            let ask = |shard: &ShardHandle| {
                let (answer, receiver) = oneshot::channel();
                let _ = shard.commands.send(command(answer));
                receiver
            };
            handles.iter().map(ask).collect()
        })
    }

    /// Ends sessions whose miners are gone, as their places are wanted.
    pub(crate) fn evict_dead(&self) {
        let mut eviction = self.evicted.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        if now.since(eviction.last) < 1_000 {
            return;
        }
        eviction.last = now;
        let peers = evict::dead_peers(&eviction.ports);
        if !peers.is_empty() {
            tracing::warn!(miners = peers.len(), "evicting miners that acknowledge nothing");
            self.tell(|| Command::Evict(peers.clone()));
        }
    }

    fn watch_ports(&self, ports: impl Iterator<Item = u16>) {
        self.evicted.lock().unwrap_or_else(PoisonError::into_inner).ports = ports.collect();
    }

    fn disconnect(&self) {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn save_counters(&self, plan: &Plan) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for counters in self.all_counters() {
            counters.each(plan, |name, counter| {
                *sums.entry(name).or_insert(0) += counter.value();
            });
        }
        sums
    }

    fn load_counters(&self, plan: &Plan, saved: &BTreeMap<String, u64>) {
        let Some(first) = self.all_counters().into_iter().next() else { return };
        first.each(plan, |name, counter| {
            if let Some(value) = saved.get(&name) {
                counter.set(*value);
            }
        });
    }
}
