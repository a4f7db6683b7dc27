//! Descriptors by number: written down before an exec, checked and adopted behind it.
//!
//! The one place of the program with unsafe code: a number that was inherited becomes an owned
//! descriptor here, after it was found to be the socket it was.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use serde::{Deserialize, Serialize};
use socket2::SockRef;

/// What is known of a socket that is handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketRecord {
    /// Its descriptor.
    pub fd: RawFd,
    /// Its inode.
    pub inode: u64,
    /// Its cookie, which no other socket of this boot has (`SO_COOKIE`).
    #[serde(default)]
    pub cookie: Option<u64>,
    /// What it is for, for a reader.
    #[serde(default)]
    pub role: String,
}

/// An inherited descriptor that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The number is not open, or may not be adopted.
    #[error("descriptor {fd} ({role}): {error}")]
    Descriptor {
        /// The number.
        fd: RawFd,
        /// What it should be for.
        role: String,
        /// What the system says.
        error: io::Error,
    },
    /// It is another file than was written down.
    #[error("descriptor {fd} ({role}) is not the socket that was handed over")]
    Other {
        /// The number.
        fd: RawFd,
        /// What it should be for.
        role: String,
    },
    /// A number stands there twice.
    #[error("descriptor {0} is named twice")]
    Twice(RawFd),
}

/// Writes down a socket.
///
/// # Errors
///
/// The system does not know it.
pub fn describe(socket: &OwnedFd, role: String) -> io::Result<SocketRecord> {
    let stat = fstat(socket)?;
    let cookie = SockRef::from(socket).cookie().ok();
    Ok(SocketRecord { fd: socket.as_raw_fd(), inode: stat.st_ino, cookie, role })
}

/// Adopts an inherited descriptor and sets close-on-exec on it. Standard streams are refused.
///
/// # Errors
///
/// It is not open.
#[expect(unsafe_code, reason = "a number becomes a descriptor; there is no safe way")]
pub fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 3 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the number may be closed or anything; it is only asked for its flags, which is an
    // error then, before it is owned.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    set_close_on_exec(borrowed, true)?;
    // SAFETY: it is open, as the call above has shown. It was inherited from the program before,
    // which left it to this one by its number; callers adopt each number once, before any thread
    // and any other code could have opened or own a descriptor above 2.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adopts all sockets that were written down. Close-on-exec is set on every one of them.
///
/// # Errors
///
/// One of them is not what it should be. Those adopted so far are forgotten, not closed: they may
/// have to be given back.
pub fn adopt_all(records: &[SocketRecord]) -> Result<Vec<OwnedFd>, AdoptError> {
    let mut adopted = Vec::with_capacity(records.len());
    let result = adopt_each(records, &mut adopted);
    match result {
        Ok(()) => Ok(adopted),
        Err(error) => {
            adopted.into_iter().for_each(std::mem::forget);
            Err(error)
        }
    }
}

fn adopt_each(records: &[SocketRecord], adopted: &mut Vec<OwnedFd>) -> Result<(), AdoptError> {
    let mut seen = BTreeSet::new();
    for record in records {
        if !seen.insert(record.fd) {
            return Err(AdoptError::Twice(record.fd));
        }
        let refuse = |error| {
            let (fd, role) = (record.fd, record.role.clone());
            AdoptError::Descriptor { fd, role, error }
        };
        let socket = adopt(record.fd).map_err(refuse)?;
        let is_same = match (record.cookie, SockRef::from(&socket).cookie()) {
            (Some(noted), Ok(found)) => noted == found,
            _ => fstat(&socket).is_ok_and(|stat| {
                SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK
                    && stat.st_ino == record.inode
            }),
        };
        adopted.push(socket);
        if !is_same {
            return Err(AdoptError::Other { fd: record.fd, role: record.role.clone() });
        }
    }
    Ok(())
}

/// Sets or clears close-on-exec.
///
/// # Errors
///
/// The descriptor is not open.
pub fn set_close_on_exec(fd: impl AsFd, set: bool) -> io::Result<()> {
    let flag = if set { FdFlag::FD_CLOEXEC } else { FdFlag::empty() };
    fcntl(fd.as_fd(), FcntlArg::F_SETFD(flag))?;
    Ok(())
}

/// Descriptors above 2 without close-on-exec: what an exec leaves open.
///
/// Before this program has opened any in that way, they are those it was started with.
#[expect(unsafe_code, reason = "descriptors that nobody owns are looked at by number")]
pub fn inherited() -> BTreeSet<RawFd> {
    let Ok(folder) = std::fs::read_dir("/proc/self/fd") else { return BTreeSet::new() };
    folder
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&fd: &RawFd| {
            // SAFETY: the number is only asked for its flags; were it closed by now, that would be
            // an error.
            let borrowed = unsafe { BorrowedFd::borrow_raw(fd.max(0)) };
            let flags = fcntl(borrowed, FcntlArg::F_GETFD).map(FdFlag::from_bits_truncate);
            fd > 2 && flags.is_ok_and(|flags| !flags.contains(FdFlag::FD_CLOEXEC))
        })
        .collect()
}

/// Closes what was inherited and nobody named; says what it was.
///
/// To be called before anything of this program was opened without close-on-exec.
pub fn close_strays(named: &BTreeSet<RawFd>) -> Vec<String> {
    let strays = inherited().into_iter().filter(|fd| !named.contains(fd));
    let close = |fd: RawFd| {
        let what = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        adopt(fd).is_ok().then(|| format!("{fd} {}", what.display()))
    };
    strays.filter_map(close).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn record(socket: &OwnedFd) -> SocketRecord {
        describe(socket, "test".into()).unwrap()
    }

    fn listener() -> OwnedFd {
        TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    /// The number of a descriptor that nobody owns any more.
    fn left_open(socket: OwnedFd) -> SocketRecord {
        let record = record(&socket);
        std::mem::forget(socket);
        record
    }

    #[test]
    fn sockets_are_adopted_as_they_were_and_closed_on_exec_again() {
        let record = left_open(listener());

        let adopted = adopt_all(std::slice::from_ref(&record)).unwrap();

        assert_eq!(adopted[0].as_raw_fd(), record.fd);
        assert!(!inherited().contains(&record.fd));
        assert!(TcpListener::from(adopted.into_iter().next().unwrap()).local_addr().is_ok());
    }

    #[test]
    fn another_socket_at_the_number_is_refused() {
        let [mut inode, mut cookie] = [left_open(listener()), left_open(listener())];
        inode.inode += 1;
        // It is what counts where there is no cookie.
        inode.cookie = None;
        cookie.cookie = cookie.cookie.map(|cookie| cookie + 1);
        for record in [inode, cookie] {
            let error = adopt_all(&[record]).unwrap_err();

            assert!(matches!(error, AdoptError::Other { .. }), "{error}");
        }
    }

    #[test]
    fn a_file_is_no_socket() {
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let mut record = left_open(file);
        record.cookie = None;

        assert!(matches!(adopt_all(&[record]), Err(AdoptError::Other { .. })));
    }

    #[test]
    fn closed_numbers_standard_streams_and_repetitions_are_refused() {
        let named = |fd| SocketRecord { fd, inode: 1, cookie: None, role: String::new() };

        for fd in [-1, 0, 1, 2, 999_999] {
            let error = adopt_all(&[named(fd)]).unwrap_err();
            assert!(matches!(error, AdoptError::Descriptor { .. }), "{fd}: {error}");
        }
        let twice = left_open(listener());
        let error = adopt_all(&[twice.clone(), twice]).unwrap_err();
        assert!(matches!(error, AdoptError::Twice(_)), "{error}");
    }
}
