//! The form of a log line: text to read, or one JSON object. Both write the same fields, and hide
//! the same ones.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::names::Names;

/// Writes lines.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    /// JSON objects.
    pub(super) json: bool,
    /// How names are written.
    pub(super) names: Arc<Names>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let fields = self.fields(event);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let mut spans = String::new();
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.fields.is_empty()
            {
                spans.push(' ');
                spans.push_str(&fields.fields);
            }
        }
        if self.json {
            let mut object = Map::new();
            object.insert("time".into(), time.into());
            object.insert("level".into(), metadata.level().as_str().into());
            object.insert("target".into(), metadata.target().into());
            if !spans.is_empty() {
                object.insert("span".into(), spans.trim_start().into());
            }
            object.extend(fields);
            return writeln!(writer, "{}", Value::Object(object));
        }
        write!(writer, "{time} {:>5} {}:{spans}", metadata.level(), metadata.target())?;
        if let Some(message) = fields.get("message") {
            write!(writer, " {}", plain(message, false))?;
        }
        write_pairs(&mut writer, &fields)?;
        writeln!(writer)
    }
}

/// For spans, which are formatted when they begin.
impl<'a> FormatFields<'a> for Lines {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'a>, fields: R) -> fmt::Result {
        let mut seen = Seen { names: &self.names, fields: Map::new() };
        fields.record(&mut seen);
        let mut text = String::new();
        write_pairs(&mut text, &seen.fields)?;
        writer.write_str(text.trim_start())
    }
}

impl Lines {
    fn fields(&self, event: &Event<'_>) -> Map<String, Value> {
        let mut seen = Seen { names: &self.names, fields: Map::new() };
        event.record(&mut seen);
        seen.fields
    }
}

fn write_pairs(writer: &mut impl fmt::Write, fields: &Map<String, Value>) -> fmt::Result {
    for (name, value) in fields.iter().filter(|(name, _)| *name != "message") {
        write!(writer, " {name}={}", plain(value, true))?;
    }
    Ok(())
}

/// A value in a text line. Control characters are escaped: a peer's words must not begin a line of
/// their own or move the cursor of whoever reads the log.
fn plain(value: &Value, pair: bool) -> String {
    match value {
        Value::String(text) => {
            let unclear = text.is_empty() || text.contains([' ', '"', '=']);
            if pair && unclear {
                return format!("{text:?}");
            }
            let mut plain = String::with_capacity(text.len());
            for letter in text.chars() {
                if letter.is_control() {
                    // Writing to a String cannot fail.
                    let _ = write!(plain, "{}", letter.escape_default());
                } else {
                    plain.push(letter);
                }
            }
            plain
        }
        other => other.to_string(),
    }
}

/// Collects the fields of an event.
struct Seen<'a> {
    names: &'a Names,
    fields: Map<String, Value>,
}

impl Seen<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Seen<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let shown = self.names.shown(field.name(), value);
        self.put(field, shown);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut below = value.source();
        while let Some(error) = below {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {error}");
            below = error.source();
        }
        self.put(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        // A name given with `?` comes in quotes, which must not make it another name.
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        self.record_str(field, bare.unwrap_or(&text));
    }
}
