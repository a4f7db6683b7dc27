//! The number of this switcher in its fleet, held by an ephemeral node `<dir>/<1..255>`. A node
//! of another is never touched. A node of our own from an earlier session is replaced only while
//! that session cannot have ended, else its end is awaited: were it to end between our look and
//! our removal, another could stand there. No say in what the number is used for.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use switcher_plugin::Notice;

use crate::layout::{ServerNode, instance_of};
use crate::ops::{Lifetime, NodeStat, ZkFault, ZkOps};
use crate::reading::Trouble;
use crate::report::Report;
use crate::settings::ServerIdSettings;

/// A node may come and go between two calls; this often it may do so within one claim.
const ROUNDS: usize = 4;

/// The keeper of the number.
#[derive(Debug)]
pub(crate) struct ServerIds {
    plan: Plan,
    session_timeout: Duration,
    busy: bool,
    due: Instant,
    waiting_since: Option<Instant>,
}

/// What an attempt to hold a number works with.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    dir: String,
    preferred: u8,
    instance: String,
    data: Vec<u8>,
    current: Option<u8>,
    /// The session that made our node, if it was made with this client.
    owner: Option<i64>,
    /// A node of our own from another session may be removed.
    may_replace: bool,
}

/// How an attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holding {
    Full,
    Held {
        id: u8,
        owner: i64,
    },
    /// Our node stands, but in an earlier session.
    Waiting {
        id: u8,
    },
}

/// An attempt that has ended.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The number tried last, to begin with the next time: it may be ours without our knowing.
    tried: Option<u8>,
    result: Result<Holding, Trouble>,
}

impl ServerIds {
    pub(crate) fn new(
        settings: &ServerIdSettings,
        dir: String,
        instance: String,
        saved: Option<u8>,
        session_timeout: Duration,
    ) -> Self {
        let node = describe(settings, &instance);
        let plan = Plan {
            dir,
            preferred: settings.preferred,
            instance,
            data: serde_json::to_vec(&node).unwrap_or_default(),
            current: saved.filter(|id| *id != 0),
            owner: None,
            may_replace: false,
        };
        Self { plan, session_timeout, busy: false, due: Instant::now(), waiting_since: None }
    }

    /// The number, if there is one.
    pub(crate) fn id(&self) -> Option<u8> {
        self.plan.current
    }

    /// A connection stands. `silent` is how long no server had been heard of in the session before.
    pub(crate) fn rearm(&mut self, now: Instant, fresh_client: bool, silent: Duration) {
        if fresh_client {
            self.plan.owner = None;
            self.plan.may_replace = silent < self.session_timeout / 2;
            self.waiting_since = None;
            self.busy = false;
        }
        self.due = now;
    }

    /// Something happened to a node of the directory.
    pub(crate) fn changed(&mut self, now: Instant) {
        self.due = now;
    }

    /// The attempt due, if one is.
    pub(crate) fn attempt(&mut self, now: Instant) -> Option<Plan> {
        if self.busy || now < self.due {
            return None;
        }
        // A session older than this is over, whatever the server's clock: so it is ours.
        let over = self.session_timeout.saturating_mul(5) / 2;
        if self.waiting_since.is_some_and(|since| now.saturating_duration_since(since) > over) {
            self.plan.may_replace = true;
        }
        self.busy = true;
        self.due = now + self.session_timeout;
        Some(self.plan.clone())
    }

    /// Takes in how an attempt has ended.
    pub(crate) fn finish(&mut self, attempt: Attempt, now: Instant, report: &mut Report) {
        self.busy = false;
        let before = self.plan.current;
        match attempt.result {
            Ok(Holding::Held { id, owner }) => {
                self.plan.owner = Some(owner);
                self.plan.may_replace = false;
                self.waiting_since = None;
                self.take(id, before, report);
            }
            Ok(Holding::Waiting { id }) => {
                self.waiting_since.get_or_insert(now);
                self.due = now + self.session_timeout / 4;
                self.take(id, before, report);
            }
            Ok(Holding::Full) => {
                report.server_id(Some(format!("all numbers in {} are taken", self.plan.dir)));
            }
            Err(trouble) => {
                self.plan.current = before.or(attempt.tried);
                if !trouble.fault.is_passing() {
                    report.server_id(Some(format!("{} {}", trouble.path, trouble.fault)));
                }
            }
        }
    }

    fn take(&mut self, id: u8, before: Option<u8>, report: &mut Report) {
        report.server_id(None);
        self.plan.current = Some(id);
        if before != Some(id) {
            if let Some(lost) = before {
                report.counters.server_ids_lost.add();
                tracing::error!(lost, id, "another switcher has taken our server id");
            } else {
                tracing::info!(id, dir = self.plan.dir, "server id");
            }
            report.post(Notice::ServerId(id));
        }
    }
}

/// Holds the number we have, or takes another.
pub(crate) async fn hold(ops: Arc<dyn ZkOps>, plan: Plan) -> Attempt {
    let mut tried = plan.current;
    let result = try_hold(&*ops, &plan, &mut tried).await.map_err(|fault| Trouble {
        path: tried.map_or_else(|| plan.dir.clone(), |id| format!("{}/{id}", plan.dir)),
        fault,
    });
    Attempt { tried, result }
}

async fn try_hold(
    ops: &dyn ZkOps,
    plan: &Plan,
    tried: &mut Option<u8>,
) -> Result<Holding, ZkFault> {
    if let Some(id) = plan.current {
        let holding = match claim(ops, plan, id).await {
            Err(ZkFault::NoNode) => {
                make_path(ops, &plan.dir).await?;
                claim(ops, plan, id).await?
            }
            claimed => claimed?,
        };
        if let Some(holding) = holding {
            return Ok(holding);
        }
    }
    let taken = match ops.children(&plan.dir).await {
        Err(ZkFault::NoNode) => {
            make_path(ops, &plan.dir).await?;
            ops.children(&plan.dir).await?
        }
        listed => listed?,
    };
    let taken: Vec<u8> = taken.iter().filter_map(|name| name.parse().ok()).collect();
    for id in (plan.preferred..=255).chain(1..plan.preferred) {
        if taken.contains(&id) {
            continue;
        }
        *tried = Some(id);
        if let Some(holding) = claim(ops, plan, id).await? {
            return Ok(holding);
        }
    }
    *tried = None;
    Ok(Holding::Full)
}

/// Makes sure that the node of this number is ours. None if it is another's.
async fn claim(ops: &dyn ZkOps, plan: &Plan, id: u8) -> Result<Option<Holding>, ZkFault> {
    let path = format!("{}/{id}", plan.dir);
    let mut made = false;
    for _ in 0..ROUNDS {
        match ops.read(&path, true).await {
            Err(ZkFault::NoNode) => {
                made = create(ops, &path, &plan.data).await?;
            }
            Ok((data, stat)) => {
                if instance_of(&data).as_deref() != Some(&plan.instance) {
                    return Ok(None);
                }
                if made || plan.owner == Some(stat.owner) {
                    return Ok(Some(Holding::Held { id, owner: stat.owner }));
                }
                if !plan.may_replace {
                    return Ok(Some(Holding::Waiting { id }));
                }
                made = replace(ops, &path, plan, stat).await?;
            }
            Err(fault) => return Err(fault),
        }
    }
    Err(ZkFault::Late)
}

/// Whether it was us who made it.
async fn create(ops: &dyn ZkOps, path: &str, data: &[u8]) -> Result<bool, ZkFault> {
    match ops.create(path, data.to_vec(), Lifetime::Ephemeral).await {
        Ok(()) => Ok(true),
        Err(ZkFault::NodeExists) => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// Both calls leave at once and are carried out in this order, so that the number is free for one
/// transaction only.
async fn replace(
    ops: &dyn ZkOps,
    path: &str,
    plan: &Plan,
    stat: NodeStat,
) -> Result<bool, ZkFault> {
    let (deleted, made) =
        tokio::join!(ops.delete(path, stat.version), create(ops, path, &plan.data));
    match deleted {
        Ok(()) | Err(ZkFault::NoNode | ZkFault::BadVersion) => made,
        Err(fault) => Err(fault),
    }
}

/// Makes a directory and all above it.
async fn make_path(ops: &dyn ZkOps, path: &str) -> Result<(), ZkFault> {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    for end in ends {
        let (part, _) = path.split_at(end);
        match ops.create(part, Vec::new(), Lifetime::Persistent).await {
            Ok(()) | Err(ZkFault::NodeExists) => {}
            // Whoever may not make the upper ones may still make the last.
            Err(ZkFault::NoAuth) if end < path.len() => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

fn describe(settings: &ServerIdSettings, instance: &str) -> ServerNode {
    let host_name = nix::unistd::gethostname().unwrap_or_default();
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ServerNode {
        chain_type: settings.chain_type.clone(),
        coins: settings.coins.clone(),
        ips: addresses(),
        host_name: host_name.to_string_lossy().into_owned(),
        listen_addr: settings.listen_addr.clone(),
        instance: instance.to_owned(),
        started_at: since_1970.as_secs(),
    }
}

/// The addresses of this machine with the lengths of their networks, `192.0.2.7/24`.
fn addresses() -> Vec<String> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    interfaces
        .filter_map(|interface| {
            let (address, mask) = (interface.address?, interface.netmask?);
            if let (Some(address), Some(mask)) = (address.as_sockaddr_in(), mask.as_sockaddr_in()) {
                let bits = mask.ip().to_bits().count_ones();
                return Some(format!("{}/{bits}", address.ip()));
            }
            let (address, mask) = (address.as_sockaddr_in6()?, mask.as_sockaddr_in6()?);
            let bits = mask.ip().to_bits().count_ones();
            Some(format!("{}/{bits}", address.ip()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use switcher_plugin::BoardWriter;

    use super::*;
    use crate::fake::Fake;

    const TIMEOUT: Duration = Duration::from_secs(10);

    struct World {
        fake: Arc<Fake>,
        ids: ServerIds,
        report: Report,
        now: Instant,
    }

    impl World {
        fn new(saved: Option<u8>, silent: Duration) -> Self {
            let settings = ServerIdSettings {
                dir: "/ids".into(),
                preferred: 7,
                chain_type: "bitcoin".into(),
                coins: vec![],
                listen_addr: String::new(),
            };
            let ids = ServerIds::new(&settings, "/ids".into(), "me".into(), saved, TIMEOUT);
            let report = Report::new(BoardWriter::new(|_| {}), Arc::default());
            let fake = Arc::new(Fake::default());
            fake.put("/ids", b"", 0);
            *fake.session.lock().unwrap() = 1;
            let mut world = Self { fake, ids, report, now: Instant::now() };
            world.ids.rearm(world.now, true, silent);
            world
        }

        async fn attempt(&mut self) {
            let plan = self.ids.attempt(self.now).expect("an attempt is due");
            let attempt = hold(Arc::clone(&self.fake) as Arc<dyn ZkOps>, plan).await;
            self.ids.finish(attempt, self.now, &mut self.report);
        }

        async fn owner(&self, path: &str) -> Option<i64> {
            self.fake.exists(path, false).await.unwrap().map(|stat| stat.owner)
        }
    }

    fn node_of(instance: &str) -> Vec<u8> {
        let node = ServerNode { instance: instance.into(), ..ServerNode::default() };
        serde_json::to_vec(&node).unwrap()
    }

    #[tokio::test]
    async fn number_taken_between_look_and_creation_is_left_alone() {
        let mut world = World::new(None, TIMEOUT);
        *world.fake.forestall.lock().unwrap() = Some(node_of("another"));

        world.attempt().await;

        assert_eq!(world.ids.id(), Some(8));
        assert_eq!(world.fake.value("/ids/7"), Some(node_of("another")));
    }

    #[tokio::test]
    async fn creation_whose_answer_was_lost_is_recognised() {
        let mut world = World::new(None, TIMEOUT);
        *world.fake.lose_answer.lock().unwrap() = true;

        world.attempt().await;
        world.ids.changed(world.now);
        world.attempt().await;

        assert_eq!(world.ids.id(), Some(7));
        assert_eq!(world.fake.value("/ids/8"), None);
    }

    #[tokio::test]
    async fn own_node_is_replaced_while_its_session_cannot_have_ended() {
        let mut world = World::new(Some(7), TIMEOUT / 4);
        world.fake.put("/ids/7", &node_of("me"), 99);

        world.attempt().await;

        assert_eq!(world.owner("/ids/7").await, Some(1));
    }

    #[tokio::test]
    async fn own_node_of_a_session_about_to_end_is_waited_for() {
        let mut world = World::new(Some(7), TIMEOUT);
        world.fake.put("/ids/7", &node_of("me"), 99);

        world.attempt().await;
        assert_eq!(world.owner("/ids/7").await, Some(99));
        world.fake.remove("/ids/7");
        world.ids.changed(world.now);
        world.attempt().await;

        assert_eq!(world.owner("/ids/7").await, Some(1));
        assert_eq!(world.ids.id(), Some(7));
    }

    #[tokio::test]
    async fn own_node_that_outlives_every_session_is_replaced() {
        let mut world = World::new(Some(7), TIMEOUT);
        world.fake.put("/ids/7", &node_of("me"), 99);

        for _ in 0..12 {
            world.attempt().await;
            world.now += TIMEOUT / 4;
        }

        assert_eq!(world.owner("/ids/7").await, Some(1));
    }

    #[tokio::test]
    async fn node_of_another_is_never_removed() {
        let mut world = World::new(Some(7), Duration::ZERO);
        world.fake.put("/ids/7", &node_of("another"), 99);

        world.attempt().await;

        assert_eq!(world.owner("/ids/7").await, Some(99));
        assert_eq!(world.ids.id(), Some(8));
        assert_eq!(world.report.counters.server_ids_lost.value(), 1);
    }

    #[tokio::test]
    async fn what_is_no_number_takes_no_number() {
        let mut world = World::new(None, TIMEOUT);
        for name in ["0", "256", "lock-0000000001", "07x"] {
            world.fake.put(&format!("/ids/{name}"), b"", 0);
        }

        world.attempt().await;

        assert_eq!(world.ids.id(), Some(7));
    }
}
