//! Reading the settings of listeners and pools, and the errors that name a key.

use serde_json::{Map, Value};
use switcher_plugin::ProfileError;

use crate::names::check_template;

/// The members of an object that may be absent.
///
/// # Errors
///
/// The value is something else.
pub fn object<'v>(
    key: &str,
    value: &'v Value,
) -> Result<Option<&'v Map<String, Value>>, ProfileError> {
    match value {
        Value::Null => Ok(None),
        Value::Object(object) => Ok(Some(object)),
        _ => Err(wrong(key, value, "an object is accepted")),
    }
}

/// The error for a value that is not accepted.
pub fn wrong(key: &str, value: &Value, accepted: &str) -> ProfileError {
    ProfileError {
        key: key.to_owned(),
        problem: format!("{value} is not possible here"),
        accepted: accepted.to_owned(),
    }
}

/// The error for a key that is not known.
pub fn unknown(key: &str, accepted: &str) -> ProfileError {
    ProfileError {
        key: key.to_owned(),
        problem: "there is no such setting".to_owned(),
        accepted: format!("{accepted} are known"),
    }
}

/// A template that may be absent.
///
/// # Errors
///
/// It has a placeholder that there is none of.
pub fn template(key: &str, template: Option<&str>) -> Result<Option<String>, ProfileError> {
    template.map_or(Ok(()), |template| check_template(key, template))?;
    Ok(template.map(str::to_owned))
}

/// A text.
///
/// # Errors
///
/// The value is something else.
pub fn text<'v>(key: &str, value: &'v Value) -> Result<&'v str, ProfileError> {
    value.as_str().ok_or_else(|| wrong(key, value, "a text is accepted"))
}

/// One of some texts.
///
/// # Errors
///
/// The value is none of them.
pub fn one_of<'v>(key: &str, value: &'v Value, accepted: &[&str]) -> Result<&'v str, ProfileError> {
    let text = value.as_str().filter(|text| accepted.contains(text));
    text.ok_or_else(|| wrong(key, value, &format!("{} are accepted", accepted.join(" and "))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_and_mistakes_are_named() {
        assert_eq!(object("o", &Value::Null), Ok(None));
        assert_eq!(object("o", &json!({})), Ok(Some(&Map::new())));
        assert_eq!(object("o", &json!([])).unwrap_err().accepted, "an object is accepted");
        assert_eq!(text("t", &json!("x")), Ok("x"));
        assert_eq!(text("t", &json!(1)).unwrap_err().problem, "1 is not possible here");
        assert_eq!(one_of("k", &json!("b"), &["a", "b"]), Ok("b"));
        assert_eq!(
            one_of("k", &json!("c"), &["a", "b"]).unwrap_err().accepted,
            "a and b are accepted"
        );
        assert_eq!(template("user", Some("{rig}")), Ok(Some("{rig}".to_owned())));
        assert_eq!(template("user", Some("{x}")).unwrap_err().key, "user");
        assert_eq!(unknown("k", "a and b").accepted, "a and b are known");
    }
}
