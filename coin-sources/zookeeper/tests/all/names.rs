//! The canonical spelling of sub-accounts.

use std::time::Duration;

use tokio::time::sleep;

use crate::world::{SOON, Source, node, server, settings};

const INDEX: &str = "/stratumSwitcher/bitcoin_case";

#[tokio::test(flavor = "multi_thread")]
async fn index_gives_the_canonical_spelling() {
    let (server, writer) = server().await;
    writer.make_dir(INDEX).await;
    writer.set(&format!("{INDEX}/alice"), "Alice").await;
    writer.set(&node("Alice"), "btc").await;
    let mut settings = settings(server.address());
    settings.index_dir = Some(format!("{INDEX}/"));
    let source = Source::start(settings);

    source.acquire("ALICE");
    source.acquire("Alice");
    source.coin("ALICE", "btc").await;
    source.coin("Alice", "btc").await;
    writer.set(&node("Alice"), "bcc").await;
    source.coin("ALICE", "bcc").await;
    source.coin("Alice", "bcc").await;

    assert_eq!(source.board().of("ALICE"), ["renamed Alice", "assign btc", "assign bcc"]);
    assert_eq!(source.board().of("Alice"), ["assign btc", "assign bcc"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn name_that_is_not_in_the_index_stands_for_itself() {
    let (server, writer) = server().await;
    writer.make_dir(INDEX).await;
    writer.set(&node("Bob"), "btc").await;
    let mut settings = settings(server.address());
    settings.index_dir = Some(INDEX.into());
    let source = Source::start(settings);

    source.acquire("Bob");
    source.coin("Bob", "btc").await;

    assert_eq!(source.board().of("Bob"), ["assign btc"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn name_that_comes_into_the_index_later_is_found() {
    let (server, writer) = server().await;
    writer.make_dir(INDEX).await;
    let mut settings = settings(server.address());
    settings.index_dir = Some(INDEX.into());
    let source = Source::start(settings);

    source.acquire("CAROL");
    source.said("CAROL", "unknown").await;
    sleep(Duration::from_millis(1500)).await;
    writer.set(&node("Carol"), "btc").await;
    writer.set(&format!("{INDEX}/carol"), "Carol").await;
    source.coin("CAROL", "btc").await;

    assert_eq!(source.board().of("CAROL"), ["unknown", "renamed Carol", "assign btc"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn index_entry_that_names_nothing_is_reported_and_passed_over() {
    let (server, writer) = server().await;
    writer.make_dir(INDEX).await;
    writer.set(&format!("{INDEX}/dave"), "a/b").await;
    writer.set(&node("Dave"), "btc").await;
    let mut settings = settings(server.address());
    settings.index_dir = Some(INDEX.into());
    let source = Source::start(settings);

    source.acquire("Dave");
    source.coin("Dave", "btc").await;

    source
        .until(SOON, "the entry is named", |board| {
            board.health.as_ref().is_some_and(|(_, detail)| detail.contains(INDEX))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_insensitive_pools_get_lower_case() {
    let (server, writer) = server().await;
    writer.set(&node("alice"), "btc").await;
    let mut settings = settings(server.address());
    settings.index_dir = Some(INDEX.into());
    settings.case_insensitive = true;
    let source = Source::start(settings);

    source.acquire("ALICE");
    source.coin("ALICE", "btc").await;

    assert_eq!(source.board().of("ALICE"), ["renamed alice", "assign btc"]);
}
