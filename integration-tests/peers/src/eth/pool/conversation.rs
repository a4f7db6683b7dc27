//! What a pool makes of each line: the handshakes of the four variants, and the judge of shares.

use std::sync::Arc;

use serde_json::{Value, json};

use super::state::{Connection, Issued, State};
use crate::eth::config::{Extranonce, Stranger, Variant};
use crate::lines::values_on;
use crate::pool::Refusal;

/// Takes one line of one connection.
pub(super) fn hear(state: &mut State, number: usize, line: &str) {
    let Some(connection) = state.connections.get_mut(number) else { return };
    connection.lines.push(format!("< {line}"));
    let values = values_on(line);
    if values.len() != 1 {
        connection.report.violations.push(format!("not one value on the line: {line}"));
    }
    for value in values {
        match value {
            Ok(request) => Talk { state, number, line, request: &request }.take(),
            Err(error) => {
                let what = format!("not JSON ({error}): {line}");
                if let Some(connection) = state.connections.get_mut(number) {
                    connection.report.violations.push(what);
                }
            }
        }
    }
}

/// Why a share is refused.
struct Refused {
    code: i64,
    reason: String,
    /// No honest miner sends it, whatever happened before.
    is_violation: bool,
}

fn refused(code: i64, reason: &str) -> Refused {
    Refused { code, reason: reason.into(), is_violation: false }
}

fn breach(reason: impl Into<String>) -> Refused {
    Refused { code: 20, reason: reason.into(), is_violation: true }
}

/// A share as it was sent.
struct Sent {
    issued: Issued,
    nonce: u64,
    mix: Option<String>,
}

/// One request and all it concerns.
struct Talk<'a> {
    state: &'a mut State,
    number: usize,
    line: &'a str,
    request: &'a Value,
}

impl Talk<'_> {
    fn take(&mut self) {
        let method = self.request.get("method").and_then(Value::as_str).unwrap_or_default();
        if self.id().is_null() {
            self.violation("a request without an id");
        }
        let variant = self.connection().and_then(|one| one.variant);
        match (method, variant) {
            ("mining.hello", None) => self.hello(),
            ("mining.subscribe", None | Some(Variant::Es2)) => self.subscribe(),
            ("eth_submitLogin" | "eth_login", None | Some(Variant::EthProxy)) => self.login(),
            ("mining.authorize", Some(one)) if one != Variant::EthProxy => self.login(),
            ("eth_getWork", Some(Variant::EthProxy)) => self.get_work(),
            ("eth_submitWork", Some(Variant::EthProxy)) => self.submit(),
            ("mining.submit", Some(one)) if one != Variant::EthProxy => self.submit(),
            ("eth_submitHashrate" | "mining.hashrate", Some(_)) => self.answer(&json!(true)),
            ("mining.extranonce.subscribe", Some(Variant::NiceHash)) => {
                let says = self.state.config.extranonce_subscribe;
                self.answer(&json!(says));
            }
            ("mining.noop", Some(Variant::Es2)) => {}
            (_, None) => self.strange(),
            _ => {
                self.violation("a request of another variant, or at the wrong time");
                self.fail(-3, "Method not found");
            }
        }
    }

    fn id(&self) -> Value {
        self.request.get("id").cloned().unwrap_or(Value::Null)
    }

    fn params(&self) -> Vec<Value> {
        self.request.get("params").and_then(Value::as_array).cloned().unwrap_or_default()
    }

    fn connection(&mut self) -> Option<&mut Connection> {
        self.state.connections.get_mut(self.number)
    }

    fn violation(&mut self, what: &str) {
        let what = format!("{what}: {}", self.line);
        if let Some(connection) = self.connection() {
            connection.report.violations.push(what);
        }
    }

    /// A first request that the pool does not understand.
    fn strange(&mut self) {
        match self.state.config.stranger {
            Stranger::Silence => {}
            Stranger::Error => self.error(-3, "Method not found"),
            Stranger::ErrorAndClose => {
                self.error(-3, "Method not found");
                if let Some(connection) = self.connection() {
                    connection.close();
                }
            }
        }
    }

    /// Settles what is spoken here; false, and said so, if the pool does not.
    fn speaks(&mut self, variant: Variant) -> bool {
        if !self.state.config.variants.contains(&variant) {
            self.strange();
            return false;
        }
        if let Some(connection) = self.connection() {
            connection.variant = Some(variant);
            connection.report.variant = Some(variant);
        }
        true
    }

    fn hello(&mut self) {
        if self.speaks(Variant::Es2) {
            self.answer(&json!({"proto": "EthereumStratum/2.0.0", "encoding": "plain",
                "resume": "0", "timeout": "b4", "maxerrors": "5", "node": "judge/1"}));
        }
    }

    fn subscribe(&mut self) {
        if self.connection().is_some_and(|one| one.subscribed) {
            self.violation("a second subscribe");
            return self.fail(20, "Unknown");
        }
        let params = self.params();
        let protocol = params.get(1).and_then(Value::as_str).unwrap_or_default();
        let protocol = protocol.to_ascii_lowercase();
        let is_es2 = self.connection().is_some_and(|one| one.variant.is_some());
        let variant = match () {
            () if is_es2 => Variant::Es2,
            () if protocol.starts_with("ethereumstratum/") => Variant::NiceHash,
            // How the original tells sserver of an ETHProxy miner.
            () if protocol.starts_with("ethproxy/") => Variant::EthProxy,
            () => Variant::Plain,
        };
        if !is_es2 && !self.speaks(variant) {
            return;
        }
        let extranonce = match self.state.config.extranonce {
            Extranonce::Own(size) => self.state.fresh_extranonce(size),
            Extranonce::Echo => {
                let sid = params.get(2).and_then(Value::as_str).map(str::to_owned);
                let bytes = sid.as_ref().and_then(|sid| hex::decode(sid).ok());
                let Some(bytes) = bytes.filter(|bytes| bytes.len() == 3) else {
                    return self.fail(400, "Client is not a stratum switcher");
                };
                let agent = params.first().and_then(Value::as_str).unwrap_or_default();
                let is_short = agent.to_ascii_lowercase().starts_with("nicehash/");
                if let Some(connection) = self.connection() {
                    connection.session_id = sid;
                }
                bytes.into_iter().take(if is_short { 2 } else { 3 }).collect()
            }
        };
        let given = self.request.get("params").cloned();
        let Some(connection) = self.connection() else { return };
        connection.subscribed = true;
        connection.report.subscribe_params = given;
        if variant.has_prefix() {
            connection.set_extranonce(&extranonce);
        }
        let text = connection.report.extranonce.clone();
        let session = connection.session_id.clone().unwrap_or_else(|| "5e551011".into());
        match variant {
            Variant::Es2 => self.answer(&json!("s-5e551011")),
            Variant::NiceHash => {
                self.answer(&json!([["mining.notify", session, "EthereumStratum/1.0.0"], text]));
            }
            // sserver says this in the old form to all.
            Variant::Plain | Variant::EthProxy => {
                let line = format!(r#"{{"id":{},"result":true,"error":null}}"#, self.id());
                self.say(line);
            }
        }
    }

    fn login(&mut self) {
        let is_first = self.connection().is_some_and(|one| one.variant.is_none());
        if is_first {
            if self.state.config.extranonce == Extranonce::Echo {
                return self.fail(400, "Client is not a stratum switcher");
            }
            if !self.speaks(Variant::EthProxy) {
                return;
            }
        } else if !self.connection().is_some_and(|one| one.subscribed) {
            self.violation("a login before subscribe, or a second one");
            return self.fail(25, "Not subscribed");
        }
        let name = self.params().first().and_then(Value::as_str).map(str::to_owned);
        let Some(name) = name.filter(|_| !self.state.config.refuses_logins) else {
            return self.fail(-1, "Invalid login");
        };
        let Some(connection) = self.connection() else { return };
        let is_second = connection.report.login.is_some();
        connection.report.login = Some(name);
        connection.subscribed = true;
        let variant = connection.variant;
        if is_second {
            self.violation("a second login");
        }
        match variant {
            Some(Variant::Es2) => self.answer(&json!("w-1")),
            _ => self.answer(&json!(true)),
        }
        self.state.start_mining(self.number);
    }

    fn get_work(&mut self) {
        let config = self.state.config.clone();
        let Some(connection) = self.connection() else { return };
        let Some(issued) = connection.jobs.back().cloned() else {
            return self.fail(0, "Work not ready");
        };
        let work = connection.ethproxy_work(&issued.job, &config);
        self.answer(&work);
    }

    fn submit(&mut self) {
        match self.judge() {
            Ok(really) => {
                if let Some(connection) = self.connection() {
                    connection.report.accepted += 1;
                    connection.report.really_hashed += u64::from(really);
                }
                if self.connection().is_some_and(|one| one.variant == Some(Variant::Es2)) {
                    let line = format!(r#"{{"id":{}}}"#, self.id());
                    return self.say(line);
                }
                self.answer(&json!(true));
            }
            Err(why) => {
                if why.is_violation {
                    self.violation(&why.reason);
                }
                let line = self.line.to_owned();
                if let Some(connection) = self.connection() {
                    let (code, reason) = (why.code, why.reason.clone());
                    connection.report.refusals.push(Refusal { code, reason, line });
                }
                self.fail(why.code, &why.reason);
            }
        }
    }

    /// Whether the share is one, and was hashed in earnest.
    fn judge(&mut self) -> Result<bool, Refused> {
        let params = self.params();
        let text = |at: usize| params.get(at).and_then(Value::as_str).unwrap_or_default();
        let request = self.request;
        let takes_whole = self.state.config.takes_whole_nonces;
        let checks_mix = self.state.config.checks_mix;
        let Some(connection) = self.connection() else { return Err(refused(20, "gone")) };
        let login = connection.report.login.clone().ok_or_else(|| breach("not logged in"))?;
        let sent = match connection.variant {
            Some(Variant::EthProxy) => {
                let header = zero_x(text(1), 64)?;
                let issued = issued(connection, &header)?;
                Sent {
                    issued,
                    nonce: number(&zero_x(text(0), 16)?)?,
                    mix: Some(zero_x(text(2), 64)?),
                }
            }
            Some(Variant::Plain) => {
                is_name(text(0), request, &login)?;
                let issued = issued(connection, text(1))?;
                if zero_x(text(3), 64)? != hex::encode(issued.job.work.header) {
                    return Err(breach("the header is another job's"));
                }
                Sent {
                    issued,
                    nonce: number(&zero_x(text(2), 16)?)?,
                    mix: Some(zero_x(text(4), 64)?),
                }
            }
            Some(Variant::NiceHash) => {
                is_name(text(0), request, &login)?;
                let issued = issued(connection, text(1))?;
                let nonce = whole_nonce(&issued.extranonce, text(2), takes_whole)?;
                Sent { issued, nonce, mix: None }
            }
            Some(Variant::Es2) => {
                if text(2) != "w-1" {
                    return Err(breach("not the token that was given"));
                }
                let issued = issued(connection, text(0))?;
                let nonce = whole_nonce(&issued.extranonce, text(1), false)?;
                Sent { issued, nonce, mix: None }
            }
            None => return Err(breach("nothing was agreed on")),
        };
        let job = Arc::clone(&sent.issued.job);
        let hashed = job.work.hash(sent.nonce);
        if checks_mix && sent.mix.is_some_and(|mix| mix != hex::encode(hashed.mix)) {
            return Err(refused(23, "Invalid share: mix digest"));
        }
        if !job.work.is_met_by(&hashed.result) {
            return Err(refused(23, "Invalid share: low difficulty"));
        }
        if !self.state.seen.entry(job.serial).or_default().insert(sent.nonce) {
            return Err(refused(22, "Duplicate share"));
        }
        Ok(job.is_real())
    }

    fn answer(&mut self, result: &Value) {
        let id = self.id();
        let line = match self.connection().and_then(|one| one.variant) {
            Some(Variant::EthProxy) => {
                format!(r#"{{"id":{id},"jsonrpc":"2.0","result":{result}}}"#)
            }
            Some(Variant::Es2) => format!(r#"{{"id":{id},"result":{result}}}"#),
            _ => format!(r#"{{"id":{id},"result":{result},"error":null}}"#),
        };
        self.say(line);
    }

    /// An error, and what the pool does after one.
    fn fail(&mut self, code: i64, text: &str) {
        self.error(code, text);
        if self.state.config.closes_after_errors
            && let Some(connection) = self.connection()
        {
            connection.close();
        }
    }

    fn error(&mut self, code: i64, text: &str) {
        let id = self.id();
        let is_sserver = self.connection().is_some_and(|one| one.session_id.is_some());
        let line = match self.connection().and_then(|one| one.variant) {
            Some(Variant::EthProxy) if is_sserver => format!(
                r#"{{"id":{id},"jsonrpc":"2.0","result":false,"data":{{"code":{code},"message":"{text}"}}}}"#
            ),
            Some(Variant::Plain | Variant::NiceHash) => {
                format!(r#"{{"id":{id},"result":null,"error":[{code},"{text}",null]}}"#)
            }
            Some(Variant::Es2) => {
                format!(r#"{{"id":{id},"error":{{"code":{code},"message":"{text}"}}}}"#)
            }
            Some(Variant::EthProxy) | None => format!(
                r#"{{"id":{id},"jsonrpc":"2.0","result":null,"error":{{"code":{code},"message":"{text}"}}}}"#
            ),
        };
        self.say(line);
    }

    fn say(&mut self, line: String) {
        if let Some(connection) = self.connection() {
            connection.send(line);
        }
    }
}

/// The job that the connection got under this id. Jobs are lower-case hex in every variant.
fn issued(connection: &Connection, id: &str) -> Result<Issued, Refused> {
    let found = connection.jobs.iter().rev().find(|issued| issued.id == id);
    found.cloned().ok_or_else(|| refused(21, "Job not found"))
}

/// The name, or what is left of it by miners that have put the rig into a member of its own.
fn is_name(given: &str, request: &Value, login: &str) -> Result<(), Refused> {
    let rig = request.get("worker").and_then(Value::as_str);
    let whole = rig.map(|rig| format!("{given}.{rig}"));
    if given == login || whole.as_deref() == Some(login) {
        return Ok(());
    }
    Err(refused(24, "Unauthorized worker"))
}

/// The digits behind `0x`, which must be so many and lower-case, as open-ethereum-pool wants them.
fn zero_x(text: &str, digits: usize) -> Result<String, Refused> {
    let rest = text.strip_prefix("0x").filter(|rest| rest.len() == digits && is_lower_hex(rest));
    rest.map(str::to_owned).ok_or_else(|| breach(format!("{text:?} is not 0x and {digits} digits")))
}

/// The nonce that a prefix and the rest make.
fn whole_nonce(extranonce: &[u8], rest: &str, takes_whole: bool) -> Result<u64, Refused> {
    if !is_lower_hex(rest) {
        return Err(breach(format!("the nonce {rest:?} is not hex")));
    }
    if takes_whole && rest.len() == 16 {
        return number(rest);
    }
    if rest.len() + extranonce.len() * 2 != 16 {
        let size = extranonce.len();
        return Err(breach(format!("the nonce {rest:?} is no rest behind {size} bytes")));
    }
    number(&format!("{}{rest}", hex::encode(extranonce)))
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn number(digits: &str) -> Result<u64, Refused> {
    u64::from_str_radix(digits, 16).map_err(|_| breach(format!("{digits:?} is no nonce")))
}
