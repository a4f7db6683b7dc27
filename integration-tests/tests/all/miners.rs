//! Miners of every kind, and those that send nonsense.

use std::time::Duration;

use stratum_peers::miner::{Handshake, Writing};
use stratum_peers::{Miner, MinerConfig, Pool, eventually, eventually_some};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{alice, has_noticed_nothing, one_coin, plain, shares_at, two_coins};

/// A miner that writes like this is served, through a switch as well.
async fn served_when_writing(writing: Writing) {
    let pool = Pool::start(plain("btc")).await;
    let other = Pool::start(plain("bch").extranonce2_size(4)).await;
    let switcher = two_coins(&pool, &other).await;
    let config = MinerConfig::new("alice.rig1").share_every(Duration::from_millis(30));
    let miner = Miner::connect(switcher.address(), config.writing(writing)).await;
    shares_at(&pool, 20).await;

    switcher.assign("alice", "bch");
    shares_at(&other, 20).await;
    miner.pause(true).await;
    eventually("all shares are answered", || miner.report().unanswered == 0).await;

    has_noticed_nothing(&miner);
}

#[tokio::test(flavor = "multi_thread")]
async fn miner_that_sends_one_byte_at_a_time_is_served() {
    served_when_writing(Writing::ByteByByte).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn miner_that_sends_ten_lines_at_once_is_served() {
    served_when_writing(Writing::TenLinesAtOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn miner_that_ends_lines_with_crlf_is_served() {
    served_when_writing(Writing::CarriageReturns).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn miner_that_sends_objects_without_newline_is_served() {
    served_when_writing(Writing::Unseparated).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_of_every_recorded_order_are_served_and_switched() {
    let pool = Pool::start(plain("btc")).await;
    let other = Pool::start(plain("bch").extranonce2_size(4)).await;
    let switcher = two_coins(&pool, &other).await;
    let mut miners = Vec::new();
    for (n, handshake) in Handshake::all().into_iter().enumerate() {
        let config = MinerConfig::new(format!("alice.rig{n}"))
            .handshake(handshake)
            .share_every(Duration::from_millis(50));
        miners.push(Miner::connect(switcher.address(), config).await);
    }
    for miner in &miners {
        eventually("each mines", || miner.report().accepted >= 3).await;
    }

    switcher.assign("alice", "bch");
    let names: Vec<_> = (0..miners.len()).map(|n| format!("alice.rig{n}")).collect();
    for name in &names {
        eventually("each mines at the other pool", || {
            other.report().accepted_by_name.get(name).is_some_and(|accepted| *accepted >= 3)
        })
        .await;
    }

    for miner in &miners {
        has_noticed_nothing(miner);
    }
}

/// Sends bytes on a new connection and returns what comes back until it is closed.
async fn answer_to(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the switcher listens");
    // It may close before all is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    let _ = read.await.expect("the switcher closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Nonsense on one connection costs that one only, and counts once.
async fn nonsense_costs_nobody_else(bytes: &[u8], kind: &str) {
    let pool = Pool::start(plain("btc")).await;
    let switcher = one_coin(&[&pool]).await;
    let miner = alice(&switcher).await;
    shares_at(&pool, 5).await;

    answer_to(switcher.address(), bytes).await;
    shares_at(&pool, 5).await;

    has_noticed_nothing(&miner);
    let metric = format!(r#"switcher_faults_total{{by="miner",kind="{kind}"}}"#);
    assert_eq!(switcher.metric(&metric).await, 1.0, "{:?}", switcher.get("/metrics").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_without_newline_costs_nobody_else() {
    let mut bytes = br#"{"id":1,"method":"mining.subscribe","params":[""#.to_vec();
    bytes.resize(1024 * 1024, b'a');
    nonsense_costs_nobody_else(&bytes, "unknown_dialect").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_without_newline_after_the_subscribe_costs_nobody_else() {
    let mut bytes = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n{\"id\":2".to_vec();
    bytes.resize(1024 * 1024, b' ');
    nonsense_costs_nobody_else(&bytes, "too_long").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_hello_costs_nobody_else() {
    nonsense_costs_nobody_else(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], "unknown_dialect").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_request_costs_nobody_else() {
    nonsense_costs_nobody_else(b"GET / HTTP/1.1\r\n\r\n", "unknown_dialect").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_null_costs_nobody_else() {
    nonsense_costs_nobody_else(b"null\n", "unknown_dialect").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_and_null_lines_of_a_miner_that_mines_are_passed_over() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = one_coin(&[&pool]).await;
    let miner = alice(&switcher).await;
    shares_at(&pool, 5).await;

    miner.send_raw(b"null\n".to_vec());
    miner.send_raw(b"\x00\xff\x7f\x01\x02\n".to_vec());
    miner.send_raw(b"[1,2,3]\n\n\n42\n".to_vec());
    shares_at(&pool, 10).await;

    has_noticed_nothing(&miner);
    let faults = r#"switcher_faults_total{by="miner",kind="bad_frame"}"#;
    assert_eq!(switcher.metric(faults).await, 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miner_with_too_many_faults_is_let_go() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = one_coin(&[&pool]).await;

    let subscribe = "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n";
    let answer =
        answer_to(switcher.address(), format!("{subscribe}{}", "null\n".repeat(200)).as_bytes())
            .await;

    assert!(answer.contains("mining.notify"), "what was right is answered: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miner_that_says_nothing_is_let_go() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = crate::support::one_coin_with(&[&pool], |config| {
        config.with(|settings| settings.timing.first_byte = Duration::from_millis(300))
    })
    .await;

    assert_eq!(answer_to(switcher.address(), b"").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miner_that_does_not_log_in_is_let_go() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = crate::support::one_coin_with(&[&pool], |config| {
        config.with(|settings| settings.timing.login = Duration::from_millis(300))
    })
    .await;

    let answer = answer_to(
        switcher.address(),
        b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n",
    )
    .await;

    assert!(answer.contains("\"id\":1"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_come_by_ipv6_too() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = integration_tests::SwitcherConfig::new()
        .pool("btc", &pool)
        .with(|settings| {
            for listener in &mut settings.listeners {
                listener.address = "[::1]:0".parse().expect("an address");
            }
        })
        .start()
        .await;
    switcher.assign("alice", "btc");

    let miner = alice(&switcher).await;
    shares_at(&pool, 5).await;

    assert!(switcher.address().is_ipv6());
    has_noticed_nothing(&miner);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_was_sent_before_the_miner_left_reaches_the_pool() {
    let pool = Pool::start(plain("btc")).await;
    let switcher = one_coin(&[&pool]).await;
    let config = MinerConfig::new("alice.rig1").share_every(Duration::from_millis(20));
    let miner = Miner::connect(switcher.address(), config.share_limit(10)).await;

    eventually("ten shares were sent", || miner.report().submitted == 10).await;
    miner.close(false);

    eventually_some("all ten are at the pool", || (pool.report().accepted == 10).then_some(()))
        .await;
}
