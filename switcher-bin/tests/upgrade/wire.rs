//! Connections whose every byte is the test's, as a miner and as a pool.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use stratum_peers::eventually;

use crate::running::Switcher;

pub(crate) const SUBSCRIBE: &str =
    "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"cgminer/4.10\"]}\n";

/// Receive buffer of a peer that reads slowly; the system makes of it the least that it allows.
const SMALL: usize = 4096;

/// One end of a connection.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).unwrap())
    }

    /// One that lets little wait on its own side.
    pub(crate) fn connect_slow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(SMALL).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::of(socket.into())
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap());
        Self { stream, lines }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn next(&mut self) -> Value {
        self.next_unless_closed().expect("the connection was closed")
    }

    pub(crate) fn next_unless_closed(&mut self) -> Option<Value> {
        let mut line = String::new();
        // It is reset if the other end is killed.
        let length = self.lines.read_line(&mut line);
        let is_closed = length.or_else(|error| match error.kind() {
            std::io::ErrorKind::ConnectionReset => Ok(0),
            _ => Err(error),
        });
        (is_closed.unwrap() > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    /// The answer to a request, whatever comes before it.
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        loop {
            let line = self.next();
            if line["id"] == id && line["method"].is_null() {
                return line;
            }
        }
    }

    /// As a miner: subscribes, logs in, and waits for the first job.
    pub(crate) fn log_in(&mut self) -> Work {
        self.send(SUBSCRIBE);
        let size = self.answer(1)["result"][2].as_u64().unwrap().try_into().unwrap();
        self.send("{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"alice.rig\",\"x\"]}\n");
        self.answer(2);
        loop {
            let line = self.next();
            if line["method"] == "mining.notify" {
                let job = line["params"][0].as_str().unwrap().to_owned();
                return Work { job, extranonce2: "00".repeat(size) };
            }
        }
    }

    /// As a pool: takes a connection of the switcher's, answers its requests up to authorize, and
    /// sends the first job. Returns the bytes that were sent, too.
    pub(crate) fn accept(listener: &TcpListener) -> (Self, usize) {
        let mut wire = Self::of(listener.accept().unwrap().0);
        let mut sent = 0;
        let mut say = |wire: &mut Self, line: String| {
            wire.send(&line);
            sent += line.len();
        };
        loop {
            let asked = wire.next();
            let result = match asked["method"].as_str().unwrap() {
                "mining.subscribe" => json!([[], "aabbccdd", 8]),
                _ => json!(true),
            };
            say(&mut wire, answer(&asked["id"], &result));
            if asked["method"] == "mining.authorize" {
                break;
            }
        }
        let line = "{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[1]}\n";
        say(&mut wire, line.to_owned());
        say(&mut wire, job(0));
        (wire, sent)
    }
}

/// A listener of a pool; what it accepts lets little wait on its own side if it is slow.
pub(crate) fn pool(is_slow: bool) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if is_slow {
        socket.set_recv_buffer_size(SMALL).unwrap();
    }
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(4).unwrap();
    socket.into()
}

/// The line of an answer.
pub(crate) fn answer(id: &Value, result: &Value) -> String {
    format!("{{\"id\":{id},\"result\":{result},\"error\":null}}\n")
}

/// The line of a pool's job with this number.
pub(crate) fn job(number: u64) -> String {
    let hash = "00".repeat(32);
    let params = json!([
        format!("{number:06}"),
        hash,
        "01",
        "02",
        [],
        "20000000",
        "207fffff",
        "5cb6dda8",
        false
    ]);
    format!("{{\"id\":null,\"method\":\"mining.notify\",\"params\":{params}}}\n")
}

/// What a miner needs for shares.
pub(crate) struct Work {
    job: String,
    extranonce2: String,
}

impl Work {
    /// The line of a share with this number as its request's id and its nonce.
    pub(crate) fn share(&self, number: u64, more: &str) -> String {
        let Self { job, extranonce2 } = self;
        let params =
            json!(["alice.rig", job, extranonce2, "5cb6dda8", format!("{number:08x}"), more]);
        format!("{{\"id\":{number},\"method\":\"mining.submit\",\"params\":{params}}}\n")
    }
}

/// Value of a counter in the text of all metrics.
pub(crate) fn counter(metrics: &str, name: &str) -> Option<u64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value?.parse().ok()
}

/// Waits until the switcher has read so many bytes of miners.
pub(crate) async fn has_read(switcher: &Switcher, bytes: usize) {
    eventually("the switcher has read it", || {
        let read = counter(&switcher.get("/metrics"), "switcher_bytes_from_miners_total");
        read.unwrap() >= bytes as u64
    })
    .await;
}
