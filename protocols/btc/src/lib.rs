//! The Bitcoin dialect: the bitcoin family with Bitcoin's data. Nothing else is here.

use bitcoin_family::{BitcoinDialect, Extranonce, Flavour};

/// Bitcoin. Its addresses (base58, bech32) carry no prefix that a pool may not want.
pub const FLAVOUR: Flavour =
    Flavour { name: "btc", address_prefixes: &[], extranonce: Extranonce::Coinbase };

/// The dialect, for the table of built-in plug-ins.
pub const DIALECT: BitcoinDialect = BitcoinDialect::new(&FLAVOUR);
