//! How upgrades of a process went, for another process to read: a memfd of a known name, found
//! under `/proc/PID/fd`. It needs no configuration, no folder and no listener, and only whoever may
//! look into the process can read it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::PathBuf;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// Name of the memfd.
const NAME: &str = "stratum-switcher-status";

/// Longest status that is read.
const MOST: u64 = 64 * 1024;

/// The writer's side.
#[derive(Debug)]
pub struct Status(File);

impl Status {
    /// A status of this process, empty at first.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn open() -> io::Result<Self> {
        Ok(Self(memfd_create(NAME, MFdFlags::MFD_CLOEXEC)?.into()))
    }

    /// Writes a new one. A reader that comes in between finds half of it, and looks again.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(text.as_bytes())
    }
}

/// The status of another process: none if it has none, or is gone.
///
/// # Errors
///
/// This process may not look into that one.
pub fn of(pid: u32) -> io::Result<Option<String>> {
    let entries = match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let wanted = PathBuf::from(format!("/memfd:{NAME} (deleted)"));
    for entry in entries {
        let Ok(path) = entry.map(|entry| entry.path()) else { continue };
        if std::fs::read_link(&path).is_ok_and(|target| target == wanted) {
            let mut text = String::new();
            let opened = File::open(&path);
            let read = opened.and_then(|file| file.take(MOST).read_to_string(&mut text));
            return Ok(read.ok().map(|_| text));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_reads_what_was_written_last() {
        let mut status = Status::open().unwrap();
        status.write("a long first one").unwrap();
        status.write("second").unwrap();

        assert_eq!(of(std::process::id()).unwrap(), Some("second".to_owned()));
    }

    #[test]
    fn a_process_that_is_not_there_has_none() {
        assert_eq!(of(u32::MAX / 2).unwrap(), None);
    }
}
