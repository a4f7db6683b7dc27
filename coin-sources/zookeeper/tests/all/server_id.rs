//! The number in the fleet.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use coin_source_zookeeper::testing::{Relay, Server, Writer};
use coin_source_zookeeper::{ServerIdSettings, Settings};
use tokio::time::sleep;

use crate::world::{self, SOON, Source};

const IDS: &str = "/stratumSwitcher/bitcoin_swid";
const ORIGINAL: &str =
    r#"{"ChainType":"bitcoin","Coins":["btc"],"IPs":[],"HostName":"other","ListenAddr":""}"#;

async fn server() -> (Server, Writer) {
    world::server().await
}

fn settings(address: std::net::SocketAddr, preferred: u8) -> Settings {
    let mut settings = world::settings(address);
    settings.server_id = Some(ServerIdSettings {
        dir: format!("{IDS}/"),
        preferred,
        chain_type: "bitcoin".into(),
        coins: vec!["btc".into(), "bcc".into()],
        listen_addr: "0.0.0.0:18080".into(),
    });
    settings
}

fn id(id: u8) -> String {
    format!("{IDS}/{id}")
}

/// Waits until a node is gone.
async fn gone(writer: &Writer, path: &str) {
    let deadline = Instant::now() + 4 * SOON;
    while writer.holder(path).await.is_some() {
        assert!(Instant::now() < deadline, "{path} is still there");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a node is held by another session than this one.
async fn taken_over(writer: &Writer, path: &str, from: Option<i64>) {
    let deadline = Instant::now() + 4 * SOON;
    loop {
        let holder = writer.holder(path).await;
        if holder.is_some() && holder != from {
            return;
        }
        assert!(Instant::now() < deadline, "{path} is held by {holder:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lowest_free_number_from_the_preferred_is_taken() {
    let (server, writer) = server().await;
    writer.make_dir(IDS).await;
    for taken in [3, 4] {
        writer.hold(&id(taken), ORIGINAL).await;
    }
    let source = Source::start(settings(server.address(), 3));

    assert_eq!(source.server_id().await, 5);

    let value = String::from_utf8(writer.value(&id(5)).await.unwrap()).unwrap();
    let wanted = r#"{"ChainType":"bitcoin","Coins":["btc","bcc"],"IPs":["#;
    assert!(value.starts_with(wanted) && value.contains("127.0.0.1/8"), "{value}");
    assert!(value.contains(r#""ListenAddr":"0.0.0.0:18080","Instance":""#), "{value}");
    assert!(value.contains(r#""HostName":""#) && value.contains(r#""StartedAt":"#), "{value}");
}

#[tokio::test(flavor = "multi_thread")]
async fn search_goes_on_below_the_preferred() {
    let (server, writer) = server().await;
    writer.make_dir(IDS).await;
    for taken in [255, 1] {
        writer.hold(&id(taken), ORIGINAL).await;
    }
    let source = Source::start(settings(server.address(), 255));

    assert_eq!(source.server_id().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_directory_is_reported_until_a_number_is_free() {
    let (server, writer) = server().await;
    writer.make_dir(IDS).await;
    for taken in 1..=255 {
        writer.hold(&id(taken), ORIGINAL).await;
    }
    let source = Source::start(settings(server.address(), 1));

    source.ailing("all numbers in").await;
    writer.remove(&id(77)).await;
    assert_eq!(source.server_id().await, 77);
    source.healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_race_never_share_a_number() {
    let (server, _writer) = server().await;
    for _ in 0..3 {
        let sources: Vec<_> =
            (0..12).map(|_| Source::start(settings(server.address(), 1))).collect();

        let mut ids = HashSet::new();
        for source in &sources {
            assert!(ids.insert(source.server_id().await), "shared: {ids:?}");
        }

        for source in sources {
            let counters = std::sync::Arc::clone(&source.counters);
            source.stop().await;
            assert_eq!(counters.server_ids_lost.value(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn number_is_kept_over_a_short_loss_with_the_same_session() {
    let (server, writer) = server().await;
    let relay = Relay::start(server.address()).await;
    let mut settings = settings(relay.address(), 7);
    settings.session_timeout_seconds = 20;
    let source = Source::start(settings);
    assert_eq!(source.server_id().await, 7);
    let holder = writer.holder(&id(7)).await;

    relay.cut();
    source.until(SOON, "a second connection", |_| source.counters.connects.value() == 2).await;
    sleep(Duration::from_secs(1)).await;

    assert_eq!(writer.holder(&id(7)).await, holder);
    assert_eq!(source.board().server_id, Some(7));
    assert_eq!(source.counters.rebuilds.value(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn number_is_the_same_after_kill_9_of_the_server() {
    let (mut server, writer) = server().await;
    let source = Source::start(settings(server.address(), 7));
    assert_eq!(source.server_id().await, 7);

    server.kill();
    let server = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    });
    let _server = server.await.unwrap();
    source.until(2 * SOON, "connected again", |_| source.counters.connects.value() >= 2).await;
    // Longer than any session that was open before.
    sleep(Duration::from_secs(6)).await;

    assert!(writer.holder(&id(7)).await.is_some());
    assert_eq!(source.board().server_id, Some(7));
    assert_eq!(source.counters.server_ids_lost.value(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn number_is_taken_back_after_the_session_expired() {
    let (server, writer) = server().await;
    let relay = Relay::start(server.address()).await;
    let source = Source::start(settings(relay.address(), 7));
    assert_eq!(source.server_id().await, 7);

    relay.refuse();
    gone(&writer, &id(7)).await;
    relay.heal();
    taken_over(&writer, &id(7), None).await;

    assert_eq!(source.board().server_id, Some(7));
    assert_eq!(source.counters.server_ids_lost.value(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn number_is_the_same_after_a_silent_link() {
    let (server, writer) = server().await;
    let relay = Relay::start(server.address()).await;
    let source = Source::start(settings(relay.address(), 7));
    assert_eq!(source.server_id().await, 7);
    let holder = writer.holder(&id(7)).await;

    relay.swallow();
    source.ailing("not connected").await;
    relay.heal();
    taken_over(&writer, &id(7), holder).await;
    sleep(Duration::from_secs(6)).await;

    assert!(writer.holder(&id(7)).await.is_some());
    assert_eq!(source.board().server_id, Some(7));
    assert_eq!(source.counters.server_ids_lost.value(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn number_taken_by_another_meanwhile_is_never_stolen() {
    let (server, writer) = server().await;
    let relay = Relay::start(server.address()).await;
    let source = Source::start(settings(relay.address(), 7));
    assert_eq!(source.server_id().await, 7);

    relay.refuse();
    gone(&writer, &id(7)).await;
    writer.hold(&id(7), ORIGINAL).await;
    let other = writer.holder(&id(7)).await;
    relay.heal();
    source.until(SOON, "another number", |board| board.server_id == Some(8)).await;

    assert_eq!(writer.value(&id(7)).await.unwrap(), ORIGINAL.as_bytes());
    assert_eq!(writer.holder(&id(7)).await, other);
    assert_eq!(source.counters.server_ids_lost.value(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_removed_by_hand_is_made_again() {
    let (server, writer) = server().await;
    let source = Source::start(settings(server.address(), 7));
    assert_eq!(source.server_id().await, 7);

    writer.remove(&id(7)).await;
    taken_over(&writer, &id(7), None).await;

    assert_eq!(source.board().server_id, Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn number_is_taken_over_at_once_by_the_next_run() {
    let (server, writer) = server().await;
    let source = Source::start(settings(server.address(), 7));
    assert_eq!(source.server_id().await, 7);
    let holder = writer.holder(&id(7)).await;
    let state = source.stop().await;
    assert!(writer.holder(&id(7)).await.is_some(), "the session is left standing");

    let start = Instant::now();
    let source = Source::resume(settings(server.address(), 1), state);
    assert_eq!(source.server_id().await, 7);
    taken_over(&writer, &id(7), holder).await;

    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(source.counters.server_ids_lost.value(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_next_run_waits_for_the_end_of_the_session_before() {
    let (server, writer) = server().await;
    let source = Source::start(settings(server.address(), 7));
    assert_eq!(source.server_id().await, 7);
    let holder = writer.holder(&id(7)).await;
    let state = source.stop().await;
    // More than half the session's time: it might end at any moment.
    sleep(Duration::from_millis(2500)).await;

    let source = Source::resume(settings(server.address(), 1), state);
    assert_eq!(source.server_id().await, 7);
    taken_over(&writer, &id(7), holder).await;

    assert_eq!(source.board().server_id, Some(7));
    assert_eq!(source.counters.server_ids_lost.value(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn number_known_before_is_said_without_waiting_for_a_server() {
    let (mut server, _writer) = server().await;
    let source = Source::start(settings(server.address(), 7));
    assert_eq!(source.server_id().await, 7);
    let state = source.stop().await;
    server.kill();

    let source = Source::resume(settings(server.address(), 1), state);

    assert_eq!(source.server_id().await, 7);
}
