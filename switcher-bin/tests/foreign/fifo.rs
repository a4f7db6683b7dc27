//! The FIFO by which the tests move miners.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A FIFO that is never without a reader, so what is said in an upgrade waits there.
pub(crate) struct Fifo {
    path: PathBuf,
    file: File,
}

impl Fifo {
    pub(crate) fn make(path: PathBuf) -> Self {
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).custom_flags(nix::libc::O_NONBLOCK);
        let file = options.open(&path).unwrap();
        Self { path, file }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes lines into it.
    pub(crate) fn say(&self, lines: &str) {
        (&self.file).write_all(lines.as_bytes()).unwrap();
    }
}
