//! That a miner notices what should not have come. Pools play along through `send_line`.

use std::time::Duration;

use serde_json::json;

use super::{Handshake, Miner, MinerConfig, Outcome, ShareKind};
use crate::eventually::{eventually, eventually_some, nothing_wrong};
use crate::pool::{Pool, PoolConfig, Quirk};

async fn settled(handshake: Handshake) -> (Pool, Miner) {
    let pool = Pool::start(PoolConfig::new().difficulty(1e-8)).await;
    let config = MinerConfig::new("alice.rig1").idle().handshake(handshake);
    let miner = Miner::connect(pool.address(), config).await;
    eventually("a job", || miner.report().jobs == 1 && miner.report().authorized.is_some()).await;
    nothing_wrong("the miner", &miner.report().violations);
    (pool, miner)
}

#[tokio::test]
async fn what_was_not_asked_for_is_a_violation() {
    let job = r#"["9","00","00","00",[],"20000000","17034219","67500000",true]"#;
    for (line, complaint) in [
        (r#"{"id":1,"result":true,"error":null}"#.to_owned(), "a second answer"),
        (r#"{"id":77,"result":true,"error":null}"#.to_owned(), "an answer to nothing"),
        (r#"{"id":null,"result":true,"error":null}"#.to_owned(), "an answer to nothing"),
        (push("mining.set_extranonce", r#"["00",4]"#), "without a subscription"),
        (push("mining.set_version_mask", r#"["1fffe000"]"#), "without configure"),
        (push("mining.fly", "[]"), "unknown method"),
        (push("mining.set_difficulty", r#"["8"]"#), "no number"),
        (push("mining.set_difficulty", "[0]"), "not positive"),
        (push("mining.notify", job), "64 hex digits"),
        (push("client.reconnect", r#"["evil.example",1,0]"#), "foreign host"),
        ("nonsense".to_owned(), "not JSON"),
        ("[]".to_owned(), "no object"),
        ("{\"id\":null,\"method\":\"client.show_message\",\"params\":[]}\r".to_owned(), "carriage"),
    ] {
        let (pool, miner) = settled(Handshake::cpuminer()).await;
        pool.send_line(&line);
        let found = eventually_some("a complaint", || miner.report().violations.pop()).await;
        assert!(found.contains(complaint), "{line}: {found}");
    }
}

fn push(method: &str, params: &str) -> String {
    format!(r#"{{"id":null,"method":"{method}","params":{params}}}"#)
}

#[tokio::test]
async fn what_was_asked_for_is_none() {
    let (pool, miner) = settled(Handshake::bmminer()).await;
    pool.set_version_mask(0x1fff_0000);
    pool.change_extranonce(4, 4);
    pool.send_line(&push("client.show_message", r#"["hello"]"#));
    pool.send_line(r#"{"id":5,"method":"client.get_version","params":[]}"#);
    let answer = |line: &String| line.starts_with("> ") && line.contains("judge/1.0");
    eventually("the version", || miner.lines().iter().any(answer)).await;
    nothing_wrong("the miner", &miner.report().violations);
}

#[tokio::test]
async fn a_second_answer_to_a_share_is_noticed() {
    let (pool, miner) = settled(Handshake::cpuminer_opt()).await;
    assert_eq!(miner.submit(ShareKind::Good).await, Outcome::Accepted);
    let line = miner.lines().into_iter().rfind(|line| line.contains(r#""result":true"#)).unwrap();

    pool.send_line(line.strip_prefix("< ").unwrap());

    eventually("the complaint", || miner.report().violation_count == 1).await;
    assert!(miner.report().violations[0].contains("a second answer"));
    assert_eq!(miner.report().accepted, 1);
}

#[tokio::test]
async fn shares_with_one_id_for_all_are_told_apart_by_order() {
    let (_pool, miner) = settled(Handshake::cpuminer()).await;
    assert_eq!(miner.submit(ShareKind::Good).await, Outcome::Accepted);
    let low = miner.submit(ShareKind::LowDifficulty).await;
    assert!(matches!(&low, Outcome::Rejected(rejection) if rejection.code == 23), "{low:?}");
    assert_eq!(miner.submit(ShareKind::Good).await, Outcome::Accepted);
    nothing_wrong("the miner", &miner.report().violations);
}

#[tokio::test]
async fn pushes_before_subscribe_or_configure_are_answered_are_violations() {
    let pool = Pool::start(PoolConfig::new().quirk(Quirk::AnswersNoConfigure)).await;
    let miner = Miner::connect(pool.address(), MinerConfig::new("a.b")).await;
    eventually("the request", || miner.lines().len() == 1).await;
    eventually("the connection", || pool.report().open == 1).await;

    pool.send_line(&push("mining.set_difficulty", "[1]"));

    eventually("both complaints", || miner.report().violation_count == 2).await;
    let found = miner.report().violations.join("\n");
    assert!(found.contains("before configure") && found.contains("before subscribe"), "{found}");
}

#[tokio::test]
async fn handshake_answers_out_of_order_are_violations() {
    let pool = Pool::start(PoolConfig::new().quirk(Quirk::AcceptsAndNeverAnswers)).await;
    let config = MinerConfig::new("a.b").handshake(Handshake::axeos());
    let miner = Miner::connect(pool.address(), config).await;
    eventually("the requests", || pool.last_connection().is_some_and(|one| one.lines.len() == 4))
        .await;

    pool.send_line(r#"{"id":2,"result":[[],"00000000",8],"error":null}"#);

    eventually("the complaint", || miner.report().violation_count == 1).await;
    assert!(miner.report().violations[0].contains("out of order"));
}

#[tokio::test]
async fn the_id_of_a_live_job_may_not_be_used_again() {
    let (pool, miner) = settled(Handshake::cpuminer()).await;
    let line = miner.lines().into_iter().rfind(|line| line.contains("mining.notify")).unwrap();
    let again = line.strip_prefix("< ").unwrap().replace("true]", "false]");

    pool.send_line(&again);
    pool.send_line(&again.replace("17034219", "17034220"));

    let found = eventually_some("a complaint", || miner.report().violations.pop()).await;
    assert!(found.contains("live job") && miner.report().violation_count == 1, "{found}");
}

#[tokio::test]
async fn silence_is_noticed_although_the_miner_itself_talks() {
    let pool = Pool::start(PoolConfig::new().quirk(Quirk::IgnoresSubmits)).await;
    let config = MinerConfig::new("a.b").silence_limit(Duration::from_millis(150));
    let miner = Miner::connect(pool.address(), config).await;
    eventually("two complaints", || miner.report().violation_count >= 2).await;
    assert!(miner.report().violations[0].contains("silence for 150ms"));
    assert!(miner.report().submitted > 1);
}

#[tokio::test]
async fn shares_without_an_answer_are_lost_with_the_connection() {
    let pool = Pool::start(PoolConfig::new().quirk(Quirk::IgnoresSubmits)).await;
    let miner = Miner::connect(pool.address(), MinerConfig::new("a.b")).await;
    eventually("submits", || pool.report().ignored >= 3).await;

    pool.kick_all(true);

    eventually("the end", || !miner.report().connected).await;
    let report = miner.report();
    assert!(report.lost >= 3 && report.unanswered == 0 && report.adds_up(), "{report:?}");
}

#[tokio::test]
async fn a_miner_offers_its_old_session_when_it_comes_back() {
    let (pool, first) = {
        let pool = Pool::start(PoolConfig::new()).await;
        let config = MinerConfig::new("a.b").reconnecting(Duration::from_millis(5));
        let miner = Miner::connect(pool.address(), config).await;
        (pool, miner)
    };
    let session = eventually_some("a session", || first.report().session).await;
    let address = first.report().local_address;

    pool.send_line(&push("client.reconnect", "[]"));

    eventually("a second login", || {
        first.report().connections == 2 && first.report().authorized == Some(true)
    })
    .await;
    let params = pool.last_connection().unwrap().subscribe_params.unwrap();
    assert_eq!(params[1], json!(session));
    assert_ne!(first.report().local_address, address);
    nothing_wrong("the miner", &first.report().violations);
}

#[tokio::test]
async fn some_miners_ignore_a_reconnect() {
    let pool = Pool::start(PoolConfig::new()).await;
    let miner = Miner::connect(pool.address(), MinerConfig::new("a.b").ignoring_reconnect()).await;
    eventually("a share", || miner.report().accepted > 0).await;
    pool.send_line(&push("client.reconnect", "[]"));
    eventually("the request", || miner.report().reconnect_requests.len() == 1).await;
    let accepted = miner.report().accepted;
    eventually("more shares", || miner.report().accepted > accepted + 1).await;
    assert_eq!(miner.report().connections, 1);
}

#[tokio::test]
async fn raw_bytes_and_prefaces_go_out_as_they_are() {
    let pool = Pool::start(PoolConfig::new()).await;
    let config = MinerConfig::new("a.b").preface("GET / HTTP/1.1\n");
    let miner = Miner::connect(pool.address(), config).await;
    eventually("a share", || miner.report().accepted > 0).await;
    miner.send_raw("junk\n");
    eventually("complaints", || pool.report().violations.len() == 2).await;
    assert!(
        pool.report().violations[0].contains("HTTP")
            && pool.report().violations[1].contains("junk")
    );
}

#[tokio::test]
async fn a_deaf_miner_hears_nothing_until_it_listens_again() {
    let (pool, miner) = settled(Handshake::cpuminer()).await;
    miner.deafen(true);
    eventually("deafness", || {
        pool.new_job(true);
        miner.report().jobs + 3 < pool.last_connection().map_or(0, |one| one.jobs_sent)
    })
    .await;

    miner.deafen(false);

    let sent = pool.last_connection().unwrap().jobs_sent;
    eventually("all jobs", || miner.report().jobs == sent).await;
    nothing_wrong("the miner", &miner.report().violations);
}

#[tokio::test]
async fn some_firmwares_apply_a_difficulty_to_the_job_at_hand() {
    let pool = Pool::start(PoolConfig::new().difficulty(1e-7)).await;
    let config = MinerConfig::new("a.b").applying_difficulty_at_once();
    let miner = Miner::connect(pool.address(), config).await;
    eventually("a share", || miner.report().accepted > 0).await;

    pool.set_difficulty(1e-9);

    // The job is still judged by the difficulty it was sent with.
    eventually("refusals", || miner.report().rejected.contains_key(&23)).await;
}
