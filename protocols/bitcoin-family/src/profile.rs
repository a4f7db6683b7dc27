//! Settings of a pool, their plain form that a leg gets, and the facts that are learnt about it.

use serde::{Deserialize, Serialize};
use stratum_common::names::{Placeholders, Prefix};
use stratum_common::pool::OWN_AGENT;
use stratum_common::settings::{object, one_of, template, text, unknown, wrong};
use switcher_plugin::{Profile, ProfileError, UpstreamSettings};

use crate::flavour::Flavour;

/// What a leg needs to know about its pool; the content of a [`Profile`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolTerms {
    /// Name of the pool, by which facts about it are told apart.
    pub(crate) pool: String,
    /// `BTCPool`'s sserver in switcher mode: adopts the extranonce1 we propose.
    pub(crate) echo: bool,
    /// Whether it is sserver is found out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) detect: bool,
    /// Whether authorize may be sent before subscribe was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pipeline: Option<bool>,
    /// Its extranonce2 size, if the operator has stated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extranonce2_size: Option<u8>,
    /// Template of the user name; `{worker}` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Template of the password; the miner's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<String>,
    /// What an echo pool is tried with when it refuses the plain name.
    pub(crate) user_suffix: String,
    /// Address prefixes that the pool does not want in user names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) strip: Vec<String>,
    /// How a probe presents itself.
    pub(crate) probe: Probe,
}

/// How a probe presents itself to a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// Its agent.
    pub(crate) agent: String,
    /// Its user; without one it does not log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Its password.
    pub(crate) password: String,
}

const KEYS: &str = "extranonce, extranonce2_size, pipeline, user_suffix, cashaddr_prefix, \
                    probe_agent, probe_user and probe_password";

impl PoolTerms {
    /// Works out the terms from the configuration.
    ///
    /// # Errors
    ///
    /// A key is not known or its value is not one of those accepted.
    pub(crate) fn of(
        settings: &UpstreamSettings<'_>,
        flavour: &Flavour,
    ) -> Result<Self, ProfileError> {
        let mut terms = Self {
            pool: settings.name.to_owned(),
            echo: false,
            detect: false,
            pipeline: None,
            extranonce2_size: None,
            user: template("user", settings.user)?,
            password: template("password", settings.password)?,
            user_suffix: settings.coin.as_str().to_owned(),
            strip: Vec::new(),
            probe: Probe { agent: OWN_AGENT.to_owned(), user: None, password: "x".to_owned() },
        };
        for (key, value) in object("options", settings.options)?.into_iter().flatten() {
            match key.as_str() {
                "extranonce" => {
                    let kind = one_of(key, value, &["own", "echo", "detect"])?;
                    (terms.echo, terms.detect) = (kind == "echo", kind == "detect");
                }
                "extranonce2_size" => {
                    let size = value.as_u64().and_then(|size| u8::try_from(size).ok());
                    terms.extranonce2_size = size.filter(|size| (1..=16).contains(size));
                    if terms.extranonce2_size.is_none() {
                        return Err(wrong(key, value, "a number from 1 to 16 is accepted"));
                    }
                }
                "pipeline" => {
                    let flag = value.as_bool();
                    terms.pipeline =
                        Some(flag.ok_or_else(|| wrong(key, value, "true and false are accepted"))?);
                }
                "cashaddr_prefix" if !flavour.address_prefixes.is_empty() => {
                    if one_of(key, value, &["keep", "strip"])? == "strip" {
                        let prefixes = flavour.address_prefixes.iter();
                        terms.strip = prefixes.map(|&prefix| prefix.to_owned()).collect();
                    }
                }
                "user_suffix" => text(key, value)?.clone_into(&mut terms.user_suffix),
                "probe_agent" => text(key, value)?.clone_into(&mut terms.probe.agent),
                "probe_user" => terms.probe.user = Some(text(key, value)?.to_owned()),
                "probe_password" => text(key, value)?.clone_into(&mut terms.probe.password),
                _ => return Err(unknown(key, KEYS)),
            }
        }
        Ok(terms)
    }

    /// Whether authorize may be sent before subscribe was answered. sserver takes all three requests
    /// in one piece, as the original sends them; a pool of `LuxOS`, for one, refuses an authorize that
    /// comes before subscribe was answered.
    pub(crate) fn pipelines(&self, is_echo: bool) -> bool {
        self.pipeline.unwrap_or(is_echo)
    }

    /// The terms as a profile.
    pub(crate) fn to_profile(&self) -> Profile {
        let json = serde_json::to_vec(self).expect("plain data with text keys is JSON");
        Profile(json.into())
    }

    /// The terms of a profile that a dialect of this family has made.
    ///
    /// # Errors
    ///
    /// Another dialect has made it.
    pub(crate) fn read(profile: &Profile) -> Result<Self, String> {
        serde_json::from_slice(&profile.0)
            .map_err(|error| format!("the pool's profile is none of this family: {error}"))
    }

    /// The user name by which the pool knows `worker`.
    pub(crate) fn user(&self, worker: &str, canonical: Option<&str>, suffixed: bool) -> String {
        let suffix = if suffixed { format!("_{}", self.user_suffix) } else { String::new() };
        self.placeholders(worker, canonical, &suffix)
            .fill(self.user.as_deref().unwrap_or("{worker}"))
    }

    /// The password of `worker`, if the pool has one of its own.
    pub(crate) fn password(&self, worker: &str, canonical: Option<&str>) -> Option<String> {
        Some(self.placeholders(worker, canonical, "").fill(self.password.as_deref()?))
    }

    fn placeholders<'a>(
        &'a self,
        worker: &'a str,
        canonical: Option<&'a str>,
        suffix: &'a str,
    ) -> Placeholders<'a> {
        let prefix = if self.strip.is_empty() { Prefix::Keep } else { Prefix::Strip(&self.strip) };
        Placeholders { worker, canonical, suffix, prefix }
    }
}

/// What sessions learn about a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fact {
    /// Bytes of its extranonce1.
    pub(crate) extranonce1_size: u8,
    /// Its extranonce2 size.
    pub(crate) extranonce2_size: u8,
    /// Version bits it allows to roll, if somebody who may roll all the usual ones has asked.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "crate::version_rolling::hex"
    )]
    pub(crate) version_mask: Option<u32>,
    /// It has adopted an extranonce1 that we proposed, as only sserver does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) echo: bool,
}

impl Fact {
    /// Reads what [`Fact::to_json`] has written.
    pub(crate) fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The fact as JSON text.
    pub(crate) fn to_json(self) -> String {
        serde_json::to_string(&self).expect("plain data with text keys is JSON")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use switcher_plugin::Coin;

    use super::*;
    use crate::flavour::Extranonce;

    const CASH: Flavour = Flavour {
        name: "bch",
        address_prefixes: &["bitcoincash:"],
        extranonce: Extranonce::Coinbase,
    };
    const PLAIN: Flavour =
        Flavour { name: "btc", address_prefixes: &[], extranonce: Extranonce::Coinbase };

    fn terms(flavour: &Flavour, user: Option<&str>, options: &Value) -> Result<PoolTerms, String> {
        let coin = Coin::new("btc");
        let settings = UpstreamSettings { name: "p", coin: &coin, user, password: None, options };
        PoolTerms::of(&settings, flavour).map_err(|error| error.key)
    }

    #[test]
    fn an_echo_pool_is_asked_in_one_piece_and_others_step_by_step() {
        let echo = terms(&PLAIN, None, &json!({"extranonce": "echo"})).unwrap();
        let own = terms(&PLAIN, None, &Value::Null).unwrap();

        assert!(echo.echo && echo.pipelines(true));
        assert!(!own.echo && !own.detect && !own.pipelines(false));
        assert_eq!(echo.user("alice.rig", None, true), "alice_btc.rig");
        assert_eq!(PoolTerms::read(&echo.to_profile()), Ok(echo));
    }

    #[test]
    fn mistakes_are_named_by_their_key() {
        for (options, key) in [
            (json!({"extranonce": "mine"}), "extranonce"),
            (json!({"extranonce2_size": 0}), "extranonce2_size"),
            (json!({"pipeline": "yes"}), "pipeline"),
            (json!({"cashaddr_prefix": "strip"}), "cashaddr_prefix"),
            (json!({"user_suffix": 1}), "user_suffix"),
            (json!({"nonsense": 1}), "nonsense"),
            (json!(1), "options"),
        ] {
            assert_eq!(terms(&PLAIN, None, &options).unwrap_err(), key);
        }
        assert_eq!(terms(&PLAIN, Some("{x}"), &Value::Null).unwrap_err(), "user");
    }

    #[test]
    fn a_pool_may_want_addresses_without_their_prefix() {
        let strip = terms(&CASH, None, &json!({"cashaddr_prefix": "strip"})).unwrap();
        let keep = terms(&CASH, None, &json!({"cashaddr_prefix": "keep"})).unwrap();

        assert_eq!(strip.user("bitcoincash:qpm2.s19", None, false), "qpm2.s19");
        assert_eq!(keep.user("bitcoincash:qpm2.s19", None, false), "bitcoincash:qpm2.s19");
    }

    #[test]
    fn facts_come_back() {
        for version_mask in [None, Some(0x1fff_e000), Some(0)] {
            for echo in [false, true] {
                let fact = Fact { extranonce1_size: 4, extranonce2_size: 8, version_mask, echo };

                assert_eq!(Fact::read(&fact.to_json()), Some(fact));
            }
        }
    }
}
