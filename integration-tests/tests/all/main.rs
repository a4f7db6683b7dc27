//! End-to-end tests with real sockets: judging pools, the engine, judging miners.
#![expect(
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "metrics are floats on the wire, and the counts here are small and exact"
)]
#![expect(clippy::indexing_slicing, reason = "an answer of the wrong shape shall fail the test")]
#![expect(clippy::large_futures, reason = "a test's future lives once, and on the heap")]

mod admin;
mod agents;
mod decred;
mod ethereum;
mod instructions;
mod limits;
mod miners;
mod pools;
mod rungs;
mod support;
mod switching;
