//! What any pool may ask of its client, and how pools are told apart.

use jsonrpc::{text, unsigned, write_error, write_reply, write_string};
use switcher_plugin::{Action, Fault, FaultKind, LegId, Outbox, ReconnectHint, Side};

/// Our own agent, for probes and for miners that name none.
pub const OWN_AGENT: &str = concat!("stratum-switcher/", env!("CARGO_PKG_VERSION"));

/// What the original calls itself towards sserver if the miner names no agent.
pub const ECHO_AGENT: &str = "stratumSwitcher";

/// A short name for a pool's name (FNV-1a). Two pools with one hash would only be learnt about too
/// often.
pub fn name_hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
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
    fn pools_have_short_names() {
        assert_eq!(name_hash(""), 0x811c_9dc5);
        assert_eq!(name_hash("a"), 0xe40c_292c);
    }
}
