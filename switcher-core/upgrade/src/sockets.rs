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
        let is_same = fstat(&socket).is_ok_and(|stat| {
            SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK
                && stat.st_ino == record.inode
        });
        let cookie = SockRef::from(&socket).cookie().ok();
        let cookie_fits = record.cookie.is_none() || cookie.is_none() || cookie == record.cookie;
        adopted.push(socket);
        if !is_same || !cookie_fits {
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

/// Closes descriptors above 2 that an exec would leave open and nobody named; says what they were.
///
/// To be called before anything of this program was opened without close-on-exec.
#[expect(unsafe_code, reason = "descriptors that nobody owns are looked at by number")]
pub fn close_strays(named: &BTreeSet<RawFd>) -> Vec<String> {
    let Ok(folder) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let numbers: Vec<RawFd> = folder
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2 && !named.contains(fd))
        .collect();
    let mut closed = Vec::new();
    for fd in numbers {
        // SAFETY: the number is only asked for its flags; the folder's own, closed by now, is an
        // error.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let flags = fcntl(borrowed, FcntlArg::F_GETFD).map(FdFlag::from_bits_truncate);
        if flags.is_ok_and(|flags| !flags.contains(FdFlag::FD_CLOEXEC)) {
            let what = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
            if adopt(fd).is_ok() {
                closed.push(format!("{fd} {}", what.display()));
            }
        }
    }
    closed
}
