//! Pools and miners face to face: what a good pair does, and that every bad habit is really had.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Answers, Configure, FirstJob, Pool, PoolConfig, Quirk};
use crate::eventually::{eventually, eventually_some, never_within, nothing_wrong};
use crate::miner::{Handshake, Miner, MinerConfig, Outcome, ShareKind, Writing};

/// Short enough for a test, long enough to notice what comes at once.
const A_WHILE: Duration = Duration::from_millis(100);

fn pair(pool: PoolConfig, miner: MinerConfig) -> impl Future<Output = (Pool, Miner)> {
    Box::pin(async move {
        let pool = Pool::start(pool).await;
        let miner = Miner::connect(pool.address(), miner).await;
        (pool, miner)
    })
}

async fn accepts(pool: &Pool, miner: &Miner, count: u64) {
    let what = format!("{count} shares");
    let goal = miner.report().accepted + count;
    eventually(what, || miner.report().accepted >= goal).await;
    assert!(pool.report().accepted >= goal);
}

fn all_is_well(pool: &Pool, miner: &Miner) {
    let (books, report) = (pool.report(), miner.report());
    nothing_wrong("the pool", &books.violations);
    nothing_wrong("the pool", &books.refusals);
    nothing_wrong("the miner", &report.violations);
    assert!(report.adds_up(), "{report:?}");
}

fn code(outcome: &Outcome) -> i64 {
    match outcome {
        Outcome::Rejected(rejection) => rejection.code,
        other => panic!("not rejected: {other:?}"),
    }
}

async fn idle_pair() -> (Pool, Miner) {
    let pair =
        pair(PoolConfig::new().difficulty(1e-8), MinerConfig::new("alice.rig1").idle()).await;
    eventually("a job", || pair.1.report().jobs == 1 && pair.1.report().authorized == Some(true))
        .await;
    pair
}

#[tokio::test]
async fn every_known_miner_mines_at_every_kind_of_pool() {
    let kinds = [PoolConfig::new(), PoolConfig::ckpool(), PoolConfig::new().extranonce1_size(0)];
    for config in kinds {
        for handshake in Handshake::all() {
            let agent = handshake.agent.clone();
            let miner = MinerConfig::new("alice.rig1").handshake(handshake);
            let (pool, miner) = pair(config.clone(), miner).await;

            accepts(&pool, &miner, 3).await;

            all_is_well(&pool, &miner);
            let params = pool.last_connection().unwrap().subscribe_params.unwrap();
            assert_eq!(params[0], json!(agent));
        }
    }
}

#[tokio::test]
async fn books_of_both_sides_agree() {
    let config = PoolConfig::new().moving_difficulty([1e-9, 4e-9]).jobs_every(A_WHILE, 2);
    let (pool, miner) = pair(config, MinerConfig::new("alice.rig1")).await;

    eventually("four jobs", || miner.report().jobs >= 4).await;
    miner.pause(true).await;
    eventually("all answers", || miner.report().unanswered == 0).await;

    let (books, report) = (pool.report(), miner.report());
    assert_eq!(books.accepted, report.accepted);
    assert_eq!(books.rejected, report.rejected);
    assert_eq!(books.accepted_by_name.get("alice.rig1"), Some(&report.accepted));
    assert!((books.difficulty_sum - report.difficulty_sum).abs() < 1e-12);
    assert!(books.accepted > 0 && report.adds_up());
}

#[tokio::test]
async fn two_hundred_miners_are_light_enough() {
    let pool = Pool::start(PoolConfig::new()).await;
    let mut miners = Vec::new();
    for number in 0..200 {
        let config =
            MinerConfig::new(format!("farm.{number}")).share_every(Duration::from_millis(50));
        miners.push(Miner::connect(pool.address(), config).await);
    }

    eventually("shares of all", || miners.iter().all(|miner| miner.report().accepted >= 3)).await;

    assert_eq!(pool.report().logged_in, 200);
    nothing_wrong("the pool", &pool.report().violations);
}

#[tokio::test]
async fn wrong_shares_are_refused_with_their_code() {
    let (pool, miner) = idle_pair().await;
    assert_eq!(miner.submit(ShareKind::Good).await, Outcome::Accepted);

    for (kind, expected) in [
        (ShareKind::Duplicate, 22),
        (ShareKind::LowDifficulty, 23),
        (ShareKind::LongExtranonce2, 20),
        (ShareKind::ShortExtranonce2, 20),
        (ShareKind::LateTime, 20),
        (ShareKind::UnknownJob, 21),
        (ShareKind::OtherName("mallory".into()), 24),
        (ShareKind::UnmaskedVersion, 20),
    ] {
        assert_eq!(code(&miner.submit(kind.clone()).await), expected, "{kind:?}");
    }

    assert_eq!(pool.report().accepted, 1);
    assert_eq!(pool.report().rejected_total(), 8);
    let breaches = pool.report().violations.join("\n");
    for part in ["9 bytes instead of 8", "7 bytes instead of 8", "never sent", "\"mallory\""] {
        assert!(breaches.contains(part), "{part}: {breaches}");
    }
    assert_eq!(pool.report().violations.len(), 4);
}

#[tokio::test]
async fn a_clean_job_makes_older_ones_stale_and_another_does_not() {
    let (pool, miner) = idle_pair().await;

    pool.new_job(true);
    eventually("the clean job", || miner.report().clean_jobs == 2).await;
    assert_eq!(code(&miner.submit(ShareKind::Stale).await), 21);

    pool.reconfigure(|config| config.jobs_kept = 8);
    pool.new_job(false);
    eventually("one more job", || miner.report().jobs == 3).await;
    assert_eq!(miner.submit(ShareKind::Good).await, Outcome::Accepted);
    nothing_wrong("the pool", &pool.report().violations);
}

#[tokio::test]
async fn a_difficulty_counts_from_the_next_job_on() {
    let (pool, miner) = idle_pair().await;

    pool.set_difficulty(3e-7);
    eventually("the difficulty", || miner.report().told_difficulty == Some(3e-7)).await;
    assert_eq!(miner.submit(ShareKind::Good).await, Outcome::Accepted);
    assert!((pool.report().difficulty_sum - 1e-8).abs() < 1e-15);

    pool.new_job(false);
    eventually("the job", || miner.report().difficulty == Some(3e-7)).await;
    assert_eq!(miner.submit(ShareKind::Good).await, Outcome::Accepted);
    assert!((pool.report().difficulty_sum - 3.1e-7).abs() < 1e-15);
}

#[tokio::test]
async fn a_changed_extranonce_counts_from_the_next_job_on() {
    let miner = MinerConfig::new("alice.rig1").handshake(Handshake::bmminer());
    let (pool, miner) = pair(PoolConfig::new(), miner).await;
    accepts(&pool, &miner, 3).await;

    for (size, extranonce2_size) in [(4, 8), (2, 4), (8, 3)] {
        let jobs = miner.report().jobs;
        pool.change_extranonce(size, extranonce2_size);
        eventually("the job", || miner.report().jobs > jobs).await;
        accepts(&pool, &miner, 3).await;
        assert_eq!(miner.report().extranonce1.len(), size * 2);
        assert_eq!(miner.report().extranonce2_size, extranonce2_size);
    }

    nothing_wrong("the miner", &miner.report().violations);
    nothing_wrong("the pool", &pool.report().violations);
}

#[tokio::test]
async fn a_version_mask_counts_at_once() {
    let (pool, miner) = pair(PoolConfig::new(), MinerConfig::new("alice.rig1")).await;
    accepts(&pool, &miner, 3).await;
    miner.pause(true).await;
    eventually("all answers", || miner.report().unanswered == 0).await;

    pool.set_version_mask(0x00c0_0000);
    eventually("the mask", || miner.report().version_mask == Some(0x00c0_0000)).await;
    miner.pause(false).await;

    accepts(&pool, &miner, 3).await;
    all_is_well(&pool, &miner);
}

#[tokio::test]
async fn an_echo_pool_adopts_the_id_and_refuses_who_has_none() {
    let pool = Pool::start(PoolConfig::sserver()).await;
    let with = MinerConfig::new("alice.rig1").session("0100007f");
    let with = Miner::connect(pool.address(), with).await;
    accepts(&pool, &with, 3).await;
    assert_eq!(with.report().extranonce1, "0100007f");
    nothing_wrong("the miner", &with.report().violations);

    let without = Miner::connect(pool.address(), MinerConfig::new("bob.rig1")).await;
    eventually("the refusal", || without.lines().iter().any(|line| line.contains("[400,"))).await;
    assert!(!without.report().subscribed);
}

#[tokio::test]
async fn every_connection_has_an_extranonce1_of_its_own() {
    let pool = Pool::start(PoolConfig::new().extranonce1_size(2)).await;
    let mut miners = Vec::new();
    for _ in 0..20 {
        miners.push(Miner::connect(pool.address(), MinerConfig::new("a.b").idle()).await);
    }
    eventually("all subscribed", || miners.iter().all(|miner| miner.report().subscribed)).await;

    let mut seen: Vec<_> = miners.iter().map(|miner| miner.report().extranonce1).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 20);
}

#[tokio::test]
async fn every_way_of_writing_is_understood() {
    for writing in [Writing::ByteByByte, Writing::TenLinesAtOnce, Writing::Whole] {
        let (pool, miner) = pair(PoolConfig::new(), MinerConfig::new("a.b").writing(writing)).await;
        accepts(&pool, &miner, 10).await;
        all_is_well(&pool, &miner);
    }
}

#[tokio::test]
async fn odd_line_ends_are_understood_and_noted() {
    let (pool, miner) =
        pair(PoolConfig::new(), MinerConfig::new("a.b").writing(Writing::CarriageReturns)).await;
    accepts(&pool, &miner, 3).await;
    assert!(pool.report().violations[0].contains("carriage return"));

    let miner = MinerConfig::new("a.b").writing(Writing::Unseparated).handshake(Handshake::axeos());
    let (pool, miner) = pair(PoolConfig::new(), miner).await;
    accepts(&pool, &miner, 3).await;
    assert!(pool.report().violations[0].contains("several values"));
}

#[tokio::test]
async fn a_restarted_pool_counts_its_jobs_from_one_again_on_the_same_port() {
    let mut pool = Pool::start(PoolConfig::new()).await;
    let config = MinerConfig::new("a.b").reconnecting(Duration::from_millis(5));
    let miner = Miner::connect(pool.address(), config).await;
    accepts(&pool, &miner, 3).await;
    pool.new_job(true);

    pool.stop().await;
    eventually("the end", || !miner.report().connected).await;
    assert!(TcpStream::connect(pool.address()).await.is_err());
    pool.restart().await;

    accepts(&pool, &miner, 3).await;
    assert_eq!(miner.report().connections, 2);
    assert_eq!(miner.report().job_id.as_deref(), Some("1"));
    assert!(miner.report().adds_up());
    assert_eq!((pool.report().open, pool.report().closed), (1, 1));
}

#[tokio::test]
async fn kicked_miners_see_a_reset_or_an_end() {
    for (reset, how) in [(true, "reset"), (false, "closed by the peer")] {
        let (pool, miner) = idle_pair().await;
        pool.kick_all(reset);
        eventually("the end", || !miner.report().connected).await;
        assert!(miner.report().disconnects[0].contains(how), "{:?}", miner.report().disconnects);
        eventually("the books", || pool.report().closed == 1).await;
        nothing_wrong("the pool", &pool.report().violations);
    }
}

#[tokio::test]
async fn suggestions_are_obeyed_by_pools_that_do() {
    let (pool, miner) =
        pair(PoolConfig::new().obeying_suggestions(), MinerConfig::new("a.b").idle()).await;
    eventually("a job", || miner.report().jobs == 1).await;

    miner.ask("mining.suggest_difficulty", json!(["0.00000002"])).await;
    pool.new_job(true);

    eventually("the difficulty", || miner.report().difficulty == Some(2e-8)).await;
    assert_eq!(pool.last_connection().unwrap().suggested_difficulty, Some(json!("0.00000002")));
}

#[tokio::test]
async fn only_known_sub_accounts_may_log_in() {
    let pool = Pool::start(PoolConfig::new().only_sub_accounts(["alice"])).await;
    let alice = Miner::connect(pool.address(), MinerConfig::new("alice.rig1")).await;
    let mallory = Miner::connect(pool.address(), MinerConfig::new("mallory.rig1")).await;
    eventually("both answers", || {
        alice.report().authorized == Some(true) && mallory.report().authorized == Some(false)
    })
    .await;
}

// The bad habits, one by one.

async fn habit(quirk: Quirk) -> (Pool, Miner) {
    let miner = MinerConfig::new("alice.rig1").idle();
    pair(PoolConfig::new().difficulty(1e-8).quirk(quirk), miner).await
}

#[tokio::test]
async fn a_mute_pool_accepts_and_never_answers() {
    let (pool, miner) = habit(Quirk::AcceptsAndNeverAnswers).await;
    eventually("the connection", || pool.report().open == 1).await;
    never_within("a line", A_WHILE, || miner.lines().iter().any(|line| line.starts_with('<')))
        .await;
    assert!(miner.report().connected);
}

#[tokio::test]
async fn a_pool_silent_after_login_gives_no_job() {
    let (pool, miner) = habit(Quirk::SilentAfterLogin).await;
    eventually("the login", || miner.report().authorized == Some(true)).await;
    pool.new_job(true);
    never_within("a job", A_WHILE, || miner.report().jobs > 0).await;
}

#[tokio::test]
async fn a_pinging_pool_gives_no_job_and_counts_its_pongs() {
    for handshake in [Handshake::cgminer(), Handshake::axeos()] {
        let config = PoolConfig::new().quirk(Quirk::PingsWithoutJobs(Duration::from_millis(10)));
        let (pool, miner) = pair(config, MinerConfig::new("a.b").handshake(handshake)).await;
        let pings = || miner.lines().iter().filter(|line| line.contains("mining.ping")).count();
        eventually("five pings", || pings() >= 5).await;
        assert_eq!(miner.report().jobs, 0);
        nothing_wrong("the pool", &pool.report().violations);
    }
}

#[tokio::test]
async fn a_pool_that_ignores_submits_goes_on_with_jobs() {
    let config = PoolConfig::new().quirk(Quirk::IgnoresSubmits);
    let (pool, miner) = pair(config, MinerConfig::new("a.b")).await;
    eventually("submits", || pool.report().ignored >= 5).await;
    pool.new_job(true);
    eventually("the job", || miner.report().jobs == 2).await;
    let report = miner.report();
    assert!(report.unanswered >= 5 && report.accepted + report.rejected_total() == 0);
}

#[tokio::test]
async fn pools_refuse_a_name_by_error_or_by_false() {
    for (quirk, sign) in
        [(Quirk::RefusesAuthorize, "[24,"), (Quirk::RefusesAuthorizeWithFalse, r#""result":false"#)]
    {
        let (pool, miner) = habit(quirk).await;
        eventually("the refusal", || miner.report().authorized == Some(false)).await;
        assert!(miner.lines().iter().any(|line| line.contains(sign)), "{:?}", miner.lines());
        assert_eq!((pool.report().logged_in, miner.report().jobs), (0, 0));
    }
}

#[tokio::test]
async fn a_cutting_pool_writes_each_line_in_two() {
    let pool = Pool::start(PoolConfig::new().quirk(Quirk::CutsLines(A_WHILE))).await;
    let mut stream = TcpStream::connect(pool.address()).await.unwrap();
    stream.write_all(b"{\"id\":1,\"method\":\"mining.ping\"}\n").await.unwrap();
    let mut first = [0; 512];

    let length = stream.read(&mut first).await.unwrap();

    assert!(length > 0 && !first[..length].contains(&b'\n'));
}

#[tokio::test]
async fn a_pool_that_stops_reading_hears_the_rest_when_it_reads_again() {
    let (pool, miner) = pair(PoolConfig::new(), MinerConfig::new("a.b")).await;
    accepts(&pool, &miner, 3).await;

    pool.reconfigure(|config| config.quirks.extend([Quirk::StopsReading]));
    eventually("shares without answers", || miner.report().unanswered >= 5).await;
    pool.reconfigure(|config| config.quirks.clear());

    accepts(&pool, &miner, 6).await;
    all_is_well(&pool, &miner);
}

#[tokio::test]
async fn half_a_line_before_the_end_is_noticed() {
    let (pool, miner) = idle_pair().await;
    pool.send_raw(br#"{"id":null,"method":"#);
    pool.kick_all(false);
    eventually("the end", || !miner.report().connected).await;
    assert!(miner.report().violations[0].contains("middle of a line"));
}

#[tokio::test]
async fn the_books_know_when_a_connection_came_and_went() {
    let (pool, miner) = idle_pair().await;
    drop(miner);
    eventually("the end", || pool.report().closed == 1).await;

    let book = pool.last_connection().unwrap();

    let (authorized, closed) = (book.authorized_at.unwrap(), book.closed_at.unwrap());
    assert!(book.opened_at <= authorized && authorized <= closed);
}

#[tokio::test]
async fn a_pool_may_close_behind_subscribe() {
    let (pool, miner) = habit(Quirk::ClosesAfterSubscribe).await;
    eventually("the end", || !miner.report().connected).await;
    assert!(miner.report().extranonce2_size == 8 && miner.report().authorized.is_none());
    eventually("the books", || pool.report().closed == 1).await;
}

#[tokio::test]
async fn a_pool_may_ask_to_go_elsewhere() {
    let (_pool, miner) = habit(Quirk::ReconnectsElsewhere("evil.example".into(), 3333)).await;
    eventually("the request", || miner.report().reconnect_requests.len() == 1).await;
    assert!(miner.report().violations[0].contains("foreign host"));
    assert!(miner.report().connected);
}

#[tokio::test]
async fn a_pool_may_leave_configure_unanswered() {
    let (pool, miner) = habit(Quirk::AnswersNoConfigure).await;
    eventually("the request", || pool.last_connection().is_some_and(|one| one.lines.len() == 1))
        .await;
    never_within("an answer", A_WHILE, || miner.lines().len() > 1).await;
}

#[tokio::test]
async fn a_full_pool_says_so_as_a_result() {
    let (_pool, miner) = habit(Quirk::ProxyFull).await;
    let answer = |line: &String| line.contains(r#""result":"proxy full","error":null"#);
    eventually("the answer", || miner.lines().iter().any(answer)).await;
    assert!(!miner.report().subscribed);
}

#[tokio::test]
async fn a_pool_without_error_members_is_noticed_by_those_who_need_them() {
    let config = PoolConfig::miningcore();
    let (pool, miner) = pair(config.clone(), MinerConfig::new("a.b")).await;
    accepts(&pool, &miner, 3).await;
    nothing_wrong("the miner", &miner.report().violations);

    let axeos = MinerConfig::new("a.b").handshake(Handshake::axeos());
    let (_pool, miner) = pair(config, axeos).await;
    eventually("complaints", || miner.report().violation_count >= 3).await;
    assert!(miner.report().violations[0].contains("error member"));
}

#[tokio::test]
async fn the_first_job_comes_when_the_pool_is_said_to_send_it() {
    for (when, early) in [
        (FirstJob::AfterAuthorize, 0),
        (FirstJob::BeforeAuthorizeAnswer, 2),
        (FirstJob::AfterSubscribe, 2),
    ] {
        let miner = MinerConfig::new("a.b").idle();
        let (pool, miner) = pair(PoolConfig::new().first_job(when), miner).await;
        eventually("login and job", || {
            miner.report().authorized == Some(true) && miner.report().jobs == 1
        })
        .await;
        assert_eq!(miner.report().early_pushes, early, "{when:?}");
        all_is_well(&pool, &miner);
    }
}

#[tokio::test]
async fn answers_may_come_late_or_in_reverse() {
    let config = PoolConfig::new().answers(Answers::Delayed(A_WHILE));
    let (pool, miner) = pair(config, MinerConfig::new("a.b")).await;
    accepts(&pool, &miner, 5).await;
    assert!(miner.report().slowest_answer >= A_WHILE);

    let config = PoolConfig::new().answers(Answers::Reversed(3));
    let (pool, miner) = pair(config, MinerConfig::new("a.b").share_limit(7)).await;
    eventually("all seven", || miner.report().accepted == 7).await;
    let ids: Vec<u64> = miner
        .lines()
        .iter()
        .filter_map(|line| {
            serde_json::from_str::<Value>(line.strip_prefix("< ")?).ok()?["id"].as_u64()
        })
        .collect();
    assert_eq!(ids, [0, 1, 2, 5, 4, 3, 8, 7, 6, 9]);
    all_is_well(&pool, &miner);
}

#[tokio::test]
async fn configure_is_answered_in_the_pool_s_way() {
    let masks = [
        (Configure::Bip310, "00c00000", Some(0x00c0_0000), 0),
        (Configure::FullMask, "00c00000", Some(0x1fff_e000), 0),
        (Configure::Unknown, "00c00000", None, 0),
        (Configure::WithMaskPush, "ffffffff", Some(0x1fff_e000), 1),
    ];
    for (style, wanted, expected, pushes) in masks {
        let config = PoolConfig::new().configure(style);
        let (pool, miner) =
            pair(config, MinerConfig::new("a.b").idle().handshake(Handshake::cpuminer())).await;
        eventually("a job", || miner.report().jobs == 1).await;
        let params = json!([["version-rolling"], {"version-rolling.mask": wanted}]);
        miner.ask("mining.configure", params).await;
        eventually("the push", || {
            let lines = miner.lines();
            lines.iter().filter(|line| line.contains("set_version_mask")).count() == pushes
        })
        .await;
        assert_eq!(pool.last_connection().unwrap().version_mask, expected, "{style:?}");
    }
}

#[tokio::test]
async fn what_clients_do_wrong_is_never_lost() {
    for (bytes, complaint) in [
        (&b"hello\n"[..], "not JSON"),
        (b"[1]\n", "no object"),
        (b"{\"id\":1,\"result\":true}\n", "an answer to nothing"),
        (b"{\"id\":1,\"method\":\"mining.fly\"}\n", "unknown method"),
        (b"{\"id\":1,\"method\":\"mining.submit\",\"params\":[]}\n", "submit before subscribe"),
        (b"{\"id\":1,\"method\":\"mining.authorize\",\"params\":[\"a\"]}\n", "before subscribe"),
        (b"{\"method\":\"mining.subscribe\"}\n", "has no id"),
        (
            b"{\"id\":1,\"method\":\"mining.subscribe\"}\n{\"id\":2,\"method\":\"mining.subscribe\"}\n",
            "a second subscribe",
        ),
        (b"{\"id\":1", "middle of a line"),
    ] {
        let pool = Pool::start(PoolConfig::new()).await;
        let mut stream = TcpStream::connect(pool.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();

        let found = eventually_some("a complaint", || pool.report().violations.pop()).await;

        assert!(found.contains(complaint), "{found}");
    }
}
