//! The built-in dialect `btc`, loaded: the same code on the other side of the border.
//!
//! To measure what the border costs, build it as
//! `cargo rustc --release -p plugin-btc --crate-type cdylib`: beside the `rlib` that tests want, Cargo
//! leaves out the link-time optimisation that the program has.

use switcher_plugin_abi::sdk::Dialect;

switcher_plugin_abi::export_plugin! {
    dialects: [Dialect::new(dialect_btc::DIALECT, "sha256d").about("Bitcoin, loaded")],
}
