//! Steering: what is the next step between where the session is and where it shall be.

use switcher_plugin::{Coin, Input, LegId, Refusal};

use super::{Cx, DialWish, Event, Leg, Machine, Role};
use crate::board::{Known, Standing};

/// Legs a session may have at a time: the one in use, the next, and one left behind.
const MOST_LEGS: usize = 3;

/// How often a session on a pool that is not its coin's first looks for a better one.
const RECHECK_MS: u64 = 30_000;

/// A registration has its own deadline in its source; this one is for a source that died.
const REGISTRATION_MS: u64 = 600_000;

/// More steps than any legal sequence of events needs; a bug would otherwise be a hang.
const MOST_STEPS: usize = 32;

impl Machine {
    /// Takes steps until there is nothing to do.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..MOST_STEPS {
            if self.closing.is_some() || !self.step(cx) {
                return;
            }
        }
        debug_assert!(false, "steering does not settle");
    }

    /// One step. True if something changed.
    fn step(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.bury_doomed(cx) {
            return true;
        }
        if self.handing_back {
            if self.active.is_none() {
                self.close("its pool was lost while it was handed back", true);
            }
            return false;
        }
        if let Some(standing) = self.news.take() {
            self.on_standing(standing, cx);
            return true;
        }
        let Some(coin) = self.coin.clone() else { return false };
        if self.active.is_none() && self.poolless.is_none() {
            self.poolless = Some(cx.now);
        }
        if let Some((active, better)) = self.settled_on(&coin, cx) {
            return self.end_pending(active, &coin, better, cx);
        }
        if let Some(pending) = self.legs.iter().find(|leg| leg.is_pending()) {
            let (id, is_ready) = (pending.id, pending.is_ready());
            if pending.coin != coin {
                self.give_up(id, cx);
                return true;
            }
            return is_ready && self.take_up(id, cx);
        }
        if self.leaves_until().is_some() {
            return self.await_leave();
        }
        if let Some(left) = self.leg_to_return_to(&coin) {
            self.cut_over(left, cx);
            return true;
        }
        self.dial(&coin, false, cx)
    }

    /// The active leg and whether a better one may be looked for, if it is where it shall be.
    fn settled_on(&mut self, coin: &Coin, cx: &mut Cx<'_>) -> Option<(LegId, bool)> {
        let active = self.active()?;
        if active.coin != *coin || active.replace {
            return None;
        }
        let (id, pool) = (active.id, active.pool?);
        if cx.now < self.retry.recheck || cx.plan.pools_of(coin).first() == Some(&pool) {
            return Some((id, false));
        }
        self.retry.recheck = cx.now.plus(RECHECK_MS);
        Some((id, cx.host.better_pool(pool)))
    }

    /// With the active leg where it shall be, legs on the way elsewhere are given up. A leg to a
    /// better pool of the same coin goes on.
    fn end_pending(&mut self, active: LegId, coin: &Coin, better: bool, cx: &mut Cx<'_>) -> bool {
        let Some(pending) = self.legs.iter().find(|leg| leg.is_pending()) else {
            return better && self.dial(coin, true, cx);
        };
        let (id, is_ready) = (pending.id, pending.is_ready());
        if pending.coin != *coin {
            self.give_up(id, cx);
            return true;
        }
        if is_ready && id != active {
            self.cut_over(id, cx);
            return true;
        }
        false
    }

    fn leg_to_return_to(&self, coin: &Coin) -> Option<LegId> {
        let can_return = |leg: &&Leg| {
            let is_left = leg.role == Role::Lingering && leg.coin == *coin;
            is_left && leg.can_serve && leg.has_job && !leg.replace
        };
        self.legs.iter().find(can_return).map(|leg| leg.id)
    }

    /// From here on the miner is served by this leg.
    pub(super) fn cut_over(&mut self, id: LegId, cx: &mut Cx<'_>) {
        let before = self.active().map(|leg| (leg.id, leg.pool, leg.coin.clone()));
        if let Some((before, _, _)) = before
            && let Some(leg) = self.leg_mut(before)
        {
            leg.role = Role::Lingering;
            leg.since = cx.now;
        }
        let Some(leg) = self.leg_mut(id) else { return };
        let took = if leg.role == Role::Lingering { 0 } else { cx.now.since(leg.wanted) };
        leg.role = Role::Active;
        leg.since = cx.now;
        let (pool, rung, coin) = (leg.pool, leg.rung, leg.coin.clone());
        self.active = Some(id);
        self.poolless = None;
        self.was_served = true;
        self.trouble = None;
        self.retry.form = None;
        self.retry.at = cx.now;
        self.retry.recheck = cx.now.plus(RECHECK_MS);
        self.has_arrived();
        self.feed(Input::CutOver(id), &[], cx);
        if let (Some(pool), Some(rung)) = (pool, rung) {
            let from = before.as_ref().and_then(|(_, pool, coin)| Some((*pool.as_ref()?, coin)));
            cx.host.tell(Event::CutOver { from, pool, coin: &coin, rung, took });
        }
    }

    fn dial(&mut self, coin: &Coin, better: bool, cx: &mut Cx<'_>) -> bool {
        // A third leg that was left goes when it may, see `check_deadlines`; until then we wait.
        if cx.now < self.retry.at || self.legs.len() >= MOST_LEGS {
            return false;
        }
        let id = LegId(self.next_leg);
        self.next_leg = self.next_leg.wrapping_add(1);
        let (exactly, form) = match self.retry.form {
            Some((pool, form)) => (Some(pool), form),
            None => (None, 0),
        };
        let extra = !self.legs.is_empty();
        let better_than = if better { self.active().and_then(|leg| leg.pool) } else { None };
        // Nearly all sessions have one leg nearly always; room for four would cost memory in each.
        self.legs.reserve_exact(1);
        self.legs.push(Leg::new(id, coin.clone(), form, cx.now));
        let except = std::mem::take(&mut self.retry.except);
        cx.host.dial(id, &DialWish { coin, except: &except, exactly, better_than, extra });
        self.retry.except = except;
        true
    }

    /// No pool can be tried for now.
    pub(super) fn nowhere_to_go(&mut self, cx: &mut Cx<'_>) {
        if self.active.is_some() || self.was_served || self.who.is_none() {
            return;
        }
        // A newcomer is told at once, so that it can use its own backup pool.
        self.refuse(Refusal::NoPool, cx);
    }

    pub(super) fn refuse(&mut self, refusal: Refusal, cx: &mut Cx<'_>) {
        self.waiting = None;
        cx.host.tell(Event::Refused(refusal));
        self.feed(Input::Refused(refusal), &[], cx);
        // A dialect that does not end the session itself would leave it waiting for nothing.
        self.close(refusal.label(), false);
    }

    fn on_standing(&mut self, standing: Standing, cx: &mut Cx<'_>) {
        let Standing { verdict, canonical } = standing;
        if canonical != self.canonical {
            self.canonical = canonical;
        }
        let newcomer = self.coin.is_none();
        match verdict {
            Known::Assigned(coin) => self.assign(&coin, cx),
            Known::Default(coin) if newcomer => self.assign(&coin, cx),
            Known::Unknown if newcomer => self.refuse(Refusal::UnknownSubAccount, cx),
            Known::RegistrationRefused if newcomer => self.refuse(Refusal::NotRegistered, cx),
            // Absence moves nobody, and who waits goes on waiting.
            Known::Registering if newcomer => {
                self.waiting = Some(cx.now.plus(REGISTRATION_MS));
            }
            Known::Default(_)
            | Known::Nothing
            | Known::Registering
            | Known::RegistrationRefused
            | Known::Unknown => {}
        }
    }

    fn assign(&mut self, coin: &Coin, cx: &mut Cx<'_>) {
        self.waiting = None;
        if self.coin.as_ref() == Some(coin) {
            return;
        }
        if let Err(error) = cx.plan.may_move(&self.family, self.coin.as_ref(), coin) {
            if self.coin.is_none() {
                self.trouble = Some(error.to_string().into());
                self.refuse(Refusal::NoSuchCoin, cx);
            } else {
                let why = error.to_string();
                cx.host.tell(Event::CannotMove(&why));
                self.trouble = Some(why.into());
            }
            return;
        }
        self.is_redirected();
        self.head_for(coin, cx);
    }

    /// The session shall be at this coin.
    pub(super) fn head_for(&mut self, coin: &Coin, cx: &mut Cx<'_>) {
        self.coin = Some(coin.clone());
        self.retry.at = cx.now;
        self.retry.failures = 0;
        self.retry.form = None;
        self.retry.except.clear();
        self.retry.reported = false;
        let fallback = self.who.as_ref().map(|who| who.sub_account.clone());
        let canonical = self.canonical.clone();
        let name = canonical
            .as_deref()
            .or_else(|| fallback.as_ref().map(switcher_plugin::SubAccount::as_str))
            .unwrap_or_default();
        self.feed(Input::Assigned { coin, canonical_name: name }, &[], cx);
    }
}
