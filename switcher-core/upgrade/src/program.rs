//! The program as it was started: where it is, its arguments, its environment.
//!
//! All of it is kept from the start and handed on as it is, so that an upgrade loses no option. The
//! path is worked out once: `/proc/self/exe` is the deleted file after a package was upgraded.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Names the state to the new program.
pub const HANDOVER: &str = "SWITCHER_HANDOVER";

/// Says to the old program that it is given its state back, and why.
pub const ROLLBACK: &str = "SWITCHER_ROLLBACK";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// The arguments, the name first.
    pub arguments: Vec<OsString>,
    /// The environment, without what upgrades put there.
    pub environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// That of this process. None if no file can be found for it.
    pub fn of_process() -> Option<Self> {
        let arguments: Vec<_> = std::env::args_os().collect();
        let path = find(arguments.first()?, std::env::var_os("PATH").as_deref())?;
        let environment =
            std::env::vars_os().filter(|(name, _)| name != HANDOVER && name != ROLLBACK).collect();
        Some(Self { path, arguments, environment })
    }

    /// The arguments as exec wants them.
    pub(crate) fn arguments(&self) -> io::Result<Vec<CString>> {
        self.arguments.iter().map(|argument| c_string(argument.as_bytes().to_vec())).collect()
    }

    /// The environment as exec wants it, with more variables.
    pub(crate) fn environment(&self, more: &[(&str, String)]) -> io::Result<Vec<CString>> {
        let kept = self.environment.iter().map(|(name, value)| {
            let mut text = name.clone().into_vec();
            text.push(b'=');
            text.extend(value.as_bytes());
            c_string(text)
        });
        let added = more.iter().map(|(name, value)| {
            // A reason may quote anything.
            c_string(format!("{name}={}", value.replace('\0', " ")).into_bytes())
        });
        kept.chain(added).collect()
    }
}

pub(crate) fn c_string(bytes: Vec<u8>) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Finds the file of a name as a shell does.
fn find(name: &OsStr, folders: Option<&OsStr>) -> Option<PathBuf> {
    if name.is_empty() {
        return None;
    }
    if name.as_bytes().contains(&b'/') {
        return std::path::absolute(Path::new(name)).ok();
    }
    std::env::split_paths(folders?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .and_then(|path| std::path::absolute(path).ok())
}

/// Which file a path led to, to see later whether it is still the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Identity {
    /// Of the file there.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn of(path: &Path) -> io::Result<Self> {
        let data = std::fs::metadata(path)?;
        Ok(Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            changed: (data.mtime(), data.mtime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slash_is_a_path_and_one_without_is_looked_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("program");
        std::fs::write(&file, "").unwrap();

        let path = Some(folder.path().as_os_str());
        assert_eq!(find(OsStr::new("program"), path), Some(file));
        assert_eq!(find(OsStr::new("other"), path), None);
        assert_eq!(find(OsStr::new("/bin/../bin/x"), None), Some("/bin/../bin/x".into()));
        assert_eq!(find(OsStr::new(""), path), None);
    }

    #[test]
    fn another_file_at_the_same_path_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (file, new) = (folder.path().join("program"), folder.path().join("new"));
        std::fs::write(&file, "one").unwrap();
        let before = Identity::of(&file).unwrap();

        std::fs::write(&new, "one").unwrap();
        std::fs::rename(&new, &file).unwrap();

        assert_ne!(Identity::of(&file).unwrap(), before);
    }
}
