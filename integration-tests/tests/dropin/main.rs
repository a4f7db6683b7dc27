//! In the original's place: its configuration, a real ZooKeeper, judging pools and miners.
//!
//! Each test has a server of its own, see `coin_source_zookeeper::testing`.
#![expect(
    clippy::indexing_slicing,
    clippy::large_futures,
    clippy::panic,
    reason = "helpers of tests may fail the test, and nobody counts its bytes"
)]

mod accounts;
mod coins;
mod ethereum;
mod outages;
mod pools;
mod world;
