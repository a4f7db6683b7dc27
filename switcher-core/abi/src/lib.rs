//! The border of plug-ins that are not compiled into the program: a C ABI of one symbol.
//!
//! * `include/switcher_plugin.h` is the border, for authors in any language; [`raw`] mirrors it.
//! * [`host`] (feature `host`) is the program's side: it loads a library, and makes its dialects and
//!   coin sources implementations of the same traits the built-in ones have. It watches every call.
//! * [`sdk`] (feature `sdk`) is the side of a plug-in in Rust: [`export_plugin!`] turns
//!   implementations of those traits into a library.
//!
//! The built-in dialects pass their conformance suite through both sides, which keeps the border
//! honest.

#[cfg_attr(
    not(all(feature = "host", feature = "sdk")),
    allow(dead_code, reason = "each side needs one way")
)]
mod codes;
#[cfg(feature = "host")]
pub mod host;
pub mod raw;
#[cfg(feature = "sdk")]
pub mod sdk;
#[cfg(feature = "testing")]
pub mod testing;
