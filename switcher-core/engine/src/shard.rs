//! One core's part of the engine: a thread, its runtime, its sessions, its clockwork.
//!
//! Nothing on the data path is shared with other shards. Commands come by a queue; sessions are
//! told of news by a poke and look for themselves.

mod timers;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use switcher_plugin::{Millis, Outbox, Retry, SessionId, ShortIds, SubAccount};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::admin::view::{PoolShardView, SessionView};
use crate::board::Board;
use crate::budget::Budget;
use crate::clock;
use crate::counters::ShardCounters;
use crate::ids::Ids;
use crate::memory::Memory;
use crate::plan::{ListenerPlan, Plan, PoolId};
use crate::pools::{Caller, Pools};
use crate::session::frozen::{FrozenData, FrozenSession};
use crate::session::pipe::Stock;
use crate::session::{Ended, Session, Turn};
use crate::shard::timers::Timers;
use crate::texts::Texts;

/// Sessions sampled before others get their turn.
const SAMPLED_AT_ONCE: usize = 32;

/// What a shard is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// A miner has connected.
    Accept { stream: std::net::TcpStream, peer: SocketAddr, listener: usize },
    /// A sub-account has news on the board.
    News(SubAccount),
    /// A session that was frozen goes on.
    Resume(Box<FrozenSession>),
    /// End all sessions, spread over this many milliseconds.
    Drain(u64),
    /// Prepare all sessions that another program can relay, say how many they are, and end the
    /// others, spread over this many milliseconds.
    HandBack { over: u64, answer: oneshot::Sender<usize> },
    /// End these sessions: they hold descriptors and their miners are gone.
    Evict(Vec<SocketAddr>),
    /// Say what a freeze would give back, and go on.
    Sample(oneshot::Sender<Vec<FrozenData>>),
    /// Say when all that was said before is done.
    Settle(oneshot::Sender<()>),
    /// Stop and give all sessions back, packed with these texts if there are any.
    Freeze { texts: Option<Texts>, answer: oneshot::Sender<Vec<FrozenSession>> },
    /// A page of the sessions behind this number.
    Sessions { after: u64, limit: usize, answer: oneshot::Sender<Vec<SessionView>> },
    /// How the pools are doing as seen from here.
    PoolHealth(oneshot::Sender<Vec<PoolShardView>>),
}

/// Buffers that are used by one session at a time.
pub(crate) struct Scratch {
    pub(crate) read: Box<[u8]>,
    pub(crate) outbox: Outbox,
    pub(crate) stock: Stock,
}

/// Why a session is polled although no socket is ready. A set of reasons.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Poke(u8);

impl Poke {
    pub(crate) const TIME: u8 = 1;
    pub(crate) const BOARD: u8 = 2;
    pub(crate) const DIAL: u8 = 4;
    pub(crate) const CLOSE: u8 = 8;

    pub(crate) fn any(self) -> bool {
        self.0 != 0
    }

    pub(crate) fn has(self, reason: u8) -> bool {
        self.0 & reason != 0
    }
}

/// A place in the slab.
struct Place {
    id: SessionId,
    session: RefCell<Option<Session>>,
    waker: RefCell<Option<Waker>>,
    poke: Cell<Poke>,
    /// For when a timer is set, [`Millis`] of `u64::MAX` if none is.
    armed: Cell<Millis>,
    sub_account: RefCell<Option<SubAccount>>,
    /// The dial this session was admitted to.
    admission: Cell<Option<Caller>>,
}

/// What shards share with each other.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) plan: Arc<Plan>,
    pub(crate) board: Arc<Board>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) memory: Arc<Memory>,
}

/// See the module.
pub(crate) struct Shard {
    pub(crate) plan: Arc<Plan>,
    pub(crate) board: Arc<Board>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) counters: Arc<ShardCounters>,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) pools: RefCell<Pools>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) memory: Arc<Memory>,
    sessions: RefCell<Slab<Rc<Place>>>,
    by_sub_account: RefCell<HashMap<SubAccount, Vec<usize>>>,
    timers: RefCell<Timers>,
    /// Woken when a timer was set that is due before the clockwork looks again.
    clockwork: tokio::sync::Notify,
    /// Pools whose queue must be looked at again at that time.
    queues: RefCell<Vec<(PoolId, Millis)>>,
}

/// A shard's thread body: runs until it is frozen or all senders are gone.
pub(crate) fn run(
    shared: Shared,
    shards: usize,
    counters: Arc<ShardCounters>,
    commands: mpsc::UnboundedReceiver<Command>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let frame = shared.plan.limits.upstream_frame.max(shared.plan.limits.downstream_frame);
    let this = Rc::new(Shard {
        pools: RefCell::new(Pools::new(&shared.plan, shards)),
        plan: shared.plan,
        board: shared.board,
        budget: shared.budget,
        ids: shared.ids,
        memory: shared.memory,
        counters,
        scratch: RefCell::new(Scratch {
            read: vec![0; frame + 64 * 1024].into_boxed_slice(),
            outbox: Outbox::new(),
            stock: Stock::default(),
        }),
        sessions: RefCell::default(),
        by_sub_account: RefCell::default(),
        timers: RefCell::default(),
        clockwork: tokio::sync::Notify::new(),
        queues: RefCell::default(),
    });
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, this.main(commands));
    Ok(())
}

impl Shard {
    async fn main(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        tokio::task::spawn_local(Rc::clone(&self).keep_time());
        while let Some(command) = commands.recv().await {
            match command {
                Command::Accept { stream, peer, listener } => {
                    self.accept(stream, peer, listener);
                }
                Command::Resume(frozen) => self.resume(*frozen),
                Command::News(sub_account) => self.on_news(&sub_account),
                Command::Drain(over) => self.drain(over),
                Command::HandBack { over, answer } => {
                    let _ = answer.send(self.hand_back(over));
                }
                Command::Evict(peers) => self.evict(&peers),
                Command::Freeze { texts, answer } => {
                    // Newcomers that are still in the queue come along.
                    while let Ok(command) = commands.try_recv() {
                        if let Command::Accept { stream, peer, listener } = command {
                            self.accept(stream, peer, listener);
                        }
                    }
                    let _ = answer.send(self.freeze(texts.as_ref()));
                    return;
                }
                Command::Sample(answer) => {
                    tokio::task::spawn_local(Rc::clone(&self).sample(answer));
                }
                Command::Settle(answer) => {
                    let _ = answer.send(());
                }
                Command::Sessions { after, limit, answer } => {
                    let _ = answer.send(self.views(after, limit));
                }
                Command::PoolHealth(answer) => {
                    let health = self.pools.borrow().health(clock::now());
                    let _ = answer.send(health.into_iter().map(PoolShardView::from).collect());
                }
            }
        }
    }

    fn accept(self: &Rc<Self>, stream: std::net::TcpStream, peer: SocketAddr, listener: usize) {
        match TcpStream::from_std(stream) {
            Ok(stream) => {
                let session = Session::new(self.ids.next_session(), listener, peer, stream);
                self.counters.sessions_opened.add(1);
                self.add(session);
            }
            Err(error) => {
                self.gone();
                tracing::warn!(%error, "a new connection could not be registered");
            }
        }
    }

    fn resume(self: &Rc<Self>, frozen: FrozenSession) {
        let id = frozen.id();
        let short_id = frozen.short_id(&self.plan);
        match Session::resume(frozen, self) {
            Ok(session) => {
                self.counters.sessions_resumed.add(1);
                self.add(session);
            }
            Err(error) => {
                self.gone();
                self.ids.release(id);
                if let Some((form, index)) = short_id {
                    self.ids.release_index(form, index);
                }
                tracing::error!(session = %id, %error, "session could not be resumed");
            }
        }
    }

    /// A session's place is free again.
    fn gone(&self) {
        self.budget.remove_session();
        self.counters.load.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn add(self: &Rc<Self>, session: Session) {
        let sub_account = session.machine().and_then(|machine| machine.who());
        let sub_account = sub_account.map(|who| who.sub_account.clone());
        let cell = Rc::new(Place {
            id: session.id(),
            session: RefCell::new(Some(session)),
            waker: RefCell::new(None),
            poke: Cell::new(Poke(Poke::TIME | Poke::BOARD | Poke::DIAL)),
            armed: Cell::new(Millis(u64::MAX)),
            sub_account: RefCell::new(None),
            admission: Cell::new(None),
        });
        let key = self.sessions.borrow_mut().insert(Rc::clone(&cell));
        if let Some(sub_account) = sub_account {
            self.remember(&sub_account, key);
        }
        let shard = Rc::clone(self);
        tokio::task::spawn_local(poll_fn(move |cx| shard.poll_session(cx, key, &cell)));
    }

    fn poll_session(&self, cx: &mut Context<'_>, key: usize, cell: &Place) -> Poll<()> {
        let mut place = cell.session.borrow_mut();
        let Some(session) = place.as_mut() else { return Poll::Ready(()) };
        let known = cell.waker.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !known {
            *cell.waker.borrow_mut() = Some(cx.waker().clone());
        }
        match session.poll(cx, self, key, cell.poke.take()) {
            Poll::Pending => {
                let now = clock::now();
                self.arm(key, cell, session.next_deadline(now, self));
                Poll::Pending
            }
            Poll::Ready(Ended { why }) => {
                tracing::debug!(session = %cell.id, %why, "session ended");
                session.release(self, key);
                *place = None;
                self.sessions.borrow_mut().remove(key);
                self.ids.release(cell.id);
                self.counters.sessions_closed.add(1);
                self.gone();
                Poll::Ready(())
            }
        }
    }

    fn on_news(&self, sub_account: &SubAccount) {
        if let Some(keys) = self.by_sub_account.borrow().get(sub_account) {
            for &key in keys {
                self.poke(key, Poke::BOARD);
            }
        }
    }

    fn drain(self: &Rc<Self>, over: u64) {
        let keys = self.sessions.borrow().iter().map(|(key, cell)| (key, cell.id)).collect();
        self.end(keys, over);
    }

    fn hand_back(self: &Rc<Self>, over: u64) -> usize {
        let cells: Vec<_> =
            self.sessions.borrow().iter().map(|(key, cell)| (key, Rc::clone(cell))).collect();
        let (mut kept, mut others) = (0, Vec::new());
        for (key, cell) in cells {
            let mut scratch = self.scratch.borrow_mut();
            let mut turn = Turn { now: clock::now(), shard: self, key, scratch: &mut scratch };
            let mut session = cell.session.borrow_mut();
            if session.as_mut().is_some_and(|session| session.hand_back(&mut turn)) {
                kept += 1;
                wake(&cell, Poke::TIME);
            } else {
                others.push((key, cell.id));
            }
        }
        self.end(others, over);
        kept
    }

    /// Ends these sessions one by one.
    fn end(self: &Rc<Self>, keys: Vec<(usize, SessionId)>, over: u64) {
        let count = keys.len().max(1) as u64;
        let shard = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let begin = tokio::time::Instant::now();
            for (at, (key, id)) in (0_u64..).zip(keys) {
                let pause = std::time::Duration::from_millis(over * at / count);
                tokio::time::sleep_until(begin + pause).await;
                shard.poke_if(key, id, Poke::CLOSE);
            }
        });
    }

    fn evict(&self, peers: &[SocketAddr]) {
        let sessions = self.sessions.borrow();
        for (_, cell) in sessions.iter() {
            let is_meant = cell
                .session
                .borrow()
                .as_ref()
                .is_some_and(|session| peers.contains(&session.peer()));
            if is_meant {
                wake(cell, Poke::CLOSE);
            }
        }
    }

    fn freeze(&self, texts: Option<&Texts>) -> Vec<FrozenSession> {
        let sessions = std::mem::take(&mut *self.sessions.borrow_mut());
        let mut frozen = Vec::with_capacity(sessions.len());
        for (_, cell) in sessions {
            let Some(session) = cell.session.borrow_mut().take() else { continue };
            let id = session.id();
            match session.freeze(&self.plan, texts) {
                Ok(session) => frozen.push(session),
                Err(error) => {
                    tracing::error!(session = %id, %error, "session could not be frozen");
                }
            }
        }
        frozen
    }

    /// Takes its time: miners are served meanwhile.
    async fn sample(self: Rc<Self>, answer: oneshot::Sender<Vec<FrozenData>>) {
        let cells: Vec<_> =
            self.sessions.borrow().iter().map(|(_, cell)| Rc::clone(cell)).collect();
        let sample = |cell: &Rc<Place>| {
            // One that cannot be sampled at this moment is between two states of a leg.
            cell.session.borrow().as_ref()?.sample(&self.plan).ok()
        };
        let mut sampled = Vec::with_capacity(cells.len());
        for part in cells.chunks(SAMPLED_AT_ONCE) {
            sampled.extend(part.iter().filter_map(sample));
            tokio::task::yield_now().await;
        }
        let _ = answer.send(sampled);
    }

    fn views(&self, after: u64, limit: usize) -> Vec<SessionView> {
        let sessions = self.sessions.borrow();
        let mut cells: Vec<&Rc<Place>> =
            sessions.iter().map(|(_, cell)| cell).filter(|cell| cell.id.0 > after).collect();
        cells.sort_unstable_by_key(|cell| cell.id);
        cells.truncate(limit);
        let view = |cell: &Rc<Place>| {
            let session = cell.session.borrow();
            session.as_ref().map(|session| SessionView::of(session, self))
        };
        cells.into_iter().filter_map(view).collect()
    }

    /// A session of this shard has this sub-account.
    pub(crate) fn remember(&self, sub_account: &SubAccount, key: usize) {
        self.by_sub_account.borrow_mut().entry(sub_account.clone()).or_default().push(key);
        if let Some(cell) = self.sessions.borrow().get(key) {
            *cell.sub_account.borrow_mut() = Some(sub_account.clone());
        }
    }

    /// … and no longer.
    pub(crate) fn forget(&self, sub_account: &SubAccount, key: usize) {
        if let Some(cell) = self.sessions.borrow().get(key) {
            *cell.sub_account.borrow_mut() = None;
        }
        let mut index = self.by_sub_account.borrow_mut();
        if let Some(keys) = index.get_mut(sub_account)
            && let Some(at) = keys.iter().position(|&known| known == key)
        {
            keys.swap_remove(at);
            if keys.is_empty() {
                index.remove(sub_account);
            }
            self.board.release(sub_account);
        }
    }

    pub(crate) fn sub_account_of(&self, key: usize) -> Option<SubAccount> {
        self.sessions.borrow().get(key)?.sub_account.borrow().clone()
    }

    pub(crate) fn listener(&self, at: usize) -> &ListenerPlan {
        self.plan.listeners.get(at).expect("sessions come by the plan's listeners")
    }

    /// What BTCPool's sserver knows a session by.
    pub(crate) fn short_id(&self, form: ShortIds, id: SessionId, index: Option<u32>) -> u32 {
        Ids::short(self.board.server_id(), form, id, index)
    }

    /// Lets the next in a pool's queue dial.
    pub(crate) fn admit(&self, pool: PoolId) {
        let now = clock::now();
        let (admitted, again) = self.pools.borrow_mut().admit(&self.plan, pool, now);
        for caller in admitted {
            let (key, id, _) = caller;
            let sessions = self.sessions.borrow();
            let cell = sessions.get(key).filter(|cell| cell.id == id);
            if let Some(cell) = cell {
                cell.admission.set(Some(caller));
                wake(cell, Poke::DIAL);
            }
        }
        if let Some(at) = again {
            let mut queues = self.queues.borrow_mut();
            if !queues.iter().any(|(queued, _)| *queued == pool) {
                queues.push((pool, at));
                self.clockwork.notify_one();
            }
        }
    }

    /// Whether this dial's turn has come; true once.
    pub(crate) fn take_admission(&self, caller: Caller) -> bool {
        let sessions = self.sessions.borrow();
        let Some(cell) = sessions.get(caller.0) else { return false };
        if cell.admission.get() == Some(caller) {
            cell.admission.set(None);
            return true;
        }
        false
    }

    pub(crate) fn dial_failed(&self, pool: PoolId, why: &str) {
        self.counters.pool(pool).dial_failures.add(1);
        if self.pools.borrow_mut().failed(pool, clock::now()) {
            let name = &self.plan.pool(pool).name;
            tracing::warn!(pool = name.as_str(), why, "pool is down");
        }
    }

    /// The pool takes miners but does not serve them.
    pub(crate) fn pool_unserviceable(&self, pool: PoolId, why: &str) {
        let pause = clock::millis(self.plan.timing.retry_max);
        self.pools.borrow_mut().keep_away(pool, clock::now(), pause);
        tracing::warn!(pool = self.plan.pool(pool).name.as_str(), why, "pool does not serve");
    }

    pub(crate) fn pool_succeeded(&self, pool: PoolId, sub_account: Option<&SubAccount>) {
        self.pools.borrow_mut().succeeded(pool, sub_account);
    }

    pub(crate) fn pool_refused(
        &self,
        pool: PoolId,
        retry: Retry,
        why: &str,
        sub_account: Option<&SubAccount>,
        now: Millis,
    ) {
        let name = self.plan.pool(pool).name.as_str();
        match retry {
            Retry::Later => self.dial_failed(pool, why),
            Retry::User | Retry::Login => {
                tracing::warn!(pool = name, why, "pool refuses a user");
                let longest = clock::millis(self.plan.timing.retry_max);
                if let (Retry::User, Some(sub_account)) = (retry, sub_account) {
                    self.pools.borrow_mut().refused(pool, sub_account, now, longest);
                }
            }
            Retry::NextForm => {}
            Retry::Permanent => tracing::warn!(pool = name, why, "pool cannot serve a session"),
        }
    }

    pub(crate) fn learnt(&self, pool: PoolId, fact: &str) {
        if self.plan.learn(pool, fact) {
            tracing::info!(pool = self.plan.pool(pool).name.as_str(), fact, "learnt about a pool");
        }
    }

    fn poke(&self, key: usize, reason: u8) {
        if let Some(cell) = self.sessions.borrow().get(key) {
            wake(cell, reason);
        }
    }

    fn poke_if(&self, key: usize, id: SessionId, reason: u8) {
        if let Some(cell) = self.sessions.borrow().get(key).filter(|cell| cell.id == id) {
            wake(cell, reason);
        }
    }
}

fn wake(cell: &Place, reason: u8) {
    cell.poke.set(Poke(cell.poke.get().0 | reason));
    if let Some(waker) = &*cell.waker.borrow() {
        waker.wake_by_ref();
    }
}
