//! The sockets of a session: the machine's [`Host`], and dialling.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use switcher_plugin::{LegId, Millis, SessionId, Side, SubAccount, WorkerName};
use tokio::net::{TcpSocket, TcpStream};

use super::machine::{Blame, DialError, DialWish, Event, Host, Note};
use super::pipe::{Pipe, Stock};
use super::{Turn, count_event, try_later};
use crate::board::Standing;
use crate::clock::millis;
use crate::plan::PoolId;
use crate::shard::Shard;

/// The sockets of a session.
#[derive(Debug)]
pub(crate) struct SessionIo {
    pub(crate) listener: usize,
    pub(crate) peer: SocketAddr,
    pub(crate) down: Pipe,
    pub(crate) legs: Vec<LegIo>,
    /// Descriptor permits held for legs beyond the session's own one, whichever that is.
    pub(crate) permits: usize,
}

/// The socket of a leg, and what it holds of the shard's.
#[derive(Debug)]
pub(crate) struct LegIo {
    pub(crate) id: LegId,
    pub(crate) pool: Option<PoolId>,
    pub(crate) state: LegState,
    /// It holds a place among the pool's legs in flight.
    pub(crate) admitted: bool,
}

pub(crate) enum LegState {
    /// The dial came to nothing; the machine is told at the next turn.
    Failed(DialError),
    /// Waits for its turn to dial.
    Queued,
    /// Connects.
    Dialling { connect: Connect, deadline: Millis },
    /// Connected.
    Up(Pipe),
}

type Connect = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

impl std::fmt::Debug for LegState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Failed(_) => "Failed",
            Self::Queued => "Queued",
            Self::Dialling { .. } => "Dialling",
            Self::Up(_) => "Up",
        })
    }
}

impl LegIo {
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, LegState::Up(_))
    }

    pub(crate) fn pipe(&mut self) -> Option<&mut Pipe> {
        match &mut self.state {
            LegState::Up(pipe) => Some(pipe),
            _ => None,
        }
    }

    pub(crate) fn unsent(&self) -> usize {
        match &self.state {
            LegState::Up(pipe) => pipe.unsent(),
            _ => 0,
        }
    }
}

impl SessionIo {
    pub(crate) fn pipe(&mut self, side: Side) -> Option<&mut Pipe> {
        match side {
            Side::Downstream => Some(&mut self.down),
            Side::Upstream(id) => self.legs.iter_mut().find(|leg| leg.id == id)?.pipe(),
        }
    }

    pub(crate) fn is_open(&self, side: Side) -> bool {
        match side {
            Side::Downstream => true,
            Side::Upstream(id) => self.legs.iter().any(|leg| leg.id == id && leg.is_up()),
        }
    }

    /// Legs whose turn has come begin to connect.
    pub(crate) fn start_dials(&mut self, session: SessionId, turn: &mut Turn<'_>) {
        for leg in &mut self.legs {
            let Some(pool) = leg.pool.filter(|_| matches!(leg.state, LegState::Queued)) else {
                continue;
            };
            let caller = (turn.key, session, leg.id);
            if !turn.shard.take_admission(caller) {
                continue;
            }
            leg.admitted = true;
            turn.shard.counters.pool(pool).dials.add(1);
            let address = turn.shard.pools.borrow_mut().address(&turn.shard.plan, pool);
            let timing = &turn.shard.plan.timing;
            leg.state = match address.map(|address| connect(address, timing.user_timeout)) {
                Some(Ok(connect)) => {
                    LegState::Dialling { connect, deadline: turn.now.plus(millis(timing.dial)) }
                }
                Some(Err(error)) => {
                    turn.shard.dial_failed(pool, &error.to_string());
                    LegState::Failed(DialError::Pool)
                }
                None => {
                    turn.shard.dial_failed(pool, "its name does not resolve");
                    LegState::Failed(DialError::Pool)
                }
            };
        }
    }

    /// The next dial that came to an end, with its pool or the error. The leg of an error is gone.
    pub(crate) fn poll_dial(
        &mut self,
        cx: &mut Context<'_>,
        session: SessionId,
        turn: &mut Turn<'_>,
    ) -> Option<(LegId, Result<PoolId, DialError>)> {
        self.start_dials(session, turn);
        for at in 0..self.legs.len() {
            let leg = self.legs.get_mut(at)?;
            let id = leg.id;
            let error = match &mut leg.state {
                LegState::Queued | LegState::Up(_) => continue,
                LegState::Failed(error) => error.clone(),
                LegState::Dialling { connect, deadline } => match connect.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => {
                        let pool = leg.pool?;
                        turn.shard.counters.pool(pool).legs.add(1);
                        leg.state = LegState::Up(Pipe::new(stream));
                        return Some((id, Ok(pool)));
                    }
                    Poll::Ready(Err(error)) => dial_error(leg.pool, &error.to_string(), turn),
                    Poll::Pending if turn.now >= *deadline => {
                        dial_error(leg.pool, "no answer in time", turn)
                    }
                    Poll::Pending => continue,
                },
            };
            self.drop_leg(id, false, session, turn.shard, turn.key);
            return Some((id, Err(error)));
        }
        None
    }

    /// Closes the socket of a leg, if there is one, and gives back what it holds. With a reset,
    /// which is right only if nothing is unanswered, the local port is free again at once.
    pub(crate) fn drop_leg(
        &mut self,
        id: LegId,
        reset: bool,
        session: SessionId,
        shard: &Shard,
        key: usize,
    ) {
        let Some(at) = self.legs.iter().position(|leg| leg.id == id) else { return };
        let leg = self.legs.remove(at);
        self.legs.shrink_to_fit();
        leg.leave(shard, key, session);
        if let LegState::Up(pipe) = &leg.state {
            if let Some(pool) = leg.pool {
                shard.counters.pool(pool).legs.sub(1);
            }
            if reset && pipe.unsent() == 0 {
                pipe.reset_on_close();
            }
        }
        while self.permits > self.legs.len().saturating_sub(1) {
            self.permits -= 1;
            shard.budget.return_leg();
        }
    }
}

impl LegIo {
    /// Gives back the place among the pool's legs in flight and the permit.
    fn leave(&self, shard: &Shard, key: usize, session: SessionId) {
        if let Some(pool) = self.pool {
            let in_flight = self.admitted || matches!(self.state, LegState::Queued);
            if in_flight {
                shard.pools.borrow_mut().leave(pool, (key, session, self.id), self.admitted);
                shard.admit(pool);
            }
        }
    }
}

fn dial_error(pool: Option<PoolId>, why: &str, turn: &Turn<'_>) -> DialError {
    if let Some(pool) = pool {
        turn.shard.dial_failed(pool, why);
    }
    DialError::Pool
}

fn connect(address: SocketAddr, user_timeout: Duration) -> io::Result<Connect> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    tune(&SockRef::from(&socket), user_timeout)?;
    Ok(Box::pin(socket.connect(address)))
}

/// Options of every socket, either side: no delay, and a dead peer is found within the timeout.
pub(crate) fn tune(socket: &SockRef<'_>, user_timeout: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(user_timeout / 3)
        .with_interval(user_timeout / 9)
        .with_retries(6);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(user_timeout))
}

/// The outside of a machine that serves a real miner.
pub(super) struct IoHost<'a> {
    pub(super) io: &'a mut SessionIo,
    pub(super) shard: &'a Shard,
    pub(super) key: usize,
    pub(super) id: SessionId,
    pub(super) now: Millis,
    pub(super) stock: &'a mut Stock,
}

impl IoHost<'_> {
    fn sub_account(&self) -> Option<SubAccount> {
        self.shard.sub_account_of(self.key)
    }
}

impl Host for IoHost<'_> {
    fn write(&mut self, to: Side, bytes: &[u8]) {
        if let Some(pipe) = self.io.pipe(to) {
            pipe.queue(bytes, self.stock);
        }
    }

    fn dial(&mut self, leg: LegId, wish: &DialWish<'_>) {
        let extra = wish.extra;
        let mut new = LegIo { id: leg, pool: None, state: LegState::Queued, admitted: false };
        if extra && !self.shard.budget.take_leg() {
            new.state = LegState::Failed(try_later(self.now));
        } else {
            self.io.permits += usize::from(extra);
            let caller = (self.key, self.id, leg);
            let sub_account = self.sub_account();
            let mut pools = self.shard.pools.borrow_mut();
            match pools.choose(&self.shard.plan, wish, sub_account.as_ref(), caller, self.now) {
                Ok(pool) => {
                    new.pool = Some(pool);
                    pools.queue(pool, caller);
                }
                Err(error) => new.state = LegState::Failed(error),
            }
        }
        let pool = new.pool;
        // As in the machine: room for one, not for four.
        self.io.legs.reserve_exact(1);
        self.io.legs.push(new);
        if let Some(pool) = pool {
            self.shard.admit(pool);
        }
    }

    fn close_leg(&mut self, leg: LegId, answered: bool) {
        self.io.drop_leg(leg, answered, self.id, self.shard, self.key);
    }

    fn identify(&mut self, sub_account: &SubAccount, worker: &WorkerName) -> Standing {
        self.shard.remember(sub_account, self.key);
        self.shard.board.acquire(sub_account, self.id, worker)
    }

    fn forget(&mut self, sub_account: &SubAccount) {
        self.shard.forget(sub_account, self.key);
    }

    fn remember(&mut self, key: &str, note: Note) {
        let forgotten = self.shard.memory.remember(key, note, self.now);
        self.shard.counters.notes_kept.add(1);
        self.shard.counters.notes_forgotten.add(forgotten);
    }

    fn recall(&mut self, key: &str) -> Option<Note> {
        let (note, forgotten) = self.shard.memory.recall(key, self.now);
        self.shard.counters.notes_recalled.add(u64::from(note.is_some()));
        self.shard.counters.notes_forgotten.add(forgotten);
        note
    }

    fn better_pool(&mut self, than: PoolId) -> bool {
        self.shard.pools.borrow_mut().has_better(&self.shard.plan, than, self.now)
    }

    fn descriptors_short(&self) -> bool {
        self.shard.budget.is_short()
    }

    fn tell(&mut self, event: Event<'_>) {
        count_event(self.shard, &event);
        let plan = &self.shard.plan;
        match event {
            Event::LegReady(pool) => {
                self.shard.pool_succeeded(pool, self.sub_account().as_ref());
                for leg in &mut self.io.legs {
                    if leg.pool == Some(pool) && leg.admitted {
                        leg.leave_flight(self.shard, self.key, self.id);
                    }
                }
            }
            Event::LegRefused(pool, retry, why) => {
                self.shard.pool_refused(pool, retry, why, self.sub_account().as_ref(), self.now);
            }
            Event::LegLost(pool, blame, why) => {
                match blame {
                    Blame::Handshake => self.shard.dial_failed(pool, why),
                    Blame::Nothing => {}
                    Blame::Service => self.shard.pool_unserviceable(pool, why),
                }
                tracing::debug!(session = %self.id, pool = plan.pool(pool).name, why, "leg lost");
            }
            Event::Learnt(pool, fact) => self.shard.learnt(pool, fact),
            Event::CannotMove(why) => {
                tracing::warn!(session = %self.id, why, "session cannot follow its assignment");
            }
            Event::CutOver { from: Some((_, before)), pool, coin, rung, took }
                if before != coin =>
            {
                tracing::info!(
                    session = %self.id,
                    from = before.as_str(),
                    coin = coin.as_str(),
                    pool = plan.pool(pool).name,
                    rung = rung.label(),
                    took_ms = took,
                    "switched"
                );
            }
            Event::CutOver { pool, coin, rung, took, .. } => tracing::debug!(
                session = %self.id,
                coin = coin.as_str(),
                pool = plan.pool(pool).name,
                rung = rung.label(),
                took_ms = took,
                "cut over"
            ),
            Event::SentBack { pool, coin, rung, times } => tracing::info!(
                session = %self.id,
                coin = coin.as_str(),
                pool = plan.pool(pool).name,
                rung = rung.label(),
                times,
                "miner sent back"
            ),
            Event::Refused(refusal) => {
                tracing::debug!(session = %self.id, why = refusal.label(), "miner turned away");
            }
            Event::Disregarded(fault) => {
                tracing::debug!(session = %self.id, %fault, "frame disregarded");
            }
            Event::PluginFailed(what) => {
                tracing::error!(session = %self.id, what, "dialect has failed");
            }
            Event::Job(_) | Event::Share { .. } | Event::Submitted(_) => {}
        }
    }
}

impl LegIo {
    fn leave_flight(&mut self, shard: &Shard, key: usize, session: SessionId) {
        if let Some(pool) = self.pool {
            self.admitted = false;
            shard.pools.borrow_mut().leave(pool, (key, session, self.id), true);
            shard.admit(pool);
        }
    }
}
