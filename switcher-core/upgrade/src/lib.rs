//! Replaces the program of a running process by a new one, with all its sockets.
//!
//! The old program writes its state into a sealed memfd ([`memory`], [`envelope`]), makes exactly
//! the named descriptors inheritable and executes the new one ([`handover`]), which checks them
//! before it touches any ([`takeover`]) and, should it fail before that, gives all back to the old
//! one. What the state means is not known here, nor when to do any of this.
//!
//! The variable that names the state stays in the environment of the new program, as there is no
//! safe way to remove one; [`program::Program`] leaves it out of what it hands on.

pub mod envelope;
pub mod handover;
pub mod memory;
pub mod preflight;
pub mod program;
pub mod sockets;
pub mod status;
pub mod takeover;
