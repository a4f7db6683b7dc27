//! What each shard counts. Plain numbers with one writer, read by the admin thread at scrape.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use switcher_plugin::{FaultKind, Rung, Verdict};

use crate::plan::{Plan, PoolId};

/// A number that one thread adds to and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the shard that owns the counter may.
    pub fn add(&self, n: u64) {
        // One writer, so load and store need not be one operation.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes away, for gauges.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(n), Ordering::Relaxed);
    }

    /// The value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the value, when counters carry on after an upgrade.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
}

macro_rules! pool_counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters of one pool.
        #[derive(Debug, Default)]
        pub struct PoolCounters {
            $($(#[$doc])* pub $name: Counter,)*
            /// Legs that are up. A gauge: it does not travel in the state.
            pub legs: Counter,
            /// Sessions served. A gauge likewise.
            pub active: Counter,
        }

        impl PoolCounters {
            /// Names and counters.
            pub fn each(&self) -> [(&'static str, &Counter); [$(stringify!($name)),*].len()] {
                [$((stringify!($name), &self.$name)),*]
            }
        }
    };
}

pool_counters! {
    /// Shares the pool accepted.
    accepted,
    /// Sum of their difficulties, in millionths.
    accepted_difficulty_micro,
    /// TCP connects tried.
    dials,
    /// … that failed.
    dial_failures,
    /// Jobs received, counted once per leg.
    jobs,
    /// Legs lost.
    legs_lost,
    /// Handshakes that ended well.
    legs_ready,
    /// Handshakes refused.
    legs_refused,
    /// Shares refused, other than as stale.
    rejected,
    /// Shares refused with code 21.
    stale,
    /// Shares sent.
    submitted,
    /// Sessions moved here.
    switched_here,
    /// Shares whose answer never came.
    unanswered,
}

/// All counters of one shard.
#[derive(Debug)]
pub struct ShardCounters {
    /// Sessions given to the shard. Written by others too.
    pub load: AtomicUsize,
    /// By [`PoolId`].
    pub pools: Vec<PoolCounters>,
    /// Faults of miners, in the order of [`FaultKind::ALL`].
    pub miner_faults: [Counter; FaultKind::ALL.len()],
    /// Faults of pools, likewise.
    pub pool_faults: [Counter; FaultKind::ALL.len()],
    /// Cut-overs by [`Rung`].
    pub rungs: [Counter; 5],
    /// Sessions opened.
    pub sessions_opened: Counter,
    /// Sessions ended.
    pub sessions_closed: Counter,
    /// Notes kept about miners that were sent back.
    pub notes_kept: Counter,
    /// … that a returning miner found.
    pub notes_recalled: Counter,
    /// … that nobody came for.
    pub notes_forgotten: Counter,
    /// Sessions that were refused a leg.
    pub refused: Counter,
    /// Assignments that could not be followed.
    pub cannot_move: Counter,
    /// Sessions moved from one coin to another.
    pub switches: Counter,
    /// Milliseconds those took, summed.
    pub switch_ms: Counter,
    /// Sessions brought to another pool of the same coin.
    pub failovers: Counter,
    /// Shares of jobs whose leg was gone.
    pub orphans: Counter,
    /// Shares that came while there was no pool.
    pub poolless: Counter,
    /// Bytes read from miners.
    pub bytes_from_miners: Counter,
    /// Bytes read from pools.
    pub bytes_from_pools: Counter,
    /// Frames from miners.
    pub frames_from_miners: Counter,
    /// Frames from pools.
    pub frames_from_pools: Counter,
    /// Sessions resumed from a saved state.
    pub sessions_resumed: Counter,
    /// Miners turned away because all short ids of their dialect were taken.
    pub short_ids_exhausted: Counter,
}

impl ShardCounters {
    /// Counters at zero for the pools of the plan.
    pub fn new(plan: &Plan) -> Self {
        Self {
            load: AtomicUsize::new(0),
            pools: plan.pools.iter().map(|_| PoolCounters::default()).collect(),
            miner_faults: Default::default(),
            pool_faults: Default::default(),
            rungs: Default::default(),
            sessions_opened: Counter::default(),
            sessions_closed: Counter::default(),
            notes_kept: Counter::default(),
            notes_recalled: Counter::default(),
            notes_forgotten: Counter::default(),
            refused: Counter::default(),
            cannot_move: Counter::default(),
            switches: Counter::default(),
            switch_ms: Counter::default(),
            failovers: Counter::default(),
            orphans: Counter::default(),
            poolless: Counter::default(),
            bytes_from_miners: Counter::default(),
            bytes_from_pools: Counter::default(),
            frames_from_miners: Counter::default(),
            frames_from_pools: Counter::default(),
            sessions_resumed: Counter::default(),
            short_ids_exhausted: Counter::default(),
        }
    }

    /// Counters without a label, with their names.
    pub fn plain(&self) -> [(&'static str, &Counter); 18] {
        [
            ("sessions_opened", &self.sessions_opened),
            ("sessions_closed", &self.sessions_closed),
            ("sessions_refused", &self.refused),
            ("sessions_resumed", &self.sessions_resumed),
            ("short_ids_exhausted", &self.short_ids_exhausted),
            ("notes_kept", &self.notes_kept),
            ("notes_recalled", &self.notes_recalled),
            ("notes_forgotten", &self.notes_forgotten),
            ("cannot_move", &self.cannot_move),
            ("switches", &self.switches),
            ("switch_milliseconds", &self.switch_ms),
            ("failovers", &self.failovers),
            ("orphan_shares", &self.orphans),
            ("poolless_shares", &self.poolless),
            ("bytes_from_miners", &self.bytes_from_miners),
            ("bytes_from_pools", &self.bytes_from_pools),
            ("frames_from_miners", &self.frames_from_miners),
            ("frames_from_pools", &self.frames_from_pools),
        ]
    }

    /// All counters that travel in the state, with a name that is the same in every version.
    pub(crate) fn each(&self, plan: &Plan, mut with: impl FnMut(String, &Counter)) {
        for (name, counter) in self.plain() {
            with(name.to_owned(), counter);
        }
        for (pool, counters) in plan.pools.iter().zip(&self.pools) {
            for (name, counter) in counters.each() {
                with(format!("pool/{}/{name}", pool.name), counter);
            }
        }
        for (kind, counter) in FaultKind::ALL.iter().zip(&self.miner_faults) {
            with(format!("miner_fault/{}", kind.label()), counter);
        }
        for (kind, counter) in FaultKind::ALL.iter().zip(&self.pool_faults) {
            with(format!("pool_fault/{}", kind.label()), counter);
        }
        for (rung, counter) in Rung::ALL.iter().zip(&self.rungs) {
            with(format!("rung/{}", rung.label()), counter);
        }
    }

    pub(crate) fn pool(&self, pool: PoolId) -> &PoolCounters {
        self.pools.get(usize::from(pool.0)).expect("counters are made for the plan's pools")
    }

    pub(crate) fn fault(&self, by_miner: bool, kind: FaultKind) {
        let faults = if by_miner { &self.miner_faults } else { &self.pool_faults };
        let at = FaultKind::ALL.iter().position(|&known| known == kind);
        if let Some(counter) = at.and_then(|at| faults.get(at)) {
            counter.add(1);
        }
    }

    pub(crate) fn rung(&self, rung: Rung) {
        let at = Rung::ALL.iter().position(|&known| known == rung);
        if let Some(counter) = at.and_then(|at| self.rungs.get(at)) {
            counter.add(1);
        }
    }

    pub(crate) fn share(&self, pool: Option<PoolId>, verdict: Verdict, difficulty: f64) {
        match (verdict, pool.map(|pool| self.pool(pool))) {
            (Verdict::Accept, Some(pool)) => {
                pool.accepted.add(1);
                pool.accepted_difficulty_micro.add(micro(difficulty));
            }
            (Verdict::Reject(21), Some(pool)) => pool.stale.add(1),
            (Verdict::Reject(_), Some(pool)) => pool.rejected.add(1),
            (Verdict::Unanswered, Some(pool)) => pool.unanswered.add(1),
            (Verdict::Poolless, _) => self.poolless.add(1),
            (_, _) => self.orphans.add(1),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float is cast saturating, and a negative difficulty counts as none"
)]
fn micro(difficulty: f64) -> u64 {
    (difficulty * 1e6) as u64
}
