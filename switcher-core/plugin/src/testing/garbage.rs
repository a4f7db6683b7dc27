//! Made-up bytes: a seeded generator and what a hostile or broken peer may send.

use std::fmt::Write as _;

use serde_json::Value;

/// Sebastiano Vigna's `SplitMix64`: tiny, and the same everywhere for the same seed.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.next_u64().checked_rem(bound).unwrap_or(0)).unwrap_or(0)
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.next_u64().to_le_bytes()[0]
    }
}

/// Depth of nested frames. One level is one byte or five, so the frame stays below a line limit.
const DEPTH: usize = 20_000;

const ODD_BYTES: [&[u8]; 8] =
    [b"\n", b"\r\n", b"\0\n", b"\xff\xfe\n", b"\xc0\x80\n", b"{}\n", b"[]\n", b"{\"id\":null}\n"];

const ODD_NUMBERS: [&str; 9] = [
    "-1",
    "-0.0",
    "1e400",
    "1e-400",
    "18446744073709551616",
    "-9223372036854775809",
    "1.7976931348623157e308",
    "NaN",
    "99999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999",
];

/// A frame that no honest peer sends; often a well-meant one (from `frames`) gone wrong.
pub(super) fn garbage(rng: &mut SplitMix64, frames: &[&[u8]]) -> Vec<u8> {
    let model = rng.pick(frames).map(|frame| frame.to_vec()).unwrap_or_default();
    match rng.below(12) {
        0 => (0..rng.below(200)).map(|_| rng.byte()).chain(*b"\n").collect(),
        1 => rng.pick(&ODD_BYTES).map(|bytes| bytes.to_vec()).unwrap_or_default(),
        2 => nested(rng, &model),
        3 => odd_number(rng, &model),
        4 => invalid_text(rng, model),
        5 => truncated(rng, model),
        6 => spliced(rng, &model, frames),
        7 => overlong(rng, &model),
        8 => flipped(rng, model),
        _ => reshaped(rng, &model),
    }
}

fn nested(rng: &mut SplitMix64, model: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    if let Some(at) = model.iter().position(|byte| *byte == b'[') {
        frame.extend_from_slice(model.get(..at).unwrap_or_default());
    }
    let level: &[u8] = if rng.below(2) == 0 { b"[" } else { b"{\"a\":" };
    let closing: &[u8] = if level.len() == 1 { b"]" } else { b"}" };
    let depth = DEPTH / level.len();
    frame.extend(level.repeat(depth));
    if rng.below(2) == 0 {
        frame.extend_from_slice(b"1");
        frame.extend(closing.repeat(depth));
        frame.extend_from_slice(b"}");
    }
    frame.push(b'\n');
    frame
}

/// Replaces one run of digits.
fn odd_number(rng: &mut SplitMix64, model: &[u8]) -> Vec<u8> {
    let starts: Vec<usize> = (0..model.len())
        .filter(|at| {
            let is_digit = |at: usize| model.get(at).is_some_and(u8::is_ascii_digit);
            is_digit(*at) && !at.checked_sub(1).is_some_and(is_digit)
        })
        .collect();
    let Some(&start) = rng.pick(&starts) else { return model.to_vec() };
    let (before, rest) = model.split_at(start);
    let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let number = rng.pick(&ODD_NUMBERS).copied().unwrap_or_default();
    [before, number.as_bytes(), rest.get(end..).unwrap_or_default()].concat()
}

fn invalid_text(rng: &mut SplitMix64, mut model: Vec<u8>) -> Vec<u8> {
    let bad: [&[u8]; 5] = [b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\\ud800", b"\\u0000"];
    let at = rng.below(model.len());
    let bytes = rng.pick(&bad).copied().unwrap_or_default();
    model.splice(at..at, bytes.iter().copied());
    model
}

fn truncated(rng: &mut SplitMix64, mut model: Vec<u8>) -> Vec<u8> {
    model.truncate(rng.below(model.len()));
    // Half of them end like a frame, the rest runs into whatever follows.
    if rng.below(2) == 0 {
        model.push(b'\n');
    }
    model
}

fn spliced(rng: &mut SplitMix64, model: &[u8], frames: &[&[u8]]) -> Vec<u8> {
    let other = rng.pick(frames).copied().unwrap_or_default();
    let head = model.get(..rng.below(model.len())).unwrap_or_default();
    let tail = other.get(rng.below(other.len())..).unwrap_or_default();
    [head, tail].concat()
}

fn overlong(rng: &mut SplitMix64, model: &[u8]) -> Vec<u8> {
    let at = rng.below(model.len());
    let (head, tail) = model.split_at(at);
    let filler = [b"a", b"0", b" ", b"\""].get(rng.below(4)).copied().unwrap_or(b"a");
    [head, &filler.repeat(10_000 + rng.below(50_000)), tail].concat()
}

fn flipped(rng: &mut SplitMix64, mut model: Vec<u8>) -> Vec<u8> {
    for _ in 0..=rng.below(4) {
        let at = rng.below(model.len());
        if let Some(byte) = model.get_mut(at) {
            *byte ^= 1 << rng.below(8);
        }
    }
    model
}

/// Well-formed JSON with one value of it missing or of another kind or size.
fn reshaped(rng: &mut SplitMix64, model: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(model) else {
        return flipped(rng, model.to_vec());
    };
    let mut countdown = rng.below(nodes(&value));
    let odd = odd_value(rng);
    reshape(&mut value, &mut countdown, rng, odd);
    let mut frame = value.to_string().into_bytes();
    frame.push(b'\n');
    frame
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(fields) => fields.values().map(nodes).sum(),
        _ => 0_usize,
    }
}

/// Replaces, removes or repeats the node at which `countdown` reaches 0. True when done.
fn reshape(value: &mut Value, countdown: &mut usize, rng: &mut SplitMix64, odd: Value) -> bool {
    if *countdown == 0 {
        match value {
            Value::Array(items) if rng.below(3) == 0 => {
                items.pop();
            }
            Value::Array(items) if rng.below(3) == 0 => {
                let copy = items.clone();
                items.extend(copy);
            }
            Value::Object(fields) if rng.below(3) == 0 => {
                let key = fields.keys().nth(rng.below(fields.len())).cloned();
                key.map(|key| fields.remove(&key));
            }
            _ => *value = odd,
        }
        return true;
    }
    *countdown -= 1;
    match value {
        Value::Array(items) => {
            items.iter_mut().any(|item| reshape(item, countdown, rng, odd.clone()))
        }
        Value::Object(fields) => {
            fields.values_mut().any(|item| reshape(item, countdown, rng, odd.clone()))
        }
        _ => false,
    }
}

fn odd_value(rng: &mut SplitMix64) -> Value {
    match rng.below(12) {
        0 => Value::Null,
        1 => Value::Bool(rng.below(2) == 0),
        2 => Value::from(0),
        3 => Value::from(-1),
        4 => Value::from(u64::MAX),
        5 => Value::from(1e300),
        6 => Value::from(""),
        7 => Value::from("\u{0}\u{10ffff}é\"\\\n"),
        8 => Value::from("f".repeat(1 + rng.below(3000))),
        9 => Value::Array(vec![]),
        10 => Value::Array(vec![Value::Null; 500]),
        _ => Value::Object(serde_json::Map::new()),
    }
}

/// The frame with its `id`, its hexadecimal strings and the last part of its dotted names (workers)
/// changed by `counter`, so that a flood is not one frame repeated. Hexadecimal strings keep their
/// length unless they are too short to count in.
pub(super) fn vary(frame: &[u8], counter: u32) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(frame) else { return frame.to_vec() };
    vary_value(&mut value, counter);
    let mut frame = value.to_string().into_bytes();
    frame.push(b'\n');
    frame
}

fn vary_value(value: &mut Value, counter: u32) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| vary_value(item, counter)),
        Value::Object(fields) => {
            for (key, field) in fields {
                match key.as_str() {
                    // Another method would be another frame.
                    "method" => {}
                    "id" if !field.is_null() => *field = Value::from(counter),
                    _ => vary_value(field, counter),
                }
            }
        }
        Value::String(text) if text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            if let Some(keep) = text.len().checked_sub(6) {
                text.truncate(keep);
                let _ = write!(text, "{:06x}", counter & 0x00ff_ffff);
            } else if !text.is_empty() {
                *text = format!("{counter:x}");
            }
        }
        Value::String(text) => {
            if let Some(dot) = text.rfind('.') {
                text.truncate(dot);
                let _ = write!(text, ".{counter}");
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_garbage() {
        let frames: [&[u8]; 2] = [b"{\"id\":1,\"params\":[\"ab\",2]}\n", b"{\"id\":2}\n"];
        let make = |seed| {
            let mut rng = SplitMix64::new(seed);
            (0..50).map(|_| garbage(&mut rng, &frames)).collect::<Vec<_>>()
        };

        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
    }

    #[test]
    fn the_generator_is_the_published_one() {
        let mut rng = SplitMix64::new(1_234_567);

        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn garbage_is_made_without_any_model() {
        let mut rng = SplitMix64::new(1);

        for _ in 0..500 {
            garbage(&mut rng, &[]);
            garbage(&mut rng, &[b""]);
        }
    }

    #[test]
    fn varied_frames_differ_and_keep_lengths_that_matter() {
        let frame = br#"{"id":4,"method":"m","params":["7","00000000","alice.rig"]}"#;

        let text = String::from_utf8(vary(frame, 0x1234)).unwrap();

        assert_eq!(
            text,
            "{\"id\":4660,\"method\":\"m\",\"params\":[\"1234\",\"00001234\",\"alice.4660\"]}\n"
        );
        assert_ne!(vary(frame, 1), vary(frame, 2));
        assert_eq!(vary(b"no json\n", 1), b"no json\n");
    }
}
