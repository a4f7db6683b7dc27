//! Tests of the test suite for dialects: a good dialect passes, and each defect is found by the
//! check that is there for it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod echo;

use std::process::Command;
use std::time::Duration;

use echo::{Defect, Echo};
use switcher_plugin::testing::{
    Limits, Script, check_conformance, check_transcripts, conform, scripts, transcripts,
};

const DIR: &str = "tests/testing/transcripts";

fn quick() -> Limits {
    Limits { flood: 1_000, saved: 16 * 1024, ..Limits::default() }
}

/// The report about a dialect with this defect.
fn report(defect: Defect) -> String {
    let result = check_conformance(&[&Echo::with(defect)], &scripts(DIR), &quick());
    result.expect_err(&format!("{defect:?} is not found"))
}

/// A folder with one transcript, and what is said about it.
fn told(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("one.txt"), text).unwrap();
    check_transcripts(&[&Echo::good()], folder.path(), false).unwrap_err()
}

#[test]
fn conversations_of_a_good_dialect_go_as_written() {
    transcripts(&[&Echo::good()], DIR);
}

#[test]
fn a_good_dialect_conforms() {
    conform(&[&Echo::good()], &scripts(DIR));
}

#[test]
fn each_defect_is_found_by_its_check() {
    for (defect, check, part) in [
        (Defect::Amplifies, "garbage", "bytes sent for"),
        (Defect::BlamesNobody, "same again", "which never was"),
        (Defect::ChangesItsMind, "recognise", "on 3 bytes, then Mine"),
        (Defect::CutsEarly, "chunks", "bad_frame"),
        (Defect::CutsNothing, "garbage", "Frame(0)"),
        (Defect::CutsTooMuch, "garbage", "cut gave Frame("),
        (Defect::DescribesBadly, "garbage", "panicked"),
        (Defect::Fickle, "same again", "+ send miner hello"),
        (Defect::ForgetsOnSave, "resume", "- send miner work"),
        (Defect::Hoards, "flood", "the same: the saved state has"),
        (Defect::HoardsWorkers, "flood", "varied: the saved state has"),
        (Defect::LosesShares, "same again", "1 shares have no verdict"),
        (Defect::OldVersionUnread, "resume", "state has version 1"),
        (Defect::Overcounts, "same again", "leg 3 that was not submitted there"),
        (Defect::PanicsOnDepth, "garbage", "panicked: too deep"),
        (Defect::PanicsOnNumbers, "garbage", "panicked"),
        (Defect::PanicsOnText, "garbage", "Utf8Error"),
        (Defect::RecallsForEver, "same again", "recalls more than 8 times"),
        (Defect::SendsIntoTheVoid, "same again", "leg 1, which is not open"),
        (Defect::Undecided, "recognise", "undecided"),
        (Defect::WakesForEver, "same again", "asked to be woken"),
    ] {
        let report = report(defect);

        let title = format!("{check}, seed ");
        let is_it = |failure: &str| failure.starts_with(&title) && failure.contains(part);
        let found = report.split("\n\n").any(is_it);
        assert!(found, "{defect:?} should be found by `{check}` with `{part}`:\n{report}");
    }
}

#[test]
fn growth_below_the_limit_is_found_too() {
    let limits = Limits { flood: 1_000, ..Limits::default() };
    let result = check_conformance(&[&Echo::with(Defect::Hoards)], &scripts(DIR), &limits);

    assert!(result.unwrap_err().contains("the saved state still grows: "));
}

#[test]
fn a_seed_is_named_and_finds_the_same_again() {
    let first = report(Defect::PanicsOnText);

    assert_eq!(first, report(Defect::PanicsOnText));
    assert!(first.contains("garbage, seed "), "{first}");
}

/// Run by the next test in a process of its own.
#[test]
#[ignore = "ends its process"]
fn a_dialect_from_the_environment_conforms() {
    let defect = match std::env::var("ECHO_DEFECT").as_deref() {
        Ok("hangs") => Defect::Hangs,
        _ => Defect::OverflowsTheStack,
    };
    let limits = Limits { patience: Duration::from_secs(2), ..quick() };

    let _ = check_conformance(&[&Echo::with(defect)], &scripts(DIR), &limits);
}

#[test]
fn hanging_and_overflowing_the_stack_name_their_case() {
    for (defect, part) in [("hangs", "did not return"), ("overflows", "overflowed its stack")] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("a_dialect_from_the_environment_conforms")
            .env("ECHO_DEFECT", defect)
            .output()
            .unwrap();

        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{defect}");
        assert!(text.contains(part), "{defect}: {text}");
        assert!(text.contains("garbage, seed "), "{defect}: {text}");
    }
}

#[test]
fn a_wrong_expectation_is_shown_with_file_line_and_difference() {
    let report = told("< {\"hello\":\"a.b\"}\n    identify a a.c\n    wake_at 1000\n");

    assert!(report.contains("one.txt:1: < {\"hello\":\"a.b\"}"), "{report}");
    assert!(report.contains("  - identify a a.c\n"), "{report}");
    assert!(report.contains("  + identify a a.b\n"), "{report}");
    assert!(report.contains("  + send miner hello 0\n"), "{report}");
}

#[test]
fn what_the_engine_would_not_do_is_an_error_of_the_script() {
    let hello = "pool p: {\"coin\":\"x\"}\n< {\"hello\":\"a.b\"}\n";
    for (text, part) in [
        ("! assigned x\n".to_owned(), "nobody has identified"),
        (format!("{hello}! up 1\n"), "no coin was assigned"),
        (format!("{hello}>1 ok\n"), "leg 1 is not open"),
        (format!("{hello}! assigned x\n! up 1\n! cutover 1\n"), "leg 1 is not ready"),
        (format!("{hello}! assigned x\n! up 1\n! down 1\n! up 1\n"), "leg 1 was there before"),
        (format!("{hello}! refused busy\n@ 5\n"), "the session is over"),
        (format!("{hello}@ 5\n@ 4\n"), "time does not go back"),
        (format!("{hello}! assigned y\n! up 1\n"), "no pool of the coin"),
        ("options: {}\n< x\n".to_owned(), "echo has none"),
        ("dialect: other\n< x\n".to_owned(), "`other` was not given"),
    ] {
        let report = told(&text);

        assert!(report.contains(part), "{text}\n{report}");
    }
}

#[test]
fn transcripts_find_defects_of_their_modes() {
    for (defect, part) in [
        (Defect::ForgetsOnSave, "save and resume before every input changes it"),
        (Defect::CutsEarly, "reading by single bytes changes it"),
    ] {
        let report = check_transcripts(&[&Echo::with(defect)], DIR, false).unwrap_err();

        assert!(report.contains(part), "{defect:?}: {report}");
    }
}

#[test]
fn an_update_writes_what_happened_and_then_passes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("one.txt");
    std::fs::write(&file, "# Hello.\n< {\"hello\":\"a.b\"}\n    # Once.\n    nonsense\n").unwrap();
    let echo = Echo::good();

    assert_eq!(check_transcripts(&[&echo], folder.path(), true), Ok(1));

    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "# Hello.\n< {\"hello\":\"a.b\"}\n    # Once.\n    identify a a.b\n    wake_at 1000\n    \
         send miner hello 0\n"
    );
    assert_eq!(check_transcripts(&[&echo], folder.path(), false), Ok(1));
}

#[test]
fn no_transcripts_is_no_success() {
    let folder = tempfile::tempdir().unwrap();

    let report = check_transcripts(&[&Echo::good()], folder.path(), false).unwrap_err();

    assert!(report.contains("no transcript in"), "{report}");
    assert!(check_conformance(&[&Echo::good()], &[], &quick()).is_err());
}

#[test]
fn a_script_can_be_given_as_text() {
    let script = Script::parse("inline", "< {\"hello\":\"a.b\"}").unwrap();

    assert!(check_conformance(&[&Echo::good()], &[script], &quick()).unwrap() > 64);
}
