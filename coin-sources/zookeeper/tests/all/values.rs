//! The values of coin nodes.

use std::time::Duration;

use coin_source_zookeeper::testing::{Relay, Server};
use switcher_plugin::Notice;
use tokio::time::sleep;

use crate::world::{COINS, SOON, Source, node, server, settings};

#[tokio::test(flavor = "multi_thread")]
async fn value_is_followed_through_all_its_changes() {
    let (server, writer) = server().await;
    writer.set(&node("alice"), "btc").await;
    let source = Source::start(settings(server.address()));

    source.acquire("alice");
    source.coin("alice", "btc").await;
    writer.set(&node("alice"), "bcc\n").await;
    source.coin("alice", "bcc").await;
    writer.remove(&node("alice")).await;
    source.said("alice", "unknown").await;
    writer.set(&node("alice"), "bcc").await;
    source.coin("alice", "bcc").await;
    writer.set(&node("alice"), "no-such-coin").await;
    source.coin("alice", "no-such-coin").await;

    let said = source.board().of("alice");
    let wanted = ["assign btc", "assign bcc", "unknown", "assign bcc", "assign no-such-coin"];
    assert_eq!(said, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn origin_names_the_node_and_the_transaction() {
    let (server, writer) = server().await;
    writer.set(&node("alice"), "btc").await;
    let source = Source::start(settings(server.address()));

    source.acquire("alice");
    source.coin("alice", "btc").await;

    let origin = source.board().log.iter().find_map(|notice| match notice {
        Notice::Assign(_, assignment) => Some(assignment.origin.to_string()),
        _ => None,
    });
    let origin = origin.unwrap();
    assert!(origin.starts_with(&format!("{} mzxid=0x", node("alice"))), "{origin}");
}

#[tokio::test(flavor = "multi_thread")]
async fn same_value_set_again_is_not_said_again() {
    let (server, writer) = server().await;
    writer.set(&node("alice"), "btc").await;
    let source = Source::start(settings(server.address()));
    source.acquire("alice");
    source.coin("alice", "btc").await;

    writer.set(&node("alice"), "btc").await;
    writer.set(&node("alice"), " btc\n").await;
    writer.set(&node("alice"), "bcc").await;
    source.coin("alice", "bcc").await;

    assert_eq!(source.board().of("alice"), ["assign btc", "assign bcc"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_moves_nobody_and_is_reported_with_its_path() {
    let (server, writer) = server().await;
    let huge = vec![b'x'; 200_000];
    let garbage: [&[u8]; 5] = [b"", b"b\xffc", &[b'x'; 65], b"b\x01c", &huge];
    let source = Source::start(settings(server.address()));
    writer.set(&node("alice"), "btc").await;
    source.acquire("alice");
    source.coin("alice", "btc").await;

    for (count, value) in (1..).zip(garbage) {
        writer.set(&node("alice"), value).await;
        source
            .until(SOON, "the bad value is counted", |_| {
                source.counters.bad_values.value() == count
            })
            .await;
    }
    source
        .until(SOON, "the path is named", |board| {
            let (healthy, detail) = board.health.clone().unwrap();
            healthy && detail.contains(&node("alice"))
        })
        .await;
    assert_eq!(source.board().of("alice"), ["assign btc"]);

    writer.set(&node("alice"), "bcc").await;
    source.coin("alice", "bcc").await;
    source
        .until(SOON, "the path is named no more", |board| {
            !board.health.clone().unwrap().1.contains(&node("alice"))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomer_with_garbage_is_unknown_until_it_has_a_coin() {
    let (server, writer) = server().await;
    writer.set(&node("alice"), [0xff, 0xfe]).await;
    let source = Source::start(settings(server.address()));

    source.acquire("alice");
    source.said("alice", "unknown").await;
    writer.set(&node("alice"), "btc").await;
    source.coin("alice", "btc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_directory_moves_nobody() {
    let (server, writer) = server().await;
    let names: Vec<String> = (0..100).map(|i| format!("user{i}")).collect();
    writer.set_all(names.iter().map(|name| (node(name), "btc".to_owned()))).await;
    let source = Source::start(settings(server.address()));
    for name in &names {
        source.acquire(name);
    }
    source.until(SOON, "all have coins", |board| board.assigns() == 100).await;

    writer.remove_dir(COINS).await;

    source
        .until(SOON, "all are unknown", |board| {
            board.log.iter().filter(|n| matches!(n, Notice::Unknown(_))).count() == 100
        })
        .await;
    assert_eq!(source.board().assigns(), 100);
    writer.make_dir(COINS).await;
    writer.set_all(names.iter().map(|name| (node(name), "bcc".to_owned()))).await;
    source
        .until(SOON, "all have the new coin", |board| board.coins.values().all(|c| c == "bcc"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_sub_account_gets_its_coin_when_it_is_made() {
    let (server, writer) = server().await;
    let source = Source::start(settings(server.address()));

    source.acquire("alice");
    source.said("alice", "unknown").await;
    // Longer than the time after which an absent node is watched.
    sleep(Duration::from_millis(1500)).await;
    writer.set(&node("alice"), "btc").await;
    source.coin("alice", "btc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn name_that_cannot_be_a_node_is_never_looked_up() {
    let (server, writer) = server().await;
    writer.set(&node("alice"), "btc").await;
    writer.set(&format!("{}/child", node("alice")), "btc").await;
    let source = Source::start(settings(server.address()));

    for name in ["alice/child", "..", "../btcbcc/alice", "a\0b", ""] {
        source.acquire(name);
        source.said(name, "unknown").await;
    }

    assert_eq!(source.counters.reads.value(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn released_sub_account_is_followed_no_more_and_said_anew_when_it_returns() {
    let (server, writer) = server().await;
    writer.set(&node("alice"), "btc").await;
    writer.set(&node("bob"), "btc").await;
    let source = Source::start(settings(server.address()));
    source.acquire("alice");
    source.acquire("bob");
    source.coin("alice", "btc").await;

    source.release("alice");
    writer.set(&node("alice"), "bcc").await;
    writer.set(&node("bob"), "bcc").await;
    source.coin("bob", "bcc").await;
    assert_eq!(source.board().of("alice"), ["assign btc"]);
    source.acquire("alice");
    source.coin("alice", "bcc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_stands_below_the_chroot() {
    let (server, writer) = server().await;
    writer.make_dir("/pool/coins").await;
    writer.set("/pool/coins/alice", "btc").await;
    let mut settings = settings(server.address());
    settings.chroot = Some("/pool".into());
    settings.watch_dir = "/coins/".into();
    let source = Source::start(settings);

    source.acquire("alice");
    source.coin("alice", "btc").await;
    writer.set("/pool/coins/alice", "bcc").await;
    source.coin("alice", "bcc").await;
}

/// Watches the server keeps for all its clients.
fn watches(server: &Server) -> String {
    let answer = server.ask("wchs");
    answer.lines().last().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn server_keeps_one_watch_for_each_sub_account_and_none_for_those_turned_away() {
    let (server, writer) = server().await;
    let relay = Relay::start(server.address()).await;
    writer.set_all((0..100).map(|i| (node(&format!("user{i}")), "btc".to_owned()))).await;
    let source = Source::start(settings(relay.address()));
    for i in 0..100 {
        source.acquire(&format!("user{i}"));
        let stranger = format!("stranger{i}");
        source.acquire(&stranger);
        source.said(&stranger, "unknown").await;
        source.release(&stranger);
    }
    source.until(SOON, "all mine", |board| board.assigns() == 100).await;
    // Longer than the time after which an absent node is watched.
    sleep(Duration::from_millis(1500)).await;

    assert_eq!(watches(&server), "Total watches:100");
    for i in 0..50 {
        source.release(&format!("user{i}"));
    }
    relay.cut();
    source.until(SOON, "connected again", |_| source.counters.connects.value() == 2).await;
    source.until(SOON, "all are read", |_| source.counters.reads.value() >= 250).await;
    assert_eq!(watches(&server), "Total watches:50");
}
