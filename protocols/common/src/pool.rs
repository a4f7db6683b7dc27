//! What any pool may ask of its client, how pools are told apart, and the ids of requests to them.

use jsonrpc::{text, unsigned, write_error, write_reply, write_string};
use switcher_plugin::{Action, Fault, FaultKind, LegId, Outbox, ReconnectHint, Side};

/// Our own agent, for probes and for miners that name none.
pub const OWN_AGENT: &str = concat!("stratum-switcher/", env!("CARGO_PKG_VERSION"));

/// What the original calls itself towards sserver if the miner names no agent.
pub const ECHO_AGENT: &str = "stratumSwitcher";

/// Requests that go up to sserver with texts for ids, as the original has sent them, by those texts.
/// Here all ids are numbers; the highest ones stand for the texts.
#[derive(Debug, Clone, Copy)]
pub struct TextIds(pub &'static [&'static str]);

impl TextIds {
    /// The number that stands for a text.
    pub fn number(self, text: &str) -> Option<u32> {
        self.numbers().find(|(_, known)| *known == text).map(|(number, _)| number)
    }

    /// The number behind this one: the next, or 0 behind the last that stands for no text.
    pub fn after(self, number: u32) -> u32 {
        let next = number.wrapping_add(1);
        if self.text(next).is_some() { 0 } else { next }
    }

    /// Appends the id of a request.
    pub fn write(self, out: &mut Vec<u8>, number: u32) {
        match self.text(number) {
            Some(text) => write_string(out, text),
            None => out.extend_from_slice(number.to_string().as_bytes()),
        }
    }

    /// Reads the id of an answer. What `read_number` makes of it counts if it stands for no text.
    pub fn read(self, id: &[u8], read_number: impl Fn(&[u8]) -> Option<u32>) -> Option<u32> {
        let text = id.strip_prefix(b"\"").and_then(|id| id.strip_suffix(b"\""));
        let of_text = self.numbers().find(|(_, known)| text == Some(known.as_bytes()));
        let of_text = of_text.map(|(number, _)| number);
        of_text.or_else(|| read_number(id).filter(|number| self.text(*number).is_none()))
    }

    fn text(self, number: u32) -> Option<&'static str> {
        self.numbers().find(|(known, _)| *known == number).map(|(_, text)| text)
    }

    fn numbers(self) -> impl Iterator<Item = (u32, &'static str)> {
        (0..=u32::MAX).rev().zip(self.0.iter().copied())
    }
}

/// What stands for the name of a pool or a job, which may be long (FNV-1a). Two pools with one hash
/// would only be learnt about too often, two jobs be booked with the difficulty of one.
pub fn name_hash(name: impl AsRef<[u8]>) -> u32 {
    let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    name.as_ref().iter().fold(0x811c_9dc5, mix)
}

/// Answers a request with the id `id` that needs no miner. The pool is told that it is `agent`; what
/// is not known is refused and counts as a misdeed.
pub fn answer_request(leg: LegId, method: &str, id: &[u8], agent: &str, out: &mut Outbox) {
    let side = Side::Upstream(leg);
    match method {
        "client.get_version" => {
            let mut version = Vec::new();
            write_string(&mut version, agent);
            out.send_with(side, |arena| write_reply(arena, id, &version, b"null"));
        }
        "mining.ping" => answer_ping(leg, id, out),
        _ => {
            out.send_with(side, |arena| write_error(arena, id, 20, "Not supported"));
            out.push(Action::Disregard(Fault { side, kind: FaultKind::Unexpected }));
        }
    }
}

/// Answers a sign of life that the pool has asked for.
pub fn answer_ping(leg: LegId, id: &[u8], out: &mut Outbox) {
    let side = Side::Upstream(leg);
    out.send_with(side, |arena| write_reply(arena, id, b"\"pong\"", b"null"));
}

/// Where a `client.reconnect` points to, whose parameters are host and port.
pub fn reconnect_hint<'a>(mut params: impl Iterator<Item = &'a [u8]>) -> Option<ReconnectHint> {
    let host = params.next().and_then(host)?;
    let port = u16::try_from(params.next().and_then(unsigned)?).ok()?;
    Some(ReconnectHint { host, port })
}

/// Text of a JSON string span that is a host name.
pub fn host(span: &[u8]) -> Option<Box<str>> {
    text(span).filter(|host| !host.is_empty()).map(Into::into)
}

#[cfg(test)]
mod tests {
    use jsonrpc::elements;

    use super::*;

    #[test]
    fn a_reconnect_points_somewhere_or_nowhere() {
        let hint = |params: &str| {
            let hint = reconnect_hint(elements(params.as_bytes()));
            hint.map(|hint| format!("{}:{}", hint.host, hint.port))
        };

        assert_eq!(hint(r#"["pool.example",3333,5]"#).as_deref(), Some("pool.example:3333"));
        assert_eq!(hint(r#"["pool.example","3333"]"#).as_deref(), Some("pool.example:3333"));
        for params in ["[]", r#"["",3333]"#, r#"["pool.example"]"#, r#"["pool.example",65536]"#] {
            assert_eq!(hint(params), None, "{params}");
        }
    }

    #[test]
    fn ids_are_numbers_here_and_some_are_texts_up_there() {
        let ids = TextIds(&["subscribe", "auth"]);
        let auth = ids.number("auth").unwrap();
        let read = |id: &[u8]| ids.read(id, |id| u32::try_from(unsigned(id)?).ok());
        let mut written = Vec::new();
        for id in [7, auth] {
            ids.write(&mut written, id);
        }

        assert_eq!(written, b"7\"auth\"");
        assert_eq!(read(b"\"auth\""), Some(auth));
        assert_eq!((read(b"7"), read(b"\"7\"")), (Some(7), Some(7)));
        for id in [&b"\"configure\""[..], b"auth", b"\"", b"", auth.to_string().as_bytes()] {
            assert_eq!(read(id), None, "{}", id.escape_ascii());
        }
        assert_eq!((ids.after(7), ids.after(auth - 1), ids.after(auth)), (8, 0, 0));
    }

    #[test]
    fn names_have_short_ones() {
        assert_eq!(name_hash(""), 0x811c_9dc5);
        assert_eq!(name_hash("a"), 0xe40c_292c);
    }
}
