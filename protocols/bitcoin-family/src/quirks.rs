//! What is known about miners by the agent they name in `mining.subscribe`. One row per fact, with
//! its source; nothing else in this crate looks at an agent's name. A listener's `quirks` are rows
//! of the same kind behind these, so that an operator can correct what is known here.

use serde_json::Value;
use switcher_plugin::ProfileError;

use stratum_common::settings::{unknown, wrong};

/// What a miner's agent implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quirks {
    /// The only extranonce2 size the miner can work with.
    pub(crate) extranonce2_size: Option<u8>,
    /// The smallest extranonce2 size the miner can work with.
    pub(crate) extranonce2_least: u8,
    /// The miner is known to obey `mining.set_version_mask` while it mines.
    pub(crate) obeys_version_mask: bool,
    /// A Decred miner that puts its extranonce2 behind its extranonce1.
    pub(crate) appends_extranonce2: bool,
    /// What `mining.set_extranonce` may do, if the miner asks for it.
    pub(crate) set_extranonce: SetExtranonce,
    /// The miner is known to come back to the same address on `client.reconnect` without
    /// parameters.
    pub(crate) obeys_reconnect: bool,
}

/// What `mining.set_extranonce` may do to a miner that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetExtranonce {
    /// Change everything.
    Any,
    /// Nothing: it must not come.
    Never,
    /// Change extranonce1 only. Many firmwares mishandle another size, so this is what holds for
    /// one nothing is known about.
    SameSize,
}

/// What a row says; nothing about the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    extranonce2_size: Option<u8>,
    extranonce2_least: Option<u8>,
    obeys_version_mask: Option<bool>,
    set_extranonce: Option<SetExtranonce>,
    obeys_reconnect: Option<bool>,
    appends_extranonce2: Option<bool>,
}

const NONE: Facts = Facts {
    extranonce2_size: None,
    extranonce2_least: None,
    obeys_version_mask: None,
    set_extranonce: None,
    obeys_reconnect: None,
    appends_extranonce2: None,
};

/// The miner comes back, and may be told any extranonce if it asks for that.
const AGILE: Facts =
    Facts { set_extranonce: Some(SetExtranonce::Any), obeys_reconnect: Some(true), ..NONE };

const ANY: Facts = Facts { set_extranonce: Some(SetExtranonce::Any), ..NONE };

const NEVER: Facts =
    Facts { set_extranonce: Some(SetExtranonce::Never), obeys_reconnect: Some(false), ..NONE };

/// A word of an agent's name, in lower case, and what it implies. Later rows correct earlier ones.
const ROWS: &[(&str, Facts)] = &[
    // NiceHash as a client spreads one connection over many miners and wants room for it.
    // For Decred it has a rule of its own (nicehash/Specifications, Decred_NiceHash.txt).
    ("nicehash/", Facts { extranonce2_least: Some(4), appends_extranonce2: Some(true), ..NONE }),
    // BTCAgent has no message that changes an extranonce. Version 2 hands every mask on to its
    // miners (btccom/btcagent); older ones look at none after login.
    ("btccom-agent/", NEVER),
    ("btccom-agent/2", Facts { obeys_version_mask: Some(true), ..NONE }),
    // cgminer reads the mask anew with every set_version_mask, takes client.reconnect without a host
    // for its own (parse_version_mask and parse_reconnect in util.c), and any extranonce where
    // Bitmain has added it (parse_extranonce).
    ("cgminer/", Facts { obeys_version_mask: Some(true), ..AGILE }),
    // Antminer's cgminer under another name; the same functions.
    ("bmminer", AGILE),
    ("sgminer", AGILE),
    // bfgminer: stratum_set_extranonce and parse_reconnect in util.c.
    ("bfgminer", AGILE),
    // cpuminer's heirs take any extranonce (stratum_parse_extranonce in util.c). Their client.reconnect
    // needs a host and a port (stratum_reconnect), which we do not know as they do.
    ("cpuminer", ANY),
    ("ccminer", ANY),
    // AxeOS takes the mask at once, an extranonce of up to 32 bytes like that of a subscribe, and
    // goes back to its configured pool on client.reconnect (stratum_v1_task.c).
    ("bitaxe", Facts { obeys_version_mask: Some(true), ..AGILE }),
    // NerdAxe and NerdQAxe: some versions reset on set_extranonce; neither does client.reconnect
    // (source and change log of dpmp).
    ("nerdaxe", NEVER),
    ("nerdqaxe", Facts { obeys_version_mask: Some(true), ..NEVER }),
    // NerdMiner allocates for one size, and knows neither message (its stratum.cpp; dpmp).
    ("nerdminer", NEVER),
    // Braiins' BM-101 disconnects when the size changes (dpmp).
    ("bm-101", Facts { set_extranonce: Some(SetExtranonce::SameSize), ..NONE }),
    // Avalon's controllers need 3 bytes (the avalon drivers of Canaan's cgminer).
    ("avalon", Facts { extranonce2_least: Some(3), ..NONE }),
    // Avalon's home miners do not support it (dpmp).
    ("nano3s", Facts { set_extranonce: Some(SetExtranonce::Never), ..NONE }),
    ("nano 3s", Facts { set_extranonce: Some(SetExtranonce::Never), ..NONE }),
    ("avalon q", Facts { set_extranonce: Some(SetExtranonce::Never), ..NONE }),
    ("avalonq", Facts { set_extranonce: Some(SetExtranonce::Never), ..NONE }),
];

impl Quirks {
    /// What is known about `agent`: what all rows that fit say, the listener's own last.
    pub(crate) fn of(agent: &str, own: &[OwnRow]) -> Self {
        let agent = agent.to_ascii_lowercase();
        let mut all = Self::default();
        let own = own.iter().map(|row| (&*row.agent, &row.facts));
        let rows = ROWS.iter().map(|(word, facts)| (*word, facts)).chain(own);
        for (_, facts) in rows.filter(|(word, _)| agent.contains(word)) {
            all.extranonce2_size = facts.extranonce2_size.or(all.extranonce2_size);
            all.extranonce2_least = facts.extranonce2_least.unwrap_or(all.extranonce2_least);
            all.obeys_version_mask = facts.obeys_version_mask.unwrap_or(all.obeys_version_mask);
            all.set_extranonce = facts.set_extranonce.unwrap_or(all.set_extranonce);
            all.obeys_reconnect = facts.obeys_reconnect.unwrap_or(all.obeys_reconnect);
            all.appends_extranonce2 = facts.appends_extranonce2.unwrap_or(all.appends_extranonce2);
        }
        all
    }
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            extranonce2_size: None,
            extranonce2_least: 0,
            obeys_version_mask: false,
            set_extranonce: SetExtranonce::SameSize,
            obeys_reconnect: false,
            appends_extranonce2: false,
        }
    }
}

/// A row of a listener's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnRow {
    agent: Box<str>,
    facts: Facts,
}

const KEY: &str = "quirks";

const KEYS: &str = "agent, extranonce2_size, extranonce2_least, version_mask, set_extranonce and \
                    reconnect";

/// Reads the `quirks` of a listener.
///
/// # Errors
///
/// A row has no agent, a key that is not known, or a value that is not one of those accepted.
pub(crate) fn read(value: &Value) -> Result<Vec<OwnRow>, ProfileError> {
    let rows = value.as_array().ok_or_else(|| {
        wrong(KEY, value, "a list such as [{ agent = \"mine/1\", reconnect = true }] is accepted")
    })?;
    rows.iter().enumerate().map(|(at, row)| own_row(&format!("{KEY}[{at}]"), row)).collect()
}

fn own_row(place: &str, row: &Value) -> Result<OwnRow, ProfileError> {
    let object = row.as_object().ok_or_else(|| {
        wrong(place, row, "a table such as { agent = \"mine/1\", reconnect = true } is accepted")
    })?;
    let agent = object.get("agent").and_then(Value::as_str).filter(|agent| !agent.is_empty());
    let agent = agent.ok_or_else(|| {
        wrong(place, row, "each row has an agent, a part of the name in any case")
    })?;
    let mut facts = NONE;
    for (key, value) in object {
        let place = format!("{place}.{key}");
        let size = || {
            let size = value.as_u64().and_then(|size| u8::try_from(size).ok());
            size.filter(|size| (1..=8).contains(size))
                .ok_or_else(|| wrong(&place, value, "a number from 1 to 8 is accepted"))
        };
        let flag =
            || value.as_bool().ok_or_else(|| wrong(&place, value, "true and false are accepted"));
        match key.as_str() {
            "agent" => {}
            "extranonce2_size" => facts.extranonce2_size = Some(size()?),
            "extranonce2_least" => facts.extranonce2_least = Some(size()?),
            "version_mask" => facts.obeys_version_mask = Some(flag()?),
            "reconnect" => facts.obeys_reconnect = Some(flag()?),
            "set_extranonce" => {
                facts.set_extranonce = Some(match value.as_str() {
                    Some("any") => SetExtranonce::Any,
                    Some("never") => SetExtranonce::Never,
                    Some("same-size") => SetExtranonce::SameSize,
                    _ => {
                        let accepted = "\"any\", \"same-size\" and \"never\" are accepted";
                        return Err(wrong(&place, value, accepted));
                    }
                });
            }
            _ => return Err(unknown(&place, KEYS)),
        }
    }
    Ok(OwnRow { agent: agent.to_ascii_lowercase().into(), facts })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known(agent: &str) -> Quirks {
        Quirks::of(agent, &[])
    }

    #[test]
    fn agents_are_known_by_a_word_of_their_name_in_any_case() {
        assert_eq!(known("NiceHash/1.0.0").extranonce2_least, 4);
        assert!(known("btccom-agent/2.0.1").obeys_version_mask);
        assert!(!known("btccom-agent/0.1").obeys_version_mask);
        assert!(known("cgminer/4.11.1").obeys_version_mask);
        assert!(!known("bmminer/2.0.0").obeys_version_mask);
        assert!(known("bmminer/2.0.0/Antminer S19/13050").obeys_reconnect);
        assert!(!known("cpuminer/2.5.1").obeys_reconnect);
        assert_eq!(known("NerdAxeGamma/v1.0.3").set_extranonce, SetExtranonce::Never);
        assert_eq!(known("cgminer/4.11.1 AvalonNano3s").set_extranonce, SetExtranonce::Never);
        assert_eq!(known(""), Quirks::default());
    }

    #[test]
    fn a_listeners_own_rows_correct_what_is_known() {
        let own = read(&json!([
            {"agent": "NerdQAxe", "set_extranonce": "any", "reconnect": true},
            {"agent": "mine", "extranonce2_size": 5, "version_mask": true},
        ]))
        .unwrap();

        let nerd = Quirks::of("nerdqaxe++/1.0.36", &own);
        assert_eq!((nerd.set_extranonce, nerd.obeys_reconnect), (SetExtranonce::Any, true));
        assert!(nerd.obeys_version_mask, "what the row does not name stays");
        assert_eq!(Quirks::of("Mine/1", &own).extranonce2_size, Some(5));
    }

    #[test]
    fn mistakes_in_rows_are_named() {
        for (quirks, key) in [
            (json!({}), "quirks"),
            (json!(["x"]), "quirks[0]"),
            (json!([{"reconnect": true}]), "quirks[0]"),
            (json!([{"agent": "", "reconnect": true}]), "quirks[0]"),
            (json!([{"agent": "x"}, {"agent": "x", "reconnect": 1}]), "quirks[1].reconnect"),
            (json!([{"agent": "x", "set_extranonce": "no"}]), "quirks[0].set_extranonce"),
            (json!([{"agent": "x", "extranonce2_size": 9}]), "quirks[0].extranonce2_size"),
            (json!([{"agent": "x", "pause": 1}]), "quirks[0].pause"),
        ] {
            assert_eq!(read(&quirks).unwrap_err().key, key, "{quirks}");
        }
    }
}
