//! The Decred dialect: the bitcoin family's machinery with the extranonce in the header. What it is
//! called and where its extranonce is stands here, everything else in `bitcoin-family`.

use bitcoin_family::{BitcoinDialect, Extranonce, Flavour};

/// Decred. Its addresses (`Ds…`) carry no prefix that a pool may not want.
pub const FLAVOUR: Flavour =
    Flavour { name: "dcr", address_prefixes: &[], extranonce: Extranonce::ExtraData };

/// The dialect, for the table of built-in plug-ins.
pub const DIALECT: BitcoinDialect = BitcoinDialect::new(&FLAVOUR);
