//! The search for a share: real hashing, bounded in each turn.

use super::session::Job;
use crate::chain::Chain;
use crate::header::{Target, rolled_version};
use crate::notify::Choice;

/// Which shares are looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Aim {
    /// A hash that meets the job's difficulty.
    Hit,
    /// A hash that misses it.
    Miss,
}

/// A share, ready to be submitted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Found {
    pub(super) job_id: String,
    pub(super) extranonce2: Vec<u8>,
    pub(super) ntime: u32,
    pub(super) nonce: u32,
    pub(super) bits: Option<u32>,
}

/// A miner's counters; they never repeat a header within one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Digger {
    extranonce2: u64,
    nonce: u32,
}

impl Digger {
    /// Tries up to `hashes` nonces on `job`. Each call uses the next extranonce2, as real miners do.
    pub(super) fn dig(
        &mut self,
        chain: Chain,
        job: &Job,
        mask: Option<u32>,
        aim: Aim,
        hashes: u32,
    ) -> Option<Found> {
        self.extranonce2 += 1;
        let counter = self.extranonce2.to_le_bytes();
        let extranonce2: Vec<u8> =
            counter.into_iter().chain([0; 8]).take(chain.rolled(job.extranonce2_size)).collect();
        // A mask of zero switches the sixth parameter off in cgminer.
        let bits = mask.filter(|&mask| mask != 0).map(|mask| {
            u32::from_le_bytes([0, counter[0], counter[1], counter[0]]).rotate_left(5) & mask
        });
        let notify = &job.notify;
        let version = rolled_version(notify.version, mask.unwrap_or(0), bits.unwrap_or(0));
        let ntime = chain.time_of(notify).ok()?;
        let choice = Choice {
            extranonce1: &job.extranonce1,
            extranonce2: &extranonce2,
            version,
            ntime,
            nonce: 0,
        };
        let mut search = chain.search(notify, &choice);
        let target = Target::of_difficulty(job.difficulty);
        for _ in 0..hashes {
            self.nonce = self.nonce.wrapping_add(1);
            if target.is_met_by(&search.hash(self.nonce)) == (aim == Aim::Hit) {
                return Some(Found {
                    job_id: notify.job_id.clone(),
                    extranonce2: chain.submitted(&job.extranonce1, &extranonce2),
                    ntime,
                    nonce: self.nonce,
                    bits,
                });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Notify;

    fn job(difficulty: f64) -> Job {
        let notify = Notify {
            job_id: "1".into(),
            prevhash: [1; 32],
            coinb1: vec![1; 80],
            coinb2: vec![2; 80],
            branches: vec![[3; 32]],
            version: 0x2000_0000,
            nbits: 0x1703_4219,
            ntime: 77,
            clean_jobs: true,
        };
        Job { notify, difficulty, extranonce1: vec![9; 4], extranonce2_size: 3 }
    }

    #[test]
    fn what_is_found_meets_the_difficulty_and_never_repeats() {
        let (job, mask) = (job(1e-8), 0x1fff_e000);
        let mut digger = Digger::default();
        let mut seen = std::collections::HashSet::new();

        for _ in 0..50 {
            let found = digger
                .dig(Chain::Bitcoin, &job, Some(mask), Aim::Hit, 100_000)
                .expect("about 43 are needed");
            let hash = job.notify.hash(&Choice {
                extranonce1: &job.extranonce1,
                extranonce2: &found.extranonce2,
                version: rolled_version(0x2000_0000, mask, found.bits.unwrap()),
                ntime: found.ntime,
                nonce: found.nonce,
            });
            assert!(Target::of_difficulty(1e-8).is_met_by(&hash));
            assert!(seen.insert(hash));
        }
    }

    #[test]
    fn a_turn_is_bounded() {
        assert_eq!(Digger::default().dig(Chain::Bitcoin, &job(1e9), None, Aim::Hit, 10), None);
    }
}
