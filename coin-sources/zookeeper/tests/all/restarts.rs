//! What the source knows after a restart.

use crate::world::{SOON, Source, node, server, settings};

#[tokio::test(flavor = "multi_thread")]
async fn only_differences_are_said_after_a_restart() {
    let (server, writer) = server().await;
    for name in ["alice", "bob", "carol"] {
        writer.set(&node(name), "btc").await;
    }
    let source = Source::start(settings(server.address()));
    for name in ["alice", "bob", "carol"] {
        source.acquire(name);
        source.coin(name, "btc").await;
    }
    source.release("carol");
    writer.set(&node("alice"), "btc").await;
    let state = source.stop().await;
    writer.set(&node("bob"), "bcc").await;

    let source = Source::resume(settings(server.address()), state);
    for name in ["alice", "bob", "carol"] {
        source.acquire(name);
    }
    source.coin("bob", "bcc").await;
    // Its last session was gone before the restart: whoever comes now is a newcomer.
    source.coin("carol", "btc").await;
    source.until(SOON, "all are read", |_| source.counters.reads.value() >= 3).await;

    assert!(source.board().of("alice").is_empty(), "{:?}", source.board().of("alice"));
    writer.set(&node("alice"), "bcc").await;
    source.coin("alice", "bcc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn last_known_coin_serves_newcomers_while_no_server_answers() {
    let (mut server, writer) = server().await;
    writer.set(&node("alice"), "btc").await;
    writer.set(&node("bob"), "bcc").await;
    let source = Source::start(settings(server.address()));
    source.acquire("alice");
    source.acquire("bob");
    source.coin("alice", "btc").await;
    source.coin("bob", "bcc").await;
    source.release("bob");
    server.kill();
    source.ailing("not connected").await;

    source.acquire("bob");
    source.coin("bob", "bcc").await;
    source.release("bob");
    let state = source.stop().await;
    let source = Source::resume(settings(server.address()), state);
    for name in ["alice", "bob", "carol"] {
        source.acquire(name);
    }
    source.coin("bob", "bcc").await;
    source.ailing("refused").await;

    assert_eq!(source.board().assigns(), 1, "only bob is a newcomer with a known coin");
    assert!(source.board().of("carol").is_empty());
}
