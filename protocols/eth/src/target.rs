//! Targets and difficulties, exact in integers. Whatever is rounded is rounded towards the harder
//! side: a share that is good enough for the miner is good enough for the pool.
//!
//! A share counts if its hash is not above the target. The difficulty of `NiceHash`'s variant is
//! defined by `target = 0xffff · 2^208 / difficulty`, a quotient of real numbers.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::hex::{read_hex, write_hex};

/// The target of difficulty 1: `0xffff` with this many bits behind it.
const ONE_SHIFT: u32 = 208;

/// A 256-bit target, highest byte first. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target([u8; 32]);

impl Target {
    /// The easiest target there is.
    const MAX: Self = Self([0xff; 32]);

    /// The hardest: so little is hardly ever reached, but it is not refused.
    const MIN: Self = {
        let mut bytes = [0; 32];
        bytes[31] = 1;
        Self(bytes)
    };

    /// Reads hex digits, with or without `0x`. Leading zeros may be missing: sserver leaves six out.
    pub(crate) fn read(digits: &[u8]) -> Option<Self> {
        read_hex::<32>(digits).map(Self).filter(|target| target.0 != [0; 32])
    }

    /// Appends 64 digits.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        write_hex(out, &self.0);
    }

    /// The easiest target that is not easier than a difficulty.
    ///
    /// The difficulty is `mantissa · 2^exponent`, so the quotient is found by long division, bit by
    /// bit. What does not fit into 256 bits becomes the easiest target.
    pub(crate) fn of_difficulty(difficulty: f64) -> Self {
        if !difficulty.is_finite() || difficulty <= 0.0 {
            return Self::MAX;
        }
        let bits = difficulty.to_bits();
        let biased = u32::try_from(bits >> 52 & 0x7ff).unwrap_or(0);
        let fraction = bits & ((1 << 52) - 1);
        let mantissa = if biased == 0 { fraction } else { fraction | 1 << 52 };
        // The exponent plus 1075, so that it is not negative.
        let exponent = biased.max(1);
        // Bits of the dividend behind 0xffff; a divisor with a positive exponent takes some away.
        let (behind, dropped) = match (ONE_SHIFT + 1075).checked_sub(exponent) {
            Some(behind) => (behind, 0),
            None => (0, exponent - ONE_SHIFT - 1075),
        };
        let mut quotient = Wide::ZERO;
        let mut rest: u64 = 0;
        for place in (0..behind + 16).rev() {
            let bit = place >= behind && 0xffff_u32 >> (place - behind) & 1 == 1;
            rest = rest << 1 | u64::from(bit);
            let fits = rest >= mantissa;
            if fits {
                rest -= mantissa;
            }
            quotient.shift_in(fits);
            if quotient.0[0] != 0 {
                return Self::MAX;
            }
        }
        for _ in 0..dropped.min(320) {
            quotient.halve();
        }
        quotient.to_target()
    }

    /// The smallest difficulty whose exact target is not easier than this one.
    pub(crate) fn to_difficulty(self) -> f64 {
        let target = Wide::of(self);
        let mut one = Wide::ZERO;
        one.0[1] = 0xffff << (ONE_SHIFT - 192);
        // Both are brought to the same number of bits, so that the quotient is from 1/2 to 2.
        let (one_bits, target_bits) = (one.bits(), target.bits());
        let (mut rest, mut divisor) = (one, target);
        for _ in one_bits..256 {
            rest.double();
        }
        for _ in target_bits..256 {
            divisor.double();
        }
        let mut quotient: u64 = 0;
        // 54 bits of which the first may be 0: at least the 53 of a double.
        for _ in 0..54 {
            let fits = rest.cmp(&divisor) != Ordering::Less;
            if fits {
                rest.subtract(&divisor);
            }
            quotient = quotient << 1 | u64::from(fits);
            rest.double();
        }
        let mut exponent = i32::from(one_bits) - i32::from(target_bits) - 53;
        let mut is_exact = rest == Wide::ZERO;
        if quotient >> 53 != 0 {
            is_exact &= quotient & 1 == 0;
            quotient >>= 1;
            exponent += 1;
        }
        if !is_exact {
            quotient += 1;
        }
        // At most 2^53 and a power of two within the range of doubles: nothing is rounded here.
        #[expect(clippy::cast_precision_loss, reason = "2^53 at most")]
        let mantissa = quotient as f64;
        mantissa * 2_f64.powi(exponent)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = Vec::with_capacity(64);
        self.write(&mut digits);
        f.write_str(&String::from_utf8_lossy(&digits))
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Self::read(digits.as_bytes()).ok_or_else(|| de::Error::custom("no target"))
    }
}

/// A number of 320 bits, highest limb first: room for a target and one limb more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wide([u64; 5]);

impl Wide {
    const ZERO: Self = Self([0; 5]);

    fn of(target: Target) -> Self {
        let mut wide = Self::ZERO;
        let (limbs, _) = target.0.as_chunks::<8>();
        for (limb, bytes) in wide.0.iter_mut().skip(1).zip(limbs) {
            *limb = u64::from_be_bytes(*bytes);
        }
        wide
    }

    fn to_target(self) -> Target {
        let mut bytes = [0; 32];
        for (bytes, limb) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0.iter().skip(1)) {
            *bytes = limb.to_be_bytes();
        }
        Target(bytes).max(Target::MIN)
    }

    /// Number of bits, at most 256 where it is used.
    fn bits(&self) -> u16 {
        let zeros: u32 = match self.0.iter().position(|limb| *limb != 0) {
            Some(at) => {
                let limbs = u32::try_from(at).unwrap_or(0);
                64 * limbs + self.0.get(at).map_or(0, |limb| limb.leading_zeros())
            }
            None => 320,
        };
        u16::try_from(320 - zeros).unwrap_or(0)
    }

    fn double(&mut self) {
        self.shift_in(false);
    }

    /// Doubles it and adds a bit.
    fn shift_in(&mut self, bit: bool) {
        let mut carry = u64::from(bit);
        for limb in self.0.iter_mut().rev() {
            let next = *limb >> 63;
            *limb = *limb << 1 | carry;
            carry = next;
        }
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for limb in &mut self.0 {
            let next = *limb << 63;
            *limb = *limb >> 1 | carry;
            carry = next;
        }
    }

    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        for (limb, theirs) in self.0.iter_mut().zip(&other.0).rev() {
            let (less, first) = limb.overflowing_sub(*theirs);
            let (less, second) = less.overflowing_sub(u64::from(borrow));
            *limb = less;
            borrow = first || second;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(digits: &str) -> Target {
        Target::read(digits.as_bytes()).unwrap()
    }

    #[test]
    fn difficulty_one_is_what_nicehash_says() {
        let one = target("00000000ffff0000000000000000000000000000000000000000000000000000");

        assert_eq!(Target::of_difficulty(1.0), one);
        assert_eq!(one.to_difficulty().to_bits(), 1.0_f64.to_bits());
        assert_eq!(
            Target::of_difficulty(2.0).to_string(),
            "000000007fff8000000000000000000000000000000000000000000000000000"
        );
        assert_eq!(
            Target::of_difficulty(0.5).to_string(),
            "00000001fffe0000000000000000000000000000000000000000000000000000"
        );
    }

    #[test]
    fn a_target_without_its_leading_zeros_is_the_same_number() {
        let short = "0x0112e0be826d694b2e62d01511f12a6061fbaec8bc02357593e70e52ba";

        assert_eq!(target(short).to_string(), format!("000000{}", &short[2..]));
    }

    #[test]
    fn what_no_target_can_be_is_answered_with_the_nearest() {
        assert_eq!(Target::of_difficulty(1e-60), Target::MAX);
        assert_eq!(Target::of_difficulty(f64::MIN_POSITIVE / 4.0), Target::MAX);
        assert_eq!(Target::of_difficulty(f64::MAX), Target::MIN);
        assert_eq!(Target::of_difficulty(f64::NAN), Target::MAX);
        assert_eq!(Target::read(b"0x00"), None);
        assert_eq!(Target::read(&[b'f'; 65]), None);
        assert!(Target::MIN.to_difficulty() > 1e66);
        assert!(Target::MAX.to_difficulty() > 0.0);
    }

    proptest! {
        #[test]
        fn no_translation_is_easier_and_none_harder_than_it_must(
            bytes in any::<[u8; 32]>(),
            zeros in 0_usize..24,
        ) {
            let mut bytes = bytes;
            bytes[..zeros].fill(0);
            bytes[31] |= 1;
            let theirs = Target(bytes);

            let difficulty = theirs.to_difficulty();

            prop_assert!(Target::of_difficulty(difficulty) <= theirs);
            let easier = f64::from_bits(difficulty.to_bits() - 1);
            prop_assert!(Target::of_difficulty(easier) >= theirs);
            let printed: f64 = format!("{difficulty}").parse().unwrap();
            prop_assert_eq!(printed.to_bits(), difficulty.to_bits());
        }

        #[test]
        fn a_difficulty_comes_back_not_easier(difficulty in 1e-6_f64..1e15) {
            let target = Target::of_difficulty(difficulty);

            prop_assert!(target.to_difficulty() >= difficulty);
            prop_assert!(target.to_difficulty() <= difficulty * (1.0 + 1e-9));
        }

        #[test]
        fn difficulties_of_whole_powers_are_exact(power in -30_i32..200) {
            let difficulty = 2_f64.powi(power);

            let back = Target::of_difficulty(difficulty).to_difficulty();
            prop_assert_eq!(back.to_bits(), difficulty.to_bits());
        }
    }
}
