//! Bytes of a peer that are part of a session's state, in a form that can be saved.

pub(crate) use jsonrpc::{Line, Raw};
