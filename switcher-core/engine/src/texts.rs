//! Texts that many sessions have in common, such as the latest job of their pool: written into a
//! state once for all of them.
//!
//! What a dialect saves is a text that the engine does not understand. By convention it is JSON, so
//! long strings in it are found by their quotes. A number between two marks takes the place of each;
//! whatever the text is, it comes back as it was.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Stands before and behind a number. JSON text has no control characters.
const MARK: char = '\u{1f}';

/// Bytes from which on a string is worth a place of its own.
const LONG: usize = 64;

/// Texts by number. Copies share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, usize>,
}

impl Texts {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text with numbers in the place of what others may have, too.
    pub(crate) fn pack(&self, text: &str) -> String {
        let mut packed = String::with_capacity(text.len().min(2 * 1024));
        if text.contains(MARK) {
            self.put(text, &mut packed);
            return packed;
        }
        let mut rest = text;
        // Up to here the rest has only short strings.
        let mut short = 0;
        while let Some(quote) =
            memchr::memchr(b'"', rest.get(short..).unwrap_or_default().as_bytes())
        {
            let begin = short + quote + 1;
            let string = rest.get(begin..).unwrap_or_default();
            let length = end_of_string(string.as_bytes());
            if length >= LONG
                && let Some((front, behind)) = rest.split_at_checked(begin)
                && let Some((string, behind)) = behind.split_at_checked(length)
            {
                packed.push_str(front);
                self.put(string, &mut packed);
                (rest, short) = (behind, 1);
            } else {
                short = begin + length + 1;
            }
        }
        packed.push_str(rest);
        packed
    }

    /// Appends what stands for a text.
    fn put(&self, text: &str, packed: &mut String) {
        let mut known = self.known();
        let number = known.numbers.get(text).copied().unwrap_or_else(|| {
            let (text, number) = (Arc::from(text), known.texts.len());
            known.texts.push(Arc::clone(&text));
            known.numbers.insert(text, number);
            number
        });
        drop(known);
        packed.push(MARK);
        packed.push_str(&number.to_string());
        packed.push(MARK);
    }

    /// The text that was packed. None if one of its numbers is not known.
    pub(crate) fn unpack(&self, packed: &str) -> Option<String> {
        let mut text = String::with_capacity(packed.len() + 4 * 1024);
        for (at, part) in packed.split(MARK).enumerate() {
            if at % 2 == 0 {
                text.push_str(part);
            } else {
                let number: usize = part.parse().ok()?;
                text.push_str(self.known().texts.get(number)?);
            }
        }
        Some(text)
    }
}

/// Length of a JSON string behind its first quote, or of all if it does not end.
fn end_of_string(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..)
        && let Some(found) = memchr::memchr2(b'"', b'\\', rest)
    {
        at += found;
        if bytes.get(at) == Some(&b'"') {
            return at;
        }
        // What is escaped ends nothing.
        at += 2;
    }
    bytes.len()
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.known().texts.iter().map(|text| &**text))
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<Box<str>>::deserialize(deserializer)?.into_iter().map(Arc::from);
        // Numbers are only needed where texts are added.
        let known = Known { texts: texts.collect(), numbers: HashMap::new() };
        Ok(Self(Arc::new(Mutex::new(known))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(first: &str) -> String {
        format!("{first}{}", "\\\"a\\\\".repeat(30))
    }

    #[test]
    fn long_strings_are_kept_once() {
        let texts = Texts::default();
        let state =
            |id| format!(r#"{{"id":{id},"job":"{}","x":"","profile":"{}"}}"#, long("1"), long("2"));

        let packed: Vec<_> = (0..3).map(|id| texts.pack(&state(id))).collect();

        assert_eq!(
            packed[2],
            "{\"id\":2,\"job\":\"\u{1f}0\u{1f}\",\"x\":\"\",\"profile\":\"\u{1f}1\u{1f}\"}"
        );
        let saved = serde_json::to_string(&texts).unwrap();
        let texts: Texts = serde_json::from_str(&saved).unwrap();
        for (id, packed) in packed.iter().enumerate() {
            assert_eq!(texts.unpack(packed), Some(state(id)));
        }
    }

    #[test]
    fn whatever_a_dialect_saves_comes_back() {
        let texts = Texts::default();
        let l = long("\u{e4}");
        for text in [
            "",
            "\"",
            "newer:{\"a\":\"b\"}",
            "\u{1f}",
            "\u{1f}0\u{1f}",
            &l,
            &format!("\"{l}"),
            &format!("\"{l}\\"),
            &format!("{{\"{l}\":\"{l}\"}}"),
            &format!("\"\u{1f}{l}\""),
        ] {
            let packed = texts.pack(text);

            assert_eq!(texts.unpack(&packed).as_deref(), Some(text));
        }
    }

    #[test]
    fn numbers_that_nobody_has_given_are_found_out() {
        for packed in ["\u{1f}0\u{1f}", "\u{1f}\u{1f}", "\u{1f}x", "a\u{1f}-1\u{1f}"] {
            assert_eq!(Texts::default().unpack(packed), None, "{packed:?}");
        }
    }
}
