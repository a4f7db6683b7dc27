//! The engine of Stratum Switcher: accepts miners, keeps their sessions on shards, brings them to
//! the pools of the coin they are assigned to, and moves them without their noticing.
//!
//! It knows no coin and no backend: those are plug-ins, see `switcher-plugin`. Its spine is
//! [`run`]: from a [`State`] to a [`State`].

mod accept;
mod admin;
mod adopt;
pub mod board;
pub mod budget;
pub mod clock;
pub mod counters;
mod evict;
mod ids;
mod listeners;
pub mod memory;
pub mod plan;
pub mod plugins;
mod pool_watch;
mod pools;
mod rehearsal;
pub mod session;
pub mod settings;
mod shard;
mod shards;
mod state;
mod switcher;
mod texts;
pub mod upgrades;

pub use adopt::{Adoption, Foreign, Returned, adopt, hand_back};
pub use rehearsal::{Rehearsal, Sampler, Unfit, rehearse};
pub use settings::Settings;
pub use state::{Document, SocketMismatch, State};
pub use switcher::{Control, Ready, Refused, RunError, Setup, Started, Stop, prepare, run};
