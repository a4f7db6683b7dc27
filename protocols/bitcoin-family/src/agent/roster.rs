//! The sub-miners of an agent: what each pool has to be told about them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::frame::MAX_SID;
use crate::raw::Raw;

/// Most bytes of agents and names that one agent may have registered: room for all 65,535 sub-miners
/// with 32 bytes each, a third of what the frames allow.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// The sub-miners that are registered, with their registrations.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Roster {
    bodies: BTreeMap<u16, Raw>,
    #[serde(skip)]
    bytes: usize,
}

impl Roster {
    /// Whether the sub-miner is registered now. One that was before keeps its first registration,
    /// as at sserver.
    pub(crate) fn register(&mut self, sid: u16, body: &[u8]) -> bool {
        if self.has(sid) {
            return true;
        }
        if self.bytes + body.len() > MAX_BYTES {
            return false;
        }
        self.bytes += body.len();
        self.bodies.insert(sid, Raw::of(body));
        true
    }

    /// Whether the sub-miner was registered.
    pub(crate) fn unregister(&mut self, sid: u16) -> bool {
        let Some(body) = self.bodies.remove(&sid) else { return false };
        self.bytes -= body.0.len();
        true
    }

    pub(crate) fn has(&self, sid: u16) -> bool {
        self.bodies.contains_key(&sid)
    }

    pub(crate) fn len(&self) -> usize {
        self.bodies.len()
    }

    pub(crate) fn sids(&self) -> impl Iterator<Item = u16> {
        self.bodies.keys().copied()
    }

    /// The registrations from this number on.
    pub(crate) fn from(&self, sid: u16) -> impl Iterator<Item = (u16, &[u8])> {
        self.bodies.range(sid..).map(|(sid, body)| (*sid, &*body.0))
    }

    /// Counts what was saved. Returns whether it is something a roster can hold.
    pub(crate) fn recount(&mut self) -> bool {
        self.bytes = self.bodies.values().map(|body| body.0.len()).sum();
        self.bytes <= MAX_BYTES && self.bodies.keys().all(|sid| *sid <= MAX_SID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_registration_of_a_number_counts_until_it_is_given_back() {
        let mut roster = Roster::default();

        assert!(roster.register(5, b"cgminer\0one\0") && roster.register(5, b"cgminer\0two\0"));
        assert_eq!(roster.from(0).collect::<Vec<_>>(), [(5, &b"cgminer\0one\0"[..])]);

        assert!(roster.unregister(5) && !roster.unregister(5));
        assert!(roster.register(5, b"cgminer\0two\0"));
        assert_eq!(roster.from(5).collect::<Vec<_>>(), [(5, &b"cgminer\0two\0"[..])]);
        assert_eq!(roster.from(6).count(), 0);
    }

    #[test]
    fn the_bytes_of_one_agent_are_bounded() {
        let mut roster = Roster::default();
        let body = [b'x'; 94];

        let taken = (0..=MAX_SID).filter(|sid| roster.register(*sid, &body)).count();

        assert_eq!(taken, MAX_BYTES / body.len());
        assert!(roster.unregister(0) && roster.register(MAX_SID, &body));
    }
}
