//! Where a case takes place: coins, their pools, and two configurations the program may run with,
//! of which the second lacks a pool.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::{Value, json};
use switcher_core::Settings;
use switcher_core::plan::{Plan, PoolId};
use switcher_core::settings::{CoinSettings, ListenerSettings, Pacing, PoolSettings};
use switcher_plugin::{Coin, Rung, Rungs, StratumDialect};

use super::Manner;
use super::dice::Dice;

/// What is assigned: coins of the miner's algorithm, one of another, one that is not configured.
pub(crate) const COINS: [&str; 5] = ["btc", "bch", "small", "other", "nowhere"];

/// What a miner that notices nothing can be brought to pools by.
const UNNOTICED: Rungs = Rungs::NONE.with(Rung::Echo).with(Rung::Fold);

/// Sizes of extranonce2 that a miner can be told of, whatever its own is.
const TELLABLE: RangeInclusive<usize> = 4..=8;

/// One pool as it is in truth.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) coin: &'static str,
    pub(crate) extranonce1_size: usize,
    pub(crate) extranonce2_size: usize,
    /// It adopts the extranonce1 that is proposed to it.
    pub(crate) echo: bool,
    /// It gives every connection the same extranonce1.
    pub(crate) constant: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) pools: Vec<Spec>,
    pub(crate) plans: Vec<Plan>,
    pub(crate) manner: Manner,
}

impl Scene {
    pub(crate) fn draw(dice: &mut Dice, manner: Manner) -> Self {
        let all_echo = dice.chance(15);
        let mut pools = Vec::new();
        for (coin, count) in [("btc", 2), ("bch", 2), ("small", 1), ("other", 1)] {
            for at in 0..count {
                let echo = all_echo || dice.chance(15);
                let size = match coin {
                    "small" => 3,
                    _ if echo => 8,
                    _ => *dice.pick(&[8, 8, 8, 4, 4, 3, 6, 16]),
                };
                pools.push(Spec {
                    name: format!("{coin}-{at}"),
                    coin,
                    extranonce1_size: if echo { 4 } else { dice.index(9) },
                    extranonce2_size: size,
                    echo,
                    constant: dice.chance(30),
                });
            }
        }
        let options = match dice.below(8) {
            0 => json!({"extranonce": {"size1": 2, "size2": 2}}),
            1 => json!({"extranonce": {"size1": 1, "size2": 4}}),
            _ => Value::Null,
        };
        let lacking = dice.index(4);
        let plan = |lacking| plan(&pools, lacking, &options, manner);
        let plans = vec![plan(None), plan(Some(lacking))];
        Self { pools, plans, manner }
    }

    pub(crate) fn plan(&self, at: usize) -> &Plan {
        self.plans.get(at).expect("there are two plans")
    }

    /// By which rungs miners are brought to pools.
    pub(crate) fn rungs(&self) -> Rungs {
        self.plan(0).listeners.first().map_or(Rungs::NONE, |listener| listener.rungs)
    }

    pub(crate) fn spec(&self, at: usize) -> &Spec {
        self.pools.get(at).expect("pools are numbered as in the scene")
    }

    /// The number of a pool of one of the plans.
    pub(crate) fn number(&self, plan: usize, id: PoolId) -> usize {
        let name = &self.plan(plan).pool(id).name;
        self.pools.iter().position(|pool| pool.name == *name).expect("plans are of this scene")
    }

    /// Whether a session that mines `from` may be told to mine `to`, by the rules of the design.
    pub(crate) fn may_move(from: Option<&str>, to: &str) -> bool {
        let algorithm = |coin| if coin == "other" { "scrypt" } else { "sha256d" };
        to != "nowhere" && from.is_none_or(|from| algorithm(from) == algorithm(to))
    }

    /// The pools of a coin that a miner with such an extranonce can be served by, best first; one
    /// that can be told another included.
    pub(crate) fn servable(
        &self,
        plan: usize,
        coin: &str,
        own: &(String, usize),
        can_be_told: bool,
        echo: &str,
    ) -> Vec<usize> {
        let (extranonce1, size2) = own;
        let pools = self.plan(plan).pools_of(&Coin::new(coin)).iter();
        let fits = |at: &usize| {
            let pool = self.spec(*at);
            let adopts = pool.echo && echo == extranonce1 && *size2 == pool.extranonce2_size;
            let tells = self.manner == Manner::Told
                && can_be_told
                && pool.extranonce1_size > 0
                && TELLABLE.contains(&pool.extranonce2_size);
            adopts || tells || pool.extranonce2_size >= extranonce1.len() / 2 + size2
        };
        pools.map(|id| self.number(plan, *id)).filter(fits).collect()
    }

    /// Whether a coin has a pool that a miner which comes back for it can be given room for.
    pub(crate) fn servable_anew(&self, plan: usize, coin: &str) -> bool {
        let mut pools = self.plan(plan).pools_of(&Coin::new(coin)).iter();
        pools.any(|id| self.spec(self.number(plan, *id)).extranonce2_size >= 2)
    }
}

/// The dialects of the listener.
pub(crate) fn dialects() -> Vec<Arc<dyn StratumDialect>> {
    vec![Arc::new(dialect_btc::DIALECT), Arc::new(dialect_bch::DIALECT)]
}

fn plan(pools: &[Spec], lacking: Option<usize>, options: &Value, manner: Manner) -> Plan {
    let mut coins = BTreeMap::new();
    for (at, pool) in pools.iter().enumerate() {
        if lacking == Some(at) {
            continue;
        }
        let coin = coins.entry(Coin::new(pool.coin)).or_insert_with(|| CoinSettings {
            dialect: if pool.coin == "bch" { "bch" } else { "btc" }.to_owned(),
            algorithm: if pool.coin == "other" { "scrypt" } else { "sha256d" }.to_owned(),
            pools: Vec::new(),
            rungs: Rungs::ALL,
        });
        coin.pools.push(PoolSettings {
            name: pool.name.clone(),
            host: "192.0.2.1".to_owned(),
            port: 3333,
            user: None,
            password: None,
            options: json!({
                "extranonce": if pool.echo { "echo" } else { "own" },
                "extranonce2_size": pool.extranonce2_size,
            }),
            pacing: Pacing::OFF,
        });
    }
    let listener = ListenerSettings {
        name: "miners".to_owned(),
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        dialects: vec!["btc".to_owned(), "bch".to_owned()],
        options: options.clone(),
        rungs: match manner {
            Manner::Unnoticed => UNNOTICED,
            Manner::Told => UNNOTICED.with(Rung::Announce),
            Manner::SentBack => UNNOTICED.with(Rung::Reconnect),
        },
    };
    let settings = Settings { listeners: vec![listener], coins, ..Settings::default() };
    Plan::new(&settings, &dialects()).expect("the settings are right")
}
