//! The parts of the load tool `swarm`: light pools and miners for thousands of connections, a bare
//! relay to compare with, the programs under test, and the rows they are measured by.
//!
//! The light peers do not hash. They check what a load test can check: that every submit gets
//! exactly one answer, that none is lost, and that each goes to the pool whose job it is for.

pub mod control;
pub mod miners;
pub mod net;
pub mod pool;
pub mod process;
pub mod relay;
pub mod rows;
pub mod system;
pub mod table;
pub mod upgrades;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of the clock that all processes of this machine share.
pub fn now() -> u64 {
    let Ok(time) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return 0 };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
}

/// Raises the soft limit of open files to the hard one and returns it.
pub fn raise_open_files() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}
