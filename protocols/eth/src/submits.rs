//! Shares: to which leg they belong, what they look like there, and their answers.

use jsonrpc::{Message, elements, string, text, write_request, write_string};
use stratum_common::miner::share_without_leg;
use switcher_plugin::{Action, Fault, FaultKind, LegId, Outbox, Side, Verdict};

use crate::hex::{hex, read_hex, strip_0x};
use crate::leg::{Ask, Epoch, Leg, Outstanding};
use crate::login::Login;
use crate::replies::{Refused, is_positive, write_answer};
use crate::session::EthSession;
use crate::variant::Variant;
use crate::work::{Hash, read_hash, split_tag};

/// A share as the miner sends it.
struct Share {
    /// What the miner calls the job; nothing if it goes by the header alone.
    told: String,
    header: Option<Hash>,
    /// All digits of the nonce, or those behind the extranonce.
    nonce: Vec<u8>,
    mix: Option<Hash>,
}

/// A share as its pool wants it.
struct Solution {
    job_id: String,
    header: Option<Hash>,
    nonce: u64,
    mix: Option<Hash>,
}

impl Share {
    fn read(variant: Variant, params: &[u8]) -> Option<Self> {
        let mut items = elements(params);
        let mut share = Self { told: String::new(), header: None, nonce: Vec::new(), mix: None };
        if matches!(variant, Variant::Plain | Variant::NiceHash) {
            // The user; it is the one who has logged in.
            text(items.next()?)?;
        }
        if variant != Variant::EthProxy {
            share.told = text(items.next()?)?.into_owned();
        }
        share.nonce = string(items.next()?)?.to_vec();
        if !variant.has_extranonce() {
            if strip_0x(&share.nonce).len() != 16 {
                return None;
            }
            share.header = Some(read_hash(items.next()?)?);
            share.mix = Some(read_hash(items.next()?)?);
        }
        let is_hex = read_hex::<8>(&share.nonce).is_some();
        is_hex.then_some(share)
    }
}

impl EthSession {
    /// `eth_submitWork`, `mining.submit`.
    pub(crate) fn submit(
        &mut self,
        id: &[u8],
        params: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let Some(miner) = self.state.variant else { return Ok(()) };
        if self.state.login != Login::Done {
            Self::disregard(out, Side::Downstream, FaultKind::Unexpected);
            let (code, why) = match miner {
                Variant::EthProxy => (25, "Not subscribed"),
                _ => (24, "Unauthorized worker"),
            };
            return self.deny(id, code, why, out);
        }
        let Some(share) = Share::read(miner, params) else {
            return self.malformed(id, out);
        };
        let Some((leg_id, epoch, job_id)) = self.owner(miner, &share) else {
            return self.submit_without_leg(id, out);
        };
        if self.goes_up_plain(miner, leg_id, &share.told) {
            let method = submit_method(miner);
            // Under the miner's own id, as its answer may find another program here.
            out.send_with(Side::Upstream(leg_id), |arena| write_request(arena, id, method, params));
            return Ok(());
        }
        let Some(nonce) = epoch.told.complete(&share.nonce) else {
            return self.malformed(id, out);
        };
        let Some(leg) = self.leg(leg_id) else { return Ok(()) };
        if !epoch.theirs.heads(nonce) && !leg.flags.prefix_ignored {
            // A miner that sends whole nonces and has missed that its extranonce has changed.
            return self.malformed(id, out);
        }
        if !leg.has_room() {
            Self::disregard(out, Side::Downstream, FaultKind::Excess);
            return self.deny_with(id, b"false", 20, "Too many requests", out);
        }
        let header = share
            .header
            .or_else(|| leg.issued_by_id(&job_id))
            .or_else(|| read_hex(job_id.as_bytes()));
        let solution = Solution { job_id, header, nonce, mix: share.mix };
        send_up(leg, &epoch, &solution, id, out);
        out.push(Action::Submitted(leg_id));
        Ok(())
    }

    fn malformed(&mut self, id: &[u8], out: &mut Outbox) -> Result<(), Fault> {
        Self::disregard(out, Side::Downstream, FaultKind::BadParams);
        self.deny_with(id, b"false", 27, "Illegal params", out)
    }

    /// The leg that a share's job came from, and the pool's name for the job.
    fn owner(&self, miner: Variant, share: &Share) -> Option<(LegId, Epoch, String)> {
        let legs = &self.state.legs;
        if miner != Variant::EthProxy {
            if let Some(found) = self.state.untagged(&share.told) {
                return Some(found);
            }
            let (tag, job_id) = split_tag(&share.told)?;
            let found = legs.iter().find_map(|leg| Some((leg.id, leg.epoch(tag)?)));
            return found.map(|(leg, epoch)| (leg, epoch, job_id.to_owned()));
        }
        let header = share.header.as_ref()?;
        let active = |leg: &&Leg| Some(leg.id) == self.state.active;
        // Two legs to one pool have the same jobs; the miner means the leg of now.
        let in_order = legs.iter().filter(active).chain(legs.iter().filter(|leg| !active(leg)));
        let found = in_order.clone().find_map(|leg| {
            let (epoch, job_id) = leg.issued_by_header(header)?;
            Some((leg.id, epoch, job_id))
        });
        // Who was never anywhere else can only mean its own pool, which may take old jobs.
        let own = || in_order.clone().find(active).filter(|_| !self.state.moved);
        // Jobs that it had from a relay were seen by nobody.
        let relayed = || in_order.clone().find(|leg| leg.relay.is_some());
        found.or_else(|| {
            let leg = own().or_else(relayed).filter(|leg| leg.way.variant == Variant::EthProxy)?;
            Some((leg.id, leg.latest_epoch()?, hex(header)))
        })
    }

    fn submit_without_leg(&mut self, id: &[u8], out: &mut Outbox) -> Result<(), Fault> {
        let (verdict, code, why) = share_without_leg(self.state.active.is_none());
        out.push(Action::Share { leg: None, verdict, difficulty: 0.0 });
        self.deny_with(id, b"false", code, why, out)
    }

    /// The pool's answer to a share.
    pub(crate) fn share_answered(
        &mut self,
        leg_id: LegId,
        asked: &Outstanding,
        line: &[u8],
        message: &Message<'_>,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let Some(leg) = self.leg(leg_id) else { return Ok(()) };
        let pool = leg.way.variant;
        let verdict = if is_positive(message, pool) {
            Verdict::Accept
        } else {
            Verdict::Reject(Refused::of(line, message).code)
        };
        let difficulty = asked.difficulty;
        out.push(Action::Share { leg: Some(leg_id), verdict, difficulty });
        let miner = self.state.variant.unwrap_or(pool);
        let id = &asked.miner_id.0;
        self.reply(id, out, |arena| write_answer(arena, miner, pool, id, line, message))
    }

    /// Answers what a lost leg has left unanswered.
    pub(crate) fn settle(&mut self, leg: &Leg, out: &mut Outbox) -> Result<(), Fault> {
        let mut outcome = Ok(());
        for asked in leg.outstanding.iter().filter(|asked| asked.ask == Ask::Share) {
            let (verdict, difficulty) = (Verdict::Unanswered, asked.difficulty);
            out.push(Action::Share { leg: Some(leg.id), verdict, difficulty });
            let id = &asked.miner_id.0;
            outcome = outcome.and(self.deny_with(id, b"false", 20, "Pool connection lost", out));
        }
        outcome
    }
}

/// What shares are sent with.
fn submit_method(variant: Variant) -> &'static str {
    if variant == Variant::EthProxy { "eth_submitWork" } else { "mining.submit" }
}

/// Sends a share up. A mix digest that the miner has not sent is made up; only pools that do not
/// look at it get such shares.
fn send_up(leg: &mut Leg, epoch: &Epoch, share: &Solution, id: &[u8], out: &mut Outbox) {
    let variant = leg.way.variant;
    let (user, token) = (leg.user.clone(), leg.token.clone());
    let method = submit_method(variant);
    let rest = if epoch.theirs.heads(share.nonce) {
        epoch.theirs.rest(share.nonce)
    } else {
        hex(&share.nonce.to_be_bytes())
    };
    EthSession::ask(leg, Ask::Share, id, method, out, |arena| {
        arena.push(b'[');
        if matches!(variant, Variant::Plain | Variant::NiceHash) {
            write_string(arena, &user);
            arena.push(b',');
        }
        if variant != Variant::EthProxy {
            write_string(arena, &share.job_id);
            arena.push(b',');
        }
        if variant.has_extranonce() {
            write_string(arena, &rest);
        } else {
            let nonce = share.nonce;
            let header = hex(&share.header.unwrap_or_default());
            let mix = hex(&share.mix.unwrap_or_default());
            arena.extend_from_slice(
                format!("\"0x{nonce:016x}\",\"0x{header}\",\"0x{mix}\"").as_bytes(),
            );
        }
        if variant == Variant::Stratum2 {
            arena.push(b',');
            arena.extend_from_slice(&token.0);
        }
        arena.push(b']');
    });
    leg.counts(epoch.difficulty);
}
