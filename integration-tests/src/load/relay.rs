//! A bare relay: epoll, one thread, one scratch buffer, no idea of lines. The least that any proxy
//! has to do, as a measure for all of them.
//!
//! Keeps the rules of a correct relay: nothing is lost when one side is slow, an end is passed on
//! after everything before it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::json;
use slab::Slab;

use super::control::reply;
use super::net::listener;

const LISTENER: Token = Token(usize::MAX - 1);
const SCRATCH: usize = 16 * 1024;

/// One direction's source, with what it has read but not yet passed on.
#[derive(Debug)]
struct Side {
    stream: TcpStream,
    /// Bytes for this side that it did not take yet.
    unsent: Vec<u8>,
    /// Its end was read.
    ended: bool,
    /// Its end was passed on.
    passed: bool,
}

#[derive(Debug)]
struct Pair([Side; 2]);

/// Relays connections to `address` on to `target` until killed.
///
/// # Errors
///
/// When it cannot listen, or epoll fails.
pub fn serve(address: SocketAddr, target: SocketAddr) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = listener(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    reply(&json!({"address": listener.local_addr()?.to_string()}));
    let mut events = Events::with_capacity(1024);
    let mut pairs: Slab<Pair> = Slab::new();
    let mut scratch = vec![0; SCRATCH];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    // A pair that cannot be made is one connection closed at once.
                    let _ = open(&poll, &mut pairs, stream, target);
                }
                continue;
            }
            let (place, side) = (event.token().0 / 2, event.token().0 % 2);
            let Some(pair) = pairs.get_mut(place) else { continue };
            let ends = event.is_error() || event.is_read_closed();
            if !pair.turn(side, ends, &mut scratch) {
                pairs.remove(place);
            }
        }
    }
}

fn open(
    poll: &Poll,
    pairs: &mut Slab<Pair>,
    downstream: TcpStream,
    target: SocketAddr,
) -> io::Result<()> {
    let upstream = TcpStream::connect(target)?;
    let entry = pairs.vacant_entry();
    let mut pair = Pair([Side::new(downstream), Side::new(upstream)]);
    for (number, side) in pair.0.iter_mut().enumerate() {
        side.stream.set_nodelay(true)?;
        let token = Token(entry.key() * 2 + number);
        poll.registry().register(
            &mut side.stream,
            token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
    }
    entry.insert(pair);
    Ok(())
}

impl Side {
    fn new(stream: TcpStream) -> Self {
        Self { stream, unsent: Vec::new(), ended: false, passed: false }
    }

    /// Sends what waits, then `bytes`; keeps what is not taken. `None` when broken.
    fn send(&mut self, bytes: &[u8]) -> Option<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            let waiting = std::mem::take(&mut self.unsent);
            return self.send(&waiting);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(count) => rest = rest.get(count..)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_not_ready(&error) => break,
                Err(_) => return None,
            }
        }
        self.unsent.extend_from_slice(rest);
        Some(())
    }
}

impl Pair {
    /// Does all that is possible after an event on one side; `false` when the pair is over.
    fn turn(&mut self, side: usize, ends: bool, scratch: &mut [u8]) -> bool {
        let [first, second] = &mut self.0;
        let (own, other) = if side == 0 { (first, second) } else { (second, first) };
        let had_to_wait = !own.unsent.is_empty();
        if own.send(&[]).is_none() || pump(own, other, ends, scratch).is_none() {
            return false;
        }
        // The other side was not read while this one was full; its edges have passed, perhaps that
        // of its end as well.
        if had_to_wait && own.unsent.is_empty() && pump(other, own, true, scratch).is_none() {
            return false;
        }
        !(own.passed && other.passed)
    }
}

/// Whether a side is to be tried again later. One that still connects is not ready either.
fn is_not_ready(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

/// Moves what `from` has to say to `to` until one of them has enough. `ends` says that an end may
/// stand behind the data without an event of its own.
fn pump(from: &mut Side, to: &mut Side, ends: bool, scratch: &mut [u8]) -> Option<()> {
    while to.unsent.is_empty() && !from.ended {
        match from.stream.read(scratch) {
            Ok(0) => from.ended = true,
            Ok(count) => {
                to.send(scratch.get(..count)?)?;
                // A short read emptied the socket and spares the read that would say so.
                if count < scratch.len() && !ends {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_not_ready(&error) => break,
            Err(_) => return None,
        }
    }
    if from.ended && to.unsent.is_empty() && !from.passed {
        from.passed = true;
        // A side that is gone already needs no end.
        let _ = to.stream.shutdown(Shutdown::Write);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

    /// The relay listens where it is told; a free port is found by binding it for a moment.
    fn free_address() -> std::net::SocketAddr {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
    }

    #[test]
    fn much_data_to_a_slow_reader_arrives_whole_and_its_end_behind_it() {
        let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, target_address) = (free_address(), target.local_addr().unwrap());
        std::thread::spawn(move || super::serve(address, target_address));
        let mut near = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(_) => std::thread::yield_now(),
            }
        };
        let (mut far, _) = target.accept().unwrap();
        let sent: Vec<u8> = (0..20_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();

        let expected = sent.clone();
        let writer = std::thread::spawn(move || {
            near.write_all(&sent).unwrap();
            near.shutdown(Shutdown::Write).unwrap();
            let mut back = Vec::new();
            near.read_to_end(&mut back).unwrap();
            back
        });
        let mut got = Vec::new();
        far.read_to_end(&mut got).unwrap();
        assert!(got == expected, "{} of {} bytes", got.len(), expected.len());

        far.write_all(b"the other way is still open").unwrap();
        drop(far);
        assert_eq!(writer.join().unwrap(), b"the other way is still open");
    }
}
