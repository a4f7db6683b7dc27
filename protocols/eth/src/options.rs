//! Settings of a listener.

use serde_json::Value;
use stratum_common::pool::name_hash;
use stratum_common::settings::{object, unknown, wrong};
use switcher_plugin::{ListenerView, ProfileError};

use crate::profile::{Fact, PoolTerms};
use crate::variant::Variant;

/// What a session needs to know about its listener, worked out once when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenerTerms {
    /// Variants that miners may speak here.
    pub(crate) variants: Box<[Variant]>,
    /// What is known about pools.
    pub(crate) known: Box<[(u32, Fact)]>,
}

impl ListenerTerms {
    /// Settings that do not read count as absent: they were refused when the program started.
    pub(crate) fn of(view: &ListenerView) -> Self {
        let variants = variants(&view.options).unwrap_or_else(|_| Variant::ALL.to_vec());
        let known = view.pools.iter().filter_map(|pool| {
            let terms = PoolTerms::read(&pool.profile).ok()?;
            Some((name_hash(&terms.pool), Fact::read(pool.fact.as_deref()?)?))
        });
        Self { variants: variants.into(), known: known.collect() }
    }
}

/// Checks a listener's settings.
///
/// # Errors
///
/// A key is not known or its value is not one of those accepted.
pub(crate) fn check(options: &Value) -> Result<(), ProfileError> {
    variants(options).map(|_| ())
}

fn variants(options: &Value) -> Result<Vec<Variant>, ProfileError> {
    let mut read = Variant::ALL.to_vec();
    for (key, value) in object("options", options)?.into_iter().flatten() {
        match key.as_str() {
            "variants" => read = variant_list(key, value)?,
            _ => return Err(unknown(key, "variants")),
        }
    }
    Ok(read)
}

/// A list of variants that is not empty.
pub(crate) fn variant_list(key: &str, value: &Value) -> Result<Vec<Variant>, ProfileError> {
    let accepted = || wrong(key, value, &format!("a list of {} is accepted", Variant::LABELS));
    let list = value.as_array().filter(|list| !list.is_empty()).ok_or_else(accepted)?;
    let mut variants = Vec::with_capacity(list.len());
    for name in list {
        let variant = name.as_str().and_then(Variant::of).ok_or_else(accepted)?;
        if !variants.contains(&variant) {
            variants.push(variant);
        }
    }
    Ok(variants)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variants_are_read_and_mistakes_are_named() {
        assert_eq!(variants(&Value::Null).unwrap(), Variant::ALL);
        let some = variants(&json!({"variants": ["nicehash", "ethproxy"]})).unwrap();
        assert_eq!(some, [Variant::NiceHash, Variant::EthProxy]);
        for (options, key) in [
            (json!({"variants": []}), "variants"),
            (json!({"variants": "nicehash"}), "variants"),
            (json!({"variants": ["stratum3"]}), "variants"),
            (json!({"variant": ["nicehash"]}), "variant"),
            (json!([]), "options"),
        ] {
            assert_eq!(check(&options).unwrap_err().key, key);
        }
    }
}
