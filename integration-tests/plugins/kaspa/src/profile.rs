//! What a leg to a pool needs from its configuration: under which name miners are known there.

use serde::{Deserialize, Serialize};
use switcher_plugin::{Profile, ProfileError, UpstreamSettings};

/// The placeholders of the templates.
const KNOWN: [&str; 4] = ["{worker}", "{sub_account}", "{rig}", "{canonical}"];

/// Templates for user and password, as they travel in a [`Profile`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Terms {
    user: Option<String>,
    password: Option<String>,
}

impl Terms {
    /// Reads a pool's configuration.
    pub(crate) fn of(upstream: &UpstreamSettings<'_>) -> Result<Self, ProfileError> {
        no_options(upstream.options)?;
        for (key, template) in [("user", upstream.user), ("password", upstream.password)] {
            let rest = KNOWN.iter().fold(template.unwrap_or_default().to_owned(), |rest, known| {
                rest.replace(known, "")
            });
            if rest.contains(['{', '}']) {
                return Err(ProfileError {
                    key: key.to_owned(),
                    problem: "has a placeholder that there is none of".to_owned(),
                    accepted: format!("known are {}", KNOWN.join(", ")),
                });
            }
        }
        let own = |template: Option<&str>| template.map(str::to_owned);
        Ok(Self { user: own(upstream.user), password: own(upstream.password) })
    }

    pub(crate) fn to_profile(&self) -> Profile {
        Profile(serde_json::to_vec(self).unwrap_or_default().into())
    }

    /// The other way round. Profiles are written by us alone, so one that does not read is empty.
    pub(crate) fn from_profile(profile: &Profile) -> Self {
        serde_json::from_slice(&profile.0).unwrap_or_default()
    }

    /// The user name of a worker there.
    pub(crate) fn user(&self, worker: &str, canonical: &str) -> String {
        filled(self.user.as_deref().unwrap_or("{worker}"), worker, canonical)
    }

    /// The password of a worker there as JSON text; the miner's own if none is configured.
    pub(crate) fn password(&self, worker: &str, canonical: &str, own: &str) -> String {
        let configured = self.password.as_deref().map(|text| filled(text, worker, canonical));
        configured.map_or_else(|| own.to_owned(), |text| crate::wire::quoted(&text))
    }
}

/// This dialect has no options of its own, so any is a mistake.
pub(crate) fn no_options(options: &serde_json::Value) -> Result<(), ProfileError> {
    match options.as_object().and_then(|object| object.keys().next()) {
        None => Ok(()),
        Some(key) => Err(ProfileError {
            key: key.clone(),
            problem: "is not known".to_owned(),
            accepted: "the dialect kaspa has no options".to_owned(),
        }),
    }
}

/// The sub-account is what stands in front of the first dot.
pub(crate) fn split(worker: &str) -> (&str, &str) {
    worker.split_once('.').unwrap_or((worker, ""))
}

fn filled(template: &str, worker: &str, canonical: &str) -> String {
    let (sub_account, rig) = split(worker);
    let tail = worker.strip_prefix(sub_account).unwrap_or_default();
    let mut filled = String::with_capacity(template.len() + worker.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        match name {
            "worker" => filled.extend([canonical, tail]),
            "sub_account" => filled.push_str(sub_account),
            "rig" => filled.push_str(rig),
            _ => filled.push_str(canonical),
        }
        rest = after;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn templates_are_filled() {
        for (template, name) in [
            ("{worker}", "Alice.rig.1"),
            ("{sub_account}", "alice"),
            ("kaspa:qq.{canonical}-{rig}", "kaspa:qq.Alice-rig.1"),
            ("x", "x"),
        ] {
            assert_eq!(filled(template, "alice.rig.1", "Alice"), name, "{template}");
        }
    }
}
