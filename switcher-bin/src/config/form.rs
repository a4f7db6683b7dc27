//! The forms a value may have: reading it, naming what is accepted, writing it back.
//!
//! Knows nothing of keys and layers, see `keys` and `section`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use figment::value::Value;

/// Longest time that can be configured; nothing here is meant to last longer.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// What the value of a key looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An address to listen on, with its port.
    Address,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Directives of the log filter.
    Filter,
    /// True or false.
    Flag,
    /// A list of texts.
    Names,
    /// A table that a plug-in checks.
    Options,
    /// A list of pairs of texts.
    Pairs,
    /// A file.
    Path,
    /// A text that is never shown.
    Secret,
    /// Some text.
    Text,
    /// A time of at least so many milliseconds.
    Time(u64),
    /// Where a pool is.
    Url,
    /// A whole number, from and up to.
    Whole(u64, u64),
}

/// A value that has its form.
#[derive(Debug, Clone, PartialEq)]
pub enum Checked {
    /// For [`Form::Address`].
    Address(SocketAddr),
    /// For [`Form::Flag`].
    Flag(bool),
    /// For [`Form::Names`].
    Names(Vec<String>),
    /// For [`Form::Options`].
    Options(serde_json::Value),
    /// For [`Form::Pairs`].
    Pairs(Vec<(String, String)>),
    /// For the forms that are one text.
    Text(String),
    /// For [`Form::Time`].
    Time(Duration),
    /// For [`Form::Url`]: host and port.
    Url(String, u16),
    /// For [`Form::Whole`].
    Whole(u64),
}

impl Form {
    /// Whether values must not be shown.
    pub fn is_secret(self) -> bool {
        self == Self::Secret
    }

    /// Whether a variable or flag gives it as it stands, without TOML's quotes and numbers.
    pub fn is_plain_text(self) -> bool {
        !matches!(self, Self::Flag | Self::Names | Self::Options | Self::Pairs | Self::Whole(..))
    }

    /// What is accepted, for errors and documentation.
    pub fn accepted(self) -> String {
        match self {
            Self::Address => {
                "an address with a port, such as \"0.0.0.0:3333\" or \"[::]:3333\"".into()
            }
            Self::Choice(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::Filter => {
                "off, error, warn, info, debug or trace, and target=level after commas".into()
            }
            Self::Flag => "true or false".into(),
            Self::Names => "a list of texts, such as [\"one\", \"two\"]".into(),
            Self::Options => "a table, such as { extranonce = \"echo\" }".into(),
            Self::Pairs => "a list of pairs, such as [[\"sha256d\", \"scrypt\"]]".into(),
            Self::Path => "the path of a file, as a text".into(),
            Self::Secret | Self::Text => "a text".into(),
            Self::Time(0) => "a time such as \"10s\" or \"500ms\", or a number of seconds".into(),
            Self::Time(least) => format!(
                "a time from {} to 365d, such as \"10s\" or \"500ms\", or a number of seconds",
                time_text(Duration::from_millis(least))
            ),
            Self::Url => "\"stratum+tcp://host:port\" or \"host:port\"".into(),
            Self::Whole(from, u64::MAX) => format!("a whole number from {from}"),
            Self::Whole(from, to) => format!("a whole number from {from} to {to}"),
        }
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without what would be accepted.
    pub fn read(self, value: &Value) -> Result<Checked, String> {
        let wrong = || {
            if self.is_secret() {
                format!("is {}, not a text", kind_of(value))
            } else {
                format!("{} does not fit", shown(value))
            }
        };
        let text = value.as_str();
        match self {
            Self::Address => {
                text.and_then(|text| text.parse().ok()).map(Checked::Address).ok_or_else(wrong)
            }
            Self::Choice(words) => {
                text.filter(|text| words.contains(text)).map(owned).ok_or_else(wrong)
            }
            Self::Filter => text.filter(|text| is_filter(text)).map(owned).ok_or_else(wrong),
            Self::Flag => value.to_bool().map(Checked::Flag).ok_or_else(wrong),
            Self::Names => names(value).map(Checked::Names).ok_or_else(wrong),
            Self::Options => match value {
                Value::Dict(..) => {
                    value.deserialize().map(Checked::Options).map_err(|error| error.to_string())
                }
                _ => Err(wrong()),
            },
            Self::Pairs => pairs(value).map(Checked::Pairs).ok_or_else(wrong),
            Self::Path => text.filter(|text| !text.is_empty()).map(owned).ok_or_else(wrong),
            Self::Secret | Self::Text => text.map(owned).ok_or_else(wrong),
            Self::Time(least) => time(value)
                .filter(|time| (Duration::from_millis(least)..=LONGEST).contains(time))
                .map(Checked::Time)
                .ok_or_else(wrong),
            Self::Url => url(text.ok_or_else(wrong)?),
            Self::Whole(from, to) => value
                .to_u128()
                .or_else(|| value.to_i128().and_then(|number| number.try_into().ok()))
                .and_then(|number| u64::try_from(number).ok())
                .filter(|number| (from..=to).contains(number))
                .map(Checked::Whole)
                .ok_or_else(wrong),
        }
    }
}

impl Checked {
    /// The value as TOML.
    pub fn toml(&self) -> String {
        match self {
            Self::Address(address) => quoted(&address.to_string()),
            Self::Flag(flag) => flag.to_string(),
            Self::Names(names) => list(names.iter().map(|name| quoted(name))),
            Self::Options(options) => options_toml(options),
            Self::Pairs(pairs) => {
                list(pairs.iter().map(|(a, b)| format!("[{}, {}]", quoted(a), quoted(b))))
            }
            Self::Text(text) => quoted(text),
            Self::Time(time) => quoted(&time_text(*time)),
            Self::Url(host, port) if host.contains(':') => quoted(&format!("[{host}]:{port}")),
            Self::Url(host, port) => quoted(&format!("{host}:{port}")),
            Self::Whole(number) => number.to_string(),
        }
    }
}

/// A value in the words of an error.
fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => quoted(text),
        Value::Char(_, letter) => quoted(&letter.to_string()),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(..) => value.to_i128().map_or_else(|| float(value), |number| number.to_string()),
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => kind_of(value).into(),
    }
}

fn float(value: &Value) -> String {
    value.to_f64().map_or_else(|| "a number".into(), |number| number.to_string())
}

/// The kind of a value, where the value itself may not be said.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "a text",
        Value::Bool(..) => "true or false",
        Value::Num(..) => "a number",
        Value::Empty(..) => "nothing",
        Value::Dict(..) => "a table",
        Value::Array(..) => "a list",
    }
}

fn owned(text: &str) -> Checked {
    Checked::Text(text.to_owned())
}

fn names(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

fn pairs(value: &Value) -> Option<Vec<(String, String)>> {
    let pair = |value: &Value| <[String; 2]>::try_from(names(value)?).ok().map(|[a, b]| (a, b));
    value.as_array()?.iter().map(pair).collect()
}

/// Checks what the log filter itself is lenient with: to it a misspelt level is a target.
fn is_filter(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    !text.is_empty()
        && text.split(',').all(|part| {
            let level = part.split_once('=').map_or(part, |(_, level)| level);
            LEVELS.contains(&level)
        })
}

fn time(value: &Value) -> Option<Duration> {
    match value {
        Value::Num(..) => value
            .to_f64()
            .or_else(|| value.to_u128().or_else(|| value.to_i128()?.try_into().ok()).map(as_f64))
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        Value::String(_, text) => parse_time(text),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of seconds this large is refused anyway")]
fn as_f64(number: u128) -> f64 {
    number as f64
}

/// Reads `1m30s`, `500ms`, `1.5s` or `10` (seconds).
fn parse_time(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut sum = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()?;
        sum = sum.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(sum)
}

/// Writes a time with the largest unit that leaves no remainder.
pub fn time_text(time: Duration) -> String {
    let ms = time.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms >= size && ms.is_multiple_of(size) {
            return format!("{}{unit}", ms / size);
        }
    }
    if ms == 0 { "0s".into() } else { format!("{ms}ms") }
}

fn url(text: &str) -> Result<Checked, String> {
    let rest = match text.split_once("://") {
        None | Some(("stratum+tcp", _)) => text.strip_prefix("stratum+tcp://").unwrap_or(text),
        Some(("stratum+ssl" | "stratum+tls" | "stratum+tcps", _)) => {
            return Err("TLS to a pool is not spoken here".into());
        }
        Some((scheme, _)) => return Err(format!("the scheme {} is not known", quoted(scheme))),
    };
    // What stands before an @ may be a secret, so nothing of it is quoted.
    if rest.contains('@') {
        return Err("carries a user, which belongs into the key `user`".into());
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let parts = rest.rsplit_once(':').and_then(|(host, port)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let (host, is_host) = match host.strip_prefix('[') {
            Some(six) => {
                let six = six.strip_suffix(']')?;
                (six, six.parse::<std::net::Ipv6Addr>().is_ok())
            }
            None => (host, !host.is_empty() && host.chars().all(plain)),
        };
        let port = port.parse::<u16>().ok().filter(|&port| port != 0)?;
        is_host.then(|| Checked::Url(host.to_owned(), port))
    });
    parts.ok_or_else(|| format!("{} does not fit", quoted(text)))
}

/// A text as TOML; JSON's escapes are a subset of what TOML reads.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// Whether an option of a plug-in, whose table of keys we do not know, is taken for a secret.
pub fn sounds_secret(name: &str) -> bool {
    ["password", "secret", "token"].iter().any(|word| name.contains(word))
}

/// Options of a plug-in as an inline table. A name that sounds like a secret is taken for one.
fn options_toml(options: &serde_json::Value) -> String {
    match options {
        serde_json::Value::Object(map) if map.is_empty() => "{}".into(),
        serde_json::Value::Object(map) => {
            let mut text = String::from("{ ");
            for (at, (name, value)) in map.iter().enumerate() {
                let value = if sounds_secret(name) { quoted("***") } else { options_toml(value) };
                let comma = if at == 0 { "" } else { ", " };
                let _ = write!(text, "{comma}{} = {value}", bare(name));
            }
            text + " }"
        }
        serde_json::Value::Array(items) => list(items.iter().map(options_toml)),
        serde_json::Value::Null => quoted(""),
        other => other.to_string(),
    }
}

/// A key as TOML, with quotes only where they are needed.
pub fn bare(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(plain) { key.to_owned() } else { quoted(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_all_their_spellings() {
        let cases = [
            ("10s", Some(10_000)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1500)),
            ("2h", Some(7_200_000)),
            ("10", Some(10_000)),
            ("0", Some(0)),
            ("", None),
            ("10 s", None),
            ("s", None),
            ("10x", None),
            ("-5s", None),
            ("-5", None),
            ("1e400", None),
            ("NaN", None),
        ];

        for (text, ms) in cases {
            assert_eq!(parse_time(text), ms.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for text in ["0s", "500ms", "10s", "90s", "2m", "1h", "1d"] {
            assert_eq!(time_text(parse_time(text).unwrap()), text);
        }
    }

    #[test]
    fn urls_are_hosts_with_ports() {
        let url = |text| Form::Url.read(&Value::from(text));
        let is = |host: &str, port| Ok(Checked::Url(host.into(), port));
        let odd = |text: &str| Err(format!("{} does not fit", quoted(text)));

        assert_eq!(url("stratum+tcp://pool.example:3333"), is("pool.example", 3333));
        assert_eq!(url("stratum+tcp://pool.example:3333/"), is("pool.example", 3333));
        assert_eq!(url("192.0.2.1:25"), is("192.0.2.1", 25));
        assert_eq!(url("[2001:db8::1]:25"), is("2001:db8::1", 25));
        for text in
            ["pool", "pool:0", "pool:70000", ":3333", "[pool]:25", "2001:db8::1:25", "a b:1"]
        {
            assert_eq!(url(text), odd(text));
        }
        assert_eq!(url("http://a:1"), Err("the scheme \"http\" is not known".into()));
        assert_eq!(url("stratum+ssl://a:1"), Err("TLS to a pool is not spoken here".into()));
        assert_eq!(
            url("stratum+tcp://alice:hunter2@a:1"),
            Err("carries a user, which belongs into the key `user`".into())
        );
    }

    #[test]
    fn misspelt_level_is_no_filter() {
        for filter in ["info", "off", "info,switcher_core=debug", "warn,a::b=trace"] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "inffo", "info,", "INFO!", "a=loud"] {
            assert!(!is_filter(filter), "{filter}");
        }
    }

    #[test]
    fn a_wrong_secret_is_not_quoted() {
        let wrong = Form::Secret.read(&Value::from(987_654)).unwrap_err();

        assert_eq!(wrong, "is a number, not a text");
    }

    #[test]
    fn options_are_written_as_toml_without_secrets() {
        let options = serde_json::json!({"a b": [1, true], "api_token": "hunter2", "x": {}});

        let text = options_toml(&options);

        assert_eq!(text, r#"{ "a b" = [1, true], api_token = "***", x = {} }"#);
    }
}
