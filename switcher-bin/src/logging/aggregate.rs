//! Sums up repeated events: of all events of one place in the code with the same labels (`pool`,
//! `coin`, …) the first of 10 s is written, the others are counted and told in one line.
//!
//! Only INFO and WARN are summed up: an ERROR is never held back, and whoever turns on DEBUG wants
//! all of it. What the events say is not looked at, except to repeat the first message.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Target of the lines that tell sums; they are not summed up themselves.
pub const TARGET: &str = "log";

/// How long repetitions are counted.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Fields that tell events apart. None of them has more values than the configuration has entries.
const LABELS: [&str; 6] = ["pool", "coin", "listener", "dialect", "source", "kind"];

/// Bound on what is remembered. Labels come from the configuration, so it is not reached unless
/// somebody logs a peer's words in one; then the rest is written without being summed up.
const MOST: usize = 4096;

/// Bytes kept of a message or a label.
const LONGEST: usize = 200;

/// Which event, with which labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Subject {
    callsite: Identifier,
    labels: [Option<String>; LABELS.len()],
}

/// What is remembered of a window.
#[derive(Debug)]
struct Window {
    began: Instant,
    level: Level,
    message: String,
    more: u64,
}

/// The filter that lets the first event of a window pass. Shared with the thread that tells sums.
#[derive(Debug, Clone, Default)]
pub struct Aggregate {
    windows: Arc<Mutex<HashMap<Subject, Window>>>,
}

impl Aggregate {
    /// Writes the sums of all windows that have ended, or of all there are.
    pub fn tell(&self, all: bool) {
        self.tell_at(Instant::now(), all);
    }

    fn tell_at(&self, now: Instant, all: bool) {
        let ended: Vec<_> = self
            .windows()
            .extract_if(|_, window| all || now.duration_since(window.began) >= WINDOW)
            .filter(|(_, window)| window.more > 0)
            .collect();
        // The lock is free by now: what is written here comes through `admit` again.
        for (subject, window) in ended {
            tell_sum(&subject, &window);
        }
    }

    /// Whether an event is written.
    fn admit(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        let level = *metadata.level();
        if metadata.target() == TARGET || (level != Level::INFO && level != Level::WARN) {
            return true;
        }
        let mut seen = Seen::default();
        event.record(&mut seen);
        let subject = Subject { callsite: metadata.callsite(), labels: seen.labels };
        let mut windows = self.windows();
        let fresh = Window { began: now, level, message: seen.message, more: 0 };
        if let Some(window) = windows.get_mut(&subject) {
            // A window that has ended is counted on until its sum is told; but should nobody tell
            // sums, the event is not held back for ever.
            if now.duration_since(window.began) < 2 * WINDOW {
                window.more += 1;
                return false;
            }
            *window = fresh;
        } else if windows.len() < MOST {
            windows.insert(subject, fresh);
        }
        true
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<Subject, Window>> {
        // Nobody panics while holding it; and if, a sum may be lost, nothing else.
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Filter<S> for Aggregate {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.admit(event, Instant::now())
    }
}

fn tell_sum(subject: &Subject, window: &Window) {
    let [pool, coin, listener, dialect, source, kind] = &subject.labels;
    let message = format!("{} … and {} more in 10 s", window.message, window.more);
    macro_rules! tell {
        ($level:expr) => {
            tracing::event!(target: TARGET, $level, more = window.more, pool, coin, listener,
                dialect, source, kind, "{message}")
        };
    }
    if window.level == Level::WARN { tell!(Level::WARN) } else { tell!(Level::INFO) }
}

/// What of an event is kept.
#[derive(Debug, Default)]
struct Seen {
    labels: [Option<String>; LABELS.len()],
    message: String,
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        let label = LABELS.iter().position(|label| *label == field.name());
        if let Some(slot) = label.and_then(|at| self.labels.get_mut(at)) {
            *slot = Some(cut(value));
        } else if field.name() == "message" {
            self.message = cut(value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" || LABELS.contains(&field.name()) {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn event_is_written_again_when_its_window_has_ended() {
        let (aggregate, began) = (Aggregate::default(), Instant::now());
        let asked = Asked::default();
        let subscriber = tracing_subscriber::registry()
            .with(Clock { aggregate: aggregate.clone(), asked: asked.clone() });

        tracing::subscriber::with_default(subscriber, || {
            for (seconds, ends) in [(0, false), (9, false), (10, true), (11, false), (31, false)] {
                asked.set(began + Duration::from_secs(seconds));
                if ends {
                    aggregate.tell_at(asked.now(), false);
                }
                tracing::info!("again");
            }
        });

        // At 10 s the sum of the first window, of one, comes before the event that opens the next;
        // nobody tells the sum of that, which does not silence the event at 31 s.
        assert_eq!(asked.answers(), [true, false, true, true, false, true]);
    }

    /// Asks the aggregate at times of the test's choice.
    struct Clock {
        aggregate: Aggregate,
        asked: Asked,
    }

    impl<S: Subscriber> Layer<S> for Clock {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let admitted = self.aggregate.admit(event, self.asked.now());
            self.asked.0.lock().unwrap().1.push(admitted);
        }
    }

    #[derive(Clone)]
    struct Asked(Arc<Mutex<(Instant, Vec<bool>)>>);

    impl Default for Asked {
        fn default() -> Self {
            Self(Arc::new(Mutex::new((Instant::now(), Vec::new()))))
        }
    }

    impl Asked {
        fn now(&self) -> Instant {
            self.0.lock().unwrap().0
        }

        fn set(&self, now: Instant) {
            self.0.lock().unwrap().0 = now;
        }

        fn answers(&self) -> Vec<bool> {
            self.0.lock().unwrap().1.clone()
        }
    }
}
