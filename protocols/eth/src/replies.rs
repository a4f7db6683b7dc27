//! Answers to the miner, in the form of its variant: JSON-RPC 2.0 for `ETHProxy`, Stratum's own with
//! three members, and the sparse one of EIP-1571.

use jsonrpc::{
    Message, error_parts, is_json, is_null, is_truthy, member, write_reply, write_string,
};
use stratum_common::miner;
use switcher_plugin::{Fault, Outbox};

use crate::dialect::INDEX_BITS;
use crate::login::Login;
use crate::session::EthSession;
use crate::variant::Variant;

/// An error of ours or of a pool, apart from any form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: i32,
    pub(crate) why: String,
}

/// Whether an answer is a yes: a result that says so, and no error. EIP-1571 leaves both out.
pub(crate) fn is_positive(message: &Message<'_>, variant: Variant) -> bool {
    let unspoken = variant == Variant::Stratum2;
    message.error.is_none_or(is_null) && message.result.map_or(unspoken, is_truthy)
}

impl Refused {
    /// What can be read of a pool's refusal, in any of the forms that pools use.
    pub(crate) fn of(line: &[u8], message: &Message<'_>) -> Self {
        // sserver tells the reasons of its ETHProxy refusals in `data`.
        let error = message.error.filter(|error| !is_null(error)).or(member(line, "data"));
        let Some(error) = error else { return Self { code: 0, why: "Rejected".to_owned() } };
        let (code, why) = error_parts(error);
        let why = why.map_or_else(|| "Rejected".to_owned(), std::borrow::Cow::into_owned);
        Self { code: code.unwrap_or(0), why }
    }
}

/// Appends the beginning of an answer that has only the members it needs.
fn begin(out: &mut Vec<u8>, variant: Variant, id: &[u8]) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id);
    if variant.is_jsonrpc() {
        out.extend_from_slice(b",\"jsonrpc\":\"2.0\"");
    }
}

/// Appends a further member, whose value is JSON.
fn add(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
}

fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}\n");
}

/// Appends the answer `result`.
pub(crate) fn write_result(out: &mut Vec<u8>, variant: Option<Variant>, id: &[u8], result: &[u8]) {
    let Some(variant @ (Variant::EthProxy | Variant::Stratum2)) = variant else {
        return write_reply(out, id, result, b"null");
    };
    begin(out, variant, id);
    add(out, "result", result);
    end(out);
}

/// Appends an error. `result` is what stands beside it where both members are written; `server` the
/// number of the switcher, which the original adds to errors of its own.
pub(crate) fn write_refused(
    out: &mut Vec<u8>,
    variant: Option<Variant>,
    id: &[u8],
    result: &[u8],
    refused: &Refused,
    server: Option<u32>,
) {
    let mut error = Vec::with_capacity(64);
    let Some(variant @ (Variant::EthProxy | Variant::Stratum2)) = variant else {
        error.extend_from_slice(format!("[{},", refused.code).as_bytes());
        write_string(&mut error, &refused.why);
        let server = server.map_or_else(|| "null".to_owned(), |server| server.to_string());
        error.extend_from_slice(format!(",{server}]").as_bytes());
        return write_reply(out, id, result, &error);
    };
    error.extend_from_slice(format!("{{\"code\":{},\"message\":", refused.code).as_bytes());
    write_string(&mut error, &refused.why);
    if let Some(server) = server {
        error.extend_from_slice(format!(",\"data\":{server}").as_bytes());
    }
    error.push(b'}');
    begin(out, variant, id);
    if variant.is_jsonrpc() {
        add(out, "result", result);
    }
    add(out, "error", &error);
    end(out);
}

/// Appends a pool's answer under the miner's id. Between peers of one form the pool's own words go
/// through; else what they mean.
pub(crate) fn write_answer(
    out: &mut Vec<u8>,
    miner: Variant,
    pool: Variant,
    id: &[u8],
    line: &[u8],
    message: &Message<'_>,
) {
    let is_same = miner.is_jsonrpc() == pool.is_jsonrpc()
        && (miner == Variant::Stratum2) == (pool == Variant::Stratum2);
    let result = message.result.filter(|result| is_json(result));
    let error = message.error.filter(|error| !is_null(error));
    let is_readable = error.is_none_or(is_json);
    if !is_same || !is_readable {
        return if is_positive(message, pool) {
            write_result(out, Some(miner), id, b"true");
        } else {
            write_refused(out, Some(miner), id, b"false", &Refused::of(line, message), None);
        };
    }
    begin(out, miner, id);
    if let Some(result) = result.or((miner != Variant::Stratum2).then_some(b"null")) {
        add(out, "result", result);
    }
    let is_v1 = !miner.is_jsonrpc() && miner != Variant::Stratum2;
    if let Some(error) = error.or(is_v1.then_some(b"null")) {
        add(out, "error", error);
    }
    for name in ["data", "message"] {
        // What sserver adds to a refusal, and to a share that is stale and counts.
        if let Some(value) = member(line, name).filter(|value| is_json(value)) {
            add(out, name, value);
        }
    }
    end(out);
}

impl EthSession {
    /// Sends an answer to the miner, in its turn.
    pub(crate) fn reply(
        &mut self,
        id: &[u8],
        out: &mut Outbox,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Fault> {
        let waits = matches!(self.state.login, Login::Held(_));
        miner::reply(id, waits.then_some(&mut self.state.held), out, write)
    }

    /// Sends the answer `result` to the miner.
    pub(crate) fn grant(
        &mut self,
        id: &[u8],
        result: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let variant = self.state.variant;
        self.reply(id, out, |arena| write_result(arena, variant, id, result))
    }

    /// Sends an error to the miner.
    pub(crate) fn deny(
        &mut self,
        id: &[u8],
        code: i32,
        why: &str,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        self.deny_with(id, b"null", code, why, out)
    }

    /// Sends an error to the miner, with a result beside it where there is one.
    pub(crate) fn deny_with(
        &mut self,
        id: &[u8],
        result: &[u8],
        code: i32,
        why: &str,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let variant = self.state.variant;
        let server = self.server_in(code);
        let refused = Refused { code, why: why.to_owned() };
        self.reply(id, out, |arena| write_refused(arena, variant, id, result, &refused, server))
    }

    /// The number of the switcher, for errors that the original sends.
    pub(crate) fn server_in(&self, code: i32) -> Option<u32> {
        let server = (self.state.short_id & 0x00ff_ffff) >> INDEX_BITS;
        (matches!(code, 101..=105 | 201 | 301 | 302) && server > 0).then_some(server)
    }
}
