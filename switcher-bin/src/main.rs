//! The entry point: nothing here but what belongs to the process as a whole.

use std::io;
use std::process::ExitCode;

use switcher_bin::run_process;

// Its options are in `.cargo/config.toml`: setting them here would take unsafe code.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // SIGPIPE is ignored by Rust's runtime before `main`: a pool that went away is an error of a
    // write, not the end of the process.
    let outcome = run_process(&mut io::stdout().lock(), &mut io::stderr());
    ExitCode::from(outcome.code())
}
