//! Golden conversations, and what holds for every dialect.

use bitcoin_family::{BitcoinDialect, Extranonce, Flavour};
use switcher_plugin::testing::{self, Limits};

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
    // An agent may have 2,048 shares waiting on a leg. More would not be over for shares of two bytes,
    // of which a flood makes the first with its frame 4,096.
    let limits = Limits { flood: 4_096, ..Limits::default() };
    let scripts = testing::scripts("tests/transcripts");
    let outcome = testing::check_conformance(&[&BTC], &scripts, &limits);
    outcome.unwrap_or_else(|report| panic!("{report}"));
}
