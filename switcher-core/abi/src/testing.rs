//! For tests: plug-ins of this workspace, as files that the loader takes.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

/// A library in a folder of its own, which goes with this value.
#[derive(Debug)]
pub struct Library {
    folder: TempDir,
    name: String,
}

impl Library {
    /// A copy of what cargo has built beside this test: the test's crate depends on the plug-in's.
    ///
    /// # Panics
    ///
    /// If it is not there.
    #[expect(clippy::expect_used, reason = "a test that cannot have its plug-in has failed")]
    pub fn built(name: &str) -> Self {
        let test = std::env::current_exe().expect("a test has a file");
        let file = format!("libswitcher_{name}.so");
        let built = test
            .ancestors()
            .skip(1)
            .take(2)
            .map(|folder| folder.join(&file))
            .find(|path| path.exists())
            .expect("the test's crate depends on the plug-in's");
        let library = Self::at(name);
        std::fs::copy(built, library.path()).expect("it can be copied");
        // Whatever the umask was: others may not write to it.
        let mode = Permissions::from_mode(0o755);
        std::fs::set_permissions(library.path(), mode).expect("it is ours");
        library
    }

    /// The place for one that is not there yet.
    ///
    /// # Panics
    ///
    /// If the system has no folder for it.
    #[expect(clippy::expect_used, reason = "as above")]
    pub fn at(name: &str) -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), name: name.to_owned() }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(format!("libswitcher_{}.so", self.name))
    }
}
