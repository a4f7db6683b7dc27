//! A shard's clockwork: one heap of deadlines for all its sessions, at most one entry each.
//!
//! A session's deadline moves with every line it gets. It is not re-armed for that: its entry
//! fires, the session says when it really wants to be woken, and that is armed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use switcher_plugin::{Millis, SessionId};

use super::{Place, Poke, Shard, wake};
use crate::clock;

/// Deadlines of sessions by time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Millis, usize, SessionId)>>,
    /// When the clockwork looks again.
    next_look: Option<Millis>,
}

impl Shard {
    /// Sees to it that the session is woken at `at` at the latest.
    pub(super) fn arm(&self, key: usize, place: &Place, at: Millis) {
        if at >= place.armed.get() || at == Millis(u64::MAX) {
            return;
        }
        place.armed.set(at);
        let mut timers = self.timers.borrow_mut();
        timers.heap.push(Reverse((at, key, place.id)));
        if timers.next_look.is_none_or(|look| at < look) {
            self.clockwork.notify_one();
        }
    }

    /// Runs for as long as the shard does.
    pub(super) async fn keep_time(self: Rc<Self>) {
        loop {
            let next = self.fire();
            self.timers.borrow_mut().next_look = next;
            let wait = async {
                match next {
                    Some(at) => {
                        let pause = at.since(clock::now()).max(1);
                        tokio::time::sleep(Duration::from_millis(pause)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                () = self.clockwork.notified() => {}
            }
        }
    }

    /// Wakes whose time has come. Returns when to look again.
    fn fire(&self) -> Option<Millis> {
        let now = clock::now();
        let due: Vec<_> = {
            let mut queues = self.queues.borrow_mut();
            let due = queues.iter().filter(|(_, at)| *at <= now).map(|(pool, _)| *pool).collect();
            queues.retain(|(_, at)| *at > now);
            due
        };
        for pool in due {
            self.admit(pool);
        }
        loop {
            let mut timers = self.timers.borrow_mut();
            let Some(&Reverse((at, key, id))) = timers.heap.peek() else { break };
            if at > now {
                break;
            }
            timers.heap.pop();
            drop(timers);
            let sessions = self.sessions.borrow();
            if let Some(place) = sessions.get(key).filter(|place| place.id == id)
                && place.armed.get() == at
            {
                place.armed.set(Millis(u64::MAX));
                wake(place, Poke::TIME);
            }
        }
        let timer = self.timers.borrow().heap.peek().map(|Reverse((at, _, _))| *at);
        let queue = self.queues.borrow().iter().map(|(_, at)| *at).min();
        match (timer, queue) {
            (Some(timer), Some(queue)) => Some(timer.min(queue)),
            (timer, queue) => timer.or(queue),
        }
    }
}
