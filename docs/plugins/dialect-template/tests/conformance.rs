//! Conversations, and what holds for every dialect.

use pickaxe::Pickaxe;
use switcher_plugin::testing;

#[test]
fn conversations_go_as_written() {
    testing::transcripts(&[&Pickaxe], "tests/transcripts");
}

#[test]
fn the_dialect_conforms() {
    testing::conform(&[&Pickaxe], &testing::scripts("tests/transcripts"));
}
