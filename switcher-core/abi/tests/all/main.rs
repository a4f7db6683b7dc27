//! The border: that both sides mean the same, and what becomes of those who cross it badly.

mod conformance;
mod layout;
mod support;
