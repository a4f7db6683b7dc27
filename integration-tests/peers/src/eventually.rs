//! Waiting for a condition with a deadline, so that no test ever sleeps for a guessed time.
//!
//! The condition is polled; it must be cheap and have no effect of its own.

use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long `eventually` waits. Long, because only a failing test ever waits that long.
pub const PATIENCE: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
///
/// # Panics
///
/// When it does not hold within [`PATIENCE`]; the message names `what` and the caller's line.
#[track_caller]
pub fn eventually(
    what: impl Into<String>,
    condition: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    eventually_within(what, PATIENCE, condition)
}

/// Waits until `condition` holds, at most `patience`.
///
/// # Panics
///
/// When it does not hold in time; the message names `what` and the caller's line.
#[track_caller]
pub fn eventually_within(
    what: impl Into<String>,
    patience: Duration,
    mut condition: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    wait(what.into(), patience, Location::caller(), move || condition().then_some(()))
}

/// Waits until `probe` finds something and returns it.
///
/// # Panics
///
/// When nothing is found within [`PATIENCE`]; the message names `what` and the caller's line.
#[track_caller]
pub fn eventually_some<T>(
    what: impl Into<String>,
    probe: impl FnMut() -> Option<T>,
) -> impl Future<Output = T> {
    wait(what.into(), PATIENCE, Location::caller(), probe)
}

/// Checks that `condition` stays false for the whole of `span`, for rules of the kind "is never
/// answered twice". Choose `span` as short as the rule allows.
///
/// # Panics
///
/// As soon as the condition holds.
#[track_caller]
pub fn never_within(
    what: impl Into<String>,
    span: Duration,
    mut condition: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    let (what, place) = (what.into(), Location::caller());
    async move {
        let end = Instant::now() + span;
        while Instant::now() < end {
            assert!(!condition(), "{place}: happened but must not: {what}");
            sleep(POLL).await;
        }
    }
}

/// Asserts that a list of complaints is empty and prints all of them otherwise.
///
/// # Panics
///
/// When there is a complaint.
#[track_caller]
pub fn nothing_wrong<T: Debug>(whose: &str, complaints: &[T]) {
    assert!(complaints.is_empty(), "{whose} complains: {complaints:#?}");
}

async fn wait<T>(
    what: String,
    patience: Duration,
    place: &'static Location<'static>,
    mut probe: impl FnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "{place}: not within {patience:?}: {what}");
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_as_soon_as_the_condition_holds() {
        let mut rounds = 0;
        eventually("three rounds", || {
            rounds += 1;
            rounds == 3
        })
        .await;
        assert_eq!(rounds, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "the impossible")]
    async fn names_what_did_not_happen() {
        eventually_within("the impossible", Duration::from_millis(20), || false).await;
    }

    #[tokio::test]
    #[should_panic(expected = "a second answer")]
    async fn never_fails_at_the_first_sight() {
        never_within("a second answer", Duration::from_secs(5), || true).await;
    }
}
