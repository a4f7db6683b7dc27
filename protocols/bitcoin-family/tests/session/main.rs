//! The dialect driven by its inputs alone: what it asks for, line by line.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets what it did not expect has failed"
)]

mod adopt;
mod agents;
mod corpus;
mod fold;
mod handshake;
mod miners;
mod pools;
mod random;
mod rungs;
mod sessions;
mod shares;
mod sserver;
mod switching;
mod world;
