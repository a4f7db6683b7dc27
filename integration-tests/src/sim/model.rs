//! The reference: where a session must be by what the board has said, and when it may be closed.
//! Written from the promises alone, and so simple that it can be trusted.

use std::time::Duration;

use switcher_core::board::{Known, Standing};
use switcher_plugin::Millis;

use super::books::Books;
use super::miner::lasted;
use super::outside::Told;
use super::scene::Scene;

/// How long a registration is waited for.
const REGISTRATION_MS: u64 = 600_000;

/// What is known of one session.
#[derive(Debug)]
pub(crate) struct Model {
    /// Where it shall be.
    pub(crate) target: Option<String>,
    /// Since when.
    pub(crate) target_since: Millis,
    pub(crate) identified: bool,
    pub(crate) opened: Millis,
    waiting_until: Option<Millis>,
    poolless: Option<Millis>,
    pub(crate) served: bool,
    faults: u32,
    refused: Option<&'static str>,
    verdict: Option<Known>,
    sent_back: bool,
}

/// What decides whether a session may be closed.
pub(crate) struct Closing<'a> {
    pub(crate) why: &'a str,
    pub(crate) now: Millis,
    /// For how long a pool that could have served it has been well, at its address and on the wire.
    pub(crate) reachable: u64,
    pub(crate) hold: Duration,
    pub(crate) login: Duration,
    pub(crate) fault_limit: u32,
}

impl Model {
    pub(crate) fn new(opened: Millis) -> Self {
        Self {
            target: None,
            target_since: opened,
            identified: false,
            opened,
            waiting_until: None,
            poolless: None,
            served: false,
            faults: 0,
            refused: None,
            verdict: None,
            sent_back: false,
        }
    }

    /// The board says this. Absence moves nobody; only a newcomer takes a default.
    pub(crate) fn hears(&mut self, standing: &Standing, now: Millis, assignment: u64) {
        self.verdict = Some(standing.verdict.clone());
        let is_newcomer = self.target.is_none();
        let coin = match &standing.verdict {
            Known::Assigned(coin) => Some(coin),
            Known::Default(coin) if is_newcomer => Some(coin),
            Known::Registering if is_newcomer => {
                self.waiting_until = Some(now.plus(REGISTRATION_MS + assignment));
                None
            }
            _ => None,
        };
        let Some(coin) = coin else { return };
        if Scene::may_move(self.target.as_deref(), coin.as_str()) {
            if self.target.as_deref() != Some(coin.as_str()) {
                self.target_since = now;
            }
            self.target = Some(coin.as_str().to_owned());
            self.waiting_until = None;
        }
    }

    /// The machine has told or asked this.
    pub(crate) fn told(&mut self, told: &Told, now: Millis, assignment: u64) {
        match told {
            Told::CutOver => self.served = true,
            Told::Disregarded(switcher_plugin::Side::Downstream) => self.faults += 1,
            Told::Disregarded(_) => {}
            Told::Forgotten => {
                *self = Self { faults: self.faults, served: self.served, ..Self::new(now) };
            }
            Told::Identified(standing) => {
                self.identified = true;
                self.waiting_until = Some(now.plus(assignment));
                self.hears(standing, now, assignment);
            }
            Told::Refused(label) => self.refused = Some(label),
            Told::SentBack => self.sent_back = true,
        }
    }

    /// Whether the miner has a leg now.
    pub(crate) fn has_leg(&mut self, has: bool, now: Millis) {
        if has || self.target.is_none() {
            self.poolless = None;
        } else {
            self.poolless.get_or_insert(now);
        }
    }

    /// A session is closed: only for one of the documented reasons.
    pub(crate) fn closed(&self, closing: &Closing<'_>, books: &mut Books) {
        let &Closing { why, now, reachable, .. } = closing;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let is_newcomer = !self.served && self.refused == Some(why);
        let fair = match why {
            "no login in time" => {
                !self.identified && now.since(self.opened) >= millis(closing.login)
            }
            "no pool could be reached" => {
                lasted(self.poolless, now) >= millis(closing.hold) && reachable < 40_000
            }
            "sent back" | "sent back, and its pool is gone" => self.sent_back,
            "too many faulty frames" => self.faults > closing.fault_limit,
            "no_assignment" => {
                is_newcomer
                    && self.target.is_none()
                    && self.waiting_until.is_some_and(|until| now >= until)
            }
            "no_pool" => is_newcomer && reachable < 20_000,
            "no_such_coin" => {
                is_newcomer && matches!(self.verdict, Some(Known::Assigned(_) | Known::Default(_)))
            }
            "not_registered" => is_newcomer && self.verdict == Some(Known::RegistrationRefused),
            "unknown_sub_account" => is_newcomer && self.verdict == Some(Known::Unknown),
            _ => false,
        };
        books.hold(fair, || format!("the miner is closed without a reason: {why}; {self:?}, a pool was within reach for {reachable} ms"));
    }
}
