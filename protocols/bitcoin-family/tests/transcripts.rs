//! Golden conversations, and what holds for every dialect.

use bitcoin_family::{BitcoinDialect, Extranonce, Flavour};
use switcher_plugin::testing;

const BTC: BitcoinDialect = BitcoinDialect::new(&Flavour {
    name: "btc",
    address_prefixes: &[],
    extranonce: Extranonce::Coinbase,
});

#[test]
fn conversations_go_as_written() {
    testing::transcripts(&[&BTC], "tests/transcripts");
}

#[test]
fn the_dialect_conforms() {
    testing::conform(&[&BTC], &testing::scripts("tests/transcripts"));
}

#[test]
fn made_up_conversations_are_survived() {
    let scripts = testing::scripts("tests/transcripts");
    testing::fuzz_seeded(&[&BTC], &scripts, 300);
}
