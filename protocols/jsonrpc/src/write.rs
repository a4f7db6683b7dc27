//! Writing lines: members in the order that the oldest servers use, no spaces, the line feed in the
//! same piece, so that a line is never two segments.

use std::io::Write;

/// Appends `{"id":…,"result":…,"error":…}` and a line feed. All three are JSON text.
///
/// Both members are always written: early AxeOS refuses an answer without `error`.
pub fn write_reply(out: &mut Vec<u8>, id: &[u8], result: &[u8], error: &[u8]) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"result\":");
    out.extend_from_slice(result);
    out.extend_from_slice(b",\"error\":");
    out.extend_from_slice(error);
    out.extend_from_slice(b"}\n");
}

/// Appends the answer `[code,"text",null]` to the request `id`.
pub fn write_error(out: &mut Vec<u8>, id: &[u8], code: i32, text: &str) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"result\":null,\"error\":[");
    write_display(out, code);
    out.push(b',');
    write_string(out, text);
    out.extend_from_slice(b",null]}\n");
}

/// Appends a request. `id` and `params` are JSON text, `method` is plain text.
pub fn write_request(out: &mut Vec<u8>, id: &[u8], method: &str, params: &[u8]) {
    write_request_start(out, id, method);
    out.extend_from_slice(params);
    out.extend_from_slice(b"}\n");
}

/// Appends a request up to `"params":`; the caller appends the params, `}` and a line feed.
pub fn write_request_start(out: &mut Vec<u8>, id: &[u8], method: &str) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"method\":");
    write_string(out, method);
    out.extend_from_slice(b",\"params\":");
}

/// Appends a notification. `params` is JSON text, `method` is plain text.
pub fn write_notification(out: &mut Vec<u8>, method: &str, params: &[u8]) {
    write_request(out, b"null", method, params);
}

/// Appends a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut plain = 0;
    let bytes = text.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(bytes.get(plain..at).unwrap_or_default());
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            _ => write_display(out, format_args!("\\u{byte:04x}")),
        }
        plain = at + 1;
    }
    out.extend_from_slice(bytes.get(plain..).unwrap_or_default());
    out.push(b'"');
}

fn write_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to a vector does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_have_the_order_of_the_original() {
        assert_eq!(
            written(|out| write_reply(out, b"4", b"true", b"null")),
            "{\"id\":4,\"result\":true,\"error\":null}\n"
        );
        assert_eq!(
            written(|out| write_error(out, b"\"a\"", 21, "Job not found")),
            "{\"id\":\"a\",\"result\":null,\"error\":[21,\"Job not found\",null]}\n"
        );
        assert_eq!(
            written(|out| write_notification(out, "mining.set_difficulty", b"[1]")),
            "{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[1]}\n"
        );
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(written(|out| write_string(out, "a\"\\\n\u{e4}")), "\"a\\\"\\\\\\u000a\u{e4}\"");
    }
}
