//! The border: that both sides mean the same, and what becomes of those who cross it badly.

mod conformance;
mod defence;
mod layout;
mod loading;
mod sources;
mod support;
mod versions;
