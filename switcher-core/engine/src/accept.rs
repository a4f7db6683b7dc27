//! Listening sockets: one per address, one task each, every new socket to the least loaded shard.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;

use crate::budget::Budget;
use crate::session::tune;
use crate::shards::Shards;

/// Connections the kernel may keep waiting, if `net.core.somaxconn` allows.
const BACKLOG: i32 = 8192;

/// Pause after an accept failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_secs(1);

/// Pause between looks at the budget when it is used up.
const ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Opens a listening socket. An IPv6 one takes IPv4 connections too if its address is `[::]`.
pub(crate) fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until cancelled. The listener itself stays open in its owner's hands, with its queue.
pub(crate) async fn accept(
    listener: StdListener,
    at: usize,
    shards: Shards,
    budget: Arc<Budget>,
    user_timeout: Duration,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut was_full = false;
    loop {
        if !budget.has_room() {
            if !was_full {
                tracing::warn!(sessions = budget.sessions(), "no room for more sessions");
                was_full = true;
            }
            shards.evict_dead();
            tokio::time::sleep(ROOM_PAUSE).await;
            continue;
        }
        was_full = false;
        match listener.accept().await {
            Ok((stream, peer)) => {
                let stream = stream.into_std()?;
                if let Err(error) = tune(&SockRef::from(&stream), user_timeout) {
                    tracing::debug!(%error, "a new connection was gone at once");
                    continue;
                }
                budget.add_session();
                shards.hand_out(stream, peer, at);
            }
            Err(error) if is_short_of_something(&error) => {
                tracing::warn!(%error, "cannot accept, pausing");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => tracing::debug!(%error, "a connection was gone before it was accepted"),
        }
    }
}

fn is_short_of_something(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let shortages = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    error.raw_os_error().is_some_and(|code| shortages.contains(&Errno::from_raw(code)))
}
