//! Upgrades of the real binary by real signals, under miners and pools that judge.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::large_futures,
    reason = "a test's helpers may fail the test, and its futures stand on no stack for long"
)]

mod failures;
mod golden;
mod operator;
mod phases;
mod plugins;
mod running;
mod storms;
mod swap;
