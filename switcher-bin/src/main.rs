//! The stratum-switcher program.

fn main() {}
