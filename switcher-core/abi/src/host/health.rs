//! How a plug-in behaves: its failures, its slow and its hanging calls, and what follows from them.
//!
//! A failure costs the session it happened in. Five within a minute, or one call that takes over a
//! second, put the plug-in into quarantine: it takes no new miners until the program is restarted
//! or upgraded; those it has stay. A call that does not come back is seen by a thread that watches
//! all calls, while its shard hangs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use nix::time::ClockId;

use super::calls::millis;

/// A call of a dialect that takes longer is reported.
const SLOW_MS: u64 = 50;

/// A call of a dialect that takes longer puts the plug-in into quarantine.
const HANGING_MS: u64 = 1_000;

/// A call of a source, which has a thread of its own, that takes longer is reported.
const SOURCE_MS: u64 = 5_000;

/// So many failures …
const MOST_FAULTS: usize = 5;

/// … within so long put the plug-in into quarantine.
const FAULTS_WITHIN_MS: u64 = 60_000;

/// How often calls in progress are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Looks that are so far apart mean that the machine stood still, not a plug-in.
const STALL_MS: u64 = 1_000;

/// One plug-in's record.
#[derive(Debug)]
pub struct Health {
    origin: String,
    name: OnceLock<String>,
    /// Its place in [`REGISTRY`].
    number: usize,
    faults: AtomicU64,
    slow_calls: AtomicU64,
    refused_sessions: AtomicU64,
    late_posts: AtomicU64,
    recent: Mutex<VecDeque<u64>>,
    last: Mutex<Option<String>>,
    quarantine: OnceLock<String>,
}

/// How a plug-in stands, for whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Failures: each ended a session.
    pub faults: u64,
    /// Calls that took over 50 ms.
    pub slow_calls: u64,
    /// Miners turned away in quarantine.
    pub refused_sessions: u64,
    /// Facts a source posted after it was stopped.
    pub late_posts: u64,
    /// Calls that have not come back for over a second.
    pub hanging_calls: u64,
    /// The last failure.
    pub last_fault: Option<String>,
    /// Why it takes no new miners, if so.
    pub quarantine: Option<String>,
}

/// All plug-ins of the process; they stay for ever.
static REGISTRY: Mutex<Vec<Arc<Health>>> = Mutex::new(Vec::new());

/// The calls in progress, one place per thread.
static SLOTS: Mutex<Vec<Weak<Slot>>> = Mutex::new(Vec::new());

/// When calls were last looked at.
static LOOKED: AtomicU64 = AtomicU64::new(0);

/// When the machine last came out of standing still.
static STALLED: AtomicU64 = AtomicU64::new(0);

/// How long a call has taken, as far as it is the plug-in's doing: a machine that stood still (a
/// virtual one that was moved) has to answer for that time itself.
fn taken(since: u64, now: u64) -> u64 {
    if now.saturating_sub(LOOKED.load(Ordering::Relaxed)) > STALL_MS {
        return 0;
    }
    now.saturating_sub(since.max(STALLED.load(Ordering::Relaxed)))
}

#[derive(Debug, Default)]
struct Slot {
    /// When the call began, 0 if there is none.
    since: AtomicU64,
    /// Whose it is.
    number: AtomicUsize,
    /// How long it may take.
    limit: AtomicU64,
    /// The beginning of the call that was reported last.
    told: AtomicU64,
}

thread_local! {
    static SLOT: Arc<Slot> = {
        let slot = Arc::default();
        SLOTS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&slot));
        slot
    };
}

fn now() -> u64 {
    // Cheap, and exact to a few milliseconds.
    millis(ClockId::CLOCK_MONOTONIC_COARSE).max(1)
}

impl Health {
    /// The record of a plug-in that is about to be loaded. It is watched from now on.
    pub(super) fn new(origin: &str) -> Arc<Self> {
        let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        if registry.is_empty() {
            LOOKED.store(now(), Ordering::Relaxed);
            let watching = std::thread::Builder::new().name("plugin-watch".to_owned()).spawn(watch);
            if let Err(error) = watching {
                tracing::error!(%error, "calls of plug-ins are not watched");
            }
        }
        let health = Arc::new(Self {
            origin: origin.to_owned(),
            name: OnceLock::new(),
            number: registry.len(),
            faults: AtomicU64::new(0),
            slow_calls: AtomicU64::new(0),
            refused_sessions: AtomicU64::new(0),
            late_posts: AtomicU64::new(0),
            recent: Mutex::default(),
            last: Mutex::default(),
            quarantine: OnceLock::new(),
        });
        registry.push(Arc::clone(&health));
        health
    }

    pub(super) fn set_name(&self, name: &str) {
        let _ = self.name.set(name.to_owned());
    }

    /// What the plug-in calls itself; its path until that is known.
    pub fn name(&self) -> &str {
        self.name.get().unwrap_or(&self.origin)
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Standing {
            faults: count(&self.faults),
            slow_calls: count(&self.slow_calls),
            refused_sessions: count(&self.refused_sessions),
            late_posts: count(&self.late_posts),
            hanging_calls: self.hanging_calls(),
            last_fault: self.last.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            quarantine: self.quarantine.get().cloned(),
        }
    }

    fn hanging_calls(&self) -> u64 {
        let now = now();
        let hangs = |slot: &Slot| {
            let since = slot.since.load(Ordering::Relaxed);
            since != 0
                && slot.number.load(Ordering::Relaxed) == self.number
                && taken(since, now) > slot.limit.load(Ordering::Relaxed)
        };
        let slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().filter_map(Weak::upgrade).filter(|slot| hangs(slot)).count() as u64
    }

    /// Whether it takes no new miners.
    pub(super) fn is_quarantined(&self) -> bool {
        self.quarantine.get().is_some()
    }

    /// Calls a function of one of its dialects.
    pub(super) fn call<T>(&self, call: impl FnOnce() -> T) -> T {
        let (result, took) = self.timed(HANGING_MS, call);
        if took > SLOW_MS {
            self.slow_calls.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(plugin = self.name(), took_ms = took, "slow call of a plug-in");
            if took > HANGING_MS {
                self.quarantine(format!("a call took {took} ms"));
            }
        }
        result
    }

    /// Calls a function of one of its sources, from a thread that does nothing else.
    pub(super) fn call_source<T>(&self, call: impl FnOnce() -> T) -> T {
        self.timed(SOURCE_MS, call).0
    }

    fn timed<T>(&self, limit: u64, call: impl FnOnce() -> T) -> (T, u64) {
        SLOT.with(|slot| {
            let since = now();
            slot.number.store(self.number, Ordering::Relaxed);
            slot.limit.store(limit, Ordering::Relaxed);
            slot.since.store(since, Ordering::Relaxed);
            let result = call();
            slot.since.store(0, Ordering::Relaxed);
            (result, taken(since, now()))
        })
    }

    /// It has failed; `what` says how.
    pub(super) fn fault(&self, what: &str) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        tracing::error!(plugin = self.name(), what, "plug-in has failed");
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(what.to_owned());
        let now = now();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(now);
        recent.retain(|at| now.saturating_sub(*at) <= FAULTS_WITHIN_MS);
        if recent.len() >= MOST_FAULTS {
            recent.clear();
            drop(recent);
            let minute = FAULTS_WITHIN_MS / 1_000;
            self.quarantine(format!("{MOST_FAULTS} failures within {minute} s, the last: {what}"));
        }
    }

    fn quarantine(&self, why: String) {
        if self.quarantine.set(why).is_ok() {
            tracing::error!(
                plugin = self.name(),
                why = self.quarantine.get(),
                "plug-in is in quarantine: no new miners until the next upgrade or restart"
            );
        }
    }

    /// A miner was turned away.
    pub(super) fn refused(&self) {
        self.refused_sessions.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(plugin = self.name(), "a miner was refused: its plug-in is in quarantine");
    }

    /// A source posted after it was stopped.
    pub(super) fn late(&self, source: &str) {
        self.late_posts.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(plugin = self.name(), source, "posted after it was stopped; dropped");
    }
}

/// Looks for calls that do not come back.
fn watch() {
    loop {
        std::thread::sleep(LOOK);
        let before = LOOKED.swap(now(), Ordering::Relaxed);
        if now().saturating_sub(before) > STALL_MS {
            STALLED.store(now(), Ordering::Relaxed);
        }
        let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| slot.strong_count() > 0);
        let live: Vec<_> = slots.iter().filter_map(Weak::upgrade).collect();
        drop(slots);
        for slot in live {
            let (since, now) = (slot.since.load(Ordering::Relaxed), now());
            let limit = slot.limit.load(Ordering::Relaxed);
            if since == 0 || taken(since, now) <= limit {
                continue;
            }
            if slot.told.swap(since, Ordering::Relaxed) == since {
                continue;
            }
            let number = slot.number.load(Ordering::Relaxed);
            let registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(health) = registry.get(number).map(Arc::clone) else { continue };
            drop(registry);
            let for_ms = now - since;
            tracing::error!(
                plugin = health.name(),
                for_ms,
                "plug-in does not come back from a call; its thread serves nobody meanwhile"
            );
            if limit == HANGING_MS {
                health.quarantine("a call does not come back".to_owned());
            }
        }
    }
}

/// Plug-ins that do not come back from a call at this moment, for the reason of an upgrade that
/// comes to nothing.
pub fn hanging() -> Vec<String> {
    let registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let hangs = |health: &&Arc<Health>| health.hanging_calls() > 0;
    registry.iter().filter(hangs).map(|health| health.name().to_owned()).collect()
}
