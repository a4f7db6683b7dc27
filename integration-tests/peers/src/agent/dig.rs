//! The search for a share of one sub-miner.

use crate::frames::FrameShare;
use crate::header::{Target, double_sha256, rolled_version};
use crate::notify::{Choice, Notify};

/// Finds a share of the sub-miner `sid` on a job; `extranonce1` is the agent's.
pub(super) fn dig(
    notify: &Notify,
    extranonce1: &[u8],
    share: FrameShare,
    mask: u32,
    difficulty: f64,
) -> Option<FrameShare> {
    let target = Target::of_difficulty(difficulty);
    let extranonce2 =
        [u32::from(share.sid).to_be_bytes(), share.extranonce2.to_be_bytes()].concat();
    let bits = share.bits.filter(|_| mask != 0).map(|bits| bits & mask);
    let mut header = notify.header(&Choice {
        extranonce1,
        extranonce2: &extranonce2,
        version: rolled_version(notify.version, mask, bits.unwrap_or(0)),
        ntime: share.ntime.unwrap_or(notify.ntime),
        nonce: 0,
    });
    // Enough for any difficulty that a test can afford.
    (0..200_000_u32).find_map(|nonce| {
        header.last_chunk_mut().map(|place: &mut [u8; 4]| *place = nonce.to_le_bytes())?;
        target.is_met_by(&double_sha256(&header)).then_some(FrameShare {
            nonce,
            bits: bits.filter(|bits| *bits != 0),
            ..share
        })
    })
}
