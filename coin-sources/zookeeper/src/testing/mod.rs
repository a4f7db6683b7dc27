//! What tests need: a real ZooKeeper server ([`Server`]), three of them ([`Ensemble`]), a link
//! with faults ([`Relay`]), and a client that sets nodes ([`Writer`]). Only behind the feature
//! `testing`. Panics are the means of failing here.

#![expect(clippy::panic, reason = "a test that cannot have its server fails")]

mod relay;
mod server;
mod writer;

pub use relay::Relay;
pub use server::{Ensemble, Server};
pub use writer::Writer;
