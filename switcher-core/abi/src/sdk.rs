//! For plug-ins in Rust: from implementations of the traits to a library.
//!
//! A plug-in is a crate of the kind `cdylib` with one call of [`export_plugin!`](crate::export_plugin):
//!
//! ```no_run
//! # mod my { pub use dialect_btc::DIALECT; }
//! use switcher_plugin_abi::sdk::Dialect;
//!
//! switcher_plugin_abi::export_plugin! {
//!     dialects: [Dialect::new(my::DIALECT, "sha256d").about("Bitcoin")],
//!     sources: [],
//! }
//! ```
//!
//! Panics are stopped at the border: the session they happen in is ended. `tracing` events of the
//! plug-in go into the log of the program. A coin source gets a thread and a tokio runtime of its own.

mod dialect;
mod log;
mod session;
mod source;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use switcher_plugin::{CoinSource, ProfileError, StratumDialect};

use crate::raw::{
    self, SW_ABI_MINOR, SW_BAD_CONFIG, SW_FAILED, SW_PANIC, SwDialect, SwError, SwHost, SwPlugin,
    SwSource, SwStr,
};

pub use log::bridge;

/// A dialect to be exported.
#[derive(Debug)]
pub struct Dialect {
    inner: Box<dyn StratumDialect>,
    algorithm: &'static str,
    about: &'static str,
}

impl Dialect {
    /// A dialect, and the hash algorithm of its coins unless the configuration says otherwise.
    pub fn new(dialect: impl StratumDialect, algorithm: &'static str) -> Self {
        Self { inner: Box::new(dialect), algorithm, about: "" }
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }
}

/// Makes a source of its table in the configuration, a JSON object.
pub type MakeSource = fn(&serde_json::Value) -> Result<Box<dyn CoinSource>, ProfileError>;

/// A coin source to be exported.
#[derive(Debug)]
pub struct Source {
    name: &'static str,
    about: &'static str,
    make: MakeSource,
}

impl Source {
    /// A source with its name in the configuration and how it is made. `make` is called for each run
    /// and to check a configuration; it does no I/O that could wait.
    pub fn new(name: &'static str, make: MakeSource) -> Self {
        Self { name, about: "", make }
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }
}

/// All that a plug-in exports.
#[derive(Debug)]
pub struct Exports {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its dialects.
    pub dialects: Vec<Dialect>,
    /// Its coin sources.
    pub sources: Vec<Source>,
}

/// What stands behind `switcher_plugin_v1`: lays everything out as the header says. What it makes
/// stays for ever.
///
/// # Safety
///
/// `host` and `error` are what the header says.
pub unsafe fn enter(
    host: *const SwHost,
    error: *mut SwError,
    exports: impl FnOnce() -> Exports,
) -> *const SwPlugin {
    // SAFETY: as promised by the caller.
    let Some(host) = (unsafe { raw::read(host) }) else {
        // SAFETY: likewise.
        unsafe { tell(error, "", "the program that loads this plug-in is too old for it", "") };
        return std::ptr::null();
    };
    let host: &'static SwHost = Box::leak(Box::new(host));
    match catch_unwind(AssertUnwindSafe(exports)) {
        Ok(exports) => lay_out(host, exports),
        Err(panic) => {
            // SAFETY: as promised by the caller.
            unsafe { tell(error, "", &panic_text(&*panic), "") };
            std::ptr::null()
        }
    }
}

fn lay_out(host: &'static SwHost, exports: Exports) -> *const SwPlugin {
    let dialects: Vec<*const SwDialect> =
        exports.dialects.into_iter().map(|export| dialect::table(host, export)).collect();
    let sources: Vec<*const SwSource> =
        exports.sources.into_iter().map(|export| source::table(host, export)).collect();
    let (dialects, sources) = (dialects.leak(), sources.leak());
    Box::leak(Box::new(SwPlugin {
        size: SwPlugin::SIZE,
        abi_minor: SW_ABI_MINOR,
        name: SwStr::of(exports.name.as_bytes()),
        version: SwStr::of(exports.version.as_bytes()),
        build: SwStr::of(concat!("switcher-plugin-abi ", env!("CARGO_PKG_VERSION")).as_bytes()),
        dialects: dialects.as_ptr(),
        n_dialects: dialects.len(),
        sources: sources.as_ptr(),
        n_sources: sources.len(),
    }))
}

/// Exports a Rust plug-in: `dialects` and `sources` are lists of [`Dialect`]
/// and [`Source`]. Name and version are the crate's.
#[macro_export]
macro_rules! export_plugin {
    (dialects: [$($dialect:expr),* $(,)?] $(, sources: [$($source:expr),* $(,)?])? $(,)?) => {
        #[cfg(panic = "abort")]
        compile_error!("a plug-in needs panic = \"unwind\": a panic must not end the program");

        /// The one symbol of the plug-in.
        ///
        /// # Safety
        ///
        /// To be called as the header says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn switcher_plugin_v1(
            host: *const $crate::raw::SwHost,
            error: *mut $crate::raw::SwError,
        ) -> *const $crate::raw::SwPlugin {
            // SAFETY: the program calls it as the header says.
            unsafe {
                $crate::sdk::bridge(host);
                $crate::sdk::enter(host, error, || $crate::sdk::Exports {
                    name: env!("CARGO_PKG_NAME"),
                    version: env!("CARGO_PKG_VERSION"),
                    dialects: vec![$($dialect),*],
                    sources: vec![$($($source),*)?],
                })
            }
        }
    };
}

/// Fills the caller's error.
///
/// # Safety
///
/// `error` is null or what the header says.
unsafe fn tell(error: *mut SwError, key: &str, problem: &str, accepted: &str) {
    // SAFETY: as promised by the caller. Its texts are there since version 1.0.
    let Some(error) = (unsafe { error.as_mut() }) else { return };
    raw::write_text(&mut error.key, key);
    raw::write_text(&mut error.problem, problem);
    raw::write_text(&mut error.accepted, accepted);
}

/// Tells of a setting.
///
/// # Safety
///
/// As for [`tell`].
unsafe fn refuse(error: *mut SwError, refused: &ProfileError) -> i32 {
    // SAFETY: as promised by the caller.
    unsafe { tell(error, &refused.key, &refused.problem, &refused.accepted) };
    SW_BAD_CONFIG
}

/// Tells of a failure.
///
/// # Safety
///
/// As for [`tell`].
unsafe fn fail(error: *mut SwError, problem: &str) -> i32 {
    // SAFETY: as promised by the caller.
    unsafe { tell(error, "", problem, "") };
    SW_FAILED
}

/// Stops a panic: it becomes [`SW_PANIC`] with its message in `error`.
///
/// # Safety
///
/// As for [`tell`].
unsafe fn guard(error: *mut SwError, call: impl FnOnce() -> i32) -> i32 {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        // SAFETY: as promised by the caller.
        unsafe { tell(error, "", &panic_text(&*panic), "") };
        SW_PANIC
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("(no text)"))
}

/// A text that the host lends.
///
/// # Safety
///
/// As for [`SwStr::bytes`].
unsafe fn lent<'a>(text: SwStr) -> &'a str {
    // SAFETY: as promised by the caller. The host's texts are UTF-8.
    unsafe { text.text() }.unwrap_or_default()
}
