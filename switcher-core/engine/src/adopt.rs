//! Sessions of another program that has left its sockets to this process, as a state to start from,
//! and the way back: what such a program must be told to carry sessions on.
//!
//! What the streams look like is the dialect's business, see `StratumDialect::adopt`; here stands
//! which pool, which listener and which number belong to a session. Behind that an adopted session
//! goes the way of every frozen one.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::os::fd::OwnedFd;

use socket2::SockRef;
use switcher_plugin::{Coin, HandBack, LegId, Past, Seat, SessionSeat, StratumDialect};

use crate::clock;
use crate::ids::Ids;
use crate::plan::{Plan, PoolId};
use crate::session::frozen::{FrozenData, FrozenSession};
use crate::session::machine::{Foundling, SavedMachine};
use crate::session::tune;
use crate::state::State;
use crate::switcher::{RunError, Setup};

/// The leg of an adopted session.
const LEG: LegId = LegId(1);

/// The bits of a short id that are the index, or hold it.
const INDEX: u32 = 0x00ff_ffff;

/// A session of another program.
#[derive(Debug)]
pub struct Foreign {
    /// The id that the miner was told.
    pub short_id: u32,
    /// What it mines.
    pub coin: Coin,
    /// The miner's request to subscribe, JSON text.
    pub subscribe: String,
    /// The miner's request to log in, JSON text.
    pub authorize: String,
    /// The version bits that the miner wants to roll.
    pub version_mask: u32,
    /// The miner's socket.
    pub miner: OwnedFd,
    /// Its pool's.
    pub pool: OwnedFd,
}

/// What became of another program's sessions.
#[derive(Debug, Default)]
pub struct Adoption {
    /// Those that go on.
    pub state: State,
    /// Those whose sockets were closed, by their short ids, and why.
    pub refused: Vec<(u32, String)>,
}

/// A session that another program can carry on.
#[derive(Debug)]
pub struct Returned {
    /// What the dialect says about it.
    pub session: HandBack,
    /// What it mines.
    pub coin: Coin,
    /// The number of the switcher in its short id.
    pub server_id: u8,
    /// The place of the miner's socket in the state.
    pub miner: usize,
    /// The place of its pool's.
    pub pool: usize,
}

/// Makes a state of what another program has left. A session that cannot go on harms no other.
///
/// # Errors
///
/// The settings contradict themselves or the plug-ins. The sockets are closed.
pub fn adopt(setup: &Setup, sessions: Vec<Foreign>) -> Result<Adoption, RunError> {
    let plan = Plan::new(&setup.settings, &setup.dialects).map_err(RunError::Settings)?;
    let ids = Ids::from(0, &[]);
    let mut adoption = Adoption::default();
    let mut seen = BTreeSet::new();
    for session in sessions {
        let short_id = session.short_id;
        let frozen = if seen.insert(short_id & INDEX) {
            adopt_one(&plan, &ids, session)
        } else {
            Err("its id is named twice".to_owned())
        };
        match frozen {
            Ok(frozen) => {
                let next = &mut adoption.state.document.next_session;
                *next = (*next).max(frozen.id().0 + 1);
                adoption.state.push_session(frozen);
            }
            Err(why) => adoption.refused.push((short_id, why)),
        }
    }
    adoption.state.document.short_ids = ids.cursors();
    Ok(adoption)
}

fn adopt_one(plan: &Plan, ids: &Ids, session: Foreign) -> Result<FrozenSession, String> {
    let Foreign { short_id, coin, subscribe, authorize, version_mask, miner, pool } = session;
    let (miner, pool) = (connection(miner, "miner")?, connection(pool, "pool")?);
    let peer = miner.peer_addr().map_err(|_| "its miner has gone".to_owned())?;
    let pool_peer = pool.peer_addr().map_err(|_| "its pool has gone".to_owned())?;
    let port = miner.local_addr().map_err(|error| error.to_string())?.port();
    for socket in [&miner, &pool] {
        // Of the greatest use, but the session can do without.
        let _ = tune(&SockRef::from(socket), plan.timing.user_timeout);
    }
    let pool_id = pool_of(plan, &coin, pool_peer)
        .ok_or_else(|| format!("its coin {coin} is not configured"))?;
    let (listener, dialect) =
        home(plan, pool_id, port).ok_or_else(|| "no listener speaks its dialect".to_owned())?;
    let now = clock::now();
    let (id, index) = ids.of_short(dialect.short_ids(), short_id);
    let entropy = ids.entropy();
    let view = listener.view();
    let seat =
        SessionSeat { session: id, short_id, entropy, peer: Some(peer.ip()), listener: &view };
    let past = Past {
        now,
        leg: LEG,
        profile: &plan.pool(pool_id).profile,
        coin: &coin,
        subscribe: &subscribe,
        authorize: &authorize,
        version_mask,
    };
    let adopted = dialect.adopt(Seat::Miner(seat), &past).map_err(|error| error.to_string())?;
    let machine = SavedMachine::adopted(Foundling {
        id,
        now,
        family: dialect.family(),
        coin: coin.clone(),
        leg: LEG,
        pool: &plan.pool(pool_id).name,
        dialect: adopted.session.save(*dialect.state_versions().end()),
        rung: adopted.rung,
        who: (adopted.sub_account, adopted.worker),
    });
    let data = FrozenData::adopted(&listener.name, peer, dialect.name(), machine, index);
    Ok(FrozenSession { data, sockets: vec![miner.into(), pool.into()] })
}

/// A TCP connection that stands.
fn connection(socket: OwnedFd, whose: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::from(socket);
    let kind = SockRef::from(&stream).r#type();
    let is_stream = kind.is_ok_and(|kind| kind == socket2::Type::STREAM);
    match stream.peer_addr() {
        Ok(_) if is_stream => Ok(stream),
        Ok(_) => Err(format!("the {whose}'s descriptor is no TCP connection")),
        Err(error) => Err(format!("the {whose}'s descriptor is no connection: {error}")),
    }
}

/// The pool of the coin that is at the other end, or the coin's first.
fn pool_of(plan: &Plan, coin: &Coin, peer: std::net::SocketAddr) -> Option<PoolId> {
    let pools = plan.pools_of(coin);
    let is_there = |pool: &&PoolId| plan.pool(**pool).addresses().contains(&peer);
    let has_port = |pool: &&PoolId| plan.pool(**pool).port == peer.port();
    let found = pools.iter().find(is_there).or_else(|| pools.iter().find(has_port));
    found.or(pools.first()).copied()
}

/// The listener it came by, or one that speaks the same, and its dialect.
fn home(
    plan: &Plan,
    pool: PoolId,
    port: u16,
) -> Option<(&crate::plan::ListenerPlan, &dyn StratumDialect)> {
    let family = plan.pool(pool).dialect.family();
    let named = plan.listeners.iter().filter(|listener| listener.port == port);
    named.chain(&plan.listeners).find_map(|listener| {
        let dialect = listener.dialects.iter().find(|dialect| dialect.family() == family)?;
        Some((listener, &**dialect))
    })
}

/// The sessions of a state that another program can carry on by relaying. What of theirs was not
/// written yet is written now, and what was read and not handled goes on as it is; a session whose
/// peer does not take it is not among them.
///
/// # Errors
///
/// The settings contradict themselves or the plug-ins.
pub fn hand_back(setup: &Setup, state: &mut State) -> Result<Vec<Returned>, RunError> {
    let plan = Plan::new(&setup.settings, &setup.dialects).map_err(RunError::Settings)?;
    let mut returned = Vec::new();
    let mut at = state.document.listeners.len() + usize::from(state.document.admin.is_some());
    for data in &mut state.document.sessions {
        let sockets = at..at + data.sockets();
        at = sockets.end;
        let Some(sockets_of) = state.sockets.get(sockets.clone()) else { continue };
        let Some((session, form, coin, leg)) = data.hand_back(&plan) else { continue };
        if data.empty(leg, sockets_of) {
            let server_id = Ids::server_of(form, session.short_id);
            let (miner, pool) = (sockets.start, sockets.start + 1 + leg);
            returned.push(Returned { session, coin, server_id, miner, pool });
        }
    }
    Ok(returned)
}
