//! What is mined: a header, a target, and how a nonce is judged by both.

use super::ethash::{Hashed, ethash, stand_in};

/// First byte of a header that must be hashed in earnest.
const REAL: u8 = 0xea;

/// First byte of a header for which the stand-in is agreed on.
const STAND_IN: u8 = 0x5d;

/// A job as miners see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// What is hashed together with the nonce. Its second byte tells pools apart.
    pub header: [u8; 32],
    /// The largest result that counts, big-endian.
    pub target: [u8; 32],
}

impl Work {
    /// Job number `serial` of the pool with this tag.
    pub(super) fn make(tag: u8, serial: u64, is_real: bool, difficulty: f64) -> Self {
        let mut header = [0x11; 32];
        header[0] = if is_real { REAL } else { STAND_IN };
        header[1] = tag;
        header[24..].copy_from_slice(&serial.to_be_bytes());
        Self { header, target: target_of(difficulty) }
    }

    /// Hashes a nonce as the header demands.
    pub fn hash(&self, nonce: u64) -> Hashed {
        if is_real(&self.header) {
            ethash(&self.header, nonce)
        } else {
            stand_in(&self.header, nonce)
        }
    }

    /// Whether a result counts.
    pub fn is_met_by(&self, result: &[u8; 32]) -> bool {
        *result <= self.target
    }
}

/// Whether the header must be hashed in earnest.
pub fn is_real(header: &[u8; 32]) -> bool {
    header[0] != STAND_IN
}

/// The target of a difficulty: `0x00000000ffff << 208` divided by it, cut down.
pub fn target_of(difficulty: f64) -> [u8; 32] {
    let bits = (65_535.0 / difficulty).to_bits();
    let mantissa = (bits & 0x000f_ffff_ffff_ffff) | 0x0010_0000_0000_0000;
    let exponent = i64::try_from(bits >> 52 & 0x7ff).unwrap_or(0) - 1_075 + 208;
    let mut target = [0; 32];
    for bit in 0..53 {
        let place = bit + exponent;
        if mantissa >> bit & 1 == 0 || place < 0 {
            continue;
        }
        let Ok(place @ 0..256) = usize::try_from(place) else { return [0xff; 32] };
        if let Some(byte) = target.iter_mut().rev().nth(place / 8) {
            *byte |= 1 << (place % 8);
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_the_specification() {
        let hex = |difficulty| hex::encode(target_of(difficulty));

        assert!(hex(1.0).starts_with("00000000ffff0000"));
        assert!(hex(2.0).starts_with("000000007fff8000"));
        assert!(hex(0.5).starts_with("00000001fffe0000"));
        assert_eq!(hex(1e-30), "f".repeat(64));
    }

    #[test]
    fn the_header_says_what_is_to_be_hashed() {
        let (real, other) = (Work::make(1, 2, true, 1.0), Work::make(1, 2, false, 1.0));

        assert_eq!(real.hash(7), ethash(&real.header, 7));
        assert_eq!(other.hash(7), stand_in(&other.header, 7));
        assert_ne!(other.hash(7), other.hash(8));
    }
}
