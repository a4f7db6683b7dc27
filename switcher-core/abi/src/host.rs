//! The program's side: loads plug-ins and makes them implementations of the traits.
//!
//! A plug-in is trusted as the program itself is; what is done against its mistakes is in
//! [`health`]. Nothing is ever unloaded.

mod calls;
mod dialect;
pub mod health;
mod loader;
mod out;
mod session;
mod source;

use std::ffi::c_void;
use std::sync::Arc;

use crate::raw::{
    self, SW_ABI_MINOR, SwDialect, SwEntry, SwError, SwHost, SwPlugin, SwSource, SwStr,
};

pub use dialect::ForeignDialect;
pub use health::{Health, Standing};
pub use loader::{LoadError, load};
pub use source::SourceTable;

/// Most dialects, and most sources, of one plug-in.
const MOST: usize = 64;

/// A plug-in that was loaded.
#[derive(Debug)]
pub struct Plugin {
    /// What it calls itself.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What built it.
    pub build: String,
    /// Minor version of the border it was built for.
    pub abi_minor: u32,
    /// Where it came from: a path.
    pub origin: String,
    /// Its dialects.
    pub dialects: Vec<Arc<ForeignDialect>>,
    /// Its coin sources.
    pub sources: Vec<Arc<SourceTable>>,
    /// How it behaves.
    pub health: Arc<Health>,
}

/// Calls the one function of a plug-in and looks at what it gives.
///
/// # Errors
///
/// It refuses this program, or what it gives cannot be worked with.
///
/// # Safety
///
/// `entry` does what the header says of `switcher_plugin_v1`, and its library stays loaded.
pub unsafe fn enter(entry: SwEntry, origin: &str) -> Result<Plugin, LoadError> {
    // SAFETY: as promised by the caller.
    unsafe { enter_as(entry, origin, SwHost::SIZE, SW_ABI_MINOR) }
}

/// As [`enter`], showing only so much of the host, as an older one would.
///
/// # Errors
///
/// As for [`enter`].
///
/// # Safety
///
/// As for [`enter`].
#[doc(hidden)]
pub unsafe fn enter_as(
    entry: SwEntry,
    origin: &str,
    size: u32,
    abi_minor: u32,
) -> Result<Plugin, LoadError> {
    let health = Health::new(origin);
    let host: &'static SwHost = Box::leak(Box::new(SwHost {
        size,
        abi_minor,
        version: SwStr::of(env!("CARGO_PKG_VERSION").as_bytes()),
        // Stays for ever: the registry of healths has it.
        ctx: Arc::as_ptr(&health).cast_mut().cast::<c_void>(),
        ..calls::host()
    }));
    let mut error = SwError::empty();
    // SAFETY: as promised by the caller.
    let plugin = unsafe { entry(host, &raw mut error) };
    if plugin.is_null() {
        return Err(LoadError::Refused(raw::read_text(&error.problem)));
    }
    // SAFETY: likewise.
    unsafe { look_at(plugin, origin, health) }
}

/// Looks at what a plug-in gives.
///
/// # Safety
///
/// `plugin` and all it points to is what the header says.
unsafe fn look_at(
    plugin: *const SwPlugin,
    origin: &str,
    health: Arc<Health>,
) -> Result<Plugin, LoadError> {
    // SAFETY: as promised by the caller, here and below.
    let raw = unsafe { raw::read(plugin) }.ok_or(LoadError::Malformed("SwPlugin is too small"))?;
    // SAFETY: as above.
    let (name, version, build) =
        unsafe { (owned(raw.name)?, owned(raw.version)?, owned(raw.build)?) };
    if !is_name(&name) {
        return Err(LoadError::Malformed("its name is not one of a-z, 0-9, - and _"));
    }
    health.set_name(&name);
    if raw.n_dialects > MOST || raw.n_sources > MOST {
        return Err(LoadError::Malformed("it has more than 64 dialects or sources"));
    }
    let mut dialects = Vec::new();
    for at in 0..raw.n_dialects {
        // SAFETY: as above.
        let table: *const SwDialect = unsafe { *raw.dialects.add(at) };
        // SAFETY: as above.
        dialects.push(Arc::new(unsafe { ForeignDialect::new(table, &health) }?));
    }
    let mut sources = Vec::new();
    for at in 0..raw.n_sources {
        // SAFETY: as above.
        let table: *const SwSource = unsafe { *raw.sources.add(at) };
        // SAFETY: as above.
        sources.push(Arc::new(unsafe { SourceTable::new(table, &health) }?));
    }
    if dialects.is_empty() && sources.is_empty() {
        return Err(LoadError::Malformed("it has neither dialects nor sources"));
    }
    let origin = origin.to_owned();
    Ok(Plugin { name, version, build, abi_minor: raw.abi_minor, origin, dialects, sources, health })
}

/// A text of the plug-in.
///
/// # Safety
///
/// As for [`SwStr::bytes`].
unsafe fn owned(text: SwStr) -> Result<String, LoadError> {
    // SAFETY: as promised by the caller.
    match unsafe { text.text() } {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(LoadError::Malformed("one of its texts is not UTF-8")),
    }
}

/// Whether a text can be a key of the configuration.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= 64 && name.chars().all(fits)
}
