//! The scan of one line into the spans of its members.

use std::borrow::Cow;

use crate::value;

/// Deepest nesting of arrays and objects that is followed. Real lines have at most 4.
pub const MAX_DEPTH: u32 = 64;

/// The members of one JSON-RPC object, as they stand in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Message<'a> {
    /// Span of `id`; to be echoed byte for byte.
    pub id: Option<&'a [u8]>,
    /// Span of `method`, quotes included if it is a string.
    pub method: Option<&'a [u8]>,
    /// Span of `params`.
    pub params: Option<&'a [u8]>,
    /// Span of `result`.
    pub result: Option<&'a [u8]>,
    /// Span of `error`.
    pub error: Option<&'a [u8]>,
    /// What follows the object in the line, white space trimmed; empty in a well-formed line.
    pub garbage: &'a [u8],
}

impl<'a> Message<'a> {
    /// Text of `method`, if it is a string.
    pub fn method_text(&self) -> Option<Cow<'a, str>> {
        value::text(self.method?)
    }

    /// Span of `id`, unless it is missing or `null`.
    pub fn request_id(&self) -> Option<&'a [u8]> {
        self.id.filter(|id| !value::is_null(id))
    }
}

/// Why a line cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScanError {
    /// Nothing but white space.
    Blank,
    /// Nested deeper than [`MAX_DEPTH`].
    Deep,
    /// Something that is not a JSON object.
    NotAnObject,
    /// An object that ends too early or has something in the wrong place.
    Syntax,
}

/// Splits one line into its members.
///
/// Of members that occur twice the last one counts, as with Go, jansson and serde. Names are
/// matched without regard to ASCII case, because the Go original did and firmware relies on
/// whatever once worked.
///
/// # Errors
///
/// The line is not one object that can be split for certain.
pub fn scan(line: &[u8]) -> Result<Message<'_>, ScanError> {
    let mut message = Message::default();
    message.garbage = walk(line, |name, span| {
        if let Some(slot) = slot(&mut message, name) {
            *slot = Some(span);
        }
    })?;
    Ok(message)
}

/// Span of the last member of this name (in lower case), for the few that [`Message`] leaves out.
pub fn member<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    walk(line, |key, span| {
        if key.eq_ignore_ascii_case(name.as_bytes()) {
            found = Some(span);
        }
    })
    .ok()?;
    found
}

fn slot<'m, 'a>(message: &'m mut Message<'a>, name: &[u8]) -> Option<&'m mut Option<&'a [u8]>> {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match name.len() {
        2 if is("id") => Some(&mut message.id),
        5 if is("error") => Some(&mut message.error),
        6 if is("method") => Some(&mut message.method),
        6 if is("params") => Some(&mut message.params),
        6 if is("result") => Some(&mut message.result),
        _ => None,
    }
}

/// Calls `visit` with each name and value of the object at the start of `line` and returns what
/// stands behind it.
pub(crate) fn walk<'a>(
    line: &'a [u8],
    mut visit: impl FnMut(&[u8], &'a [u8]),
) -> Result<&'a [u8], ScanError> {
    let mut at = skip_space(line, 0);
    match line.get(at) {
        None => return Err(ScanError::Blank),
        Some(b'{') => at = skip_space(line, at + 1),
        Some(_) => return Err(ScanError::NotAnObject),
    }
    while line.get(at) != Some(&b'}') {
        let name_end = string_end(line, at).ok_or(ScanError::Syntax)?;
        let name = line.get(at + 1..name_end - 1).ok_or(ScanError::Syntax)?;
        at = skip_space(line, name_end);
        if line.get(at) != Some(&b':') {
            return Err(ScanError::Syntax);
        }
        let start = skip_space(line, at + 1);
        let end = value_end(line, start)?;
        let span = line.get(start..end).ok_or(ScanError::Syntax)?;
        if memchr::memchr(b'\\', name).is_some() {
            let quoted = line.get(name_end - name.len() - 2..name_end).unwrap_or_default();
            visit(value::text(quoted).unwrap_or_default().as_bytes(), span);
        } else {
            visit(name, span);
        }
        at = skip_space(line, end);
        match line.get(at) {
            // A comma before the closing bracket is let pass: firmware that builds lines by
            // concatenation writes it.
            Some(b',') => at = skip_space(line, at + 1),
            Some(b'}') => {}
            _ => return Err(ScanError::Syntax),
        }
    }
    Ok(line.get(at + 1..).unwrap_or_default().trim_ascii())
}

/// First position from `at` on that is not white space.
pub(crate) fn skip_space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count()
}

/// Position behind the string whose opening quote is at `at`.
pub(crate) fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut from = at + 1;
    loop {
        let found = from + memchr::memchr2(b'"', b'\\', bytes.get(from..)?)?;
        if bytes.get(found) == Some(&b'"') {
            return Some(found + 1);
        }
        from = found + 2;
    }
}

/// Position behind the value that starts at `at`.
pub(crate) fn value_end(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    match bytes.get(at) {
        Some(b'"') => string_end(bytes, at).ok_or(ScanError::Syntax),
        Some(b'{' | b'[') => nested_end(bytes, at),
        Some(_) => {
            let rest = bytes.get(at..).unwrap_or_default();
            let len = rest.iter().take_while(|b| is_bare(**b)).count();
            if len == 0 { Err(ScanError::Syntax) } else { Ok(at + len) }
        }
        None => Err(ScanError::Syntax),
    }
}

/// Whether a byte may be part of a number or a literal.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// Position behind the array or object that starts at `at`. Brackets must pair.
fn nested_end(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    // One bit per open bracket, set for `{`.
    let (mut open, mut depth, mut here) = (0_u64, 0_u32, at);
    while let Some(&byte) = bytes.get(here) {
        match byte {
            b'"' => {
                here = string_end(bytes, here).ok_or(ScanError::Syntax)?;
                continue;
            }
            b'{' | b'[' => {
                if depth == MAX_DEPTH {
                    return Err(ScanError::Deep);
                }
                open = open << 1 | u64::from(byte == b'{');
                depth += 1;
            }
            b'}' | b']' => {
                if open & 1 != u64::from(byte == b'}') {
                    return Err(ScanError::Syntax);
                }
                open >>= 1;
                depth -= 1;
                if depth == 0 {
                    return Ok(here + 1);
                }
            }
            _ => {}
        }
        here += 1;
    }
    Err(ScanError::Syntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_in_any_order_and_spacing() {
        let message = scan(br#" { "params" : [ 1, "]}" ] ,"id":"auth" , "Method":"x.y"}"#).unwrap();

        assert_eq!(message.id, Some(&br#""auth""#[..]));
        assert_eq!(message.params, Some(&br#"[ 1, "]}" ]"#[..]));
        assert_eq!(message.method_text().as_deref(), Some("x.y"));
        assert_eq!(message.garbage, b"");
    }

    #[test]
    fn the_last_of_two_equal_members_counts() {
        assert_eq!(scan(br#"{"id":1,"ID":2}"#).unwrap().id, Some(&b"2"[..]));
    }

    #[test]
    fn escaped_names_are_read() {
        assert_eq!(scan(br#"{"\u0069d":7}"#).unwrap().id, Some(&b"7"[..]));
    }

    #[test]
    fn what_follows_the_object_is_reported() {
        assert_eq!(scan(b"{\"id\":1} trailing\r\n").unwrap().garbage, b"trailing");
        assert_eq!(scan(b"{\"id\":1}\r\n").unwrap().garbage, b"");
    }

    #[test]
    fn lines_that_cannot_be_split_are_refused() {
        for (line, error) in [
            (&b" \r\n"[..], ScanError::Blank),
            (b"[1,2]", ScanError::NotAnObject),
            (b"{ id: null }", ScanError::Syntax),
            (br#"{"id":1"#, ScanError::Syntax),
            (br#"{"id":}"#, ScanError::Syntax),
            (br#"{"id":[1}}"#, ScanError::Syntax),
            (br#"{"id" 1}"#, ScanError::Syntax),
            (br#"{"id":1 "method":2}"#, ScanError::Syntax),
            (br#"{"id":"a\"#, ScanError::Syntax),
        ] {
            assert_eq!(scan(line), Err(error), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| {
            format!("{{\"params\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
        };

        assert!(scan(&nested(MAX_DEPTH as usize)).is_ok());
        assert_eq!(scan(&nested(MAX_DEPTH as usize + 1)), Err(ScanError::Deep));
    }

    #[test]
    fn nearly_json_inside_a_value_does_not_spoil_the_rest() {
        // DATUM's answer to a configure that asks for minimum-difficulty alone.
        let message =
            scan(br#"{"error":null,"id":1,"result":{,"minimum-difficulty":false}}"#).unwrap();

        assert_eq!(message.id, Some(&b"1"[..]));
        assert_eq!(message.result, Some(&br#"{,"minimum-difficulty":false}"#[..]));
    }

    #[test]
    fn a_member_of_any_name_can_be_asked_for() {
        let line = br#"{"reject-reason":"Stale","result":false,"error":null,"id":13}"#;

        assert_eq!(member(line, "reject-reason"), Some(&br#""Stale""#[..]));
        assert_eq!(member(line, "worker"), None);
    }
}
