//! Bytes of a peer that are part of a session's state, in a form that can be saved.

pub(crate) use jsonrpc::{Line, Raw};

/// A profile, which is text.
pub(crate) mod profile {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use switcher_plugin::Profile;

    use super::Line;

    pub(crate) fn serialize<S: Serializer>(
        profile: &Profile,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Line(profile.0.clone()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Profile, D::Error> {
        Ok(Profile(Line::deserialize(deserializer)?.0))
    }
}
