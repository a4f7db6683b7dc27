//! Pools and miners of the ETH family: the four variants, judged as strictly as the others.
//!
//! Shares are really hashed, with Ethash of epoch 0. That takes milliseconds, so a pool can ask for
//! it in some of its jobs only ([`EthPoolConfig::really_every`]); the header says in which. In the
//! others a keyed digest of header and nonce stands in, by which a share that went to a wrong job,
//! pool or prefix is found out just the same.

mod config;
pub mod ethash;
mod miner;
mod pool;
#[cfg(test)]
mod tests;
pub mod verdict;
mod work;

pub use config::{EthPoolConfig, Extranonce, Fourth, Stranger, Variant};
pub use miner::{EthMiner, EthMinerConfig, EthMinerReport};
pub use pool::{EthConnectionReport, EthPool, EthPoolReport};
pub use work::{Work, is_real, target_of};
