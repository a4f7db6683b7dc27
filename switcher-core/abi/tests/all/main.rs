//! The border: that both sides mean the same, and what becomes of those who cross it badly.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers may fail the test"
)]

mod conformance;
mod defence;
mod layout;
mod loading;
mod sources;
mod support;
mod versions;
