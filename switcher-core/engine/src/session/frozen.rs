//! A session at rest: plain data and its sockets, taken from one shard and given to another,
//! perhaps in another process image.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use switcher_plugin::{LegId, Millis, ResumeError, Seat, SessionId, SessionSeat};

use super::io::{LegIo, LegState, SessionIo};
use super::machine::{Machine, SavedMachine};
use super::pipe::Pipe;
use super::{Session, Stage, Turn};
use crate::plan::Plan;
use crate::shard::Shard;

/// Bytes that are text almost always, but need not be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) struct Bytes(Vec<u8>);

impl From<String> for Bytes {
    fn from(text: String) -> Self {
        Self(STANDARD_NO_PAD.decode(text).unwrap_or_default())
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        STANDARD_NO_PAD.encode(bytes.0)
    }
}

/// The bytes in flight on one side: read and not handled, queued and not written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Residue {
    rx: Bytes,
    tx: Bytes,
}

/// The data of a frozen session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FrozenData {
    id: SessionId,
    listener: String,
    peer: SocketAddr,
    down: Residue,
    stage: FrozenStage,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FrozenStage {
    Greeting { opened: Millis },
    Speaking { dialect: String, machine: Box<SavedMachine>, legs: Vec<(LegId, Residue)> },
}

/// A frozen session with its sockets: the miner's, then one for each saved leg, in order.
#[derive(Debug)]
pub(crate) struct FrozenSession {
    pub(crate) data: FrozenData,
    pub(crate) sockets: Vec<OwnedFd>,
}

/// Why a frozen session cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ThawError {
    #[error("its listener {0:?} is no longer configured")]
    Listener(String),
    #[error("its dialect {0:?} is no longer enabled")]
    Dialect(String),
    #[error(transparent)]
    Resume(#[from] ResumeError),
    #[error("its sockets are incomplete")]
    Sockets,
    #[error("its socket could not be registered: {0}")]
    Io(#[from] io::Error),
}

impl FrozenSession {
    pub(crate) fn id(&self) -> SessionId {
        self.data.id
    }
}

impl FrozenData {
    /// Sockets that belong to it: one for the miner, one per leg.
    pub(crate) fn sockets(&self) -> usize {
        match &self.stage {
            FrozenStage::Greeting { .. } => 1,
            FrozenStage::Speaking { legs, .. } => 1 + legs.len(),
        }
    }
}

impl Session {
    /// Takes the session apart. Dials in progress are given up; they are made anew.
    pub(crate) fn freeze(self, plan: &Plan) -> io::Result<FrozenSession> {
        let listener = plan.listeners.get(self.io.listener);
        let listener = listener.map(|listener| listener.name.clone()).unwrap_or_default();
        let (socket, down) = take_apart(self.io.down)?;
        let mut sockets = vec![socket];
        let stage = match self.stage {
            Stage::Greeting { opened } => FrozenStage::Greeting { opened },
            Stage::Speaking { machine, dialect } => {
                let mut pipes: Vec<_> = self.io.legs;
                let saved = machine.save(plan, *dialect.state_versions().end());
                let mut legs = Vec::new();
                for leg in saved.legs() {
                    let at = pipes.iter().position(|pipe| pipe.id == leg.id && pipe.is_up());
                    let Some(LegState::Up(pipe)) = at.map(|at| pipes.swap_remove(at).state) else {
                        return Err(io::Error::other("a leg of the machine has no socket"));
                    };
                    let (socket, residue) = take_apart(pipe)?;
                    sockets.push(socket);
                    legs.push((leg.id, residue));
                }
                FrozenStage::Speaking {
                    dialect: dialect.name().to_owned(),
                    machine: Box::new(saved),
                    legs,
                }
            }
        };
        let data = FrozenData { id: self.id, listener, peer: self.io.peer, down, stage };
        Ok(FrozenSession { data, sockets })
    }

    /// Puts the session together again. What was read and not handled is handled at its first
    /// poll; what was queued is written then.
    pub(crate) fn resume(frozen: FrozenSession, shard: &Shard) -> Result<Self, ThawError> {
        let FrozenSession { data, sockets } = frozen;
        let plan = &shard.plan;
        let listener = plan
            .listeners
            .iter()
            .position(|listener| listener.name == data.listener)
            .ok_or(ThawError::Listener(data.listener))?;
        let mut sockets = sockets.into_iter();
        let down = put_together(sockets.next(), data.down)?;
        let mut io = SessionIo { listener, peer: data.peer, down, legs: Vec::new(), permits: 0 };
        let (dialect, saved, legs) = match data.stage {
            FrozenStage::Greeting { opened } => {
                let stage = Stage::Greeting { opened };
                return Ok(Self { id: data.id, stage, io, ending: None, why: None });
            }
            FrozenStage::Speaking { dialect, machine, legs } => (dialect, machine, legs),
        };
        let listener = shard.listener(listener);
        let dialect = listener
            .dialects
            .iter()
            .find(|known| known.name() == dialect)
            .cloned()
            .ok_or(ThawError::Dialect(dialect))?;
        let view = listener.view();
        let seat = Seat::Miner(SessionSeat {
            session: data.id,
            short_id: shard.short_id(data.id),
            entropy: shard.entropy(),
            peer: Some(data.peer.ip()),
            listener: &view,
        });
        let protocol = dialect.resume(seat, saved.dialect())?;
        let standing = saved
            .who()
            .map(|(sub_account, worker)| shard.board.acquire(sub_account, data.id, worker));
        let machine = Machine::resume(*saved, protocol, standing, plan);
        for ((id, residue), leg) in legs.into_iter().zip(machine.legs()) {
            let pipe = put_together(sockets.next(), residue)?;
            if !io.legs.is_empty() {
                shard.budget.force_leg();
                io.permits += 1;
            }
            if let Some(pool) = leg.pool {
                shard.counters.pool(pool).legs.add(1);
            }
            io.legs.reserve_exact(1);
            io.legs.push(LegIo { id, pool: leg.pool, state: LegState::Up(pipe), admitted: false });
        }
        if let Some(pool) = machine.active().and_then(|leg| leg.pool) {
            shard.counters.pool(pool).active.add(1);
        }
        let stage = Stage::Speaking { machine: Box::new(machine), dialect };
        Ok(Self { id: data.id, stage, io, ending: None, why: None })
    }

    /// Legs whose pool is no longer configured cannot be served on.
    pub(crate) fn lose_unknown_legs(&mut self, turn: &mut Turn<'_>) {
        let unknown: Vec<_> =
            self.io.legs.iter().filter(|leg| leg.is_up() && leg.pool.is_none()).collect();
        let unknown: Vec<_> = unknown.into_iter().map(|leg| leg.id).collect();
        for leg in unknown {
            self.lose_leg(leg, "its pool is no longer configured", turn);
        }
    }
}

fn take_apart(pipe: Pipe) -> io::Result<(OwnedFd, Residue)> {
    let (socket, rx, tx) = pipe.freeze()?;
    Ok((socket.into(), Residue { rx: Bytes(rx), tx: Bytes(tx) }))
}

fn put_together(socket: Option<OwnedFd>, residue: Residue) -> Result<Pipe, ThawError> {
    let stream = TcpStream::from(socket.ok_or(ThawError::Sockets)?);
    stream.set_nonblocking(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    Ok(Pipe::resume(stream, residue.rx.0, residue.tx.0))
}
