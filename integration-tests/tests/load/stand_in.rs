//! A stand-in for the switcher, just good enough to see whether the load tool measures a switch:
//! it moves its miners when the coin file says so, and swallows answers if told to.
//!
//! Threads per connection, no error handling, no claim to be a proxy.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the stand-in does to its miners.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Manner {
    /// Every share gets its answer.
    Faithful,
    /// Answers that come after a switch are dropped.
    SwallowsAnswers,
}

/// One miner's connection.
struct Session {
    down: Mutex<TcpStream>,
    up: [Mutex<Option<TcpStream>>; 2],
    handshake: Mutex<Vec<String>>,
    moved: AtomicBool,
    manner: Manner,
}

/// Starts the stand-in; it lives as long as the test's process.
pub(crate) fn start(pools: [SocketAddr; 2], coin_file: PathBuf, manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
    let address = listener.local_addr().expect("a bound socket has an address");
    let sessions: Arc<Mutex<Vec<Arc<Session>>>> = Arc::default();
    let known = Arc::clone(&sessions);
    std::thread::spawn(move || {
        for down in listener.incoming().map_while(Result::ok) {
            // The load tool looks in once before its pools have miners, and hangs up.
            let Ok(up) = TcpStream::connect(pools[0]) else { continue };
            let session = Arc::new(Session {
                down: Mutex::new(down.try_clone().expect("a socket can be cloned")),
                up: [Mutex::new(up.try_clone().ok()), Mutex::new(None)],
                handshake: Mutex::default(),
                moved: AtomicBool::new(false),
                manner,
            });
            known.lock().expect("no thread has panicked").push(Arc::clone(&session));
            let own = Arc::clone(&session);
            std::thread::spawn(move || own.upwards(&down));
            std::thread::spawn(move || session.downwards(&up, 0));
        }
    });
    std::thread::spawn(move || {
        let asks = || std::fs::read_to_string(&coin_file).is_ok_and(|text| text.contains("bch"));
        while !asks() {
            std::thread::sleep(Duration::from_millis(5));
        }
        for session in sessions.lock().expect("no thread has panicked").iter() {
            session.switch(pools[1]);
        }
    });
    address
}

impl Session {
    fn upwards(&self, down: &TcpStream) {
        for line in BufReader::new(down).lines().map_while(Result::ok) {
            let is_share = line.contains("mining.submit");
            if !is_share {
                self.handshake.lock().expect("no thread has panicked").push(line.clone());
            }
            // The light pools begin their job ids with a letter of their own.
            let up = if is_share && line.contains(r#", "b"#) { &self.up[1] } else { &self.up[0] };
            if let Some(up) = up.lock().expect("no thread has panicked").as_mut() {
                let _ = writeln!(up, "{line}");
            }
        }
    }

    fn downwards(&self, up: &TcpStream, coin: usize) {
        for line in BufReader::new(up).lines().map_while(Result::ok) {
            let is_push = line.contains("\"method\"");
            let is_greeting = [0, 1, 2].iter().any(|id| line.contains(&format!("{{\"id\":{id},")));
            let is_moved = self.moved.load(Ordering::SeqCst);
            let is_old_push = is_push && coin == 0 && is_moved;
            let is_swallowed = !is_push && is_moved && self.manner == Manner::SwallowsAnswers;
            if is_old_push || is_swallowed || is_greeting && coin == 1 {
                continue;
            }
            let _ = writeln!(self.down.lock().expect("no thread has panicked"), "{line}");
        }
    }

    fn switch(self: &Arc<Self>, pool: SocketAddr) {
        let Ok(mut up) = TcpStream::connect(pool) else { return };
        for line in self.handshake.lock().expect("no thread has panicked").iter() {
            let _ = writeln!(up, "{line}");
        }
        *self.up[1].lock().expect("no thread has panicked") = up.try_clone().ok();
        self.moved.store(true, Ordering::SeqCst);
        let own = Arc::clone(self);
        std::thread::spawn(move || own.downwards(&up, 1));
    }
}
