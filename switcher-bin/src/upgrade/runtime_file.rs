//! A readable copy of the state that was carried over, for whoever wonders what was in it.
//!
//! Nobody reads it back. What may hold a secret is left out: what dialects and sources keep (the
//! miners' passwords, the way to a backend), the configuration, and bytes in flight, of which only the number stays.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::Value;
use switcher_upgrade::{envelope, memory};

/// Writes it beside the path and moves it there.
///
/// # Errors
///
/// It cannot be written.
pub(super) fn write(path: &Path, memory: &OwnedFd) -> anyhow::Result<()> {
    let (_, body) = envelope::decode::<Value>(&memory::read(memory)?)?;
    let mut value = serde_json::to_value(body)?;
    leave_secrets_out(&mut value);
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = Path::new(&name);
    // One that was left lying about might be open to others.
    let _ = std::fs::remove_file(beside);
    let mut file =
        std::fs::File::options().write(true).create_new(true).mode(0o600).open(beside)?;
    serde_json::to_writer_pretty(&mut file, &value)?;
    file.write_all(b"\n")?;
    Ok(std::fs::rename(beside, path)?)
}

fn leave_secrets_out(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(leave_secrets_out),
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), &*value) {
                    ("rx" | "tx", Value::String(bytes)) => {
                        *value = Value::from(format!("{} bytes", bytes.len() * 3 / 4));
                    }
                    ("state" | "configuration", Value::String(_)) => {
                        *value = Value::from("left out");
                    }
                    ("texts", Value::Array(texts)) => {
                        *value = Value::from(format!("{} left out", texts.len()));
                    }
                    ("sources", Value::Object(sources)) => {
                        *value = sources.keys().map(String::as_str).collect();
                    }
                    _ => leave_secrets_out(value),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_left_out_and_the_rest_stays() {
        let mut value = json!({ "configuration": "password = 'hunter2'", "document": {
            "sources": { "zookeeper": "hunter2" }, "texts": ["hunter2"],
            "sessions": [{ "peer": "1.2.3.4:5", "down": { "rx": "aHVudGVyMg", "tx": "" },
                "stage": { "speaking": { "machine": { "dialect": { "version": 1, "state": "hunter2" } } } } }],
        }});

        leave_secrets_out(&mut value);

        let text = value.to_string();
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
        assert!(text.contains("1.2.3.4:5") && text.contains(r#""rx":"7 bytes""#), "{text}");
        assert!(text.contains(r#""sources":["zookeeper"]"#), "{text}");
        assert!(text.contains(r#""texts":"1 left out""#), "{text}");
    }
}
