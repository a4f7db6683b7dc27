//! The Bitcoin Cash dialect: the bitcoin family with Bitcoin Cash's data. Nothing else is here.

use bitcoin_family::{BitcoinDialect, Extranonce, Flavour};

/// Bitcoin Cash. `CashAddr` user names come with and without their prefix, and pools differ in what
/// they want: `ViaBTC` and yiimp take the colon for a separator, `EloPool` accepts both forms.
pub const FLAVOUR: Flavour = Flavour {
    name: "bch",
    address_prefixes: &["bitcoincash:", "bchtest:", "bchreg:"],
    extranonce: Extranonce::Coinbase,
};

/// The dialect, for the table of built-in plug-ins.
pub const DIALECT: BitcoinDialect = BitcoinDialect::new(&FLAVOUR);
