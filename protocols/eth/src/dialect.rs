//! The stateless half: recognising a miner, checking settings, opening sessions.

use std::ops::RangeInclusive;

use jsonrpc::scan;
use serde_json::Value;
use switcher_plugin::{
    Adopted, DialectSession, Past, Profile, ProfileError, Recognition, ResumeError, Saved, Seat,
    ShortIds, StratumDialect, UpstreamSettings,
};

use crate::options;
use crate::profile::PoolTerms;
use crate::session::EthSession;

/// The version of saved state that is written and read.
pub(crate) const STATE_VERSION: u16 = 1;

/// Bits of a session's index; the server id stands above them, 24 bits in all.
pub(crate) const INDEX_BITS: u8 = 16;

/// The dialect of everything that is mined as Ethereum was.
#[derive(Debug, Clone, Copy)]
pub struct EthDialect(());

/// The dialect, for the table of built-in plug-ins.
pub const DIALECT: EthDialect = EthDialect(());

impl StratumDialect for EthDialect {
    fn name(&self) -> &'static str {
        "eth"
    }

    fn family(&self) -> &'static str {
        "ethereum"
    }

    fn recognise(&self, first: &[u8]) -> Recognition {
        stratum_common::miner::recognise(first, is_ours)
    }

    fn profile(&self, upstream: &UpstreamSettings<'_>) -> Result<Profile, ProfileError> {
        Ok(PoolTerms::of(upstream)?.to_profile())
    }

    fn check_listener(&self, options: &Value) -> Result<(), ProfileError> {
        options::check(options)
    }

    fn state_versions(&self) -> RangeInclusive<u16> {
        STATE_VERSION..=STATE_VERSION
    }

    /// 256 apart, so that neighbours differ in the two bytes that a `NiceHash` client gets.
    fn short_ids(&self) -> ShortIds {
        ShortIds { index_bits: INDEX_BITS, stride: 256 }
    }

    fn open(&self, seat: Seat<'_>) -> Box<dyn DialectSession> {
        Box::new(EthSession::open(seat))
    }

    fn resume(
        &self,
        seat: Seat<'_>,
        saved: &Saved,
    ) -> Result<Box<dyn DialectSession>, ResumeError> {
        if saved.version != STATE_VERSION {
            return Err(ResumeError::Version {
                found: saved.version,
                first: STATE_VERSION,
                last: STATE_VERSION,
            });
        }
        Ok(Box::new(EthSession::resume(seat, &saved.state)?))
    }

    fn adopt(&self, seat: Seat<'_>, past: &Past<'_>) -> Result<Adopted, ResumeError> {
        EthSession::adopt(seat, past)
    }
}

/// Whether a first frame is a request of this family. A plain `mining.subscribe` is how Bitcoin's
/// miners begin, too: where both are enabled the order of the listener decides.
fn is_ours(frame: &[u8]) -> bool {
    let method = scan(frame).ok().and_then(|message| message.method_text());
    method.is_some_and(|method| {
        method.starts_with("eth_")
            || matches!(
                &*method,
                "mining.hello"
                    | "mining.subscribe"
                    | "mining.authorize"
                    | "mining.extranonce.subscribe"
                    | "mining.noop"
                    | "mining.bye"
            )
    })
}
