//! Golden conversations, and what holds for every dialect.

use dialect_dcr::DIALECT;
use switcher_plugin::testing;

#[test]
fn conversations_go_as_written() {
    testing::transcripts(&[&DIALECT], "tests/transcripts");
}

#[test]
fn the_dialect_conforms() {
    testing::conform(&[&DIALECT], &testing::scripts("tests/transcripts"));
}

#[test]
fn made_up_conversations_are_survived() {
    let scripts = testing::scripts("tests/transcripts");
    testing::fuzz_seeded(&[&DIALECT], &scripts, 300);
}
