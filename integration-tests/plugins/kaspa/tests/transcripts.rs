//! Golden conversations, and what holds for every dialect.

use switcher_kaspa::Kaspa;
use switcher_plugin::testing;

#[test]
fn conversations_go_as_written() {
    testing::transcripts(&[&Kaspa], "tests/transcripts");
}

#[test]
fn the_dialect_conforms() {
    testing::conform(&[&Kaspa], &testing::scripts("tests/transcripts"));
}
