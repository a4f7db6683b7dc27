//! A Stratum V1 pool that judges: it hands out jobs, hashes every share it gets and keeps books of
//! everything its clients did, right and wrong.
//!
//! [`Pool`] is the handle a test holds. Dropping it ends the pool. What the pool is like, and its
//! bad habits, are in [`PoolConfig`] and [`Quirk`].

mod agents;
mod config;
mod conversation;
mod jobs;
mod judge;
mod record;
mod state;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use config::{AgentTerms, Answers, Configure, Extranonce1, FirstJob, Names, PoolConfig, Quirk};
pub use record::{ConnectionReport, PoolReport, Refusal};

use crate::shared::Shared;
use state::State;
use wire::serve;

/// A running (or stopped) pool on a loopback port of its own.
#[derive(Debug)]
pub struct Pool {
    shared: Shared<State>,
    address: SocketAddr,
    /// Bound but never listening: keeps the port ours while the pool is stopped.
    _placeholder: TcpSocket,
    server: Option<JoinHandle<()>>,
}

impl Pool {
    /// Starts a pool on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When no port can be had.
    pub fn start(config: PoolConfig) -> impl Future<Output = Self> {
        // Boxed, so that tests which hold many pools keep small futures. Awaiting it makes sure
        // that a runtime is there to serve.
        Box::pin(async move {
            let placeholder = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port can be had");
            let address = placeholder.local_addr().expect("a bound socket has an address");
            let shared = Shared::new(State::new(config));
            let mut pool = Self { shared, address, _placeholder: placeholder, server: None };
            pool.listen();
            pool
        })
    }

    /// Where miners connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and closes all connections. The port stays reserved and refuses connections.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // The only outcome is the cancellation just asked for, or a panic the lock reports.
            let _ = timeout(Duration::from_secs(5), server).await;
            for connection in &mut self.shared.lock().connections {
                connection.end("closed by the pool");
            }
        }
    }

    /// Starts again on the same port, counting jobs from "1"; books go on. Stops first if needed.
    ///
    /// # Panics
    ///
    /// When the port cannot be had back.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.shared.lock().restart();
        self.listen();
    }

    /// Sends a new job to everyone who mines; `clean_jobs` makes all older ones stale.
    pub fn new_job(&self, clean_jobs: bool) {
        self.shared.lock().new_job(clean_jobs);
    }

    /// Tells everyone a new difficulty, which counts from the next job on.
    pub fn set_difficulty(&self, difficulty: f64) {
        let mut state = self.shared.lock();
        state.config.difficulties = vec![difficulty];
        for connection in state.connections.iter_mut().filter(|one| one.mining) {
            connection.wanted_difficulty = None;
            connection.tell_difficulty(difficulty);
        }
    }

    /// Gives everyone a new extranonce1 of `size` bytes and `extranonce2_size`, and a clean job.
    pub fn change_extranonce(&self, size: usize, extranonce2_size: usize) {
        let mut state = self.shared.lock();
        state.config.extranonce2_size = extranonce2_size;
        for number in 0..state.connections.len() {
            let fresh = state.fresh_extranonce1(size);
            if let Some(connection) = state.connections.get_mut(number).filter(|one| one.subscribed)
            {
                let text = hex::encode(&fresh);
                connection.extranonce1 = fresh;
                connection.extranonce2_size = extranonce2_size;
                connection.book.report.extranonce1.clone_from(&text);
                connection.notify("mining.set_extranonce", &json!([text, extranonce2_size]));
            }
        }
        state.new_job(true);
    }

    /// Gives a new version mask to everyone who configured version rolling, effective at once.
    pub fn set_version_mask(&self, mask: u32) {
        let mut state = self.shared.lock();
        state.config.version_mask = mask;
        for connection in &mut state.connections {
            if let Some(in_force) = connection.book.report.version_mask.as_mut() {
                *in_force = mask;
                connection.notify("mining.set_version_mask", &json!([format!("{mask:08x}")]));
            }
        }
    }

    /// Asks everyone to come back to another host and port.
    pub fn ask_reconnect(&self, host: &str, port: u16) {
        for connection in &mut self.shared.lock().connections {
            connection.notify("client.reconnect", &json!([host, port, 0]));
        }
    }

    /// Sends a line as it is to every open connection, right or wrong; the line feed is added.
    pub fn send_line(&self, line: &str) {
        for connection in &mut self.shared.lock().connections {
            connection.send(line.to_owned());
        }
    }

    /// Sends bytes as they are to every open connection, half a line for instance.
    pub fn send_raw(&self, bytes: &[u8]) {
        for connection in &mut self.shared.lock().connections {
            connection.send_raw(bytes);
        }
    }

    /// Ends every connection, with a reset or in good order; the pool goes on listening.
    pub fn kick_all(&self, reset: bool) {
        for connection in &mut self.shared.lock().connections {
            connection.close(reset);
        }
    }

    /// Changes the settings of the running pool. What is already agreed on with a connection
    /// (its extranonce, its mask) stays.
    pub fn reconfigure(&self, change: impl FnOnce(&mut PoolConfig)) {
        change(&mut self.shared.lock().config);
    }

    /// The books, summed up over all connections that ever were.
    pub fn report(&self) -> PoolReport {
        let state = self.shared.lock();
        let mut report = PoolReport::default();
        for connection in &state.connections {
            report.add(&connection.book);
        }
        report
    }

    /// The books of every connection that ever was, oldest first.
    pub fn connections(&self) -> Vec<ConnectionReport> {
        self.shared.lock().connections.iter().map(|connection| connection.book.copy()).collect()
    }

    /// The books of the newest connection.
    pub fn last_connection(&self) -> Option<ConnectionReport> {
        self.shared.lock().connections.last().map(|connection| connection.book.copy())
    }

    fn listen(&mut self) {
        let listener = listener(self.address).expect("the reserved port can be listened on");
        self.server = Some(tokio::spawn(serve(self.shared.clone(), listener)));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

/// Binds a socket that shares its address with another one of this process.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(4096)
}
