//! A state in anonymous memory that nobody can change any more: a sealed memfd.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Largest state that is read: 20,000 sessions with a full buffer on every side.
pub const MOST: u64 = 4 << 30;

/// Writes bytes into a new memfd, reads them again and seals it. Its position is 0.
///
/// # Errors
///
/// The system refuses, or what is read is not what was written.
pub fn seal(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let memory = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(memory);
    file.write_all(bytes)?;
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    let memory = OwnedFd::from(file);
    if read(&memory)? != bytes {
        return Err(io::Error::other("the memfd does not hold what was written"));
    }
    Ok(memory)
}

/// Reads all of it, wherever its position is, and leaves that at 0.
///
/// # Errors
///
/// The system refuses, or it is too large.
pub fn read(memory: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = File::from(memory.as_fd().try_clone_to_owned()?);
    file.rewind()?;
    let mut bytes = Vec::new();
    (&mut file).take(MOST).read_to_end(&mut bytes)?;
    file.rewind()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_read_again_and_cannot_be_changed() {
        let memory = seal("test", b"the state").unwrap();

        let mut file = File::from(memory.try_clone().unwrap());
        assert!(file.write_all(b"x").is_err(), "writing is sealed off");
        assert!(file.set_len(3).is_err(), "so is cutting");
        assert_eq!(read(&memory).unwrap(), b"the state");
        assert_eq!(read(&memory).unwrap(), b"the state", "any number of times");
    }
}
