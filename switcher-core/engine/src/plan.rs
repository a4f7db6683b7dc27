//! Settings and plug-ins brought together: what a session can look up about listeners, coins and
//! pools. Shared by all shards; only what was learnt about a pool, its addresses, and the versions in
//! which sessions are saved change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use switcher_plugin::{
    Coin, ListenerView, PoolView, Profile, ProfileError, Rungs, StratumDialect, UpstreamSettings,
};

use crate::settings::{Limits, Pacing, Settings, SettingsError, Timing, may_mix};

/// Index of a pool in [`Plan::pools`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u16);

/// See the module.
#[derive(Debug)]
pub struct Plan {
    /// Deadlines and pauses.
    pub timing: Timing,
    /// Bounds.
    pub limits: Limits,
    /// The listeners, in the order of the settings.
    pub listeners: Vec<ListenerPlan>,
    /// The coins.
    pub coins: BTreeMap<Coin, CoinPlan>,
    /// All pools of all coins.
    pub pools: Vec<PoolPlan>,
    algorithm_pairs: Vec<(String, String)>,
    /// Versions in which dialects save their sessions, if not in their newest.
    state_versions: RwLock<BTreeMap<String, u16>>,
    /// Whether saved sessions are packed: what they have in common is written once.
    is_packing: AtomicBool,
}

/// A coin.
#[derive(Debug)]
pub struct CoinPlan {
    /// Family of its dialect.
    pub family: String,
    /// Hash algorithm.
    pub algorithm: String,
    /// Its pools, best first.
    pub pools: Vec<PoolId>,
    /// By which rungs miners may be brought to them.
    pub rungs: Rungs,
}

/// A pool.
#[derive(Debug)]
pub struct PoolPlan {
    /// Name in the configuration.
    pub name: String,
    /// Its coin.
    pub coin: Coin,
    /// Its dialect.
    pub dialect: Arc<dyn StratumDialect>,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What the dialect made of its settings.
    pub profile: Profile,
    /// How fast sessions may be brought there.
    pub pacing: Pacing,
    addresses: RwLock<Arc<[SocketAddr]>>,
    fact: RwLock<Option<Arc<str>>>,
}

/// A listener.
#[derive(Debug)]
pub struct ListenerPlan {
    /// Name in the configuration.
    pub name: String,
    /// The port of its settings; 0 if the system chooses one.
    pub port: u16,
    /// Its dialects; the first of a family answers for it.
    pub dialects: Vec<Arc<dyn StratumDialect>>,
    /// By which rungs its miners may be brought to pools.
    pub rungs: Rungs,
    /// The group of shards that serves it: 0 unless it has one of its own.
    pub group: usize,
    options: serde_json::Value,
    view: RwLock<Arc<ListenerView>>,
}

/// What stands in the way of moving a session to a coin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// The hash algorithms differ and the pair is not allowed.
    #[error("{to} is mined by {to_algorithm}, this miner does {from_algorithm}")]
    Algorithm {
        /// The coin.
        to: Coin,
        /// Its algorithm.
        to_algorithm: String,
        /// What the miner does.
        from_algorithm: String,
    },
    /// The coin's pools speak another family of dialects.
    #[error("{to} is mined in the {family} family of dialects, which this miner does not speak")]
    Family {
        /// The coin.
        to: Coin,
        /// The family of its pools.
        family: String,
    },
    /// The coin is not configured.
    #[error("coin {0} is not configured")]
    Unknown(Coin),
}

impl Plan {
    /// For tests that need neither a listener nor a pool.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        Self {
            timing: Timing::default(),
            limits: Limits::default(),
            listeners: Vec::new(),
            coins: BTreeMap::new(),
            pools: Vec::new(),
            algorithm_pairs: Vec::new(),
            state_versions: RwLock::default(),
            is_packing: AtomicBool::default(),
        }
    }

    /// Brings settings and dialects together.
    ///
    /// # Errors
    ///
    /// All that the dialects find wrong in the settings of listeners and pools.
    pub fn new(
        settings: &Settings,
        dialects: &[Arc<dyn StratumDialect>],
    ) -> Result<Self, Vec<SettingsError>> {
        let mut errors = settings.check().err().unwrap_or_default();
        let mut pools = Vec::new();
        let mut coins = BTreeMap::new();
        for (coin, settings) in &settings.coins {
            let Some(dialect) = find(dialects, &settings.dialect) else {
                errors.push(SettingsError {
                    key: format!("coins.{coin}.dialect"),
                    problem: format!("there is no dialect {:?}", settings.dialect),
                    accepted: known(dialects),
                });
                continue;
            };
            let mut ids = Vec::new();
            for (at, pool) in settings.pools.iter().enumerate() {
                let upstream = UpstreamSettings {
                    name: &pool.name,
                    coin,
                    user: pool.user.as_deref(),
                    password: pool.password.as_deref(),
                    options: &pool.options,
                };
                match dialect.profile(&upstream) {
                    Ok(profile) => {
                        let literal = pool.host.parse().map(|ip| SocketAddr::new(ip, pool.port));
                        ids.push(PoolId(u16::try_from(pools.len()).unwrap_or(u16::MAX)));
                        pools.push(PoolPlan {
                            name: pool.name.clone(),
                            coin: coin.clone(),
                            dialect: Arc::clone(&dialect),
                            host: pool.host.clone(),
                            port: pool.port,
                            profile,
                            pacing: pool.pacing,
                            addresses: RwLock::new(literal.into_iter().collect()),
                            fact: RwLock::new(None),
                        });
                    }
                    Err(error) => {
                        errors.push(below(&format!("coins.{coin}.pools[{at}]"), error));
                    }
                }
            }
            let family = dialect.family().to_owned();
            let algorithm = settings.algorithm.clone();
            let rungs = settings.rungs;
            coins.insert(coin.clone(), CoinPlan { family, algorithm, pools: ids, rungs });
        }
        let listeners = listeners(settings, dialects, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        let plan = Self {
            timing: settings.timing,
            limits: settings.limits,
            listeners,
            coins,
            pools,
            algorithm_pairs: settings.algorithm_pairs.clone(),
            state_versions: RwLock::default(),
            is_packing: AtomicBool::new(false),
        };
        plan.renew_views();
        Ok(plan)
    }

    /// A pool by its index.
    ///
    /// # Panics
    ///
    /// If the index is another plan's.
    pub fn pool(&self, id: PoolId) -> &PoolPlan {
        self.pools.get(usize::from(id.0)).expect("pool ids come from this plan")
    }

    /// Number of groups of shards.
    pub fn groups(&self) -> usize {
        1 + self.listeners.iter().map(|listener| listener.group).max().unwrap_or(0)
    }

    /// Number of groups of shards whose sessions may meet this pool.
    pub fn groups_of(&self, pool: &PoolPlan) -> usize {
        let family = pool.dialect.family();
        let speaks = |listener: &&ListenerPlan| {
            listener.dialects.iter().any(|dialect| dialect.family() == family)
        };
        let groups = self.listeners.iter().filter(speaks).map(|listener| listener.group);
        groups.collect::<std::collections::BTreeSet<_>>().len().max(1)
    }

    /// The index of a pool by its name.
    pub fn pool_named(&self, name: &str) -> Option<PoolId> {
        let at = self.pools.iter().position(|pool| pool.name == name)?;
        u16::try_from(at).ok().map(PoolId)
    }

    /// The pools of a coin, best first; none if the coin is not configured.
    pub fn pools_of(&self, coin: &Coin) -> &[PoolId] {
        self.coins.get(coin).map_or(&[], |coin| &coin.pools)
    }

    /// By which rungs miners may be brought to the pools of a coin.
    pub fn rungs_of(&self, coin: &Coin) -> Rungs {
        self.coins.get(coin).map_or(Rungs::NONE, |coin| coin.rungs)
    }

    /// Whether a session that speaks `family` and mines `from` may be moved to `to`.
    ///
    /// # Errors
    ///
    /// What stands in the way.
    pub fn may_move(&self, family: &str, from: Option<&Coin>, to: &Coin) -> Result<(), MoveError> {
        let target = self.coins.get(to).ok_or_else(|| MoveError::Unknown(to.clone()))?;
        if target.family != family {
            return Err(MoveError::Family { to: to.clone(), family: target.family.clone() });
        }
        let Some(origin) = from.and_then(|from| self.coins.get(from)) else { return Ok(()) };
        if may_mix(&self.algorithm_pairs, &origin.algorithm, &target.algorithm) {
            return Ok(());
        }
        Err(MoveError::Algorithm {
            to: to.clone(),
            to_algorithm: target.algorithm.clone(),
            from_algorithm: origin.algorithm.clone(),
        })
    }

    /// The version in which this dialect saves its sessions.
    pub fn state_version(&self, dialect: &dyn StratumDialect) -> u16 {
        let versions = self.state_versions.read().unwrap_or_else(PoisonError::into_inner);
        versions.get(dialect.name()).copied().unwrap_or(*dialect.state_versions().end())
    }

    /// Whether saved sessions are packed: what they have in common is written once for all of them.
    pub(crate) fn is_packing(&self) -> bool {
        self.is_packing.load(Ordering::Relaxed)
    }

    /// From here on they are, or are not.
    pub(crate) fn pack(&self, packing: bool) {
        self.is_packing.store(packing, Ordering::Relaxed);
    }

    /// From here on dialects save their sessions in the newest version that a reader knows, who reads
    /// these, first and last. Of a dialect that is not named nothing is known, so it saves in its own.
    ///
    /// # Errors
    ///
    /// There is no such version.
    pub fn save_for(&self, reader: &BTreeMap<String, (u16, u16)>) -> Result<(), String> {
        let mut versions = BTreeMap::new();
        for dialect in self.listeners.iter().flat_map(|listener| &listener.dialects) {
            let Some(&(first, last)) = reader.get(dialect.name()) else { continue };
            let own = dialect.state_versions();
            let version = last.min(*own.end());
            if version < first.max(*own.start()) {
                return Err(format!(
                    "it reads sessions of dialect {:?} in versions {first} to {last}, and this \
                     program writes {} to {}",
                    dialect.name(),
                    own.start(),
                    own.end()
                ));
            }
            versions.insert(dialect.name().to_owned(), version);
        }
        *self.state_versions.write().unwrap_or_else(PoisonError::into_inner) = versions;
        Ok(())
    }

    /// Stores what a session learnt about a pool. True if it is news.
    pub fn learn(&self, id: PoolId, fact: &str) -> bool {
        let pool = self.pool(id);
        if pool.fact().as_deref() == Some(fact) {
            return false;
        }
        *pool.fact.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::from(fact));
        self.renew_views();
        true
    }

    fn renew_views(&self) {
        for listener in &self.listeners {
            let speaks =
                |family: &str| listener.dialects.iter().any(|dialect| dialect.family() == family);
            let pools = self.pools.iter().filter(|pool| speaks(pool.dialect.family()));
            let view = ListenerView {
                name: listener.name.clone(),
                options: listener.options.clone(),
                pools: pools
                    .map(|pool| PoolView {
                        name: pool.name.clone(),
                        coin: pool.coin.clone(),
                        profile: pool.profile.clone(),
                        fact: pool.fact(),
                    })
                    .collect(),
            };
            *listener.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        }
    }
}

impl PoolPlan {
    /// What sessions have learnt about it.
    pub fn fact(&self) -> Option<Arc<str>> {
        self.fact.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where it can be dialled; empty until its name was resolved.
    pub fn addresses(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.addresses.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the addresses.
    pub fn set_addresses(&self, addresses: Arc<[SocketAddr]>) {
        *self.addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Whether its host is a name that needs resolving.
    pub fn has_name(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_err()
    }
}

impl ListenerPlan {
    /// What sessions of this listener see.
    pub fn view(&self) -> Arc<ListenerView> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn below(key: &str, error: ProfileError) -> SettingsError {
    SettingsError {
        key: format!("{key}.{}", error.key),
        problem: error.problem,
        accepted: error.accepted,
    }
}

fn find(dialects: &[Arc<dyn StratumDialect>], name: &str) -> Option<Arc<dyn StratumDialect>> {
    dialects.iter().find(|dialect| dialect.name() == name).cloned()
}

fn known(dialects: &[Arc<dyn StratumDialect>]) -> String {
    let names: Vec<_> = dialects.iter().map(|dialect| dialect.name()).collect();
    format!("known dialects are {}", names.join(", "))
}

fn listeners(
    settings: &Settings,
    dialects: &[Arc<dyn StratumDialect>],
    errors: &mut Vec<SettingsError>,
) -> Vec<ListenerPlan> {
    let mut listeners = Vec::new();
    let mut groups = 0;
    for (at, listener) in settings.listeners.iter().enumerate() {
        let mut spoken = Vec::new();
        for name in &listener.dialects {
            match find(dialects, name) {
                Some(dialect) => {
                    if let Err(error) = dialect.check_listener(&listener.options) {
                        errors.push(below(&format!("listeners[{at}].options"), error));
                    }
                    spoken.push(dialect);
                }
                None => errors.push(SettingsError {
                    key: format!("listeners[{at}].dialects"),
                    problem: format!("there is no dialect {name:?}"),
                    accepted: known(dialects),
                }),
            }
        }
        let is_apart = settings.own_shards.contains(&listener.name);
        groups += usize::from(is_apart);
        listeners.push(ListenerPlan {
            name: listener.name.clone(),
            port: listener.address.port(),
            dialects: spoken,
            rungs: listener.rungs,
            group: if is_apart { groups } else { 0 },
            options: listener.options.clone(),
            view: RwLock::default(),
        });
    }
    listeners
}
