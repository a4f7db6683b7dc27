//! What Stratum dialects of any family share beyond the form of a line.
//!
//! Nothing here knows a coin, or keeps more state than a leg's own; a family whose ways differ keeps its own.

pub mod miner;
pub mod names;
pub mod pool;
pub mod relay;
pub mod settings;
