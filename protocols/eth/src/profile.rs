//! Settings of a pool, their plain form that a leg gets, and the fact that is learnt about it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stratum_common::names::{Placeholders, Prefix};
use stratum_common::settings::{object, one_of, template, text, unknown, wrong};
use switcher_plugin::{Profile, ProfileError, UpstreamSettings};

use crate::options::variant_list;
use crate::variant::Variant;

/// What a leg needs to know about its pool; the content of a [`Profile`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolTerms {
    /// Name of the pool, by which facts about it are told apart.
    pub(crate) pool: String,
    /// How it wants to be spoken to, in the order of the tries; whatever serves the miner if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) variants: Vec<Variant>,
    /// Who chooses the extranonce.
    pub(crate) extranonce: Chooser,
    /// The pool does not look at the mix digest of a share, so that a made-up one will do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) mix_ignored: bool,
    /// The pool takes whole nonces that do not begin with its extranonce.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) prefix_ignored: bool,
    /// Template of the user name; `{worker}` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Template of the password; the miner's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<String>,
    /// Template of the `worker` member; none is sent if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<String>,
    /// What an echo pool is tried with when it refuses the plain name.
    pub(crate) user_suffix: String,
}

/// Who chooses the extranonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Chooser {
    /// The pool, as pools do.
    Own,
    /// We do: it is `BTCPool`'s sserver in switcher mode.
    Echo,
    /// That is found out.
    Detect,
}

const KEYS: &str = "variant, extranonce, mix_digest, nonce_prefix, worker and user_suffix";

impl PoolTerms {
    /// Works out the terms from the configuration.
    ///
    /// # Errors
    ///
    /// A key is not known or its value is not one of those accepted.
    pub(crate) fn of(settings: &UpstreamSettings<'_>) -> Result<Self, ProfileError> {
        let mut terms = Self {
            pool: settings.name.to_owned(),
            variants: Vec::new(),
            extranonce: Chooser::Own,
            mix_ignored: false,
            prefix_ignored: false,
            user: template("user", settings.user)?,
            password: template("password", settings.password)?,
            worker: None,
            user_suffix: settings.coin.as_str().to_owned(),
        };
        for (key, value) in object("options", settings.options)?.into_iter().flatten() {
            match key.as_str() {
                "variant" => terms.variants = variants(key, value)?,
                "extranonce" => {
                    terms.extranonce = match one_of(key, value, &["own", "echo", "detect"])? {
                        "echo" => Chooser::Echo,
                        "detect" => Chooser::Detect,
                        _ => Chooser::Own,
                    };
                }
                "mix_digest" => {
                    terms.mix_ignored = one_of(key, value, &["checked", "ignored"])? == "ignored";
                }
                "nonce_prefix" => {
                    terms.prefix_ignored =
                        one_of(key, value, &["enforced", "ignored"])? == "ignored";
                }
                "worker" => terms.worker = template(key, Some(text(key, value)?))?,
                "user_suffix" => text(key, value)?.clone_into(&mut terms.user_suffix),
                _ => return Err(unknown(key, KEYS)),
            }
        }
        Ok(terms)
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
        fill(self.user.as_deref().unwrap_or("{worker}"), worker, canonical, &suffix)
    }
}

/// Fills a template. `suffix` is put behind the sub-account.
pub(crate) fn fill(template: &str, worker: &str, canonical: Option<&str>, suffix: &str) -> String {
    Placeholders { worker, canonical, suffix, prefix: Prefix::Keep }.fill(template)
}

/// One way of shaking hands with a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Way {
    /// What is spoken.
    pub(crate) variant: Variant,
    /// As with sserver: we propose the extranonce.
    pub(crate) echo: bool,
}

/// The ways in which a pool can serve a miner of a variant, best first: what it is known to speak,
/// what the miner speaks itself, and what can be translated.
///
/// # Errors
///
/// There is none; the text says why.
pub(crate) fn ways(
    terms: &PoolTerms,
    miner: Variant,
    fact: Option<Fact>,
) -> Result<Vec<Way>, String> {
    // sserver speaks everything but the youngest variant.
    let at_sserver = if miner == Variant::Stratum2 { Variant::NiceHash } else { miner };
    let echo = Way { variant: at_sserver, echo: true };
    if terms.extranonce == Chooser::Echo {
        return Ok(vec![echo]);
    }
    let mut variants = match &*terms.variants {
        [] => Variant::ALL.to_vec(),
        configured => configured.to_vec(),
    };
    let mut why = "";
    variants.retain(|pool| match pairing(miner, *pool, terms) {
        Ok(()) => true,
        Err(reason) => {
            why = reason;
            false
        }
    });
    if variants.is_empty() {
        let spoken: Vec<&str> = terms.variants.iter().map(|variant| variant.label()).collect();
        let (spoken, miner) = (spoken.join(", "), miner.label());
        return Err(format!("{why} (the miner speaks {miner}, the pool {spoken})"));
    }
    if terms.variants.is_empty() {
        variants.sort_by_key(|variant| *variant != miner);
    }
    let mut ways: Vec<Way> =
        variants.into_iter().map(|variant| Way { variant, echo: false }).collect();
    if terms.extranonce == Chooser::Detect {
        ways.insert(1.min(ways.len()), echo);
    }
    if let Some(fact) = fact {
        ways.sort_by_key(|way| if fact.echo { !way.echo } else { way.variant != fact.variant });
    }
    Ok(ways)
}

/// Whether shares of one variant can be made to shares of another.
fn pairing(miner: Variant, pool: Variant, terms: &PoolTerms) -> Result<(), &'static str> {
    match (miner.has_extranonce(), pool.has_extranonce()) {
        (true, false) if !terms.mix_ignored => Err("mix digest: the miner sends none, and the \
                                                    pool wants one (mix_digest = \"checked\")"),
        // Whoever is left to find out would look for a pool that cannot be of use.
        (false, true) if terms.variants.is_empty() && !terms.prefix_ignored => {
            Err("nonce space: the pool may fix the head of the nonce, and the miner cannot be told")
        }
        _ => Ok(()),
    }
}

/// What sessions learn about a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fact {
    /// What it speaks.
    pub(crate) variant: Variant,
    /// It has adopted an extranonce that we proposed, as only sserver does.
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

fn variants(key: &str, value: &Value) -> Result<Vec<Variant>, ProfileError> {
    match value.as_str() {
        Some("auto") => Ok(Vec::new()),
        Some(name) => Variant::of(name).map(|variant| vec![variant]).ok_or_else(|| {
            let accepted = format!("auto, {} or a list of them are accepted", Variant::LABELS);
            wrong(key, value, &accepted)
        }),
        None => variant_list(key, value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use switcher_plugin::Coin;

    use super::*;

    fn terms(options: &Value) -> Result<PoolTerms, String> {
        let coin = Coin::new("eth");
        let settings =
            UpstreamSettings { name: "p", coin: &coin, user: None, password: None, options };
        PoolTerms::of(&settings).map_err(|error| error.key)
    }

    fn tried(options: &Value, miner: Variant) -> Result<String, String> {
        let ways = ways(&terms(options).unwrap(), miner, None)?;
        let shown = ways
            .iter()
            .map(|way| format!("{}{}", way.variant.label(), if way.echo { " echo" } else { "" }));
        Ok(shown.collect::<Vec<_>>().join(","))
    }

    #[test]
    fn mistakes_are_named_by_their_key() {
        for (options, key) in [
            (json!({"variant": "stratum1"}), "variant"),
            (json!({"variant": []}), "variant"),
            (json!({"extranonce": "mine"}), "extranonce"),
            (json!({"mix_digest": true}), "mix_digest"),
            (json!({"nonce_prefix": "none"}), "nonce_prefix"),
            (json!({"worker": "{x}"}), "worker"),
            (json!({"user_suffix": 1}), "user_suffix"),
            (json!({"nonsense": 1}), "nonsense"),
            (json!(1), "options"),
        ] {
            assert_eq!(terms(&options).unwrap_err(), key);
        }
        let all = json!({"variant": ["stratum", "nicehash"], "extranonce": "detect",
            "mix_digest": "ignored", "nonce_prefix": "ignored", "worker": "{rig}"});
        let all = terms(&all).unwrap();
        assert_eq!(PoolTerms::read(&all.to_profile()), Ok(all));
    }

    #[test]
    fn a_pool_is_tried_in_what_can_serve_the_miner() {
        let auto = Value::Null;
        assert_eq!(tried(&auto, Variant::EthProxy).unwrap(), "ethproxy,stratum");
        assert_eq!(tried(&auto, Variant::Plain).unwrap(), "stratum,ethproxy");
        assert_eq!(tried(&auto, Variant::NiceHash).unwrap(), "nicehash,stratum2");
        assert_eq!(tried(&auto, Variant::Stratum2).unwrap(), "stratum2,nicehash");
        let ignored = json!({"mix_digest": "ignored"});
        assert_eq!(
            tried(&ignored, Variant::NiceHash).unwrap(),
            "nicehash,ethproxy,stratum,stratum2"
        );
        let echo = json!({"extranonce": "echo"});
        assert_eq!(tried(&echo, Variant::Stratum2).unwrap(), "nicehash echo");
        let detect = json!({"extranonce": "detect"});
        assert_eq!(tried(&detect, Variant::EthProxy).unwrap(), "ethproxy,ethproxy echo,stratum");
        let fixed = json!({"variant": ["stratum", "ethproxy"]});
        assert_eq!(tried(&fixed, Variant::EthProxy).unwrap(), "stratum,ethproxy");
        assert!(tried(&fixed, Variant::NiceHash).unwrap_err().starts_with("mix digest"));
        let nicehash = json!({"variant": "nicehash"});
        assert_eq!(tried(&nicehash, Variant::EthProxy).unwrap(), "nicehash");
    }

    #[test]
    fn what_is_known_about_a_pool_is_tried_first() {
        let terms = terms(&json!({"extranonce": "detect"})).unwrap();
        let fact = |echo, variant| Fact::read(&Fact { variant, echo }.to_json());
        let first = |fact| ways(&terms, Variant::EthProxy, fact).unwrap()[0];

        let echo = Way { variant: Variant::EthProxy, echo: true };
        let plain = Way { variant: Variant::Plain, echo: false };
        assert_eq!(first(fact(true, Variant::EthProxy)), echo);
        assert_eq!(first(fact(false, Variant::Plain)), plain);
    }
}
