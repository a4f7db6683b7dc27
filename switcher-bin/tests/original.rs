//! Configurations of the Go `stratumSwitcher`: read unchanged, migrated, or refused with a reason.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use switcher_bin::config::{Config, Inputs, Mistakes, load, original};
use switcher_bin::plugins::BUILT_IN;
use switcher_core::settings::{FleetNumber, Pacing};
use switcher_plugin::Coin;

/// Every key the original knows.
fn whole() -> Value {
    json!({
        "ServerID": 0,
        "ChainType": "bitcoin",
        "ListenAddr": "127.0.0.1:18080",
        "StratumServerMap": {
            "btc": { "URL": "sserver1.example:3333" },
            "bcc": { "URL": "sserver2.example:3334" },
            "bcc2btc": { "URL": "sserver2.example:3335", "UserSuffix": "btc" }
        },
        "ZKBroker": ["zk1.example:2181", "zk2.example"],
        "ZKServerIDAssignDir": "/pool/ids/",
        "ZKSwitcherWatchDir": "/pool/coins/",
        "EnableUserAutoReg": true,
        "ZKAutoRegWatchDir": "/pool/autoreg",
        "AutoRegMaxWaitUsers": 7,
        "StratumServerCaseInsensitive": false,
        "ZKUserCaseInsensitiveIndex": "/pool/case/",
        "EnableHTTPDebug": true,
        "HTTPDebugListenAddr": "127.0.0.1:6060"
    })
}

/// The whole file with some keys changed; null takes one away.
fn with(changes: &Value) -> Value {
    let mut file = whole();
    let keys = file.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        keys.insert(key.clone(), value.clone());
    }
    keys.retain(|_, value| !value.is_null());
    file
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn load_file(path: PathBuf) -> Result<Config, Mistakes> {
    load(&Inputs { file: Some(path), ..Inputs::default() }, BUILT_IN)
}

fn load_json(file: &Value) -> Result<Config, Mistakes> {
    let folder = tempfile::tempdir().unwrap();
    load_file(write(folder.path(), "config.json", &file.to_string()))
}

fn mistakes(changes: &Value) -> Vec<String> {
    let found = load_json(&with(changes)).unwrap_err();
    found.iter().map(|one| format!("{}: {}; {}", one.key, one.problem, one.accepted)).collect()
}

#[test]
fn every_key_of_the_original_has_its_effect() {
    let config = load_json(&whole()).unwrap();

    let settings = &config.settings;
    assert_eq!(settings.listeners[0].address, "127.0.0.1:18080".parse().unwrap());
    assert_eq!(settings.listeners[0].dialects, ["btc"]);
    assert_eq!(settings.admin, Some("127.0.0.1:6060".parse().unwrap()));
    assert_eq!(settings.number, FleetNumber::FromSource);
    let coins: Vec<_> = settings.coins.keys().map(Coin::as_str).collect();
    assert_eq!(coins, ["bcc", "bcc2btc", "btc"]);
    let pool = &settings.coins["bcc2btc"].pools[0];
    assert_eq!((pool.name.as_str(), pool.host.as_str()), ("bcc2btc", "sserver2.example"));
    assert_eq!(pool.port, 3335);
    assert_eq!(pool.options, json!({ "extranonce": "detect", "user_suffix": "btc" }));
    assert_eq!(pool.pacing, Pacing { dials_per_second: 2000, in_flight: 1024 });
    assert_eq!(settings.coins["btc"].pools[0].options, json!({ "extranonce": "detect" }));
    let zookeeper = config.sources.zookeeper.unwrap();
    assert_eq!(zookeeper.servers, ["zk1.example:2181", "zk2.example"]);
    assert_eq!(zookeeper.watch_dir, "/pool/coins");
    assert_eq!(zookeeper.index_dir.as_deref(), Some("/pool/case"));
    assert!(!zookeeper.case_insensitive);
    let number = zookeeper.server_id.unwrap();
    assert_eq!((number.dir.as_str(), number.chain_type.as_str()), ("/pool/ids", "bitcoin"));
    assert_eq!(number.listen_addr, "127.0.0.1:18080");
    assert_eq!(number.coins, ["bcc", "bcc2btc", "btc"]);
    let registration = zookeeper.registration.unwrap();
    assert_eq!((registration.dir.as_str(), registration.max_waiting), ("/pool/autoreg", 7));
    assert_eq!(config.remarks, [] as [String; 0]);
}

#[test]
fn what_is_turned_off_is_off() {
    let config = load_json(&with(&json!({
        "ServerID": 12,
        "EnableUserAutoReg": false,
        "ZKUserCaseInsensitiveIndex": "",
        "EnableHTTPDebug": false,
    })))
    .unwrap();

    assert_eq!(config.settings.number, FleetNumber::Fixed(12));
    assert_eq!(config.settings.admin, None);
    let zookeeper = config.sources.zookeeper.unwrap();
    assert_eq!((zookeeper.server_id, zookeeper.registration), (None, None));
    assert_eq!(zookeeper.index_dir, None);
    assert!(config.remarks[0].contains("EnableHTTPDebug"), "{:?}", config.remarks);
}

#[test]
fn pools_that_disregard_case_need_no_index() {
    let config = load_json(&with(&json!({ "StratumServerCaseInsensitive": true }))).unwrap();

    let zookeeper = config.sources.zookeeper.unwrap();
    assert!(zookeeper.case_insensitive);
    assert_eq!(zookeeper.index_dir, None);
}

#[test]
fn keys_are_read_as_go_reads_them() {
    let text = whole().to_string();
    let text = text.replace("\"ListenAddr\":", "\"listenaddr\":").replace("\"URL\":", "\"Url\":");
    let mut file: Value = serde_json::from_str(&text).unwrap();
    file["_comment"] = json!("for the new rack");
    file["ChainType"] = json!("Bitcoin");

    let config = load_json(&file).unwrap();

    assert_eq!(config.settings.listeners[0].address.port(), 18080);
    assert_eq!(config.remarks, ["_comment: the original knows no such key; disregarded"]);
}

#[test]
fn addresses_are_read_as_go_reads_them() {
    let servers = json!({ "btc": { "URL": ":3333" } });
    let file = with(&json!({ "ListenAddr": ":18080", "StratumServerMap": servers }));

    let config = load_json(&file).unwrap();

    assert_eq!(config.settings.listeners[0].address, "[::]:18080".parse().unwrap());
    assert_eq!(config.settings.coins["btc"].pools[0].host, "127.0.0.1");
}

#[test]
fn two_names_may_stand_for_one_server() {
    let servers = json!({
        "bcc": { "URL": "a.example:1", "UserSuffix": "bch" },
        "bch": { "URL": "a.example:1" }
    });

    let config = load_json(&with(&json!({ "StratumServerMap": servers })));

    assert!(config.is_ok(), "{config:?}");
}

#[test]
fn the_file_may_have_any_name() {
    let folder = tempfile::tempdir().unwrap();

    for name in ["switcher.conf", "config"] {
        let config = load_file(write(folder.path(), name, &whole().to_string()));
        assert!(config.is_ok(), "{name}: {config:?}");
    }
    assert!(load_file(write(folder.path(), "other.conf", "{\"limits\": {}}")).is_err());
}

#[test]
fn decred_is_served_in_the_form_that_the_chain_type_says() {
    for (chain, form) in [("decred-normal", "normal"), ("Decred-GoMiner", "gominer")] {
        let servers = json!({ "dcr": { "URL": "a.example:1" } });
        let file = with(&json!({ "ChainType": chain, "StratumServerMap": servers }));

        let config = load_json(&file).unwrap();

        let settings = &config.settings;
        assert_eq!(settings.listeners[0].dialects, ["dcr"]);
        assert_eq!(settings.listeners[0].options, json!({ "form": form }));
        let coin = &settings.coins["dcr"];
        assert_eq!((coin.dialect.as_str(), coin.algorithm.as_str()), ("dcr", "blake3"));
        assert_eq!(coin.pools[0].options, json!({ "extranonce": "detect" }));
        let number = config.sources.zookeeper.unwrap().server_id.unwrap();
        assert_eq!(number.chain_type, chain.to_ascii_lowercase());
    }
}

#[test]
fn coins_of_an_ethereum_switcher_speak_like_it() {
    let config = load_json(&with(&json!({ "ChainType": "Ethereum" }))).unwrap();

    let coins = &config.settings.coins;
    assert!(coins.values().all(|coin| coin.dialect == "eth" && coin.algorithm == "ethash"));
    assert_eq!(config.settings.listeners[0].dialects, ["eth"]);
    assert_eq!(config.settings.number, FleetNumber::FromSource);
}

#[test]
fn mistakes_are_told_in_the_originals_keys_all_at_once() {
    let found = mistakes(&json!({
        "ServerID": 256,
        "ChainType": "dogecoin",
        "ListenAddr": "nowhere",
        "StratumServerMap": { "btc": {} },
        "ZKBroker": "zk1",
        "ZKSwitcherWatchDir": null,
        "ZKAutoRegWatchDir": null,
        "AutoRegMaxWaitUsers": "many",
        "EnableHTTPDebug": 1,
    }));

    let keys: Vec<_> = found.iter().map(|one| one.split(':').next().unwrap()).collect();
    assert_eq!(
        keys,
        [
            "ChainType",
            "ListenAddr",
            "StratumServerMap.btc.URL",
            "ServerID",
            "ZKBroker",
            "ZKSwitcherWatchDir",
            "AutoRegMaxWaitUsers",
            "ZKAutoRegWatchDir",
            "EnableHTTPDebug",
        ],
        "{found:#?}"
    );
}

#[test]
fn a_migrated_file_means_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (at, changes) in [
        json!({}),
        json!({ "ServerID": 12, "EnableUserAutoReg": false, "EnableHTTPDebug": false }),
        json!({ "StratumServerCaseInsensitive": true, "ListenAddr": ":18080" }),
    ]
    .iter()
    .enumerate()
    {
        let file = write(folder.path(), &format!("{at}.json"), &with(changes).to_string());
        let migrated = original::migrate(&file).unwrap();
        let ours = write(folder.path(), &format!("{at}.toml"), &migrated);

        let (before, after) = (load_file(file).unwrap(), load_file(ours).unwrap());

        assert_eq!(before.settings, after.settings, "{migrated}");
        assert_eq!(before.sources, after.sources, "{migrated}");
        assert_eq!(before.log, after.log, "{migrated}");
    }
}

#[test]
fn the_program_migrates_and_checks_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "config.json", &whole().to_string());
    let run = |arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_stratum-switcher"));
        program.current_dir(folder.path()).args(arguments).output().unwrap()
    };

    let migrated = run(&["migrate-config", "config.json"]);
    assert_eq!(migrated.status.code(), Some(0), "{migrated:?}");
    assert_eq!(String::from_utf8(migrated.stdout).unwrap(), {
        let text = original::migrate(&file).unwrap();
        text.replace(&file.display().to_string(), "config.json")
    });
    for arguments in [
        &["-config=config.json", "-log_dir=.", "-v", "2", "check"][..],
        &["-logtostderr", "check"],
        &["check", "-c", "config.json"],
    ] {
        let checked = run(arguments);
        assert_eq!(checked.status.code(), Some(0), "{arguments:?}: {checked:?}");
    }
    assert_eq!(run(&["-v", "two"]).status.code(), Some(2));
    let none = write(folder.path(), "none.json", "{}");
    assert_eq!(run(&["migrate-config", none.to_str().unwrap()]).status.code(), Some(2));
}

fn native(text: &str) -> Result<Config, Mistakes> {
    let folder = tempfile::tempdir().unwrap();
    let start = "[[listeners]]\nlisten = \"127.0.0.1:3333\"\n[[coins.btc.pools]]\nurl = \"a:1\"\n";
    load_file(write(folder.path(), "switcher.toml", &format!("{start}{text}")))
}

#[test]
fn an_sserver_is_rushed_at_and_a_stranger_is_not() {
    for (options, usual) in [
        ("options = { extranonce = \"echo\" }", Pacing { dials_per_second: 2000, in_flight: 1024 }),
        ("options = { extranonce = \"detect\" }", Pacing::default()),
        ("", Pacing::default()),
    ] {
        let config = native(options).unwrap();
        assert_eq!(config.settings.coins["btc"].pools[0].pacing, usual, "{options}");

        let slow = format!("{options}\n[coins.btc.pools.pacing]\ndials_per_second = 5");
        let config = native(&slow).unwrap();
        let expected = Pacing { dials_per_second: 5, ..usual };
        assert_eq!(config.settings.coins["btc"].pools[0].pacing, expected, "{options}");
    }
}

#[test]
fn a_number_is_given_or_taken_but_not_both() {
    let source = "[sources.zookeeper]\nservers = [\"zk\"]\nwatch_dir = \"/coins\"\n";
    let taken = format!("{source}[sources.zookeeper.server_id]\ndir = \"/ids\"\n");
    let given = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let start = "server_id = 7\n[[listeners]]\nlisten = \"127.0.0.1:3333\"\n[[coins.btc.pools]]\nurl = \"a:1\"\n";
        load_file(write(folder.path(), "switcher.toml", &format!("{start}{text}")))
    };

    assert_eq!(native(source).unwrap().settings.number, FleetNumber::None);
    assert_eq!(native(&taken).unwrap().settings.number, FleetNumber::FromSource);
    assert_eq!(given(source).unwrap().settings.number, FleetNumber::Fixed(7));
    assert_eq!(given(source).unwrap().sources.zookeeper.unwrap().number, 7);
    let both = given(&taken).unwrap_err();
    assert_eq!(both.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["server_id"]);
}

#[test]
fn an_sserver_without_a_number_in_the_fleet_is_remarked() {
    let config = native("options = { extranonce = \"echo\" }").unwrap();

    assert!(config.remarks[0].starts_with("server_id: not given"), "{:?}", config.remarks);
}

#[test]
fn what_the_zookeeper_source_does_not_accept_is_told() {
    for (text, key) in [
        ("watch_dir = \"/coins\"", "sources.zookeeper.servers"),
        ("servers = [\"zk\"]", "sources.zookeeper"),
        ("servers = [\"zk\"]\nwatch_dir = \"coins\"", "sources.zookeeper"),
        ("servers = [\"zk\"]\nwatch_dir = \"/coins\"\nacl = \"creator\"", "sources.zookeeper"),
        ("servers = [\"zk\"]\nwatch_dir = \"/coins\"\nacl = \"mine\"", "sources.zookeeper.acl"),
        (
            "servers = [\"zk\"]\nwatch_dir = \"/coins\"\nsession_timeout = \"1s\"",
            "sources.zookeeper.session_timeout",
        ),
    ] {
        let found = native(&format!("[sources.zookeeper]\n{text}")).unwrap_err();
        let keys: Vec<_> = found.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, [key], "{text}: {found}");
    }
    let secret = "[sources.zookeeper]\nservers = [\"zk\"]\nwatch_dir = \"/coins\"\ncredentials = \"a:hunter2\"";
    let config = native(secret).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

/// The defaults stand in the table of keys and in the source itself.
#[test]
fn defaults_of_the_table_are_those_of_the_source() {
    let ours = "[sources.zookeeper]\nservers = [\"zk\"]\nwatch_dir = \"/coins\"\n\
                [sources.zookeeper.server_id]\ndir = \"/ids\"\n\
                [sources.zookeeper.registration]\ndir = \"/requests\"\n";
    let source = native(ours).unwrap().sources.zookeeper.unwrap();
    let theirs: coin_source_zookeeper::Settings = serde_json::from_value(json!({
        "servers": ["zk"], "watch_dir": "/coins",
        "server_id": { "dir": "/ids" }, "registration": { "dir": "/requests" },
    }))
    .unwrap();

    assert_eq!(source.session_timeout.as_secs(), theirs.session_timeout_seconds);
    assert_eq!(source.audit.as_secs(), theirs.audit_seconds);
    assert_eq!(source.reads_at_once, theirs.reads_at_once);
    assert_eq!(source.remembered, theirs.remembered);
    assert_eq!(source.acl, "open");
    let (number, their_number) = (source.server_id.unwrap(), theirs.server_id.unwrap());
    assert_eq!(number.preferred, their_number.preferred);
    assert_eq!(number.chain_type, their_number.chain_type);
    let (ours, theirs) = (source.registration.unwrap(), theirs.registration.unwrap());
    assert_eq!(ours.max_waiting, theirs.max_waiting);
    assert_eq!(ours.timeout.as_secs(), theirs.timeout_seconds);
}
