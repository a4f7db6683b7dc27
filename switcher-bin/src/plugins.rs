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
        format!("{:<8} {:<8} {:<8} {:<6} {}\n", "NAME", "KIND", "VERSION", "STATE", "WHAT IT IS");
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
            writeln!(text, "{:<8} {kind:<8} {version:<8} {state:<6} {}", plugin.name, plugin.about);
    }
    text
}
