//! Servers and links that fail, and what is seen once they are back.

use std::time::{Duration, Instant};

use coin_source_zookeeper::testing::{Relay, Server, Writer};
use switcher_plugin::Notice;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::world::{SOON, Source, node, server, settings};

const USERS: usize = 50;

fn user(i: usize) -> String {
    format!("user{i}")
}

/// Fifty sub-accounts that mine btc through a link with faults.
async fn mining() -> (Server, Writer, Relay, Source) {
    let (server, writer) = server().await;
    writer.set_all((0..USERS).map(|i| (node(&user(i)), "btc".to_owned()))).await;
    let relay = Relay::start(server.address()).await;
    let source = Source::start(settings(relay.address()));
    for i in 0..USERS {
        source.acquire(&user(i));
    }
    source.until(SOON, "all mine", |board| board.assigns() == USERS).await;
    (server, writer, relay, source)
}

/// Nobody was moved but the first user, and later changes are seen too.
async fn only_the_first_moved(source: &Source, writer: &Writer) {
    assert_eq!(source.board().assigns(), USERS + 1);
    assert!(!source.board().log.iter().any(|notice| matches!(notice, Notice::Unknown(_))));
    writer.set(&node("user1"), "bcc").await;
    source.coin("user1", "bcc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_during_a_cut_is_seen() {
    let (_server, writer, relay, source) = mining().await;

    relay.refuse();
    source.ailing("not connected").await;
    writer.set(&node("user0"), "bcc").await;
    relay.heal();

    let seen = source.coin("user0", "bcc").await;
    println!("seen {seen:?} after it was back");
    only_the_first_moved(&source, &writer).await;
    assert_eq!(source.counters.missed_watches.value(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn change_after_kill_9_and_restart_is_seen() {
    let (server, writer) = server().await;
    writer.set_all((0..USERS).map(|i| (node(&user(i)), "btc".to_owned()))).await;
    let source = Source::start(settings(server.address()));
    for i in 0..USERS {
        source.acquire(&user(i));
    }
    source.until(SOON, "all mine", |board| board.assigns() == USERS).await;

    let mut server = server;
    server.kill();
    source.ailing("not connected").await;
    let restarted = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    });
    let _server = restarted.await.unwrap();
    writer.set(&node("user0"), "bcc").await;

    let seen = source.coin("user0", "bcc").await;
    println!("seen {seen:?} after it was back");
    only_the_first_moved(&source, &writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_during_an_outage_longer_than_the_session_is_seen() {
    let (_server, writer, relay, source) = mining().await;

    relay.refuse();
    writer.set(&node("user0"), "bcc").await;
    // Three times the session timeout.
    sleep(Duration::from_secs(12)).await;
    assert_eq!(source.board().assigns(), USERS);
    relay.heal();

    let seen = source.coin("user0", "bcc").await;
    println!("seen {seen:?} after it was back");
    only_the_first_moved(&source, &writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_link_is_noticed_and_its_change_is_seen() {
    let (_server, writer, relay, source) = mining().await;

    relay.swallow();
    let start = Instant::now();
    writer.set(&node("user0"), "bcc").await;
    source.ailing("not connected").await;
    let noticed = start.elapsed();
    // Silence for longer than the session lives.
    sleep(Duration::from_secs(6)).await;
    relay.heal();

    let seen = source.coin("user0", "bcc").await;
    println!("seen {seen:?} after it was back");
    only_the_first_moved(&source, &writer).await;
    assert!(noticed < Duration::from_secs(6), "noticed after {noticed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_accepts_and_never_answers_is_passed_over() {
    let (server, writer) = server().await;
    writer.set(&node("alice"), "btc").await;
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(server.address());
    settings.servers.insert(0, mute.local_addr().unwrap().to_string());
    settings.servers.insert(0, "no-such-host.invalid".to_owned());

    for _ in 0..4 {
        let source = Source::start(settings.clone());
        source.acquire("alice");
        source.coin("alice", "btc").await;
        source.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_server_is_named_in_the_health() {
    let settings = settings("127.0.0.1:1".parse().unwrap());
    let source = Source::start(settings);

    let detail = source.ailing("127.0.0.1:1").await;

    assert!(detail.contains("refused"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn source_stops_at_once_while_a_link_is_silent() {
    let (_server, _writer, relay, source) = mining().await;
    relay.swallow();

    let start = Instant::now();
    source.stop().await;

    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_turns_us_away_is_not_stormed() {
    let (_server, _writer, relay, source) = mining().await;

    relay.refuse();
    source.ailing("closes the connection").await;
    let before = relay.accepted();
    sleep(Duration::from_secs(3)).await;
    let attempts = relay.accepted() - before;

    assert!((1..=10).contains(&attempts), "{attempts} attempts in 3 s");
}
