//! Pickaxe, a made-up protocol of mining, as a plug-in for Stratum Switcher.

mod session;

use std::ops::RangeInclusive;

use switcher_plugin::{
    Cut, DialectSession, Profile, ProfileError, Recognition, ResumeError, Saved, Seat,
    StratumDialect, UpstreamSettings,
};
use switcher_plugin_abi::sdk::Dialect;

use crate::session::Session;

/// The version of saved state that is written and read.
const STATE: u16 = 1;

/// The dialect. It holds no state of any miner.
#[derive(Debug)]
pub struct Pickaxe;

impl StratumDialect for Pickaxe {
    fn name(&self) -> &str {
        "pickaxe"
    }

    fn family(&self) -> &str {
        "pickaxe"
    }

    fn recognise(&self, first: &[u8]) -> Recognition {
        match Cut::line(first) {
            Cut::Partial => Recognition::NeedMore,
            Cut::Frame(_) if first.starts_with(b"login ") => Recognition::Mine,
            Cut::Frame(_) => Recognition::NotMine,
        }
    }

    fn profile(&self, pool: &UpstreamSettings<'_>) -> Result<Profile, ProfileError> {
        // All that a leg needs to know of its pool is under which name to log in there.
        Ok(Profile(pool.user.unwrap_or_default().as_bytes().into()))
    }

    fn check_listener(&self, _options: &serde_json::Value) -> Result<(), ProfileError> {
        Ok(())
    }

    fn state_versions(&self) -> RangeInclusive<u16> {
        STATE..=STATE
    }

    fn open(&self, _seat: Seat<'_>) -> Box<dyn DialectSession> {
        Box::new(Session::default())
    }

    fn resume(
        &self,
        _seat: Seat<'_>,
        saved: &Saved,
    ) -> Result<Box<dyn DialectSession>, ResumeError> {
        if saved.version != STATE {
            return Err(ResumeError::Version { found: saved.version, first: STATE, last: STATE });
        }
        let session: Session = serde_json::from_str(&saved.state)
            .map_err(|error| ResumeError::Damaged(error.to_string()))?;
        Ok(Box::new(session))
    }
}

switcher_plugin_abi::export_plugin! {
    dialects: [Dialect::new(Pickaxe, "pickaxe").about("a made-up protocol")],
}
