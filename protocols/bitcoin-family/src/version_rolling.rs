//! `mining.configure` (BIP 310) on both sides, and the masks of version rolling.

use jsonrpc::{elements, is_truthy, members, text, write_string};
use serde::{Deserialize, Serialize};

/// The bits nearly every pool allows to roll.
pub(crate) const DEFAULT_MASK: u32 = 0x1fff_e000;

/// The masks of one miner that has asked for version rolling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Masks {
    /// What the miner asked for.
    pub(crate) asked: u32,
    /// What it was told at first: the most it will ever have.
    pub(crate) told: u32,
    /// What is in force.
    pub(crate) current: u32,
}

/// What a miner's `mining.configure` wants.
#[derive(Debug, Default)]
pub(crate) struct Configure {
    /// The mask it asks for, if it asks for version rolling in a way that can be read.
    pub(crate) mask: Option<u32>,
    /// It may be told another extranonce in mid-session.
    pub(crate) extranonce_subscribe: bool,
    extensions: Vec<String>,
}

impl Configure {
    /// Reads the parameters: a list of extensions and an object of options.
    pub(crate) fn read(params: &[u8]) -> Option<Self> {
        let mut parts = elements(params);
        let list = parts.next().filter(|list| list.first() == Some(&b'['))?;
        let mut configure = Self::default();
        for extension in elements(list).filter_map(text) {
            if !configure.extensions.iter().any(|known| **known == *extension) {
                configure.extensions.push(extension.into_owned());
            }
        }
        let asks = |name: &str| configure.extensions.iter().any(|known| known == name);
        let options = parts.next().unwrap_or_default();
        let mask = members(options).find(|(name, _)| &**name == "version-rolling.mask");
        let mask = match mask {
            Some((_, span)) => text(span).and_then(|text| parse_mask(&text)),
            // BIP 310: all bits, if the option is left out.
            None => Some(u32::MAX),
        };
        configure.mask = mask.filter(|_| asks("version-rolling"));
        configure.extranonce_subscribe = asks("subscribe-extranonce");
        Some(configure)
    }

    /// Appends the result: a value for every extension asked for, as BIP 310 demands.
    /// `told_extranonce`: the miner may be told another extranonce.
    pub(crate) fn write_result(&self, mask: u32, told_extranonce: bool, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, extension) in self.extensions.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_string(out, extension);
            match extension.as_str() {
                "version-rolling" if mask != 0 => {
                    out.extend_from_slice(b":true,\"version-rolling.mask\":");
                    write_mask(out, mask);
                }
                "subscribe-extranonce" if told_extranonce => out.extend_from_slice(b":true"),
                "info" => out.extend_from_slice(b":true"),
                _ => out.extend_from_slice(b":false"),
            }
        }
        out.push(b'}');
    }
}

/// The mask in a pool's answer to `mining.configure`; 0 if it does not allow rolling.
pub(crate) fn granted_mask(result: &[u8]) -> u32 {
    let (mut allowed, mut mask) = (false, 0);
    for (name, value) in members(result) {
        match &*name {
            // BIP 310 allows a text here, which says what went wrong.
            "version-rolling" => allowed = is_truthy(value) && value.first() != Some(&b'"'),
            "version-rolling.mask" => {
                mask = text(value).and_then(|text| parse_mask(&text)).unwrap_or(0);
            }
            _ => {}
        }
    }
    if allowed { mask } else { 0 }
}

/// The mask in the parameters of `mining.set_version_mask`.
pub(crate) fn pushed_mask(params: &[u8]) -> Option<u32> {
    parse_mask(&text(elements(params).next()?)?)
}

/// Reads a mask: up to 8 hex digits, with or without `0x`.
pub(crate) fn parse_mask(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex && digits.len() <= 8).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// Appends a mask as a JSON string.
pub(crate) fn write_mask(out: &mut Vec<u8>, mask: u32) {
    write_string(out, &format!("{mask:08x}"));
}

/// A mask as hex digits, for facts.
pub(crate) mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes fields by reference")]
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
    pub(crate) fn serialize<S: Serializer>(
        mask: &Option<u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match mask {
            Some(mask) => serializer.serialize_str(&format!("{mask:08x}")),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u32>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.and_then(|text| super::parse_mask(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(params: &str, listener: u32) -> String {
        let configure = Configure::read(params.as_bytes()).unwrap();
        let mut out = Vec::new();
        configure.write_result(configure.mask.unwrap_or(0) & listener, true, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_extension_gets_a_value() {
        assert_eq!(
            result(
                r#"[["version-rolling","minimum-difficulty","subscribe-extranonce","info","lmr"],
                    {"version-rolling.mask":"ffffffff"}]"#,
                DEFAULT_MASK
            ),
            r#"{"version-rolling":true,"version-rolling.mask":"1fffe000","minimum-difficulty":false,"subscribe-extranonce":true,"info":true,"lmr":false}"#
        );
    }

    #[test]
    fn a_mask_is_all_bits_if_left_out_and_nothing_if_it_cannot_be_read() {
        assert_eq!(
            result(r#"[["version-rolling"],{"version-rolling.min-bit-count":2}]"#, DEFAULT_MASK),
            r#"{"version-rolling":true,"version-rolling.mask":"1fffe000"}"#
        );
        assert_eq!(
            result(r#"[["version-rolling"],{"version-rolling.mask":42}]"#, DEFAULT_MASK),
            r#"{"version-rolling":false}"#
        );
        assert_eq!(
            result(r#"[["version-rolling","version-rolling"]]"#, 0),
            r#"{"version-rolling":false}"#
        );
    }

    #[test]
    fn what_is_no_configure_is_refused() {
        for params in ["42", "[]", r#"[{"version-rolling":true}]"#, "{}"] {
            assert!(Configure::read(params.as_bytes()).is_none(), "{params}");
        }
    }

    #[test]
    fn pools_grant_a_mask_or_none() {
        for (result, mask) in [
            (r#"{"version-rolling":true,"version-rolling.mask":"18000000"}"#, 0x1800_0000),
            (r#"{"version-rolling":false,"version-rolling.mask":"18000000"}"#, 0),
            (r#"{"version-rolling":"no such bits"}"#, 0),
            (r#"{,"minimum-difficulty":false}"#, 0),
            ("false", 0),
            ("null", 0),
        ] {
            assert_eq!(granted_mask(result.as_bytes()), mask, "{result}");
        }
        assert_eq!(pushed_mask(br#"["00003000"]"#), Some(0x3000));
        assert_eq!(pushed_mask(br#"["xyz"]"#), None);
    }
}
