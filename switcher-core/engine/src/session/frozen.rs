//! A session at rest: plain data and its sockets, taken from one shard and given to another,
//! perhaps in another process image.

use std::borrow::Cow;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use socket2::SockRef;
use switcher_plugin::{
    Coin, HandBack, LegId, ListenerView, Millis, ResumeError, Saved, Seat, SessionId, SessionSeat,
    ShortIds, StratumDialect,
};

use super::io::{LegIo, LegState, SessionIo};
use super::machine::{Machine, SavedMachine};
use super::pipe::Pipe;
use super::{Session, Stage, Turn};
use crate::plan::Plan;
use crate::shard::Shard;
use crate::texts::Texts;

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
    /// Its place among the short ids of its dialect, unless its number is that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    listener: String,
    peer: SocketAddr,
    down: Residue,
    stage: FrozenStage,
    /// Since when it only writes what is left, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ending: Option<(Millis, Option<Box<str>>)>,
    /// What the dialect's state is packed with, if it is. They are written once for all sessions.
    #[serde(skip)]
    texts: Option<Texts>,
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
    #[error("its dialect {0:?} is spoken at no listener any more")]
    Dialect(String),
    #[error(transparent)]
    Resume(#[from] ResumeError),
    #[error("its sockets are incomplete")]
    Sockets,
    #[error("its socket could not be registered: {0}")]
    Io(#[from] io::Error),
}

impl Residue {
    fn of(pipe: &Pipe) -> Self {
        let (rx, tx) = pipe.residue();
        Self { rx: Bytes(rx.to_vec()), tx: Bytes(tx.to_vec()) }
    }
}

impl FrozenSession {
    pub(crate) fn id(&self) -> SessionId {
        self.data.id
    }

    /// The short id it holds besides its number: the form of its dialect's, and the index.
    pub(crate) fn short_id(&self, plan: &Plan) -> Option<(ShortIds, u32)> {
        let dialect = self.data.home(plan).ok()?.dialect?;
        Some((dialect.short_ids(), self.data.index?))
    }

    /// The listener where it goes on; the first if it cannot.
    pub(crate) fn listener(&self, plan: &Plan) -> usize {
        self.data.home(plan).map_or(0, |home| home.listener)
    }
}

impl FrozenData {
    /// A session of another program's, with the machine's legs.
    pub(crate) fn adopted(
        listener: &str,
        peer: SocketAddr,
        dialect: &str,
        machine: SavedMachine,
        index: Option<u32>,
    ) -> Self {
        let legs = machine.legs().iter().map(|leg| (leg.id, Residue::default())).collect();
        let dialect = dialect.to_owned();
        Self {
            id: machine.id(),
            index,
            listener: listener.to_owned(),
            peer,
            down: Residue::default(),
            stage: FrozenStage::Speaking { dialect, machine: Box::new(machine), legs },
            ending: None,
            texts: None,
        }
    }

    /// Packs the dialect's state with these texts.
    pub(crate) fn pack(&mut self, texts: &Texts) {
        if let FrozenStage::Speaking { machine, .. } = &mut self.stage {
            let state = &mut machine.dialect_mut().state;
            *state = texts.pack(state);
        }
        self.texts = Some(texts.clone());
    }

    /// With these texts its state was packed.
    pub(crate) fn packed_with(&mut self, texts: Option<&Texts>) {
        self.texts = texts.cloned();
    }

    /// What another program must know to relay it, the form of its short id, its coin, and the place
    /// of the leg.
    pub(crate) fn hand_back(&self, plan: &Plan) -> Option<(HandBack, ShortIds, Coin, usize)> {
        if self.ending.is_some() {
            return None;
        }
        let home = self.home(plan).ok()?;
        let FrozenStage::Speaking { machine, legs, .. } = &self.stage else { return None };
        let view = plan.listeners.get(home.listener)?.view();
        let dialect = home.dialect?;
        let saved = unpacked(machine, self.texts.as_ref()).ok()?;
        let session = dialect.resume(self.seat(&view), &saved).ok()?;
        let handed = session.hand_back()?;
        let coin = machine.legs().iter().find(|leg| leg.id == handed.leg)?.coin.clone();
        let at = legs.iter().position(|(id, _)| *id == handed.leg)?;
        Some((handed, dialect.short_ids(), coin, at))
    }

    /// Writes what is in flight between the miner and the leg at this place, the part of a line that
    /// was read included: its rest will go the same way. False if a peer does not take all of it.
    pub(crate) fn empty(&mut self, leg: usize, sockets: &[OwnedFd]) -> bool {
        let FrozenStage::Speaking { legs, .. } = &mut self.stage else { return false };
        let (Some(miner), Some(pool)) = (sockets.first(), sockets.get(leg + 1)) else {
            return false;
        };
        let Some((_, up)) = legs.get_mut(leg) else { return false };
        let down = &mut self.down;
        write_all(miner, &mut down.tx)
            && write_all(miner, &mut up.rx)
            && write_all(pool, &mut up.tx)
            && write_all(pool, &mut down.rx)
    }

    /// The seat from which its dialect's session is looked into.
    fn seat<'a>(&self, view: &'a ListenerView) -> Seat<'a> {
        Seat::Miner(SessionSeat {
            session: self.id,
            short_id: 0,
            entropy: [0; 16],
            peer: Some(self.peer.ip()),
            listener: view,
        })
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Sockets that belong to it: one for the miner, one per leg.
    pub(crate) fn sockets(&self) -> usize {
        match &self.stage {
            FrozenStage::Greeting { .. } => 1,
            FrozenStage::Speaking { legs, .. } => 1 + legs.len(),
        }
    }

    /// What the descriptors are for, in the order of the sockets.
    pub(crate) fn roles(&self) -> impl Iterator<Item = String> {
        let legs = match &self.stage {
            FrozenStage::Greeting { .. } => &[][..],
            FrozenStage::Speaking { legs, .. } => legs.as_slice(),
        };
        let id = self.id;
        std::iter::once(format!("miner {id}"))
            .chain(legs.iter().map(move |(leg, _)| format!("leg {} of {id}", leg.0)))
    }

    /// Where it goes on: the listener of its name, or one that speaks its dialect if that is gone.
    fn home(&self, plan: &Plan) -> Result<Home, ThawError> {
        let named = plan.listeners.iter().position(|listener| listener.name == self.listener);
        let FrozenStage::Speaking { dialect: wanted, .. } = &self.stage else {
            return Ok(Home { listener: named.unwrap_or(0), dialect: None });
        };
        let others = 0..plan.listeners.len();
        named
            .into_iter()
            .chain(others)
            .find_map(|listener| {
                let dialects = &plan.listeners.get(listener)?.dialects;
                let dialect = dialects.iter().find(|dialect| dialect.name() == wanted)?;
                Some(Home { listener, dialect: Some(Arc::clone(dialect)) })
            })
            .ok_or_else(|| ThawError::Dialect(wanted.clone()))
    }

    /// Whether it could go on under this plan, found out without its sockets.
    pub(crate) fn rehearse(&self, plan: &Plan, texts: Option<&Texts>) -> Result<(), ThawError> {
        let home = self.home(plan)?;
        let (FrozenStage::Speaking { machine, .. }, Some(dialect)) = (&self.stage, &home.dialect)
        else {
            return Ok(());
        };
        let listener = plan.listeners.get(home.listener).ok_or(ThawError::Sockets)?;
        let view = listener.view();
        dialect.resume(self.seat(&view), &*unpacked(machine, texts)?)?;
        Ok(())
    }

    /// Pools it has legs at.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &str> {
        let legs = match &self.stage {
            FrozenStage::Greeting { .. } => &[][..],
            FrozenStage::Speaking { machine, .. } => machine.legs(),
        };
        legs.iter().map(|leg| leg.pool.as_str())
    }

    /// The listener it came by.
    pub(crate) fn listener(&self) -> &str {
        &self.listener
    }
}

/// Where a frozen session goes on.
struct Home {
    listener: usize,
    dialect: Option<Arc<dyn StratumDialect>>,
}

impl Session {
    /// The session as it is, while it goes on.
    pub(crate) fn sample(&self, plan: &Plan) -> io::Result<FrozenData> {
        let listener = plan.listeners.get(self.io.listener);
        let listener = listener.map(|listener| listener.name.clone()).unwrap_or_default();
        let stage = match &self.stage {
            Stage::Greeting { opened } => FrozenStage::Greeting { opened: *opened },
            Stage::Speaking { machine, dialect } => {
                let saved = machine.save(plan, plan.state_version(&**dialect));
                let residue = |id: LegId| {
                    let leg = self.io.legs.iter().find(|leg| leg.id == id);
                    match leg.map(|leg| &leg.state) {
                        Some(LegState::Up(pipe)) => Ok((id, Residue::of(pipe))),
                        _ => Err(io::Error::other("a leg of the machine has no socket")),
                    }
                };
                let legs = saved.legs().iter().map(|leg| residue(leg.id)).collect::<Result<_, _>>();
                FrozenStage::Speaking {
                    dialect: dialect.name().to_owned(),
                    legs: legs?,
                    machine: Box::new(saved),
                }
            }
        };
        Ok(FrozenData {
            id: self.id,
            index: self.index,
            listener,
            peer: self.io.peer,
            down: Residue::of(&self.io.down),
            stage,
            ending: self.ending.map(|since| (since, self.why.clone())),
            texts: None,
        })
    }

    /// Takes the session apart. Dials in progress are given up; they are made anew.
    pub(crate) fn freeze(self, plan: &Plan, texts: Option<&Texts>) -> io::Result<FrozenSession> {
        let mut data = self.sample(plan)?;
        if let Some(texts) = texts {
            data.pack(texts);
        }
        let mut sockets = vec![self.io.down.into_socket()?];
        let mut pipes = self.io.legs;
        if let FrozenStage::Speaking { legs, .. } = &data.stage {
            for (id, _) in legs {
                let at = pipes.iter().position(|pipe| pipe.id == *id);
                if let Some(LegState::Up(pipe)) = at.map(|at| pipes.swap_remove(at).state) {
                    sockets.push(pipe.into_socket()?);
                }
            }
        }
        Ok(FrozenSession { data, sockets })
    }

    /// Puts the session together again. What was read and not handled is handled at its first
    /// poll; what was queued is written then.
    pub(crate) fn resume(frozen: FrozenSession, shard: &Shard) -> Result<Self, ThawError> {
        let FrozenSession { data, sockets } = frozen;
        let plan = &shard.plan;
        let home = data.home(plan)?;
        let mut sockets = sockets.into_iter();
        let down = put_together(sockets.next(), data.down)?;
        let mut io = SessionIo {
            listener: home.listener,
            peer: data.peer,
            down,
            legs: Vec::new(),
            permits: 0,
        };
        let (ending, why) = match data.ending {
            Some((since, why)) => (Some(since), why),
            None => (None, None),
        };
        let (dialect, saved, legs) = match (data.stage, home.dialect) {
            (FrozenStage::Speaking { machine, legs, .. }, Some(dialect)) => {
                (dialect, machine, legs)
            }
            (FrozenStage::Speaking { dialect, .. }, None) => {
                return Err(ThawError::Dialect(dialect));
            }
            (FrozenStage::Greeting { opened }, _) => {
                let stage = Stage::Greeting { opened };
                return Ok(Self { id: data.id, index: None, stage, io, ending, why });
            }
        };
        let view = shard.listener(home.listener).view();
        let seat = Seat::Miner(SessionSeat {
            session: data.id,
            short_id: shard.short_id(dialect.short_ids(), data.id, data.index),
            entropy: shard.ids.entropy(),
            peer: Some(data.peer.ip()),
            listener: &view,
        });
        let protocol = dialect.resume(seat, &*unpacked(&saved, data.texts.as_ref())?)?;
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
            let state = LegState::Up(pipe);
            io.legs.reserve_exact(1);
            io.legs.push(LegIo { id, pool: leg.pool, state, admitted: false });
        }
        if let Some(pool) = machine.active().and_then(|leg| leg.pool) {
            shard.counters.pool(pool).active.add(1);
        }
        let stage = Stage::Speaking { machine: Box::new(machine), dialect };
        Ok(Self { id: data.id, index: data.index, stage, io, ending, why })
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

/// What the dialect has saved, as it has.
fn unpacked<'a>(
    machine: &'a SavedMachine,
    texts: Option<&Texts>,
) -> Result<Cow<'a, Saved>, ResumeError> {
    let saved = machine.dialect();
    let Some(texts) = texts else { return Ok(Cow::Borrowed(saved)) };
    let incomplete = || ResumeError::Damaged("what it shares with others is missing".to_owned());
    let state = texts.unpack(&saved.state).ok_or_else(incomplete)?;
    Ok(Cow::Owned(Saved { version: saved.version, state }))
}

/// Writes without waiting. True if nothing is left.
fn write_all(socket: &OwnedFd, bytes: &mut Bytes) -> bool {
    while !bytes.0.is_empty() {
        match SockRef::from(socket).send(&bytes.0) {
            Ok(sent) if sent > 0 => drop(bytes.0.drain(..sent.min(bytes.0.len()))),
            _ => return false,
        }
    }
    true
}

fn put_together(socket: Option<OwnedFd>, residue: Residue) -> Result<Pipe, ThawError> {
    let stream = TcpStream::from(socket.ok_or(ThawError::Sockets)?);
    stream.set_nonblocking(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    Ok(Pipe::resume(stream, residue.rx.0, residue.tx.0))
}
