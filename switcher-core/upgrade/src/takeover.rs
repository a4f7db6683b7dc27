//! The first step of the new program: what it was handed is checked, and nothing of it is used
//! before everything else is in place. Until then it can all be given back to the old program.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::unistd::fexecve;
use serde::Deserialize;

use crate::envelope::{self, Body, EnvelopeError, Header};
use crate::memory;
use crate::program::{HANDOVER, Program, ROLLBACK};
use crate::sockets::{self, AdoptError, set_close_on_exec};

/// What the old program has handed over.
#[derive(Debug)]
pub struct Handed<D> {
    /// What the header says.
    pub header: Header,
    /// The state.
    pub body: Body<D>,
    /// The sockets, as the body lists them.
    pub sockets: Vec<OwnedFd>,
    /// The memfd of the state.
    pub memory: OwnedFd,
    /// Descriptors nobody named, closed.
    pub strays: Vec<String>,
    /// Set if this is the old program, given back its state, and why.
    pub rolled_back: Option<String>,
}

/// Why nothing could be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// The variable does not read.
    #[error("{HANDOVER}={0:?} does not read")]
    Variable(String),
    /// The state cannot be read at all.
    #[error("the state: {0}")]
    Memory(#[from] io::Error),
    /// The state cannot be believed.
    #[error("the state: {0}")]
    Envelope(#[from] EnvelopeError),
    /// A socket is not what it should be.
    #[error(transparent)]
    Socket(#[from] AdoptError),
}

/// Where to go back to, until [`commit`].
static WAY_BACK: Mutex<Option<WayBack>> = Mutex::new(None);

/// Whether a way back was ever open, for the hook of panics.
static HOOKED: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct WayBack {
    program: Program,
    old: OwnedFd,
    memory: OwnedFd,
    /// Numbers of the sockets, which others own.
    sockets: Vec<RawFd>,
    generation: u64,
}

/// Whether this process was handed anything.
pub fn is_handed() -> bool {
    std::env::var_os(HANDOVER).is_some()
}

/// Takes over what was handed to this process, or none if it was started afresh.
///
/// To be called first thing in `main`. From here to [`commit`] a failure is answered by
/// [`give_back`], which a panic of any thread does by itself.
///
/// # Errors
///
/// It is damaged. [`give_back`] may still work.
pub fn take_over<D: for<'a> Deserialize<'a>>(
    program: Option<&Program>,
) -> Result<Option<Handed<D>>, TakeoverError> {
    let Some(value) = std::env::var_os(HANDOVER) else { return Ok(None) };
    let value = value.to_string_lossy().into_owned();
    let numbers: Vec<u64> = value.split(':').filter_map(|part| part.parse().ok()).collect();
    let Ok([memory, old, generation]) = <[u64; 3]>::try_from(numbers) else {
        return Err(TakeoverError::Variable(value));
    };
    let descriptor = |number: u64| -> io::Result<OwnedFd> {
        sockets::adopt(RawFd::try_from(number).map_err(io::Error::other)?)
    };
    let memory = descriptor(memory)?;
    let old = descriptor(old)?;
    let rolled_back = std::env::var_os(ROLLBACK).map(|why| why.to_string_lossy().into_owned());
    let bytes = memory::read(&memory);
    let mut named: BTreeSet<_> = [memory.as_raw_fd(), old.as_raw_fd()].into();
    let kept = memory.try_clone()?;
    // Whoever was given everything back has nobody to give it to.
    if let Some(program) = program.filter(|_| rolled_back.is_none()) {
        let program = program.clone();
        remember(WayBack { program, old, memory, sockets: Vec::new(), generation });
    }
    let (header, body) = envelope::decode::<D>(&bytes?)?;
    named.extend(body.sockets.iter().map(|record| record.fd));
    named.extend(&body.kept);
    note_sockets(body.sockets.iter().map(|record| record.fd).collect());
    let sockets = sockets::adopt_all(&body.sockets)?;
    let strays = sockets::close_strays(&named);
    Ok(Some(Handed { header, body, sockets, memory: kept, strays, rolled_back }))
}

fn remember(way: WayBack) {
    *WAY_BACK.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
    if !HOOKED.swap(true, Ordering::Relaxed) {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Before it unwinds and closes what it owns.
            let error = give_back(&format!("the new program panicked: {panic}"));
            before(panic);
            drop(error);
        }));
    }
}

fn note_sockets(sockets: Vec<RawFd>) {
    if let Some(way) = &mut *WAY_BACK.lock().unwrap_or_else(PoisonError::into_inner) {
        way.sockets = sockets;
    }
}

/// From here on this program serves, and there is no way back.
pub fn commit() {
    WAY_BACK.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// Gives everything back to the old program. Returns only if there is no way back.
#[must_use]
#[expect(unsafe_code, reason = "sockets that others own are made inheritable by number")]
pub fn give_back(why: &str) -> Option<io::Error> {
    let way = WAY_BACK.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    let execute = || -> io::Result<Infallible> {
        for &fd in &way.sockets {
            // SAFETY: before `commit` nobody closes a socket that was handed over, so the number
            // is open; a call on a closed one would only be an error.
            let socket = unsafe { BorrowedFd::borrow_raw(fd) };
            set_close_on_exec(socket, false)?;
        }
        set_close_on_exec(&way.memory, false)?;
        // It stays open in the old program, which closes it.
        set_close_on_exec(&way.old, false)?;
        let (memory, old) = (way.memory.as_raw_fd(), way.old.as_raw_fd());
        let handover = format!("{memory}:{old}:{}", way.generation);
        // Linux takes 128 KiB for one variable; a reason is never near that.
        let why = why.chars().take(2_000).collect();
        let environment = way.program.environment(&[(HANDOVER, handover), (ROLLBACK, why)])?;
        Ok(fexecve(&way.old, &way.program.arguments()?, &environment)?)
    };
    match execute() {
        Ok(never) => match never {},
        Err(error) => Some(error),
    }
}
