//! A link between a client and a server that can be cut, silenced or closed. Carries bytes and
//! knows nothing of what they say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

/// How the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Everything passes.
    Carry,
    /// New connections are closed at once.
    Refuse,
    /// Connections stand and are made, but nothing passes.
    Swallow,
}

/// A link to one server. Ends when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    cut: broadcast::Sender<()>,
    accepted: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// Opens a link to this server on a free port.
    ///
    /// # Panics
    ///
    /// If there is no port.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (mode, mode_rx) = watch::channel(Mode::Carry);
        let (cut, _) = broadcast::channel(1);
        let cut_tx = cut.clone();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                if *mode_rx.borrow() != Mode::Refuse {
                    tokio::spawn(carry(near, server, mode_rx.clone(), cut_tx.subscribe()));
                }
            }
        });
        Self { address, mode, cut, accepted, accepting }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far, refused ones included.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Cuts every connection that stands; new ones are served.
    pub fn cut(&self) {
        self.cut.send(()).ok();
    }

    /// Cuts every connection, and new ones until [`Relay::heal`].
    pub fn refuse(&self) {
        self.mode.send_replace(Mode::Refuse);
        self.cut();
    }

    /// Lets nothing through any more, without a word, until [`Relay::heal`].
    pub fn swallow(&self) {
        self.mode.send_replace(Mode::Swallow);
    }

    /// Carries again. What was swallowed is lost, so the connections it was on are cut.
    pub fn heal(&self) {
        if self.mode.send_replace(Mode::Carry) == Mode::Swallow {
            self.cut();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn carry(
    near: TcpStream,
    server: SocketAddr,
    mode: watch::Receiver<Mode>,
    mut cut: broadcast::Receiver<()>,
) {
    let Ok(far) = TcpStream::connect(server).await else { return };
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::select! {
        () = pump(near_in, far_out, mode.clone()) => {}
        () = pump(far_in, near_out, mode) => {}
        _ = cut.recv() => {}
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mode: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if *mode.borrow() == Mode::Swallow {
            continue;
        }
        let Some(bytes) = buffer.get(..read) else { return };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
