//! What tells one coin of the family from another. Data only.

/// A coin of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flavour {
    /// The dialect's key in the configuration (`btc`).
    pub name: &'static str,
    /// Prefixes that an address of the coin may carry in a user name, colon included
    /// (`bitcoincash:`), the usual one first. Empty if the coin has none.
    pub address_prefixes: &'static [&'static str],
    /// Where its extranonces are.
    pub extranonce: Extranonce,
}

/// Where the extranonces of a coin are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extranonce {
    /// In the coinbase, where a pool's can be folded in.
    Coinbase,
    /// In the header's `ExtraData`, which has no room for another: Decred.
    ExtraData,
}

impl Flavour {
    /// The family: whose miners and pools can serve each other.
    pub(crate) fn family(&self) -> &'static str {
        match self.extranonce {
            Extranonce::Coinbase => "bitcoin",
            Extranonce::ExtraData => "decred",
        }
    }
}
