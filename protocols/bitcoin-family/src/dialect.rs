//! The stateless half: recognising a miner, checking settings, opening sessions.

use std::ops::RangeInclusive;

use jsonrpc::{elements, scan, text};
use serde_json::Value;
use switcher_plugin::{
    Adopted, DialectSession, Past, Profile, ProfileError, Recognition, ResumeError, Saved, Seat,
    StratumDialect, UpstreamSettings,
};

use crate::flavour::Flavour;
use crate::options;
use crate::profile::PoolTerms;
use crate::session::BitcoinSession;

/// The newest version of saved state that is written and read.
pub(crate) const STATE_VERSION: u16 = 2;

/// The oldest one. It knows no extranonce but the one a miner was given at its subscribe.
pub(crate) const OLD_STATE_VERSION: u16 = 1;

/// A dialect of the family.
#[derive(Debug, Clone, Copy)]
pub struct BitcoinDialect {
    flavour: &'static Flavour,
}

impl BitcoinDialect {
    /// The dialect of one coin.
    pub const fn new(flavour: &'static Flavour) -> Self {
        Self { flavour }
    }
}

impl StratumDialect for BitcoinDialect {
    fn name(&self) -> &str {
        self.flavour.name
    }

    fn family(&self) -> &'static str {
        self.flavour.family()
    }

    fn recognise(&self, first: &[u8]) -> Recognition {
        stratum_common::miner::recognise(first, is_ours)
    }

    fn profile(&self, upstream: &UpstreamSettings<'_>) -> Result<Profile, ProfileError> {
        Ok(PoolTerms::of(upstream, self.flavour)?.to_profile())
    }

    fn check_listener(&self, options: &Value) -> Result<(), ProfileError> {
        options::check(options, self.flavour)
    }

    fn state_versions(&self) -> RangeInclusive<u16> {
        OLD_STATE_VERSION..=STATE_VERSION
    }

    fn open(&self, seat: Seat<'_>) -> Box<dyn DialectSession> {
        Box::new(BitcoinSession::open(seat, self.flavour))
    }

    fn resume(
        &self,
        seat: Seat<'_>,
        saved: &Saved,
    ) -> Result<Box<dyn DialectSession>, ResumeError> {
        if !self.state_versions().contains(&saved.version) {
            return Err(ResumeError::Version {
                found: saved.version,
                first: OLD_STATE_VERSION,
                last: STATE_VERSION,
            });
        }
        Ok(Box::new(BitcoinSession::resume(seat, &saved.state, self.flavour)?))
    }

    fn adopt(&self, seat: Seat<'_>, past: &Past<'_>) -> Result<Adopted, ResumeError> {
        BitcoinSession::adopt(seat, past, self.flavour)
    }
}

/// Whether a first frame is a request of this family.
fn is_ours(frame: &[u8]) -> bool {
    let Ok(message) = scan(frame) else { return false };
    let Some(method) = message.method_text() else { return false };
    if method == "mining.hello" {
        // The first line of EthereumStratum/2.0.0.
        return false;
    }
    if method == "mining.subscribe" {
        // The other EthereumStratum dialects name themselves in the second parameter.
        let protocol = elements(message.params.unwrap_or_default()).nth(1).and_then(text);
        if protocol.is_some_and(|name| name.to_ascii_lowercase().starts_with("ethereumstratum/")) {
            return false;
        }
    }
    ["mining.", "client.", "agent."].iter().any(|prefix| method.starts_with(prefix))
}
