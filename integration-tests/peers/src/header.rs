//! Bitcoin block headers as Stratum V1 builds them: merkle root, header, hash, target.
//!
//! Shared by pool and miner on purpose: both are checked against recorded shares of real pools in
//! the tests below, so an error here cannot hide by being made twice. Targets are compared as
//! 256-bit integers, never as floating-point numbers.

use sha2::{Digest, Sha256};

/// A double SHA-256, in the byte order in which it was computed.
pub type Hash = [u8; 32];

/// Hashes twice with SHA-256.
pub fn double_sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// Folds the merkle branches onto the coinbase's hash: root = H(root ‖ branch) in turn.
pub fn merkle_root(coinbase: &[u8], branches: &[Hash]) -> Hash {
    branches.iter().fold(double_sha256(coinbase), |root, branch| {
        let mut pair = [0; 64];
        pair[..32].copy_from_slice(&root);
        pair[32..].copy_from_slice(branch);
        double_sha256(&pair)
    })
}

/// The fields of a header apart from the merkle root, as `mining.notify` and `mining.submit` give
/// them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fields {
    /// Block version, rolled bits included.
    pub version: u32,
    /// Previous block's hash in the order of the notify line: each 4-byte word byte-reversed.
    pub prevhash: Hash,
    /// Seconds since 1970.
    pub ntime: u32,
    /// Compact network target.
    pub nbits: u32,
    /// What the miner found.
    pub nonce: u32,
}

/// Lays out the 80 bytes of a header.
pub fn header(fields: &Fields, root: &Hash) -> [u8; 80] {
    let mut bytes = [0; 80];
    bytes[..4].copy_from_slice(&fields.version.to_le_bytes());
    bytes[4..36].copy_from_slice(&reversed_words(&fields.prevhash));
    bytes[36..68].copy_from_slice(root);
    bytes[68..72].copy_from_slice(&fields.ntime.to_le_bytes());
    bytes[72..76].copy_from_slice(&fields.nbits.to_le_bytes());
    bytes[76..].copy_from_slice(&fields.nonce.to_le_bytes());
    bytes
}

/// The previous block's hash as the header has it, of how the line has it, and the other way round.
pub fn reversed_words(hash: &Hash) -> Hash {
    let mut reversed = *hash;
    for word in reversed.chunks_exact_mut(4) {
        word.reverse();
    }
    reversed
}

/// The version a miner hashed: BIP 310, `(job & !mask) | (bits & mask)`.
pub fn rolled_version(job: u32, mask: u32, bits: u32) -> u32 {
    (job & !mask) | (bits & mask)
}

/// A 256-bit bound a share's hash must not exceed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Target([u8; 32]);

impl Target {
    /// The target of difficulty 1: `0xffff << 208`.
    pub fn of_difficulty_one() -> Self {
        Self::of_difficulty(1.0)
    }

    /// The difficulty-1 target divided by `difficulty`, rounded down at 2^-58 or better.
    ///
    /// Difficulties below 2^-32 and those that are no positive numbers give the easiest target
    /// there is, so that every hash meets it.
    pub fn of_difficulty(difficulty: f64) -> Self {
        const EASIEST: Target = Target([0xff; 32]);
        if !difficulty.is_normal() || difficulty < 0.0 {
            return EASIEST;
        }
        // difficulty = mantissa * 2^exponent exactly, with a 53-bit mantissa.
        let bits = difficulty.to_bits();
        let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52);
        let exponent = i32::try_from(bits >> 52 & 0x7ff).unwrap_or(0) - 1075;
        // 0xffff << 208 = (0xffff << 112) << 96; the quotient keeps at least 75 significant bits.
        let quotient = (0xffff_u128 << 112) / u128::from(mantissa);
        let shift = 96 - exponent;
        let mut target = [0; 32];
        for (place, byte) in target.iter_mut().rev().enumerate() {
            let low = i32::try_from(place).unwrap_or(i32::MAX) * 8 - shift;
            *byte = bits_at(quotient, low);
        }
        let top = 256 - shift;
        if top < 128 && (top < 0 || quotient >> top != 0) {
            return EASIEST;
        }
        Self(target)
    }

    /// Whether `hash` is a share at this target.
    pub fn is_met_by(&self, hash: &Hash) -> bool {
        // A hash counts as a little-endian number: compare from its last byte on.
        hash.iter().rev().le(self.0.iter())
    }

    /// The target as printed: most significant byte first.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

/// Eight bits of `number` from bit `low` on; places outside of it are zero.
fn bits_at(number: u128, low: i32) -> u8 {
    let shifted = match low {
        0..=127 => number >> low,
        -7..=-1 => number << -low,
        _ => 0,
    };
    u8::try_from(shifted & 0xff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// A share BTCPool's own test data holds as accepted.
    #[test]
    fn a_recorded_share_hashes_to_the_recorded_header() {
        let coinbase = hex::decode(concat!(
            "02000000010000000000000000000000000000000000000000000000000000000000000000",
            "ffffffff2a5404faf3b65c726567696f6e312f50726f6a65637420425443506f6f6c2f",
            "01000000",
            "0000000000000001",
            "ffffffff0200f2052a010000001976a914c0174e89bd93eacd1d5a1af4ba1802d412afc08688ac",
            "0000000000000000266a24aa21a9ede2f61c3f71d1defd3fa999dfa36953755c690689799962b4",
            "8bebd836974e8cf900000000",
        ))
        .unwrap();
        let fields = Fields {
            version: 0x2000_0000,
            prevhash: bytes("43159f0141fc171403b379dc5485b5f5b3fcac202b9209f08fd79a3e3186d5e6"),
            ntime: 0x5cb6_dda9,
            nbits: 0x207f_ffff,
            nonce: 0x5345_b92c,
        };

        let mut hash = double_sha256(&header(&fields, &merkle_root(&coinbase, &[])));
        let meets = |difficulty| Target::of_difficulty(difficulty).is_met_by(&hash);

        assert!(meets(2.55) && !meets(2.551));
        hash.reverse();
        assert_eq!(
            hex::encode(hash),
            "0000000064603ff20eb9bec808299d45266ca007aade00b1fdf526bb7bfb0bc7"
        );
    }

    #[test]
    fn branches_are_folded_from_the_right() {
        let first = double_sha256(b"coinbase");
        let branch = [7; 32];
        let expected = double_sha256(&[first, branch].concat());
        assert_eq!(merkle_root(b"coinbase", &[branch]), expected);
        assert_eq!(merkle_root(b"coinbase", &[]), first);
    }

    #[test]
    fn difficulties_become_the_targets_pools_publish() {
        let of = |difficulty| Target::of_difficulty(difficulty).to_hex();
        assert_eq!(of(1.0), format!("00000000ffff{}", "0".repeat(52)));
        assert_eq!(of(0.5), format!("00000001fffe{}", "0".repeat(52)));
        assert_eq!(of(65536.0), format!("000000000000ffff{}", "0".repeat(48)));
        assert_eq!(of(65535.0), format!("0000000000010000{}", "0".repeat(48)));
    }

    #[test]
    fn harder_difficulties_have_smaller_targets_over_the_whole_range() {
        let mut last = Target([0xff; 32]);
        for power in -9..60 {
            let target = Target::of_difficulty(10_f64.powi(power));
            assert!(target < last, "10^{power}");
            last = target;
        }
    }

    #[test]
    fn absurd_difficulties_never_make_shares_impossible() {
        for difficulty in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300, 2e-10] {
            assert!(Target::of_difficulty(difficulty).is_met_by(&[0xff; 32]), "{difficulty}");
        }
        assert!(!Target::of_difficulty(1e-9).is_met_by(&[0xff; 32]));
    }

    #[test]
    fn the_bound_itself_is_a_share_and_one_more_is_not() {
        let target = Target::of_difficulty(1.0);
        let mut hash: Hash = target.0;
        hash.reverse();
        assert!(target.is_met_by(&hash));
        hash[0] = 1;
        assert!(!target.is_met_by(&hash));
    }

    #[test]
    fn version_bits_outside_the_mask_do_not_count() {
        assert_eq!(rolled_version(0x2000_0000, 0x1fff_e000, 0xffff_ffff), 0x3fff_e000);
        assert_eq!(rolled_version(0x2abc_0000, 0x00ff_0000, 0), 0x2a00_0000);
    }
}
