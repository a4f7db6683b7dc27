//! The spine: from a state to a state.
//!
//! A first start is an empty state; after a freeze it is what [`run`] returned. There is one way
//! to bring sessions to life, so a re-exec, a failed one and a test all go the same way.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
use crate::ids::Ids;
use crate::listeners;
use crate::memory::Memory;
use crate::plan::{ListenerPlan, Plan};
use crate::plugins::PluginBook;
use crate::pool_watch::{self, Prober};
use crate::rehearsal::Sampler;
use crate::session::frozen::FrozenSession;
use crate::settings::{FleetNumber, Settings, SettingsError};
use crate::shard::{self, Command, Shared};
use crate::shards::{ShardHandle, Shards};
use crate::state::{SavedListener, SocketMismatch, State, Taken};
use crate::texts::Texts;
use crate::upgrades::Upgrades;

/// Newcomers wait at most so long for the first probes.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

/// How long is waited for shards to have taken up their sessions.
const SETTLE_PATIENCE: Duration = Duration::from_secs(1);

/// After so long without a number of its own the switcher says what it waits for.
const NUMBER_PATIENCE: Duration = Duration::from_secs(2);

/// Answers that are under way when sessions are prepared for a program that only relays have so
/// long to come in.
const HAND_BACK_GRACE: Duration = Duration::from_millis(1_500);
/// How long is waited for the threads of shards to end.
const SHARD_PATIENCE: Duration = Duration::from_secs(2);

/// How long a source may take to stop when the program ends.
const SOURCE_PATIENCE: Duration = Duration::from_secs(2);

/// What to run.
pub struct Setup {
    /// Settings.
    pub settings: Settings,
    /// Enabled dialects.
    pub dialects: Vec<Arc<dyn StratumDialect>>,
    /// Coin sources in order of priority.
    pub sources: Vec<Box<dyn CoinSource>>,
    /// What the API shows of the plug-ins.
    pub plugins: PluginBook,
}

/// How to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Close all sessions in good order.
    Drain,
    /// Stop with all sessions kept, for the next [`run`].
    Freeze,
    /// Close the sessions that a program which only relays could not carry on, and stop with the
    /// others kept, for [`hand_back`](crate::hand_back).
    HandBack,
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

/// A start that failed, with everything as it was.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: RunError,
    /// The state, none of its sockets touched.
    pub state: State,
}

/// Runs until told to stop. Blocks the calling thread, which serves as the control thread.
///
/// # Errors
///
/// What kept it from beginning. Once it runs, it does not fail.
pub fn run(setup: Setup, state: State, control: Control) -> Result<State, RunError> {
    let ready = prepare(setup, state).map_err(|refused| refused.error)?;
    Ok(ready.run(control))
}

/// Does everything that can fail before a run, without touching a socket of the state.
///
/// # Errors
///
/// What keeps it from beginning, and the state.
pub fn prepare(setup: Setup, state: State) -> Result<Ready, Box<Refused>> {
    match Parts::make(&setup, &state) {
        Ok(parts) => Ok(Ready { setup, state, parts }),
        Err(error) => Err(Box::new(Refused { error, state })),
    }
}

/// A run that only has to begin.
pub struct Ready {
    setup: Setup,
    state: State,
    parts: Parts,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ready")
    }
}

impl Ready {
    /// A hand to take samples with during the run.
    pub fn sampler(&self) -> Sampler {
        let Parts { plan, shards, board, ids, memory, listening, upgrades, .. } = &self.parts;
        Sampler {
            plan: Arc::clone(plan),
            shards: shards.clone(),
            board: Arc::clone(board),
            ids: Arc::clone(ids),
            memory: Arc::clone(memory),
            listeners: listening.iter().map(|wanted| wanted.saved.clone()).collect(),
            upgrades: upgrades.clone(),
        }
    }

    /// The book of upgrades of the run.
    pub fn upgrades(&self) -> Upgrades {
        self.parts.upgrades.clone()
    }

    /// Number of sessions that will be resumed.
    pub fn sessions(&self) -> usize {
        self.state.document.sessions()
    }

    /// Runs until told to stop. Blocks the calling thread.
    pub fn run(self, control: Control) -> State {
        let Self { setup, mut state, parts } = self;
        let Taken { listeners, admin, sessions } = state.take_sockets();
        let admin = admin.map(TcpListener::from).zip(state.document.admin);
        let mut engine = Engine {
            plan: parts.plan,
            shards: parts.shards,
            board: parts.board,
            budget: parts.budget,
            ids: parts.ids,
            memory: parts.memory,
            listeners: listeners::place(parts.listening, listeners),
            admin: listeners::keep_admin(setup.settings.admin, admin),
            upgrades: parts.upgrades,
            plugins: setup.plugins.clone(),
            threads: parts.threads,
        };
        let late = std::mem::take(&mut state.late);
        let resumed = Resumed { sessions, late, is_first: state.document.is_first() };
        parts.runtime.block_on(engine.main(setup, state.document.sources, resumed, control))
    }
}

/// What of a state comes back to life.
struct Resumed {
    sessions: Vec<FrozenSession>,
    late: Vec<oneshot::Receiver<Vec<FrozenSession>>>,
    is_first: bool,
}

struct Engine {
    plan: Arc<Plan>,
    shards: Shards,
    board: Arc<Board>,
    budget: Arc<Budget>,
    ids: Arc<Ids>,
    memory: Arc<Memory>,
    listeners: Vec<(SavedListener, TcpListener)>,
    admin: Option<TcpListener>,
    upgrades: Upgrades,
    plugins: PluginBook,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    async fn main(
        &mut self,
        setup: Setup,
        saved_sources: BTreeMap<String, SourceState>,
        resumed: Resumed,
        mut control: Control,
    ) -> State {
        let (stop_sources, stopped) = watch::channel(false);
        let sources = self.start_sources(setup.sources, saved_sources, &stopped);
        let is_first = resumed.is_first;
        let joining = self.resume(resumed);
        if is_first {
            pool_watch::resolve_first(&self.plan).await;
        }
        let resolver = tokio::spawn(pool_watch::keep_resolving(Arc::clone(&self.plan), !is_first));
        let (plan, ids) = (Arc::clone(&self.plan), Arc::clone(&self.ids));
        let mut prober = Prober::start(plan, ids, setup.settings.probe);
        if let Some(prober) = prober.as_mut().filter(|_| is_first) {
            let _ = tokio::time::timeout(PROBE_PATIENCE, prober.tried()).await;
        }
        self.shards.watch_ports(self.listeners.iter().map(|(saved, _)| saved.address.port()));
        let draining = Arc::default();
        let admin = self.open_admin(setup.settings.admin, &draining);
        if setup.settings.number == FleetNumber::FromSource {
            self.await_number(&mut control.stop).await;
        }
        let accepting = self.accept();
        for settled in self.shards.ask(Command::Settle) {
            // A shard that is stuck holds nobody else up.
            let _ = tokio::time::timeout(SETTLE_PATIENCE, settled).await;
        }
        self.tell_started(control.started.take(), admin.as_ref());
        let stop = match control.stop.wait_for(Option::is_some).await {
            Ok(stop) => stop.unwrap_or(Stop::Drain),
            // Whoever held the control is gone; nobody could stop us any more.
            Err(_) => Stop::Drain,
        };
        for task in accepting {
            task.abort();
        }
        resolver.abort();
        drop(prober);
        draining.store(true, Ordering::Relaxed);
        let mut state = State::default();
        let now = tokio::time::Instant::now;
        let deadline = match stop {
            Stop::Drain => {
                joining.abort();
                self.listeners.clear();
                self.admin = None;
                self.drain().await;
                let _ = stop_sources.send(true);
                now() + SOURCE_PATIENCE
            }
            Stop::Freeze | Stop::HandBack => {
                let _ = stop_sources.send(true);
                if stop == Stop::HandBack {
                    self.thin_out().await;
                }
                let deadline = now() + self.plan.timing.freeze;
                state.late = joining.end().await;
                self.freeze(&mut state, deadline).await;
                deadline
            }
        };
        for (name, source) in sources {
            state.document.sources.insert(name, stop_source(source, deadline).await);
        }
        // Behind the sources' last words: what one has said it will not say again.
        state.document.board = self.board.save();
        if let Some(admin) = admin {
            admin.stop();
        }
        self.shards.disconnect();
        self.join(!state.late.is_empty()).await;
        state
    }

    /// Waits for the shards' threads. One that is late, or hangs, is left behind.
    async fn join(&mut self, some_are_late: bool) {
        let deadline = tokio::time::Instant::now() + SHARD_PATIENCE;
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && !some_are_late && tokio::time::Instant::now() < deadline
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if !thread.is_finished() {
                tracing::error!("a shard does not stop and is left behind");
            } else if thread.join().is_err() {
                tracing::error!("a shard has panicked");
            }
        }
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

    /// Gives frozen sessions to the shards, late ones as they come.
    fn resume(&self, resumed: Resumed) -> Joining {
        let add = {
            let (budget, shards) = (Arc::clone(&self.budget), self.shards.clone());
            let (ids, plan) = (Arc::clone(&self.ids), Arc::clone(&self.plan));
            move |session: FrozenSession| {
                budget.add_session();
                ids.hold(session.id());
                if let Some((form, index)) = session.short_id(&plan) {
                    ids.hold_index(form, index);
                }
                let listener = session.listener(&plan);
                shards.resume(session, listener);
            }
        };
        resumed.sessions.into_iter().for_each(&add);
        Joining::start(resumed.late, add)
    }

    fn tell_started(&self, sender: Option<oneshot::Sender<Started>>, admin: Option<&admin::Admin>) {
        let started = Started {
            listeners: self.listeners.iter().map(|(saved, _)| saved.address).collect(),
            admin: admin.map(|admin| admin.address),
        };
        for address in &started.listeners {
            tracing::info!(%address, "listening for miners");
        }
        if let Some(address) = started.admin {
            tracing::info!(%address, "admin listener is open");
        }
        if let Some(sender) = sender {
            let _ = sender.send(started);
        }
    }

    fn accept(&self) -> Vec<tokio::task::JoinHandle<io::Result<()>>> {
        let mut accepting = Vec::new();
        for (saved, listener) in &self.listeners {
            let named = |plan: &ListenerPlan| plan.name == saved.name;
            let Some(at) = self.plan.listeners.iter().position(named) else { continue };
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
        &mut self,
        address: Option<SocketAddr>,
        draining: &Arc<AtomicBool>,
    ) -> Option<admin::Admin> {
        let address = address?;
        let context = AdminContext {
            plan: Arc::clone(&self.plan),
            shards: self.shards.clone(),
            board: Arc::clone(&self.board),
            budget: Arc::clone(&self.budget),
            memory: Arc::clone(&self.memory),
            started: clock::now(),
            draining: Arc::clone(draining),
            upgrades: self.upgrades.clone(),
            plugins: self.plugins.clone(),
        };
        let listener = match &self.admin {
            Some(listener) => listener.try_clone(),
            None => TcpListener::bind(address).and_then(|listener| {
                let clone = listener.try_clone();
                self.admin = Some(listener);
                clone
            }),
        };
        match listener.and_then(|listener| admin::start(listener, context)) {
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

    /// Until only those sessions are left that can be handed back, and what was under way before is
    /// most likely over.
    async fn thin_out(&self) {
        let over = millis(self.plan.timing.drain);
        let deadline =
            tokio::time::Instant::now() + self.plan.timing.drain + Duration::from_secs(6);
        let grace = tokio::time::sleep(HAND_BACK_GRACE);
        let mut kept = 0;
        for answer in self.shards.ask(|answer| Command::HandBack { over, answer }) {
            if let Ok(Ok(count)) = tokio::time::timeout_at(deadline, answer).await {
                kept += count;
            }
        }
        let sessions = self.budget.sessions();
        tracing::info!(sessions, kept, over_ms = over, "closing what cannot be handed back");
        grace.await;
        while self.budget.sessions() > kept && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn freeze(&mut self, state: &mut State, deadline: tokio::time::Instant) {
        for (saved, listener) in self.listeners.drain(..) {
            state.sockets.push(listener.into());
            state.document.listeners.push(saved);
        }
        if let Some((listener, address)) =
            self.admin.take().and_then(|admin| admin.local_addr().ok().map(|at| (admin, at)))
        {
            state.sockets.push(listener.into());
            state.document.admin = Some(address);
        }
        let texts = self.plan.is_packing().then(Texts::default);
        let freeze = |answer| Command::Freeze { texts: texts.clone(), answer };
        for mut answer in self.shards.ask(freeze) {
            match tokio::time::timeout_at(deadline, &mut answer).await {
                Ok(Ok(sessions)) => {
                    for session in sessions {
                        state.push_session(session);
                    }
                }
                Ok(Err(_)) => tracing::error!("a shard is gone and did not answer the freeze"),
                Err(_) => {
                    tracing::error!("a shard did not answer the freeze in time");
                    state.late.push(answer);
                }
            }
        }
        state.document.texts = texts;
        state.document.save_pools(&self.plan);
        state.document.counters = self.shards.save_counters(&self.plan);
        state.document.next_session = self.ids.peek();
        state.document.short_ids = self.ids.cursors();
        state.document.notes = self.memory.save();
        state.document.upgrades = self.upgrades.book();
    }
}

async fn stop_source(
    mut task: tokio::task::JoinHandle<SourceState>,
    deadline: tokio::time::Instant,
) -> SourceState {
    if let Ok(state) = tokio::time::timeout_at(deadline, &mut task).await {
        return state.unwrap_or_default();
    }
    tracing::warn!("a coin source did not stop in time");
    task.abort();
    SourceState::default()
}

/// Sessions that come late, and what is left of them when nobody waits any more.
struct Joining {
    task: tokio::task::JoinHandle<Vec<oneshot::Receiver<Vec<FrozenSession>>>>,
    stop: oneshot::Sender<()>,
}

impl Joining {
    fn start(
        late: Vec<oneshot::Receiver<Vec<FrozenSession>>>,
        add: impl Fn(FrozenSession) + Send + 'static,
    ) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut missing = Vec::new();
            for mut answer in late {
                tokio::select! {
                    sessions = &mut answer => sessions.into_iter().flatten().for_each(&add),
                    _ = &mut stopped, if missing.is_empty() => missing.push(answer),
                }
            }
            missing
        });
        Self { task, stop }
    }

    fn abort(&self) {
        self.task.abort();
    }

    async fn end(self) -> Vec<oneshot::Receiver<Vec<FrozenSession>>> {
        let _ = self.stop.send(());
        self.task.await.unwrap_or_default()
    }
}

/// What [`prepare`] makes.
struct Parts {
    runtime: tokio::runtime::Runtime,
    plan: Arc<Plan>,
    shards: Shards,
    threads: Vec<JoinHandle<()>>,
    board: Arc<Board>,
    budget: Arc<Budget>,
    ids: Arc<Ids>,
    memory: Arc<Memory>,
    listening: Vec<listeners::Wanted>,
    upgrades: Upgrades,
}

impl Parts {
    fn make(setup: &Setup, state: &State) -> Result<Self, RunError> {
        state.check()?;
        let document = &state.document;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let plan =
            Arc::new(Plan::new(&setup.settings, &setup.dialects).map_err(RunError::Settings)?);
        document.load_pools(&plan);
        let listening = listeners::open(&setup.settings, &document.listeners)?;
        let count = match setup.settings.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let mut handles = Vec::new();
        let mut queues = Vec::new();
        for group in (0..plan.groups()).flat_map(|group| std::iter::repeat_n(group, count)) {
            let (commands, queue) = mpsc::unbounded_channel();
            let counters = Arc::new(ShardCounters::new(&plan));
            handles.push(ShardHandle { commands, counters, group });
            queues.push(queue);
        }
        let shards = Shards::new(handles, &plan);
        shards.load_counters(&plan, &document.counters);
        let names: Vec<_> = setup.sources.iter().map(|source| source.name().to_owned()).collect();
        let tell = shards.clone();
        let number = match setup.settings.number {
            FleetNumber::Fixed(number) => number,
            FleetNumber::None | FleetNumber::FromSource => 0,
        };
        let board =
            Arc::new(Board::new(number, &names, document.board.clone(), move |sub_account| {
                tell.tell(|| Command::News(sub_account.clone()));
            }));
        let shared = Shared {
            plan: Arc::clone(&plan),
            board: Arc::clone(&board),
            budget: Arc::new(Budget::new(&plan.limits)),
            ids: Arc::new(Ids::from(document.next_session, &document.short_ids)),
            memory: Arc::new(Memory::load(&document.notes)),
        };
        let mut threads = Vec::new();
        for (at, queue) in queues.into_iter().enumerate() {
            let shared = shared.clone();
            let counters = shards.counters(at);
            let thread =
                std::thread::Builder::new().name(format!("shard-{at}")).spawn(move || {
                    if let Err(error) = shard::run(shared, count, counters, queue) {
                        tracing::error!(%error, "a shard could not start");
                    }
                })?;
            threads.push(thread);
        }
        let Shared { budget, ids, memory, .. } = shared;
        let upgrades = Upgrades::new(document.upgrades.clone());
        Ok(Self { runtime, plan, shards, threads, board, budget, ids, memory, listening, upgrades })
    }
}
