//! One thread, one epoll, thousands of line-speaking connections: what light pools and miners
//! share.
//!
//! Knows nothing of Stratum. Reads go into one scratch buffer for all connections; a connection
//! owns memory only while it has half a line or cannot write.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;
use socket2::{Domain, SockRef, Socket, Type};

const LISTENER: Token = Token(usize::MAX - 1);
const COMMANDS: Token = Token(usize::MAX - 2);
const SCRATCH: usize = 64 * 1024;

/// What a process of the load tool does with its connections.
pub trait Role {
    /// A connection stands, accepted or made.
    fn opened(&mut self, net: &mut Net, token: usize);
    /// A line came, without its line feed.
    fn line(&mut self, net: &mut Net, token: usize, line: &[u8]);
    /// The other side ended a connection, or it could not be made.
    fn closed(&mut self, net: &mut Net, token: usize);
    /// The coordinator sent a command.
    fn command(&mut self, net: &mut Net, words: &[&str]);
    /// Does what is due and says when it wants to be called again.
    fn tick(&mut self, net: &mut Net) -> Option<Instant>;
}

#[derive(Debug)]
struct Slot {
    stream: TcpStream,
    connecting: bool,
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

/// The connections of a process.
#[derive(Debug)]
pub struct Net {
    poll: Poll,
    listener: Option<TcpListener>,
    slots: Slab<Slot>,
}

impl Net {
    fn new() -> io::Result<Self> {
        Ok(Self { poll: Poll::new()?, listener: None, slots: Slab::new() })
    }

    /// Accepts connections at `address` from now on and returns the address with its true port.
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let mut listener = listener(address)?;
        self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let address = listener.local_addr()?;
        self.listener = Some(listener);
        Ok(address)
    }

    /// Begins to connect; `opened` or `closed` follows.
    ///
    /// # Errors
    ///
    /// When not even an attempt is possible.
    pub fn connect(&mut self, address: SocketAddr) -> io::Result<usize> {
        let stream = TcpStream::connect(address)?;
        self.adopt(stream, true)
    }

    /// Sends bytes now, or as soon as the other side takes them.
    pub fn send(&mut self, token: usize, bytes: &[u8]) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        let mut rest = bytes;
        if slot.unsent.is_empty() {
            while !rest.is_empty() {
                match slot.stream.write(rest) {
                    Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // Would block, or broken: in the latter case the read side reports the end.
                    Err(_) => break,
                }
            }
        }
        slot.unsent.extend_from_slice(rest);
    }

    /// Ends a connection at once, by a reset. `closed` does not follow.
    pub fn reset(&mut self, token: usize) {
        if let Some(slot) = self.slots.try_remove(token) {
            // Without it thousands of ports would stay in TIME_WAIT.
            let _ = SockRef::from(&slot.stream).set_linger(Some(Duration::ZERO));
        }
    }

    fn adopt(&mut self, mut stream: TcpStream, connecting: bool) -> io::Result<usize> {
        let _ = stream.set_nodelay(true);
        let entry = self.slots.vacant_entry();
        let token = entry.key();
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(token), interests)?;
        entry.insert(Slot { stream, connecting, unread: Vec::new(), unsent: Vec::new() });
        Ok(token)
    }

    fn accept(&mut self, role: &mut dyn Role) {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(TcpListener::accept) {
            if let Ok(token) = self.adopt(stream, false) {
                role.opened(self, token);
            }
        }
    }

    fn writable(&mut self, role: &mut dyn Role, token: usize) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if slot.connecting {
            if slot.stream.peer_addr().is_err() {
                // Not yet, or refused: the latter is also readable and ends there.
                return;
            }
            slot.connecting = false;
            role.opened(self, token);
            return;
        }
        let unsent = std::mem::take(&mut slot.unsent);
        if !unsent.is_empty() {
            self.send(token, &unsent);
        }
    }

    fn readable(&mut self, role: &mut dyn Role, token: usize, ends: bool, scratch: &mut [u8]) {
        loop {
            let Some(slot) = self.slots.get_mut(token) else { return };
            if slot.connecting && slot.stream.peer_addr().is_ok() {
                slot.connecting = false;
                role.opened(self, token);
                continue;
            }
            match slot.stream.read(scratch) {
                Ok(0) => break,
                Ok(count) => {
                    self.deliver(role, token, scratch.get(..count).unwrap_or_default());
                    if count < scratch.len() && !ends {
                        // A short read empties the socket; the next segment is a new edge. An end
                        // has no edge of its own when it came with the data.
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if self.slots.try_remove(token).is_some() {
            role.closed(self, token);
        }
    }

    fn deliver(&mut self, role: &mut dyn Role, token: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            let Some(slot) = self.slots.get_mut(token) else { return };
            if slot.unread.is_empty() {
                role.line(self, token, line);
            } else {
                let mut whole = std::mem::take(&mut slot.unread);
                whole.extend_from_slice(line);
                role.line(self, token, &whole);
            }
        }
        if let Some(slot) = self.slots.get_mut(token)
            && !rest.is_empty()
        {
            slot.unread.extend_from_slice(rest);
        }
    }
}

/// Listens with a queue that a storm of reconnecting miners fits into, as far as the system lets.
///
/// # Errors
///
/// When the address cannot be had.
pub fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(16_384)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Runs a role until its standard input ends, which is how the coordinator ends it.
///
/// # Errors
///
/// When epoll fails.
pub fn run(role: &mut dyn Role, start: impl FnOnce(&mut Net) -> io::Result<()>) -> io::Result<()> {
    let mut net = Net::new()?;
    start(&mut net)?;
    let commands = read_commands(Waker::new(net.poll.registry(), COMMANDS)?);
    let mut scratch = vec![0; SCRATCH];
    let mut events = Events::with_capacity(1024);
    loop {
        let due = role.tick(&mut net);
        let patience = due.map(|due| due.saturating_duration_since(Instant::now()));
        match net.poll.poll(&mut events, patience) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => net.accept(role),
                COMMANDS => loop {
                    match commands.try_recv() {
                        Ok(Some(line)) => {
                            role.command(&mut net, &line.split_whitespace().collect::<Vec<_>>());
                        }
                        Ok(None) => return Ok(()),
                        Err(_) => break,
                    }
                },
                Token(token) => {
                    if event.is_writable() {
                        net.writable(role, token);
                    }
                    let ends = event.is_error() || event.is_read_closed();
                    if event.is_readable() || ends {
                        net.readable(role, token, ends, &mut scratch);
                    }
                }
            }
        }
    }
}

/// Reads standard input on a thread; the last item is `None`.
fn read_commands(waker: Waker) -> Receiver<Option<String>> {
    let (sender, receiver): (Sender<Option<String>>, _) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            let _ = sender.send(Some(line));
            let _ = waker.wake();
        }
        let _ = sender.send(None);
        let _ = waker.wake();
    });
    receiver
}
