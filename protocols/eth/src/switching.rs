//! The cut from one leg to another, work on its way down, lost legs, and sessions that get none.

use jsonrpc::{scan, write_notification};
use switcher_plugin::{Action, Fault, LegId, Millis, Outbox, Refusal, Side};

use crate::extranonce::Extranonce;
use crate::leg::{Ask, Epoch, Goal, Job, Leg};
use crate::login::Login;
use crate::replies::Refused;
use crate::seed::{Known, Seed};
use crate::session::{EthSession, Told};
use crate::target::Target;
use crate::variant::Variant;
use crate::work::{Below, Hash, Work, write_work};

impl Job {
    /// The job itself, read from its line.
    fn work(&self, variant: Variant) -> Option<Work<'_>> {
        let message = scan(&self.line.0).ok()?;
        let span = if variant == Variant::EthProxy { message.result } else { message.params };
        Work::read(variant, span?, &self.line.0)
    }
}

impl Leg {
    /// The latest job.
    pub(crate) fn work(&self) -> Option<Work<'_>> {
        self.job.as_ref()?.work(self.way.variant)
    }
}

impl EthSession {
    /// `Input::CutOver`: everything the miner must be told goes down in one piece. An `ETHProxy`
    /// miner has its new work at once, too.
    pub(crate) fn cut_over(&mut self, now: Millis, leg_id: LegId, out: &mut Outbox) {
        if self.is_agent() && self.state.cut_once {
            return Self::let_agent_go(out);
        }
        let Some(leg) = self.leg(leg_id) else { return };
        if leg.flags.sends_back {
            return self.send_back(out);
        }
        let is_in = !leg.awaits(Ask::Authorize);
        leg.flags.served = true;
        leg.flags.announced = false;
        let left = self.state.active.replace(leg_id).filter(|left| *left != leg_id);
        if let Some(left) = left {
            self.end_torn_line(left, out);
        }
        let is_later = std::mem::replace(&mut self.state.cut_once, true);
        self.state.moved |= is_later;
        if is_in && matches!(self.state.login, Login::Held(_)) {
            self.admit(out);
        }
        if self.state.login == Login::Done && !self.is_agent() {
            self.push_work(leg_id, is_later, b"0", out);
        }
        if let Some(left) = left {
            self.ready_if_complete(now, left, out);
        }
    }

    /// Sends the latest job of a leg down, and in front of it whatever is not as the miner was told
    /// last. On a later leg the job is clean and its difficulty is said in any case. `id` is that of
    /// the request that is answered by it, `0` if there is none.
    pub(crate) fn push_work(&mut self, leg_id: LegId, is_cut: bool, id: &[u8], out: &mut Outbox) {
        let Some(miner) = self.state.variant else { return };
        let Some(leg) = self.leg(leg_id) else { return };
        let Some(job) = leg.job.clone() else { return };
        let (pool, prefix_ignored) = (leg.way.variant, leg.flags.prefix_ignored);
        let relay = leg.relay;
        let Some(work) = job.work(pool) else { return };

        let theirs = job.terms.extranonce;
        let extranonce = match self.state.told.extranonce {
            _ if !miner.has_extranonce() => Extranonce::default(),
            Some(told) if told.starts_with(&theirs) || prefix_ignored => told,
            _ => theirs,
        };
        // On one that was relayed, what the miner has is right, whatever it is.
        let goal = job.terms.goal.or(relay.is_none().then_some(Goal::DEFAULT));
        let difficulty = goal.map_or(0.0, Goal::difficulty);
        let epoch = Epoch { tag: 0, told: extranonce, theirs, difficulty };
        let tag = self.epoch_for(leg_id, epoch, is_cut);
        let (seed, hash) = self.seed(miner, work.seed, job.terms.seed);
        let before = if is_cut {
            Told { extranonce: self.state.told.extranonce, ..Told::default() }
        } else {
            self.state.told
        };
        self.tell(miner, before, extranonce, goal, seed, out);

        let waiting = self.state.wants_work.take().filter(|_| miner == Variant::EthProxy);
        let id = waiting.as_ref().map_or(id, |waiting| &waiting.0);
        let id: &[u8] = if id.is_empty() { b"0" } else { id };
        let clean = job.clean || is_cut;
        let name_tag = (!relay.is_some_and(|relay| relay.is_plain())).then_some(tag);
        let target = goal.unwrap_or(Goal::DEFAULT).target();
        let below = Below { tag: name_tag, clean, target, seed: hash, id };
        out.send_with(Side::Downstream, |arena| write_work(arena, miner, &work, &below));
        if (miner == Variant::EthProxy || (miner.has_extranonce() && pool == Variant::Plain))
            && let Some(leg) = self.leg(leg_id)
        {
            leg.issue(work.header, &work.job_id, tag);
        }
    }

    /// The tag of the jobs of such an epoch; a new one behind a cut, so that no job of before has the
    /// same name.
    fn epoch_for(&mut self, leg_id: LegId, epoch: Epoch, is_cut: bool) -> u8 {
        let latest = self.leg(leg_id).and_then(|leg| leg.latest_epoch());
        if let Some(latest) = latest
            && !is_cut
            && latest == (Epoch { tag: latest.tag, ..epoch })
        {
            return latest.tag;
        }
        let tag = self.new_tag();
        if let Some(leg) = self.leg(leg_id) {
            leg.start_epoch(Epoch { tag, ..epoch });
        }
        tag
    }

    /// Epoch and seed of a job, each found from the other where a peer has only one.
    fn seed(
        &mut self,
        miner: Variant,
        hash: Option<Hash>,
        seed: Option<Seed>,
    ) -> (Option<Seed>, Hash) {
        if miner != Variant::Stratum2
            && let Some(hash) = hash
        {
            return (None, hash);
        }
        let known = self.state.known_seed.as_deref().copied().filter(|known| match (hash, seed) {
            (_, Some(seed)) => known.seed() == seed,
            (Some(hash), None) => known.hash() == hash,
            (None, None) => false,
        });
        let known = match (known, hash, seed) {
            (Some(known), ..) => Some(known),
            // The miner wants the epoch alone; its seed need not be worked out.
            (None, _, Some(seed)) if miner == Variant::Stratum2 => return (Some(seed), [0; 32]),
            (None, _, Some(seed)) => Some(Known::of_epoch(seed)),
            (None, Some(hash), None) => Known::of_hash(hash),
            (None, None, None) => None,
        };
        self.state.known_seed = known.map(Box::new);
        known.map_or((None, [0; 32]), |known| (Some(known.seed()), known.hash()))
    }

    /// Tells the miner what is not as it was `before`.
    fn tell(
        &mut self,
        miner: Variant,
        before: Told,
        extranonce: Extranonce,
        goal: Option<Goal>,
        seed: Option<Seed>,
        out: &mut Outbox,
    ) {
        let told = &mut self.state.told;
        let is_new = before.extranonce != Some(extranonce);
        match miner {
            Variant::EthProxy | Variant::Plain => return,
            Variant::NiceHash => {
                if is_new {
                    let params = format!("[\"{extranonce}\"]");
                    out.send_with(Side::Downstream, |arena| {
                        write_notification(arena, "mining.set_extranonce", params.as_bytes());
                    });
                }
                let difficulty = goal.map(Goal::difficulty);
                told.goal = difficulty.map(Goal::Difficulty).or(told.goal);
                if let Some(difficulty) = difficulty.filter(|_| before.goal != told.goal) {
                    let params = format!("[{difficulty}]");
                    out.send_with(Side::Downstream, |arena| {
                        write_notification(arena, "mining.set_difficulty", params.as_bytes());
                    });
                }
            }
            Variant::Stratum2 => {
                let target: Target = goal.unwrap_or(Goal::DEFAULT).target();
                told.goal = Some(Goal::Target(target));
                let mut values = Vec::new();
                if let Some(seed) = seed.filter(|_| before.seed != seed) {
                    let algo = if seed.is_long { "etchash" } else { "ethash" };
                    values.push(format!("\"epoch\":\"{:x}\",\"algo\":\"{algo}\"", seed.epoch));
                }
                told.seed = seed.or(told.seed);
                if before.goal != told.goal {
                    values.push(format!("\"target\":\"{target}\""));
                }
                if is_new {
                    values.push(format!("\"extranonce\":\"{extranonce}\""));
                }
                if !values.is_empty() {
                    let values = values.join(",");
                    let line = format!("{{\"method\":\"mining.set\",\"params\":{{{values}}}}}\n");
                    out.send(Side::Downstream, line.as_bytes());
                }
            }
        }
        told.extranonce = Some(extranonce);
    }

    /// `Input::LegDown` and `Input::LegGone`.
    pub(crate) fn leg_lost(&mut self, leg_id: LegId, out: &mut Outbox) -> Result<(), Fault> {
        let Some(at) = self.state.legs.iter().position(|leg| leg.id == leg_id) else {
            return Ok(());
        };
        let leg = self.state.legs.remove(at);
        if !leg.flags.spoken {
            self.went_silently(&leg);
        }
        if self.state.active == Some(leg_id) {
            self.state.active = None;
            self.no_work(out);
            if self.is_agent() {
                Self::let_agent_go(out);
            }
        }
        self.settle(&leg, out)
    }

    /// `Input::Refused`: a newcomer is told and let go; who mines is never told.
    pub(crate) fn refused(&mut self, refusal: Refusal, out: &mut Outbox) {
        if self.state.login == Login::Done {
            return;
        }
        let (code, why) = stratum_common::miner::refusal_error(refusal);
        self.turn_away(&Refused { code, why: why.to_owned() }, out);
        out.push(Action::Close { why: refusal.label().into() });
    }
}
