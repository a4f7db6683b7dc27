//! The built-in dialects through the C functions: all that is asked of them is asked here again.

use switcher_plugin::{StratumDialect, testing};

use crate::support::{built_ins, enter};

const BITCOIN: &str = "../../protocols/bitcoin-family/tests/transcripts";
const BCH: &str = "../../protocols/bch/tests/transcripts";

#[test]
fn conversations_go_as_written() {
    let plugin = enter(built_ins);
    let [btc, bch] = &*plugin.dialects else { panic!("two dialects") };

    testing::transcripts(&[&**btc], BITCOIN);
    testing::transcripts(&[&**bch], BCH);

    assert_eq!(plugin.health.standing().faults, 0);
}

#[test]
fn the_built_in_dialects_conform() {
    let plugin = enter(built_ins);
    let [btc, bch] = &*plugin.dialects else { panic!("two dialects") };

    testing::conform(&[&**btc], &testing::scripts(BITCOIN));
    testing::conform(&[&**bch], &testing::scripts(BCH));

    assert_eq!(plugin.health.standing().faults, 0);
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
