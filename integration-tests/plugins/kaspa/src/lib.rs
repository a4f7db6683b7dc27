//! Kaspa's Stratum (kHeavyHash), as its ASICs, its GPU miners and its pools speak it.
//!
//! A plug-in for Stratum Switcher, outside its workspace: this is what a stranger's dialect looks
//! like. It needs nothing of the switcher but the crate `switcher-plugin`.
//!
//! # The protocol in short
//!
//! JSON-RPC by the line. `mining.subscribe` and `mining.authorize` as ever; the work is a hash of the
//! header and a time, so a job is an id with four 64-bit numbers and the time, or with one text of 80
//! digits, as the miner's agent likes it. The miner varies an 8-byte nonce. The first bytes of it may
//! be the pool's *extranonce*, which comes with `mining.set_extranonce` and may change at any time:
//! every miner of this protocol obeys that. Difficulty 1 is the target 2^224.
//!
//! # How a miner is moved
//!
//! There is no coinbase to fold a foreign extranonce into, but the miner can simply be told the new
//! one: in the cut go down, in one piece, the new pool's extranonce, difficulty and job. The rung is
//! `announce`, or `echo` where the two extranonces are the same (pools that give none at all).
//!
//! * `session` – the state, and the inputs that come from neither side; `miner` and `pool` – what
//!   they may say; `wire` – lines of JSON-RPC; `profile` – the settings of a pool

mod miner;
mod pool;
mod profile;
mod session;
mod wire;

use std::ops::RangeInclusive;

use serde_json::Value;
use switcher_plugin::{
    Cut, DialectSession, Profile, ProfileError, Recognition, ResumeError, Saved, Seat,
    StratumDialect, UpstreamSettings,
};
use switcher_plugin_abi::sdk::Dialect;

use crate::profile::{Terms, no_options};
use crate::session::{STATE_VERSION, Session};
use crate::wire::Message;

/// The dialect.
#[derive(Debug, Clone, Copy)]
pub struct Kaspa;

impl StratumDialect for Kaspa {
    fn name(&self) -> &'static str {
        "kaspa"
    }

    fn family(&self) -> &'static str {
        "kaspa"
    }

    /// Any first `mining.*` request: a listener for Kaspa has no other dialects, as their first lines
    /// look the same.
    fn recognise(&self, first: &[u8]) -> Recognition {
        let mut rest = first.trim_ascii_start();
        if rest.first().is_some_and(|byte| *byte != b'{') {
            return Recognition::NotMine;
        }
        let Cut::Frame(end) = Cut::object_or_line(rest) else { return Recognition::NeedMore };
        rest = rest.get(..end).unwrap_or_default();
        let method = Message::read(rest).and_then(|message| message.method);
        if method.is_some_and(|method| method.starts_with("mining.")) {
            Recognition::Mine
        } else {
            Recognition::NotMine
        }
    }

    fn profile(&self, upstream: &UpstreamSettings<'_>) -> Result<Profile, ProfileError> {
        Ok(Terms::of(upstream)?.to_profile())
    }

    fn check_listener(&self, options: &Value) -> Result<(), ProfileError> {
        no_options(options)
    }

    fn state_versions(&self) -> RangeInclusive<u16> {
        STATE_VERSION..=STATE_VERSION
    }

    fn open(&self, seat: Seat<'_>) -> Box<dyn DialectSession> {
        Box::new(Session::open(matches!(seat, Seat::Probe(_))))
    }

    fn resume(
        &self,
        _seat: Seat<'_>,
        saved: &Saved,
    ) -> Result<Box<dyn DialectSession>, ResumeError> {
        if saved.version != STATE_VERSION {
            return Err(ResumeError::Version {
                found: saved.version,
                first: STATE_VERSION,
                last: STATE_VERSION,
            });
        }
        Ok(Box::new(Session::resume(saved)?))
    }
}

switcher_plugin_abi::export_plugin! {
    dialects: [Dialect::new(Kaspa, "kheavyhash").about("Kaspa: EthereumStratum/1.0.0")],
}
