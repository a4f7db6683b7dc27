//! Numbers of sessions, and randomness for the ids that miners are told.
//!
//! The low 24 bits of a session's number are its index in the fleet-wide short id, so a number is
//! given only if no live session has the same low bits. An index that was freed is given again as
//! late as possible.
//!
//! Dialects whose short ids are of another form ([`ShortIds`]) have tables of indices of their own.
//! Such an index is given once the dialect is known, and there may be none left.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use switcher_plugin::{SessionId, ShortIds};

/// The bits of a session's number that are its index in the short id.
const INDEX: u64 = 0x00ff_ffff;

/// The first number. BTCPool's sserver counts its own sessions from 0; where it does so by mistake,
/// the difference is seen at once.
const FIRST: u64 = 128;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ids {
    numbers: Mutex<Numbers>,
    /// One for each form that is in use.
    tables: Mutex<Vec<Table>>,
    /// Keyed anew in every process by the operating system's randomness.
    random: [RandomState; 2],
    drawn: AtomicU64,
}

impl Ids {
    /// Numbers from `first` on, and indices of other forms from these on.
    pub(crate) fn from(first: u64, cursors: &[Cursor]) -> Self {
        Self {
            numbers: Mutex::new(Numbers { next: first.max(FIRST), taken: Taken::default() }),
            tables: Mutex::new(cursors.iter().copied().map(Table::from).collect()),
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
            if numbers.taken.mark(low(SessionId(id))) {
                return SessionId(id);
            }
        }
        numbers.next += 1;
        SessionId(numbers.next)
    }

    /// A session with this number lives on; nobody else shall get its index.
    pub(crate) fn hold(&self, id: SessionId) {
        self.lock().taken.mark(low(id));
    }

    /// The session with this number is gone.
    pub(crate) fn release(&self, id: SessionId) {
        self.lock().taken.clear(low(id));
    }

    /// The number the next session will get.
    pub(crate) fn peek(&self) -> u64 {
        self.lock().next
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An index of this form that no live session has, held until it is released. `None` within if
    /// the session's own number serves.
    ///
    /// # Errors
    ///
    /// All are taken.
    pub(crate) fn take_index(&self, form: ShortIds) -> Result<Option<u32>, Exhausted> {
        if form == ShortIds::WIDE {
            return Ok(None);
        }
        self.with_table(form, Table::take).flatten().map(Some).ok_or(Exhausted)
    }

    /// A session with this index lives on.
    pub(crate) fn hold_index(&self, form: ShortIds, index: u32) {
        self.with_table(form, |table| table.taken.mark(index));
    }

    /// The session with this index is gone.
    pub(crate) fn release_index(&self, form: ShortIds, index: u32) {
        self.with_table(form, |table| table.taken.clear(index));
    }

    /// Where each table goes on.
    pub(crate) fn cursors(&self) -> Vec<Cursor> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.iter().map(|table| table.cursor).collect()
    }

    fn with_table<T>(&self, form: ShortIds, work: impl FnOnce(&mut Table) -> T) -> Option<T> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let at = tables.iter().position(|table| table.cursor.is_for(form)).unwrap_or_else(|| {
            tables.push(Table::from(Cursor::first(form)));
            tables.len() - 1
        });
        tables.get_mut(at).map(work)
    }

    /// The short id as BTCPool's sserver knows it: server id, then the index.
    pub(crate) fn short(server_id: u8, form: ShortIds, id: SessionId, index: Option<u32>) -> u32 {
        let index = index.unwrap_or_else(|| low(id)) & mask(form.index_bits);
        u32::from(server_id) << bits(form.index_bits) | index
    }

    /// The number, and the index if it has one, of a session that has lived with this short id in
    /// another program. Both are held; the next index lies behind it, as if it had been given here.
    pub(crate) fn of_short(&self, form: ShortIds, short_id: u32) -> (SessionId, Option<u32>) {
        let index = short_id & mask(form.index_bits);
        if form == ShortIds::WIDE {
            let id = SessionId(u64::from(index));
            self.hold(id);
            return (id, None);
        }
        self.with_table(form, |table| table.adopt(index));
        (self.next_session(), Some(index))
    }

    /// The server id in a short id.
    pub(crate) fn server_of(form: ShortIds, short_id: u32) -> u8 {
        let [.., server_id] = (short_id >> bits(form.index_bits)).to_be_bytes();
        server_id
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

/// No index of the form is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all short ids of this dialect are taken")]
pub(crate) struct Exhausted;

/// The numbers that are given out.
#[derive(Debug)]
struct Numbers {
    next: u64,
    taken: Taken,
}

/// Where the search for the next index of a form begins. Travels in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    index_bits: u8,
    stride: u32,
    next: u32,
}

impl Cursor {
    fn first(form: ShortIds) -> Self {
        let next = u32::try_from(FIRST).unwrap_or_default();
        Self { index_bits: form.index_bits, stride: form.stride, next }
    }

    fn is_for(&self, form: ShortIds) -> bool {
        (self.index_bits, self.stride) == (form.index_bits, form.stride)
    }
}

/// The indices of one form.
#[derive(Debug)]
struct Table {
    cursor: Cursor,
    taken: Taken,
}

impl From<Cursor> for Table {
    fn from(cursor: Cursor) -> Self {
        Self { cursor, taken: Taken::default() }
    }
}

impl Table {
    /// The next free index, walked to as the original does: one by one from where the last stride
    /// ended.
    fn take(&mut self) -> Option<u32> {
        let mask = mask(self.cursor.index_bits);
        let candidates = (0..=mask).map(|step| self.cursor.next.wrapping_add(step) & mask);
        let index = candidates.into_iter().find(|&index| !self.taken.has(index))?;
        self.taken.mark(index);
        self.cursor.next = index.wrapping_add(self.cursor.stride) & mask;
        Some(index)
    }

    /// Whoever has the highest index came last, unless the indices have come round.
    fn adopt(&mut self, index: u32) {
        self.taken.mark(index);
        if self.cursor.next <= index {
            let behind = index.wrapping_add(self.cursor.stride);
            self.cursor.next = behind & mask(self.cursor.index_bits);
        }
    }
}

/// One bit for each index; as long as the highest index so far needs.
#[derive(Debug, Default)]
struct Taken(Vec<u64>);

impl Taken {
    fn has(&self, index: u32) -> bool {
        let (word, bit) = place(index);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// False if it was taken.
    fn mark(&mut self, index: u32) -> bool {
        let (at, bit) = place(index);
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        let Some(word) = self.0.get_mut(at) else { return false };
        let is_free = *word & bit == 0;
        *word |= bit;
        is_free
    }

    fn clear(&mut self, index: u32) {
        let (at, bit) = place(index);
        if let Some(word) = self.0.get_mut(at) {
            *word &= !bit;
        }
    }
}

fn place(index: u32) -> (usize, u64) {
    (usize::try_from(index / 64).unwrap_or(usize::MAX), 1 << (index % 64))
}

/// A plug-in's say is not trusted: the server id must have room above.
fn bits(index_bits: u8) -> u32 {
    u32::from(index_bits.clamp(1, 24))
}

fn mask(index_bits: u8) -> u32 {
    u32::MAX >> (32 - bits(index_bits))
}

/// The index that a session's number holds.
fn low(id: SessionId) -> u32 {
    u32::try_from(id.0 & INDEX).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: ShortIds = ShortIds { index_bits: 16, stride: 256 };

    fn wide(server_id: u8, id: SessionId) -> u32 {
        Ids::short(server_id, ShortIds::WIDE, id, None)
    }

    fn narrow(ids: &Ids) -> Result<u32, Exhausted> {
        let index = ids.take_index(NARROW)?;
        Ok(Ids::short(1, NARROW, SessionId(0), index))
    }

    #[test]
    fn short_ids_of_another_program_are_held_and_followed() {
        let ids = Ids::from(0, &[]);

        assert_eq!(ids.of_short(ShortIds::WIDE, 0x0700_0080), (SessionId(128), None));
        let (first, index) = ids.of_short(NARROW, 0x0007_0180);
        assert_eq!((first, index), (SessionId(129), Some(0x0180)));
        let (second, index) = ids.of_short(NARROW, 0x0007_0080);
        assert_eq!((second, index), (SessionId(130), Some(0x0080)));

        assert_eq!(ids.take_index(NARROW), Ok(Some(0x0280)));
        assert_eq!(Ids::short(7, NARROW, first, Some(0x0180)), 0x0007_0180);
        assert_eq!(Ids::server_of(NARROW, 0x0007_0180), 7);
        assert_eq!(Ids::server_of(ShortIds::WIDE, 0x0700_0080), 7);
    }

    #[test]
    fn indices_of_another_program_that_have_come_round_are_followed_as_well() {
        let ids = Ids::from(0, &[]);
        for index in [0xff80, 0x0080, 0x0081] {
            ids.of_short(NARROW, 0x0007_0000 | index);
        }

        // Not behind the highest, which is where the circle closes.
        assert_eq!(ids.take_index(NARROW), Ok(Some(0x0180)));
    }

    #[test]
    fn entropy_differs_from_draw_to_draw_and_from_process_to_process() {
        let (one, other) = (Ids::from(1, &[]), Ids::from(1, &[]));

        assert_ne!(one.entropy(), one.entropy());
        assert_ne!(one.entropy(), other.entropy());
    }

    #[test]
    fn the_short_id_has_the_server_in_its_top_byte() {
        assert_eq!(wide(3, SessionId(0x0112_3456)), 0x0312_3456);
    }

    #[test]
    fn indices_start_where_the_original_starts() {
        let ids = Ids::from(0, &[]);

        let first = ids.next_session();

        assert_eq!(wide(1, first), 0x0100_0080);
        assert_eq!(wide(1, ids.next_session()), 0x0100_0081);
    }

    #[test]
    fn an_index_in_use_is_not_given_twice_when_the_numbers_wrap() {
        let ids = Ids::from(INDEX - 1, &[]);
        let early = [ids.next_session(), ids.next_session()];
        ids.hold(SessionId(0x0100_0001));

        let late = [ids.next_session(), ids.next_session()];

        let indices = |ids: [SessionId; 2]| ids.map(|id| wide(0, id));
        assert_eq!(indices(early), [0x00ff_fffe, 0x00ff_ffff]);
        assert_eq!(indices(late), [0, 2], "1 is held");
    }

    #[test]
    fn a_released_index_is_given_again_but_not_at_once() {
        let ids = Ids::from(INDEX, &[]);
        let last = ids.next_session();
        ids.release(last);

        let next = ids.next_session();
        assert_eq!(wide(0, next), 0);

        let mut numbers = ids.lock();
        numbers.next = last.0 + INDEX + 1;
        drop(numbers);
        assert_eq!(wide(0, ids.next_session()), 0x00ff_ffff);
    }

    #[test]
    fn narrow_ids_walk_as_the_original_does() {
        let ids = Ids::from(0, &[]);

        let first: Vec<_> = (0..3).map(|_| narrow(&ids)).collect();
        let wrapped: Vec<_> = (3..258).map(|_| narrow(&ids)).skip(252).collect();

        assert_eq!(first, [Ok(0x0001_0080), Ok(0x0001_0180), Ok(0x0001_0280)]);
        assert_eq!(wrapped, [Ok(0x0001_ff80), Ok(0x0001_0081), Ok(0x0001_0181)]);
    }

    #[test]
    fn narrow_ids_are_given_once_and_refused_when_all_are_taken() {
        let ids = Ids::from(0, &[]);

        let mut all: Vec<_> = (0..=0xffff).map(|_| narrow(&ids)).collect();
        all.sort_unstable_by_key(|id| id.ok());
        all.dedup();

        assert_eq!(all.len(), 0x1_0000, "each is another one");
        assert_eq!(narrow(&ids), Err(Exhausted));
        assert_eq!(ids.take_index(ShortIds::WIDE), Ok(None), "the number serves");
        ids.release_index(NARROW, 0x1234);
        assert_eq!(narrow(&ids), Ok(0x0001_1234));
    }

    #[test]
    fn narrow_ids_go_on_where_they_were_and_leave_out_what_is_held() {
        let before = Ids::from(0, &[]);
        let held = before.take_index(NARROW).unwrap().unwrap();
        let after = Ids::from(before.peek(), &before.cursors());
        after.hold_index(NARROW, held);
        after.hold_index(NARROW, 0x180);

        assert_eq!(narrow(&after), Ok(0x0001_0181));
    }

    #[test]
    fn a_form_that_leaves_no_room_for_the_server_is_cut() {
        let absurd = ShortIds { index_bits: 200, stride: 0 };

        assert_eq!(Ids::short(9, absurd, SessionId(u64::MAX), None), 0x09ff_ffff);
    }
}
