//! Numbers of sessions, and randomness for the ids that miners are told.
//!
//! The low 24 bits of a session's number are its index in the fleet-wide short id, so a number is
//! given only if no live session has the same low bits. An index that was freed is given again as
//! late as possible.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use switcher_plugin::SessionId;

/// The bits of a session's number that are its index in the short id.
const INDEX: u64 = 0x00ff_ffff;

/// The first number. BTCPool's sserver counts its own sessions from 0; where it does so by mistake,
/// the difference is seen at once.
const FIRST: u64 = 128;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ids {
    numbers: Mutex<Numbers>,
    /// Keyed anew in every process by the operating system's randomness.
    random: [RandomState; 2],
    drawn: AtomicU64,
}

impl Ids {
    /// Numbers from `first` on.
    pub(crate) fn from(first: u64) -> Self {
        Self {
            numbers: Mutex::new(Numbers { next: first.max(FIRST), taken: Vec::new() }),
            random: [RandomState::new(), RandomState::new()],
            drawn: AtomicU64::new(0),
        }
    }

    /// A number whose index no live session has. It is held until it is released.
    pub(crate) fn next_session(&self) -> SessionId {
        let mut numbers = self.lock();
        // More live sessions than indices are more than a machine has descriptors for.
        for _ in 0..=INDEX {
            let id = numbers.next;
            numbers.next += 1;
            if numbers.mark(id) {
                return SessionId(id);
            }
        }
        numbers.next += 1;
        SessionId(numbers.next)
    }

    /// A session with this number lives on; nobody else shall get its index.
    pub(crate) fn hold(&self, id: SessionId) {
        self.lock().mark(id.0);
    }

    /// The session with this number is gone.
    pub(crate) fn release(&self, id: SessionId) {
        if let Some((word, bit)) = self.lock().place(id.0) {
            *word &= !bit;
        }
    }

    /// The number the next session will get.
    pub(crate) fn peek(&self) -> u64 {
        self.lock().next
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number as BTCPool's sserver knows it: server id, then 24 bits of index.
    pub(crate) fn short(server_id: u8, id: SessionId) -> u32 {
        let index = u32::try_from(id.0 & INDEX).unwrap_or_default();
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

/// The numbers that are given out.
#[derive(Debug)]
struct Numbers {
    next: u64,
    /// One bit for each index; as long as the highest index so far needs.
    taken: Vec<u64>,
}

impl Numbers {
    /// Marks the index of a number. False if it was taken.
    fn mark(&mut self, id: u64) -> bool {
        let words = usize::try_from((id & INDEX) / 64).unwrap_or_default() + 1;
        if self.taken.len() < words {
            self.taken.resize(words, 0);
        }
        let Some((word, bit)) = self.place(id) else { return false };
        let is_free = *word & bit == 0;
        *word |= bit;
        is_free
    }

    fn place(&mut self, id: u64) -> Option<(&mut u64, u64)> {
        let index = id & INDEX;
        let word = self.taken.get_mut(usize::try_from(index / 64).ok()?)?;
        Some((word, 1 << (index % 64)))
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

    #[test]
    fn indices_start_where_the_original_starts() {
        let ids = Ids::from(0);

        let first = ids.next_session();

        assert_eq!(Ids::short(1, first), 0x0100_0080);
        assert_eq!(Ids::short(1, ids.next_session()), 0x0100_0081);
    }

    #[test]
    fn an_index_in_use_is_not_given_twice_when_the_numbers_wrap() {
        let ids = Ids::from(INDEX - 1);
        let early = [ids.next_session(), ids.next_session()];
        ids.hold(SessionId(0x0100_0001));

        let late = [ids.next_session(), ids.next_session()];

        let indices = |ids: [SessionId; 2]| ids.map(|id| Ids::short(0, id));
        assert_eq!(indices(early), [0x00ff_fffe, 0x00ff_ffff]);
        assert_eq!(indices(late), [0, 2], "1 is held");
    }

    #[test]
    fn a_released_index_is_given_again_but_not_at_once() {
        let ids = Ids::from(INDEX);
        let last = ids.next_session();
        ids.release(last);

        let next = ids.next_session();
        assert_eq!(Ids::short(0, next), 0);

        let mut numbers = ids.lock();
        numbers.next = last.0 + INDEX + 1;
        drop(numbers);
        assert_eq!(Ids::short(0, ids.next_session()), 0x00ff_ffff);
    }
}
