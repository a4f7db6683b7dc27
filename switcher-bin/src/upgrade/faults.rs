//! Places where a test makes an upgrade fail. They exist in debug builds only.
//!
//! `STRATUM_SWITCHER_FAULT=place=what`, with the places `preflight` (in the child), `frozen` (all
//! sessions at rest, before the exec) and `commit` (in the new program, before it touches a
//! socket), and `what` being `error`, `panic` or a number of milliseconds to sleep.

use std::time::Duration;

const VARIABLE: &str = "STRATUM_SWITCHER_FAULT";

/// A place where the test may want something to happen.
///
/// # Errors
///
/// The test wants one.
pub(super) fn point(place: &str) -> anyhow::Result<()> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    let Ok(wish) = std::env::var(VARIABLE) else { return Ok(()) };
    match wish.split_once('=') {
        Some((at, "error")) if at == place => anyhow::bail!("a test wants an error here"),
        Some((at, "panic")) if at == place => explode(),
        Some((at, time)) if at == place => {
            std::thread::sleep(Duration::from_millis(time.parse()?));
        }
        _ => {}
    }
    Ok(())
}

#[expect(clippy::panic, reason = "that is what the test wants")]
fn explode() {
    panic!("a test wants a panic here");
}
