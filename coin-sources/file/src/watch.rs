//! Tells when something happened near the file. Only a hint to look sooner: folders that cannot be
//! watched, or are replaced, are made up for by looking every now and then anyway.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Watches the folder of a file and, if it is a link, the folder of what it points to.
///
/// The folder and not the file: editors replace files by renaming, Kubernetes swaps a link beside
/// them, and a watch on the file would stay with the old one.
#[derive(Debug)]
pub(crate) struct Watch {
    watcher: Option<RecommendedWatcher>,
    /// Watched folders with device and inode.
    folders: BTreeMap<PathBuf, (u64, u64)>,
}

impl Watch {
    /// A watch on nothing yet that wakes `changed`.
    pub(crate) fn new(changed: Arc<Notify>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| is_change(event.kind)) {
                changed.notify_one();
            }
        });
        let watcher = watcher
            .map_err(|error| tracing::warn!(%error, "file events are not available, polling only"))
            .ok();
        Self { watcher, folders: BTreeMap::new() }
    }

    /// Watches the folders that matter now. Blocking, cheap if nothing has changed. True if a
    /// folder is watched anew, so that what happened before was missed.
    pub(crate) fn follow(&mut self, path: &Path) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let mut folders = BTreeMap::new();
        for folder in [folder_of(path), fs::canonicalize(path).ok().and_then(|to| folder_of(&to))]
            .into_iter()
            .flatten()
        {
            if let Ok(metadata) = fs::metadata(&folder) {
                folders.insert(folder, (metadata.dev(), metadata.ino()));
            }
        }
        if folders == self.folders {
            return false;
        }
        for (folder, _) in self.folders.iter().filter(|(at, id)| folders.get(*at) != Some(id)) {
            // It fails if the folder is gone, and its watch with it.
            let _ = watcher.unwatch(folder);
        }
        let known = std::mem::take(&mut self.folders);
        let mut is_new = false;
        for (folder, id) in folders {
            if known.get(&folder) != Some(&id) {
                if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                    tracing::debug!(folder = %folder.display(), %error, "cannot watch, polling");
                    continue;
                }
                is_new = true;
            }
            self.folders.insert(folder, id);
        }
        is_new
    }
}

/// Reading and opening are no changes; taking them for some would wake us by our own reading.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

fn folder_of(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    Some(if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() })
}
