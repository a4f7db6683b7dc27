//! The names of jobs towards an agent. Agents know jobs by one byte, so a name cannot tell by itself
//! which pool the job came from, as the longer ones of other miners do; a table of all 256 does.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use switcher_plugin::LegId;

/// How many other names are given out before one is used again.
const APART: usize = 200;

/// Which job an agent means by which byte. A job keeps its pool's own byte if no job of late had that
/// name, so that an agent which was never moved could go on without us; else it gets the next that
/// none of late had.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct JobNames {
    next: u8,
    named: BTreeMap<u8, Issued>,
    /// The names given out last, oldest first.
    #[serde(default)]
    recent: VecDeque<u8>,
}

/// A job as its pool knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Issued {
    pub(crate) leg: LegId,
    /// The pool's own byte.
    pub(crate) id: u8,
    /// The time the agent was given, if it is not the pool's. An agent leaves the time out of a
    /// share that keeps it, and the pool would take its own.
    pub(crate) time: Option<u32>,
}

impl JobNames {
    /// A name for a job that goes down.
    pub(crate) fn name(&mut self, issued: Issued) -> u8 {
        let in_turn = (0..=u8::MAX).map(|step| self.next.wrapping_add(step));
        let mut names = std::iter::once(issued.id).chain(in_turn);
        let name = names.find(|name| !self.recent.contains(name)).unwrap_or(self.next);
        self.next = name.wrapping_add(1);
        if self.recent.len() >= APART {
            self.recent.pop_front();
        }
        self.recent.push_back(name);
        self.named.insert(name, issued);
        name
    }

    /// The job that an agent calls so.
    pub(crate) fn find(&self, name: u8) -> Option<Issued> {
        self.named.get(&name).copied()
    }

    /// Whether all are jobs of this leg by the pool's own bytes, as the pool means them.
    pub(crate) fn are_as_named_by(&self, leg: LegId) -> bool {
        let is_own = |name: u8, issued: &Issued| *issued == Issued { leg, id: name, time: None };
        self.named.iter().all(|(name, issued)| is_own(*name, issued))
    }

    /// Whether this can be; for state that was saved.
    pub(crate) fn is_sound(&self) -> bool {
        self.recent.len() <= APART
    }

    /// The pool uses a byte of its own for another job now.
    pub(crate) fn reused(&mut self, leg: LegId, id: u8) {
        self.named.retain(|_, issued| (issued.leg, issued.id) != (leg, id));
    }

    /// The jobs of a leg are nobody's any more.
    pub(crate) fn lost(&mut self, leg: LegId) {
        self.named.retain(|_, issued| issued.leg != leg);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(leg: u32, id: u8) -> Issued {
        Issued { leg: LegId(leg), id, time: None }
    }

    #[test]
    fn jobs_of_two_pools_with_one_id_are_told_apart() {
        let mut names = JobNames::default();

        let (one, other) = (names.name(issued(1, 9)), names.name(issued(2, 9)));

        assert_ne!(one, other);
        assert_eq!(names.find(one), Some(issued(1, 9)));
        assert_eq!(names.find(other), Some(issued(2, 9)));
        assert_eq!(names.find(77), None);
    }

    #[test]
    fn a_name_comes_back_after_255_others() {
        let mut names = JobNames::default();
        let first = names.name(issued(1, 0));

        for id in 1..=255 {
            assert_ne!(names.name(issued(1, id)), first);
            assert_eq!(names.find(first), Some(issued(1, 0)));
        }

        assert_eq!(names.name(issued(2, 0)), first);
        assert_eq!(names.find(first), Some(issued(2, 0)));
    }

    #[test]
    fn the_pools_own_bytes_serve_until_another_leg_had_them() {
        let mut names = JobNames::default();

        for id in (7..=255).chain(0..=40) {
            names.reused(LegId(1), id);
            assert_eq!(names.name(issued(1, id)), id);
        }
        assert!(names.are_as_named_by(LegId(1)) && !names.are_as_named_by(LegId(2)));

        assert_eq!(names.name(issued(2, 40)), 41);
        assert!(!names.are_as_named_by(LegId(1)));
        names.lost(LegId(1));
        assert!(!names.are_as_named_by(LegId(2)));
    }

    #[test]
    fn a_job_whose_time_was_moved_is_not_the_pools() {
        let mut names = JobNames::default();
        names.name(Issued { time: Some(1), ..issued(1, 7) });

        assert!(!names.are_as_named_by(LegId(1)));
    }

    #[test]
    fn a_job_whose_pool_has_reused_its_id_is_gone() {
        let mut names = JobNames::default();
        let (stale, other) = (names.name(issued(1, 9)), names.name(issued(2, 9)));

        names.reused(LegId(1), 9);

        assert_eq!(names.find(stale), None);
        assert_eq!(names.find(other), Some(issued(2, 9)));

        names.lost(LegId(2));
        assert_eq!(names.find(other), None);
    }
}
