//! What the engine does about pools apart from any session: resolving their names, and probing
//! pools that nothing is known about.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use switcher_plugin::{
    Action, Cut, Input, LegId, ListenerView, Outbox, Retry, Rungs, Seat, SessionSeat, Side,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::oneshot;

use crate::clock;
use crate::ids::Ids;
use crate::plan::{Plan, PoolId, PoolPlan};

/// A start waits at most so long for names to be resolved.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(2);

/// Pause between tries while a pool has no address at all.
const LACKING_PAUSE: Duration = Duration::from_secs(3);

/// A probe is over after so long, whatever it has learnt.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// A pool that did not answer is probed again after so long; one that did is not.
const PROBE_AGAIN: Duration = Duration::from_mins(10);

/// Ways of shaking hands that a probe tries at most.
const PROBE_FORMS: u8 = 3;

/// Bytes of a probed pool's answers that are looked at.
const PROBE_BYTES: usize = 64 * 1024;

/// Resolves the names of all pools, for as long as a start may wait for it.
pub(crate) async fn resolve_first(plan: &Arc<Plan>) {
    let all = resolve_all(Arc::clone(plan));
    if tokio::time::timeout(RESOLVE_PATIENCE, all).await.is_err() {
        tracing::warn!("the resolver is slow; starting without the names it still looks for");
    }
}

/// Resolves the names of all pools at once.
async fn resolve_all(plan: Arc<Plan>) {
    let mut lookups = tokio::task::JoinSet::new();
    for (at, _) in plan.pools.iter().enumerate().filter(|(_, pool)| pool.has_name()) {
        let plan = Arc::clone(&plan);
        lookups.spawn(async move {
            if let Some(pool) = plan.pools.get(at) {
                resolve(pool).await;
            }
        });
    }
    while lookups.join_next().await.is_some() {}
}

/// Resolves them again and again, from the start on if `at_once`. Addresses stand while the
/// resolver is in trouble.
pub(crate) async fn keep_resolving(plan: Arc<Plan>, at_once: bool) {
    if !plan.pools.iter().any(PoolPlan::has_name) {
        return;
    }
    if at_once {
        resolve_all(Arc::clone(&plan)).await;
    }
    loop {
        let lacks_one = plan.pools.iter().any(|pool| pool.addresses().is_empty());
        let pause =
            if lacks_one { plan.timing.resolve.min(LACKING_PAUSE) } else { plan.timing.resolve };
        tokio::time::sleep(pause).await;
        resolve_all(Arc::clone(&plan)).await;
    }
}

async fn resolve(pool: &PoolPlan) {
    match lookup_host((pool.host.as_str(), pool.port)).await {
        Ok(addresses) => {
            let addresses: Arc<[SocketAddr]> = addresses.collect();
            if !addresses.is_empty() && addresses != pool.addresses() {
                tracing::info!(pool = pool.name, ?addresses, "pool's name resolved");
                pool.set_addresses(addresses);
            }
        }
        Err(error) => {
            tracing::warn!(pool = pool.name, host = pool.host, %error, "pool's name does not resolve");
        }
    }
}

/// Probes, on a thread of their own: a dialect that hangs there holds up nobody.
#[derive(Debug)]
pub(crate) struct Prober {
    tried: oneshot::Receiver<()>,
    /// The thread ends when it is dropped.
    _stop: oneshot::Sender<()>,
}

impl Prober {
    /// Starts them; none if they are not wanted or the system refuses.
    pub(crate) fn start(plan: Arc<Plan>, ids: Arc<Ids>, enabled: bool) -> Option<Self> {
        if !enabled {
            return None;
        }
        let (tell, tried) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let work = async move {
            tokio::select! {
                _ = stopped => {}
                () = async {
                    probe_unknown(&plan, &ids).await;
                    let _ = tell.send(());
                    Box::pin(keep_probing(&plan, &ids)).await;
                } => {}
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let started = runtime.and_then(|runtime| {
            let thread = std::thread::Builder::new().name("prober".to_owned());
            thread.spawn(move || runtime.block_on(work))
        });
        if let Err(error) = started {
            tracing::warn!(%error, "pools are not probed");
            return None;
        }
        Some(Self { tried, _stop: stop })
    }

    /// Until every pool was tried once.
    pub(crate) async fn tried(&mut self) {
        let _ = (&mut self.tried).await;
    }
}

/// Pools that nothing is known about.
fn unknown(plan: &Plan) -> Vec<PoolId> {
    let ids = (0_u16..).map(PoolId).zip(&plan.pools);
    ids.filter(|(_, pool)| pool.fact().is_none()).map(|(id, _)| id).collect()
}

/// Probes every pool that nothing is known about, all at once. Returns when all were tried.
async fn probe_unknown(plan: &Arc<Plan>, ids: &Arc<Ids>) {
    let mut probes = tokio::task::JoinSet::new();
    for pool in unknown(plan) {
        probes.spawn(probe(Arc::clone(plan), Arc::clone(ids), pool));
    }
    while probes.join_next().await.is_some() {}
}

/// Probes again and again those that did not answer.
async fn keep_probing(plan: &Arc<Plan>, ids: &Arc<Ids>) {
    loop {
        tokio::time::sleep(PROBE_AGAIN).await;
        for pool in unknown(plan) {
            Box::pin(probe(Arc::clone(plan), Arc::clone(ids), pool)).await;
        }
    }
}

async fn probe(plan: Arc<Plan>, ids: Arc<Ids>, id: PoolId) {
    let pool = plan.pool(id);
    let session = ids.next_session();
    let form = pool.dialect.short_ids();
    let index = ids.take_index(form);
    let talk = async {
        let index = index.map_err(io::Error::other)?;
        let seat = SessionSeat {
            session,
            short_id: Ids::short(0, form, session, index),
            entropy: ids.entropy(),
            peer: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            listener: &ListenerView::default(),
        };
        talk(&plan, seat, id).await
    };
    match tokio::time::timeout(PROBE_TIME, talk).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(pool = pool.name, %error, "probe failed"),
        Err(_) => tracing::warn!(pool = pool.name, "probe was not answered"),
    }
    // Behind the time limit, so that a pool that never answers costs no id.
    ids.release(session);
    if let Ok(Some(index)) = index {
        ids.release_index(form, index);
    }
}

/// The conversations of one probe: another form of handshake if the first does not do.
async fn talk(plan: &Plan, seat: SessionSeat<'_>, id: PoolId) -> io::Result<()> {
    for form in 0..PROBE_FORMS {
        if !talk_once(plan, seat, id, form).await? {
            break;
        }
    }
    Ok(())
}

/// One conversation of a probe: the dialect speaks, this carries. True if the next form is due.
async fn talk_once(plan: &Plan, seat: SessionSeat<'_>, id: PoolId, form: u8) -> io::Result<bool> {
    let pool = plan.pool(id);
    let addresses = pool.addresses();
    let mut stream = TcpStream::connect(&*addresses).await?;
    let leg = LegId(1);
    let mut dialect = pool.dialect.open(Seat::Probe(seat));
    let mut outbox = Outbox::new();
    let up = Input::LegUp { leg, profile: &pool.profile, form, rungs: Rungs::ALL };
    let mut result = dialect.handle(clock::now(), up, &mut outbox);
    let mut bytes = Vec::new();
    loop {
        let actions = outbox.take_actions();
        for action in &actions {
            match action {
                Action::Send(Side::Upstream(_), range) => {
                    stream.write_all(outbox.sent(range)).await?;
                }
                Action::Learn { fact, .. } if plan.learn(id, fact) => {
                    tracing::info!(pool = pool.name, %fact, "probe learnt about a pool");
                }
                Action::LegRefused { retry, .. } => return Ok(*retry == Retry::NextForm),
                Action::Close { .. } => return Ok(false),
                _ => {}
            }
        }
        outbox.reset(actions);
        result.map_err(io::Error::other)?;
        let side = Side::Upstream(leg);
        let end = loop {
            match dialect.cut(side, &bytes) {
                Cut::Frame(n) if (1..=bytes.len()).contains(&n) => break n,
                // Nothing would be read any more, and all other probes wait on this thread.
                Cut::Frame(_) if !bytes.is_empty() => {
                    return Err(io::Error::other("the dialect cut a frame that is not there"));
                }
                _ => {}
            }
            if bytes.len() > PROBE_BYTES || stream.read_buf(&mut bytes).await? == 0 {
                return Ok(false);
            }
        };
        let rest = bytes.split_off(end);
        result = dialect.handle(clock::now(), Input::Frame(side, &bytes), &mut outbox);
        bytes = rest;
    }
}
