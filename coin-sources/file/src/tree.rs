//! TOML and JSON as one kind of tree whose nodes know where they stand in the text. Knows nothing
//! of coins.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use toml::de::{DeTable, DeValue};

/// How the text of a file is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Toml,
}

/// A value and the byte it starts at.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) value: Value,
}

/// As far as a map needs to tell values apart.
#[derive(Debug)]
pub(crate) enum Value {
    List(Vec<Node>),
    /// Anything else, by its name.
    Other(&'static str),
    /// Keys in the order given, repeated ones too.
    Table(Vec<(String, Node)>),
    Text(String),
}

/// Text that does not parse.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) line: usize,
    pub(crate) why: String,
}

/// JSON below this depth is not looked at; a map has three levels.
const DEEPEST: usize = 8;

/// Parses a whole text.
pub(crate) fn parse(format: Format, text: &str) -> Result<Node, Unreadable> {
    match format {
        Format::Json => {
            let raw: &RawValue = serde_json::from_str(text)
                .map_err(|error| Unreadable { line: error.line(), why: error.to_string() })?;
            Ok(of_json(raw, text, 0))
        }
        Format::Toml => {
            let table = DeTable::parse(text).map_err(|error| {
                let at = error.span().map_or(text.len(), |span| span.start);
                // A syntax error at the end of the text belongs to its last line.
                let line = Lines::of(text).line(at.min(text.trim_end().len()));
                Unreadable { line, why: error.message().replace('\n', ", ") }
            })?;
            Ok(Node { at: table.span().start, value: of_table(table.get_ref()) })
        }
    }
}

fn of_table(table: &DeTable<'_>) -> Value {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key_text: &std::borrow::Cow<'_, str> = key.get_ref();
        // A key is where an operator looks for it; an inline value may start a line below.
        let node = Node { at: key.span().start, value: of_toml(value.get_ref()) };
        (key_text.clone().into_owned(), node)
    };
    Value::Table(table.iter().map(entry).collect())
}

fn of_toml(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| Node { at: item.span().start, value: of_toml(item.get_ref()) })
                .collect(),
        ),
        DeValue::Boolean(_) => Value::Other("a boolean"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Float(_) | DeValue::Integer(_) => Value::Other("a number"),
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Table(table) => of_table(table),
    }
}

fn of_json(raw: &RawValue, whole: &str, depth: usize) -> Node {
    let text = raw.get();
    // Borrowed from `whole`, so the difference of addresses is its offset.
    let at = text.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    let too_deep = Value::Other("nested too deep");
    let value = match text.as_bytes().first() {
        Some(b'{' | b'[') if depth >= DEEPEST => too_deep,
        Some(b'{') => match serde_json::from_str::<Members<'_>>(text) {
            Ok(members) => Value::Table(
                members
                    .0
                    .into_iter()
                    .map(|(key, raw)| (key, of_json(raw, whole, depth + 1)))
                    .collect(),
            ),
            Err(_) => Value::Other("an object with a key that is no text"),
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(items) => {
                Value::List(items.into_iter().map(|raw| of_json(raw, whole, depth + 1)).collect())
            }
            Err(_) => too_deep,
        },
        Some(b'"') => match serde_json::from_str(text) {
            Ok(text) => Value::Text(text),
            Err(_) => Value::Other("a text with a broken escape"),
        },
        Some(b't' | b'f') => Value::Other("a boolean"),
        Some(b'n') => Value::Other("null"),
        _ => Value::Other("a number"),
    };
    Node { at, value }
}

/// The members of an object, repeated keys too, which a map would swallow.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// Line numbers of byte offsets.
#[derive(Debug)]
pub(crate) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        let feeds = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { starts: feeds.map(|(at, _)| at + 1).collect() }
    }

    /// The line, from 1, of the byte at `at`.
    pub(crate) fn line(&self, at: usize) -> usize {
        1 + self.starts.partition_point(|start| *start <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(format: Format, text: &str) -> Vec<(String, usize)> {
        let lines = Lines::of(text);
        let Value::Table(entries) = parse(format, text).unwrap().value else { panic!("no table") };
        entries.into_iter().map(|(key, node)| (key, lines.line(node.at))).collect()
    }

    #[test]
    fn values_know_their_lines() {
        assert_eq!(
            lines_of(Format::Toml, "a = 1\n\nb = 'x'\n"),
            [("a".to_owned(), 1), ("b".to_owned(), 3)]
        );
        assert_eq!(
            lines_of(Format::Json, "{\n \"b\": 1,\n\n \"a\": {\"c\":\n2}}"),
            [("b".to_owned(), 2), ("a".to_owned(), 4)]
        );
    }

    #[test]
    fn repeated_keys_of_an_object_are_all_there() {
        let lines = lines_of(Format::Json, "{\"a\":1,\n\"a\":2}");

        assert_eq!(lines, [("a".to_owned(), 1), ("a".to_owned(), 2)]);
    }

    #[test]
    fn what_does_not_parse_names_its_line() {
        assert_eq!(parse(Format::Json, "{\n\"a\":\n").unwrap_err().line, 3);
        assert_eq!(parse(Format::Toml, "a = 'x'\nb = 'y\n").unwrap_err().line, 2);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));

        parse(Format::Json, &deep).unwrap();
    }
}
