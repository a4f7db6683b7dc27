//! Plays simulated cases. `SWITCHER_SEED=<seed>` plays one of each manner and prints what happens in
//! it, `SWITCHER_CASES=<count>` plays that many, from `SWITCHER_FROM=<seed>` on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use integration_tests::sim::{Broken, Manner, Tally, play};

/// Cases of a usual run, of each manner.
const CASES: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Plays a case; a panic breaks a promise, too.
fn outcome(seed: u64, manner: Manner, trace: bool) -> Result<Tally, Broken> {
    catch_unwind(AssertUnwindSafe(|| play(seed, manner, trace)))
        .unwrap_or_else(|_| Err(Broken { why: "it panicked".to_owned(), trace: Vec::new() }))
}

/// Plays cases that broke a promise once.
fn replay(manner: Manner, seeds: &[u64]) {
    for &seed in seeds {
        let why = outcome(seed, manner, false).err().map(|broken| broken.why);
        assert_eq!(why, None, "SWITCHER_SEED={seed}");
    }
}

/// Plays many cases, and says what was played.
fn the_promises_hold(manner: Manner) -> String {
    if let Some(seed) = number("SWITCHER_SEED") {
        let broken = outcome(seed, manner, true).err();
        let told = broken.map(|broken| format!("{}\n{}", broken.trace.join("\n"), broken.why));
        assert!(told.is_none(), "SWITCHER_SEED={seed}: {}", told.unwrap_or_default());
        return format!("case {seed}, {manner:?}: no promise is broken");
    }
    let (from, cases) = (number("SWITCHER_FROM").unwrap_or(0), number("SWITCHER_CASES"));
    let cases = cases.unwrap_or(CASES);
    let threads = 2;
    let (mut broken, mut sum) = (Vec::new(), Tally::default());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|part| {
                scope.spawn(move || {
                    let seeds = (from..from + cases).filter(move |seed| seed % threads == part);
                    seeds.map(|seed| (seed, outcome(seed, manner, false))).collect::<Vec<_>>()
                })
            })
            .collect();
        for worker in workers {
            for (seed, outcome) in worker.join().expect("panics are caught") {
                match outcome {
                    Ok(tally) => {
                        sum.calls += tally.calls;
                        sum.freezes += tally.freezes;
                        sum.sessions += tally.sessions;
                        sum.shares += tally.shares;
                        sum.told += tally.told;
                        sum.sent_back += tally.sent_back;
                    }
                    Err(why) => broken.push((seed, why.why)),
                }
            }
        }
    });
    broken.sort();
    let count = broken.len();
    assert_eq!(sum.told > 0, manner == Manner::Told, "what was to be played is played");
    assert_eq!(sum.sent_back > 0, manner == Manner::SentBack, "what was to be played is played");
    let list: Vec<String> =
        broken.iter().take(40).map(|(seed, why)| format!("SWITCHER_SEED={seed}: {why}")).collect();
    assert!(list.is_empty(), "{count} of {cases} cases break a promise\n{}", list.join("\n"));
    format!("{cases} cases, {manner:?}: {sum:?}")
}

#[test]
fn the_promises_hold_whatever_happens() {
    println!("{}", the_promises_hold(Manner::Unnoticed));
}

#[test]
fn the_promises_hold_for_miners_that_are_told_of_extranonces() {
    println!("{}", the_promises_hold(Manner::Told));
}

#[test]
fn the_promises_hold_for_miners_that_are_sent_back() {
    println!("{}", the_promises_hold(Manner::SentBack));
}

#[test]
fn a_case_is_the_same_every_time() {
    for seed in 0..5 {
        let outcome = || outcome(seed, Manner::SentBack, true);
        assert_eq!(outcome(), outcome());
    }
}

#[test]
fn a_registration_of_a_sub_account_that_mines_closes_nobody() {
    replay(Manner::Unnoticed, &[2, 79, 160]);
}

#[test]
fn a_miner_without_a_pool_tries_again_what_could_not_serve_it() {
    replay(Manner::Unnoticed, &[130, 308, 414, 5264]);
}

#[test]
fn a_leg_that_lost_its_room_is_not_returned_to() {
    replay(Manner::Unnoticed, &[435, 2328, 3583]);
}

#[test]
fn a_leg_that_never_had_work_is_not_returned_to() {
    replay(Manner::Unnoticed, &[18873, 23849]);
}

#[test]
fn nobody_is_sent_back_for_a_pool_that_is_no_longer_configured() {
    replay(Manner::SentBack, &[33737]);
}
