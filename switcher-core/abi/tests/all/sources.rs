//! A coin source of a library, as the engine runs one.

use std::time::Duration;

use serde_json::json;
use switcher_plugin::{
    Assignment, BoardWriter, Coin, Notice, SessionId, SourceContext, SourceError, SourceState,
    SubAccount, Wanted, WorkerName,
};
use switcher_plugin_abi::host::Plugin;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::support::{keep_log, log, naughty};

/// A source at work.
struct Work {
    notices: mpsc::UnboundedReceiver<Notice>,
    want: mpsc::UnboundedSender<Wanted>,
    stop: watch::Sender<bool>,
    run: JoinHandle<Result<SourceState, SourceError>>,
}

fn start(plugin: &Plugin, config: &serde_json::Value, saved: &str) -> Work {
    let (posted, notices) = mpsc::unbounded_channel();
    let (want, wanted) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let context = SourceContext {
        board: BoardWriter::new(move |notice| {
            let _ = posted.send(notice);
        }),
        wanted,
        stop: stopped,
        saved: SourceState(saved.to_owned()),
    };
    let source = plugin.sources[0].source(config);
    assert_eq!(source.name(), "flighty");
    Work { notices, want, stop, run: tokio::spawn(source.run(context)) }
}

fn health(healthy: bool, detail: &str) -> Notice {
    Notice::Health { healthy, detail: detail.to_owned() }
}

#[tokio::test]
async fn source_posts_is_asked_and_leaves_its_state() {
    let (_library, plugin) = naughty();
    let mut work = start(&plugin, &json!({"coin": "bch"}), "41");
    assert_eq!(work.notices.recv().await, Some(health(true, "flies")));

    let sub_account = SubAccount::new("alice");
    let acquire = Wanted::Acquire {
        sub_account: sub_account.clone(),
        session: SessionId(1),
        worker: WorkerName::new("alice.rig"),
    };
    work.want.send(acquire).unwrap();

    let expected = Assignment::to(Coin::new("bch"), "run 42");
    assert_eq!(work.notices.recv().await, Some(Notice::Assign(sub_account, expected)));
    work.stop.send(true).unwrap();
    assert_eq!(work.run.await.unwrap(), Ok(SourceState("42".to_owned())));
    assert_eq!(plugin.health.standing().faults, 0);
}

#[tokio::test]
async fn settings_are_refused_before_it_runs_and_when_it_runs() {
    let (_library, plugin) = naughty();

    let refused = plugin.sources[0].check(&json!({})).unwrap_err();
    assert_eq!(refused.to_string(), "coin: is missing; write coin = \"btc\"");
    plugin.sources[0].check(&json!({"coin": "btc"})).unwrap();

    let mut work = start(&plugin, &json!({}), "");
    let told = "coin: is missing; write coin = \"btc\"";
    assert_eq!(work.notices.recv().await, Some(health(false, told)));
    assert_eq!(work.run.await.unwrap().unwrap_err().problem, told);
}

#[tokio::test]
async fn source_that_gives_up_is_told_with_its_reason() {
    let (_library, plugin) = naughty();

    let work = start(&plugin, &json!({"coin": "btc", "gives_up": true}), "");

    let error = work.run.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "coin source flighty: was told to give up");
}

#[tokio::test]
async fn posts_after_the_stop_are_dropped_counted_and_told() {
    keep_log();
    let (_library, plugin) = naughty();
    let config = json!({"coin": "btc", "posts_after_stop": true});
    let mut work = start(&plugin, &config, "");
    assert_eq!(work.notices.recv().await, Some(health(true, "flies")));
    work.stop.send(true).unwrap();
    work.run.await.unwrap().unwrap();

    while plugin.health.standing().late_posts < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    assert_eq!(work.notices.recv().await, None, "nothing came through");
    assert!(log().contains("posted after it was stopped"));
}

#[tokio::test]
async fn source_runs_again_in_the_same_process() {
    let (_library, plugin) = naughty();
    let mut state = SourceState::default();
    for runs in 1..=20 {
        let mut work = start(&plugin, &json!({"coin": "btc"}), &state.0);
        assert_eq!(work.notices.recv().await, Some(health(true, "flies")));
        work.stop.send(true).unwrap();
        state = work.run.await.unwrap().unwrap();
        assert_eq!(state.0, runs.to_string());
    }
}
