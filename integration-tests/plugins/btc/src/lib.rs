//! The built-in dialect `btc`, loaded: the same code on the other side of the border.

use switcher_plugin_abi::sdk::Dialect;

switcher_plugin_abi::export_plugin! {
    dialects: [Dialect::new(dialect_btc::DIALECT, "sha256d").about("Bitcoin, loaded")],
}
