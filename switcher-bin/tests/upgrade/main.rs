//! Upgrades of the real binary by real signals, under miners and pools that judge.
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod failures;
mod golden;
mod operator;
mod phases;
mod running;
mod storms;
mod swap;
