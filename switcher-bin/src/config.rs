//! From files, variables and flags to validated settings, or to a list of all that is wrong.
//!
//! Three steps, none of which does the work of another: `layers` reads and merges without knowing
//! what a key means, and has `original` turn the Go switcher's file into one of ours; `section` reads the merged values by the table in `keys`; `resolve` makes
//! settings of them and checks what the plug-ins can tell. Nothing here starts anything.

pub mod document;
pub mod form;
pub mod keys;
mod layers;
mod mistake;
pub mod original;
mod resolve;
mod section;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use switcher_core::Settings;
use switcher_plugin::Coin;
use tracing::Level;

pub use layers::Inputs;
pub use mistake::{Mistake, Mistakes};

use crate::loaded::Loaded;
use crate::plugins::Plugin;

/// Everything the program needs to know.
#[derive(Debug)]
pub struct Config {
    /// For the engine.
    pub settings: Settings,
    /// For the coin sources.
    pub sources: Sources,
    /// Plug-ins that are not built in.
    pub loaded: Loaded,
    /// For the log.
    pub log: LogSettings,
    /// For upgrades.
    pub upgrade: UpgradeSettings,
    /// What stood in the file, so that it is known when the file has changed.
    pub text: Option<String>,
    /// All values in force, as TOML, secrets hidden.
    pub effective: String,
    /// What is allowed but should be known.
    pub remarks: Vec<String>,
}

/// Settings of the coin sources; one that is absent is not started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The source `file`.
    pub file: Option<FileSource>,
    /// The source `zookeeper`.
    pub zookeeper: Option<ZookeeperSource>,
    /// The coin of the source `static`.
    pub fixed: Option<Coin>,
    /// Tables of sources of loaded plug-ins, JSON objects by their names.
    pub loaded: BTreeMap<String, serde_json::Value>,
}

/// Settings of the source `file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// The file.
    pub path: PathBuf,
    /// A change counts when the file has been still for so long.
    pub settle: Duration,
    /// How often the file is looked at in any case.
    pub poll: Duration,
    /// Whether sub-accounts that differ only in case are the same.
    pub case_insensitive: bool,
}

/// Settings of the source `zookeeper`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZookeeperSource {
    /// The servers of the ensemble.
    pub servers: Vec<String>,
    /// Put before every path.
    pub chroot: Option<String>,
    /// Directory of coins.
    pub watch_dir: String,
    /// Directory of canonical spellings.
    pub index_dir: Option<String>,
    /// Names in lower case.
    pub case_insensitive: bool,
    /// `user:password`.
    pub credentials: Option<Secret>,
    /// The file whose first line they are.
    pub credentials_file: Option<PathBuf>,
    /// Rights on what is created: `open`, `creator` or `creator-readable`.
    pub acl: String,
    /// A dead link is noticed within this time.
    pub session_timeout: Duration,
    /// How often every node is read again.
    pub audit: Duration,
    /// Reads under way at once.
    pub reads_at_once: usize,
    /// Coins of departed sub-accounts that are kept.
    pub remembered: usize,
    /// The number of this switcher if it is not taken, 0 if it has none.
    pub number: u8,
    /// How a number is taken, if one is.
    pub server_id: Option<ZookeeperNumber>,
    /// How sub-accounts are registered, if they are.
    pub registration: Option<ZookeeperRegistration>,
}

/// How the source `zookeeper` takes a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZookeeperNumber {
    /// Directory of the numbers.
    pub dir: String,
    /// Where the search starts.
    pub preferred: u8,
    /// What the node says: the kind of chain,
    pub chain_type: String,
    /// the coins,
    pub coins: Vec<String>,
    /// and where miners connect to.
    pub listen_addr: String,
}

/// How the source `zookeeper` has sub-accounts registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZookeeperRegistration {
    /// Directory of the requests.
    pub dir: String,
    /// Requests that may wait at once.
    pub max_waiting: usize,
    /// How long each may wait.
    pub timeout: Duration,
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// JSON objects instead of lines to read.
    pub json: bool,
    /// Directives for the filter.
    pub filter: String,
    /// Names and addresses as hashes.
    pub hash_names: bool,
    /// Key of the hashes, if not the machine's own.
    pub names_key: Option<String>,
    /// The file to append to, if not standard error.
    pub file: Option<PathBuf>,
    /// What goes to standard error as well if there is a file.
    pub stderr: Option<Level>,
}

/// Settings of upgrades.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeSettings {
    /// How long the new program may take to show that it is fit.
    pub preflight: Duration,
    /// Where a readable copy of the state is written.
    pub runtime_file: Option<PathBuf>,
}

/// Reads, merges and checks a configuration.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn load(inputs: &Inputs, plugins: &[Plugin]) -> Result<Config, Mistakes> {
    let mut mistakes = Mistakes::default();
    let mut notes = Vec::new();
    let figment = layers::merge(inputs, &mut mistakes, &mut notes)?;
    let missing = match &inputs.file {
        Some(path) => path.display().to_string(),
        None => "configuration (no --config FILE given)".into(),
    };
    let mut reader = section::Reader::new(figment, missing, mistakes);
    let mut config = resolve::config(&mut reader, plugins);
    config.remarks.splice(0..0, notes);
    if reader.mistakes.is_empty() {
        Ok(Config { effective: reader.effective, text: inputs.text.clone(), ..config })
    } else {
        Err(reader.mistakes)
    }
}

#[cfg(test)]
mod tests;
