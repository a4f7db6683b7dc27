//! The layers of a configuration and their merging: file < environment < flags. (The defaults lie
//! below them, in `keys`.)
//!
//! A list of tables is turned into a table with the keys 0, 1, …, so that a variable or flag can
//! reach into it: `SWITCHER_LISTENERS__0__LISTEN`. What the keys mean is not known here.

use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};

use super::mistake::{Mistake, Mistakes};
use super::{form::quoted, keys, original};

/// A JSON object.
pub(super) type Json = serde_json::Map<String, serde_json::Value>;

/// Beginning of the variables that are read.
const PREFIX: &str = "SWITCHER_";

/// Where a configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The configuration file, TOML or JSON by its extension.
    pub file: Option<PathBuf>,
    /// What stands in that file, if it is not to be read.
    pub text: Option<String>,
    /// Variables of the environment, all of them.
    pub environment: Vec<(String, String)>,
    /// Flags, each `key=value`.
    pub flags: Vec<String>,
}

/// One layer: a file, one variable or one flag.
struct Layer {
    metadata: Metadata,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

/// Merges all layers. A flag that does not read is left out and told in `mistakes`; what should be
/// known about a file of the original goes into `notes`.
///
/// # Errors
///
/// The file does not read: what is missing from it is not known to be missing.
pub(super) fn merge(
    inputs: &Inputs,
    mistakes: &mut Mistakes,
    notes: &mut Vec<String>,
) -> Result<Figment, Mistakes> {
    let mut figment = Figment::new();
    if let Some(path) = &inputs.file {
        figment = figment.merge(file_layer(path, inputs.text.as_deref(), notes)?);
    }
    for (name, text) in &inputs.environment {
        if let Some(path) = variable_path(name) {
            figment = figment.merge(text_layer(name.clone(), &path, text));
        }
    }
    for flag in &inputs.flags {
        match flag.split_once('=') {
            Some((key, text)) if !key.is_empty() => {
                let path = flag_path(key);
                figment = figment.merge(text_layer(format!("--set {key}"), &path, text));
            }
            _ => mistakes.add(Mistake {
                origin: "--set".into(),
                key: String::new(),
                problem: "has no key and value".into(),
                accepted: "write --set limits.sessions=5000".into(),
            }),
        }
    }
    Ok(figment)
}

/// The path of a key that a variable names, if it is one of ours.
fn variable_path(name: &str) -> Option<Vec<String>> {
    let rest = name.strip_prefix(PREFIX)?;
    // Orchestrators put these in for a service called "switcher".
    let of_a_service = rest.starts_with("SERVICE_") || rest.starts_with("PORT");
    if rest == "CONFIG" || of_a_service {
        return None;
    }
    Some(rest.to_lowercase().split("__").map(str::to_owned).collect())
}

/// `listeners[0].listen` and `listeners.0.listen` are the same.
fn flag_path(key: &str) -> Vec<String> {
    key.replace('[', ".").replace(']', "").split('.').map(str::to_owned).collect()
}

fn text_layer(origin: String, path: &[String], text: &str) -> Layer {
    let value = match keys::find(path) {
        Some(key) if key.form.is_plain_text() => Value::from(text),
        _ => toml_value(text).unwrap_or_else(|| Value::from(text)),
    };
    let value = path
        .iter()
        .rev()
        .fold(indexed(value), |value, name| Dict::from([(name.clone(), value)]).into());
    Layer { metadata: Metadata::named(origin), dict: value.into_dict().unwrap_or_default() }
}

fn toml_value(text: &str) -> Option<Value> {
    let mut table = toml::from_str::<toml::Table>(&format!("value = {text}")).ok()?;
    Value::serialize(table.remove("value").filter(|_| table.is_empty())?).ok()
}

fn file_layer(path: &Path, text: Option<&str>, notes: &mut Vec<String>) -> Result<Layer, Mistakes> {
    let origin = path.display().to_string();
    let mistake = |problem: String, accepted: &str| Mistakes::of_file(&origin, problem, accepted);
    let extension = path.extension().and_then(|extension| extension.to_str());
    let text = match text {
        Some(text) => Ok(text.to_owned()),
        None => std::fs::read_to_string(path),
    }
    .map_err(|error| mistake(format!("cannot be read: {error}"), "name a readable file"));
    let dict = match extension {
        Some("toml") => parse_toml(&text?).map_err(|p| mistake(p, "TOML is expected"))?,
        Some("json") => {
            let json = parse_json(&text?).map_err(|p| mistake(p, "JSON is expected"))?;
            native(json, &origin, notes)?
        }
        other => {
            // The original reads JSON whatever the file is called.
            let json = text.ok().and_then(|text| parse_json(&text).ok());
            let Some(json) = json.filter(original::is_one) else {
                let problem = match other {
                    Some(extension) => format!("has the extension {}", quoted(extension)),
                    None => "has no extension".into(),
                };
                return Err(mistake(problem, "a name ending in .toml or .json is expected"));
            };
            native(json, &origin, notes)?
        }
    };
    let metadata = Metadata::from(origin, Source::File(path.to_owned()));
    Ok(Layer { metadata, dict: indexed(dict.into()).into_dict().unwrap_or_default() })
}

/// The keys of a JSON file as ours, if they are the original's.
fn native(json: Json, origin: &str, notes: &mut Vec<String>) -> Result<Dict, Mistakes> {
    let json = if original::is_one(&json) {
        let translated = original::translate(&json, origin)?;
        notes.extend(translated.notes);
        translated.table
    } else {
        json
    };
    dict_of(json).map_err(|problem| {
        Mistakes::of(Mistake {
            origin: origin.to_owned(),
            key: String::new(),
            problem,
            accepted: "JSON is expected".into(),
        })
    })
}

/// Parses TOML. The error says where, but quotes nothing: the line may hold a secret.
fn parse_toml(text: &str) -> Result<Dict, String> {
    let table = toml::from_str::<toml::Table>(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let message = error.message().lines().next().unwrap_or_default();
        format!("line {line}, column {column}: {message}")
    })?;
    dict_of(table)
}

/// Parses JSON, with errors as for TOML.
pub(super) fn parse_json(text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|error| {
        let whole = error.to_string();
        let message = whole.split(" at line ").next().unwrap_or_default();
        if message.starts_with("invalid type") {
            "is no JSON object".into()
        } else {
            format!("line {}, column {}: {message}", error.line(), error.column())
        }
    })
}

fn dict_of(value: impl serde::Serialize) -> Result<Dict, String> {
    let value = Value::serialize(value).map_err(|error| error.kind.to_string())?;
    value.into_dict().ok_or_else(|| "is no table".into())
}

/// Turns every list of tables into a table with the keys 0, 1, ….
fn indexed(value: Value) -> Value {
    match value {
        Value::Dict(tag, dict) => {
            Value::Dict(tag, dict.into_iter().map(|(name, v)| (name, indexed(v))).collect())
        }
        Value::Array(_, items)
            if !items.is_empty() && items.iter().all(|item| item.as_dict().is_some()) =>
        {
            let numbered = items.into_iter().enumerate();
            Value::Dict(
                Tag::Default,
                numbered.map(|(at, item)| (at.to_string(), indexed(item))).collect(),
            )
        }
        other => other,
    }
}
