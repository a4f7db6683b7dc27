//! The reconnect memory: notes that dialects keep about miners which were sent back, until these
//! come again. Shared by all shards, since a miner comes back to any of them.
//!
//! Bounded in number and in time. It holds what a dialect must know to give a returning miner the
//! right session at once, and what the machine must know not to send it back for ever.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use switcher_plugin::Millis;

use crate::session::machine::Note;

/// How long a miner is expected back. cgminer tries every 30 s, slow firmwares boot in minutes.
pub const KEPT_MS: u64 = 600_000;

/// Most notes that are kept; a dialect may keep two of a miner.
pub const MOST_NOTES: usize = 65_536;

/// Longest key and longest note that are kept, in bytes.
pub const LONGEST: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub struct Memory {
    notes: Mutex<Notes>,
    /// As many as there are, so that newcomers need no lock while there are none.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Notes {
    /// Miners behind one address may be told apart by nothing; they leave several under one key.
    by_key: HashMap<Box<str>, VecDeque<(Millis, Note)>>,
    /// When which key got a note, oldest first. What was recalled stays in here until its time.
    order: VecDeque<(Millis, Box<str>)>,
    count: usize,
}

/// A note as it travels in the state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SavedNote {
    key: Box<str>,
    at: Millis,
    note: Note,
}

impl Memory {
    /// Keeps a note. Returns how many others were forgotten: expired, or the oldest if it is full.
    pub fn remember(&self, key: &str, note: Note, now: Millis) -> u64 {
        let mut notes = self.lock();
        let mut forgotten = notes.expire(now);
        if key.len() > LONGEST || note.text.len() > LONGEST {
            tracing::warn!(bytes = key.len(), "a note is too long to be kept");
        } else {
            while notes.order.len() >= MOST_NOTES {
                forgotten += notes.forget_oldest();
            }
            notes.put(key, note, now);
        }
        self.count.store(notes.count, Ordering::Relaxed);
        forgotten
    }

    /// Gives out the oldest note of a key, once, and how many others had expired.
    pub fn recall(&self, key: &str, now: Millis) -> (Option<Note>, u64) {
        if self.is_empty() {
            return (None, 0);
        }
        let mut notes = self.lock();
        let forgotten = notes.expire(now);
        let note = notes.take(key);
        self.count.store(notes.count, Ordering::Relaxed);
        (note, forgotten)
    }

    /// How many notes there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn save(&self) -> Vec<SavedNote> {
        let notes = self.lock();
        let mut saved: Vec<_> = notes
            .by_key
            .iter()
            .flat_map(|(key, notes)| {
                let of_key = move |(at, note): &(Millis, Note)| SavedNote {
                    key: key.clone(),
                    at: *at,
                    note: note.clone(),
                };
                notes.iter().map(of_key)
            })
            .collect();
        saved.sort_by_key(|note| note.at);
        saved
    }

    pub(crate) fn load(saved: &[SavedNote]) -> Self {
        let mut notes = Notes::default();
        for SavedNote { key, at, note } in saved {
            notes.put(key, note.clone(), *at);
        }
        let count = AtomicUsize::new(notes.count);
        Self { notes: Mutex::new(notes), count }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    fn put(&mut self, key: &str, note: Note, now: Millis) {
        self.order.push_back((now, key.into()));
        self.by_key.entry(key.into()).or_default().push_back((now, note));
        self.count += 1;
    }

    fn take(&mut self, key: &str) -> Option<Note> {
        let of_key = self.by_key.get_mut(key)?;
        let (_, note) = of_key.pop_front()?;
        self.count -= 1;
        if of_key.is_empty() {
            self.by_key.remove(key);
        }
        Some(note)
    }

    fn expire(&mut self, now: Millis) -> u64 {
        let mut forgotten = 0;
        while self.order.front().is_some_and(|(at, _)| now.since(*at) >= KEPT_MS) {
            forgotten += self.forget_oldest();
        }
        forgotten
    }

    /// Drops the oldest entry, and its note unless that was recalled.
    fn forget_oldest(&mut self) -> u64 {
        let Some((at, key)) = self.order.pop_front() else { return 0 };
        // A key's own notes are in their order too, so an older entry's note is never met here.
        let is_there = self.by_key.get(&key).and_then(|notes| notes.front());
        if is_there.is_some_and(|(kept, _)| *kept <= at) {
            self.take(&key);
            return 1;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Note {
        Note { text: text.into(), sent: None }
    }

    fn text(recalled: (Option<Note>, u64)) -> Option<String> {
        recalled.0.map(|note| note.text.to_string())
    }

    #[test]
    fn a_note_is_given_out_once_and_those_of_one_key_in_turn() {
        let memory = Memory::default();
        memory.remember("a", note("1"), Millis(1));
        memory.remember("b", note("2"), Millis(2));
        memory.remember("a", note("3"), Millis(3));

        assert_eq!(text(memory.recall("a", Millis(4))).as_deref(), Some("1"));
        assert_eq!(text(memory.recall("a", Millis(4))).as_deref(), Some("3"));
        assert_eq!(text(memory.recall("a", Millis(4))), None);
        assert_eq!(memory.len(), 1);
    }

    #[test]
    fn notes_expire_and_a_recalled_one_takes_no_other_along() {
        let memory = Memory::default();
        memory.remember("a", note("1"), Millis(0));
        memory.recall("a", Millis(1));
        memory.remember("a", note("2"), Millis(5));

        assert_eq!(memory.remember("b", note("3"), Millis(KEPT_MS)), 0);
        assert_eq!(text(memory.recall("a", Millis(KEPT_MS + 1))).as_deref(), Some("2"));
        assert_eq!(memory.recall("b", Millis(2 * KEPT_MS)).1, 1);
        assert!(memory.is_empty());
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let memory = Memory::default();
        let forgotten: u64 = (0..2 * MOST_NOTES as u64)
            .map(|n| memory.remember(&n.to_string(), note("x"), Millis(n / 1000)))
            .sum();

        assert_eq!((memory.len(), forgotten), (MOST_NOTES, MOST_NOTES as u64));
        memory.remember(&"k".repeat(LONGEST + 1), note("x"), Millis(1000));
        assert_eq!(memory.len(), MOST_NOTES);
    }

    #[test]
    fn notes_travel_in_the_state() {
        let memory = Memory::default();
        memory.remember("a", note("1"), Millis(1));
        memory.remember("a", note("2"), Millis(2));

        let thawed = Memory::load(&memory.save());

        assert_eq!(text(thawed.recall("a", Millis(3))).as_deref(), Some("1"));
        assert_eq!(thawed.len(), 1);
    }
}
