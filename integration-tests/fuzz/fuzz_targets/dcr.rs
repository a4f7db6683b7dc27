//! Sessions of the dcr dialect.

#![no_main]

use std::sync::LazyLock;

use dialect_dcr::DIALECT;
use libfuzzer_sys::fuzz_target;
use switcher_plugin::testing::{self, Script};

static SCRIPTS: LazyLock<Vec<Script>> = LazyLock::new(|| {
    testing::scripts(concat!(env!("CARGO_MANIFEST_DIR"), "/../../protocols/dcr/tests/transcripts"))
});

fuzz_target!(|data: &[u8]| testing::fuzz(&[&DIALECT], &SCRIPTS, data));
