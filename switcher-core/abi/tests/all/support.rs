//! Plug-ins that are not in a library: their one function is here.

use std::sync::Arc;

use switcher_plugin::StratumDialect;
use switcher_plugin_abi::host::{self, Plugin};
use switcher_plugin_abi::raw::{SwEntry, SwError, SwHost, SwPlugin};
use switcher_plugin_abi::sdk::{self, Dialect, Exports, Source};

/// What a plug-in of this name exports.
pub(crate) fn exports(name: &'static str, dialects: Vec<Dialect>, sources: Vec<Source>) -> Exports {
    Exports { name, version: "1.2.3", dialects, sources }
}

/// The built-in dialects as a plug-in.
pub(crate) unsafe extern "C" fn built_ins(
    host: *const SwHost,
    error: *mut SwError,
) -> *const SwPlugin {
    let exported = || {
        let btc = Dialect::new(dialect_btc::DIALECT, "sha256d").about("Bitcoin");
        let bch = Dialect::new(dialect_bch::DIALECT, "sha256d").about("Bitcoin Cash");
        exports("built-ins", vec![btc, bch], Vec::new())
    };
    // SAFETY: called as the header says.
    unsafe { sdk::enter(host, error, exported) }
}

/// Enters a plug-in.
pub(crate) fn enter(entry: SwEntry) -> Plugin {
    // SAFETY: the functions here do what the header says, and stay.
    unsafe { host::enter(entry, "this test") }.unwrap()
}

/// Its only dialect.
pub(crate) fn dialect(plugin: &Plugin) -> Arc<dyn StratumDialect> {
    Arc::clone(plugin.dialects.first().unwrap()) as Arc<dyn StratumDialect>
}
