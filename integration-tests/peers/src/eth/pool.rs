//! A pool of the ETH family that judges every line and every share.

mod conversation;
mod record;
mod state;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::config::{EthPoolConfig, Extranonce};
use crate::shared::Shared;
pub use record::{EthConnectionReport, EthPoolReport};
use state::State;
use wire::serve;

/// A running pool on a loopback port of its own. Dropping it ends it.
#[derive(Debug)]
pub struct EthPool {
    shared: Shared<State>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl EthPool {
    /// Starts a pool on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When no port can be had.
    pub async fn start(config: EthPoolConfig) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), config).await
    }

    /// Starts a pool at this address.
    ///
    /// # Panics
    ///
    /// When it cannot be had.
    pub async fn start_at(address: SocketAddr, config: EthPoolConfig) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address can be had");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Shared::new(State::new(config));
        let server = tokio::spawn(serve(shared.clone(), listener));
        Self { shared, address, server }
    }

    /// Where miners connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a new job to everyone who mines; `clean` makes all older ones stale.
    pub fn new_job(&self, clean: bool) {
        self.shared.lock().new_job(clean);
    }

    /// Gives everyone with a prefix a new one of `size` bytes, and a job.
    pub fn change_extranonce(&self, size: usize) {
        let mut state = self.shared.lock();
        state.config.extranonce = Extranonce::Own(size);
        for number in 0..state.connections.len() {
            let fresh = state.fresh_extranonce(size);
            if let Some(connection) = state.connections.get_mut(number) {
                connection.change_extranonce(&fresh);
            }
        }
        state.new_job(false);
    }

    /// Ends every connection; the pool goes on listening.
    pub fn kick_all(&self) {
        for connection in &mut self.shared.lock().connections {
            connection.close();
        }
    }

    /// Changes the settings of the running pool.
    pub fn reconfigure(&self, change: impl FnOnce(&mut EthPoolConfig)) {
        change(&mut self.shared.lock().config);
    }

    /// The books, summed up over all connections that ever were.
    pub fn report(&self) -> EthPoolReport {
        let state = self.shared.lock();
        let mut report = EthPoolReport::default();
        for connection in &state.connections {
            report.add(&connection.report);
        }
        report
    }

    /// The books of every connection that ever was, oldest first.
    pub fn connections(&self) -> Vec<EthConnectionReport> {
        let state = self.shared.lock();
        state.connections.iter().map(state::Connection::copy).collect()
    }
}

impl Drop for EthPool {
    fn drop(&mut self) {
        self.server.abort();
    }
}
