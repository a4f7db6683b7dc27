//! A pool and a miner of Kaspa that judge each other and whatever stands between them.
//!
//! The work is real but small: SHA-256 stands in for kHeavyHash, over the same 80 bytes (hash of the
//! header, time, padding, nonce). So a share fits one job of one pool, and a job, extranonce or
//! difficulty that was changed on its way is found out.

mod miner;
mod pool;

pub(crate) use miner::Miner;
pub(crate) use pool::{Pool, PoolConfig};

use sha2::{Digest as _, Sha256};

/// One share of difficulty 1 takes so many tries on average.
const TRIES: u64 = 16;

/// What a miner is given to work on.
#[derive(Clone, Debug, PartialEq)]
struct Work {
    header: [u64; 4],
    time: u64,
}

impl Work {
    /// Whether a nonce is a share of that difficulty.
    fn is_share(&self, nonce: u64, difficulty: f64) -> bool {
        let mut hash = Sha256::new();
        for word in self.header {
            hash.update(word.to_le_bytes());
        }
        hash.update(self.time.to_le_bytes());
        hash.update([0; 32]);
        hash.update(nonce.to_le_bytes());
        let digest = hash.finalize();
        let value = u64::from_be_bytes(digest[..8].try_into().unwrap());
        value as f64 * difficulty * TRIES as f64 <= u64::MAX as f64
    }

    /// The form for GPU miners.
    fn words(&self) -> String {
        let [a, b, c, d] = self.header;
        format!("[{a},{b},{c},{d}],{}", self.time)
    }

    /// The form for ASICs: 80 digits, the header's bytes as they are and the time little-endian.
    fn digits(&self) -> String {
        let header: String = self.header.iter().map(|word| hex(word.to_le_bytes())).collect();
        format!("\"{header}{}\"", hex(self.time.to_le_bytes()))
    }

    fn read(params: &[serde_json::Value]) -> Option<Self> {
        if let Some(words) = params.get(1)?.as_array() {
            let header: Option<Vec<u64>> = words.iter().map(serde_json::Value::as_u64).collect();
            let header = header?.try_into().ok()?;
            return Some(Self { header, time: params.get(2)?.as_u64()? });
        }
        let digits = params.get(1)?.as_str().filter(|digits| digits.len() == 80)?;
        let word = |at: usize| {
            let word = u64::from_str_radix(digits.get(16 * at..16 * at + 16)?, 16).ok()?;
            Some(word.swap_bytes())
        };
        Some(Self { header: [word(0)?, word(1)?, word(2)?, word(3)?], time: word(4)? })
    }
}

fn hex(bytes: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(bytes))
}

#[test]
fn both_forms_of_a_job_say_the_same() {
    let work = Work { header: [1, u64::MAX - 7, 0x0123_4567_89ab_cdef, 4], time: 1_662_696_346 };
    for form in [work.words(), work.digits()] {
        let params: Vec<serde_json::Value> =
            serde_json::from_str(&format!("[\"1\",{form}]")).unwrap();
        assert_eq!(Work::read(&params), Some(work.clone()), "{form}");
    }
}

#[tokio::test]
async fn pool_and_miner_face_to_face_have_nothing_to_complain_of() {
    for agent in ["lolMiner 1.76", "IceRiverMiner-v1.1"] {
        let pool = Pool::start(PoolConfig::new("p")).await;
        let miner = Miner::connect(pool.address(), "alice.rig", agent).await;
        stratum_peers::eventually("twenty shares", || miner.report().accepted >= 20).await;
        books_agree(&[miner], &[&pool]).await;
    }
}

/// Stops the miners, waits until nothing is under way, and compares all books.
pub(crate) async fn books_agree(miners: &[Miner], pools: &[&Pool]) {
    for miner in miners {
        miner.pause();
    }
    stratum_peers::eventually("every share is answered", || {
        miners.iter().all(|miner| miner.report().is_settled())
    })
    .await;
    for miner in miners {
        let report = miner.report();
        assert!(report.complaints.is_empty(), "{report:#?}");
        assert_eq!(report.accepted, report.submitted, "{report:#?}");
    }
    for pool in pools {
        assert_eq!(pool.report().complaints, [""; 0]);
    }
    let at_miners: u64 = miners.iter().map(|miner| miner.report().accepted).sum();
    let at_pools: u64 = pools.iter().map(|pool| pool.report().accepted).sum();
    assert_eq!(at_miners, at_pools, "shares lost or doubled");
}
