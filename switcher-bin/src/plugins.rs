//! THE table of built-in plug-ins. Nothing else in the program names a concrete dialect or source.
//!
//! What is compiled in is chosen with Cargo features, what is used with the configuration.

use std::fmt::Write as _;
use std::sync::Arc;

use switcher_core::plugins::{PluginPart, PluginReport};
use switcher_plugin::{CoinSource, StratumDialect};

use crate::config::Sources;
use crate::loaded::Loaded;
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
    #[cfg(feature = "dcr")]
    Plugin {
        name: "dcr",
        about: "Decred: as btc, with the extranonce in the header",
        // Since DCP-0011; forks of the old rule have blake256r14.
        make: Make::Dialect { algorithm: "blake3", dialect: || Arc::new(dialect_dcr::DIALECT) },
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

/// All dialects: those of a table, and those that were loaded, which may take the place of others.
pub fn dialects(plugins: &[Plugin], loaded: &Loaded) -> Vec<Arc<dyn StratumDialect>> {
    let built_in = plugins.iter().filter_map(|plugin| match plugin.make {
        Make::Dialect { dialect, .. } if loaded.dialect(plugin.name).is_none() => Some(dialect()),
        Make::Dialect { .. } | Make::Source { .. } => None,
    });
    let foreign = loaded.dialects().map(|dialect| Arc::clone(dialect) as Arc<dyn StratumDialect>);
    built_in.chain(foreign).collect()
}

/// The sources that are configured, in the order of their priority. Loaded ones come before the
/// last of the table, which has an answer for everybody.
///
/// # Errors
///
/// One of them cannot work as configured.
pub fn sources(
    plugins: &[Plugin],
    loaded: &Loaded,
    sources: &Sources,
) -> Result<Vec<Box<dyn CoinSource>>, String> {
    let mut made: Vec<Box<dyn CoinSource>> = Vec::new();
    let mut last = None;
    for plugin in plugins {
        let Make::Source { make, .. } = plugin.make else { continue };
        let Some(source) = make(sources) else { continue };
        match plugin.name {
            "static" => last = Some(source?),
            _ => made.push(source?),
        }
    }
    made.extend(loaded.configured(&sources.loaded).map(|(source, config)| source.source(config)));
    made.extend(last);
    Ok(made)
}

/// A table as the API shows it.
pub fn report(plugins: &[Plugin]) -> PluginReport {
    let part = |plugin: &Plugin| PluginPart {
        name: plugin.name.to_owned(),
        kind: match plugin.make {
            Make::Dialect { .. } => "dialect",
            Make::Source { .. } => "source",
        },
        state_versions: match plugin.make {
            Make::Dialect { dialect, .. } => {
                let versions = dialect().state_versions();
                Some((*versions.start(), *versions.end()))
            }
            Make::Source { .. } => None,
        },
        about: plugin.about.to_owned(),
    };
    PluginReport {
        plugin: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        abi: None,
        build: None,
        origin: "built in".to_owned(),
        parts: plugins.iter().map(part).collect(),
        health: None,
    }
}

/// All plug-ins for a reader: name, kind, version, border, versions of saved state, how it is, where
/// it came from, what it is.
pub fn table(reports: &[PluginReport]) -> String {
    let mut text = String::new();
    let mut row = |cells: [&str; 8]| {
        let [name, kind, version, abi, state, health, about, origin] = cells;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name:<12} {kind:<8} {version:<8} {abi:<5} {state:<6} {health:<11} {about:<50} {origin}"
        );
    };
    row(["NAME", "KIND", "VERSION", "ABI", "STATE", "HEALTH", "WHAT IT IS", "ORIGIN"]);
    for report in reports {
        let abi = report.abi.as_deref().unwrap_or("-");
        let health = match &report.health {
            Some(health) if health.quarantine.is_some() => "quarantine",
            Some(health) if health.faults > 0 => "has failed",
            Some(_) | None => "ok",
        };
        for part in &report.parts {
            let state = part.state_versions.map(|(first, last)| format!("{first}-{last}"));
            let state = state.as_deref().unwrap_or("-");
            let (about, origin) = (part.about.as_str(), report.origin.as_str());
            row([&part.name, part.kind, &report.version, abi, state, health, about, origin]);
        }
    }
    text
}
