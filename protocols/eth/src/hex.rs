//! Hex digits as these dialects write them: with or without `0x`, now and then without their
//! leading zeros.

/// Reads at most `2 * N` hex digits, with or without `0x`, as a number, highest byte first.
pub(crate) fn read_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digits = strip_0x(digits);
    if digits.is_empty() || digits.len() > 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (digit, place) in digits.iter().rev().zip(0..) {
        let value = u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
        *bytes.get_mut(N - 1 - place / 2)? |= value << (4 * (place % 2));
    }
    Some(bytes)
}

/// The digits without their `0x`.
pub(crate) fn strip_0x(digits: &[u8]) -> &[u8] {
    digits.strip_prefix(b"0x").or_else(|| digits.strip_prefix(b"0X")).unwrap_or(digits)
}

/// Appends two lower-case digits for each byte.
pub(crate) fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
    for byte in bytes {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// The bytes as hex text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut digits = Vec::with_capacity(2 * bytes.len());
    write_hex(&mut digits, bytes);
    String::from_utf8(digits).unwrap_or_default()
}

/// Hashes as digits in saved state.
pub(crate) mod serde32 {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(hash: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::hex(hash))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let digits = <std::borrow::Cow<'_, str>>::deserialize(from)?;
        super::read_hex(digits.as_bytes()).ok_or_else(|| de::Error::custom("no hash"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_from_the_right() {
        assert_eq!(read_hex::<4>(b"0x01ff"), Some([0, 0, 1, 0xff]));
        assert_eq!(read_hex::<4>(b"abc"), Some([0, 0, 0x0a, 0xbc]));
        assert_eq!(read_hex::<4>(b"01020304"), Some([1, 2, 3, 4]));
        for wrong in [&b""[..], b"0x", b"0102030405", b"0g", b"-1"] {
            assert_eq!(read_hex::<4>(wrong), None);
        }
        assert_eq!(hex(&[0, 0x1f, 0xa0]), "001fa0");
    }
}
