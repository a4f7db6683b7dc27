//! A newer version of the program, as far as its saved sessions are concerned, for tests of the way
//! there and back. Exists in debug builds only.
//!
//! With `STRATUM_SWITCHER_NEWER=write` every dialect saves one version more than it does, and with
//! `STRATUM_SWITCHER_NEWER=only` it no longer knows the others.

use std::ops::RangeInclusive;
use std::sync::Arc;

use switcher_plugin::{
    Adopted, Cut, DialectSession, Fault, HandBack, Input, Millis, Outbox, Past, Profile,
    ProfileError, Recognition, ResumeError, Saved, Seat, ShortIds, Side, StratumDialect,
    UpstreamSettings,
};

const VARIABLE: &str = "STRATUM_SWITCHER_NEWER";

/// What the state begins with in the newer version.
const MARK: &str = "newer:";

/// The dialects as they are, or newer if a test wants that.
pub(super) fn if_wanted(dialects: Vec<Arc<dyn StratumDialect>>) -> Vec<Arc<dyn StratumDialect>> {
    let Ok(wish) = std::env::var(VARIABLE) else { return dialects };
    let only = wish == "only";
    let newer = |dialect| Arc::new(Newer { dialect, only }) as Arc<dyn StratumDialect>;
    dialects.into_iter().map(newer).collect()
}

#[derive(Debug)]
struct Newer {
    dialect: Arc<dyn StratumDialect>,
    only: bool,
}

#[derive(Debug)]
struct NewerSession {
    session: Box<dyn DialectSession>,
    version: u16,
}

impl Newer {
    fn version(&self) -> u16 {
        self.dialect.state_versions().end() + 1
    }

    fn wrap(&self, session: Box<dyn DialectSession>) -> Box<dyn DialectSession> {
        Box::new(NewerSession { session, version: self.version() })
    }
}

impl StratumDialect for Newer {
    fn name(&self) -> &str {
        self.dialect.name()
    }

    fn family(&self) -> &str {
        self.dialect.family()
    }

    fn recognise(&self, first: &[u8]) -> Recognition {
        self.dialect.recognise(first)
    }

    fn profile(&self, upstream: &UpstreamSettings<'_>) -> Result<Profile, ProfileError> {
        self.dialect.profile(upstream)
    }

    fn check_listener(&self, options: &serde_json::Value) -> Result<(), ProfileError> {
        self.dialect.check_listener(options)
    }

    fn state_versions(&self) -> RangeInclusive<u16> {
        let first = if self.only { self.version() } else { *self.dialect.state_versions().start() };
        first..=self.version()
    }

    fn short_ids(&self) -> ShortIds {
        self.dialect.short_ids()
    }

    fn open(&self, seat: Seat<'_>) -> Box<dyn DialectSession> {
        self.wrap(self.dialect.open(seat))
    }

    fn resume(
        &self,
        seat: Seat<'_>,
        saved: &Saved,
    ) -> Result<Box<dyn DialectSession>, ResumeError> {
        let versions = self.state_versions();
        if !versions.contains(&saved.version) {
            let (first, last) = versions.into_inner();
            return Err(ResumeError::Version { found: saved.version, first, last });
        }
        let mut saved = saved.clone();
        if saved.version == self.version() {
            let damaged = || ResumeError::Damaged("it has no mark".to_owned());
            saved.version -= 1;
            saved.state = saved.state.strip_prefix(MARK).ok_or_else(damaged)?.to_owned();
        }
        Ok(self.wrap(self.dialect.resume(seat, &saved)?))
    }

    fn adopt(&self, seat: Seat<'_>, past: &Past<'_>) -> Result<Adopted, ResumeError> {
        let adopted = self.dialect.adopt(seat, past)?;
        Ok(Adopted { session: self.wrap(adopted.session), ..adopted })
    }
}

impl DialectSession for NewerSession {
    fn cut(&self, side: Side, bytes: &[u8]) -> Cut {
        self.session.cut(side, bytes)
    }

    fn handle(&mut self, now: Millis, input: Input<'_>, out: &mut Outbox) -> Result<(), Fault> {
        self.session.handle(now, input, out)
    }

    fn save(&self, version: u16) -> Saved {
        if version < self.version {
            return self.session.save(version);
        }
        let saved = self.session.save(version - 1);
        Saved { version, state: format!("{MARK}{}", saved.state) }
    }

    fn hand_back(&self) -> Option<HandBack> {
        self.session.hand_back()
    }

    fn describe(&self, field: &mut dyn FnMut(&str, std::fmt::Arguments<'_>)) {
        self.session.describe(field);
    }
}
