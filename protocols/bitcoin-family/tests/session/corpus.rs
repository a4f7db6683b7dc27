//! Every line ever collected, and any line at all, in every phase: nothing panics, nothing but whole
//! JSON lines is sent, and a resumed session does the same.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::Value;
use switcher_plugin::{Input, LegId};

use crate::world::{World, job};

/// What miners send.
static FROM_MINERS: LazyLock<Vec<String>> = LazyLock::new(|| lines(MINER_FILES));

/// What pools send.
static FROM_POOLS: LazyLock<Vec<String>> = LazyLock::new(|| lines(POOL_FILES));

const MINER_FILES: &[&str] = &[
    include_str!("../corpus/btc-miner-to-pool.jsonl"),
    include_str!("../corpus/bch-miner-to-pool.jsonl"),
    include_str!("../corpus/malformed-from-miner.jsonl"),
    include_str!("../corpus/switcher-to-sserver.jsonl"),
    include_str!("../corpus/btcagent-to-pool.jsonl"),
];

const POOL_FILES: &[&str] = &[
    include_str!("../corpus/btc-pool-to-miner.jsonl"),
    include_str!("../corpus/bch-pool-to-miner.jsonl"),
    include_str!("../corpus/malformed-from-pool.jsonl"),
    include_str!("../corpus/sserver-to-switcher.jsonl"),
    include_str!("../corpus/btcagent-from-pool.jsonl"),
    // What an agent says to its own miners is much like what a pool says.
    include_str!("../corpus/btcagent-to-miner.jsonl"),
];

/// The lines of corpus files, as on the wire.
fn lines(files: &[&str]) -> Vec<String> {
    files
        .iter()
        .flat_map(|file| file.lines())
        .map(|row| {
            let row: Value = serde_json::from_str(row).expect("corpus rows are JSON");
            let eol = if row["eol"] == "\\r\\n" { "\r" } else { "" };
            row["line"].as_str().expect("corpus rows have a line").to_owned() + eol
        })
        .collect()
}

/// Sessions in every phase a line can meet.
fn phases() -> Vec<World> {
    let fresh = World::new();
    let mut waiting = World::new();
    waiting.subscribe_and_authorize("x");
    let mut subscribing = World::new();
    subscribing.miner(r#"{"id":0,"method":"mining.configure","params":[["version-rolling"],{}]}"#);
    subscribing.subscribe_and_authorize("x");
    subscribing.leg_up(1, &Value::Null);
    let mut authorizing = World::new();
    authorizing.subscribe_and_authorize("x");
    authorizing.leg_up(1, &Value::Null);
    authorizing.pool(1, r#"{"id":1,"result":[[],"aabb",8],"error":null}"#);
    let mut echo = World::new();
    echo.subscribe_and_authorize("x");
    echo.leg_up(1, &serde_json::json!({"extranonce": "echo"}));
    let mining = World::mining();
    let mut switching = World::mining();
    switching.leg_up(2, &Value::Null);
    let mut lingering = World::mining();
    lingering.prepare(2, "eeff", 512, "k1");
    lingering.cut_over(2);
    let mut poolless = World::mining();
    poolless.input(Input::LegDown(LegId(1)));
    let agent = World::agent_mining();
    let agent_switching = World::agent_switching();
    vec![
        fresh,
        waiting,
        subscribing,
        authorizing,
        echo,
        mining,
        switching,
        lingering,
        poolless,
        agent,
        agent_switching,
    ]
}

#[test]
fn every_line_of_a_miner_is_survived_in_every_phase() {
    assert!(FROM_MINERS.len() > 200);
    for mut world in phases() {
        for line in &*FROM_MINERS {
            world.miner(line);
        }
    }
}

#[test]
fn every_line_of_a_pool_is_survived_in_every_phase() {
    assert!(FROM_POOLS.len() > 180);
    for mut world in phases() {
        for line in &*FROM_POOLS {
            world.pool(1, line);
            world.pool(2, line);
        }
        world.pool(1, &job("j9"));
        world.cut_over(1);
    }
}

#[test]
fn every_job_of_the_corpus_reaches_the_miner() {
    let mut world = World::mining();
    let jobs: Vec<String> = lines(&[include_str!("../corpus/btc-pool-to-miner.jsonl")])
        .into_iter()
        .filter(|line| {
            serde_json::from_str::<Value>(line)
                .is_ok_and(|line| line["method"] == "mining.notify" && line["params"].is_array())
        })
        .collect();
    assert!(jobs.len() > 20, "{}", jobs.len());

    for line in jobs {
        let asked = world.pool(1, &line);

        assert!(asked[0].starts_with("down"), "{line}: {asked:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_it_panic(lines in prop::collection::vec("[ -~\\t]{0,80}", 1..20)) {
        let mut world = World::mining();
        for line in lines {
            world.miner(&line);
            world.pool(1, &line);
        }
    }

    #[test]
    fn no_broken_line_makes_it_panic(
        at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        to in "[ -~]",
    ) {
        let line = at.get(&FROM_POOLS);
        let mut broken: Vec<char> = line.chars().filter(char::is_ascii).collect();
        if broken.is_empty() {
            return Ok(());
        }
        let place = cut.index(broken.len());
        broken[place] = to.chars().next().unwrap_or(' ');
        let broken: String = broken.into_iter().collect();
        let mut world = World::mining();
        world.pool(1, &broken);
        world.miner(&broken);
    }
}
