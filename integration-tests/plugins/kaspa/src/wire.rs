//! One line of JSON-RPC: reading it, and writing the few kinds we write.
//!
//! Values are kept as they stand on the line ([`RawValue`]), so that an id comes back to its miner to
//! the byte and a difficulty with all its digits.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use switcher_plugin::{Outbox, Side};

/// Longest line from a pool that is kept, and longest list of parameters that is passed up.
pub(crate) const MAX_KEPT: usize = 2048;

/// The members of a line. What is `null` counts as absent.
#[derive(Debug, Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Reads a line; `None` if it is no JSON object with such members.
    pub(crate) fn read(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The parameters as text; an empty list if there are none.
    pub(crate) fn params(&self) -> &'a str {
        self.params.map_or("[]", RawValue::get)
    }

    /// The parameters one by one; none if they are no list.
    pub(crate) fn items(&self) -> Vec<&'a str> {
        list(self.params())
    }

    /// The result as text.
    pub(crate) fn result(&self) -> &'a str {
        self.result.map_or("null", RawValue::get)
    }

    /// The error as text.
    pub(crate) fn error(&self) -> &'a str {
        self.error.map_or("null", RawValue::get)
    }

    /// Whether an answer is a yes.
    pub(crate) fn is_yes(&self) -> bool {
        self.error.is_none() && self.result.is_some_and(|result| result.get() != "false")
    }

    /// The code of an error, `[21,"…"]` or `{"code":21,…}`: the first number in it, 0 if it has none.
    pub(crate) fn error_code(&self) -> i32 {
        let is_part = |c: char| c == '-' || c.is_ascii_digit();
        let from = self.error().trim_start_matches(|c| !is_part(c));
        from.split(|c| !is_part(c)).next().and_then(|code| code.parse().ok()).unwrap_or(0)
    }
}

/// The items of a JSON list, none if it is no list.
pub(crate) fn list(json: &str) -> Vec<&str> {
    let items: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
    items.into_iter().map(RawValue::get).collect()
}

/// The text of a JSON string, `None` if it is none.
pub(crate) fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Sends an answer. A request without an id gets none.
pub(crate) fn answer(out: &mut Outbox, to: Side, id: Option<&str>, result: &str, error: &str) {
    let Some(id) = id else { return };
    out.send(to, format!("{{\"id\":{id},\"result\":{result},\"error\":{error}}}\n").as_bytes());
}

/// Sends an error of ours to the miner.
pub(crate) fn deny(out: &mut Outbox, id: Option<&str>, code: i32, why: &str) {
    let error = format!("[{code},{},null]", quoted(why));
    answer(out, Side::Downstream, id, "null", &error);
}

/// Sends a request, or with the id `null` a notification.
pub(crate) fn request(out: &mut Outbox, to: Side, id: &str, method: &str, params: &str) {
    let line = format!("{{\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}\n");
    out.send(to, line.as_bytes());
}
