//! What end-to-end tests need: the engine in this process, with a coin source that the test holds
//! in its hand. The pools and miners that judge are in the crate `stratum-peers`.

pub mod world;

pub use world::{Switcher, SwitcherConfig};
