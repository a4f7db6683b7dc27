//! Where a frame ends. Helpers for the cutting rules that dialects share.

/// The answer of [`DialectSession::cut`](crate::DialectSession::cut).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The first `n` bytes are a whole frame, terminator included. `1 <= n <= len`.
    Frame(usize),
    /// No whole frame yet. The engine keeps the bytes, up to its line limit, and reads on.
    Partial,
}

impl Cut {
    /// Cuts behind the first line feed.
    pub fn line(bytes: &[u8]) -> Self {
        memchr::memchr(b'\n', bytes).map_or(Self::Partial, |at| Self::Frame(at + 1))
    }

    /// Cuts behind the first whole JSON object or line feed, whichever ends first.
    ///
    /// For miners that write objects without a line feed between them (nanominer). White space in
    /// front of an object belongs to its frame. Bytes that do not start with `{` are cut by line.
    pub fn object_or_line(bytes: &[u8]) -> Self {
        let Some(start) = bytes.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\r')) else {
            return Self::Partial;
        };
        if bytes.get(start) != Some(&b'{') {
            return Self::line(bytes);
        }
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        for (at, &byte) in bytes.iter().enumerate().skip(start) {
            if byte == b'\n' {
                return Self::Frame(at + 1);
            }
            if escaped {
                escaped = false;
                continue;
            }
            match byte {
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'{' if !in_string => depth += 1,
                b'}' if !in_string => {
                    depth -= 1;
                    if depth == 0 {
                        return Self::Frame(at + 1);
                    }
                }
                _ => {}
            }
        }
        Self::Partial
    }
}

#[cfg(test)]
mod tests {
    use super::Cut;

    #[test]
    fn a_line_ends_behind_its_line_feed() {
        assert_eq!(Cut::line(b"ab\ncd"), Cut::Frame(3));
        assert_eq!(Cut::line(b"abcd"), Cut::Partial);
    }

    #[test]
    fn objects_are_cut_without_a_line_feed() {
        assert_eq!(Cut::object_or_line(br#"{"a":{"b":"}"}}{"c":1}"#), Cut::Frame(15));
        assert_eq!(Cut::object_or_line(br#" {"a":"\"}"}"#), Cut::Frame(12));
        assert_eq!(Cut::object_or_line(br#"{"a":"#), Cut::Partial);
    }

    #[test]
    fn a_line_feed_ends_a_broken_object() {
        assert_eq!(Cut::object_or_line(b"{\"a\n{}"), Cut::Frame(4));
        assert_eq!(Cut::object_or_line(b"}\n{}"), Cut::Frame(2));
        assert_eq!(Cut::object_or_line(b"\r\n"), Cut::Frame(2));
    }
}
