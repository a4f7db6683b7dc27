//! Plug-ins of strangers in the real program: a dialect in Rust from outside the workspace, a coin
//! source in C, and what the tutorials for authors say.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a test's helpers may fail the test, and numbers of the tests are small"
)]

mod build;
mod fifo;
mod mining;
mod peers;
mod program;
mod sources;
mod tutorials;
