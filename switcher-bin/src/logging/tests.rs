//! The log as its readers see it, written to memory.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::{error, info, warn};

use super::aggregate::Aggregate;
use super::subscriber;
use crate::config::LogSettings;

#[test]
fn repeated_event_is_written_once_and_then_summed_up_per_pool() {
    let (lines, ()) = logged(&settings(), || {
        for _ in 0..38 {
            refused("eu1");
        }
        refused("us1");
    });

    let without_time: Vec<_> = lines.iter().map(|line| after_time(line)).collect();
    assert_eq!(
        without_time,
        [
            " WARN switcher_bin::logging::tests: pool refused us pool=eu1",
            " WARN switcher_bin::logging::tests: pool refused us pool=us1",
            " WARN log: pool refused us … and 37 more in 10 s more=37 pool=eu1",
        ]
    );
}

#[test]
fn errors_are_never_held_back() {
    let (lines, ()) = logged(&settings(), || {
        for _ in 0..3 {
            error!("no");
        }
    });

    assert_eq!(lines.len(), 3);
}

#[test]
fn events_of_different_labels_are_different() {
    let (lines, ()) = logged(&settings(), || {
        for listener in ["a", "b", "c"] {
            info!(listener, "listening");
        }
        for number in 0..3 {
            info!(number, "counting");
        }
    });

    // Three listeners; one count and its sum.
    assert_eq!(lines.len(), 5, "{lines:?}");
}

#[test]
fn json_lines_have_the_same_fields() {
    let (lines, ()) = logged(&LogSettings { json: true, ..settings() }, || {
        info!(pool = "eu1", shares = 7_u64, live = true, "hello \"you\"");
    });

    let line: Value = serde_json::from_str(lines.first().unwrap()).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "hello \"you\"");
    assert_eq!(line["pool"], "eu1");
    assert_eq!(line["shares"], 7);
    assert_eq!(line["live"], true);
}

#[test]
fn names_are_hashed_in_both_forms() {
    for json in [false, true] {
        let settings = LogSettings { json, hash_names: true, ..settings() };

        let (lines, ()) = logged(&settings, || {
            let peer = std::net::SocketAddr::from(([192, 0, 2, 1], 4444));
            info!(worker = "alice.rig1", sub_account = ?"alice", %peer, "here");
        });

        let line = lines.first().unwrap();
        assert!(!line.contains("alice") && !line.contains("192.0.2.1"), "{line}");
        assert_eq!(line.matches('#').count(), 4, "{line}");
    }
}

#[test]
fn names_are_hashed_in_spans_too() {
    let settings = LogSettings { hash_names: true, ..settings() };

    let (lines, ()) = logged(&settings, || {
        let _span = tracing::info_span!("session", session = 7, worker = "alice.rig1").entered();
        info!("here");
    });

    let line = lines.first().unwrap();
    assert!(!line.contains("alice") && line.contains("session=7 worker=#"), "{line}");
}

#[test]
fn words_of_a_peer_stay_on_their_line() {
    let (lines, ()) = logged(&settings(), || {
        info!(agent = "evil\nERROR all is lost\u{1b}[2J", "subscribed\nx");
    });

    assert_eq!(lines.len(), 1);
    let line = lines.first().unwrap();
    assert!(line.contains(r#"subscribed\nx agent="evil\nERROR all is lost\u{1b}[2J""#), "{line}");
}

#[test]
fn filter_decides_by_level() {
    let settings = LogSettings { filter: "warn".into(), ..settings() };

    let (lines, ()) = logged(&settings, || {
        info!("quiet");
        warn!("loud");
    });

    assert_eq!(lines.len(), 1);
}

fn refused(pool: &str) {
    warn!(pool, "pool refused us");
}

fn settings() -> LogSettings {
    LogSettings {
        json: false,
        filter: "info".into(),
        hash_names: false,
        names_key: Some("key".into()),
        file: None,
        stderr: None,
    }
}

fn after_time(line: &str) -> &str {
    line.split_once('Z').map_or(line, |(_, rest)| rest.strip_prefix(' ').unwrap_or(rest))
}

/// Runs something with a log of its own and returns the lines, sums included.
fn logged<T>(settings: &LogSettings, run: impl FnOnce() -> T) -> (Vec<String>, T) {
    let memory = Memory::default();
    let writer = memory.clone();
    let aggregate = Aggregate::default();
    let subscriber = subscriber(settings, aggregate.clone(), move || writer.clone()).unwrap();
    let result = tracing::subscriber::with_default(subscriber, || {
        let result = run();
        aggregate.tell(true);
        result
    });
    let bytes = memory.0.lock().unwrap().clone();
    (String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect(), result)
}

#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
