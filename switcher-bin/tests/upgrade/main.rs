//! Upgrades of the real binary by real signals, under miners and pools that judge.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::large_futures,
    clippy::panic,
    reason = "a test's helpers may fail the test, and its futures stand on no stack for long"
)]

mod agents;
mod ethereum;
mod failures;
mod golden;
mod numbered;
mod operator;
mod original;
mod original_agents;
mod original_eth;
mod pending;
mod phases;
mod plugins;
mod running;
mod stand_in;
mod storms;
mod swap;
mod versions;
mod wire;
mod zookeeper;
