//! Actions and bytes as text that a person reads and a file keeps.

use std::fmt::Write as _;

use crate::fault::Fault;
use crate::outbox::{Action, Outbox};
use crate::types::{LegId, Millis, Retry, Side, Verdict};

/// Appends the lines of one action. Times are counted from `start`.
pub(super) fn action(action: &Action, out: &Outbox, start: Millis, lines: &mut Vec<String>) {
    lines.push(match action {
        Action::CannotMove { why } => format!("cannot_move {}", prose(why)),
        Action::Close { why } => format!("close {}", prose(why)),
        Action::Disregard(fault) => format!("disregard {}", blame(*fault)),
        Action::Forward(to) => format!("forward {}", side(*to)),
        Action::Identify { sub_account, worker } => {
            format!("identify {} {}", word(sub_account.as_str()), word(worker.as_str()))
        }
        Action::Job(leg) => format!("job {leg}"),
        Action::Learn { leg, fact } => format!("learn {leg} {}", prose(fact)),
        Action::LegReady(leg, rung) => format!("ready {leg} {}", rung.label()),
        Action::LegRefused { leg, retry, why } => {
            format!("refused {leg} {} {}", retry_label(*retry), prose(why))
        }
        Action::Recall { key } => format!("recall {}", word(key)),
        Action::Remember { key, note } => format!("remember {} {}", word(key), prose(note)),
        Action::ReplaceLeg { leg, why, hint } => match hint {
            Some(hint) => {
                format!("replace {leg} {}:{} {}", word(&hint.host), hint.port, prose(why))
            }
            None => format!("replace {leg} - {}", prose(why)),
        },
        Action::Send(to, range) => return send(*to, out.sent(range), lines),
        Action::Share { leg, verdict, difficulty } => {
            let leg = leg.map_or_else(|| "-".to_owned(), |leg: LegId| leg.to_string());
            format!("share {leg} {} {difficulty}", verdict_label(*verdict))
        }
        Action::Submitted(leg) => format!("submitted {leg}"),
        Action::WakeAt(when) => format!("wake_at {}", when.since(start)),
    });
}

/// A fault that ended its side.
pub(super) fn fault(fault: Fault) -> String {
    format!("fault {}", blame(fault))
}

/// The name of a side in scripts.
pub(super) fn side(side: Side) -> String {
    match side {
        Side::Downstream => "miner".to_owned(),
        Side::Upstream(leg) => leg.to_string(),
    }
}

/// One line per line sent. What is not plain text, or has no line feed, is shown escaped.
fn send(to: Side, bytes: &[u8], lines: &mut Vec<String>) {
    let to = side(to);
    if bytes.is_empty() {
        lines.push(format!("send~ {to}"));
    }
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        match piece.strip_suffix(b"\n").and_then(plain) {
            Some(text) => lines.push(format!("send {to} {text}").trim_end().to_owned()),
            None => lines.push(format!("send~ {to} {}", escape(piece))),
        }
    }
}

/// The text, if it can stand in a file as it is.
fn plain(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_safe = text.trim() == text && !text.chars().any(char::is_control);
    is_safe.then_some(text)
}

/// Bytes as text without control characters; the reverse of [`unescape`].
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b'\\' => text.push_str("\\\\"),
            b'!'..=b'~' => text.push(char::from(byte)),
            // A space at an end would be lost in a file.
            b' ' if !text.is_empty() => text.push(' '),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    if text.ends_with(' ') {
        text.pop();
        text.push_str("\\x20");
    }
    text
}

/// The bytes that `text` stands for, with `\n \r \t \\ \xNN`.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).map_err(|_| format!("`\\x{digits}` is no byte"))?
            }
            _ => return Err("after a backslash comes n, r, t, x or a backslash".to_owned()),
        });
    }
    Ok(bytes)
}

fn blame(fault: Fault) -> String {
    format!("{} {}", side(fault.side), fault.kind.label())
}

/// A name as one word.
fn word(text: &str) -> String {
    let is_word =
        !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"');
    if is_word { text.to_owned() } else { format!("{text:?}") }
}

/// A sentence at the end of a line.
fn prose(text: &str) -> String {
    match plain(text.as_bytes()) {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => format!("{text:?}"),
    }
}

fn retry_label(retry: Retry) -> &'static str {
    match retry {
        Retry::Later => "later",
        Retry::Login => "login",
        Retry::NextForm => "next_form",
        Retry::Permanent => "permanent",
        Retry::User => "user",
    }
}

fn verdict_label(verdict: Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Orphan => "orphan".to_owned(),
        Verdict::Poolless => "poolless".to_owned(),
        Verdict::Reject(code) => format!("reject:{code}"),
        Verdict::Unanswered => "unanswered".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_is_reversible_for_every_byte() {
        let all: Vec<u8> = (0..=255).chain(*b"  a b ").collect();

        assert_eq!(unescape(&escape(&all)).unwrap(), all);
        assert_eq!(escape(b" a b "), "\\x20a b\\x20");
    }

    #[test]
    fn half_an_escape_is_an_error() {
        assert!(unescape("a\\").is_err());
        assert!(unescape("\\xg0").is_err());
    }

    #[test]
    fn sends_are_shown_line_by_line() {
        let mut out = Outbox::new();
        out.send(Side::Downstream, b"{\"a\":1}\n\xff\nrest");
        let mut lines = Vec::new();

        action(&out.actions()[0], &out, Millis(0), &mut lines);

        assert_eq!(lines, ["send miner {\"a\":1}", "send~ miner \\xff\\n", "send~ miner rest"]);
    }
}
