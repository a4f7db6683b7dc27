//! The engine of Stratum Switcher: accepts miners, keeps their sessions on shards, brings them to
//! the pools of the coin they are assigned to, and moves them without their noticing.
//!
//! It knows no coin and no backend: those are plug-ins, see `switcher-plugin`.

pub mod settings;

pub use settings::Settings;
