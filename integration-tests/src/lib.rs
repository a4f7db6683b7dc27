//! What end-to-end tests need: the engine in this process, with a coin source that the test holds
//! in its hand; and the parts of the load tool.
//!
//! The pools and miners that judge are in the crate `stratum-peers`.

pub mod load;
pub mod sim;
pub mod world;

pub use world::{Switcher, SwitcherConfig};
