//! What stands around the switcher in the demonstration: pools, miners, files.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use stratum_peers::miner::Handshake;
use stratum_peers::{Miner, MinerConfig, Pool, PoolConfig};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

use super::books::Books;
use crate::config::{Inputs, load};
use crate::plugins::BUILT_IN;
use crate::{Control, State, Stop, logging, serve};

/// Coins with the extranonce2 size of their pool.
pub(super) const POOLS: [(&str, usize); 2] = [("btc", 8), ("bch", 4)];

/// The sub-account that moves.
pub(super) const ALICE: &str = "alice";

/// The miners by their worker names.
pub(super) const WORKERS: [&str; 3] = ["alice.rig1", "alice.rig2", "bob.rig1"];

/// Time between two shares of a miner.
const SHARE_EVERY: Duration = Duration::from_millis(100);

/// How long a start, an answer or a stop may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether the worker is one of those that move.
pub(super) fn is_alices(worker: &str) -> bool {
    worker.split('.').next() == Some(ALICE)
}

/// The file of the coin source.
fn coins(of_alice: &str) -> String {
    format!("[accounts]\n{ALICE} = \"{of_alice}\"\nbob = \"bch\"\n")
}

/// The line of that file to edit, counted from 1.
pub(super) fn line() -> usize {
    coins("").lines().take_while(|line| !line.starts_with(ALICE)).count() + 1
}

/// All that was set up.
pub(super) struct Stage {
    pools: Vec<(&'static str, Pool)>,
    miners: Vec<(&'static str, Miner)>,
    /// Where miners connect to.
    pub(super) address: SocketAddr,
    /// The operator's page.
    pub(super) admin: Option<SocketAddr>,
    /// The file of the coin source.
    pub(super) file: PathBuf,
    stop: watch::Sender<Option<Stop>>,
    served: oneshot::Receiver<anyhow::Result<State>>,
    /// Lives as long as the stage: the log, and the folder of the files.
    _kept: (Option<logging::Log>, TempDir),
}

impl Stage {
    /// Starts everything; miners may not mine yet.
    pub(super) async fn set_up() -> anyhow::Result<Self> {
        let mut pools = Vec::new();
        for (coin, size) in POOLS {
            let config = PoolConfig::new()
                .name(coin)
                .extranonce2_size(size)
                .jobs_every(Duration::from_secs(2), 2);
            pools.push((coin, Pool::start(config).await));
        }
        let folder = tempfile::tempdir().context("no folder for the files")?;
        let file = folder.path().join("coins.toml");
        std::fs::write(&file, coins("btc"))?;
        let configuration = folder.path().join("switcher.toml");
        std::fs::write(&configuration, configuration_text(&pools))?;
        let inputs = Inputs { file: Some(configuration), ..Inputs::default() };
        let config = load(&inputs, BUILT_IN)?;
        // A log the process has already will do.
        let log = logging::start(&config.log).ok();

        let (stop, stopped) = watch::channel(None);
        let (started, start) = oneshot::channel();
        let (serving, served) = oneshot::channel();
        let control = Control { stop: stopped, started: Some(started) };
        std::thread::Builder::new().name("switcher".into()).spawn(move || {
            // Whoever asked has gone only when the demonstration is over.
            let _ = serving.send(serve(&config, BUILT_IN, State::default(), control));
        })?;
        let Ok(Ok(started)) = tokio::time::timeout(PATIENCE, start).await else {
            return Err(served.await.map_or_else(
                |_| anyhow!("the switcher is gone"),
                |ended| ended.map_or_else(|error| error, |_| anyhow!("the switcher ended")),
            ));
        };
        let address = *started.listeners.first().context("the switcher listens nowhere")?;

        let mut miners = Vec::new();
        let kinds = [Handshake::cgminer(), Handshake::axeos(), Handshake::cpuminer()];
        for (worker, kind) in WORKERS.into_iter().zip(kinds) {
            let config = MinerConfig::new(worker).handshake(kind).share_every(SHARE_EVERY);
            miners.push((worker, Miner::connect(address, config).await));
        }
        let admin = started.admin;
        Ok(Self { pools, miners, address, admin, file, stop, served, _kept: (log, folder) })
    }

    /// The pool of a coin.
    pub(super) fn pool(&self, coin: &str) -> &Pool {
        let found = self.pools.iter().find(|(name, _)| *name == coin);
        &found.expect("every coin of POOLS has a pool").1
    }

    /// Edits the file, as an operator should: a new one, put in the place of the old one.
    pub(super) fn assign(&self, coin: &str) -> anyhow::Result<()> {
        let new = self.file.with_extension("new");
        std::fs::write(&new, coins(coin))?;
        Ok(std::fs::rename(&new, &self.file)?)
    }

    /// The books of all, as they are.
    pub(super) fn books(&self) -> Books {
        Books {
            miners: self.miners.iter().map(|(name, miner)| (*name, miner.report())).collect(),
            pools: self.pools.iter().map(|(coin, pool)| (*coin, pool.report())).collect(),
        }
    }

    /// The books of all when no share is on its way any more.
    pub(super) async fn settle(&self) -> Books {
        for (_, miner) in &self.miners {
            miner.pause(true).await;
        }
        let began = Instant::now();
        loop {
            let books = self.books();
            if books.is_settled() || began.elapsed() > PATIENCE {
                return books;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops the switcher.
    pub(super) async fn take_down(self) -> anyhow::Result<()> {
        self.stop.send_replace(Some(Stop::Drain));
        let ended = tokio::time::timeout(PATIENCE, self.served).await;
        ended.context("the switcher does not stop")?.context("the switcher panicked")??;
        Ok(())
    }
}

fn configuration_text(pools: &[(&str, Pool)]) -> String {
    let mut text = String::from(
        "[[listeners]]\nlisten = \"127.0.0.1:0\"\n\
         [sources.file]\npath = \"coins.toml\"\n\
         [timing]\ndrain = \"1s\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\
         [log]\nfilter = \"warn\"\n",
    );
    for (coin, pool) in pools {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[[coins.{coin}.pools]]\nname = \"{coin}-pool\"\nurl = \"{}\"\n",
            pool.address()
        );
    }
    text
}
