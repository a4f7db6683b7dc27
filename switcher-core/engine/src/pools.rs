//! A shard's view of the pools: which may be dialled, how fast, and who waits for it.
//!
//! Shards share nothing here: each has its part of a pool's pacing and learns for itself that a
//! pool is down. A pool that failed is tried by one session at a time until one gets through.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use switcher_plugin::{LegId, Millis, SessionId, SubAccount};

use crate::plan::{Plan, PoolId};
use crate::session::machine::{DialError, DialWish};

/// Longest pause between tries of a pool that is down. Miners wait for it, so it is short.
const LONGEST_PAUSE_MS: u64 = 5_000;

/// Pause before others look again at a pool that one session is trying.
const TRIAL_PAUSE_MS: u64 = 250;

/// Refused users remembered at most; beyond that all are forgotten and found out anew.
const MOST_REFUSALS: usize = 10_000;

/// Who wants a dial: the session's place in the slab, its number, and the leg.
pub(crate) type Caller = (usize, SessionId, LegId);

/// See the module.
#[derive(Debug)]
pub(crate) struct Pools {
    states: Vec<PoolState>,
    refused: HashMap<(PoolId, SubAccount), Refused>,
    /// By pool: shards whose sessions may meet it.
    shards: Vec<u64>,
}

#[derive(Debug, Default)]
struct PoolState {
    down_until: Millis,
    failures: u32,
    /// The caller that tries a pool that failed.
    trial: Option<Caller>,
    next_address: usize,
    in_flight: u32,
    /// Theoretical time of the next dial, in microseconds (GCRA).
    next_slot: u64,
    queue: VecDeque<Caller>,
}

#[derive(Debug)]
struct Refused {
    until: Millis,
    failures: u32,
}

/// A pool as the API shows it, from one shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolHealth {
    pub(crate) failures: u32,
    pub(crate) in_flight: u32,
    pub(crate) queued: usize,
    pub(crate) down: bool,
}

impl Pools {
    pub(crate) fn new(plan: &Plan, shards: usize) -> Self {
        Self {
            states: plan.pools.iter().map(|_| PoolState::default()).collect(),
            refused: HashMap::new(),
            shards: plan.pools.iter().map(|pool| (shards * plan.groups_of(pool)) as u64).collect(),
        }
    }

    fn state(&mut self, pool: PoolId) -> &mut PoolState {
        self.states.get_mut(usize::from(pool.0)).expect("pool ids come from the plan")
    }

    /// The pool to dial for this wish.
    pub(crate) fn choose(
        &mut self,
        plan: &Plan,
        wish: &DialWish<'_>,
        sub_account: Option<&SubAccount>,
        caller: Caller,
        now: Millis,
    ) -> Result<PoolId, DialError> {
        let mut earliest = None;
        for &pool in plan.pools_of(wish.coin) {
            if wish.better_than == Some(pool) {
                break;
            }
            if wish.except.contains(&pool) || wish.exactly.is_some_and(|exactly| exactly != pool) {
                continue;
            }
            let mut free_at = self.free_at(pool, now);
            if let Some(refused) =
                sub_account.and_then(|name| self.refused.get(&(pool, name.clone())))
            {
                free_at = free_at.max(refused.until);
            }
            if free_at <= now {
                let state = self.state(pool);
                if state.failures > 0 {
                    state.trial = Some(caller);
                }
                return Ok(pool);
            }
            earliest = Some(earliest.map_or(free_at, |at: Millis| at.min(free_at)));
        }
        Err(earliest.map_or(DialError::NoneLeft, DialError::NoneBefore))
    }

    /// Whether a pool that stands before this one may be tried.
    pub(crate) fn has_better(&mut self, plan: &Plan, than: PoolId, now: Millis) -> bool {
        let coin = &plan.pool(than).coin;
        plan.pools_of(coin)
            .iter()
            .take_while(|&&pool| pool != than)
            .any(|&pool| self.free_at(pool, now) <= now)
    }

    fn free_at(&mut self, pool: PoolId, now: Millis) -> Millis {
        let state = self.state(pool);
        if state.trial.is_some() { now.plus(TRIAL_PAUSE_MS) } else { state.down_until }
    }

    /// An address of the pool; the next one each time.
    pub(crate) fn address(&mut self, plan: &Plan, pool: PoolId) -> Option<SocketAddr> {
        let addresses = plan.pool(pool).addresses();
        let state = self.state(pool);
        let at = state.next_address % addresses.len().max(1);
        state.next_address = state.next_address.wrapping_add(1);
        addresses.get(at).copied()
    }

    /// The caller waits for its turn to dial.
    pub(crate) fn queue(&mut self, pool: PoolId, caller: Caller) {
        self.state(pool).queue.push_back(caller);
    }

    /// Whose turn it is, and when to ask again if somebody has to wait for the pace.
    pub(crate) fn admit(
        &mut self,
        plan: &Plan,
        pool: PoolId,
        now: Millis,
    ) -> (Vec<Caller>, Option<Millis>) {
        let pacing = plan.pool(pool).pacing;
        let shards = self.shards.get(usize::from(pool.0)).copied().unwrap_or(1).max(1);
        let most = match u64::from(pacing.in_flight) {
            0 => u32::MAX,
            all => u32::try_from((all / shards).max(1)).unwrap_or(u32::MAX),
        };
        let interval = match u64::from(pacing.dials_per_second) {
            0 => 0,
            rate => 1_000_000 * shards / rate,
        };
        let state = self.state(pool);
        let now_us = now.0 * 1_000;
        let mut admitted = Vec::new();
        while !state.queue.is_empty() && state.in_flight < most {
            let slot = state.next_slot.max(now_us);
            if slot > now_us {
                return (admitted, Some(Millis(slot.div_ceil(1_000))));
            }
            state.next_slot = slot + interval;
            state.in_flight += 1;
            admitted.extend(state.queue.pop_front());
        }
        (admitted, None)
    }

    /// The caller's dial or handshake is over, or it does not want it any more.
    pub(crate) fn leave(&mut self, pool: PoolId, caller: Caller, was_admitted: bool) {
        let state = self.state(pool);
        if state.trial == Some(caller) {
            state.trial = None;
        }
        if was_admitted {
            state.in_flight = state.in_flight.saturating_sub(1);
        } else if let Some(at) = state.queue.iter().position(|&queued| queued == caller) {
            state.queue.remove(at);
        }
    }

    /// A leg to the pool became ready.
    pub(crate) fn succeeded(&mut self, pool: PoolId, sub_account: Option<&SubAccount>) {
        let state = self.state(pool);
        state.failures = 0;
        state.down_until = Millis(0);
        state.trial = None;
        if let Some(name) = sub_account {
            self.refused.remove(&(pool, name.clone()));
        }
    }

    /// The pool could not be reached or did not finish a handshake. True if that is news.
    pub(crate) fn failed(&mut self, pool: PoolId, now: Millis) -> bool {
        let state = self.state(pool);
        state.trial = None;
        // All sessions find out at once; that is one failure.
        if now < state.down_until {
            return false;
        }
        let pause = (250_u64 << state.failures.min(8)).min(LONGEST_PAUSE_MS);
        state.failures += 1;
        state.down_until = now.plus(pause);
        state.failures == 1
    }

    /// The pool takes miners but does not serve them: nobody goes there for so long.
    pub(crate) fn keep_away(&mut self, pool: PoolId, now: Millis, pause: u64) {
        let state = self.state(pool);
        state.failures = state.failures.max(1);
        state.down_until = now.plus(pause);
    }

    /// The pool refuses this user; its sessions wait until one has got through.
    pub(crate) fn refused(
        &mut self,
        pool: PoolId,
        sub_account: &SubAccount,
        now: Millis,
        longest: u64,
    ) {
        if self.refused.len() >= MOST_REFUSALS {
            self.refused.clear();
        }
        let entry = self
            .refused
            .entry((pool, sub_account.clone()))
            .or_insert(Refused { until: Millis(0), failures: 0 });
        if now < entry.until {
            return;
        }
        let pause = (1_000_u64 << entry.failures.min(16)).min(longest);
        entry.failures += 1;
        entry.until = now.plus(pause);
    }

    pub(crate) fn health(&self, now: Millis) -> Vec<PoolHealth> {
        let health = |state: &PoolState| PoolHealth {
            failures: state.failures,
            in_flight: state.in_flight,
            queued: state.queue.len(),
            down: state.down_until > now || state.failures > 0,
        };
        self.states.iter().map(health).collect()
    }
}
