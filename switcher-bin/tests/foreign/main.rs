//! Plug-ins of strangers in the real program.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers may fail it")]

mod peers;
