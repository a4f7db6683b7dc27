//! The chain type `ethereum`: a configuration of the original starts, sserver is spoken to as the
//! original did, miners of all its variants follow their nodes.

use serde_json::{Value, json};
use stratum_peers::eth::verdict::{has_noticed_nothing, nothing_wrong_at};
use stratum_peers::eth::{EthMiner, EthMinerConfig, EthPool, EthPoolConfig, Variant};
use stratum_peers::eventually;

use crate::world::{IDS, World, node};

const ADDRESS: &str = "0x00d8c82Eb65124Ea3452CaC59B64aCC230AA3482";

async fn sserver(name: &str, tag: u8) -> EthPool {
    let mut config = EthPoolConfig::sserver().name(name, tag).really_every(0);
    config.jobs_kept = 256;
    EthPool::start(config.jobs_every(std::time::Duration::from_millis(300))).await
}

/// What was said on the newest connection that has got to a login.
fn said(pool: &EthPool) -> Vec<Value> {
    let connections = pool.connections();
    let last = connections.iter().rfind(|one| one.login.is_some()).expect("there was a login");
    let lines = last.lines.iter().filter_map(|line| line.strip_prefix("< "));
    lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ethereum_switcher_of_the_original_starts_and_is_followed() {
    let (eth, etc) = (sserver("eth", 1).await, sserver("etc", 2).await);
    let servers = json!({
        "eth": { "URL": eth.address().to_string() },
        "etc": { "URL": etc.address().to_string() },
    });
    let world = World::new(&[]).await.with("ChainType", "ethereum");
    let world = world.with("StratumServerMap", servers);
    world.writer.set(&node("alice"), "eth").await;
    let switcher = world.start().await;

    let mut miners = Vec::new();
    for (variant, subscribe, login) in [
        (Variant::EthProxy, ["ETHProxy", "ETHProxy/1.0.0"], "eth_submitLogin"),
        (Variant::Plain, ["judge/1.0", "Stratum"], "mining.authorize"),
        (Variant::NiceHash, ["judge/1.0", "EthereumStratum/1.0.0"], "mining.authorize"),
    ] {
        let rig = format!("{variant:?}");
        // The address goes, as the original let it go.
        let config = EthMinerConfig::new(variant, format!("{ADDRESS}.alice.{rig}"));
        let miner = EthMiner::connect(switcher.address, config).await;
        eventually("it mines", || miner.report().accepted > 1).await;

        let lines = said(&eth);
        let id = lines[0]["params"][2].as_str().unwrap_or_default().to_owned();
        assert!(id.len() == 6 && id.starts_with("01"), "the number, then 16 bits: {id}");
        let params = json!([subscribe[0], subscribe[1], id, 2_130_706_433_u32]);
        let (first, second) = (&lines[0], &lines[1]);
        assert_eq!(
            *first,
            json!({"id": "subscribe", "method": "mining.subscribe", "params": params})
        );
        let name = format!("alice.{rig}");
        assert_eq!(*second, json!({"id": "auth", "method": login, "params": [name, "x"]}));
        if variant == Variant::NiceHash {
            assert_eq!(miner.report().extranonce, id);
        }
        miners.push(miner);
    }

    for coin in ["etc", "eth", "etc"] {
        world.writer.set(&node("alice"), coin).await;
        let pool = if coin == "eth" { &eth } else { &etc };
        let tag = if coin == "eth" { 1 } else { 2 };
        eventually(format!("all have work of {coin}"), || {
            miners.iter().all(|miner| miner.report().tag() == Some(tag))
        })
        .await;
        stratum_peers::eth::verdict::shares_at(pool, 6).await;
    }

    let record = world.writer.value(&format!("{IDS}/1")).await.expect("the node stands");
    let record: Value = serde_json::from_slice(&record).expect("it is JSON");
    assert_eq!(record["ChainType"], "ethereum");
    miners.iter().for_each(has_noticed_nothing);
    nothing_wrong_at(&eth);
    nothing_wrong_at(&etc);
}
