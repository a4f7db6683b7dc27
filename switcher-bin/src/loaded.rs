//! Plug-ins that are not built in: found, loaded, and looked at for names that are taken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use switcher_core::plugins::{PluginHealth, PluginPart, PluginReport};
use switcher_plugin::StratumDialect as _;
use switcher_plugin_abi::host::{self, ForeignDialect, Plugin, SourceTable};
use switcher_plugin_abi::raw::SW_ABI_MAJOR;

/// The plug-ins of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    plugins: Vec<Arc<Plugin>>,
    /// By name, as some may have taken the place of others.
    dialects: BTreeMap<String, Arc<ForeignDialect>>,
    sources: BTreeMap<String, Arc<SourceTable>>,
}

impl Loaded {
    /// Loads one more. `built_in` are the names that the program itself has.
    ///
    /// # Errors
    ///
    /// It cannot be loaded, or a name of it is taken.
    pub fn load(
        &mut self,
        path: &Path,
        sha256: Option<&str>,
        may_replace: bool,
        built_in: &[&str],
    ) -> Result<(), String> {
        let plugin = host::load(path, sha256).map_err(|error| error.to_string())?;
        if self.plugins.iter().any(|known| known.name == plugin.name) {
            return Err(format!("there is another plug-in of the name {:?}", plugin.name));
        }
        let taken = |name: &str| built_in.contains(&name) || self.dialects.contains_key(name);
        for dialect in &plugin.dialects {
            if taken(dialect.name()) && !may_replace {
                let name = dialect.name();
                return Err(format!(
                    "there is another dialect {name:?}; `override = true` lets this one take its place"
                ));
            }
        }
        let taken = |name: &str| built_in.contains(&name) || self.sources.contains_key(name);
        if let Some(source) = plugin.sources.iter().find(|source| taken(source.name())) {
            return Err(format!("there is another coin source {:?}", source.name()));
        }
        for dialect in &plugin.dialects {
            self.dialects.insert(dialect.name().to_owned(), Arc::clone(dialect));
        }
        for source in &plugin.sources {
            self.sources.insert(source.name().to_owned(), Arc::clone(source));
        }
        self.plugins.push(plugin);
        Ok(())
    }

    /// The dialects.
    pub fn dialects(&self) -> impl Iterator<Item = &Arc<ForeignDialect>> {
        self.dialects.values()
    }

    /// The dialect of this name.
    pub fn dialect(&self, name: &str) -> Option<&Arc<ForeignDialect>> {
        self.dialects.get(name)
    }

    /// The sources.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<SourceTable>> {
        self.sources.values()
    }

    /// The sources that have a table in the configuration.
    pub fn configured<'a>(
        &'a self,
        tables: &'a BTreeMap<String, serde_json::Value>,
    ) -> impl Iterator<Item = (&'a Arc<SourceTable>, &'a serde_json::Value)> {
        tables.iter().filter_map(|(name, config)| Some((self.sources.get(name)?, config)))
    }

    /// What is known of all plug-ins, those of the program first.
    pub fn reports(&self, built_in: PluginReport) -> Vec<PluginReport> {
        let loaded = self.plugins.iter().map(|plugin| report(plugin));
        std::iter::once(built_in).chain(loaded).collect()
    }
}

fn report(plugin: &Plugin) -> PluginReport {
    let dialects = plugin.dialects.iter().map(|dialect| {
        let versions = dialect.state_versions();
        PluginPart {
            name: dialect.name().to_owned(),
            kind: "dialect",
            state_versions: Some((*versions.start(), *versions.end())),
            about: dialect.about().to_owned(),
        }
    });
    let sources = plugin.sources.iter().map(|source| PluginPart {
        name: source.name().to_owned(),
        kind: "source",
        state_versions: None,
        about: source.about().to_owned(),
    });
    let standing = plugin.health.standing();
    PluginReport {
        plugin: plugin.name.clone(),
        version: plugin.version.clone(),
        abi: Some(format!("{SW_ABI_MAJOR}.{}", plugin.abi_minor)),
        build: Some(plugin.build.clone()),
        origin: plugin.origin.clone(),
        parts: dialects.chain(sources).collect(),
        health: Some(PluginHealth {
            faults: standing.faults,
            slow_calls: standing.slow_calls,
            refused_sessions: standing.refused_sessions,
            late_posts: standing.late_posts,
            hanging_calls: standing.hanging_calls,
            last_fault: standing.last_fault,
            quarantine: standing.quarantine,
        }),
    }
}

/// The file of a plug-in that is called by its name.
///
/// # Errors
///
/// It is in none of the directories; says where it was looked for.
pub fn find(directories: &[String], name: &str) -> Result<PathBuf, String> {
    let file = format!("libswitcher_{name}.so");
    let paths = directories.iter().map(|directory| Path::new(directory).join(&file));
    let mut looked = Vec::new();
    for path in paths {
        if path.is_file() {
            return Ok(path);
        }
        looked.push(path.display().to_string());
    }
    Err(format!("there is no file {}", looked.join(" and no file ")))
}
