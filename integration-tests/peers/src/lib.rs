//! Judging peers for the switcher: pools and miners that really hash, keep books and name every
//! breach of the protocol.
//!
//! Nothing here knows the switcher: a pool and a miner can be put face to face, and both must then
//! find nothing to complain about. What stands between them is tested by what they find.
//!
//! ```
//! use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig, eventually};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let pool = Pool::start(PoolConfig::new().extranonce2_size(8).difficulty(1e-9)).await;
//! let miner = Miner::connect(pool.address(), MinerConfig::new("alice.rig1")).await;
//!
//! eventually("ten shares", || miner.report().accepted >= 10).await;
//!
//! assert!(pool.report().violations.is_empty() && miner.report().violations.is_empty());
//! # }
//! ```
//!
//! A share judged against a wrong job still meets a tiny difficulty by chance: once in 4 times at
//! 1e-9, in 430 at 1e-7. Tests of where shares go should use the latter.

pub mod agent;
pub mod chain;
pub mod decred;
pub mod eth;
pub mod eventually;
pub mod frames;
pub mod header;
pub mod lines;
pub mod miner;
pub mod notify;
pub mod pool;
mod shared;
pub mod verdict;

pub use agent::{Agent, AgentConfig, AgentReport};
pub use chain::Chain;
pub use eventually::{eventually, eventually_some, eventually_within, never_within, nothing_wrong};
pub use miner::{Miner, MinerConfig, MinerReport};
pub use pool::{Pool, PoolConfig, PoolReport};
