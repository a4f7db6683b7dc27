//! Listening sockets from one run to the next: one that is wanted at the address it has is kept
//! with its queue, another is opened before the old one is closed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use crate::accept;
use crate::settings::Settings;
use crate::state::SavedListener;
use crate::switcher::RunError;

/// A listener of the settings, and where its socket comes from.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) saved: SavedListener,
    from: From,
}

#[derive(Debug)]
enum From {
    /// The socket at this place of the state.
    Kept(usize),
    /// A new one.
    New(TcpListener),
    /// A new one, once that of the state which is in its way is closed.
    Behind,
}

/// Finds or opens a socket for every listener of the settings. Touches none of the saved ones.
pub(crate) fn open(settings: &Settings, saved: &[SavedListener]) -> Result<Vec<Wanted>, RunError> {
    let mut taken = vec![false; saved.len()];
    let mut listening = Vec::new();
    for listener in &settings.listeners {
        let address = listener.address;
        // The system looks at the address alone; only a port of its own choice goes by the name.
        let fits = |(saved, taken): (&SavedListener, &bool)| {
            let chosen = address.port() == 0 && saved.name == listener.name;
            let same = chosen && saved.address.ip() == address.ip();
            !taken && (same || saved.address == address)
        };
        let kept = saved.iter().zip(&taken).position(fits);
        let (from, address) = match kept {
            Some(at) => {
                if let Some(taken) = taken.get_mut(at) {
                    *taken = true;
                }
                (From::Kept(at), saved.get(at).map_or(address, |saved| saved.address))
            }
            None => open_one(address, saved)?,
        };
        let saved = SavedListener { name: listener.name.clone(), address };
        listening.push(Wanted { saved, from });
    }
    Ok(listening)
}

fn open_one(address: SocketAddr, saved: &[SavedListener]) -> Result<(From, SocketAddr), RunError> {
    let opened = accept::listen(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
    match opened {
        Ok((address, socket)) => Ok((From::New(socket), address)),
        Err(error)
            if error.kind() == io::ErrorKind::AddrInUse
                && saved.iter().any(|saved| saved.address.port() == address.port()) =>
        {
            Ok((From::Behind, address))
        }
        Err(error) => Err(RunError::Listen { address, error }),
    }
}

/// Brings the sockets of the state to their listeners; those that are not wanted are closed.
pub(crate) fn place(
    listening: Vec<Wanted>,
    sockets: Vec<OwnedFd>,
) -> Vec<(SavedListener, TcpListener)> {
    let mut sockets: Vec<_> = sockets.into_iter().map(Some).collect();
    let mut placed = Vec::new();
    let mut behind = Vec::new();
    for Wanted { saved, from } in listening {
        match from {
            From::New(socket) => placed.push((saved, socket)),
            From::Behind => behind.push((placed.len(), saved)),
            From::Kept(at) => {
                if let Some(socket) = sockets.get_mut(at).and_then(Option::take) {
                    placed.push((saved, socket.into()));
                }
            }
        }
    }
    drop(sockets);
    for (offset, (at, saved)) in behind.into_iter().enumerate() {
        match accept::listen(saved.address) {
            Ok(socket) => placed.insert((at + offset).min(placed.len()), (saved, socket)),
            Err(error) => {
                tracing::error!(listener = saved.name, %error, "cannot listen there any more");
            }
        }
    }
    placed
}

/// The admin listener of the state, if it is where it is wanted.
pub(crate) fn keep_admin(
    wanted: Option<SocketAddr>,
    saved: Option<(TcpListener, SocketAddr)>,
) -> Option<TcpListener> {
    let (listener, address) = saved?;
    let wanted = wanted?;
    let fits = wanted == address || (wanted.port() == 0 && wanted.ip() == address.ip());
    fits.then_some(listener)
}
