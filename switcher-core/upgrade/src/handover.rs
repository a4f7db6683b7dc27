//! The last step of the old program: descriptors made inheritable, then exec. It returns only if
//! that failed, and then everything is as it was.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::unistd::execve;

use crate::program::{HANDOVER, Program, c_string};
use crate::sockets::set_close_on_exec;

/// Executes the program with these sockets and the state in `memory`.
///
/// # Errors
///
/// The system refuses. Close-on-exec is set on all descriptors again.
pub fn execute(
    program: &Program,
    memory: &OwnedFd,
    sockets: &[OwnedFd],
    generation: u64,
) -> io::Result<Infallible> {
    // By this the new program can give everything back, whatever lies at our path by now.
    let own = OwnedFd::from(File::open("/proc/self/exe")?);
    let path = c_string(program.path.as_os_str().as_bytes().to_vec())?;
    let arguments = program.arguments()?;
    let handover = format!("{}:{}:{generation}", memory.as_raw_fd(), own.as_raw_fd());
    let environment = program.environment(&[(HANDOVER, handover)])?;
    let all: Vec<_> = sockets.iter().chain([memory, &own]).collect();
    become_program(&path, &arguments, &environment, &all)
}

/// Executes a program that is none of ours, with these sockets and nothing else.
///
/// # Errors
///
/// The system refuses. Close-on-exec is set on all descriptors again.
pub fn execute_other(program: &Program, sockets: &[&OwnedFd]) -> io::Result<Infallible> {
    let path = c_string(program.path.as_os_str().as_bytes().to_vec())?;
    become_program(&path, &program.arguments()?, &program.environment(&[])?, sockets)
}

fn become_program(
    path: &CStr,
    arguments: &[CString],
    environment: &[CString],
    descriptors: &[&OwnedFd],
) -> io::Result<Infallible> {
    let all = || descriptors.iter();
    let outcome = all().try_for_each(|fd| set_close_on_exec(fd, false)).and_then(|()| {
        // Not `Command::exec`, which leaves SIGPIPE at its default if it fails.
        execve(path, arguments, environment).map_err(io::Error::from)
    });
    for fd in all() {
        // They are open, so it cannot fail; and there is nothing else that could be done.
        let _ = set_close_on_exec(fd, true);
    }
    outcome
}
