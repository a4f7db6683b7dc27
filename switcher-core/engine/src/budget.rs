//! The one descriptor budget of the process.
//!
//! Every session is reckoned with two descriptors from the start, its own and its leg's; a second
//! or third leg takes a permit on top. So a session never lacks a descriptor for its only leg, and
//! what is left over is there for switches.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit};

use crate::settings::Limits;

/// See the module.
#[derive(Debug)]
pub struct Budget {
    /// Descriptors that sessions and their legs may use.
    total: usize,
    /// Of these, kept from newcomers for switches.
    for_switches: usize,
    most_sessions: usize,
    sessions: AtomicUsize,
    extra_legs: AtomicUsize,
}

impl Budget {
    /// The budget under the process's open-files limit.
    pub fn new(limits: &Limits) -> Self {
        let nofile = getrlimit(Resource::RLIMIT_NOFILE)
            .map_or(1024, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX));
        Self::with_nofile(nofile, limits)
    }

    /// The budget under an open-files limit of `nofile`.
    pub fn with_nofile(nofile: usize, limits: &Limits) -> Self {
        let total = nofile.saturating_sub(limits.reserved_descriptors);
        let by_descriptors = total.saturating_sub(limits.switch_descriptors) / 2;
        let most_sessions =
            if limits.sessions == 0 { by_descriptors } else { limits.sessions.min(by_descriptors) };
        Self {
            total,
            for_switches: limits.switch_descriptors,
            most_sessions,
            sessions: AtomicUsize::new(0),
            extra_legs: AtomicUsize::new(0),
        }
    }

    /// Sessions that fit.
    pub fn most_sessions(&self) -> usize {
        self.most_sessions
    }

    /// Live sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Whether a newcomer fits.
    pub fn has_room(&self) -> bool {
        let sessions = self.sessions();
        let extra = self.extra_legs.load(Ordering::Relaxed);
        sessions < self.most_sessions && 2 * (sessions + 1) + extra <= self.total
    }

    /// A session came. It may be one too many if it came through an upgrade; it is kept.
    pub fn add_session(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// A session went.
    pub fn remove_session(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes a permit for a leg beyond the session's own.
    pub fn take_leg(&self) -> bool {
        let most = self.total.saturating_sub(2 * self.sessions());
        self.extra_legs
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |legs| {
                (legs < most).then_some(legs + 1)
            })
            .is_ok()
    }

    /// A leg that has lost its permit by an upgrade is given one whatever the budget says.
    pub fn force_leg(&self) {
        self.extra_legs.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a permit back.
    pub fn return_leg(&self) {
        self.extra_legs.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether legs that were left should go early: less is free than is kept for switches.
    pub fn is_short(&self) -> bool {
        let used = 2 * self.sessions() + self.extra_legs.load(Ordering::Relaxed);
        self.total.saturating_sub(used) < self.for_switches / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_legs_never_take_what_sessions_need() {
        let limits =
            Limits { reserved_descriptors: 10, switch_descriptors: 4, ..Limits::default() };
        let budget = Budget::with_nofile(30, &limits);
        assert_eq!(budget.most_sessions(), 8);
        for _ in 0..8 {
            assert!(budget.has_room());
            budget.add_session();
        }
        assert!(!budget.has_room(), "the spare ones are kept for switches");

        for _ in 0..4 {
            assert!(budget.take_leg());
        }
        assert!(budget.is_short());
        assert!(!budget.take_leg(), "each session keeps its two");

        budget.return_leg();
        assert!(budget.take_leg());
    }
}
