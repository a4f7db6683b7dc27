//! What is known of the plug-ins, for the API and the metrics. The engine treats all alike; whoever
//! sets a run up knows where they came from and how they behave.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Tells of the plug-ins when asked.
#[derive(Clone, Default)]
pub struct PluginBook(Option<Arc<dyn Fn() -> Vec<PluginReport> + Send + Sync>>);

impl PluginBook {
    /// A book that is written anew each time it is read. `tell` must not wait.
    pub fn new(tell: impl Fn() -> Vec<PluginReport> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    /// What stands in it now.
    pub fn read(&self) -> Vec<PluginReport> {
        self.0.as_ref().map(|tell| tell()).unwrap_or_default()
    }
}

impl fmt::Debug for PluginBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PluginBook")
    }
}

/// Plug-ins that came together: in the program, or in one library.
#[derive(Debug, Clone, Serialize)]
pub struct PluginReport {
    /// Its name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Version of the border it was built for; none if it is built in.
    pub abi: Option<String>,
    /// What built it, as it says itself.
    pub build: Option<String>,
    /// Where it came from.
    pub origin: String,
    /// Its dialects and sources.
    pub parts: Vec<PluginPart>,
    /// How it behaves; none if it is not watched.
    pub health: Option<PluginHealth>,
}

/// One dialect or source.
#[derive(Debug, Clone, Serialize)]
pub struct PluginPart {
    /// Its key in the configuration.
    pub name: String,
    /// `dialect` or `source`.
    pub kind: &'static str,
    /// Oldest and newest version of saved state; none for sources.
    pub state_versions: Option<(u16, u16)>,
    /// What it is, in a few words.
    pub about: String,
}

/// How a plug-in behaves. Counted since the program began to run.
#[derive(Debug, Clone, Serialize)]
pub struct PluginHealth {
    /// Failures: each ended a session.
    pub faults: u64,
    /// Calls that were reported as slow.
    pub slow_calls: u64,
    /// Miners turned away because it is in quarantine.
    pub refused_sessions: u64,
    /// Facts posted after a source was stopped.
    pub late_posts: u64,
    /// Calls that have not come back.
    pub hanging_calls: u64,
    /// The last failure.
    pub last_fault: Option<String>,
    /// Why it takes no new miners, if so.
    pub quarantine: Option<String>,
}
