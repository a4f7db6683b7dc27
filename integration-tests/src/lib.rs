//! Judging peers for the switcher: pools and miners that really hash, keep books and name every
//! breach of the protocol, and the parts of the load tool.
//!
//! Nothing here knows the switcher: a pool and a miner can be put face to face, and both must then
//! find nothing to complain about. What stands between them is tested by what they find.

pub mod eventually;
pub mod header;
pub mod lines;
pub mod load;
pub mod miner;
pub mod notify;
pub mod pool;

pub use eventually::{eventually, eventually_some, eventually_within, never_within};
pub use miner::{Miner, MinerConfig, MinerReport};
pub use pool::{Pool, PoolConfig, PoolReport};
