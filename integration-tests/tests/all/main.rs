//! End-to-end tests with real sockets: judging pools, the engine, judging miners.
#![expect(
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "metrics are floats on the wire, and the counts here are small and exact"
)]

mod admin;
mod instructions;
mod miners;
mod pools;
mod support;
mod switching;
