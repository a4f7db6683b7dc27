//! Automatic registration of unknown sub-accounts.

use std::time::Duration;

use coin_source_zookeeper::testing::{Server, Writer};
use coin_source_zookeeper::{RegistrationSettings, Settings};
use switcher_plugin::SessionId;
use tokio::time::sleep;

use crate::world::{self, SOON, Source, node};

const REQUESTS: &str = "/stratumSwitcher/bitcoin_autoreg";

async fn server() -> (Server, Writer, Settings) {
    let (server, writer) = world::server().await;
    writer.make_dir(REQUESTS).await;
    let mut settings = world::settings(server.address());
    settings.registration = Some(RegistrationSettings {
        dir: format!("{REQUESTS}/"),
        max_waiting: 2,
        timeout_seconds: 30,
    });
    (server, writer, settings)
}

async fn request_of(writer: &Writer, name: &str) -> String {
    for _ in 0..500 {
        if let Some(value) = writer.value(&format!("{REQUESTS}/{name}")).await {
            return String::from_utf8(value).unwrap();
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("no request for {name}");
}

async fn await_requests(writer: &Writer, wanted: &[&str]) {
    for _ in 0..500 {
        if writer.children(REQUESTS).await == wanted {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("requests are {:?}, not {wanted:?}", writer.children(REQUESTS).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn granted_registration_brings_the_coin() {
    let (_server, writer, mut settings) = server().await;
    settings.number = 2;
    let source = Source::start(settings);

    source.acquire_as("alice", SessionId(0x0700_0081), "alice.rig7");
    source.said("alice", "registering").await;
    let request = request_of(&writer, "alice").await;
    writer.set(&node("alice"), "btc").await;
    writer.remove(&format!("{REQUESTS}/alice")).await;
    source.coin("alice", "btc").await;

    assert_eq!(request, r#"{"SessionID":33554561,"Worker":"alice.rig7"}"#);
    assert_eq!(source.board().of("alice"), ["registering", "assign btc"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_removed_without_a_coin_is_a_refusal() {
    let (_server, writer, settings) = server().await;
    let source = Source::start(settings);

    source.acquire("alice");
    request_of(&writer, "alice").await;
    source.said("alice", "registering").await;
    writer.remove(&format!("{REQUESTS}/alice")).await;
    source.said("alice", "refused: answered without a coin").await;

    writer.set(&node("alice"), "btc").await;
    source.coin("alice", "btc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_over_the_limit_is_refused_and_there_is_room_again_later() {
    let (_server, writer, settings) = server().await;
    let source = Source::start(settings);
    for name in ["alice", "bob"] {
        source.acquire(name);
        source.said(name, "registering").await;
    }

    source.acquire("carol");
    source.said("carol", "refused: 2 registrations are waiting already").await;
    assert_eq!(writer.children(REQUESTS).await, ["alice", "bob"]);

    writer.remove(&format!("{REQUESTS}/bob")).await;
    source.said("bob", "refused: answered without a coin").await;
    source.release("carol");
    source.acquire("carol");
    source.said("carol", "registering").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_of_another_switcher_is_waited_for_beyond_the_limit() {
    let (_server, writer, mut settings) = server().await;
    settings.registration.as_mut().unwrap().max_waiting = 0;
    writer.set(&format!("{REQUESTS}/alice"), "another's").await;
    let source = Source::start(settings);

    source.acquire("alice");
    source.said("alice", "registering").await;
    writer.set(&node("alice"), "btc").await;
    writer.remove(&format!("{REQUESTS}/alice")).await;
    source.coin("alice", "btc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unanswered_request_is_refused_at_its_deadline_and_taken_back() {
    let (_server, writer, mut settings) = server().await;
    settings.registration.as_mut().unwrap().timeout_seconds = 1;
    let source = Source::start(settings);

    source.acquire("alice");
    source.said("alice", "refused: no answer within 1 s").await;
    await_requests(&writer, &[]).await;

    assert_eq!(source.board().of("alice"), ["registering", "refused: no answer within 1 s"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_directory_of_requests_refuses_and_is_reported() {
    let (_server, writer, settings) = server().await;
    writer.remove(REQUESTS).await;
    let source = Source::start(settings);

    source.acquire("alice");
    source.said("alice", "refused: the directory of registrations is missing").await;

    source.ailing(REQUESTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_node_of_one_who_mines_is_not_registered_anew() {
    let (_server, writer, settings) = server().await;
    writer.set(&node("alice"), "btc").await;
    let source = Source::start(settings);
    source.acquire("alice");
    source.coin("alice", "btc").await;

    writer.remove(&node("alice")).await;
    source.said("alice", "unknown").await;

    assert!(writer.children(REQUESTS).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_registration_survives_a_restart_of_the_source() {
    let (_server, writer, settings) = server().await;
    let source = Source::start(settings.clone());
    source.acquire("alice");
    source.said("alice", "registering").await;
    let state = source.stop().await;

    let source = Source::resume(settings, state);
    source.acquire("alice");
    source.said("alice", "registering").await;
    writer.set(&node("alice"), "btc").await;
    writer.remove(&format!("{REQUESTS}/alice")).await;
    source.coin_within(SOON, "alice", "btc").await;
}
