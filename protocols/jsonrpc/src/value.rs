//! Reading single values out of their spans. Every function takes a span as the scan yields it and
//! answers `None` if it holds something else.

use std::borrow::Cow;

use crate::scan::{skip_space, string_end, value_end, walk};

/// The elements of an array span; nothing if it is no array. Stops at the first thing that is not
/// a value.
pub fn elements(span: &[u8]) -> Elements<'_> {
    let is_array = span.first() == Some(&b'[') && span.last() == Some(&b']');
    let inner = if is_array { span.get(1..span.len() - 1) } else { None };
    Elements { rest: inner.unwrap_or_default() }
}

/// Iterator of [`elements`].
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = skip_space(self.rest, 0);
        let end = value_end(self.rest, start).ok()?;
        let element = self.rest.get(start..end)?;
        let after = skip_space(self.rest, end);
        let comma = usize::from(self.rest.get(after) == Some(&b','));
        self.rest = self.rest.get(after + comma..).unwrap_or_default();
        Some(element)
    }
}

/// The names and values of an object span; nothing if it cannot be split.
pub fn members(span: &[u8]) -> Members<'_> {
    let mut found = Vec::new();
    if walk(span, |name, value| found.push((String::from_utf8_lossy(name).into(), value))).is_err()
    {
        found.clear();
    }
    found.into_iter()
}

/// Iterator of [`members`].
pub type Members<'a> = std::vec::IntoIter<(Box<str>, &'a [u8])>;

/// The bytes between the quotes of a string span, if none of them is escaped.
pub fn string(span: &[u8]) -> Option<&[u8]> {
    if string_end(span, 0) != Some(span.len()) {
        return None;
    }
    let inner = span.get(1..span.len() - 1)?;
    memchr::memchr(b'\\', inner).is_none().then_some(inner)
}

/// The text of a string span. Escapes are resolved; bytes that are no UTF-8 become U+FFFD, as in
/// the Go original.
pub fn text(span: &[u8]) -> Option<Cow<'_, str>> {
    if let Some(inner) = string(span) {
        return Some(String::from_utf8_lossy(inner));
    }
    if string_end(span, 0) != Some(span.len()) {
        return None;
    }
    let utf8 = String::from_utf8_lossy(span);
    serde_json::from_str::<String>(&utf8).ok().map(Cow::Owned)
}

/// A finite number, also one that is written as a string (cpuminer-opt's `"0.001"`).
pub fn number(span: &[u8]) -> Option<f64> {
    let digits = string(span).unwrap_or(span);
    let value: f64 = std::str::from_utf8(digits).ok()?.trim().parse().ok()?;
    value.is_finite().then_some(value)
}

/// A whole number from 0 to `u64::MAX`, also one that is written as a string.
pub fn unsigned(span: &[u8]) -> Option<u64> {
    let digits = string(span).unwrap_or(span);
    let is_number = digits.first().is_some_and(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// A whole number of 32 bits with or without a sign, also one without a sign that is a string.
fn signed(span: &[u8]) -> Option<i32> {
    let (sign, digits) = match span.strip_prefix(b"-") {
        Some(digits) => (-1, digits),
        None => (1, span),
    };
    i32::try_from(unsigned(digits)?).ok().map(|number| sign * number)
}

/// Code and text of an error in any of the forms that servers use: `[code, text, …]`, an object with
/// `code` and `message`, or a text alone.
pub fn error_parts(error: &[u8]) -> (Option<i32>, Option<Cow<'_, str>>) {
    match error.first() {
        Some(b'[') => {
            let mut items = elements(error);
            (items.next().and_then(signed), items.next().and_then(text))
        }
        Some(b'{') => {
            let find = |name: &str| members(error).find(|(key, _)| &**key == name);
            let code = find("code").and_then(|(_, span)| signed(span));
            (code, find("message").and_then(|(_, span)| text(span)))
        }
        _ => (None, text(error)),
    }
}

/// Longest id of a request that is taken, in bytes; longer ones are not worth keeping.
const MAX_ID: usize = 128;

/// Whether the id of a request may be kept and echoed: nothing, or JSON that is not too long.
pub fn is_fit_id(id: &[u8]) -> bool {
    id.len() <= MAX_ID && (id.iter().all(u8::is_ascii_digit) || is_json(id))
}

/// Whether a span is `null`.
pub fn is_null(span: &[u8]) -> bool {
    span == b"null"
}

/// Whether a span says yes: anything but `null`, `false`, `0` and the empty string.
pub fn is_truthy(span: &[u8]) -> bool {
    !matches!(span, b"null" | b"false" | b"0" | b"\"\"" | b"")
}

/// Whether a span is JSON to the letter, so that it can be shown to a peer with a strict parser.
pub fn is_json(span: &[u8]) -> bool {
    matches!(span, b"true" | b"null" | b"false")
        || std::str::from_utf8(span)
            .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_split_at_the_outermost_level() {
        let all: Vec<_> = elements(br#"[ "a,b" ,[1,2],{"x":[]}, -1e5,true , ]"#).collect();

        assert_eq!(all, [&br#""a,b""#[..], b"[1,2]", br#"{"x":[]}"#, b"-1e5", b"true"]);
        assert_eq!(elements(b"[]").count(), 0);
        assert_eq!(elements(b"{}").count(), 0);
        assert_eq!(elements(b"[").count(), 0);
        assert_eq!(elements(b"").count(), 0);
    }

    #[test]
    fn strings_are_read_with_and_without_escapes() {
        assert_eq!(string(br#""abc""#), Some(&b"abc"[..]));
        assert_eq!(string(br#""a\u0062""#), None);
        assert_eq!(text(br#""a\u0062""#).as_deref(), Some("ab"));
        assert_eq!(text(b"\"a\xff\"").as_deref(), Some("a\u{fffd}"));
        assert_eq!(text(br#""a" "b""#), None);
        assert_eq!(text(b"12"), None);
        assert_eq!(text(b"\""), None);
    }

    #[test]
    fn numbers_are_read_in_every_form_seen() {
        for (span, value) in
            [(&b"16383.75"[..], 16383.75), (b"1e+06", 1e6), (b"\"0.001\"", 0.001), (b"512", 512.0)]
        {
            assert_eq!(number(span), Some(value));
        }
        for span in [&b"null"[..], b"NaN", b"inf", b"\"x\"", b"[1]", b"1e999"] {
            assert_eq!(number(span), None, "{}", String::from_utf8_lossy(span));
        }
        assert_eq!(unsigned(b"8"), Some(8));
        assert_eq!(unsigned(b"\"3333\""), Some(3333));
        assert_eq!(unsigned(b"-1"), None);
        assert_eq!(unsigned(b"+1"), None);
        assert_eq!(unsigned(b"1.5"), None);
    }

    #[test]
    fn errors_are_read_in_every_form_seen() {
        for (error, code, why) in [
            (r#"[21,"Job not found",null]"#, Some(21), Some("Job not found")),
            (r#"[-1,"Job not found",NULL]"#, Some(-1), Some("Job not found")),
            (r#"["x"]"#, None, None),
            (r#"{"code":22,"message":"duplicate"}"#, Some(22), Some("duplicate")),
            (r#"{"message":"duplicate"}"#, None, Some("duplicate")),
            (r#""Stale""#, None, Some("Stale")),
            ("true", None, None),
            ("", None, None),
        ] {
            assert_eq!(error_parts(error.as_bytes()), (code, why.map(Into::into)), "{error}");
        }
    }

    #[test]
    fn ids_that_are_long_or_no_json_are_not_fit() {
        assert!(is_fit_id(b"") && is_fit_id(b"007") && is_fit_id(br#"["a",1]"#));
        assert!(!is_fit_id(b"NULL") && !is_fit_id(b"\"\xff\""));
        assert!(is_fit_id(&[b'1'; MAX_ID]) && !is_fit_id(&[b'1'; MAX_ID + 1]));
    }

    #[test]
    fn only_strict_json_is_called_json() {
        assert!(is_json(br#"[21,"Job not found",null]"#));
        assert!(!is_json(br#"[-1,"Job not found",NULL]"#));
        assert!(!is_json(br#"{,"minimum-difficulty":false}"#));
        assert!(!is_json(b"\"\xff\""));
    }

    #[test]
    fn an_object_is_listed_or_nothing_of_it() {
        let all: Vec<_> = members(br#"{"a":1,"b":"c"}"#).collect();

        assert_eq!(all, [(Box::from("a"), &b"1"[..]), (Box::from("b"), &br#""c""#[..])]);
        assert_eq!(members(br#"{"a":1,,}"#).count(), 0);
    }
}
