//! The one task that holds everything together: the client that comes and goes, the readings
//! under way, the heartbeat. It throws a client away as soon as that may be stuck, and has
//! everything read anew on each connection, because the client loses its watches with each. What
//! a reading means, and what is said, is decided in the modules it drives.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use switcher_plugin::{Notice, SourceContext, SourceState, Wanted};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::accounts::{Accounts, Next};
use crate::client::random;
use crate::counters::Counters;
use crate::layout::{Layout, Place};
use crate::ops::{Client, Connect, ZkEvent, ZkFault};
use crate::reading::{ReadDone, carry_out};
use crate::registration::{Registrations, Stepped, take};
use crate::report::Report;
use crate::saved::Saved;
use crate::server_id::{Attempt, ServerIds, hold};
use crate::settings::{Credentials, Settings};

const TICK: Duration = Duration::from_millis(100);
/// Events and wishes taken at once.
const BATCH: usize = 256;
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_LAST: Duration = Duration::from_secs(1);
/// Heartbeats without an answer after which a client is thrown away.
const MISSES: u8 = 2;
/// When, and how often then, to look whether a server turns us away: the client would try again
/// without a pause.
const LOOK_FIRST: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where the connection is.
#[derive(Debug)]
enum Link {
    Dialling,
    Down { retry_at: Instant },
    Up(Up),
}

#[derive(Debug)]
struct Up {
    client: Client,
    /// Connected and authenticated.
    ready: bool,
    /// Nothing has been read with this client yet.
    fresh: bool,
    /// When it began not to be ready.
    since: Instant,
    missed: u8,
    next_beat: Instant,
}

/// What runs beside the readings.
#[derive(Debug)]
enum Chore {
    Authenticated(u64, Result<(), ZkFault>),
    Beat(Result<(), ZkFault>),
    Registration(Stepped),
    ServerId(Attempt),
    TurnedAway(u64, bool),
}

/// The task.
pub(crate) struct Supervisor {
    settings: Settings,
    credentials: Option<Credentials>,
    layout: Arc<Layout>,
    connector: Arc<dyn Connect>,
    instance: String,
    report: Report,
    accounts: Accounts,
    registrations: Option<Registrations>,
    server_ids: Option<ServerIds>,
    link: Link,
    failures: u32,
    avoid: Option<String>,
    greeting: u64,
    /// How long no server had been heard of when the process began, and when that was.
    silent_before: Duration,
    last_heard: Option<Instant>,
    reads: JoinSet<ReadDone>,
    chores: JoinSet<Chore>,
    dials: JoinSet<Result<Client, String>>,
}

impl Supervisor {
    /// Prepares a run; `context` is only looked at.
    pub(crate) fn new(
        settings: Settings,
        credentials: Option<Credentials>,
        connector: Arc<dyn Connect>,
        counters: Arc<Counters>,
        context: &SourceContext,
    ) -> Self {
        let now = Instant::now();
        let saved = Saved::of(&context.saved);
        let layout = Arc::new(Layout::of(&settings));
        let report = Report::new(context.board.clone(), counters);
        let instance = saved.instance.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let registrations = settings
            .registration
            .as_ref()
            .map(|r| Registrations::new(Arc::clone(&layout), r, saved.registrations, now));
        let server_ids = settings.server_id.as_ref().zip(layout.server_id_dir.clone()).map(
            |(server_id, dir)| {
                let timeout = settings.session_timeout();
                ServerIds::new(server_id, dir, instance.clone(), saved.server_id, timeout)
            },
        );
        if let Some(id) = server_ids.as_ref().and_then(ServerIds::id) {
            // Nobody waits for a server to learn what he knew before.
            report.post(Notice::ServerId(id));
        }
        let accounts = Accounts::new(
            Arc::clone(&layout),
            registrations.is_some(),
            settings.remembered,
            saved.coins,
            now,
        );
        Self {
            credentials,
            layout,
            connector,
            instance,
            report,
            accounts,
            registrations,
            server_ids,
            link: Link::Down { retry_at: now },
            failures: 0,
            avoid: None,
            greeting: 0,
            silent_before: Duration::from_millis(unix_millis().saturating_sub(saved.last_heard)),
            last_heard: None,
            reads: JoinSet::new(),
            chores: JoinSet::new(),
            dials: JoinSet::new(),
            settings,
        }
    }

    /// Works until told to stop, or until nobody waits for it any more.
    pub(crate) async fn run(
        mut self,
        mut context: SourceContext,
        mut abandoned: oneshot::Receiver<()>,
    ) -> SourceState {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_tick = Instant::now();
        let mut wishes = Vec::with_capacity(BATCH);
        let mut events = Vec::with_capacity(BATCH);
        let mut wanted_open = true;
        loop {
            self.pump();
            tokio::select! {
                () = stopped(&mut context.stop) => break,
                _ = &mut abandoned => break,
                taken = context.wanted.recv_many(&mut wishes, BATCH), if wanted_open => {
                    wanted_open = taken > 0;
                    for wish in wishes.drain(..) {
                        self.take_wish(wish);
                    }
                }
                taken = next_events(&mut self.link, &mut events) => {
                    if taken == 0 {
                        self.tear_down("the client has ended");
                    }
                    for event in events.drain(..) {
                        self.take_event(event);
                    }
                }
                Some(done) = self.reads.join_next() => self.take_reading(done),
                Some(chore) = self.chores.join_next() => self.take_chore(chore),
                Some(dialled) = self.dials.join_next() => self.take_dialled(dialled),
                _ = tick.tick() => {
                    let now = Instant::now();
                    self.tick(now, now.saturating_duration_since(last_tick));
                    last_tick = now;
                }
            }
        }
        // Whoever has gone by now shall not pass for one who stays.
        while let Ok(wish) = context.wanted.try_recv() {
            if let Wanted::Release(_) = wish {
                self.take_wish(wish);
            }
        }
        self.save()
    }

    fn save(self) -> SourceState {
        let silent = self.silent();
        let silent = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
        let saved = Saved {
            instance: Some(self.instance),
            server_id: self.server_ids.as_ref().and_then(ServerIds::id),
            last_heard: unix_millis().saturating_sub(silent),
            coins: self.accounts.save(),
            registrations: self.registrations.map(Registrations::save).unwrap_or_default(),
        };
        saved.into_state()
    }

    /// How long no server has been heard of.
    fn silent(&self) -> Duration {
        self.last_heard.map_or(self.silent_before, |heard| heard.elapsed())
    }

    fn take_wish(&mut self, wish: Wanted) {
        match wish {
            Wanted::Acquire { sub_account, session, worker } => {
                let now = Instant::now();
                self.accounts.acquire(sub_account, session, worker, now, &mut self.report);
            }
            Wanted::Release(sub_account) => {
                self.accounts.release(&sub_account, &mut self.report);
                if let Some(registrations) = &mut self.registrations {
                    registrations.release(&sub_account);
                }
            }
        }
    }

    /// Starts what is due, as far as the connection allows.
    fn pump(&mut self) {
        let Link::Up(up) = &self.link else { return };
        if !up.ready {
            return;
        }
        while self.reads.len() < self.settings.reads_at_once
            && let Some(order) = self.accounts.next_order()
        {
            self.reads.spawn(carry_out(
                Arc::clone(&up.client.ops),
                Arc::clone(&self.layout),
                order,
            ));
        }
        if let Some(registrations) = &mut self.registrations {
            for step in registrations.steps() {
                let ops = Arc::clone(&up.client.ops);
                self.chores.spawn(async move { Chore::Registration(take(ops, step).await) });
            }
        }
        if let Some(server_ids) = &mut self.server_ids
            && let Some(plan) = server_ids.attempt(Instant::now())
        {
            let ops = Arc::clone(&up.client.ops);
            self.chores.spawn(async move { Chore::ServerId(hold(ops, plan).await) });
        }
    }

    fn take_event(&mut self, event: ZkEvent) {
        let now = Instant::now();
        match event {
            ZkEvent::Changed(path) => self.take_change(&path, now),
            ZkEvent::Connected => self.greet(now),
            ZkEvent::Connecting => {
                if let Link::Up(up) = &mut self.link
                    && up.ready
                {
                    up.ready = false;
                    up.since = now;
                    up.next_beat = now + LOOK_FIRST;
                    self.greeting += 1;
                    self.accounts.offline(&mut self.report);
                    self.report.link_down("the connection is lost");
                    self.report.flush();
                }
            }
            ZkEvent::Ended => self.tear_down("the session has ended"),
        }
    }

    fn take_change(&mut self, path: &str, now: Instant) {
        self.report.counters.watch_events.add();
        match self.layout.place(path) {
            Place::Coin(name) => self.accounts.coin_changed(name),
            Place::Index(lower) => self.accounts.index_changed(lower),
            Place::Registration(name) => {
                if let Some(registrations) = &mut self.registrations {
                    registrations.changed(name);
                }
            }
            Place::ServerId => {
                if let Some(server_ids) = &mut self.server_ids {
                    server_ids.changed(now);
                }
            }
            Place::Elsewhere => {}
        }
    }

    fn take_reading(&mut self, done: Result<ReadDone, JoinError>) {
        let done = match done {
            Ok(done) => done,
            Err(error) => return self.take_join_error(&error),
        };
        let now = Instant::now();
        if done.result.is_ok() {
            self.last_heard = Some(now);
        }
        match self.accounts.finish(done, now, &mut self.report) {
            Next::Nothing => {}
            Next::Register(sub_account) => {
                let taken = self.server_ids.as_ref().and_then(ServerIds::id);
                let number = taken.unwrap_or(self.settings.number);
                if let Some(registrations) = &mut self.registrations
                    && let Some((name, request)) = self.accounts.registration(&sub_account, number)
                {
                    registrations.start(sub_account, name, request, now);
                }
            }
        }
    }

    fn take_chore(&mut self, chore: Result<Chore, JoinError>) {
        let now = Instant::now();
        match chore {
            Err(error) => self.take_join_error(&error),
            Ok(Chore::Authenticated(greeting, result)) if greeting == self.greeting => match result
            {
                Ok(()) => self.ready(now),
                Err(ZkFault::Away) => {}
                Err(fault) => self.tear_down(&fault.to_string()),
            },
            Ok(Chore::TurnedAway(greeting, true)) if greeting == self.greeting => {
                self.tear_down("the server turns us away");
            }
            Ok(Chore::Authenticated(..) | Chore::TurnedAway(..)) => {}
            Ok(Chore::Beat(result)) => self.take_beat(result, now),
            Ok(Chore::Registration(stepped)) => {
                if let Some(registrations) = &mut self.registrations {
                    registrations.finish(&stepped, &mut self.accounts, &mut self.report);
                }
            }
            Ok(Chore::ServerId(attempt)) => {
                if let Some(server_ids) = &mut self.server_ids {
                    server_ids.finish(attempt, now, &mut self.report);
                }
            }
        }
    }

    /// The client panics over names that are not UTF-8, and perhaps over more.
    fn take_join_error(&mut self, error: &JoinError) {
        if error.is_panic() {
            self.tear_down("the client panicked");
        }
    }

    fn take_beat(&mut self, result: Result<(), ZkFault>, now: Instant) {
        let Link::Up(up) = &mut self.link else { return };
        if result.is_ok_and(|()| true) {
            up.missed = 0;
            self.failures = 0;
            self.last_heard = Some(now);
        } else if up.ready {
            up.missed += 1;
            if up.missed >= MISSES {
                self.tear_down("no answer to the heartbeat");
            }
        }
    }

    fn take_dialled(&mut self, dialled: Result<Result<Client, String>, JoinError>) {
        let now = Instant::now();
        match dialled {
            Ok(Ok(client)) => {
                self.avoid = Some(client.endpoint.clone());
                self.link = Link::Up(Up {
                    client,
                    ready: false,
                    fresh: true,
                    since: now,
                    missed: 0,
                    next_beat: now,
                });
                self.greet(now);
            }
            Ok(Err(problem)) => self.back_off(&problem, now),
            Err(_) => self.back_off("the client panicked", now),
        }
    }

    fn back_off(&mut self, problem: &str, now: Instant) {
        self.report.link_down(problem);
        self.failures = self.failures.max(1);
        self.retry(now);
    }

    /// At once after a client that has worked, ever later after others.
    fn retry(&mut self, now: Instant) {
        let pause = match self.failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(earlier) => {
                let pause = BACKOFF_FIRST.saturating_mul(1 << earlier.min(4)).min(BACKOFF_LAST);
                pause + Duration::from_millis(random() % 250)
            }
        };
        self.failures += 1;
        self.link = Link::Down { retry_at: now + pause };
    }

    /// The connection stands: say who we are, then begin.
    fn greet(&mut self, now: Instant) {
        let Link::Up(up) = &mut self.link else { return };
        up.ready = false;
        self.greeting += 1;
        let Some(credentials) = self.credentials.clone() else { return self.ready(now) };
        let (ops, greeting) = (Arc::clone(&up.client.ops), self.greeting);
        self.chores.spawn(async move {
            Chore::Authenticated(greeting, ops.authenticate(&credentials).await)
        });
    }

    fn ready(&mut self, now: Instant) {
        let silent = self.silent();
        let Link::Up(up) = &mut self.link else { return };
        up.ready = true;
        up.missed = 0;
        up.next_beat = now + self.settings.session_timeout() / 3;
        let fresh = std::mem::replace(&mut up.fresh, false);
        self.report.counters.connects.add();
        self.report.link_up(&up.client.endpoint);
        self.report.flush();
        tracing::debug!(
            endpoint = up.client.endpoint,
            fresh,
            sub_accounts = self.accounts.len(),
            "connected; reading everything"
        );
        self.last_heard = Some(now);
        self.accounts.rearm(fresh);
        if let Some(registrations) = &mut self.registrations {
            registrations.rearm(fresh);
        }
        if let Some(server_ids) = &mut self.server_ids {
            server_ids.rearm(now, fresh, silent);
        }
    }

    /// Throws the client away with all that runs on it. Its session stands until it expires.
    fn tear_down(&mut self, why: &str) {
        if !matches!(self.link, Link::Up(_)) {
            return;
        }
        tracing::debug!(why, "client thrown away");
        self.report.counters.rebuilds.add();
        self.report.link_down(why);
        self.report.flush();
        self.retry(Instant::now());
        self.reads = JoinSet::new();
        self.chores = JoinSet::new();
        self.accounts.offline(&mut self.report);
    }

    fn tick(&mut self, now: Instant, passed: Duration) {
        let audit = Duration::from_secs(self.settings.audit_seconds);
        let audit = (!audit.is_zero()).then_some(audit);
        self.accounts.tick(now, passed, audit, &mut self.report);
        if let Some(registrations) = &mut self.registrations {
            registrations.tick(now, &mut self.accounts, &mut self.report);
        }
        self.mind_link(now);
        self.report.flush();
    }

    fn mind_link(&mut self, now: Instant) {
        let session_timeout = self.settings.session_timeout();
        // With other servers to go to there is less to wait for.
        let patience = if self.settings.servers.len() > 1 {
            (session_timeout / 4).max(Duration::from_secs(1))
        } else {
            session_timeout / 2
        };
        match &mut self.link {
            Link::Down { retry_at } if now < *retry_at => {}
            Link::Down { .. } => {
                let (connector, avoid) = (Arc::clone(&self.connector), self.avoid.take());
                self.dials.spawn(async move { connector.connect(avoid.as_deref()).await });
                self.link = Link::Dialling;
            }
            Link::Up(up) if !up.ready => {
                if now.saturating_duration_since(up.since) > patience {
                    self.tear_down("the connection does not come back");
                } else if now >= up.next_beat {
                    up.next_beat = now + LOOK_AGAIN;
                    let (ops, greeting) = (Arc::clone(&up.client.ops), self.greeting);
                    self.chores.spawn(async move {
                        Chore::TurnedAway(greeting, ops.is_turned_away().await)
                    });
                }
            }
            Link::Up(up) if now >= up.next_beat => {
                up.next_beat = now + session_timeout / 3;
                let (ops, root) = (Arc::clone(&up.client.ops), self.layout.root.clone());
                self.chores.spawn(async move {
                    let asked = timeout(session_timeout / 3, ops.exists(&root, false)).await;
                    Chore::Beat(match asked {
                        // A refusal is an answer.
                        Ok(Err(fault)) if fault.is_passing() => Err(fault),
                        Ok(_) => Ok(()),
                        Err(_) => Err(ZkFault::Late),
                    })
                });
            }
            Link::Dialling | Link::Up(_) => {}
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could stop us is gone, which is reason enough.
    stop.wait_for(|stop| *stop).await.ok();
}

/// Takes what the client says. Never ends while there is none.
async fn next_events(link: &mut Link, events: &mut Vec<ZkEvent>) -> usize {
    match link {
        Link::Up(up) => up.client.events.recv_many(events, BATCH).await,
        Link::Dialling | Link::Down { .. } => std::future::pending().await,
    }
}

fn unix_millis() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use switcher_plugin::{BoardWriter, SessionId, SubAccount, WorkerName};
    use tokio::sync::mpsc;

    use super::*;
    use crate::fake::Fake;
    use crate::ops::{Lifetime, NodeStat, ZkOps};

    /// Says nothing to anything.
    struct Hung;

    #[async_trait]
    impl ZkOps for Hung {
        async fn read(&self, _: &str, _: bool) -> Result<(Vec<u8>, NodeStat), ZkFault> {
            std::future::pending().await
        }
        async fn exists(&self, _: &str, _: bool) -> Result<Option<NodeStat>, ZkFault> {
            std::future::pending().await
        }
        async fn create(&self, _: &str, _: Vec<u8>, _: Lifetime) -> Result<(), ZkFault> {
            std::future::pending().await
        }
        async fn delete(&self, _: &str, _: i32) -> Result<(), ZkFault> {
            std::future::pending().await
        }
        async fn children(&self, _: &str) -> Result<Vec<String>, ZkFault> {
            std::future::pending().await
        }
        async fn authenticate(&self, _: &Credentials) -> Result<(), ZkFault> {
            std::future::pending().await
        }
    }

    /// Panics, as the client does over names that are not UTF-8.
    struct Panicking;

    #[async_trait]
    impl ZkOps for Panicking {
        async fn read(&self, _: &str, _: bool) -> Result<(Vec<u8>, NodeStat), ZkFault> {
            panic!("as the client does")
        }
        async fn exists(&self, _: &str, _: bool) -> Result<Option<NodeStat>, ZkFault> {
            Ok(None)
        }
        async fn create(&self, _: &str, _: Vec<u8>, _: Lifetime) -> Result<(), ZkFault> {
            Ok(())
        }
        async fn delete(&self, _: &str, _: i32) -> Result<(), ZkFault> {
            Ok(())
        }
        async fn children(&self, _: &str) -> Result<Vec<String>, ZkFault> {
            Ok(Vec::new())
        }
        async fn authenticate(&self, _: &Credentials) -> Result<(), ZkFault> {
            Ok(())
        }
    }

    /// Gives these clients one after the other, the last again and again.
    struct Clients {
        clients: Mutex<Vec<Arc<dyn ZkOps>>>,
        /// The other ends of the clients' events, which must not close.
        open: Mutex<Vec<mpsc::UnboundedSender<ZkEvent>>>,
    }

    #[async_trait]
    impl Connect for Clients {
        async fn connect(&self, _: Option<&str>) -> Result<Client, String> {
            let mut clients = self.clients.lock().unwrap();
            let ops = if clients.len() > 1 { clients.remove(0) } else { Arc::clone(&clients[0]) };
            let (open, events) = mpsc::unbounded_channel();
            self.open.lock().unwrap().push(open);
            Ok(Client { ops, events, endpoint: "fake".into(), _keeper: None })
        }
    }

    /// Runs with a faulty client first and a good one then, until alice has her coin.
    async fn coin_after(faulty: Arc<dyn ZkOps>) -> Arc<Counters> {
        let fake = Arc::new(Fake::default());
        fake.put("/coins/alice", b"btc", 0);
        let connector = Arc::new(Clients {
            clients: Mutex::new(vec![faulty, fake]),
            open: Mutex::new(Vec::new()),
        });
        let mut settings = Settings::new(vec!["fake".into()], "/coins");
        settings.session_timeout_seconds = 4;
        let (assigned, mut coin) = mpsc::unbounded_channel();
        let board = BoardWriter::new(move |notice| {
            if let Notice::Assign(..) = notice {
                assigned.send(notice).ok();
            }
        });
        let (wanted_tx, wanted) = mpsc::unbounded_channel();
        let (_stop_tx, stop) = watch::channel(false);
        let context = SourceContext { board, wanted, stop, saved: SourceState::default() };
        let (sub_account, worker) = (SubAccount::new("alice"), WorkerName::new("alice"));
        let wish = Wanted::Acquire { sub_account, session: SessionId(1), worker };
        wanted_tx.send(wish).unwrap();
        let counters = Arc::<Counters>::default();
        let supervisor =
            Supervisor::new(settings, None, connector, Arc::clone(&counters), &context);
        let (_here, abandoned) = oneshot::channel();
        tokio::spawn(Box::pin(supervisor.run(context, abandoned)));

        timeout(Duration::from_secs(10), coin.recv()).await.expect("a coin comes in time");
        counters
    }

    #[tokio::test]
    async fn client_that_hangs_is_thrown_away() {
        let counters = coin_after(Arc::new(Hung)).await;

        assert_eq!(counters.rebuilds.value(), 1);
    }

    #[tokio::test]
    async fn client_that_panics_is_thrown_away() {
        let counters = coin_after(Arc::new(Panicking)).await;

        assert_eq!(counters.rebuilds.value(), 1);
    }
}
