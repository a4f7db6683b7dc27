//! Credentials, rights, and the lack of them.

use coin_source_zookeeper::testing::{Relay, Writer};
use coin_source_zookeeper::{AclChoice, Credentials, RegistrationSettings, ServerIdSettings};

use crate::world::{SOON, Source, node, server, settings};

const IDS: &str = "/stratumSwitcher/bitcoin_swid";

fn ids() -> ServerIdSettings {
    ServerIdSettings {
        dir: IDS.into(),
        preferred: 1,
        chain_type: "bitcoin".into(),
        coins: vec![],
        listen_addr: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_we_may_not_read_is_named_as_such() {
    let (server, writer) = server().await;
    let mut owner = Writer::connect(server.address()).await;
    owner.log_in("operator:secret").await;
    owner.set(&node("alice"), "btc").await;
    writer.set(&node("bob"), "btc").await;
    let source = Source::start(settings(server.address()));

    source.acquire("alice");
    source.acquire("bob");
    source.coin("bob", "btc").await;

    let detail = source.ailing("NoAuth").await;
    assert!(detail.contains(&node("alice")), "{detail}");
    assert!(source.board().of("alice").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_given_again_on_every_connection() {
    let (server, _writer) = server().await;
    let relay = Relay::start(server.address()).await;
    let mut owner = Writer::connect(server.address()).await;
    owner.log_in("operator:secret").await;
    owner.set(&node("alice"), "btc").await;
    let mut settings = settings(relay.address());
    settings.credentials = Some(Credentials::new("operator:secret"));
    let source = Source::start(settings);
    source.acquire("alice");
    source.coin("alice", "btc").await;

    // A connection of the same client.
    relay.cut();
    owner.set(&node("alice"), "bcc").await;
    source.coin("alice", "bcc").await;
    // A new client.
    relay.refuse();
    source.until(2 * SOON, "a new client", |_| source.counters.rebuilds.value() > 0).await;
    owner.set(&node("alice"), "btc").await;
    relay.heal();
    source.coin("alice", "btc").await;

    source.healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_make_is_open_unless_told_otherwise() {
    let (server, writer) = server().await;
    let mut settings = settings(server.address());
    settings.server_id = Some(ids());
    let source = Source::start(settings);

    source.server_id().await;

    assert_eq!(writer.rights(&format!("{IDS}/1")).await, ["world:anyone:ALL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_make_can_be_ours_alone() {
    let (server, mut writer) = server().await;
    writer.make_dir("/reg").await;
    let mut settings = settings(server.address());
    settings.server_id = Some(ids());
    settings.credentials = Some(Credentials::new("operator:secret"));
    settings.acl = AclChoice::Creator;
    settings.registration =
        Some(RegistrationSettings { dir: "/reg".into(), max_waiting: 5, timeout_seconds: 60 });
    let source = Source::start(settings);

    source.server_id().await;
    source.acquire("alice");
    source.said("alice", "registering").await;

    writer.log_in("operator:secret").await;
    for path in [&format!("{IDS}/1"), IDS, "/reg/alice"] {
        let rights = writer.rights(path).await;
        assert_eq!(rights.len(), 1, "{rights:?}");
        assert!(rights[0].starts_with("digest:operator:"), "{rights:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_make_can_be_readable_for_all() {
    let (server, writer) = server().await;
    let mut settings = settings(server.address());
    settings.server_id = Some(ids());
    settings.credentials = Some(Credentials::new("operator:secret"));
    settings.acl = AclChoice::CreatorReadable;
    let source = Source::start(settings);

    source.server_id().await;

    let rights = writer.rights(&format!("{IDS}/1")).await;
    assert!(rights.contains(&"world:anyone:READ".to_owned()), "{rights:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn directory_of_numbers_we_may_not_use_is_named_as_such() {
    let (server, writer) = server().await;
    writer.set(&node("alice"), "btc").await;
    let mut owner = Writer::connect(server.address()).await;
    owner.log_in("operator:secret").await;
    owner.make_dir(IDS).await;
    let mut settings = settings(server.address());
    settings.server_id = Some(ids());
    let source = Source::start(settings);

    let detail = source.ailing("NoAuth").await;
    source.acquire("alice");
    source.coin("alice", "btc").await;

    assert!(detail.contains(IDS), "{detail}");
}
