//! Sessions of the dialect, driven input by input.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that meets what it did not expect has failed"
)]

mod adopt;
mod corpus;
mod replays;
mod world;
