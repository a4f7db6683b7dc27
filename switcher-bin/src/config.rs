//! From files, variables and flags to validated settings, or to a list of all that is wrong.
//!
//! Three steps, none of which does the work of another: `layers` reads and merges without knowing
//! what a key means; `section` reads the merged values by the table in `keys`; `resolve` makes
//! settings of them and checks what the plug-ins can tell. Nothing here starts anything.

pub mod document;
pub mod form;
pub mod keys;
mod layers;
mod mistake;
mod resolve;
mod section;

use std::path::PathBuf;
use std::time::Duration;

use switcher_core::Settings;
use switcher_plugin::Coin;

pub use layers::Inputs;
pub use mistake::{Mistake, Mistakes};

use crate::plugins::Plugin;

/// Everything the program needs to know.
#[derive(Debug)]
pub struct Config {
    /// For the engine.
    pub settings: Settings,
    /// For the coin sources.
    pub sources: Sources,
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
    /// The coin of the source `static`.
    pub fixed: Option<Coin>,
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
    let figment = match layers::merge(inputs, &mut mistakes) {
        Ok(figment) => figment,
        Err(mistake) => return Err(Mistakes::of(mistake)),
    };
    let missing = match &inputs.file {
        Some(path) => path.display().to_string(),
        None => "configuration (no --config FILE given)".into(),
    };
    let mut reader = section::Reader::new(figment, missing, mistakes);
    let config = resolve::config(&mut reader, plugins);
    if reader.mistakes.is_empty() {
        Ok(Config { effective: reader.effective, text: inputs.text.clone(), ..config })
    } else {
        Err(reader.mistakes)
    }
}

#[cfg(test)]
mod tests;
