//! A coin source that reads one map of sub-accounts and coins from a TOML or JSON file, and follows
//! its changes.
//!
//! A file is applied when it has stood still for a while and is whole. One that is broken, empty or
//! gone is reported and changes nothing. Absence moves nobody: a name that vanishes from the map
//! leaves its sessions where they are. See the README of this crate for operators.
//!
//! It does not know which coins exist; that is the engine's business.

mod answers;
mod glob;
mod map;
mod run;
mod sight;
mod tree;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use switcher_plugin::{CoinSource, SourceContext, SourceError, SourceState};

pub use map::Problem;

use map::CoinMap;
use sight::{Sight, format_of};
use tree::Format;

/// The key in the configuration.
const NAME: &str = "file";

const SHORTEST_SETTLE: Duration = Duration::from_millis(50);

/// Settings of a [`FileSource`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// The map; its extension, `.toml` or `.json`, says how it is written.
    pub path: PathBuf,
    /// How long the file must stand still before it is applied.
    pub settle: Duration,
    /// How often the file is looked at when no event says that it changed.
    pub poll: Duration,
    /// Whether `Alice` in the file is `alice` at the miner. Names are compared exactly otherwise.
    pub case_insensitive: bool,
}

impl FileSettings {
    /// The defaults: 300 ms to settle, a look every 2 s, exact names.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            settle: Duration::from_millis(300),
            poll: Duration::from_secs(2),
            case_insensitive: false,
        }
    }
}

/// Settings that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The extension says nothing about how the file is written.
    #[error("path: {0} has no extension that tells its format; accepted are .toml and .json")]
    Extension(PathBuf),
    /// Looking without a pause would keep a core busy.
    #[error("poll: is 0; accepted is any time above, 2 s is usual")]
    NoPause,
    /// Times of files tick in steps of some milliseconds, so less cannot tell that a file is still.
    #[error("settle: is {0:?}; accepted is {SHORTEST_SETTLE:?} and above, 300 ms is usual")]
    Settle(Duration),
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It parses, or does not, with these mistakes.
    #[error("{path}: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Mistakes {
        /// The file.
        path: String,
        /// All of them, ten at most.
        problems: Vec<Problem>,
    },
    /// It cannot be read.
    #[error("{path}: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// What stands in the way.
        why: String,
    },
}

/// The source.
#[derive(Debug)]
pub struct FileSource {
    settings: FileSettings,
    format: Format,
}

impl FileSource {
    /// A source that has not looked at its file yet.
    ///
    /// # Errors
    ///
    /// The settings cannot work. The file itself need not be there.
    pub fn new(settings: FileSettings) -> Result<Self, SettingsError> {
        let format = format_of(&settings.path)
            .ok_or_else(|| SettingsError::Extension(settings.path.clone()))?;
        if settings.poll.is_zero() {
            return Err(SettingsError::NoPause);
        }
        if settings.settle < SHORTEST_SETTLE {
            return Err(SettingsError::Settle(settings.settle));
        }
        Ok(Self { settings, format })
    }

    /// Reads the file as it is now, for a check before the start: what is in it, in one line.
    ///
    /// # Errors
    ///
    /// The file would not be applied.
    pub fn check(&self) -> Result<String, CheckError> {
        let path = self.settings.path.display().to_string();
        let text = match Sight::of(&self.settings.path, None) {
            Some(Sight::Text { text, .. }) => text,
            Some(Sight::Nothing { why }) => return Err(CheckError::Unreadable { path, why }),
            None => String::new(),
        };
        match CoinMap::parse(self.format, &text, self.settings.case_insensitive) {
            Ok(map) => Ok(format!("{path}: {map}")),
            Err(problems) => Err(CheckError::Mistakes { path, problems }),
        }
    }
}

#[async_trait]
impl CoinSource for FileSource {
    fn name(&self) -> &str {
        NAME
    }

    async fn run(self: Box<Self>, context: SourceContext) -> Result<SourceState, SourceError> {
        Box::pin(run::run(self.settings, self.format, context)).await
    }
}
