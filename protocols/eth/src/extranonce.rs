//! The head of a nonce that a pool fixes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::hex::{hex, read_hex};

/// Longest that is taken; EIP-1571 allows no more.
const MOST: usize = 6;

/// The first bytes of every nonce of one miner, 0 to 6 of them.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extranonce {
    len: u8,
    /// The first `len` count, the others are zero.
    bytes: [u8; 8],
}

impl Extranonce {
    /// Reads whole bytes of hex, at most six.
    pub(crate) fn read(digits: &[u8]) -> Option<Self> {
        let len = digits.len() / 2;
        if !digits.len().is_multiple_of(2) || len > MOST {
            return None;
        }
        if len == 0 {
            return Some(Self::default());
        }
        let all: [u8; 8] = read_hex(digits).filter(|_| !digits.starts_with(b"0x"))?;
        let bytes = (u64::from_be_bytes(all) << (64 - 8 * len)).to_be_bytes();
        Some(Self { len: u8::try_from(len).ok()?, bytes })
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether the miner is free to choose the whole nonce.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }

    /// Whether every nonce with this head has that one, too.
    pub(crate) fn starts_with(&self, other: &Self) -> bool {
        self.bytes().starts_with(other.bytes())
    }

    /// Whether a nonce has this head.
    pub(crate) fn heads(&self, nonce: u64) -> bool {
        nonce.to_be_bytes().starts_with(self.bytes())
    }

    /// The whole nonce, given the digits that a miner sends: those behind the head, or all 16.
    pub(crate) fn complete(&self, digits: &[u8]) -> Option<u64> {
        let value = u64::from_be_bytes(read_hex(digits)?);
        match crate::hex::strip_0x(digits).len() {
            16 => Some(value),
            rest if rest == 16 - 2 * self.len() => Some(u64::from_be_bytes(self.bytes) | value),
            _ => None,
        }
    }

    /// The digits of a nonce behind this head.
    pub(crate) fn rest(&self, nonce: u64) -> String {
        hex(nonce.to_be_bytes().get(self.len()..).unwrap_or_default())
    }
}

impl fmt::Display for Extranonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.bytes()))
    }
}

impl fmt::Debug for Extranonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Extranonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Extranonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Self::read(digits.as_bytes()).ok_or_else(|| de::Error::custom("no extranonce"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_nicehash_s_specification_is_put_together() {
        let extranonce = Extranonce::read(b"a2eea0").unwrap();

        assert_eq!(extranonce.complete(b"cfae7df760"), Some(0xa2ee_a0cf_ae7d_f760));
        assert_eq!(extranonce.complete(b"a2eea0cfae7df760"), Some(0xa2ee_a0cf_ae7d_f760));
        assert_eq!(extranonce.complete(b"cfae7df7"), None);
        assert_eq!(extranonce.rest(0xa2ee_a0cf_ae7d_f760), "cfae7df760");
        assert!(extranonce.heads(0xa2ee_a0cf_ae7d_f760) && !extranonce.heads(1));
    }

    #[test]
    fn heads_are_compared_by_their_bytes() {
        let read = |digits: &str| Extranonce::read(digits.as_bytes()).unwrap();

        assert!(read("0100").starts_with(&read("01")));
        assert!(read("0100").starts_with(&read("")));
        assert!(!read("01").starts_with(&read("0100")));
        assert_eq!(read("0100").to_string(), "0100");
        for wrong in [&b"1"[..], b"01020304050607", b"0g", b"0x01"] {
            assert_eq!(Extranonce::read(wrong), None);
        }
    }
}
