//! Every line ever collected, in every phase of a session of every variant: nothing panics, nothing
//! but whole JSON lines is sent, a resumed session does the same, and what a line does where it
//! belongs is written down file by file.

use serde_json::Value;
use switcher_plugin::{Input, LegId};

use crate::world::World;

const VARIANTS: [&str; 4] = ["ethproxy", "stratum", "nicehash", "stratum2"];

/// Variant, what its miners send, what its pools send.
const FILES: [(&str, &str, &str); 4] = [
    (
        "ethproxy",
        include_str!("../corpus/eth-ethproxy-miner-to-pool.jsonl"),
        include_str!("../corpus/eth-ethproxy-pool-to-miner.jsonl"),
    ),
    (
        "stratum",
        include_str!("../corpus/eth-stratum-plain-miner-to-pool.jsonl"),
        include_str!("../corpus/eth-stratum-plain-pool-to-miner.jsonl"),
    ),
    (
        "nicehash",
        include_str!("../corpus/eth-nicehash-miner-to-pool.jsonl"),
        include_str!("../corpus/eth-nicehash-pool-to-miner.jsonl"),
    ),
    (
        "stratum2",
        include_str!("../corpus/eth-stratum2-miner-to-pool.jsonl"),
        include_str!("../corpus/eth-stratum2-pool-to-miner.jsonl"),
    ),
];

/// What nobody should send.
const MALFORMED: &str =
    include_str!("../../../bitcoin-family/tests/corpus/malformed-from-miner.jsonl");

fn lines(file: &str) -> Vec<String> {
    file.lines()
        .map(|row| {
            let row: Value = serde_json::from_str(row).expect("corpus rows are JSON");
            let eol = if row["eol"] == "\\r\\n" { "\r" } else { "" };
            row["line"].as_str().expect("corpus rows have a line").to_owned() + eol
        })
        .collect()
}

/// Sessions in every phase that a line can meet.
const PHASES: [fn(&str) -> World; 8] = [
    |_| World::new(),
    World::logged_in,
    |variant| {
        let mut greeting = World::logged_in(variant);
        greeting.leg_up(1, &serde_json::json!({"variant": variant}));
        greeting
    },
    |variant| {
        let mut echo = World::logged_in(variant);
        echo.leg_up(1, &serde_json::json!({"extranonce": "echo"}));
        echo
    },
    World::mining,
    |variant| {
        let mut switching = World::mining(variant);
        switching.serve(2, variant);
        switching
    },
    |variant| {
        let mut lingering = World::mining(variant);
        lingering.serve(2, variant);
        lingering.cut_over(2);
        lingering
    },
    |variant| {
        let mut poolless = World::mining(variant);
        poolless.input(Input::LegDown(LegId(1)));
        poolless
    },
];

#[test]
fn every_line_of_a_miner_is_survived_in_every_phase() {
    for (variant, phase) in VARIANTS.iter().flat_map(|v| PHASES.map(|phase| (v, phase))) {
        for file in FILES.map(|(_, from_miner, _)| from_miner).iter().chain([&MALFORMED]) {
            let mut world = phase(variant);
            for line in lines(file) {
                let asked = world.miner(&line);

                if asked.iter().any(|asked| asked.starts_with("close")) {
                    world = phase(variant);
                }
            }
        }
    }
}

#[test]
fn every_line_of_a_pool_is_survived_in_every_phase() {
    for (variant, phase) in VARIANTS.iter().flat_map(|v| PHASES.map(|phase| (v, phase))) {
        for (_, _, from_pool) in FILES {
            let mut world = phase(variant);
            for line in lines(from_pool) {
                world.pool(1, &line);
                world.pool(2, &line);
            }
            world.cut_over(1);
        }
    }
}

/// What a mining session of its own variant does about a miner's line.
fn outcome(variant: &str, line: &str) -> &'static str {
    let asked = World::mining(variant).miner(line);
    let is = |start: &str| asked.iter().any(|asked| asked.starts_with(start));
    let answers = asked.iter().filter(|asked| asked.starts_with("down")).count();
    let wants_answer = serde_json::from_str::<Value>(line)
        .is_ok_and(|line| line.get("id").is_some_and(|id| !id.is_null()));
    let is_answered = answers == usize::from(wants_answer);
    match () {
        () if is("submitted") && answers == 0 => "goes up",
        () if !is_answered => "is not answered once",
        () if is("share") => "is an orphan",
        () if asked.iter().any(|asked| asked.contains("\"code\":24") || asked.contains("[24,")) => {
            "is another worker"
        }
        () if asked.iter().any(|asked| asked.contains("[27,") || asked.contains("\"code\":27")) => {
            "is malformed"
        }
        () if is("close") => "is the end",
        () if asked.iter().any(|asked| asked.contains("-3")) => "is unknown",
        () => "is answered",
    }
}

/// What becomes of the lines of each file, in the order of [`FILES`].
const MINERS: [&[(&str, usize)]; 4] = [
    &[("goes up", 16), ("is another worker", 14), ("is answered", 16)],
    &[("is an orphan", 3), ("is another worker", 2), ("is answered", 3)],
    &[("is an orphan", 2), ("is another worker", 6), ("is answered", 11)],
    &[("is an orphan", 2), ("is another worker", 1), ("is answered", 7), ("is the end", 1)],
];

/// Likewise for pools.
const POOLS: [&[(&str, usize)]; 4] = [
    &[("answer to nothing", 15), ("job", 40), ("kept", 1)],
    &[("answer to nothing", 1), ("job", 2), ("no frame", 1)],
    &[("answer to nothing", 9), ("job", 8), ("kept", 6)],
    &[("answer to nothing", 9), ("kept", 2)],
];

/// How often which outcome occurs, in the order of the alphabet.
fn census(outcomes: impl Iterator<Item = &'static str>) -> Vec<(&'static str, usize)> {
    let mut census = std::collections::BTreeMap::new();
    for outcome in outcomes {
        *census.entry(outcome).or_insert(0) += 1;
    }
    census.into_iter().collect()
}

#[test]
fn each_line_of_a_miner_is_answered_as_it_should() {
    let found = FILES.map(|(variant, from_miner, _)| {
        census(lines(from_miner).iter().map(|line| outcome(variant, line)))
    });

    assert_eq!(found, MINERS);
}

#[test]
fn each_line_of_a_pool_does_what_it_should() {
    let found = FILES.map(|(variant, _, from_pool)| {
        census(lines(from_pool).into_iter().map(|line| {
            let asked = World::mining(variant).pool(1, &line);
            let is = |start: &str| asked.iter().any(|asked| asked.starts_with(start));
            match () {
                () if is("job") && is("down") => "job",
                () if is("disregard unknown_id") => "answer to nothing",
                () if is("disregard bad_frame") => "no frame",
                () if is("disregard") => "odd",
                () if is("down") => "goes down",
                () if asked.is_empty() => "kept",
                () => "other",
            }
        }))
    });

    assert_eq!(found, POOLS);
}

#[test]
fn a_session_describes_itself() {
    let described = World::mining("nicehash").described();

    for (field, value) in [
        ("variant", "nicehash"),
        ("pool_variant", "nicehash"),
        ("agent", "ethminer"),
        ("session_id", "010080"),
        ("extranonce", "c502"),
        ("difficulty", "2"),
        ("target", "000000007fff8000000000000000000000000000000000000000000000000000"),
    ] {
        assert_eq!(described[field], value, "{field}");
    }
}
