//! Sessions of BTCAgents, whose frames are lines and binary messages.

#![no_main]

use std::sync::LazyLock;

use dialect_btc::DIALECT;
use libfuzzer_sys::fuzz_target;
use switcher_plugin::testing::{self, Script};

static SCRIPTS: LazyLock<Vec<Script>> = LazyLock::new(|| {
    let all = testing::scripts(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../protocols/bitcoin-family/tests/transcripts"
    ));
    all.into_iter().filter(|script| script.name.contains("btcagent")).collect()
});

fuzz_target!(|data: &[u8]| testing::fuzz(&[&DIALECT], &SCRIPTS, data));
