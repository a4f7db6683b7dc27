//! What the engine is told to do, validated. Where it came from (files, flags) is not known here.
//!
//! Every field is public: any value of its type is valid by itself, and [`Settings::check`] finds
//! the contradictions between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use switcher_plugin::{Coin, Rung, Rungs};

/// The rungs that are used if nothing is said: all that do not cut a miner off unasked.
pub const USUAL_RUNGS: Rungs = Rungs::ALL.without(Rung::Drop);

/// Settings of one run of the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where miners connect to.
    pub listeners: Vec<ListenerSettings>,
    /// Names of listeners whose sessions are served by threads of their own, apart from all others:
    /// code that hangs there holds up nobody else.
    pub own_shards: Vec<String>,
    /// What can be mined, by name.
    pub coins: BTreeMap<Coin, CoinSettings>,
    /// Number of shards (threads that serve miners) for each set of listeners; 0 is one per core.
    pub shards: usize,
    /// Pairs of algorithms a miner may be moved between although they differ.
    pub algorithm_pairs: Vec<(String, String)>,
    /// Bounds on what peers may use.
    pub limits: Limits,
    /// Deadlines and pauses.
    pub timing: Timing,
    /// The admin listener, if there is one.
    pub admin: Option<SocketAddr>,
    /// Whether pools are probed for what they are like when nothing is known about them.
    pub probe: bool,
    /// Where the number of this switcher in its fleet comes from.
    pub number: FleetNumber,
}

/// The number of a switcher in its fleet. Pools that adopt the ids we propose need it: without it
/// two switchers would propose the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FleetNumber {
    /// There is none, or none is needed.
    #[default]
    None,
    /// This one, 1 to 255.
    Fixed(u8),
    /// A coin source gives one; no miner is accepted before it has.
    FromSource,
}

/// One listening address.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerSettings {
    /// Name in logs, metrics and the API.
    pub name: String,
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Names of the dialects spoken here. The first of a family answers for it.
    pub dialects: Vec<String>,
    /// Options for the dialects: a JSON object, or null.
    pub options: serde_json::Value,
    /// By which rungs its miners may be brought to pools.
    pub rungs: Rungs,
}

/// One coin.
#[derive(Debug, Clone, PartialEq)]
pub struct CoinSettings {
    /// Name of the dialect its pools speak.
    pub dialect: String,
    /// Hash algorithm; a miner is moved only between coins of one algorithm.
    pub algorithm: String,
    /// Its pools, best first.
    pub pools: Vec<PoolSettings>,
    /// By which rungs miners may be brought to them.
    pub rungs: Rungs,
}

/// One pool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSettings {
    /// Name in logs, metrics and the API; unique among all coins.
    pub name: String,
    /// Host name or address, without the port.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Template of the user name, if not the dialect's default.
    pub user: Option<String>,
    /// Template of the password, if not the dialect's default.
    pub password: Option<String>,
    /// Options for the dialect: a JSON object, or null.
    pub options: serde_json::Value,
    /// How fast sessions may be brought there.
    pub pacing: Pacing,
}

/// How fast sessions may be brought to a pool, all shards together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pacing {
    /// Dials per second; 0 is no limit.
    pub dials_per_second: u32,
    /// Legs between dial and ready at a time; 0 is no limit.
    pub in_flight: u32,
}

impl Default for Pacing {
    fn default() -> Self {
        Self { dials_per_second: 100, in_flight: 64 }
    }
}

impl Pacing {
    /// No limit, for benchmarks.
    pub const OFF: Self = Self { dials_per_second: 0, in_flight: 0 };
}

/// Bounds on what peers may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at a time; 0 is as many as the open-files limit allows.
    pub sessions: usize,
    /// Descriptors kept for everything that is not a session.
    pub reserved_descriptors: usize,
    /// Descriptors kept for second and third legs while sessions switch.
    pub switch_descriptors: usize,
    /// Longest frame from a miner, in bytes.
    pub downstream_frame: usize,
    /// Longest frame from a pool, in bytes.
    pub upstream_frame: usize,
    /// Bytes that may wait for a peer that does not read, per side.
    pub unsent: usize,
    /// Frames of one session that may be disregarded as faulty before it is closed.
    pub faults: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 0,
            reserved_descriptors: 128,
            switch_descriptors: 256,
            downstream_frame: 16 * 1024,
            upstream_frame: 64 * 1024,
            unsent: 256 * 1024,
            faults: 100,
        }
    }
}

/// Deadlines and pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A miner's first byte.
    pub first_byte: Duration,
    /// From connect until a miner has logged in.
    pub login: Duration,
    /// How long a newcomer waits for its coin to be known.
    pub assignment: Duration,
    /// TCP connect to a pool.
    pub dial: Duration,
    /// From connect to a pool until the leg is ready.
    pub handshake: Duration,
    /// A pool that says nothing for so long is gone.
    pub silence: Duration,
    /// A pool that sends no job for so long is gone, whatever else it says.
    pub no_job: Duration,
    /// A share unanswered for so long: the pool is gone.
    pub unanswered: Duration,
    /// A leg that was left stays open at least so long for late shares.
    pub linger_min: Duration,
    /// … and at most so long for their answers.
    pub linger_max: Duration,
    /// How long a miner without a pool is held before it is let go.
    pub hold: Duration,
    /// Pause before the second try to reach a pool; doubles with each further one.
    pub retry_min: Duration,
    /// Longest pause between tries.
    pub retry_max: Duration,
    /// An orderly stop closes the sessions spread over this time.
    pub drain: Duration,
    /// `TCP_USER_TIMEOUT` on both sides; keepalive is set to match.
    pub user_timeout: Duration,
    /// How often a pool's host name is resolved anew.
    pub resolve: Duration,
    /// Shards and sources that have not stopped for an upgrade after so long make it be given up.
    pub freeze: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            first_byte: secs(15),
            login: secs(60),
            assignment: secs(10),
            dial: secs(5),
            handshake: secs(15),
            silence: secs(120),
            no_job: secs(300),
            unanswered: secs(30),
            linger_min: secs(10),
            linger_max: secs(30),
            hold: secs(60),
            retry_min: secs(1),
            retry_max: secs(60),
            drain: secs(10),
            user_timeout: secs(90),
            resolve: secs(60),
            freeze: Duration::from_millis(400),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            own_shards: Vec::new(),
            coins: BTreeMap::new(),
            shards: 0,
            algorithm_pairs: Vec::new(),
            limits: Limits::default(),
            timing: Timing::default(),
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 9332))),
            probe: true,
            number: FleetNumber::None,
        }
    }
}

/// A contradiction in the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}; {accepted}")]
pub struct SettingsError {
    /// The key, as in the configuration file.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What would be accepted.
    pub accepted: String,
}

impl SettingsError {
    fn new(key: impl Into<String>, problem: impl Into<String>, accepted: &str) -> Self {
        Self { key: key.into(), problem: problem.into(), accepted: accepted.into() }
    }
}

impl Settings {
    /// Finds all contradictions that can be seen without the plug-ins.
    ///
    /// # Errors
    ///
    /// Every contradiction, not only the first.
    pub fn check(&self) -> Result<(), Vec<SettingsError>> {
        let mut errors = Vec::new();
        if self.listeners.is_empty() {
            errors.push(SettingsError::new("listeners", "none given", "at least one is needed"));
        }
        let mut names = std::collections::BTreeSet::new();
        for (at, listener) in self.listeners.iter().enumerate() {
            let key = format!("listeners[{at}]");
            if !names.insert(&listener.name) {
                errors.push(SettingsError::new(
                    format!("{key}.name"),
                    format!("{:?} is used twice", listener.name),
                    "every listener needs a name of its own",
                ));
            }
            if listener.dialects.is_empty() {
                errors.push(SettingsError::new(
                    format!("{key}.dialects"),
                    "none given",
                    "name at least one dialect, see `stratum-switcher plugins`",
                ));
            }
        }
        if self.coins.is_empty() {
            errors.push(SettingsError::new("coins", "none given", "at least one is needed"));
        }
        let mut pools = std::collections::BTreeSet::new();
        for (coin, settings) in &self.coins {
            if settings.pools.is_empty() {
                errors.push(SettingsError::new(
                    format!("coins.{coin}.pools"),
                    "none given",
                    "every coin needs at least one pool",
                ));
            }
            for (at, pool) in settings.pools.iter().enumerate() {
                if !pools.insert(&pool.name) {
                    errors.push(SettingsError::new(
                        format!("coins.{coin}.pools[{at}].name"),
                        format!("{:?} is used twice", pool.name),
                        "every pool needs a name of its own",
                    ));
                }
            }
        }
        if self.timing.linger_min > self.timing.linger_max {
            errors.push(SettingsError::new(
                "timing.linger_min",
                "is longer than timing.linger_max",
                "give it a value up to timing.linger_max",
            ));
        }
        if self.timing.retry_min > self.timing.retry_max {
            errors.push(SettingsError::new(
                "timing.retry_min",
                "is longer than timing.retry_max",
                "give it a value up to timing.retry_max",
            ));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Whether a miner may be moved between coins of these algorithms.
    pub fn may_move(&self, from: &str, to: &str) -> bool {
        may_mix(&self.algorithm_pairs, from, to)
    }
}

/// Whether a miner may be moved between these algorithms: they are one, or the pair is allowed.
pub(crate) fn may_mix(pairs: &[(String, String)], from: &str, to: &str) -> bool {
    let is_meant = |(a, b): &(String, String)| (a == from && b == to) || (a == to && b == from);
    from == to || pairs.iter().any(is_meant)
}
