//! Three servers that are one.

use std::time::{Duration, Instant};

use coin_source_zookeeper::ServerIdSettings;
use coin_source_zookeeper::testing::{Ensemble, Writer};

use crate::world::{COINS, SOON, Source, node, settings};

#[tokio::test(flavor = "multi_thread")]
async fn death_of_the_leader_moves_nobody_and_changes_are_seen() {
    let mut ensemble = tokio::task::spawn_blocking(Ensemble::start).await.unwrap();
    let addresses = ensemble.addresses();
    let writer = Writer::connect(addresses[0]).await;
    writer.make_dir(COINS).await;
    writer.set(&node("alice"), "btc").await;
    let mut settings = settings(addresses[0]);
    settings.servers = addresses.iter().map(ToString::to_string).collect();
    settings.server_id = Some(ServerIdSettings {
        dir: "/ids".into(),
        preferred: 1,
        chain_type: "bitcoin".into(),
        coins: vec![],
        listen_addr: String::new(),
    });
    let sources: Vec<_> = (0..3).map(|_| Source::start(settings.clone())).collect();
    for source in &sources {
        source.acquire("alice");
        source.coin("alice", "btc").await;
    }
    let mut before = Vec::new();
    for source in &sources {
        before.push(source.server_id().await);
    }

    let (mut ensemble, dead) = tokio::task::spawn_blocking(move || {
        let dead = ensemble.kill_leader();
        for (i, server) in ensemble.servers().iter_mut().enumerate() {
            if i != dead {
                server.await_service();
            }
        }
        (ensemble, dead)
    })
    .await
    .unwrap();
    let elected = Instant::now();
    let writer = Writer::connect(addresses[(dead + 1) % 3]).await;
    writer.set(&node("alice"), "bcc").await;
    for source in &sources {
        let left = SOON.saturating_sub(elected.elapsed());
        source.coin_within(left.max(Duration::from_millis(100)), "alice", "bcc").await;
    }
    println!("seen by all {:?} after the others had a leader", elected.elapsed());
    for source in &sources {
        source.healthy().await;
    }

    // The dead one comes back and the ids are as they were.
    tokio::task::spawn_blocking(move || {
        ensemble.servers()[dead].restart();
        ensemble
    })
    .await
    .map(drop)
    .unwrap();
    let after: Vec<_> = sources.iter().map(|s| s.board().server_id.unwrap()).collect();
    assert_eq!(before, after);
    for source in &sources {
        assert_eq!(source.board().of("alice"), ["assign btc", "assign bcc"]);
        assert_eq!(source.counters.server_ids_lost.value(), 0);
    }
}
