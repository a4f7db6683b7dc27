//! A state in anonymous memory that nobody can change any more: a sealed memfd.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Largest state that is read: 20,000 sessions with a full buffer on every side.
pub const MOST: u64 = 4 << 30;

/// Bytes that are read again at once: what a core's cache holds.
const PIECE: usize = 128 * 1024;

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
    if !holds(&mut file, bytes)? {
        return Err(io::Error::other("the memfd does not hold what was written"));
    }
    Ok(OwnedFd::from(file))
}

/// Whether these bytes are all of the file. Piece by piece: miners wait, and fresh memory for a
/// second copy takes longer than all the rest. Leaves the position at 0.
fn holds(file: &mut File, bytes: &[u8]) -> io::Result<bool> {
    let mut piece = vec![0; PIECE];
    file.rewind()?;
    for written in bytes.chunks(PIECE) {
        let Some(piece) = piece.get_mut(..written.len()) else { return Ok(false) };
        file.read_exact(piece)?;
        if piece != written {
            return Ok(false);
        }
    }
    let is_all = file.read(&mut piece)? == 0;
    file.rewind()?;
    Ok(is_all)
}

/// Reads all of it, wherever its position is, and leaves that at 0.
///
/// # Errors
///
/// The system refuses, or it is too large.
pub fn read(memory: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = File::from(memory.as_fd().try_clone_to_owned()?);
    file.rewind()?;
    // A buffer that has to grow is copied, and every new page of it costs.
    let length = file.metadata()?.len().min(MOST);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
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

    #[test]
    fn what_does_not_hold_what_was_written_is_found_out() {
        let state: Vec<u8> = (0..=u8::MAX).cycle().take(2 * PIECE + 7).collect();
        let mut file = File::from(seal("test", &state).unwrap());
        assert_eq!(read(&file.try_clone().unwrap().into()).unwrap(), state);

        let mut other = state.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(holds(&mut file, &state).unwrap(), "whatever was read before");
        assert!(!holds(&mut file, &other).unwrap());
        assert!(!holds(&mut file, &state[..PIECE]).unwrap(), "there is more");
    }
}
