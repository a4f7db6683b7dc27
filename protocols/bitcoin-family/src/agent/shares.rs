//! The shares of one leg that sserver has not answered. Neither side writes an index into a share:
//! both count. The agent counts what it writes on its one connection and sserver what it handed to a
//! registered sub-miner on each of its own, so every answer gets another index on its way down.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Most shares that may wait on one leg. If 65,000 sub-miners find one every 10 s each, a pool has
/// 150 ms to answer; and it is far less than half of the indices, so that none is ambiguous.
const MAX_WAITING: usize = 1_024;

/// The shares sent up on one leg, from the oldest that is not answered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Shares {
    /// The pool's index of the next one.
    next: u16,
    /// `None` where a later one was answered first.
    waiting: VecDeque<Option<Waiting>>,
}

/// A share without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    /// The agent's index.
    pub(crate) index: u16,
    pub(crate) sid: u16,
    pub(crate) difficulty: f64,
}

impl Shares {
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING
    }

    /// Books a share that goes up.
    pub(crate) fn sent(&mut self, share: Waiting) {
        self.waiting.push_back(Some(share));
        self.next = self.next.wrapping_add(1);
    }

    /// Takes the share with this index of the pool, and those in front of it of sub-miners that
    /// `is_gone`: sserver forgets shares that it still checks when their sub-miner leaves.
    pub(crate) fn answered(
        &mut self,
        index: u16,
        is_gone: impl Fn(u16) -> bool,
    ) -> Option<(Waiting, Vec<Waiting>)> {
        let count = u16::try_from(self.waiting.len()).ok()?;
        let place = usize::from(index.wrapping_sub(self.next.wrapping_sub(count)));
        let share = self.waiting.get_mut(place)?.take()?;
        let mut forgotten = Vec::new();
        for older in self.waiting.iter_mut().take(place) {
            forgotten.extend(older.take_if(|older| is_gone(older.sid)));
        }
        while self.waiting.front().is_some_and(Option::is_none) {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some((share, forgotten))
    }

    /// Whether the agent counts as the pool does, whose next share has this index with the agent.
    pub(crate) fn are_in_step(&self, next: u16) -> bool {
        let mut indices = (0..next).rev().chain((0..=u16::MAX).rev());
        let waiting = self.waiting.iter().rev().zip(&mut indices);
        let is_in_step = |share: &Option<Waiting>, index| share.is_none_or(|it| it.index == index);
        self.next == next && waiting.into_iter().all(|(share, index)| is_in_step(share, index))
    }

    /// Everything that waits.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter().flatten()
    }

    /// Whether this can be; for state that was saved.
    pub(crate) fn is_sound(&self) -> bool {
        self.waiting.len() <= MAX_WAITING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(index: u16) -> Waiting {
        Waiting { index, sid: index % 7, difficulty: 1.0 }
    }

    #[test]
    fn answers_in_any_order_find_their_share_once() {
        let mut shares = Shares::default();
        for index in 100..104 {
            shares.sent(share(index));
        }

        for (theirs, ours) in [(2, 102), (0, 100), (3, 103), (1, 101)] {
            let found = shares.answered(theirs, |_| false).map(|(share, _)| share.index);
            assert_eq!(found, Some(ours));
            assert_eq!(shares.answered(theirs, |_| false), None);
        }

        assert_eq!(shares.iter().count(), 0);
        assert_eq!(shares.answered(4, |_| false), None);
    }

    #[test]
    fn the_index_wraps() {
        let mut shares = Shares::default();
        for round in 0..70_000_u32 {
            let theirs = u16::try_from(round % 65_536).unwrap();
            shares.sent(share(7));
            assert!(shares.answered(theirs, |_| false).is_some(), "{round}");
        }
    }

    #[test]
    fn shares_of_a_sub_miner_that_left_are_given_up_when_a_later_one_is_answered() {
        let mut shares = Shares::default();
        for index in 0..3 {
            shares.sent(share(index));
        }

        let (answered, forgotten) = shares.answered(2, |sid| sid == 0).unwrap();

        assert_eq!(answered.index, 2);
        assert_eq!(forgotten, [share(0)]);
        assert_eq!(shares.iter().collect::<Vec<_>>(), [&share(1)]);
    }

    #[test]
    fn agent_and_pool_are_in_step_as_long_as_both_have_counted_every_share() {
        let mut shares = Shares::default();
        assert!(shares.are_in_step(0) && !shares.are_in_step(1));
        for index in 0..3 {
            shares.sent(share(index));
        }
        assert!(shares.are_in_step(3) && !shares.are_in_step(2));

        shares.sent(share(7));

        assert!(!shares.are_in_step(4) && !shares.are_in_step(8));
    }

    #[test]
    fn only_so_many_wait() {
        let mut shares = Shares::default();
        while shares.has_room() {
            shares.sent(share(0));
        }

        assert_eq!(shares.iter().count(), MAX_WAITING);
        assert!(shares.answered(0, |_| false).is_some() && shares.has_room());
    }
}
