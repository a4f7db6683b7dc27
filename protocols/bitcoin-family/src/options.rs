//! Settings of a listener, and what a session keeps of what its listener knows about pools.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stratum_common::pool::name_hash;
use stratum_common::settings::{object, unknown, wrong};
use switcher_plugin::{ListenerView, ProfileError};

use crate::extra_data::Wanted;
use crate::flavour::{Extranonce, Flavour};
use crate::profile::{Fact, PoolTerms};
use crate::quirks::{self, OwnRow};
use crate::version_rolling::{DEFAULT_MASK, parse_mask};

/// Sizes of the extranonces told to a miner, in bytes, each 1 to 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Of extranonce1.
    pub(crate) size1: u8,
    /// Of extranonce2.
    pub(crate) size2: u8,
}

/// A listener's own settings.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    extranonce: Option<Sizes>,
    form: Wanted,
    version_mask: Option<u32>,
    quirks: Vec<OwnRow>,
}

/// What a session needs to know about its listener, worked out once when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenerTerms {
    /// Sizes fixed by the configuration.
    pub(crate) configured: Option<Sizes>,
    /// What miners are told, if their extranonce is in the header.
    pub(crate) form: Option<Wanted>,
    /// The extranonce2 size of all pools, if every one of them is an echo pool and they agree.
    pub(crate) echo_size: Option<u8>,
    /// The smallest extranonce2 size a session may meet, if there are pools at all.
    pub(crate) smallest: Option<u8>,
    /// The configured mask, or else the usual bits without those that a known pool does not allow.
    pub(crate) version_mask: u32,
    /// What the operator knows about miners.
    pub(crate) quirks: Box<[OwnRow]>,
    /// What is known about pools, so that only news is learnt.
    pub(crate) known: Box<[Known]>,
}

/// A fact and the pool it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Of the pool's name.
    pub(crate) pool: u32,
    /// What is known.
    pub(crate) fact: Fact,
}

impl ListenerTerms {
    /// Settings that do not read count as absent: they were refused when the program started.
    pub(crate) fn of(view: &ListenerView, flavour: &Flavour) -> Self {
        let options = Options::read(&view.options, flavour).unwrap_or_default();
        let mut learnt_mask = DEFAULT_MASK;
        let (mut smallest, mut echo_size, mut known) = (None, None, Vec::new());
        let mut all_echo = true;
        for pool in &view.pools {
            let Ok(terms) = PoolTerms::read(&pool.profile) else { continue };
            let fact = pool.fact.as_deref().and_then(Fact::read);
            let learnt = fact.map(|fact| fact.extranonce2_size);
            let is_echo = terms.echo || fact.is_some_and(|fact| terms.detect && fact.echo);
            // A pool nothing is known about counts as one with 4, the smallest common size.
            let guess = if is_echo { 8 } else { 4 };
            let size = learnt.or(terms.extranonce2_size).unwrap_or(guess);
            all_echo &= is_echo && echo_size.is_none_or(|other| other == size);
            echo_size = Some(size);
            if size >= 4 {
                smallest = Some(smallest.map_or(size, |least: u8| least.min(size)));
            }
            if let Some(fact) = fact {
                learnt_mask &= fact.version_mask.unwrap_or(u32::MAX);
                known.push(Known { pool: name_hash(&terms.pool), fact });
            }
        }
        Self {
            configured: options.extranonce,
            form: (flavour.extranonce == Extranonce::ExtraData).then_some(options.form),
            echo_size: echo_size.filter(|size| all_echo && (1..=8).contains(size)),
            smallest,
            // What the operator states stands: else one pool without version rolling would take it
            // from the miners of all others, with no way to keep it.
            version_mask: options.version_mask.unwrap_or(learnt_mask),
            quirks: options.quirks.into(),
            known: known.into(),
        }
    }
}

/// Checks a listener's settings.
///
/// # Errors
///
/// A key is not known or its value is not one of those accepted.
pub(crate) fn check(options: &Value, flavour: &Flavour) -> Result<(), ProfileError> {
    Options::read(options, flavour).map(|_| ())
}

impl Default for Options {
    fn default() -> Self {
        Self { extranonce: None, form: Wanted::ByAgent, version_mask: None, quirks: Vec::new() }
    }
}

impl Options {
    fn read(options: &Value, flavour: &Flavour) -> Result<Self, ProfileError> {
        let mut read = Self::default();
        let (own_key, in_header) = match flavour.extranonce {
            Extranonce::Coinbase => ("extranonce", false),
            Extranonce::ExtraData => ("form", true),
        };
        for (key, value) in object("options", options)?.into_iter().flatten() {
            match key.as_str() {
                "extranonce" if !in_header => read.extranonce = Some(sizes(value)?),
                "form" if in_header => read.form = Wanted::read(key, value)?,
                "version_mask" => {
                    let mask = value.as_str().and_then(parse_mask).ok_or_else(|| {
                        wrong(key, value, "8 hex digits, such as \"1fffe000\", are accepted")
                    })?;
                    read.version_mask = Some(mask);
                }
                "quirks" => read.quirks = quirks::read(value)?,
                _ => return Err(unknown(key, &format!("{own_key}, quirks and version_mask"))),
            }
        }
        Ok(read)
    }
}

fn sizes(value: &Value) -> Result<Sizes, ProfileError> {
    let accepted = "an object with size1 and size2, each 1 to 8, is accepted";
    let size = |key: &str| {
        let size = value.get(key).and_then(Value::as_u64).and_then(|size| u8::try_from(size).ok());
        size.filter(|size| (1..=8).contains(size))
    };
    let only_two = value.as_object().is_some_and(|object| object.len() == 2);
    match (only_two, size("size1"), size("size2")) {
        (true, Some(size1), Some(size2)) => Ok(Sizes { size1, size2 }),
        _ => Err(wrong("extranonce", value, accepted)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_read_and_mistakes_are_named() {
        let in_coinbase =
            Flavour { name: "btc", address_prefixes: &[], extranonce: Extranonce::Coinbase };
        let in_header = Flavour { extranonce: Extranonce::ExtraData, ..in_coinbase };
        let check = |options: &Value| check(options, &in_coinbase);
        assert!(check(&Value::Null).is_ok());
        assert!(check(&json!({"extranonce": {"size1": 2, "size2": 6}})).is_ok());
        for (options, key) in [
            (json!({"extranonce": {"size1": 0, "size2": 6}}), "extranonce"),
            (json!({"extranonce": {"size1": 1}}), "extranonce"),
            (json!({"extranonce": {"size1": 1, "size2": 4, "size3": 4}}), "extranonce"),
            (json!({"version_mask": 1}), "version_mask"),
            (json!({"mask": "1fffe000"}), "mask"),
            (json!({"form": "normal"}), "form"),
            (json!({"quirks": [{"agent": "x", "size": 1}]}), "quirks[0].size"),
            (json!([]), "options"),
        ] {
            assert_eq!(check(&options).unwrap_err().key, key);
        }
        let check = |options: &Value| super::check(options, &in_header);
        assert!(check(&json!({"form": "gominer", "version_mask": "00000000"})).is_ok());
        assert_eq!(check(&json!({"form": "nicehash"})).unwrap_err().key, "form");
        let unknown = check(&json!({"extranonce": {"size1": 2, "size2": 6}})).unwrap_err();
        assert_eq!(unknown.accepted, "form, quirks and version_mask are known");
    }
}
