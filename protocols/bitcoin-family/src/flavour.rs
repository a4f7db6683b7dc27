//! What tells one coin of the family from another. Data only.

/// A coin of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flavour {
    /// The dialect's key in the configuration (`btc`).
    pub name: &'static str,
    /// Prefixes that an address of the coin may carry in a user name, colon included
    /// (`bitcoincash:`), the usual one first. Empty if the coin has none.
    pub address_prefixes: &'static [&'static str],
}
