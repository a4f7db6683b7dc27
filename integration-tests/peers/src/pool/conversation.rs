//! What a pool answers to each request of a client.
//!
//! Pure bookkeeping on [`State`]; the tasks that own the sockets call [`hear`] for each line.

use std::time::Instant;

use serde_json::{Value, json};

use super::config::{Configure, Extranonce1, FirstJob, Names, Quirk};
use super::judge::{judge, text_of};
use super::record::Refusal;
use super::state::{Connection, State};
use crate::lines::values_on;

/// The id of the pings a pool sends.
pub(super) const PING_ID: u64 = 42;

/// Takes one line from connection `number`.
pub(super) fn hear(state: &mut State, number: usize, line: &str) {
    let mut talk = Talk { state, number };
    let Some(connection) = talk.connection() else { return };
    connection.book.lines.push(format!("< {line}"));
    if line.ends_with('\r') {
        talk.violation("the line ends with a carriage return");
    }
    let values = values_on(line);
    if values.len() > 1 {
        talk.violation("several values on one line");
    }
    for value in values {
        match value {
            Ok(Value::Object(message)) => talk.message(&Value::Object(message), line),
            Ok(other) => talk.violation(format!("{other} is no object")),
            Err(error) => talk.violation(format!("not JSON ({error}): {line}")),
        }
    }
}

/// One connection's part in a conversation.
struct Talk<'a> {
    state: &'a mut State,
    number: usize,
}

impl Talk<'_> {
    fn connection(&mut self) -> Option<&mut Connection> {
        self.state.connections.get_mut(self.number)
    }

    fn violation(&mut self, what: impl Into<String>) {
        if let Some(connection) = self.connection() {
            connection.book.violation(what);
        }
    }

    fn message(&mut self, message: &Value, line: &str) {
        if self.state.config.has(&Quirk::AcceptsAndNeverAnswers) {
            return;
        }
        let id = message.get("id").cloned().unwrap_or(Value::Null);
        let Some(method) = message.get("method") else {
            return self.answer_of_client(&id, line);
        };
        let Some(method) = method.as_str() else {
            return self.violation(format!("the method is no string: {line}"));
        };
        let params = match message.get("params") {
            Some(Value::Array(params)) => params.clone(),
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return self.violation(format!("params are no array: {line}")),
        };
        self.request(&id, method, &params, line);
    }

    fn request(&mut self, id: &Value, method: &str, params: &[Value], line: &str) {
        match method {
            "mining.configure" => self.configure(id, params),
            "mining.subscribe" => self.subscribe(id, params),
            "mining.authorize" => self.authorize(id, params),
            "mining.submit" => self.submit(id, params, line),
            "mining.suggest_difficulty" => self.suggest(id, params),
            "mining.suggest_target" if id.is_null() => {}
            "mining.suggest_target" => self.answer(id, &json!(true), &Value::Null),
            "mining.extranonce.subscribe" => {
                if let Some(result) = self.state.config.extranonce_subscribe {
                    let error =
                        if result { Value::Null } else { json!([20, "Not supported.", null]) };
                    self.answer(id, &json!(result), &error);
                }
            }
            "agent.get_capabilities" if self.state.config.agents.is_some() => {
                self.capabilities(id, params);
            }
            // Both have no answer by design.
            "mining.capabilities" | "mining.multi_version" => {}
            "mining.get_transactions" => self.answer(id, &json!([]), &Value::Null),
            "mining.ping" => self.answer(id, &json!("pong"), &Value::Null),
            // The way AxeOS answers a ping.
            "pong" => self.answer_of_client(id, line),
            _ => {
                self.violation(format!("unknown method {method:?}"));
                self.answer(id, &Value::Null, &json!([-3, "Method not found", null]));
            }
        }
    }

    fn answer_of_client(&mut self, id: &Value, line: &str) {
        let asked = self
            .connection()
            .is_some_and(|connection| id.as_u64().is_some_and(|id| connection.asked.remove(&id)));
        if !asked {
            self.violation(format!("an answer to nothing: {line}"));
        }
    }

    fn configure(&mut self, id: &Value, params: &[Value]) {
        let style = self.state.config.configure;
        let own_mask = self.state.config.version_mask;
        if self.state.config.has(&Quirk::AnswersNoConfigure) {
            return;
        }
        if style == Configure::Unknown {
            return self.answer(id, &Value::Null, &json!([-3, "Method not found", null]));
        }
        let extensions = params.first().and_then(Value::as_array).cloned().unwrap_or_default();
        let wanted = params
            .get(1)
            .and_then(|options| options.get("version-rolling.mask"))
            .and_then(Value::as_str)
            .map_or(Some(u32::MAX), |text| u32::from_str_radix(text, 16).ok());
        let Some(wanted) = wanted else {
            return self.violation("version-rolling.mask is no hex number");
        };
        let mask = if style == Configure::FullMask { own_mask } else { own_mask & wanted };
        let mut result = serde_json::Map::new();
        for extension in extensions.iter().filter_map(Value::as_str) {
            match extension {
                "version-rolling" if own_mask != 0 => {
                    result.insert(extension.into(), json!(true));
                    result.insert(format!("{extension}.mask"), json!(format!("{mask:08x}")));
                }
                "subscribe-extranonce" => {
                    let takes = self.state.config.extranonce_subscribe == Some(true);
                    result.insert(extension.into(), json!(takes));
                }
                _ => {
                    result.insert(extension.into(), json!(false));
                }
            }
        }
        let rolls = result.get("version-rolling") == Some(&json!(true));
        self.answer(id, &Value::Object(result), &Value::Null);
        if let Some(connection) = self.connection().filter(|_| rolls) {
            connection.book.report.version_mask = Some(mask);
            if style == Configure::WithMaskPush {
                connection.notify("mining.set_version_mask", &json!([format!("{mask:08x}")]));
            }
        }
    }

    fn subscribe(&mut self, id: &Value, params: &[Value]) {
        let config = &self.state.config;
        if config.has(&Quirk::ProxyFull) {
            return self.answer(id, &json!("proxy full"), &Value::Null);
        }
        if self.connection().is_some_and(|connection| connection.subscribed) {
            self.violation("a second subscribe");
            return self.answer(id, &Value::Null, &json!([20, "Unknown", null]));
        }
        let Some(extranonce1) = self.extranonce1_for(params) else {
            let error = json!([400, "Client is not a stratum switcher", null]);
            return self.answer(id, &Value::Null, &error);
        };
        let config = &self.state.config;
        let size = config.extranonce2_size;
        let (closes, first_job) = (config.has(&Quirk::ClosesAfterSubscribe), config.first_job);
        let text = hex::encode(&extranonce1);
        let Some(connection) = self.connection() else { return };
        connection.subscribed = true;
        connection.extranonce1 = extranonce1;
        connection.extranonce2_size = size;
        connection.book.report.extranonce1.clone_from(&text);
        connection.book.report.subscribe_params = Some(params.to_vec());
        let subscriptions = json!([["mining.set_difficulty", text], ["mining.notify", text]]);
        self.answer(id, &json!([subscriptions, text, size]), &Value::Null);
        if closes {
            if let Some(connection) = self.connection() {
                connection.close(false);
            }
        } else if first_job == FirstJob::AfterSubscribe {
            self.state.start_mining(self.number);
        }
    }

    fn extranonce1_for(&mut self, params: &[Value]) -> Option<Vec<u8>> {
        match self.state.config.extranonce1 {
            Extranonce1::Own(size) => Some(self.state.fresh_extranonce1(size)),
            Extranonce1::Echo => {
                let id = params.get(1).and_then(Value::as_str)?;
                Some(self.state.config.chain.adopted(hex::decode(id).ok()?.try_into().ok()?))
            }
        }
    }

    fn authorize(&mut self, id: &Value, params: &[Value]) {
        let Some(name) = params.first().and_then(Value::as_str).map(str::to_owned) else {
            self.violation("authorize without a name");
            return self.answer(id, &Value::Null, &json!([24, text_of(24), null]));
        };
        if !self.connection().is_some_and(|connection| connection.subscribed) {
            self.violation("authorize before subscribe");
            return self.answer(id, &Value::Null, &json!([25, text_of(25), null]));
        }
        let config = &self.state.config;
        if config.has(&Quirk::RefusesAuthorizeWithFalse) {
            return self.answer(id, &json!(false), &Value::Null);
        }
        let sub_account = name.split('.').next().unwrap_or_default();
        let known = match &config.names {
            Names::Any => true,
            Names::SubAccounts(names) => names.contains(sub_account),
        };
        if !known || config.has(&Quirk::RefusesAuthorize) {
            return self.answer(id, &Value::Null, &json!([24, text_of(24), null]));
        }
        let first_job = config.first_job;
        let silent = config.has(&Quirk::SilentAfterLogin);
        let elsewhere = config.foreign_host().map(|(host, port)| json!([host, port, 0]));
        let password = params.get(1).and_then(Value::as_str).map(str::to_owned);
        if let Some(connection) = self.connection() {
            let report = &mut connection.book.report;
            report.authorized_at.get_or_insert_with(Instant::now);
            report.authorized.insert(name, password);
            connection.begin_agent();
        }
        if first_job == FirstJob::BeforeAuthorizeAnswer {
            self.state.start_mining(self.number);
        }
        self.answer(id, &json!(true), &Value::Null);
        if let Some(connection) = self.connection() {
            connection.silent = silent;
            if let Some(params) = elsewhere {
                connection.notify("client.reconnect", &params);
            }
        }
        self.state.start_mining(self.number);
    }

    fn capabilities(&mut self, id: &Value, params: &[Value]) {
        // sserver's answer has no error.
        if let Some(connection) = self.connection() {
            connection
                .send(format!(r#"{{"id":{id},"result":{{"capabilities":["verrol","subres"]}}}}"#));
            // It takes the wish after login only.
            if let Some(agent) = &mut connection.agent {
                let wishes = params.first().and_then(Value::as_array);
                agent.answers = wishes.is_some_and(|list| list.contains(&json!("subres")));
            }
        }
    }

    fn suggest(&mut self, id: &Value, params: &[Value]) {
        let suggestion = params.first().cloned().unwrap_or(Value::Null);
        // cpuminer-opt sends a string.
        let number = suggestion
            .as_f64()
            .or_else(|| suggestion.as_str().and_then(|text| text.parse().ok()))
            .filter(|number: &f64| number.is_normal() && *number > 0.0);
        let obeys = self.state.config.obeys_suggestions;
        if let Some(connection) = self.connection() {
            connection.book.report.suggested_difficulty = Some(suggestion);
            if obeys && number.is_some() {
                connection.wanted_difficulty = number;
            }
        }
        self.answer(id, &json!(true), &Value::Null);
    }

    fn submit(&mut self, id: &Value, params: &[Value], line: &str) {
        let State { config, connections, seen, .. } = &mut *self.state;
        let Some(connection) = connections.get_mut(self.number) else { return };
        if config.has(&Quirk::IgnoresSubmits) || connection.silent {
            connection.book.report.ignored += 1;
            return;
        }
        let verdict = judge(config, connection, seen, params);
        let (result, error) = match verdict {
            Ok(share) => {
                connection.book.accept(&share.name, share.difficulty);
                (json!(true), Value::Null)
            }
            Err(refused) => {
                if refused.is_violation {
                    connection.book.violation(refused.reason.clone());
                }
                let error = json!([refused.code, text_of(refused.code), null]);
                let (code, reason) = (refused.code, refused.reason);
                connection.book.refuse(Refusal { code, reason, line: line.to_owned() });
                (Value::Null, error)
            }
        };
        if let Some(line) = self.answer_line(id, &result, &error)
            && let Some(connection) = self.connection()
        {
            connection.send_answer(line);
        }
    }

    fn answer(&mut self, id: &Value, result: &Value, error: &Value) {
        if let Some(line) = self.answer_line(id, result, error)
            && let Some(connection) = self.connection()
        {
            connection.send(line);
        }
    }

    fn answer_line(&mut self, id: &Value, result: &Value, error: &Value) -> Option<String> {
        if id.is_null() {
            self.violation("a request that wants an answer has no id");
            return None;
        }
        if self.state.config.has(&Quirk::AnswersWithoutErrorMember) && error.is_null() {
            return Some(format!(r#"{{"result":{result},"id":{id}}}"#));
        }
        Some(format!(r#"{{"id":{id},"result":{result},"error":{error}}}"#))
    }
}
