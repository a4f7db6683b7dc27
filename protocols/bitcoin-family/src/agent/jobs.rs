//! The names of jobs towards an agent. Agents know jobs by one byte, so a name cannot tell by itself
//! which pool the job came from, as the longer ones of other miners do; a table of all 256 does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use switcher_plugin::LegId;

/// Which job an agent means by which byte. Names are given out in a circle, so one is not used again
/// for as long as can be.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct JobNames {
    next: u8,
    named: BTreeMap<u8, Issued>,
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
        let name = self.next;
        self.next = name.wrapping_add(1);
        self.named.insert(name, issued);
        name
    }

    /// The job that an agent calls so.
    pub(crate) fn find(&self, name: u8) -> Option<Issued> {
        self.named.get(&name).copied()
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
