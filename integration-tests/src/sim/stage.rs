//! The stage: brings frames, dials, time and freezes to the machine, and holds what it does after
//! every call against the model.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::rc::Rc;

use switcher_core::board::{Known, Standing};
use switcher_core::session::machine::{Cx, DialError, Machine, Role, SavedMachine};
use switcher_plugin::{
    Coin, Cut, LegId, ListenerView, Millis, Outbox, Seat, SessionId, SessionSeat, Side,
    StratumDialect,
};

use super::Manner;
use super::books::Books;
use super::dice::Dice;
use super::miner::{Login, Miner};
use super::model::{Closing, Model};
use super::outside::{Due, LinkState, Outside, Parcel, Told, lines};
use super::pool::{Connection, Health};
use super::scene::Scene;

/// More happenings at one instant than there is reason for.
const MOST_AT_ONCE: u32 = 2_000;

/// A share that its pool has left out for so long is given up.
const SKIPPED_MS: u64 = 30_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) dice: Dice,
    pub(crate) scene: Rc<Scene>,
    pub(crate) outside: Outside,
    pub(crate) books: Books,
    pub(crate) machine: Option<Machine>,
    pub(crate) miner: Miner,
    pub(crate) model: Model,
    /// Since when each pool has done nothing but serve.
    pub(crate) well_since: Vec<Option<Millis>>,
    /// Since when the plan is the one it is.
    plan_since: Millis,
    /// Cuts of this session so far.
    cuts: u32,
    outbox: Outbox,
    pub(crate) sessions: u32,
    pub(crate) calls: u64,
    pub(crate) freezes: u64,
    /// How often a miner was sent back.
    pub(crate) sent_back: u64,
}

impl Stage {
    pub(crate) fn new(mut dice: Dice, manner: Manner, trace: bool) -> Self {
        let scene = Rc::new(Scene::draw(&mut dice, manner));
        let board = Standing { verdict: Known::Assigned(Coin::new("btc")), canonical: None };
        let outside = Outside::new(Rc::clone(&scene), dice.clone(), board);
        let opened = outside.now;
        let well_since = vec![Some(opened); scene.pools.len()];
        let books = Books { trace: trace.then(Vec::new), ..Books::default() };
        let mut stage = Self {
            dice,
            scene,
            outside,
            books,
            machine: None,
            miner: Miner::new(0, None),
            model: Model::new(opened),
            well_since,
            plan_since: opened,
            cuts: 0,
            outbox: Outbox::new(),
            sessions: 0,
            calls: 0,
            freezes: 0,
            sent_back: 0,
        };
        let pools = stage.scene.pools.clone();
        stage.books.note(|| format!("pools {pools:?}"));
        stage
    }

    pub(crate) fn now(&self) -> Millis {
        self.outside.now
    }

    fn view(&self) -> std::sync::Arc<ListenerView> {
        let plan = self.scene.plan(self.outside.plan);
        plan.listeners.first().expect("there is a listener").view()
    }

    fn seat<'a>(&self, view: &'a ListenerView) -> SessionSeat<'a> {
        SessionSeat {
            session: SessionId(u64::from(self.sessions)),
            short_id: 0x0100_0000 + self.sessions * 0x0001_0203,
            entropy: u128::from(self.sessions).to_be_bytes(),
            peer: Some(IpAddr::from([192, 0, 2, 9])),
            listener: view,
        }
    }

    /// A miner comes.
    pub(crate) fn begin(&mut self) {
        if self.machine.is_some() {
            return;
        }
        self.sessions += 1;
        let view = self.view();
        let protocol = dialect_btc::DIALECT.open(Seat::Miner(self.seat(&view)));
        let id = SessionId(u64::from(self.sessions));
        self.machine = Some(Machine::new(id, "bitcoin", protocol, self.now()));
        let before = std::mem::replace(&mut self.miner, Miner::new(0, None));
        self.miner =
            Miner::new(self.sessions, (self.scene.manner != Manner::Unnoticed).then_some(before));
        if self.dice.chance(30) {
            self.miner.forget_session();
        }
        self.model = Model::new(self.now());
        self.cuts = 0;
        let (now, number) = (self.now(), self.sessions);
        self.books.note(|| format!("{} session {number}", now.0));
        if self.dice.chance(50) {
            self.miner.configure(&mut self.dice);
        }
        if self.dice.chance(90) {
            self.miner.subscribe(&mut self.dice);
        }
        if self.scene.manner == Manner::Told && self.dice.chance(70) {
            self.miner.ask_for_extranonces(&mut self.dice);
        }
        if self.dice.chance(80) {
            self.miner.authorize(&mut self.dice);
        }
    }

    /// Calls the machine.
    fn call(&mut self, call: impl FnOnce(&mut Machine, &mut Cx<'_>)) {
        let Some(machine) = &mut self.machine else { return };
        self.calls += 1;
        let mut cx = Cx {
            now: self.outside.now,
            plan: self.scene.plan(self.outside.plan),
            rungs: self.scene.rungs(),
            outbox: &mut self.outbox,
            host: &mut self.outside,
        };
        call(machine, &mut cx);
    }

    /// Brings the next part of what the miner has written.
    pub(crate) fn deliver_miner(&mut self, len: usize) {
        let len = len.min(self.miner.tx.len());
        let part: Vec<u8> = self.miner.tx.drain(..len).collect();
        self.miner.rx.extend_from_slice(&part);
        while let Some(machine) = &self.machine {
            if machine.closing().is_some() {
                return;
            }
            let Cut::Frame(n) = machine.dialect().cut(Side::Downstream, &self.miner.rx) else {
                return;
            };
            let frame: Vec<u8> = self.miner.rx.drain(..n).collect();
            let now = self.now();
            self.books.note(|| format!("{} < {}", now.0, String::from_utf8_lossy(&frame).trim()));
            self.miner.delivers(&frame, &mut self.books);
            let may_go_up = self.miner.login == Login::Done;
            self.call(|machine, cx| machine.frame(Side::Downstream, &frame, cx));
            let shares = std::mem::take(&mut self.miner.fresh_shares);
            self.after();
            for nonce in shares {
                self.check_share(&nonce, may_go_up);
            }
        }
    }

    /// A share goes up at once if its leg stands, and is answered at once if not.
    fn check_share(&mut self, nonce: &str, may_go_up: bool) {
        let Some(share) = self.books.shares.get(nonce).cloned() else { return };
        let link =
            self.outside.link(share.job.0).filter(|link| matches!(link.state, LinkState::Up(_)));
        // How many epochs of its leg are younger than that of its job, at most.
        let epochs = link.as_ref().map(|link| match &link.state {
            LinkState::Up(connection) => {
                let then = self.books.jobs.get(&share.job).map_or(0, |job| job.changes);
                link.epochs + connection.changes - then
            }
            LinkState::Dialling(_) => u32::MAX,
        });
        let must = may_go_up && epochs.is_some_and(|epochs| epochs <= 7);
        self.books.hold(!must || share.went_up == 1, || {
            format!("share {nonce} of connection {} was not sent up", share.job.0)
        });
        let must_not = epochs.is_none() && self.machine.is_some();
        self.books.hold(!must_not || share.went_up == 0, || format!("share {nonce} went astray"));
    }

    fn deliver_pool(&mut self, number: u32) {
        let now = self.now();
        loop {
            let Some(machine) = &self.machine else { return };
            let is_closing = machine.closing().is_some();
            let Some(link) = self.outside.link(number) else { return };
            let side = Side::Upstream(link.leg);
            if is_closing || !matches!(link.state, LinkState::Up(_)) {
                return;
            }
            let Cut::Frame(n) = machine.dialect().cut(side, &link.rx) else { return };
            let frame: Vec<u8> = link.rx.drain(..n).collect();
            let text = || String::from_utf8_lossy(&frame).trim().to_owned();
            self.books.note(|| format!("{} {number}> {}", now.0, text()));
            self.call(|machine, cx| machine.frame(side, &frame, cx));
            self.after();
        }
    }

    /// Bytes of a pool arrive, whole or in pieces.
    fn pump(&mut self, number: u32) {
        let now = self.now();
        loop {
            let cut = self.dice.chance(25);
            let Some(link) = self.outside.link(number) else { return };
            let is_due = link.parcels.front().is_some_and(|(at, _)| *at <= now);
            let Some((_, parcel)) = is_due.then(|| link.parcels.pop_front()).flatten() else {
                return;
            };
            match parcel {
                Parcel::Bytes(mut bytes) => {
                    if cut && bytes.len() > 1 {
                        let at = 1 + self.dice.index(bytes.len() - 1);
                        let rest = bytes.split_off(at);
                        let later = now.plus(1 + self.dice.below(30));
                        if let Some(link) = self.outside.link(number) {
                            link.parcels.push_front((later, Parcel::Bytes(rest)));
                        }
                        self.outside.schedule(later, Due::Pump(number));
                    }
                    if let Some(link) = self.outside.link(number) {
                        link.rx.extend_from_slice(&bytes);
                    }
                    self.deliver_pool(number);
                }
                Parcel::Close => {
                    let leg = link.leg;
                    self.lose(leg, "the pool closed the connection");
                    return;
                }
            }
        }
    }

    pub(crate) fn lose(&mut self, leg: LegId, why: &str) {
        let now = self.now();
        self.books.note(|| format!("{} leg {leg} lost: {why}", now.0));
        self.call(|machine, cx| machine.leg_lost(leg, why, cx));
        self.outside.drop_link(leg);
        self.after();
    }

    fn dialled(&mut self, number: u32) {
        let Some(link) = self.outside.link(number) else { return };
        let (leg, pool) = (link.leg, link.pool);
        let LinkState::Dialling(outcome) = &link.state else { return };
        let outcome = outcome.clone();
        let now = self.now();
        self.books.note(|| format!("{} leg {leg} as {number}: {pool:?} {outcome:?}", now.0));
        match (outcome, pool) {
            (Ok(()), Some(pool)) => {
                if let Some(link) = self.outside.link(number) {
                    link.state = LinkState::Up(Box::new(Connection::new(number)));
                }
                let soon = now.plus(5_000 + self.dice.below(35_000));
                self.outside.schedule(soon, Due::Job(number));
                let scene = Rc::clone(&self.scene);
                let plan = scene.plan(self.outside.plan);
                let Some(id) = plan.pool_named(&scene.spec(pool).name) else { return };
                let profile = plan.pool(id).profile.clone();
                self.call(|machine, cx| machine.leg_up(leg, id, &profile, cx));
            }
            (Ok(()), None) => return,
            (Err(error), pool) => {
                if let Some(pool) = pool
                    && error == DialError::Pool
                {
                    self.outside.failed(pool);
                }
                self.outside.drop_link(leg);
                self.call(|machine, cx| machine.leg_failed(leg, &error, cx));
            }
        }
        self.after();
    }

    /// A line has arrived at a pool.
    fn pool_reads(&mut self, number: u32, request: &str) {
        let Ok(message) = serde_json::from_str(request) else { return };
        let (scene, mut dice) = (Rc::clone(&self.scene), self.dice.clone());
        let health = match self.outside.link(number) {
            Some(to) => to.pool.map(|pool| (pool, self.outside.health_of(pool))),
            None => None,
        };
        let Some((pool, health)) = health else { return };
        let Some(link) = self.outside.link(number) else { return };
        let LinkState::Up(connection) = &mut link.state else { return };
        let spec = scene.spec(pool);
        let said = connection.take(&message, spec, health, &mut dice, &mut self.books);
        self.dice = dice;
        for answer in said {
            let after = match self.dice.below(20) {
                0 if health != Health::Well => 3_000 + self.dice.below(20_000),
                1..=4 => self.dice.below(2_500),
                _ => self.dice.below(60),
            };
            self.outside.post(number, after, Parcel::Bytes(answer));
        }
    }

    fn template(&mut self, number: u32) {
        let both = self.dice.chance(15);
        let clean = self.dice.chance(50);
        let now = self.now();
        let Some(link) = self.outside.link(number) else { return };
        let Some(pool) = link.pool else { return };
        let is_mute = self.outside.health_of(pool) == Health::Mute;
        let Some(link) = self.outside.link(number) else { return };
        let LinkState::Up(connection) = &mut link.state else { return };
        if connection.authorized && !is_mute {
            let mut bytes = if both { connection.difficulty() } else { Vec::new() };
            bytes.extend(connection.job(clean, &mut self.books));
            self.outside.post(number, 0, Parcel::Bytes(bytes));
        }
        let next = now.plus(10_000 + self.dice.below(30_000));
        self.outside.schedule(next, Due::Job(number));
    }

    /// Time passes, and what is due happens.
    pub(crate) fn advance(&mut self, ms: u64) {
        let end = self.now().plus(ms);
        let (mut at_once, mut instant) = (0, self.now());
        while self.books.broken.is_none() {
            let now = self.now();
            let due = self.outside.due.peek().map(|Reverse((at, _, _))| *at);
            let plan = self.scene.plan(self.outside.plan);
            let wake = self.machine.as_ref().map(|machine| machine.next_deadline(now, plan));
            self.books.hold(wake.is_none_or(|wake| wake > now), || {
                format!("the next deadline {wake:?} is not behind {now:?}")
            });
            let next = due.into_iter().chain(wake).min().unwrap_or(end).max(now);
            if next > end {
                self.outside.now = end;
                return;
            }
            at_once = if next == instant { at_once + 1 } else { 0 };
            instant = next;
            self.books.hold(at_once < MOST_AT_ONCE, || format!("{now:?} does not end"));
            self.outside.now = next;
            if due.is_some_and(|due| due <= next) {
                let Some(Reverse((_, _, due))) = self.outside.due.pop() else { return };
                match due {
                    Due::Dialled(number) => self.dialled(number),
                    Due::Job(number) => self.template(number),
                    Due::Leaves(session) => {
                        if session == self.sessions {
                            self.books.note(|| format!("{} the miner leaves", next.0));
                            self.leave();
                        }
                    }
                    Due::Pump(number) => self.pump(number),
                    Due::Reads(number, line) => self.pool_reads(number, &line),
                }
            } else if wake.is_some() {
                self.call(Machine::tick);
                self.after();
            } else {
                return;
            }
        }
    }

    /// The board says something else.
    pub(crate) fn news(&mut self, verdict: Known) {
        let now = self.now();
        self.books.note(|| format!("{} board {verdict:?}", now.0));
        self.outside.board = Standing { verdict, canonical: None };
        let standing = self.outside.board.clone();
        let assignment = self.assignment();
        if self.model.identified {
            self.model.hears(&standing, now, assignment);
        }
        self.call(|machine, cx| machine.news(standing, cx));
        self.after();
    }

    fn assignment(&self) -> u64 {
        let assignment = self.scene.plan(self.outside.plan).timing.assignment;
        u64::try_from(assignment.as_millis()).unwrap_or(u64::MAX)
    }

    /// The program is replaced: the session is saved and resumed, perhaps under another plan.
    pub(crate) fn freeze(&mut self) {
        let Some(machine) = self.machine.take() else { return };
        self.freezes += 1;
        let saved = machine.save(self.scene.plan(self.outside.plan), 1);
        if self.dice.chance(20) {
            self.outside.plan = 1 - self.outside.plan;
            self.plan_since = self.now();
        }
        let (now, plan) = (self.now(), self.outside.plan);
        self.books.note(|| format!("{} freeze, plan {plan}", now.0));
        let text = serde_json::to_string(&saved).expect("plain data is JSON");
        let saved: SavedMachine = serde_json::from_str(&text).expect("what is saved reads");
        let view = self.view();
        let protocol = dialect_btc::DIALECT
            .resume(Seat::Miner(self.seat(&view)), saved.dialect())
            .expect("saved state is resumed");
        let standing = saved.who().map(|_| self.outside.board.clone());
        self.outside.links.retain(|link| matches!(link.state, LinkState::Up(_)));
        for (at, link) in self.outside.links.iter_mut().enumerate() {
            link.extra = at > 0;
            link.admitted = false;
        }
        let scene = Rc::clone(&self.scene);
        let machine = Machine::resume(saved, protocol, standing.clone(), scene.plan(plan));
        let unknown: Vec<LegId> =
            machine.legs().iter().filter(|leg| leg.pool.is_none()).map(|leg| leg.id).collect();
        self.machine = Some(machine);
        // What its shard does first with a session that was resumed.
        if let Some(standing) = standing {
            let assignment = self.assignment();
            self.model.hears(&standing, now, assignment);
            for leg in unknown {
                self.lose(leg, "its pool is no longer configured");
            }
            self.call(|machine, cx| machine.news(standing, cx));
        }
        self.call(Machine::tick);
        self.after();
    }

    /// Looks at what the machine has done.
    fn after(&mut self) {
        let now = self.now();
        let assignment = self.assignment();
        self.miner.fresh_jobs = 0;
        let down = std::mem::take(&mut self.outside.down);
        match lines(&down) {
            Ok(lines) => {
                for line in lines {
                    self.books.note(|| format!("{} > {line}", now.0));
                    self.miner.reads(&line, &mut self.books);
                }
            }
            Err(why) => self.books.broken(|| why),
        }
        for (number, bytes) in std::mem::take(&mut self.outside.up) {
            match lines(&bytes) {
                Ok(lines) => self.goes_up(number, lines),
                Err(why) => self.books.broken(|| why),
            }
        }
        for told in std::mem::take(&mut self.outside.told) {
            self.books.note(|| format!("{} {told:?}", now.0));
            self.model.told(&told, now, assignment);
            match told {
                Told::CutOver => self.cut_over(),
                Told::SentBack => self.sent_back += 1,
                _ => {}
            }
        }
        if std::mem::take(&mut self.miner.told_to_leave) {
            let sends_back = self.scene.manner == Manner::SentBack && self.miner.is_agile();
            self.books.hold(sends_back, || "told to reconnect".to_owned());
            let at = now.plus(self.dice.below(5_000));
            self.outside.schedule(at, Due::Leaves(self.sessions));
        }
        if let Some(misuse) = self.outside.misuse.take() {
            self.books.broken(|| misuse);
        }
        self.check_machine();
    }

    /// The miner is served by another leg: it has got that leg's job, unless it is its first one,
    /// which need not have a job yet.
    fn cut_over(&mut self) {
        let now = self.now();
        for leg in self.machine.iter().flat_map(Machine::legs) {
            let link = self.outside.links.iter_mut().find(|link| link.leg == leg.id);
            match (leg.role, link) {
                (Role::Active, Some(link)) => {
                    link.epochs += 1;
                    link.left = None;
                }
                (Role::Lingering, Some(link)) => {
                    link.left.get_or_insert(now);
                }
                _ => {}
            }
        }
        let may_push = self.miner.subscribed && self.miner.login == Login::Done;
        let has_work = self.miner.fresh_jobs > 0 || self.cuts == 0 || !may_push;
        self.books.hold(has_work, || "cut over without a job".to_owned());
        self.cuts += 1;
    }

    fn goes_up(&mut self, number: u32, lines: Vec<serde_json::Value>) {
        for line in lines {
            let now = self.now();
            self.books.note(|| format!("{} {number}< {line}", now.0));
            let params = line.get("params").and_then(serde_json::Value::as_array);
            if line.get("method").and_then(serde_json::Value::as_str) == Some("mining.submit") {
                self.books.went_up(number, params.map_or(&[], Vec::as_slice), now);
            }
            let after = self.dice.below(60);
            let Some(link) = self.outside.link(number) else { continue };
            link.last_up = now.plus(after).max(link.last_up);
            let at = link.last_up;
            self.outside.schedule(at, Due::Reads(number, line.to_string()));
        }
    }

    fn check_machine(&mut self) {
        let now = self.now();
        let Some(machine) = &self.machine else { return };
        let active = machine.active().map(|leg| leg.id);
        self.model.has_leg(active.is_some(), now);
        for nonce in std::mem::take(&mut self.miner.authored) {
            let share = self.books.shares.get(&nonce);
            let (of, went_at) = share.map_or((0, now), |share| (share.job.0, share.went_at));
            let stands = self.outside.links.iter().any(|link| link.number == of);
            // A pool that answers later shares has skipped it.
            let is_skipped = now.since(went_at) >= SKIPPED_MS;
            self.books.hold(!stands || is_skipped, || {
                format!("share {nonce} is given up, but its leg stands")
            });
        }
        if let Some(closing) = machine.closing() {
            let why = closing.why.clone();
            return self.end(&why);
        }
        let legs = machine.legs();
        self.books.hold(legs.len() <= 3, || format!("{} legs", legs.len()));
        let mut ids: Vec<_> = legs.iter().map(|leg| leg.id).collect();
        let mut links: Vec<_> = self.outside.links.iter().map(|link| link.leg).collect();
        ids.sort_unstable();
        links.sort_unstable();
        self.books.hold(ids == links, || format!("legs {ids:?}, connections {links:?}"));
        for leg in legs {
            let link = self.outside.link_of(leg.id);
            let number = link.map_or(0, |link| link.number);
            let booked = self.books.outstanding.get(&number).copied().unwrap_or(0);
            self.books.hold(leg.outstanding == booked, || {
                format!("leg {} has {} shares outstanding, not {booked}", leg.id, leg.outstanding)
            });
            let in_flight = matches!(leg.role, Role::Dialling | Role::Greeting);
            let is_held = link.is_some_and(|link| link.admitted);
            self.books.hold(in_flight || !is_held, || {
                format!("leg {} is {:?} and still in flight", leg.id, leg.role)
            });
        }
        let coin = machine.coin().map(|coin| coin.as_str().to_owned());
        let target = self.model.target.clone();
        self.books.hold(coin == target, || format!("it goes to {coin:?}, not {target:?}"));
        let (identified, holders) = (self.model.identified, self.outside.holders);
        let has_name = machine.who().is_some() == identified;
        self.books.hold(has_name && holders == i32::from(identified), || {
            format!("identified {identified}, {holders} hold the sub-account")
        });
        let (told, counts) = (self.outside.counts, self.books.counts);
        self.books.hold(told == counts, || format!("it tells of {told:?}, there are {counts:?}"));
        if self.miner.fresh_jobs > 0 {
            self.check_work(active);
        }
    }

    /// The job the miner got last is of the leg that serves it, at a difficulty of that leg.
    fn check_work(&mut self, active: Option<LegId>) {
        let told = self.miner.difficulty();
        let Some(work) = self.miner.work.back() else { return };
        let key = work.key;
        let link = self.outside.links.iter().find(|link| Some(link.leg) == active);
        let is_active = link.is_some_and(|link| link.number == key.0);
        self.books.hold(is_active, || format!("job {key:?} is not of the active leg"));
        let Some(LinkState::Up(connection)) = link.map(|link| &link.state) else { return };
        let has_own = self.books.jobs.get(&key).is_some_and(|job| job.difficulty.is_some());
        let is_theirs = told.is_none_or(|told| {
            told.to_bits() == 1.0_f64.to_bits() || connection.difficulties.contains(&told)
        });
        self.books.hold(has_own || is_theirs, || format!("job {key:?} is mined at {told:?}"));
    }

    /// For how long a pool has been well that could serve the session where it shall be.
    pub(crate) fn reachable(&self) -> u64 {
        let (Some(target), Some(own)) = (&self.model.target, self.own()) else { return 0 };
        let (plan, can) = (self.outside.plan, self.miner.can_be_told());
        let servable = self.scene.servable(plan, target, &own, can, &self.proposal());
        let well = |pool: &usize| {
            let since = self.well_since.get(*pool).copied().flatten();
            super::miner::lasted(since, self.now())
        };
        let well = servable.iter().map(well).max().unwrap_or(0);
        well.min(self.now().since(self.model.target_since.max(self.plan_since)))
    }

    /// What is proposed to pools that adopt it.
    pub(crate) fn proposal(&self) -> String {
        format!("{:08x}", 0x0100_0000 + self.sessions * 0x0001_0203)
    }

    /// The extranonce that the miner has or will be given, whatever it was told later; by the
    /// session's own account until the miner knows.
    pub(crate) fn own(&self) -> Option<(String, usize)> {
        if let Some(own) = &self.miner.first_own {
            return Some(own.clone());
        }
        let (mut extranonce1, mut size2) = (None, None);
        self.machine.as_ref()?.dialect().describe(&mut |name, value| match name {
            "extranonce1" => extranonce1 = Some(value.to_string()),
            "extranonce2_size" => size2 = value.to_string().parse().ok(),
            _ => {}
        });
        Some((extranonce1?, size2?))
    }

    fn end(&mut self, why: &str) {
        let now = self.now();
        let plan = self.scene.plan(self.outside.plan);
        let closing = Closing {
            why,
            now,
            reachable: self.reachable(),
            hold: plan.timing.hold,
            login: plan.timing.login,
            fault_limit: plan.limits.faults,
        };
        self.books.note(|| format!("{} closed: {why}", now.0));
        self.model.closed(&closing, &mut self.books);
        self.leave();
    }

    /// The session is over; all that it held goes back.
    pub(crate) fn leave(&mut self) {
        if let Some(machine) = self.machine.take()
            && machine.who().is_some()
        {
            self.outside.holders -= 1;
        }
        self.outside.links.clear();
        let holders = self.outside.holders;
        self.books.hold(holders == 0, || format!("{holders} hold a sub-account at the end"));
    }
}
