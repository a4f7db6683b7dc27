//! THE table of built-in plug-ins. Nothing else in the program names a concrete dialect or source.
//!
//! What is compiled in is chosen with Cargo features, what is used with the configuration.

use std::fmt::Write as _;
use std::sync::Arc;

use switcher_plugin::{CoinSource, StratumDialect};

use crate::config::Sources;
use crate::static_source::StaticSource;

/// One row of the table.
#[derive(Debug)]
pub struct Plugin {
    /// The key in the configuration.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// How it is made.
    pub make: Make,
}

/// A source, or why it cannot work as configured.
pub type Made = Result<Box<dyn CoinSource>, String>;

/// How a plug-in is made.
#[derive(Debug)]
pub enum Make {
    /// A dialect.
    Dialect {
        /// Hash algorithm of its coins, unless configured otherwise.
        algorithm: &'static str,
        /// Makes it.
        dialect: fn() -> Arc<dyn StratumDialect>,
    },
    /// A coin source.
    Source {
        /// Makes it; none if it is not configured, an error if it cannot work as configured.
        make: fn(&Sources) -> Option<Made>,
        /// Looks at what it would read at the start and says what is there; none as above.
        check: fn(&Sources) -> Option<Result<String, String>>,
    },
}

/// All built-in plug-ins. Of dialects the first is preferred where several fit; of sources the
/// first has the last word.
pub const BUILT_IN: &[Plugin] = &[
    #[cfg(feature = "btc")]
    Plugin {
        name: "btc",
        about: "Bitcoin: mining.*, BIP 310",
        make: Make::Dialect { algorithm: "sha256d", dialect: || Arc::new(dialect_btc::DIALECT) },
    },
    #[cfg(feature = "bch")]
    Plugin {
        name: "bch",
        about: "Bitcoin Cash: as btc, with CashAddr",
        make: Make::Dialect { algorithm: "sha256d", dialect: || Arc::new(dialect_bch::DIALECT) },
    },
    #[cfg(feature = "eth")]
    Plugin {
        name: "eth",
        about: "Ethereum's kind: ETHProxy, EthereumStratum plain, 1.0.0, 2.0.0",
        make: Make::Dialect { algorithm: "ethash", dialect: || Arc::new(dialect_eth::DIALECT) },
    },
    #[cfg(feature = "source-file")]
    Plugin {
        name: "file",
        about: "a TOML or JSON file: sub-account to coin",
        make: Make::Source {
            make: |sources| {
                let source = file_source(sources)?;
                Some(source.map(|source| Box::new(source) as Box<dyn CoinSource>))
            },
            check: |sources| {
                let source = file_source(sources)?;
                Some(source.and_then(|source| source.check().map_err(|error| error.to_string())))
            },
        },
    },
    #[cfg(feature = "source-zookeeper")]
    Plugin {
        name: "zookeeper",
        about: "ZooKeeper nodes as the Go stratumSwitcher reads them",
        make: Make::Source {
            make: |sources| {
                let source = zookeeper_source(sources)?;
                Some(source.map(|source| Box::new(source) as Box<dyn CoinSource>))
            },
            check: |sources| {
                let servers = sources.zookeeper.as_ref()?.servers.join(", ");
                let source = zookeeper_source(sources)?;
                Some(source.map(|_| format!("{servers} will be asked")))
            },
        },
    },
    Plugin {
        name: "static",
        about: "one coin for all whom no other source knows",
        make: Make::Source {
            make: |sources| {
                let coin = sources.fixed.clone()?;
                Some(Ok(Box::new(StaticSource::new(coin))))
            },
            check: |sources| {
                let coin = sources.fixed.as_ref()?;
                Some(Ok(format!("whoever is known to no other source mines {coin}")))
            },
        },
    },
];

#[cfg(feature = "source-file")]
fn file_source(sources: &Sources) -> Option<Result<coin_source_file::FileSource, String>> {
    let file = sources.file.clone()?;
    let settings = coin_source_file::FileSettings {
        path: file.path,
        settle: file.settle,
        poll: file.poll,
        case_insensitive: file.case_insensitive,
    };
    Some(coin_source_file::FileSource::new(settings).map_err(|error| error.to_string()))
}

#[cfg(feature = "source-zookeeper")]
fn zookeeper_source(
    sources: &Sources,
) -> Option<Result<coin_source_zookeeper::ZookeeperSource, String>> {
    use coin_source_zookeeper::{
        AclChoice, Credentials, RegistrationSettings, ServerIdSettings, Settings, ZookeeperSource,
    };
    let source = sources.zookeeper.clone()?;
    let settings = Settings {
        servers: source.servers,
        chroot: source.chroot,
        watch_dir: source.watch_dir,
        index_dir: source.index_dir,
        case_insensitive: source.case_insensitive,
        number: source.number,
        server_id: source.server_id.map(|number| ServerIdSettings {
            dir: number.dir,
            preferred: number.preferred,
            chain_type: number.chain_type,
            coins: number.coins,
            listen_addr: number.listen_addr,
        }),
        registration: source.registration.map(|registration| RegistrationSettings {
            dir: registration.dir,
            max_waiting: registration.max_waiting,
            timeout_seconds: registration.timeout.as_secs(),
        }),
        credentials: source.credentials.map(|secret| Credentials::new(secret.0)),
        credentials_file: source.credentials_file,
        acl: match source.acl.as_str() {
            "creator" => AclChoice::Creator,
            "creator-readable" => AclChoice::CreatorReadable,
            _ => AclChoice::Open,
        },
        session_timeout_seconds: source.session_timeout.as_secs(),
        audit_seconds: source.audit.as_secs(),
        reads_at_once: source.reads_at_once,
        remembered: source.remembered,
    };
    Some(ZookeeperSource::new(settings).map_err(|error| error.to_string()))
}

/// All dialects of a table.
pub fn dialects(plugins: &[Plugin]) -> Vec<Arc<dyn StratumDialect>> {
    plugins
        .iter()
        .filter_map(|plugin| match plugin.make {
            Make::Dialect { dialect, .. } => Some(dialect()),
            Make::Source { .. } => None,
        })
        .collect()
}

/// The sources that are configured, in the order of their priority.
///
/// # Errors
///
/// One of them cannot work as configured.
pub fn sources(plugins: &[Plugin], sources: &Sources) -> Result<Vec<Box<dyn CoinSource>>, String> {
    plugins
        .iter()
        .filter_map(|plugin| match plugin.make {
            Make::Dialect { .. } => None,
            Make::Source { make, .. } => make(sources),
        })
        .collect()
}

/// The table for a reader: name, kind, version, versions of saved state, what it is.
pub fn table(plugins: &[Plugin]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text =
        format!("{:<9} {:<8} {:<8} {:<6} {}\n", "NAME", "KIND", "VERSION", "STATE", "WHAT IT IS");
    for plugin in plugins {
        let (kind, state) = match plugin.make {
            Make::Dialect { dialect, .. } => {
                let versions = dialect().state_versions();
                ("dialect", format!("{}-{}", versions.start(), versions.end()))
            }
            Make::Source { .. } => ("source", "-".into()),
        };
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "{:<9} {kind:<8} {version:<8} {state:<6} {}", plugin.name, plugin.about);
    }
    text
}
