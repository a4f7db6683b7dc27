//! Misdeeds of a loaded plug-in: each costs the session it happens in, and is told.

use std::time::{Duration, Instant};

use switcher_plugin::{Fault, FaultKind, Recognition, ResumeError, Saved};
use switcher_plugin_abi::host::health;

use crate::support::{dialect, keep_log, log, naughty, open, say, with_seat};

const FAILED: Fault =
    Fault { side: switcher_plugin::Side::Downstream, kind: FaultKind::PluginFailed };

/// A misdeed of one session ends it, and none beside it; the log says what happened.
fn costs_its_session(misdeed: &[&str], told: &str) {
    keep_log();
    let (_library, plugin) = naughty();
    let dialect = dialect(&plugin);
    let (mut good, mut bad) = (open(&dialect), open(&dialect));
    assert_eq!(say(&mut *good, "hello").unwrap(), "1 hello\n");

    let (last, before) = misdeed.split_last().unwrap();
    for line in before {
        say(&mut *bad, line).unwrap();
    }
    assert_eq!(say(&mut *bad, last), Err(FAILED));

    assert_eq!(say(&mut *bad, "hello"), Err(FAILED), "it is over");
    assert_eq!(say(&mut *good, "still here").unwrap(), "2 still here\n");
    let standing = plugin.health.standing();
    assert_eq!((standing.faults, &standing.quarantine), (1, &None));
    assert!(standing.last_fault.as_ref().is_some_and(|fault| fault.contains(told)), "{standing:?}");
    let named = |line: &str| line.contains("plugin-naughty") && line.contains(told);
    assert!(log().lines().any(named), "{}", log());
}

#[test]
fn panic_is_stopped() {
    costs_its_session(&["panic"], "handle was told to panic");
}

#[test]
fn frame_longer_than_what_is_there_is_not_believed() {
    costs_its_session(&["overcut", "more"], "cut a frame of 6 bytes from 5");
}

#[test]
fn output_without_end_is_cut_off() {
    costs_its_session(&["flood"], "bytes done for one input");
}

#[test]
fn fault_of_a_peer_is_none_of_the_plug_in() {
    let (_library, plugin) = naughty();
    let mut session = open(&dialect(&plugin));

    let fault = say(&mut *session, "fault").unwrap_err();

    assert_eq!(fault, Fault::downstream(FaultKind::BadParams));
    assert_eq!(plugin.health.standing().faults, 0);
}

#[test]
fn panic_while_a_miner_is_recognised_turns_it_away() {
    let (_library, plugin) = naughty();

    assert_eq!(dialect(&plugin).recognise(b"?!"), Recognition::NotMine);

    assert_eq!(plugin.health.standing().faults, 1);
}

#[test]
fn five_failures_put_it_into_quarantine() {
    keep_log();
    let (_library, plugin) = naughty();
    let dialect = dialect(&plugin);
    let mut settled = open(&dialect);
    for _ in 0..5 {
        assert_eq!(plugin.health.standing().quarantine, None);
        say(&mut *open(&dialect), "panic").unwrap_err();
    }

    assert_eq!(say(&mut *open(&dialect), "hello"), Err(FAILED), "newcomers are refused");

    assert_eq!(say(&mut *settled, "hello").unwrap(), "1 hello\n", "who is there stays");
    let standing = plugin.health.standing();
    assert_eq!((standing.faults, standing.refused_sessions), (5, 1));
    assert!(standing.quarantine.unwrap().starts_with("5 failures within 60 s"));
    assert!(log().contains("plug-in is in quarantine"));
}

#[test]
fn slow_call_is_reported_and_a_very_slow_one_ends_in_quarantine() {
    keep_log();
    let (_library, plugin) = naughty();
    let mut session = open(&dialect(&plugin));

    say(&mut *session, "sleep 120").unwrap();
    let standing = plugin.health.standing();
    assert!(standing.slow_calls >= 1 && standing.quarantine.is_none(), "{standing:?}");
    assert!(log().contains("slow call of a plug-in"));

    say(&mut *session, "sleep 1100").unwrap();
    let standing = plugin.health.standing();
    assert!(standing.slow_calls >= 2 && standing.faults == 0, "{standing:?}");
    assert!(standing.quarantine.is_some(), "{standing:?}");
}

#[test]
fn call_that_does_not_come_back_is_seen_from_outside() {
    keep_log();
    let (_library, plugin) = naughty();
    let mut session = open(&dialect(&plugin));
    let hanging = std::thread::spawn(move || say(&mut *session, "sleep 4000"));

    let began = Instant::now();
    while plugin.health.standing().quarantine.is_none() {
        assert!(began.elapsed() < Duration::from_secs(3), "it is seen while it hangs");
        std::thread::sleep(Duration::from_millis(20));
    }

    assert_eq!(plugin.health.standing().hanging_calls, 1);
    assert!(health::hanging().contains(&"plugin-naughty".to_owned()));
    assert!(log().contains("plug-in does not come back from a call"));
    hanging.join().unwrap().unwrap();
    assert_eq!(plugin.health.standing().hanging_calls, 0);
}

#[test]
fn state_that_does_not_read_is_refused_with_the_plug_ins_reason() {
    let (_library, plugin) = naughty();
    let dialect = dialect(&plugin);
    let resume = |version, state: &str| {
        let saved = Saved { version, state: state.to_owned() };
        with_seat(|seat| dialect.resume(seat, &saved)).map(|_| ()).unwrap_err()
    };

    assert_eq!(resume(1, "bob - many"), ResumeError::Damaged("no number".to_owned()));
    assert_eq!(resume(2, "bob - 1"), ResumeError::Version { found: 2, first: 1, last: 1 });

    assert_eq!(plugin.health.standing().faults, 0, "that is no failure");
}

#[test]
fn session_that_cannot_be_saved_ends_and_resumes_nowhere() {
    let (_library, plugin) = naughty();
    let dialect = dialect(&plugin);
    let mut session = open(&dialect);
    say(&mut *session, "unsavable").unwrap();

    let saved = session.save(1);

    let told = "its plug-in could not save it".to_owned();
    let resumed = with_seat(|seat| dialect.resume(seat, &saved)).map(|_| ());
    assert_eq!(resumed, Err(ResumeError::Damaged(told)));
    assert_eq!(say(&mut *session, "hello"), Err(FAILED));
    assert_eq!(plugin.health.standing().faults, 1);
}

#[test]
fn what_a_plug_in_logs_and_where_it_panics_is_in_the_log() {
    keep_log();
    let (_library, plugin) = naughty();
    let mut session = open(&dialect(&plugin));

    say(&mut *session, "log something").unwrap();
    say(&mut *session, "panic").unwrap_err();

    let lines = log();
    let line = |wanted: &str| lines.lines().find(|line| line.contains(wanted)).unwrap().to_owned();
    let said = line("said something lines=1");
    assert!(said.starts_with("WARN") && said.contains("plugin-naughty"), "{said}");
    assert!(line("part=panic").contains("lib.rs"), "the place is told");
}
