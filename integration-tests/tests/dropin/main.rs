//! In the original's place: its configuration, a real ZooKeeper, judging pools and miners.
//!
//! Each test has a server of its own, see `coin_source_zookeeper::testing`.

mod accounts;
mod coins;
mod outages;
mod pools;
mod world;
