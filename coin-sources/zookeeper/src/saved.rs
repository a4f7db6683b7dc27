//! What the source hands to its next run. A text it cannot read counts as none: the source then
//! starts as if for the first time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use switcher_plugin::{Coin, SourceState, SubAccount};

/// The last good coin of a sub-account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) coin: Coin,
    pub(crate) mzxid: i64,
    /// Its canonical spelling if that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Arc<str>>,
    /// It had sessions, and they know its coin.
    #[serde(default)]
    pub(crate) in_use: bool,
}

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// Who we are in the directory of numbers.
    pub(crate) instance: Option<String>,
    pub(crate) server_id: Option<u8>,
    /// Milliseconds since 1970 when a server was last heard of.
    #[serde(default)]
    pub(crate) last_heard: u64,
    #[serde(default)]
    pub(crate) coins: HashMap<SubAccount, Remembered>,
    /// Names of the registrations asked for and not answered.
    #[serde(default)]
    pub(crate) registrations: Vec<String>,
}

impl Saved {
    pub(crate) fn of(state: &SourceState) -> Self {
        if state.0.is_empty() {
            return Self::default();
        }
        serde_json::from_str(&state.0).unwrap_or_else(|error| {
            tracing::error!(%error, "the saved state of the zookeeper source is unreadable");
            Self::default()
        })
    }

    pub(crate) fn into_state(self) -> SourceState {
        /// The same with the names in order, so that equal states are equal texts.
        #[derive(Serialize)]
        struct Ordered<'a> {
            instance: &'a Option<String>,
            server_id: Option<u8>,
            last_heard: u64,
            coins: BTreeMap<&'a SubAccount, &'a Remembered>,
            registrations: &'a Vec<String>,
        }
        let ordered = Ordered {
            instance: &self.instance,
            server_id: self.server_id,
            last_heard: self.last_heard,
            coins: self.coins.iter().collect(),
            registrations: &self.registrations,
        };
        SourceState(serde_json::to_string(&ordered).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_survives_the_round_trip() {
        let name = Some(Arc::from("Alice"));
        let remembered = Remembered { coin: Coin::new("btc"), mzxid: 7, name, in_use: true };
        let saved = Saved {
            instance: Some("abc".into()),
            server_id: Some(9),
            last_heard: 5,
            coins: HashMap::from([(SubAccount::new("alice"), remembered)]),
            registrations: vec!["bob".into()],
        };

        assert_eq!(Saved::of(&saved.clone().into_state()), saved);
    }

    #[test]
    fn unreadable_state_counts_as_none() {
        assert_eq!(Saved::of(&SourceState("{".into())), Saved::default());
        assert_eq!(Saved::of(&SourceState(String::new())), Saved::default());
    }
}
