//! From a file to a plug-in.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal};
use sha2::{Digest as _, Sha256};

use super::{Plugin, enter};
use crate::raw::{SW_ABI_MAJOR, SwEntry};

/// Bits of a mode that let others write.
const OTHERS_WRITE: u32 = 0o022;

/// The bit of a folder in which only owners may replace files.
const STICKY: u32 = 0o1000;

/// Majors that are looked for to say what is wrong.
const OTHER_MAJORS: std::ops::RangeInclusive<u32> = 2..=9;

/// Why a plug-in was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file, or its folder, can be changed by somebody whom the program need not trust.
    #[error(
        "{0}: a plug-in is trusted as the program itself is, so only its owner, root or the \
             user of this program, may be able to change it"
    )]
    Unsafe(String),
    /// It is not the file that was meant.
    #[error("its sha256 is {0}")]
    OtherFile(String),
    /// The system's loader refuses it.
    #[error("{0}")]
    Unloadable(String),
    /// It was built for another major version of the border.
    #[error("it is built for version {found} of the plug-in ABI, this program has version {own}")]
    OtherMajor {
        /// Its version.
        found: u32,
        /// That of this program.
        own: u32,
    },
    /// It is no plug-in.
    #[error("it has no symbol switcher_plugin_v{SW_ABI_MAJOR}; is it a plug-in?")]
    NoPlugin,
    /// It does not want to work with this program.
    #[error("it refuses to work with this program: {0}")]
    Refused(String),
    /// What it gives makes no sense.
    #[error("what it offers makes no sense: {0}")]
    Malformed(&'static str),
}

/// What is loaded already: a library is entered once per process.
static LOADED: Mutex<Vec<(PathBuf, Arc<Plugin>)>> = Mutex::new(Vec::new());

/// Loads a plug-in. It stays loaded to the end of the process, also if this fails. One that is
/// loaded already is not loaded again.
///
/// # Errors
///
/// It is not to be trusted, cannot be loaded, or makes no sense.
pub fn load(path: &Path, sha256: Option<&str>) -> Result<Arc<Plugin>, LoadError> {
    let path = path.canonicalize()?;
    look_at(&path, sha256)?;
    let mut known = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, plugin)) = known.iter().find(|(loaded, _)| *loaded == path) {
        return Ok(Arc::clone(plugin));
    }
    // Threads that it starts, even while it is being loaded, shall take no signal.
    let before = SigSet::all()
        .thread_swap_mask(SigmaskHow::SIG_SETMASK)
        .map_err(|error| LoadError::Unreadable(error.into()))?;
    let loaded = open(&path);
    // A library may have had its own ideas.
    // SAFETY: it is ignored, as it was; no handler of ours is replaced.
    let ignored = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    let restored = before.thread_set_mask();
    if let Err(error) = ignored.map(|_| ()).and(restored) {
        tracing::warn!(%error, "signals could not be set as they were before a plug-in");
    }
    let plugin = Arc::new(loaded?);
    known.push((path, Arc::clone(&plugin)));
    Ok(plugin)
}

fn open(path: &Path) -> Result<Plugin, LoadError> {
    // NOW, so that what it lacks is told here and not by the first miner.
    // SAFETY: running its initialisers is what the operator asked for.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| {
        // What the system said stands behind it.
        let said = std::error::Error::source(&error).map_or(String::new(), |it| format!(": {it}"));
        LoadError::Unloadable(format!("{error}{said}"))
    })?;
    // Never unloaded: threads and thread-locals of it may live on.
    let library: &'static Library = Box::leak(Box::new(library));
    // SAFETY: a symbol of this name has this type, as the header says.
    let entry = unsafe { library.get::<SwEntry>(symbol(SW_ABI_MAJOR).as_bytes()) };
    let Ok(entry) = entry else {
        let has = |major: &u32| {
            // SAFETY: it is looked for and not used.
            unsafe { library.get::<SwEntry>(symbol(*major).as_bytes()) }.is_ok()
        };
        return Err(match OTHER_MAJORS.into_iter().find(has) {
            Some(found) => LoadError::OtherMajor { found, own: SW_ABI_MAJOR },
            None => LoadError::NoPlugin,
        });
    };
    // SAFETY: the library stays loaded, and its symbol does what the header says.
    unsafe { enter(*entry, &path.display().to_string()) }
}

fn symbol(major: u32) -> String {
    format!("switcher_plugin_v{major}\0")
}

/// Whether the file can be trusted, and is the one that is meant.
fn look_at(path: &Path, sha256: Option<&str>) -> Result<(), LoadError> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(LoadError::Unsafe("it is no file".to_owned()));
    }
    trust("it", &metadata, OTHERS_WRITE)?;
    let folder = path.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    let metadata = folder.metadata()?;
    // A file in a folder that others can write to can be replaced, unless the folder is sticky.
    let bits = if metadata.mode() & STICKY == 0 { OTHERS_WRITE } else { 0 };
    trust("its folder", &metadata, bits)?;
    let Some(wanted) = sha256 else { return Ok(()) };
    let mut hasher = Sha256::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        let len = file.read(&mut block)?;
        if len == 0 {
            break;
        }
        hasher.update(block.get(..len).unwrap_or_default());
    }
    let found = hex::encode(hasher.finalize());
    if found.eq_ignore_ascii_case(wanted) { Ok(()) } else { Err(LoadError::OtherFile(found)) }
}

fn trust(what: &str, metadata: &Metadata, bits: u32) -> Result<(), LoadError> {
    let own = nix::unistd::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != own {
        let owner = metadata.uid();
        return Err(LoadError::Unsafe(format!("{what} belongs to user {owner}")));
    }
    if metadata.mode() & bits != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(LoadError::Unsafe(format!("{what} can be written to by others ({mode:o})")));
    }
    Ok(())
}
