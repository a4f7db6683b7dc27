//! `BTCAgent`: all its sub-miners are one connection, and a share of one may be half read.

use std::collections::BTreeMap;
use std::time::Duration;

use stratum_peers::agent::UNIT;
use stratum_peers::verdict::{self, agent_has_lost_nothing};
use stratum_peers::{Agent, AgentConfig, Pool, PoolConfig, eventually_within};

use crate::running::Start;

const SUB_MINERS: u16 = 50;

async fn sserver(name: &str, exponents: [u8; 2]) -> Pool {
    Pool::start(PoolConfig::agents_sserver(exponents).name(name)).await
}

fn all_mine_at(pool: &Pool, before: &BTreeMap<String, u64>) -> bool {
    verdict::all_mine_at(pool, SUB_MINERS, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_switched_ten_times_and_upgraded_ten_times_without_a_disconnect() {
    let (btc, bch) = (sserver("btc", [3, 5]).await, sserver("bch", [4, 6]).await);
    let switcher = Start::new([("btc", btc.address()), ("bch", bch.address())])
        .pool_options("{ extranonce = \"echo\" }")
        .coins("[accounts]\nalice = \"btc\"\n")
        .go()
        .await;
    let agent = Agent::connect(switcher.address, AgentConfig::new("alice", SUB_MINERS, UNIT)).await;
    let minute = Duration::from_mins(1);
    let nothing = BTreeMap::new();
    eventually_within("all sub-miners mine", minute, || all_mine_at(&btc, &nothing)).await;

    let file = switcher.folder().join("coins.toml");
    for round in 1..=10 {
        let (coin, pool) = if round % 2 == 0 { ("btc", &btc) } else { ("bch", &bch) };
        let before = pool.report().accepted_by_name;
        std::fs::write(&file, format!("[accounts]\nalice = \"{coin}\"\n")).unwrap();
        // Some upgrades come before the switch, some in its midst, some behind it.
        tokio::time::sleep(Duration::from_millis(round * 20)).await;
        switcher.upgrade_well().await;
        let what = format!("switch {round}: every sub-miner mines {coin}");
        eventually_within(&what, minute, || all_mine_at(pool, &before)).await;
    }

    agent_has_lost_nothing(&agent, &[&btc, &bch]).await;
    assert!(agent.report().late > 0);
    assert_eq!(switcher.api("/api/v1/status")["generation"], 10);
    switcher.has_logged_no_error();
}
