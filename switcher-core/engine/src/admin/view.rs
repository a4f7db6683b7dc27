//! What the API shows, as plain structs.

use std::collections::BTreeMap;

use serde::Serialize;
use switcher_plugin::{Coin, SubAccount, WorkerName};

use super::AdminContext;
use crate::clock;
use crate::counters::PoolCounters;
use crate::pools::PoolHealth;
use crate::session::Session;
use crate::session::machine::{Leg, Machine, Role};
use crate::shard::Shard;

/// A session.
#[derive(Debug, Serialize)]
pub(crate) struct SessionView {
    #[serde(skip)]
    pub(crate) number: u64,
    /// Its number in hexadecimal, as in the logs.
    pub(crate) session: String,
    peer: String,
    listener: String,
    dialect: Option<String>,
    sub_account: Option<SubAccount>,
    worker: Option<WorkerName>,
    /// Where it shall be.
    coin: Option<Coin>,
    legs: Vec<LegView>,
    accepted: u32,
    rejected: u32,
    last_share_ms_ago: Option<u64>,
    /// How often the miner was sent back on its way to the coin.
    sent_back: u8,
    /// What stands in the way of the assignment, if anything.
    trouble: Option<String>,
    /// What the dialect says of itself: agent, extranonce1, difficulty …
    state: BTreeMap<String, String>,
}

/// One of its legs.
#[derive(Debug, Serialize)]
struct LegView {
    leg: u32,
    role: Role,
    coin: Coin,
    pool: Option<String>,
    rung: Option<&'static str>,
    outstanding: u32,
}

impl SessionView {
    pub(crate) fn of(session: &Session, shard: &Shard) -> Self {
        let machine = session.machine();
        let who = machine.and_then(Machine::who);
        let (last_share, accepted, rejected) = machine.map_or((None, 0, 0), Machine::shares);
        let mut state = BTreeMap::new();
        if let Some(machine) = machine {
            machine.dialect().describe(&mut |name, value| {
                state.insert(name.to_owned(), value.to_string());
            });
        }
        let leg = |leg: &Leg| LegView {
            leg: leg.id.0,
            role: leg.role,
            coin: leg.coin.clone(),
            pool: leg.pool.map(|pool| shard.plan.pool(pool).name.clone()),
            rung: leg.rung.map(switcher_plugin::Rung::label),
            outstanding: leg.outstanding,
        };
        Self {
            number: session.id().0,
            session: session.id().to_string(),
            peer: session.peer().to_string(),
            listener: shard.listener(session.listener()).name.clone(),
            dialect: session.dialect().map(|dialect| dialect.name().to_owned()),
            sub_account: who.map(|who| who.sub_account.clone()),
            worker: who.map(|who| who.worker.clone()),
            coin: machine.and_then(|machine| machine.coin().cloned()),
            legs: machine
                .map(|machine| machine.legs().iter().map(leg).collect())
                .unwrap_or_default(),
            accepted,
            rejected,
            last_share_ms_ago: last_share.map(|at| clock::now().since(at)),
            sent_back: machine.map_or(0, Machine::sent_back),
            trouble: machine.and_then(|machine| machine.trouble().map(str::to_owned)),
            state,
        }
    }
}

/// How one shard sees a pool.
#[derive(Debug)]
pub(crate) struct PoolShardView(PoolHealth);

impl From<PoolHealth> for PoolShardView {
    fn from(health: PoolHealth) -> Self {
        Self(health)
    }
}

/// A pool.
#[derive(Debug, Serialize)]
pub(crate) struct PoolView {
    pool: String,
    coin: Coin,
    address: String,
    resolved: Vec<String>,
    down: bool,
    failures: u32,
    in_flight: u32,
    queued: usize,
    sessions: u64,
    legs: u64,
    /// What was learnt about it.
    fact: Option<serde_json::Value>,
    counters: BTreeMap<&'static str, u64>,
}

/// All pools, with how each shard sees them.
pub(crate) fn pools(context: &AdminContext, health: &[Vec<PoolShardView>]) -> Vec<PoolView> {
    let counters = context.shards.all_counters();
    let view = |(at, pool): (usize, &crate::plan::PoolPlan)| {
        let seen: Vec<_> =
            health.iter().filter_map(|shard| shard.get(at)).map(|view| &view.0).collect();
        let mut sums = BTreeMap::new();
        let (mut sessions, mut legs) = (0, 0);
        for of_pool in counters.iter().filter_map(|shard| shard.pools.get(at)) {
            add(of_pool, &mut sums);
            sessions += of_pool.active.value();
            legs += of_pool.legs.value();
        }
        PoolView {
            pool: pool.name.clone(),
            coin: pool.coin.clone(),
            address: format!("{}:{}", pool.host, pool.port),
            resolved: pool.addresses().iter().map(ToString::to_string).collect(),
            down: !seen.is_empty() && seen.iter().any(|health| health.down),
            failures: seen.iter().map(|health| health.failures).max().unwrap_or(0),
            in_flight: seen.iter().map(|health| health.in_flight).sum(),
            queued: seen.iter().map(|health| health.queued).sum(),
            sessions,
            legs,
            fact: pool.fact().and_then(|fact| serde_json::from_str(&fact).ok()),
            counters: sums,
        }
    };
    context.plan.pools.iter().enumerate().map(view).collect()
}

fn add(counters: &PoolCounters, sums: &mut BTreeMap<&'static str, u64>) {
    for (name, counter) in counters.each() {
        *sums.entry(name).or_insert(0) += counter.value();
    }
}

/// A coin.
#[derive(Debug, Serialize)]
pub(crate) struct CoinView {
    coin: Coin,
    algorithm: String,
    family: String,
    pools: Vec<String>,
    sessions: u64,
    accepted: u64,
}

/// All coins.
pub(crate) fn coins(context: &AdminContext) -> Vec<CoinView> {
    let counters = context.shards.all_counters();
    let view = |(coin, plan): (&Coin, &crate::plan::CoinPlan)| {
        let sum = |of: fn(&PoolCounters) -> u64| -> u64 {
            let of_pool = |pool: &crate::plan::PoolId| -> u64 {
                counters
                    .iter()
                    .filter_map(|shard| shard.pools.get(usize::from(pool.0)))
                    .map(of)
                    .sum()
            };
            plan.pools.iter().map(of_pool).sum()
        };
        CoinView {
            coin: coin.clone(),
            algorithm: plan.algorithm.clone(),
            family: plan.family.clone(),
            pools: plan.pools.iter().map(|&id| context.plan.pool(id).name.clone()).collect(),
            sessions: sum(|pool| pool.active.value()),
            accepted: sum(|pool| pool.accepted.value()),
        }
    };
    context.plan.coins.iter().map(view).collect()
}
