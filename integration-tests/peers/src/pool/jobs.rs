//! Jobs as a pool makes them: realistic in form, unique in content, colliding in name.
//!
//! Job ids are small counters on purpose, so that two pools always share ids and a share that goes
//! to the wrong one is judged against the wrong job.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::chain::Chain;
use crate::header::Hash;
use crate::notify::Notify;

/// Counts pools over the whole process, so that no two ever make the same job.
static POOLS: AtomicU64 = AtomicU64::new(1);

/// Makes one pool's jobs.
#[derive(Debug)]
pub(super) struct JobMaker {
    seed: u64,
    counter: u64,
    made: u64,
}

impl JobMaker {
    pub(super) fn new() -> Self {
        let seed = POOLS.fetch_add(1, Ordering::Relaxed) << 32;
        Self { seed, counter: 0, made: 0 }
    }

    /// Starts to count from "1" again, as a restarted pool does; contents stay unique.
    pub(super) fn restart(&mut self) {
        self.counter = 0;
    }

    /// The next job, with `branches` merkle branches if the chain has any.
    pub(super) fn make(&mut self, chain: Chain, branches: usize, clean_jobs: bool) -> Notify {
        self.counter += 1;
        self.made += 1;
        let mut random = Random(self.seed | self.made);
        let ntime = 0x6750_0000 + u32::try_from(self.made & 0xffff).unwrap_or(0);
        let (coinb1, coinb2) = match chain {
            Chain::Bitcoin => coinbase(&mut random),
            Chain::Decred(_) => header_parts(&mut random, ntime),
        };
        let (version, branches) = match chain {
            Chain::Bitcoin => (0x2000_0000, branches),
            // Its bytes as they stand in the header.
            Chain::Decred(_) => (0x0500_0000, 0),
        };
        Notify {
            job_id: format!("{:x}", self.counter),
            prevhash: random.hash(),
            coinb1,
            coinb2,
            branches: (0..branches).map(|_| random.hash()).collect(),
            version,
            nbits: 0x1703_4219,
            ntime,
            clean_jobs,
        }
    }
}

/// The halves of a coinbase.
fn coinbase(random: &mut Random) -> (Vec<u8>, Vec<u8>) {
    // 41 bytes up to the script, 42 of script with height and pool's mark before extranonce1.
    let mut coinb1 = hex_prefix();
    coinb1.extend(random.bytes(42));
    // Two outputs and the witness commitment's, without and with some more payees.
    let payees = usize::try_from(random.next() % 4).unwrap_or(0);
    (coinb1, random.bytes(89 + 34 * payees))
}

/// Decred's: what stands between previous block and `ExtraData`, as sserver has it with 4 bytes more,
/// and the stake version.
fn header_parts(random: &mut Random, ntime: u32) -> (Vec<u8>, Vec<u8>) {
    let mut coinb1 = random.bytes(100);
    coinb1.extend(ntime.to_le_bytes());
    coinb1.extend([0; 8]);
    (coinb1, vec![5, 0, 0, 0])
}

/// Version, input count and the null outpoint every coinbase starts with.
fn hex_prefix() -> Vec<u8> {
    let mut prefix = vec![1, 0, 0, 0, 1];
    prefix.extend([0; 32]);
    prefix.extend([0xff; 4]);
    prefix
}

/// The splitmix64 generator: repeatable, and good enough to make contents differ.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn hash(&mut self) -> Hash {
        let mut hash = [0; 32];
        for part in hash.chunks_exact_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes());
        }
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pools_use_the_same_ids_for_different_jobs() {
        let (mut one, mut other) = (JobMaker::new(), JobMaker::new());

        let (a, b) = (one.make(Chain::Bitcoin, 3, true), other.make(Chain::Bitcoin, 3, true));

        assert_eq!((a.job_id.as_str(), b.job_id.as_str()), ("1", "1"));
        assert_ne!(a.prevhash, b.prevhash);
        assert_eq!(a.branches.len(), 3);
    }

    #[test]
    fn a_restarted_pool_repeats_its_ids_but_not_its_jobs() {
        let mut maker = JobMaker::new();
        let before = maker.make(Chain::Bitcoin, 0, true);
        maker.restart();
        let after = maker.make(Chain::Bitcoin, 0, true);
        assert_eq!(before.job_id, after.job_id);
        assert_ne!(before.coinb1, after.coinb1);
    }
}
