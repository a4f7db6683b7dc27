//! The cut from one leg to another, lost legs, and sessions that get none.

use jsonrpc::{scan, write_notification};
use switcher_plugin::{Action, Fault, LegId, Millis, Outbox, Refusal, Side};

use crate::extranonce::{Theirs, write_in_force};
use crate::jobs::{Changes, Notify};
use crate::leg::{Epoch, Welcome};
use crate::login::Login;
use crate::session::BitcoinSession;
use crate::upstream::write_difficulty;
use crate::version_rolling::write_mask;

/// SV1's difficulty of a connection on which none was set.
const DEFAULT_DIFFICULTY: f64 = 1.0;

impl BitcoinSession {
    /// `Input::CutOver`: everything the miner must be told goes down in one piece.
    pub(crate) fn cut_over(&mut self, now: Millis, leg_id: LegId, out: &mut Outbox) {
        let Some(leg) = self.leg(leg_id) else { return };
        if let Some(rung) = leg.sends_back() {
            return self.send_back(leg_id, rung, out);
        }
        let welcome = leg.take_welcome();
        let returns = std::mem::replace(&mut leg.flags.served, true);
        leg.flags.announced = false;
        if returns {
            self.return_to(now, leg_id);
        }
        let left = self.state.active.replace(leg_id).filter(|left| *left != leg_id);
        let is_later = std::mem::replace(&mut self.state.cut_once, true);
        if let Some(left) = left {
            self.end_torn_line(left, out);
        }

        self.welcome(welcome, out);
        if self.may_push() && !self.holds_back(leg_id, left) {
            self.push_work(leg_id, is_later, out);
        }
        self.send_waiting_workers(out);
        if let Some(left) = left {
            self.ready_if_complete(now, left, out);
        }
    }

    /// Answers the login that waits for it, in the pool's own words if it has used any.
    pub(crate) fn welcome(&mut self, welcome: Option<Welcome>, out: &mut Outbox) {
        if self.state.login.held().is_none() {
            return;
        }
        let (result, error) = welcome.map_or_else(
            || (b"true".to_vec(), b"null".to_vec()),
            |welcome| (welcome.result.0.into_vec(), welcome.error.0.into_vec()),
        );
        self.answer_login(&result, &error, Login::Done, out);
        if let Some(first) = self.state.workers.first_mut() {
            first.accepted = true;
        }
    }

    /// Makes the job of a leg that has served before fit to be sent again.
    pub(crate) fn return_to(&mut self, now: Millis, leg_id: LegId) {
        let tag = self.new_tag();
        let Some(leg) = self.leg(leg_id) else { return };
        if let Some(epoch) = leg.epoch {
            leg.start_epoch(Epoch { tag, ..epoch });
        }
        // The miner will count its extranonce2 from the start again. The same job would yield the
        // same shares, and the pool would call them duplicates, so the job's time moves on.
        let passed = u32::try_from(now.since(leg.job_at) / 1000).unwrap_or(u32::MAX);
        leg.job_sent_later = leg.job_sent_later.map(|before| passed.max(before.saturating_add(1)));
    }

    /// Tells the miner what is in force on its leg. On a later leg the job is clean and has its
    /// difficulty in front, whatever the miner had before.
    pub(crate) fn push_work(&mut self, leg_id: LegId, is_later: bool, out: &mut Outbox) {
        let mask = self.leg(leg_id).map_or(0, |leg| leg.mask);
        self.push_mask(mask, out);
        if let Some(epoch) = self.leg(leg_id).and_then(|leg| leg.epoch) {
            self.push_extranonce(epoch.told.then_some(epoch.theirs), out);
        }
        let own = self.own();
        let Some(leg) = self.leg(leg_id) else { return };
        let (in_force, latest) = (leg.difficulty_in_force(), leg.difficulty);
        let job = leg.job.as_ref().map(|line| line.0.clone()).zip(leg.epoch);
        let in_force = match (&job, is_later) {
            // On one that was relayed, what the miner has is right, whatever it is.
            (Some(_), true) if leg.relay().is_none() => in_force.or(Some(DEFAULT_DIFFICULTY)),
            _ => in_force,
        };
        let later = leg.job_sent_later.unwrap_or(0);
        if job.is_some() {
            leg.job_sent_later = Some(later);
        }
        if let Some(difficulty) = in_force {
            out.send_with(Side::Downstream, |arena| write_difficulty(arena, difficulty));
        }
        self.push_sub_difficulties(leg_id, in_force, out);
        if let Some((line, epoch)) = job
            && let Ok(message) = scan(&line)
            && let Some(notify) = Notify::read(message.params.unwrap_or_default())
            && let Some(label) = self.label(leg_id, &notify, later)
        {
            let changes = Changes {
                label,
                force_clean: is_later,
                later,
                time_in_coinbase1: own.has_time_in_coinbase1(),
            };
            out.send_with(Side::Downstream, |arena| {
                notify.write(changes, |arena| epoch.write_insert(own, arena), arena);
            });
            if latest > 0.0 && Some(latest) != in_force {
                out.send_with(Side::Downstream, |arena| write_difficulty(arena, latest));
            }
        }
    }

    /// Tells the miner by which extranonce it mines from the next job on, if that changes: a pool's,
    /// or the one it was given at its subscribe.
    pub(crate) fn push_extranonce(&mut self, theirs: Option<Theirs>, out: &mut Outbox) {
        if self.state.told.as_deref() == theirs.as_ref() {
            return;
        }
        let own = self.own();
        let mut params = b"[\"".to_vec();
        let size2 = write_in_force(own, theirs.as_ref(), &mut params);
        params.extend_from_slice(format!("\",{size2}]").as_bytes());
        out.send_with(Side::Downstream, |arena| {
            write_notification(arena, "mining.set_extranonce", &params);
        });
        self.state.told = theirs.map(Box::new);
    }

    /// Tells the miner which of the bits that it was told it may roll from now on, if that changes.
    pub(crate) fn push_mask(&mut self, allowed: u32, out: &mut Outbox) {
        let Some(masks) = &mut self.state.masks else { return };
        let mask = masks.told & allowed;
        let mut before = std::mem::replace(&mut masks.current, mask);
        if let Some(agent) = &mut self.state.btcagent {
            before = agent.mask_told.replace(mask).unwrap_or(before);
        }
        if before == mask {
            return;
        }
        let mut params = vec![b'['];
        write_mask(&mut params, mask);
        params.push(b']');
        out.send_with(Side::Downstream, |arena| {
            write_notification(arena, "mining.set_version_mask", &params);
        });
    }

    /// `Input::LegDown` and `Input::LegGone`.
    pub(crate) fn leg_lost(&mut self, leg_id: LegId, out: &mut Outbox) -> Result<(), Fault> {
        let Some(at) = self.state.legs.iter().position(|leg| leg.id == leg_id) else {
            return Ok(());
        };
        if self.state.active == Some(leg_id) {
            self.lets_unseen_go(out);
        }
        let leg = self.state.legs.remove(at);
        if self.state.active == Some(leg_id) {
            self.state.active = None;
        }
        self.settle_agent(&leg, out);
        self.settle(&leg, out)
    }

    /// `Input::Refused`: a newcomer is told and let go; who mines is never told.
    pub(crate) fn refused(&mut self, refusal: Refusal, out: &mut Outbox) {
        if self.state.login == Login::Done {
            return;
        }
        let (code, why) = stratum_common::miner::refusal_error(refusal);
        let error = self.state.error(code, why);
        self.answer_login(b"null", &error, Login::None, out);
        self.forget_login(out);
        out.push(Action::Close { why: refusal.label().into() });
    }
}
