//! Numbers of sessions, and randomness for the ids that miners are told.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use switcher_plugin::SessionId;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ids {
    next: AtomicU64,
    /// Keyed anew in every process by the operating system's randomness.
    random: [RandomState; 2],
    drawn: AtomicU64,
}

impl Ids {
    /// Numbers from `first` on.
    pub(crate) fn from(first: u64) -> Self {
        Self {
            next: AtomicU64::new(first.max(1)),
            random: [RandomState::new(), RandomState::new()],
            drawn: AtomicU64::new(0),
        }
    }

    pub(crate) fn next_session(&self) -> SessionId {
        SessionId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The number the next session will get.
    pub(crate) fn peek(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// The number as BTCPool's sserver knows it: server id, then 24 bits of index.
    pub(crate) fn short(server_id: u8, id: SessionId) -> u32 {
        let index = u32::try_from(id.0 & 0x00ff_ffff).unwrap_or_default();
        u32::from(server_id) << 24 | index
    }

    /// 16 bytes nobody outside can guess: keyed hash of a counter.
    pub(crate) fn entropy(&self) -> [u8; 16] {
        let n = self.drawn.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; 16];
        for (half, random) in bytes.chunks_exact_mut(8).zip(&self.random) {
            half.copy_from_slice(&random.hash_one(n).to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_differs_from_draw_to_draw_and_from_process_to_process() {
        let (one, other) = (Ids::from(1), Ids::from(1));

        assert_ne!(one.entropy(), one.entropy());
        assert_ne!(one.entropy(), other.entropy());
    }

    #[test]
    fn the_short_id_has_the_server_in_its_top_byte() {
        assert_eq!(Ids::short(3, SessionId(0x0112_3456)), 0x0312_3456);
    }
}
