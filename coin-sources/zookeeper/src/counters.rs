//! What the source counts. Read by whoever shows metrics; never read by the source itself.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Totals since the start of the process. Cheap to read from any thread.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Count,)*
        }

        impl Counters {
            /// Names and values, in a fixed order.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.value()),)*]
            }
        }
    };
}

counters! {
    /// Connections that stood, the first included.
    connects,
    /// Clients thrown away because they were stuck, lost their session or found no way back.
    rebuilds,
    /// Reads of sub-accounts answered.
    reads,
    /// Watches that fired.
    watch_events,
    /// Changes that the audit found and no watch told of.
    missed_watches,
    /// Values older than what was known (a server lags behind), ignored.
    stale_reads,
    /// Values that are not the name of a coin.
    bad_values,
    /// Registrations asked for.
    registrations,
    /// Registrations refused, for whatever reason.
    registrations_refused,
    /// Times the number in the fleet was lost to another.
    server_ids_lost,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The total.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
