//! The built-in dialects through the C functions: all that is asked of them is asked here again.

use switcher_plugin::{StratumDialect, testing};

use crate::support::{built_ins, enter};

/// Has a dialect on the other side of the border go through what its own crate asks of it.
fn go_through(name: &str, conversations: &str, check: fn(&[&dyn StratumDialect], &str)) {
    let plugin = enter(built_ins);
    let dialect = plugin.dialects.iter().find(|dialect| dialect.name() == name).unwrap();

    check(&[&**dialect], &format!("../../protocols/{conversations}/tests/transcripts"));

    assert_eq!(plugin.health.standing().faults, 0);
}

fn conforms(dialects: &[&dyn StratumDialect], conversations: &str) {
    testing::conform(dialects, &testing::scripts(conversations));
}

#[test]
fn conversations_go_as_written() {
    let places = [("btc", "bitcoin-family"), ("bch", "bch"), ("dcr", "dcr"), ("eth", "eth")];
    for (name, conversations) in places {
        go_through(name, conversations, |dialects, from| testing::transcripts(dialects, from));
    }
}

#[test]
fn btc_conforms() {
    go_through("btc", "bitcoin-family", conforms);
}

#[test]
fn bch_conforms() {
    go_through("bch", "bch", conforms);
}

#[test]
fn dcr_conforms() {
    go_through("dcr", "dcr", conforms);
}

#[test]
fn eth_conforms() {
    go_through("eth", "eth", conforms);
}

#[test]
fn what_a_dialect_says_of_itself_crosses_the_border() {
    let plugin = enter(built_ins);
    let (foreign, own) = (&plugin.dialects[0], dialect_btc::DIALECT);

    assert_eq!(foreign.name(), own.name());
    assert_eq!(foreign.family(), own.family());
    assert_eq!(foreign.algorithm(), "sha256d");
    assert_eq!(foreign.about(), "Bitcoin");
    assert_eq!(foreign.state_versions(), own.state_versions());
    assert_eq!(foreign.short_ids(), own.short_ids());
    assert_eq!((&*plugin.name, &*plugin.version), ("built-ins", "1.2.3"));
}

#[test]
fn refused_settings_are_told_in_the_dialects_words() {
    let plugin = enter(built_ins);
    let (foreign, own) = (&plugin.dialects[0], dialect_btc::DIALECT);
    let options = serde_json::json!({"version_mask": "none of these"});

    let told = foreign.check_listener(&options).unwrap_err();

    assert_eq!(told, own.check_listener(&options).unwrap_err());
}
