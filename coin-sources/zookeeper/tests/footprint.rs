//! Figures: how fast many sub-accounts are read and followed, what one costs, and that nothing
//! grows while links flap. A program of its own, one test at a time, because it looks at the
//! memory and the descriptors of the whole process.

#[cfg(test)]
#[path = "all/world.rs"]
#[expect(dead_code, reason = "the other test program uses more of it")]
mod world;

use std::time::{Duration, Instant};

use coin_source_zookeeper::testing::Relay;
use switcher_plugin::SourceState;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::world::{Board, SOON, Source, node, server, settings};

const MANY: usize = 10_000;
static ALONE: Mutex<()> = Mutex::const_new(());

fn user(i: usize) -> String {
    format!("sub_account_{i:05}")
}

fn entries(dir: &str) -> usize {
    std::fs::read_dir(dir).expect("/proc is there").count()
}

fn descriptors() -> usize {
    entries("/proc/self/fd")
}

fn threads() -> usize {
    entries("/proc/self/task")
}

/// Private memory of this process in KiB.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("Linux says how much memory a process has")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_sub_accounts_are_armed_rearmed_and_followed() {
    let _alone = ALONE.lock().await;
    let (server, writer) = server().await;
    writer.set_all((0..MANY).map(|i| (node(&user(i)), "btc".to_owned()))).await;
    let relay = Relay::start(server.address()).await;
    let source = {
        // The board shall cost nothing.
        let board = Board { light: true, ..Board::default() };
        Source::run(settings(relay.address()), SourceState::default(), board)
    };
    writer.set(&node("first"), "btc").await;
    source.acquire("first");
    source.until(SOON, "the first is armed", |board| board.assigns() == 1).await;
    let empty = memory();

    let start = Instant::now();
    (0..MANY).for_each(|i| source.acquire(&user(i)));
    source.until(SOON, "all are armed", |board| board.assigns() == MANY + 1).await;
    let armed = start.elapsed();
    let each = (memory().saturating_sub(empty)) * 1024 / MANY;

    // One that changes meanwhile shows that the rest was read again, too: it comes last.
    let reads = source.counters.reads.value();
    let start = Instant::now();
    relay.cut();
    let all = reads + MANY as u64;
    while source.counters.reads.value() <= all {
        assert!(start.elapsed() < SOON, "{} read again", source.counters.reads.value() - reads);
        sleep(Duration::from_millis(10)).await;
    }
    let rearmed = start.elapsed();
    assert_eq!(source.board().assigns(), MANY + 1, "nobody is moved by a reconnect");

    let start = Instant::now();
    writer.set_all((0..MANY).map(|i| (node(&user(i)), "bcc".to_owned()))).await;
    let written = start.elapsed();
    source.until(2 * SOON, "all have moved", |board| board.told.get("bcc") == Some(&MANY)).await;
    let stormed = start.elapsed();

    println!(
        "{MANY} sub-accounts: armed in {armed:?}, re-armed in {rearmed:?}, storm applied in \
         {stormed:?} (written in {written:?}), {each} bytes each"
    );
    assert!(stormed < Duration::from_secs(10), "storm: {stormed:?}");
    assert_eq!(source.counters.missed_watches.value(), 0);
    assert!(each <= 1024, "{each} bytes for each");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_grows_over_two_hundred_flaps() {
    let _alone = ALONE.lock().await;
    let (server, writer) = server().await;
    let relay = Relay::start(server.address()).await;
    for i in 0..200 {
        writer.set(&node(&user(i)), "btc").await;
    }
    // Large replies are what the client has been seen to hang on.
    for i in 0..5 {
        writer.set(&node(&format!("huge{i}")), vec![b'x'; 200_000]).await;
    }
    let source = Source::start(settings(relay.address()));
    (0..200).for_each(|i| source.acquire(&user(i)));
    (0..5).for_each(|i| source.acquire(&format!("huge{i}")));
    source.until(SOON, "all mine", |board| board.coins.len() == 200).await;

    let flap = async |times: usize| {
        for i in 0..times {
            relay.cut();
            // Now in the handshake, now in the middle of the readings, now at rest.
            sleep(Duration::from_millis([5, 20, 60, 150][i % 4])).await;
        }
    };
    // The client's buffer of 2 MiB is now touched and now not, so the most of a while counts.
    let mut most = 0;
    for _ in 0..15 {
        flap(4).await;
        most = most.max(memory());
    }
    source.healthy_within(2 * SOON).await;
    let before = (most, descriptors(), threads());
    flap(190).await;
    writer.set(&node(&user(7)), "bcc").await;
    flap(10).await;
    let start = Instant::now();
    source.coin(&user(7), "bcc").await;
    let seen = start.elapsed();
    source.healthy().await;
    // The relay's side of the last connections goes with them.
    source.until(SOON, "nothing is left", |_| descriptors() <= before.1 + 2).await;
    let after = (memory(), descriptors(), threads());

    println!(
        "KiB, descriptors, threads: {before:?}, after 200 flaps {after:?}; change seen {seen:?} \
         after the last; {:?}",
        source.counters.all()
    );
    assert!(after.0 <= before.0 + 4096, "memory grew: {before:?} to {after:?}");
    assert!(after.2 <= before.2 + 1, "threads grew: {before:?} to {after:?}");
    assert_eq!(source.board().assigns(), 201, "nobody else was moved");
    assert_eq!(source.counters.missed_watches.value(), 0);
}

/// The client is known to hang for good when a connection is lost under large replies.
#[tokio::test(flavor = "multi_thread")]
async fn source_outlives_cuts_under_large_replies() {
    let _alone = ALONE.lock().await;
    let (server, writer) = server().await;
    let relay = Relay::start(server.address()).await;
    writer.set(&node("alice"), "btc").await;
    let huge: Vec<String> = (0..100).map(|i| format!("huge{i}")).collect();
    for name in &huge {
        writer.set(&node(name), vec![b'x'; 200_000]).await;
    }
    let source = Source::start(settings(relay.address()));
    source.acquire("alice");
    source.coin("alice", "btc").await;

    for i in 0..60 {
        // Newcomers, whose values are asked for without knowing how large they are.
        for name in &huge {
            source.acquire(name);
        }
        sleep(Duration::from_millis([2, 5, 10, 20, 40][i % 5])).await;
        relay.cut();
        for name in &huge {
            source.release(name);
        }
    }
    let start = Instant::now();
    writer.set(&node("alice"), "bcc").await;
    source.coin_within(2 * SOON, "alice", "bcc").await;

    println!("seen {:?} after the last cut; {:?}", start.elapsed(), source.counters.all());
    assert_eq!(source.counters.missed_watches.value(), 0);
}
