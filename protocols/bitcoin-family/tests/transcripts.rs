//! Golden conversations, and what holds for every dialect.

use bitcoin_family::{BitcoinDialect, Flavour};
use switcher_plugin::testing;

const BTC: BitcoinDialect = BitcoinDialect::new(&Flavour { name: "btc", address_prefixes: &[] });

#[test]
fn conversations_go_as_written() {
    testing::transcripts(&[&BTC], "tests/transcripts");
}

#[test]
fn the_dialect_conforms() {
    testing::conform(&[&BTC], &testing::scripts("tests/transcripts"));
}
