//! State that a peer's tasks and the test that owns the peer look at in turn.

use std::sync::{Arc, Mutex, MutexGuard};

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    pub(crate) fn new(state: T) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// # Panics
    ///
    /// When a task of the peer panicked, so that the test which uses the peer fails as well.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("no task of the peer has panicked")
    }
}
