//! What happens when time passes: when the machine wants to be woken, and what it does then.

use switcher_plugin::{Input, LegId, Millis, Refusal};

use super::{Blame, Cx, Leg, Machine, Role, send_back};
use crate::clock::millis;
use crate::plan::Plan;

/// With descriptors short, a leg that was left stays at least so long.
const SHORT_LINGER_MS: u64 = 1_000;

/// Pause between looks at what is overdue.
const LOOK_AGAIN_MS: u64 = 200;

impl Machine {
    /// The earliest time after `now` at which [`Machine::tick`] may have something to do.
    pub fn next_deadline(&self, now: Millis, plan: &Plan) -> Millis {
        let timing = &plan.timing;
        let mut earliest = Millis(u64::MAX);
        // What is overdue and still waits (for an answer, for a leg to go) is looked at again soon.
        let mut at = |time: Millis| {
            earliest = earliest.min(if time > now { time } else { now.plus(LOOK_AGAIN_MS) });
        };
        if let Some(wake) = self.wake {
            at(wake);
        }
        if self.who.is_none() {
            at(self.opened.plus(millis(timing.login)));
        }
        if let Some(waiting) = self.waiting {
            at(waiting.plus(millis(timing.assignment)));
        }
        if let Some(poolless) = self.poolless {
            at(poolless.plus(millis(timing.hold)));
        }
        let mut wants_leg = self.coin.is_some() && !self.legs.iter().any(Leg::is_pending);
        for leg in &self.legs {
            match leg.role {
                Role::Dialling => {}
                Role::Greeting => at(leg.since.plus(millis(timing.handshake))),
                Role::Ready => at(leg.since.plus(send_back::ANSWERS_MS)),
                Role::Active => {
                    at(leg.last_line.plus(millis(timing.silence)));
                    at(leg.last_job.plus(millis(timing.no_job)));
                    if self.coin.as_ref() == Some(&leg.coin) && !leg.replace {
                        wants_leg = false;
                        let first = plan.pools_of(&leg.coin).first();
                        if leg.pool.as_ref() != first {
                            at(self.retry.recheck);
                        }
                    }
                }
                Role::Lingering => {
                    let shortest = leg.since.plus(millis(timing.linger_min));
                    at(if now < shortest { shortest.min(now.plus(SHORT_LINGER_MS)) } else { now });
                }
            }
            if leg.outstanding > 0 {
                at(leg.oldest_submit.plus(millis(timing.unanswered)));
            }
        }
        if let Some(until) = self.leaves_until() {
            at(until);
        } else if wants_leg {
            at(self.retry.at);
        }
        earliest
    }

    pub(super) fn check_deadlines(&mut self, cx: &mut Cx<'_>) {
        let timing = cx.plan.timing;
        if self.wake.is_some_and(|at| cx.now >= at) {
            self.wake = None;
            self.feed(Input::Wake, &[], cx);
        }
        if self.who.is_none() && cx.now.since(self.opened) >= millis(timing.login) {
            self.close("no login in time", false);
        }
        if self.waiting.is_some_and(|since| cx.now.since(since) >= millis(timing.assignment)) {
            self.refuse(Refusal::NoAssignment, cx);
        }
        self.check_leaving(cx);
        let is_overdue =
            self.poolless.is_some_and(|since| cx.now.since(since) >= millis(timing.hold));
        // Who waits for its turn to dial, or is in a handshake, has a pool in sight.
        if is_overdue && self.pending().is_none() {
            // With a reset the miner goes to its own backup pool at once.
            self.close("no pool could be reached", true);
        }
        for at in (0..self.legs.len()).rev() {
            let Some(leg) = self.legs.get(at) else { continue };
            let id = leg.id;
            if let Some(why) = overdue(leg, cx) {
                self.lose(id, Blame::Service, why, cx);
                cx.host.close_leg(id, false);
            } else if may_go(leg, cx) {
                self.give_up(id, cx);
            }
        }
    }

    /// The leg that waits to be dialled or to end its handshake.
    pub fn pending(&self) -> Option<LegId> {
        self.legs.iter().find(|leg| leg.is_pending()).map(|leg| leg.id)
    }
}

/// Why a leg has to be taken for dead.
fn overdue(leg: &Leg, cx: &Cx<'_>) -> Option<&'static str> {
    let timing = &cx.plan.timing;
    let unanswered =
        leg.outstanding > 0 && cx.now.since(leg.oldest_submit) >= millis(timing.unanswered);
    match leg.role {
        Role::Greeting => (cx.now.since(leg.since) >= millis(timing.handshake))
            .then_some("the pool did not finish the handshake in time"),
        Role::Active if cx.now.since(leg.last_line) >= millis(timing.silence) => {
            Some("the pool was silent for too long")
        }
        Role::Active if cx.now.since(leg.last_job) >= millis(timing.no_job) => {
            Some("the pool sent no job for too long")
        }
        Role::Active if unanswered => Some("the pool left a share unanswered for too long"),
        Role::Active | Role::Dialling | Role::Lingering | Role::Ready => None,
    }
}

/// Whether a leg that was left has served its time.
fn may_go(leg: &Leg, cx: &Cx<'_>) -> bool {
    if leg.role != Role::Lingering {
        return false;
    }
    let (age, timing) = (cx.now.since(leg.since), &cx.plan.timing);
    if age >= millis(timing.linger_max) {
        return true;
    }
    let shortest = if cx.host.descriptors_short() {
        millis(timing.linger_min).min(SHORT_LINGER_MS)
    } else {
        millis(timing.linger_min)
    };
    leg.outstanding == 0 && age >= shortest
}
