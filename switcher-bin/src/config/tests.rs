//! Mistakes as tables, the order of the layers, the defaults, what is hidden.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use switcher_core::Settings;
use switcher_core::settings::Pacing;
use switcher_plugin::{Coin, StratumDialect};

use super::keys::{Fallback, SECTIONS};
use super::{Config, Inputs, document, load};
use crate::plugins::{Made, Make, Plugin};
use fake::Fake;

const MINIMAL: &str = r#"
[[listeners]]
listen = "0.0.0.0:3333"

[[coins.btc.pools]]
url = "stratum+tcp://btc.pool.example:3333"
"#;

#[test]
fn smallest_file_is_enough() {
    assert!(document::page().contains(MINIMAL));

    let config = read(MINIMAL).unwrap();

    let settings = &config.settings;
    let listener = settings.listeners.first().unwrap();
    assert_eq!(listener.address, SocketAddr::from(([0, 0, 0, 0], 3333)));
    assert_eq!((listener.name.as_str(), &listener.dialects), ("0.0.0.0:3333", &vec!["btc".into()]));
    let coin = settings.coins.get("btc").unwrap();
    assert_eq!((coin.dialect.as_str(), coin.algorithm.as_str()), ("btc", "sha256d"));
    let pool = coin.pools.first().unwrap();
    assert_eq!(
        (pool.name.as_str(), pool.host.as_str()),
        ("btc.pool.example:3333", "btc.pool.example")
    );
    assert_eq!((pool.port, pool.pacing), (3333, Pacing::default()));
    assert_eq!(config.sources.fixed, Some(Coin::from("btc")));
    assert!(config.effective.contains("[sources.static]\ncoin = \"btc\"\n"));
}

#[test]
fn defaults_of_the_table_are_those_in_code() {
    let config = read(MINIMAL).unwrap();

    let Settings { listeners, coins, .. } = config.settings.clone();
    assert_eq!(config.settings, Settings { listeners, coins, ..Settings::default() });
}

#[test]
fn default_file_as_it_is_and_with_all_defaults_uncommented_is_the_same() {
    let uncommented: String = document::DEFAULT_FILE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();

    let (as_it_is, uncommented) = (read(document::DEFAULT_FILE), read(&uncommented));

    let (as_it_is, uncommented) = (as_it_is.unwrap(), uncommented.unwrap());
    assert_eq!(as_it_is.settings, uncommented.settings);
    let source = |config: &Config| {
        let file = config.sources.file.clone().unwrap();
        (file.settle, file.poll, file.case_insensitive, config.sources.fixed.clone())
    };
    assert_eq!(source(&as_it_is), source(&uncommented));
    assert_eq!(as_it_is.log, uncommented.log);
    let Settings { listeners, coins, .. } = as_it_is.settings.clone();
    assert_eq!(as_it_is.settings, Settings { listeners, coins, ..Settings::default() });
    let fixed: Vec<_> = SECTIONS
        .iter()
        .flat_map(|section| section.keys)
        .filter(|key| matches!(key.fallback, Fallback::Is(_) | Fallback::Derived(..)))
        .collect();
    let written = document::DEFAULT_FILE.lines().filter(|line| is_default(line)).count();
    assert_eq!(written, fixed.len());
}

#[test]
fn committed_texts_are_those_of_the_table() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for (path, text) in [
        ("config/switcher.toml", document::default_file()),
        ("../docs/configuration.md", document::page()),
    ] {
        let path = root.join(path);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "{} differs; run with UPDATE=1", path.display());
    }
}

/// What is added to the smallest file, and the one mistake it makes.
const MISTAKES: &[(&str, &str)] = &[
    ("[limits]\nsesions = 1", "limits.sesions: unknown key; did you mean \"sessions\"?"),
    ("[admin]\nport = 1", "admin.port: unknown key; known here: enabled, listen"),
    ("[limit]", "limit: unknown key; did you mean \"limits\"?"),
    (
        "[[listeners]]\nlisten = \"127.0.0.1:3334\"\nrungs = [\"fold\", \"bend\"]",
        "listeners[1].rungs: there is no rung \"bend\"; rungs are echo, fold, announce, \
             reconnect, drop",
    ),
    (
        "[sources.etcd]\nservers = []",
        "sources.etcd: unknown key; known here: file, zookeeper, static",
    ),
    (
        "[limits]\nsessions = \"many\"",
        "limits.sessions: \"many\" does not fit; \
             accepted: a whole number from 0 to 4294967295",
    ),
    (
        "[limits]\nsessions = -1",
        "limits.sessions: -1 does not fit; accepted: a whole number from 0 to 4294967295",
    ),
    (
        "[limits]\nsessions = 1.5",
        "limits.sessions: 1.5 does not fit; accepted: a whole number from 0 to 4294967295",
    ),
    (
        "[timing]\ndial = \"5 apples\"",
        "timing.dial: \"5 apples\" does not fit; accepted: a time from 1ms to 365d, \
             such as \"10s\" or \"500ms\", or a number of seconds",
    ),
    (
        "[timing]\nlinger_min = \"1m\"",
        "timing.linger_min: is longer than timing.linger_max; \
             give it a value up to timing.linger_max",
    ),
    (
        "[log]\nformat = \"xml\"",
        "log.format: \"xml\" does not fit; accepted: one of \"text\", \"json\"",
    ),
    (
        "[log]\nfilter = \"inffo\"",
        "log.filter: \"inffo\" does not fit; accepted: off, error, warn, info, debug or \
             trace, and target=level after commas",
    ),
    ("[admin]\nenabled = \"yes\"", "admin.enabled: \"yes\" does not fit; accepted: true or false"),
    (
        "[admin]\nlisten = \"localhost\"",
        "admin.listen: \"localhost\" does not fit; accepted: an address with a port, \
             such as \"0.0.0.0:3333\" or \"[::]:3333\"",
    ),
    (
        "[admin]\nlisten = \"0.0.0.0:3333\"",
        "admin.listen: 0.0.0.0:3333 is the address of listeners[0].listen too; \
             give each its own port",
    ),
    (
        "[[coins.bch.pools]]\nname = \"a\"",
        "coins.bch.pools[0].url: is missing; \
             write url = \"stratum+tcp://btc.pool.example:3333\"",
    ),
    (
        "[[coins.bch.pools]]\nurl = \"http://a:1\"",
        "coins.bch.pools[0].url: the scheme \"http\" is not known; \
             accepted: \"stratum+tcp://host:port\" or \"host:port\"",
    ),
    (
        "[coins.bch]\npools = \"a:1\"",
        "coins.bch.pools: is no list of tables; \
             write [[coins.bch.pools]] above the keys of each entry",
    ),
    ("[coins.bch]\npools = []", "coins.bch.pools: none given; every coin needs at least one pool"),
    (
        "[[coins.doge.pools]]\nurl = \"a:1\"",
        "coins.doge.dialect: there is no dialect \"doge\"; \
             dialects of this program: bch, btc, far",
    ),
    (
        "[[coins.\"a b\".pools]]\nurl = \"a:1\"",
        "coins.a b: is no name for a coin; \
             a coin's name is a letter, then letters, digits, - and _",
    ),
    (
        "[[coins.bch.pools]]\nurl = \"btc.pool.example:3333\"",
        "coins.btc.pools[0]: is the same pool with the same login as coins.bch.pools[0]; \
             give each pool once, for one coin",
    ),
    (
        "[[coins.bch.pools]]\nurl = \"a:1\"\nname = \"btc.pool.example:3333\"",
        "coins.btc.pools[0].name: \"btc.pool.example:3333\" is used twice; \
             every pool needs a name of its own",
    ),
    (
        "[[coins.bch.pools]]\nurl = \"a:1\"\noptions = { odd = 1 }",
        "coins.bch.pools[0].options.odd: is odd; even ones are accepted",
    ),
    (
        "[[coins.bch.pools]]\nurl = \"a:1\"\npassword_file = \"/nowhere\"",
        "coins.bch.pools[0].password_file: \"/nowhere\" cannot be read: \
             No such file or directory (os error 2); name a readable file",
    ),
    (
        "[[coins.bch.pools]]\nurl = \"a:1\"\npassword = 7",
        "coins.bch.pools[0].password: is a number, not a text; accepted: a text",
    ),
    (
        "[[coins.bch.pools]]\nurl = \"a:1\"\n[coins.bch.pools.pacing]\nin_flight = 1\nburst = 1",
        "coins.bch.pools[0].pacing.burst: unknown key; known here: dials_per_second, in_flight",
    ),
    (
        "[sources.static]\ncoin = \"ltc\"",
        "sources.static.coin: there is no coin \"ltc\"; coins configured here: btc",
    ),
    (
        "[sources.file]\npath = \"coins\"",
        "sources.file: path: has no extension; .toml or .json is accepted",
    ),
    ("[sources.file]", "sources.file.path: is missing; write path = \"coins.toml\""),
];

#[test]
fn every_mistake_names_file_key_and_what_is_accepted() {
    for (addition, expected) in MISTAKES {
        let two_coins = addition.contains("[[coins.") || addition.contains("[coins.");
        let chosen = if two_coins { "\n[sources.static]\ncoin = \"btc\"" } else { "" };
        let found = mistakes(&format!("{MINIMAL}{addition}{chosen}"));

        assert_eq!(found, [format!("switcher.toml: {expected}")], "{addition}");
    }
}

#[test]
fn what_is_wrong_with_a_whole_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("a.toml", "x = \"hunter2", "line 1, column 13: invalid basic string; TOML is expected"),
        ("b.json", "{\"x\": hunter2}", "line 1, column 7: expected value; JSON is expected"),
        ("c.json", "[\"hunter2\"]", "is no JSON object; JSON is expected"),
        ("d.yaml", "", "has the extension \"yaml\"; a name ending in .toml or .json is expected"),
        ("e", "", "has no extension; a name ending in .toml or .json is expected"),
    ];

    for (name, text, expected) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let inputs = Inputs { file: Some(path.clone()), ..Inputs::default() };

        let found = load(&inputs, PLUGINS).unwrap_err().to_string();

        let found = found.strip_prefix(&format!("{}: ", path.display())).unwrap();
        assert!(found.starts_with(expected.split(';').next().unwrap()), "{found}");
        assert!(found.ends_with(expected.rsplit(';').next().unwrap()), "{found}");
        assert!(!found.contains("hunter2"), "{found}");
    }
}

#[test]
fn nothing_given_is_told_with_a_way_out() {
    let found = load(&Inputs::default(), PLUGINS).unwrap_err().to_string();

    assert_eq!(
        found,
        "configuration (no --config FILE given): listeners: none given; at least one is needed\n\
         configuration (no --config FILE given): coins: none given; at least one is needed"
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let file = "[[listeners]]\nlisten = \"here\"\n[coins.btc]\ndialect = \"bbc\"";
    let environment = [("SWITCHER_TIMING__DIAL", "soon")];
    let flags = ["limits.fautls=3", "nonsense", "worse"];

    let found = read_layers(file, &environment, &flags).unwrap_err();

    let origins: Vec<_> =
        found.iter().map(|one| format!("{}: {}", short(&one.origin), one.key)).collect();
    assert_eq!(
        origins,
        [
            "--set: ",
            "--set: ",
            "switcher.toml: coins.btc.dialect",
            "switcher.toml: listeners[0].listen",
            "--set limits.fautls: limits.fautls",
            "SWITCHER_TIMING__DIAL: timing.dial",
            "switcher.toml: coins.btc.pools",
        ]
    );
}

#[test]
fn two_coins_need_a_source() {
    let found = mistakes(&format!("{MINIMAL}[[coins.bch.pools]]\nurl = \"a:1\""));

    assert_eq!(
        found,
        ["switcher.toml: sources: nothing says who mines which coin; write [sources.file] with \
          path = \"coins.toml\", or [sources.static] with coin = \"btc\""]
    );
}

#[test]
fn coin_of_a_family_no_listener_speaks_is_refused() {
    let found = mistakes(
        "[[listeners]]\nlisten = \"[::]:1\"\ndialects = [\"btc\"]\n\
         [[coins.far.pools]]\nurl = \"a:1\"",
    );

    assert_eq!(
        found,
        [
            "switcher.toml: coins.far.dialect: no listener speaks the family \"outer\" of this coin; \
          add \"far\" to the dialects of a listener"
        ]
    );
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let text = format!("shards = 1\n{MINIMAL}[timing]\ndial = 1\nsilence = 10\nlogin = 20");
    let environment = [
        ("SWITCHER_TIMING__DIAL", "2s"),
        ("SWITCHER_TIMING__SILENCE", "11"),
        ("SWITCHER_SHARDS", "2"),
        ("SWITCHER_CONFIG", "other.toml"),
        ("SWITCHER_SERVICE_HOST", "10.0.0.1"),
        ("SWITCHER_PORT_3333_TCP", "tcp://10.0.0.1"),
        ("OTHER_SHARDS", "9"),
    ];
    let flags = ["timing.dial=3s", "admin.enabled=false"];

    let settings = read_layers(&text, &environment, &flags).unwrap().settings;

    assert_eq!(settings.timing.dial, Duration::from_secs(3));
    assert_eq!(settings.timing.silence, Duration::from_secs(11));
    assert_eq!(settings.timing.login, Duration::from_secs(20));
    assert_eq!(settings.timing.handshake, Duration::from_secs(15));
    assert_eq!((settings.shards, settings.admin), (2, None));
}

#[test]
fn variables_and_flags_reach_into_lists_and_texts_stay_texts() {
    let environment = [
        ("SWITCHER_COINS__BTC__POOLS__0__PASSWORD", "0123"),
        ("SWITCHER_COINS__BTC__POOLS__0__OPTIONS__LEVEL", "2"),
        ("SWITCHER_COINS__BTC__POOLS__1__URL", "second.example:1"),
        ("SWITCHER_LISTENERS__0__DIALECTS", "[\"bch\", \"btc\"]"),
    ];
    let flags = ["listeners[0].listen=[::1]:4444"];

    let settings = read_layers(MINIMAL, &environment, &flags).unwrap().settings;

    let listener = settings.listeners.first().unwrap();
    assert_eq!(listener.address, "[::1]:4444".parse().unwrap());
    assert_eq!(listener.dialects, ["bch", "btc"]);
    let pools = &settings.coins.get("btc").unwrap().pools;
    assert_eq!(pools.first().unwrap().password.as_deref(), Some("0123"));
    assert_eq!(pools.first().unwrap().options, serde_json::json!({"level": 2}));
    assert_eq!(pools.get(1).unwrap().host, "second.example");
}

#[test]
fn gap_in_a_numbered_list_is_refused() {
    let flags = ["coins.btc.pools[2].url=a:1"];

    let found = read_layers(MINIMAL, &[], &flags).unwrap_err().to_string();

    assert_eq!(
        found,
        "--set coins.btc.pools[2].url: coins.btc.pools[2]: there is no entry 1; \
         number the entries 0, 1, 2, …"
    );
}

#[test]
fn json_file_reads_like_toml() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("switcher.json");
    let text = r#"{"listeners": [{"listen": "0.0.0.0:3333"}],
        "coins": {"btc": {"pools": [{"url": "stratum+tcp://btc.pool.example:3333"}]}}}"#;
    std::fs::write(&path, text).unwrap();

    let config = load(&Inputs { file: Some(path), ..Inputs::default() }, PLUGINS).unwrap();

    assert_eq!(config.settings, read(MINIMAL).unwrap().settings);
}

#[test]
fn path_in_a_file_starts_at_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("switcher.toml");
    std::fs::write(&file, format!("{MINIMAL}[sources.file]\npath = \"coins.toml\"")).unwrap();
    let inputs = Inputs { file: Some(file), ..Inputs::default() };
    let path = |config: Config| config.sources.file.unwrap().path;

    let by_file = path(load(&inputs, PLUGINS).unwrap());
    let flags = vec!["sources.file.path=other.toml".into()];
    let by_flag = path(load(&Inputs { flags, ..inputs }, PLUGINS).unwrap());

    assert_eq!(by_file, folder.path().join("coins.toml"));
    assert_eq!(by_flag, PathBuf::from("other.toml"));
}

#[test]
fn secrets_are_used_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let text = format!(
        "{MINIMAL}password = \"hunter2\"\nuser_file = {secret:?}\n[log]\nnames_key = \"hunter2\""
    );

    let config = read(&text).unwrap();

    let pool = config.settings.coins.get("btc").unwrap().pools.first().unwrap();
    assert_eq!(
        (pool.user.as_deref(), pool.password.as_deref()),
        (Some("hunter2"), Some("hunter2"))
    );
    assert!(!config.effective.contains("hunter2"), "{}", config.effective);
    assert!(config.effective.contains("password = \"***\""), "{}", config.effective);
}

#[test]
fn secrets_a_dialect_quotes_are_hidden() {
    for (secret, problem) in [("hunter2", "hunter2 is \"***\" to me"), ("x", "x is \"***\" to me")]
    {
        let secret_of_file =
            format!("{MINIMAL}password = \"{secret}\"\noptions = {{ refuse = true }}");

        let found = mistakes(&secret_of_file);

        let problem =
            if secret == "hunter2" { problem.replace("hunter2 ", "*** ") } else { problem.into() };
        assert_eq!(
            found,
            [format!("switcher.toml: coins.btc.pools[0].password: {problem}; another")]
        );
    }
}

#[test]
fn given_twice_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();

    let found = mistakes(&format!("{MINIMAL}password = \"a\"\npassword_file = {secret:?}"));

    assert_eq!(
        found,
        ["switcher.toml: coins.btc.pools[0].password_file: password is given as well; \
          give one of the two"]
    );
}

#[test]
fn values_in_force_are_a_configuration_themselves() {
    let text =
        format!("{}[sources.static]\n", document::DEFAULT_FILE.replace("[sources.static]", ""));
    let config = read(&text).unwrap();

    let again = read(&config.effective).unwrap();

    assert_eq!(again.settings, config.settings);
    assert!(config.effective.contains("listen = \"0.0.0.0:3333\"  # "), "{}", config.effective);
    assert!(config.effective.contains("\nlogin = \"1m\"\n"), "{}", config.effective);
}

#[test]
fn strangers_at_the_admin_listener_are_remarked() {
    let config = read(&format!("{MINIMAL}[admin]\nlisten = \"0.0.0.0:9332\"")).unwrap();

    assert_eq!(
        config.remarks,
        ["admin.listen: 0.0.0.0:9332 can be reached by others, without a password"]
    );
}

fn is_default(line: &str) -> bool {
    line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
}

fn read(text: &str) -> Result<Config, super::Mistakes> {
    read_layers(text, &[], &[])
}

fn read_layers(
    text: &str,
    environment: &[(&str, &str)],
    flags: &[&str],
) -> Result<Config, super::Mistakes> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("switcher.toml");
    std::fs::write(&file, text).unwrap();
    let environment =
        environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    load(&Inputs { file: Some(file), environment, flags, ..Inputs::default() }, PLUGINS)
}

/// The mistakes in a file, with its path cut down to its name.
fn mistakes(text: &str) -> Vec<String> {
    let found = read(text).unwrap_err();
    found.iter().map(|mistake| short(&mistake.to_string())).collect()
}

fn short(text: &str) -> String {
    text.find("switcher.toml").map_or(text, |at| &text[at..]).to_owned()
}

const PLUGINS: &[Plugin] = &[
    Plugin { name: "btc", about: "", make: dialect(|| Arc::new(Fake("btc", "bitcoin"))) },
    Plugin { name: "bch", about: "", make: dialect(|| Arc::new(Fake("bch", "bitcoin"))) },
    Plugin { name: "far", about: "", make: dialect(|| Arc::new(Fake("far", "outer"))) },
    Plugin { name: "file", about: "", make: Make::Source { make: no_source, check: |_| None } },
];

fn no_source(sources: &super::Sources) -> Option<Made> {
    let path = &sources.file.as_ref()?.path;
    let odd = path.extension().is_none();
    odd.then(|| Err("path: has no extension; .toml or .json is accepted".into()))
}

const fn dialect(dialect: fn() -> Arc<dyn StratumDialect>) -> Make {
    Make::Dialect { algorithm: "sha256d", dialect }
}

/// A dialect that only checks settings: those of these tests must not change with the real ones.
mod fake {
    use std::ops::RangeInclusive;

    use switcher_plugin::{
        DialectSession, Profile, ProfileError, Recognition, ResumeError, Saved, Seat,
        StratumDialect, UpstreamSettings,
    };

    #[derive(Debug)]
    pub(super) struct Fake(pub(super) &'static str, pub(super) &'static str);

    impl StratumDialect for Fake {
        fn name(&self) -> &str {
            self.0
        }

        fn family(&self) -> &str {
            self.1
        }

        fn recognise(&self, _: &[u8]) -> Recognition {
            Recognition::NotMine
        }

        fn profile(&self, upstream: &UpstreamSettings<'_>) -> Result<Profile, ProfileError> {
            let error = |key: &str, problem: String, accepted: &str| {
                Err(ProfileError { key: key.into(), problem, accepted: accepted.into() })
            };
            if upstream.options.get("odd").is_some() {
                return error("odd", "is odd".into(), "even ones are accepted");
            }
            if upstream.options.get("refuse").is_some() {
                let password = upstream.password.unwrap_or_default();
                return error("password", format!("{password} is {password:?} to me"), "another");
            }
            Ok(Profile([].into()))
        }

        fn check_listener(&self, _: &serde_json::Value) -> Result<(), ProfileError> {
            Ok(())
        }

        fn state_versions(&self) -> RangeInclusive<u16> {
            1..=1
        }

        fn open(&self, _: Seat<'_>) -> Box<dyn DialectSession> {
            unreachable!("nobody connects")
        }

        fn resume(&self, _: Seat<'_>, _: &Saved) -> Result<Box<dyn DialectSession>, ResumeError> {
            unreachable!("nothing was saved")
        }
    }
}
