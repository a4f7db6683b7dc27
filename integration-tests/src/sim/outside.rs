//! The outside of the machine: what its [`Host`] calls do to connections, dials and permits. It
//! keeps what was written and told for the stage to look at after each call.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

use serde_json::Value;
use switcher_core::board::Standing;
use switcher_core::memory::Memory;
use switcher_core::plan::PoolId;
use switcher_core::session::machine::{Blame, DialError, DialWish, Event, Host, Note};
use switcher_plugin::{LegId, Millis, Retry, Side, SubAccount, Verdict, WorkerName};

use super::Manner;
use super::books::Counts;
use super::dice::Dice;
use super::pool::{Connection, Health};
use super::scene::Scene;

/// How long a connect may take.
const DIAL_MS: u64 = 5_000;

/// How long a leg stays that was left, usually and with descriptors short.
const LINGER_MS: u64 = 10_000;
const SHORT_LINGER_MS: u64 = 1_000;

/// Something that is due at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// The dial of a link ends.
    Dialled(u32),
    /// A pool has a new block template.
    Job(u32),
    /// The miner of this session closes its connection.
    Leaves(u32),
    /// Bytes of a pool arrive.
    Pump(u32),
    /// A line arrives at a pool.
    Reads(u32, String),
}

/// What is on its way from a pool.
#[derive(Debug)]
pub(crate) enum Parcel {
    Bytes(Vec<u8>),
    Close,
}

/// One leg as the outside sees it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) leg: LegId,
    pub(crate) number: u32,
    /// The pool's number in the scene, once one was chosen.
    pub(crate) pool: Option<usize>,
    pub(crate) state: LinkState,
    /// It holds a descriptor beyond the session's own.
    pub(crate) extra: bool,
    /// It has a place among the pool's legs in flight.
    pub(crate) admitted: bool,
    pub(crate) parcels: VecDeque<(Millis, Parcel)>,
    /// What has arrived and is not a whole frame yet.
    pub(crate) rx: Vec<u8>,
    /// When the last line that went up arrives.
    pub(crate) last_up: Millis,
    /// Times its session came back to it, each of which starts a new epoch.
    pub(crate) epochs: u32,
    /// Since when another leg serves the miner.
    pub(crate) left: Option<Millis>,
}

#[derive(Debug)]
pub(crate) enum LinkState {
    Dialling(Result<(), DialError>),
    Up(Box<Connection>),
}

/// What the machine has told or asked, as far as the model needs it.
#[derive(Debug)]
pub(crate) enum Told {
    CutOver,
    Disregarded(Side),
    Forgotten,
    Identified(Standing),
    Refused(&'static str),
    SentBack,
}

#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    down_until: Millis,
    failures: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) scene: Rc<Scene>,
    pub(crate) plan: usize,
    pub(crate) now: Millis,
    pub(crate) dice: Dice,
    pub(crate) health: Vec<Health>,
    reach: Vec<Reach>,
    pub(crate) links: Vec<Link>,
    pub(crate) next_link: u32,
    pub(crate) extra_limit: usize,
    pub(crate) short: bool,
    pub(crate) board: Standing,
    pub(crate) due: BinaryHeap<Reverse<(Millis, u64, Due)>>,
    due_count: u64,
    pub(crate) down: Vec<u8>,
    pub(crate) up: Vec<(u32, Vec<u8>)>,
    pub(crate) told: Vec<Told>,
    pub(crate) dials: u64,
    pub(crate) holders: i32,
    /// Shares as the machine has told of them.
    pub(crate) counts: Counts,
    pub(crate) memory: Memory,
    pub(crate) misuse: Option<String>,
}

impl Outside {
    pub(crate) fn new(scene: Rc<Scene>, dice: Dice, board: Standing) -> Self {
        let count = scene.pools.len();
        Self {
            scene,
            plan: 0,
            now: Millis(1_000_000),
            dice,
            health: vec![Health::Well; count],
            reach: vec![Reach::default(); count],
            links: Vec::new(),
            next_link: 1,
            extra_limit: 2,
            short: false,
            board,
            due: BinaryHeap::new(),
            due_count: 0,
            down: Vec::new(),
            up: Vec::new(),
            told: Vec::new(),
            dials: 0,
            holders: 0,
            counts: Counts::default(),
            memory: Memory::default(),
            misuse: None,
        }
    }

    pub(crate) fn schedule(&mut self, at: Millis, due: Due) {
        self.due_count += 1;
        self.due.push(Reverse((at, self.due_count, due)));
    }

    pub(crate) fn link(&mut self, number: u32) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.number == number)
    }

    pub(crate) fn link_of(&self, leg: LegId) -> Option<&Link> {
        self.links.iter().find(|link| link.leg == leg)
    }

    pub(crate) fn drop_link(&mut self, leg: LegId) {
        self.links.retain(|link| link.leg != leg);
    }

    pub(crate) fn health_of(&self, pool: usize) -> Health {
        self.health.get(pool).copied().unwrap_or(Health::Well)
    }

    /// Sends something from a pool, behind all that it has sent before.
    pub(crate) fn post(&mut self, number: u32, after: u64, parcel: Parcel) {
        let now = self.now;
        let Some(link) = self.link(number) else { return };
        let earliest = link.parcels.back().map_or(now, |(at, _)| *at);
        let at = now.plus(after).max(earliest);
        link.parcels.push_back((at, parcel));
        self.schedule(at, Due::Pump(number));
    }

    fn reach(&mut self, pool: usize) -> &mut Reach {
        self.reach.get_mut(pool).expect("pools are numbered as in the scene")
    }

    pub(crate) fn failed(&mut self, pool: usize) {
        let now = self.now;
        let reach = self.reach(pool);
        if now >= reach.down_until {
            let pause = (250_u64 << reach.failures.min(8)).min(5_000);
            reach.failures += 1;
            reach.down_until = now.plus(pause);
        }
    }

    fn choose(&mut self, wish: &DialWish<'_>) -> Result<usize, DialError> {
        let (scene, plan, now) = (Rc::clone(&self.scene), self.plan, self.now);
        let mut earliest = None;
        for &id in scene.plan(plan).pools_of(wish.coin) {
            if wish.better_than == Some(id) {
                break;
            }
            if wish.except.contains(&id) || wish.exactly.is_some_and(|exactly| exactly != id) {
                continue;
            }
            let pool = scene.number(plan, id);
            let free_at = self.reach(pool).down_until;
            if free_at <= now {
                return Ok(pool);
            }
            earliest = Some(earliest.map_or(free_at, |at: Millis| at.min(free_at)));
        }
        Err(earliest.map_or(DialError::NoneLeft, DialError::NoneBefore))
    }

    fn number_of(&self, id: PoolId) -> usize {
        self.scene.number(self.plan, id)
    }
}

impl Host for Outside {
    fn write(&mut self, to: Side, bytes: &[u8]) {
        match to {
            Side::Downstream => self.down.extend_from_slice(bytes),
            Side::Upstream(leg) => match self.link_of(leg) {
                Some(Link { number, state: LinkState::Up(_), .. }) => {
                    let number = *number;
                    self.up.push((number, bytes.to_vec()));
                }
                _ => self.misuse = Some(format!("wrote to leg {leg}, which is not up")),
            },
        }
    }

    fn dial(&mut self, leg: LegId, wish: &DialWish<'_>) {
        let number = self.next_link;
        self.next_link += 1;
        let permits = self.links.iter().filter(|link| link.extra).count();
        let mut extra = wish.extra;
        let mut pool = None;
        let outcome = if extra && permits >= self.extra_limit {
            extra = false;
            Err(DialError::NoneBefore(self.now.plus(200)))
        } else {
            self.choose(wish).map(|chosen| pool = Some(chosen))
        };
        // Who waits for a descriptor or a pool asks again without a connection being made.
        self.dials += u64::from(pool.is_some());
        let (after, outcome) = match (outcome, pool.map(|pool| self.health_of(pool))) {
            (Err(error), _) => (0, Err(error)),
            (Ok(()), Some(Health::Hangs)) => (DIAL_MS, Err(DialError::Pool)),
            (Ok(()), Some(Health::Refuses)) => (self.dice.below(50), Err(DialError::Pool)),
            (Ok(()), _) => (self.dice.below(80), Ok(())),
        };
        if self.links.iter().any(|link| link.leg == leg) {
            self.misuse = Some(format!("leg {leg} was dialled twice"));
        }
        self.links.push(Link {
            leg,
            number,
            pool,
            state: LinkState::Dialling(outcome),
            extra,
            admitted: pool.is_some(),
            parcels: VecDeque::new(),
            rx: Vec::new(),
            last_up: self.now,
            epochs: 0,
            left: None,
        });
        self.schedule(self.now.plus(after), Due::Dialled(number));
    }

    fn close_leg(&mut self, leg: LegId, answered: bool) {
        match self.link_of(leg) {
            None => self.misuse = Some(format!("leg {leg} was closed, which is not there")),
            Some(link) => {
                // Shares that were found before the cut are still on their way.
                let least = if self.short { SHORT_LINGER_MS } else { LINGER_MS };
                let stayed = link.left.map(|left| self.now.since(left));
                if answered && stayed.is_some_and(|stayed| stayed < least) {
                    self.misuse = Some(format!("leg {leg} stayed for {stayed:?} only"));
                }
            }
        }
        self.drop_link(leg);
    }

    fn identify(&mut self, _sub_account: &SubAccount, _worker: &WorkerName) -> Standing {
        self.holders += 1;
        self.told.push(Told::Identified(self.board.clone()));
        self.board.clone()
    }

    fn forget(&mut self, _sub_account: &SubAccount) {
        self.holders -= 1;
        self.told.push(Told::Forgotten);
    }

    fn remember(&mut self, key: &str, note: Note) {
        if self.scene.manner != Manner::SentBack {
            self.misuse = Some("a note about a miner that stays".to_owned());
        }
        self.memory.remember(key, note, self.now);
    }

    fn recall(&mut self, key: &str) -> Option<Note> {
        self.memory.recall(key, self.now).0
    }

    fn better_pool(&mut self, than: PoolId) -> bool {
        let (scene, plan, now) = (Rc::clone(&self.scene), self.plan, self.now);
        let coin = &scene.plan(plan).pool(than).coin;
        let mut better = scene.plan(plan).pools_of(coin).iter().take_while(|id| **id != than);
        better.any(|id| self.reach(scene.number(plan, *id)).down_until <= now)
    }

    fn descriptors_short(&self) -> bool {
        self.short
    }

    fn tell(&mut self, event: Event<'_>) {
        match event {
            Event::CutOver { .. } => self.told.push(Told::CutOver),
            Event::Disregarded(fault) => self.told.push(Told::Disregarded(fault.side)),
            Event::Learnt(pool, fact) => {
                self.scene.plan(self.plan).learn(pool, fact);
            }
            Event::LegLost(pool, blame, _) => {
                let pool = self.number_of(pool);
                match blame {
                    Blame::Handshake => self.failed(pool),
                    Blame::Nothing => {}
                    Blame::Service => {
                        let until = self.now.plus(5_000);
                        self.reach(pool).down_until = until;
                    }
                }
            }
            Event::LegReady(pool) => {
                let pool = self.number_of(pool);
                *self.reach(pool) = Reach::default();
                for link in self.links.iter_mut().filter(|link| link.pool == Some(pool)) {
                    link.admitted &= matches!(link.state, LinkState::Dialling(_));
                }
            }
            Event::LegRefused(pool, retry, _) => {
                let pool = self.number_of(pool);
                if matches!(retry, Retry::Later | Retry::User) {
                    self.failed(pool);
                }
            }
            Event::PluginFailed(what) => self.misuse = Some(format!("the dialect {what}")),
            Event::SentBack { .. } => {
                if self.scene.manner != Manner::SentBack {
                    self.misuse = Some("a miner was sent back".to_owned());
                }
                self.told.push(Told::SentBack);
            }
            Event::Refused(refusal) => self.told.push(Told::Refused(refusal.label())),
            Event::Share { verdict, .. } => {
                let is_ours = matches!(verdict, Verdict::Orphan | Verdict::Poolless);
                self.counts.judged += u32::from(!is_ours);
                self.counts.accepted += u32::from(verdict == Verdict::Accept);
            }
            Event::Submitted(_) => self.counts.submitted += 1,
            Event::CannotMove(_) | Event::Job(_) => {}
        }
    }
}

/// Whole lines as JSON.
pub(crate) fn lines(bytes: &[u8]) -> Result<Vec<Value>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "what is sent is no text".to_owned())?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(format!("half a line is sent: {text:?}"));
    }
    let read = |line| serde_json::from_str(line).map_err(|_| format!("no JSON is sent: {line}"));
    text.lines().map(read).collect()
}
