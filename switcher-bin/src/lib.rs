//! The stratum-switcher program.
pub mod config;
pub mod logging;
pub mod plugins;
mod stand_in;
mod static_source;
