//! The one place that reads the clock.

use nix::time::{ClockId, clock_gettime};
use switcher_plugin::Millis;

/// Milliseconds of `CLOCK_MONOTONIC`.
///
/// # Panics
///
/// On a system without that clock, which Linux is not.
pub fn now() -> Millis {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .expect("CLOCK_MONOTONIC exists on every system we run on");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or_default();
    Millis(seconds * 1000 + nanos / 1_000_000)
}

/// A duration of the settings in the unit of the machine.
pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
