//! The legs of a session: what each is for, how one is lost, refused and given up.

use switcher_plugin::{Coin, Input, LegId, Millis, Retry, Rung};

use super::{Blame, Cx, DialError, Event, Machine};
use crate::clock;
use crate::plan::PoolId;

/// A leg that is lost or replaced before it has served for so long counts as a failure.
const YOUNG_MS: u64 = 10_000;

/// Longest pause before the next try while the miner has no leg that serves it.
const POOLLESS_PAUSE_MS: u64 = 5_000;

/// What a leg is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It serves the miner.
    Active,
    /// It waits for its connection.
    Dialling,
    /// It is in its handshake.
    Greeting,
    /// It was left, and stays for late shares.
    Lingering,
    /// It could serve the miner.
    Ready,
}

/// One upstream connection of a session.
#[derive(Debug, Clone)]
pub struct Leg {
    /// Its number.
    pub id: LegId,
    /// Its coin.
    pub coin: Coin,
    /// Its pool, once one was chosen.
    pub pool: Option<PoolId>,
    /// What it is for.
    pub role: Role,
    /// By which rung it serves.
    pub rung: Option<Rung>,
    /// Shares whose answers are outstanding.
    pub outstanding: u32,
    pub(super) form: u8,
    /// Since when it has its role.
    pub(super) since: Millis,
    /// Since when it was wanted.
    pub(super) wanted: Millis,
    pub(super) last_line: Millis,
    pub(super) last_job: Millis,
    pub(super) oldest_submit: Millis,
    /// The dialect has all that is needed to serve the miner by it.
    pub(super) can_serve: bool,
    /// Its pool has sent a job.
    pub(super) has_job: bool,
    /// It shall be replaced by another one to the same coin.
    pub(super) replace: bool,
    pub(super) doom: Option<Box<(Retry, Box<str>)>>,
}

impl Leg {
    pub(super) fn new(id: LegId, coin: Coin, form: u8, now: Millis) -> Self {
        Self {
            id,
            coin,
            pool: None,
            role: Role::Dialling,
            rung: None,
            outstanding: 0,
            form,
            since: now,
            wanted: now,
            last_line: now,
            last_job: now,
            oldest_submit: now,
            can_serve: false,
            has_job: false,
            replace: false,
            doom: None,
        }
    }

    /// Whether it can be the active one. With its pool gone from the configuration it is about to be
    /// lost.
    pub(super) fn is_ready(&self) -> bool {
        self.role == Role::Ready && self.pool.is_some()
    }

    /// On the way to be the active one.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.role, Role::Dialling | Role::Greeting | Role::Ready)
    }
}

impl Machine {
    pub(super) fn leg(&self, id: LegId) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.id == id)
    }

    pub(super) fn leg_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.id == id)
    }

    /// Notes that the leg cannot go on; `settle` acts on it.
    pub(super) fn doom(&mut self, id: LegId, retry: Retry, why: impl Into<Box<str>>) {
        if let Some(leg) = self.leg_mut(id) {
            leg.doom.get_or_insert_with(|| Box::new((retry, why.into())));
        }
    }

    pub(super) fn on_submitted(&mut self, id: LegId, cx: &mut Cx<'_>) {
        let Some(leg) = self.leg_mut(id) else { return };
        if leg.outstanding == 0 {
            leg.oldest_submit = cx.now;
        }
        leg.outstanding += 1;
        if let Some(pool) = leg.pool {
            cx.host.tell(Event::Submitted(pool));
        }
    }

    pub(super) fn on_job(&mut self, id: LegId, cx: &mut Cx<'_>) {
        let Some(leg) = self.leg_mut(id) else { return };
        leg.last_job = cx.now;
        leg.has_job = true;
        if let Some(pool) = leg.pool {
            cx.host.tell(Event::Job(pool));
        }
    }

    pub(super) fn on_leg_ready(&mut self, id: LegId, rung: Rung, cx: &mut Cx<'_>) {
        let Some(leg) = self.leg_mut(id) else { return };
        leg.rung = Some(rung);
        if leg.role == Role::Greeting {
            leg.role = Role::Ready;
            leg.since = cx.now;
            if let Some(pool) = leg.pool {
                cx.host.tell(Event::LegReady(pool));
            }
        }
        leg.can_serve = true;
    }

    /// The leg shall be replaced. One that was left is only not returned to.
    pub(super) fn on_replace(&mut self, id: LegId, why: Box<str>) {
        let Some(leg) = self.leg_mut(id) else { return };
        leg.replace = true;
        if leg.role == Role::Lingering {
            return;
        }
        // A pool that asks again and again is not dialled at the speed of the wire.
        let not_before = leg.since.plus(YOUNG_MS);
        self.retry.at = self.retry.at.max(not_before);
        self.trouble = Some(why);
    }

    /// The leg's connection is gone, or is given up for the pool's fault.
    pub(super) fn lose(&mut self, id: LegId, blame: Blame, why: &str, cx: &mut Cx<'_>) {
        let Some(leg) = self.leg(id).cloned() else { return };
        // The dialect is told while the leg is still known: what it answers belongs to its pool.
        if leg.role != Role::Dialling {
            self.feed(Input::LegDown(id), &[], cx);
        }
        self.remove(id);
        if let Some(pool) = leg.pool {
            let blame = if leg.is_pending() { Blame::Handshake } else { blame };
            cx.host.tell(Event::LegLost(pool, blame, why));
        }
        if leg.is_pending() {
            // The pause is the pool's, not the session's: another pool may be tried at once.
            self.trouble = Some(why.into());
            self.retry.form = None;
            self.retry.at = cx.now;
        } else if leg.role == Role::Active {
            self.trouble = Some(why.into());
            if cx.now.since(leg.since) >= YOUNG_MS {
                self.retry.failures = 0;
            }
            // The first loss is answered at once; a pool that takes miners only to drop them is not.
            if self.retry.failures == 0 {
                self.retry.failures = 1;
                self.retry.at = cx.now;
            } else {
                self.back_off(cx);
            }
        }
    }

    /// Closes a leg as planned.
    pub(super) fn give_up(&mut self, id: LegId, cx: &mut Cx<'_>) {
        let Some(leg) = self.leg(id).cloned() else { return };
        if leg.role != Role::Dialling {
            self.feed(Input::LegGone(id), &[], cx);
        }
        self.remove(id);
        cx.host.close_leg(id, leg.outstanding == 0);
    }

    pub(super) fn on_leg_failed(&mut self, id: LegId, error: &DialError, cx: &mut Cx<'_>) {
        if self.leg(id).is_none() {
            return;
        }
        self.remove(id);
        match error {
            DialError::Pool => self.retry.at = cx.now,
            DialError::NoneBefore(at) => {
                if self.active.is_none() {
                    // Why a pool could not serve the miner may be over, and the others are down.
                    self.retry.except.clear();
                }
                self.retry.form = None;
                self.retry.at = (*at).max(cx.now.plus(1));
                self.nowhere_to_go(cx);
            }
            DialError::NoneLeft => {
                self.retry.form = None;
                self.retry.except.clear();
                self.retry.at = cx.now.plus(self.bounded(clock::millis(cx.plan.timing.retry_max)));
                self.report_stuck(cx);
                if self.stay_home(cx) {
                    return;
                }
                self.nowhere_to_go(cx);
            }
        }
    }

    /// Acts on a doomed leg. True if there was one.
    pub(super) fn bury_doomed(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.doom.is_some()) else { return false };
        let (id, form, pool) = (leg.id, leg.form, leg.pool);
        let Some((retry, why)) = leg.doom.take().map(|doom| *doom) else { return false };
        if let Some(pool) = pool {
            cx.host.tell(Event::LegRefused(pool, retry, &why));
        }
        match retry {
            Retry::Login => {
                self.give_up(id, cx);
                if let Some(who) = self.who.take() {
                    cx.host.forget(&who.sub_account);
                }
                self.coin = None;
                self.poolless = None;
                self.waiting = None;
                self.opened = cx.now;
                return true;
            }
            Retry::NextForm => {
                self.retry.form = pool.map(|pool| (pool, form.saturating_add(1)));
                self.retry.at = cx.now;
            }
            Retry::Permanent => {
                self.retry.except.extend(pool);
                self.retry.at = cx.now;
            }
            Retry::Later | Retry::User => {
                self.retry.form = None;
                self.retry.at = cx.now;
            }
        }
        self.trouble = Some(why);
        // A fault on a leg that was in use is a loss to the dialect, not a plan of ours.
        if self.active == Some(id) || self.leg(id).is_some_and(|leg| leg.role == Role::Lingering) {
            self.feed(Input::LegDown(id), &[], cx);
            self.remove(id);
            cx.host.close_leg(id, false);
        } else {
            self.give_up(id, cx);
        }
        true
    }

    /// The pause before the next try doubles with each failure, up to the longest one.
    fn back_off(&mut self, cx: &Cx<'_>) {
        let timing = &cx.plan.timing;
        let pause = clock::millis(timing.retry_min)
            .saturating_mul(1 << self.retry.failures.min(16))
            .min(clock::millis(timing.retry_max));
        self.retry.failures += 1;
        self.retry.form = None;
        self.retry.at = cx.now.plus(self.bounded(pause));
    }

    /// A miner without a pool must not wait for long: what stood in the way may be over, and it is
    /// held for a limited time only.
    fn bounded(&self, pause: u64) -> u64 {
        if self.active.is_none() { pause.min(POOLLESS_PAUSE_MS) } else { pause }
    }

    fn remove(&mut self, id: LegId) {
        if self.active == Some(id) {
            self.active = None;
        }
        self.legs.retain(|leg| leg.id != id);
        self.legs.shrink_to_fit();
    }
}
