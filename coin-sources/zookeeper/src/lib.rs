//! Learns the coins of sub-accounts from ZooKeeper, in the node layout of BTC.com's
//! `stratumSwitcher`, and does the services that the original got from there: a number in the
//! fleet, registration of unknown sub-accounts, the canonical spelling of names.
//!
//! A [`ZookeeperSource`] works on a thread of its own. Miners never wait for it once they mine:
//! while ZooKeeper is away every sub-account keeps its last known coin, an absent node moves
//! nobody, and a value that cannot be the name of a coin is ignored and reported. Which coins
//! exist is not known here.
//!
//! The parts, from the outside in: `supervisor` (the client's life, the timers), `accounts`,
//! `registration` and `server_id` (what is known and said), `reading` (one look at one
//! sub-account), `ops` (what is asked of a client), `client` (`zookeeper-async` behind it).

mod accounts;
mod client;
mod counters;
#[cfg(test)]
mod fake;
mod layout;
mod ops;
mod reading;
mod registration;
mod report;
mod saved;
mod server_id;
mod settings;
mod supervisor;
#[cfg(feature = "testing")]
pub mod testing;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use switcher_plugin::{CoinSource, SourceContext, SourceError, SourceState};
use tokio::sync::oneshot;

pub use crate::counters::{Count, Counters};
pub use crate::settings::{
    AclChoice, Credentials, RegistrationSettings, ServerIdSettings, Settings, SettingsFault,
};

use crate::client::AsyncConnector;
use crate::ops::Connect;
use crate::supervisor::Supervisor;

/// The name of the source in the configuration.
pub const NAME: &str = "zookeeper";

/// The source.
pub struct ZookeeperSource {
    settings: Settings,
    credentials: Option<Credentials>,
    connector: Arc<dyn Connect>,
    counters: Arc<Counters>,
}

impl ZookeeperSource {
    /// Makes a source; nothing is connected before it runs.
    ///
    /// # Errors
    ///
    /// All that is wrong with the settings.
    pub fn new(settings: Settings) -> Result<Self, SettingsFault> {
        let credentials = settings.check()?;
        let connector = Arc::new(AsyncConnector::new(&settings));
        Ok(Self { settings, credentials, connector, counters: Arc::default() })
    }

    /// What it counts, for as long as somebody looks.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

impl fmt::Debug for ZookeeperSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZookeeperSource").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[async_trait]
impl CoinSource for ZookeeperSource {
    fn name(&self) -> &str {
        NAME
    }

    async fn run(self: Box<Self>, context: SourceContext) -> Result<SourceState, SourceError> {
        let error = |problem: &str| SourceError { name: NAME.into(), problem: problem.into() };
        let (state_tx, state) = oneshot::channel();
        // Dropped with this future: then the thread has nobody to work for.
        let (_here, abandoned) = oneshot::channel();
        std::thread::Builder::new()
            .name(NAME.into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let Ok(runtime) = runtime else { return };
                let Self { settings, credentials, connector, counters } = *self;
                let state = runtime.block_on(async {
                    let supervisor =
                        Supervisor::new(settings, credentials, connector, counters, &context);
                    Box::pin(supervisor.run(context, abandoned)).await
                });
                // A lookup in a name server that does not answer shall not hold up the end.
                runtime.shutdown_background();
                state_tx.send(state).ok();
            })
            .map_err(|_| error("no thread could be started"))?;
        state.await.map_err(|_| error("its thread has ended"))
    }
}
