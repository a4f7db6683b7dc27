//! What really happened in a case: every job that a pool issued, every share that the miner found,
//! and the first promise that was broken.

use std::collections::HashMap;

use serde_json::Value;
use switcher_plugin::Millis;

/// A connection to a pool by its number, and a job by its number there.
pub(crate) type JobKey = (u32, u32);

/// A job as its pool issued it.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) coinbase1: String,
    pub(crate) coinbase2: String,
    pub(crate) extranonce1: String,
    pub(crate) extranonce2_size: usize,
    /// What the pool had set by then.
    pub(crate) difficulty: Option<f64>,
    /// The rest of the line: hash, branches, version, bits.
    pub(crate) rest: [Value; 4],
    pub(crate) time: u32,
    /// How often its pool had changed its extranonce by then.
    pub(crate) changes: u32,
}

/// A share as the miner found it.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) job: JobKey,
    /// The coinbase that the miner hashed, in hex.
    pub(crate) coinbase: String,
    pub(crate) time: String,
    pub(crate) worker: String,
    /// How often it went up.
    pub(crate) went_up: u32,
    /// When it did.
    pub(crate) went_at: Millis,
    /// Result and error that the pool has sent.
    pub(crate) verdict: Option<(Value, Value)>,
    /// The miner has been answered.
    pub(crate) answered: bool,
}

/// What is booked of shares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) submitted: u32,
    pub(crate) judged: u32,
    pub(crate) accepted: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) jobs: HashMap<JobKey, Job>,
    /// By nonce, which is different for every share.
    pub(crate) shares: HashMap<String, Share>,
    /// Shares that went up and have no answer, by connection.
    pub(crate) outstanding: HashMap<u32, u32>,
    /// Shares that went up, that were answered, and that were accepted.
    pub(crate) counts: Counts,
    /// How often a miner was told another extranonce.
    pub(crate) told: u64,
    pub(crate) broken: Option<String>,
    /// What happened, if it shall be told.
    pub(crate) trace: Option<Vec<String>>,
}

impl Books {
    /// A promise was broken. Only the first time counts: the rest follows from it.
    pub(crate) fn broken(&mut self, why: impl FnOnce() -> String) {
        if self.broken.is_none() {
            let why = why();
            self.note(|| format!("BROKEN {why}"));
            self.broken = Some(why);
        }
    }

    /// Unless this holds, a promise was broken.
    pub(crate) fn hold(&mut self, holds: bool, why: impl FnOnce() -> String) {
        if !holds {
            self.broken(why);
        }
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }

    /// A share was answered.
    pub(crate) fn answered(&mut self, nonce: &str, accepted: bool) {
        let Some(share) = self.shares.get_mut(nonce) else { return };
        share.answered = true;
        if share.went_up > 0 {
            let of = share.job.0;
            self.counts.judged += 1;
            self.counts.accepted += u32::from(accepted);
            let outstanding = self.outstanding.entry(of).or_default();
            *outstanding = outstanding.saturating_sub(1);
        }
    }

    /// A share that went up on a connection.
    pub(crate) fn went_up(&mut self, connection: u32, params: &[Value], now: Millis) {
        let text = |at: usize| params.get(at).and_then(Value::as_str).unwrap_or_default();
        let (user, job_id, extranonce2) = (text(0), text(1), text(2));
        let (time, nonce) = (text(3), text(4));
        let Some(share) = self.shares.get_mut(nonce) else {
            return self.broken(|| format!("a share went up that nobody found: {params:?}"));
        };
        share.went_up += 1;
        share.went_at = now;
        self.counts.submitted += 1;
        *self.outstanding.entry(connection).or_default() += 1;
        let share = share.clone();
        let Some(job) = self.jobs.get(&share.job).cloned() else {
            return self.broken(|| "a share without a job".to_owned());
        };
        let coinbase = [&*job.coinbase1, &*job.extranonce1, extranonce2, &*job.coinbase2].concat();
        self.hold(share.went_up == 1, || format!("share {nonce} went up twice"));
        self.hold(share.job.0 == connection, || {
            format!("share {nonce} of connection {} went up on {connection}", share.job.0)
        });
        self.hold(job_id == job.id, || format!("share {nonce} is for {job_id}, not {}", job.id));
        self.hold(extranonce2.len() == 2 * job.extranonce2_size, || {
            format!("share {nonce} has extranonce2 {extranonce2}")
        });
        self.hold(coinbase == share.coinbase, || {
            format!("share {nonce}: the pool hashes {coinbase}, the miner {}", share.coinbase)
        });
        self.hold(time == share.time, || format!("share {nonce} has time {time}"));
        let (sub_account, rig) = share.worker.split_once('.').unwrap_or((&share.worker, ""));
        let is_name = user
            .split_once('.')
            .is_some_and(|(name, of)| of == rig && name.split('_').next() == Some(sub_account));
        self.hold(is_name, || format!("share {nonce} of {} is sent as {user}", share.worker));
    }
}
