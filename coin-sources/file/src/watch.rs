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

    /// Watches the folders that matter now. Blocking, cheap if nothing has changed. What happened
    /// before in a folder that is watched anew was missed, so read the file afterwards.
    pub(crate) fn follow(&mut self, path: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut folders = BTreeMap::new();
        for folder in [folder_of(path), fs::canonicalize(path).ok().and_then(|to| folder_of(&to))]
            .into_iter()
            .flatten()
        {
            if let Ok(metadata) = fs::metadata(&folder) {
                folders.insert(folder, (metadata.dev(), metadata.ino()));
            }
        }
        for (folder, _) in self.folders.iter().filter(|(at, id)| folders.get(*at) != Some(id)) {
            // It fails if the folder is gone, and its watch with it.
            let _ = watcher.unwatch(folder);
        }
        let known = std::mem::take(&mut self.folders);
        for (folder, id) in folders {
            if known.get(&folder) != Some(&id)
                && let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive)
            {
                tracing::debug!(folder = %folder.display(), %error, "cannot watch, polling");
                continue;
            }
            self.folders.insert(folder, id);
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use notify::event::{CreateKind, DataChange, ModifyKind, RemoveKind, RenameMode};
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn reading_is_no_change_and_writing_is() {
        for kind in [
            EventKind::Access(AccessKind::Open(AccessMode::Any)),
            EventKind::Access(AccessKind::Read),
            EventKind::Access(AccessKind::Close(AccessMode::Read)),
        ] {
            assert!(!is_change(kind), "{kind:?}");
        }
        for kind in [
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Create(CreateKind::File),
            EventKind::Modify(ModifyKind::Data(DataChange::Any)),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)),
            EventKind::Remove(RemoveKind::File),
            EventKind::Other,
        ] {
            assert!(is_change(kind), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_replaced_is_watched_anew() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        let path = inner.join("m.toml");
        fs::create_dir(&inner).unwrap();
        let changed = Arc::new(Notify::new());
        let mut watch = Watch::new(Arc::clone(&changed));
        watch.follow(&path);
        fs::rename(&inner, folder.path().join("old")).unwrap();
        fs::create_dir(&inner).unwrap();
        watch.follow(&path);

        fs::write(&path, "x").unwrap();

        let told = timeout(Duration::from_secs(20), changed.notified());
        told.await.expect("an event of the new folder");
        assert_eq!(watch.folders.len(), 1);
    }
}
