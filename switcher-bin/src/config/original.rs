//! The configuration of BTC.com's Go `stratumSwitcher`: recognised by its keys, turned into ours.
//!
//! What comes out is plain JSON with our keys, so that everything behind it is the same as for a
//! file of ours, and `migrate-config` can print it. Keys are compared without regard to case and
//! unknown ones are disregarded, as the original's reader does. Starts nothing, asks nobody but the
//! resolver for a listening address given by name.

use std::fmt::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;

use serde_json::{Value, json};

use super::form::quoted;
use super::layers::{Json, parse_json};
use super::mistake::{Mistake, Mistakes};

/// Pacing for the pools of a file of the original, which paced nothing: they are the operator's own.
const DIALS_PER_SECOND: u32 = 2000;
const IN_FLIGHT: u32 = 1024;

/// Keys of which one is enough to know the file by.
const MARKS: &[&str] = &["StratumServerMap", "ZKBroker", "ZKSwitcherWatchDir", "ChainType"];

/// What the original calls a chain, and what it is here.
struct Chain {
    /// The value of `ChainType`.
    name: &'static str,
    dialect: &'static str,
    /// Decred's miners are told their extranonce in one of two forms.
    form: Option<&'static str>,
}

const BITCOIN: Chain = Chain { name: "bitcoin", dialect: "btc", form: None };

const CHAINS: &[Chain] = &[
    BITCOIN,
    Chain { name: "ethereum", dialect: "eth", form: None },
    Chain { name: "decred-normal", dialect: "dcr", form: Some("normal") },
    Chain { name: "decred-gominer", dialect: "dcr", form: Some("gominer") },
];

/// All keys the original knows.
const KEYS: &[&str] = &[
    "ServerID",
    "ChainType",
    "ListenAddr",
    "StratumServerMap",
    "ZKBroker",
    "ZKServerIDAssignDir",
    "ZKSwitcherWatchDir",
    "EnableUserAutoReg",
    "ZKAutoRegWatchDir",
    "AutoRegMaxWaitUsers",
    "StratumServerCaseInsensitive",
    "ZKUserCaseInsensitiveIndex",
    "EnableHTTPDebug",
    "HTTPDebugListenAddr",
];

/// A file of the original in our keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Translated {
    /// Our keys.
    pub table: Json,
    /// What the operator should know about it.
    pub notes: Vec<String>,
}

/// Whether a file is the original's.
pub(super) fn is_one(json: &Json) -> bool {
    json.keys().any(|key| MARKS.iter().any(|mark| mark.eq_ignore_ascii_case(key)))
}

/// Whether a text is a file of the original's.
pub(crate) fn is_file(text: &str) -> bool {
    parse_json(text).is_ok_and(|json| is_one(&json))
}

/// Turns a file of the original into ours, as TOML with notes.
///
/// # Errors
///
/// It cannot be read, is none of the original's, or something in it is wrong.
pub fn migrate(path: &Path) -> Result<String, Mistakes> {
    let origin = path.display().to_string();
    let mistake = |problem: String, accepted: &str| Mistakes::of_file(&origin, problem, accepted);
    let text = std::fs::read_to_string(path)
        .map_err(|error| mistake(format!("cannot be read: {error}"), "name a readable file"))?;
    let json = parse_json(&text).map_err(|problem| mistake(problem, "JSON is expected"))?;
    if !is_one(&json) {
        let problem = "has none of the keys of the Go stratumSwitcher".to_owned();
        return Err(mistake(problem, &format!("one of {} is expected", MARKS.join(", "))));
    }
    let Translated { table, notes } = translate(&json, &origin)?;
    let mut file = String::from("# Made by `stratum-switcher migrate-config`.\n");
    for note in notes {
        // Writing to a String cannot fail.
        let _ = writeln!(file, "# {note}");
    }
    let body = toml::Table::try_from(table)
        .map_err(|error| error.to_string())
        .and_then(|table| toml::to_string(&table).map_err(|error| error.to_string()))
        .map_err(|problem| mistake(problem, ""))?;
    Ok(file + "\n" + &body)
}

/// Turns the keys of the original into ours.
///
/// # Errors
///
/// Everything that is wrong with it.
pub(super) fn translate(json: &Json, origin: &str) -> Result<Translated, Mistakes> {
    let mut file = File { json, origin, mistakes: Mistakes::default(), notes: Vec::new() };
    file.tell_unknown();
    let chain = file.chain();
    let listen = file.text("ListenAddr");
    let listen = file.address("ListenAddr", &listen).map(|address| address.to_string());
    let coins = file.coins(chain.dialect);
    let server_id = file.number("ServerID", 255);
    let zookeeper = file.zookeeper(server_id, chain.name);
    let admin = file.admin();
    let File { mistakes, notes, .. } = file;
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let mut listener = Json::from_iter([("listen".into(), listen.unwrap_or_default().into())]);
    if let Some(form) = chain.form {
        listener.insert("options".into(), json!({ "form": form }));
    }
    let table = json!({
        "server_id": server_id,
        "listeners": [listener],
        "coins": coins,
        "sources": { "zookeeper": zookeeper },
        "admin": admin,
    });
    let table = table.as_object().cloned().unwrap_or_default();
    Ok(Translated { table, notes })
}

/// A file that is being read.
struct File<'a> {
    json: &'a Json,
    origin: &'a str,
    mistakes: Mistakes,
    notes: Vec<String>,
}

impl File<'_> {
    fn wrong(&mut self, key: &str, problem: impl Into<String>, accepted: &str) {
        self.mistakes.add(Mistake {
            origin: self.origin.to_owned(),
            key: key.to_owned(),
            problem: problem.into(),
            accepted: accepted.to_owned(),
        });
    }

    fn tell_unknown(&mut self) {
        for key in self.json.keys() {
            if !KEYS.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                self.notes.push(format!("{key}: the original knows no such key; disregarded"));
            }
        }
    }

    /// The value of a key; null is as good as none.
    fn value(&self, key: &str) -> Option<Value> {
        let mut pairs = self.json.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key));
        pairs.next_back().map(|(_, value)| value.clone()).filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &str) -> String {
        match self.value(key) {
            None => String::new(),
            Some(Value::String(text)) => text,
            Some(_) => {
                self.wrong(key, "is no text", "a text is accepted");
                String::new()
            }
        }
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.value(key) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(_) => {
                self.wrong(key, "is neither true nor false", "true and false are accepted");
                false
            }
        }
    }

    fn number(&mut self, key: &str, most: u64) -> u64 {
        let Some(value) = self.value(key) else { return 0 };
        let number = value.as_u64().filter(|number| *number <= most);
        if number.is_none() {
            let accepted = format!("a whole number from 0 to {most} is accepted");
            self.wrong(key, format!("{value} does not fit"), &accepted);
        }
        number.unwrap_or_default()
    }

    /// A directory that must be given.
    fn directory(&mut self, key: &str, why: &str) -> String {
        let path = self.text(key);
        if path.is_empty() {
            self.wrong(key, format!("is missing; {why}"), "a path such as \"/a/b/\" is accepted");
        }
        // The original wants a slash at the end, and adds it where it is missing.
        let kept = path.trim_end_matches('/');
        if kept.is_empty() { path } else { kept.to_owned() }
    }

    /// An address as Go writes them: `:3333` is port 3333 of every address.
    fn address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        let text = match text.strip_prefix(':') {
            Some(port) => format!("[::]:{port}"),
            None => text.to_owned(),
        };
        let resolved = || text.to_socket_addrs().ok()?.next();
        let address = text.parse().ok().or_else(resolved);
        if address.is_none() {
            let accepted = "an address with a port, such as \"0.0.0.0:18080\", is accepted";
            self.wrong(key, format!("{} does not fit", quoted(&text)), accepted);
        }
        address
    }

    /// The chain; a mistake leaves the first, so that the rest is looked at as well.
    fn chain(&mut self) -> &'static Chain {
        let given = self.text("ChainType");
        if let Some(chain) = CHAINS.iter().find(|chain| chain.name.eq_ignore_ascii_case(&given)) {
            return chain;
        }
        let names: Vec<_> = CHAINS.iter().map(|chain| quoted(chain.name)).collect();
        let problem = format!("there is no chain type {}", quoted(&given));
        self.wrong("ChainType", problem, &format!("{} are accepted", names.join(", ")));
        &BITCOIN
    }

    /// One coin with one pool for each server. Whether a server is an sserver in switcher mode is
    /// left to be found out: the original knew no others, and none but those shall learn who the
    /// miners are.
    fn coins(&mut self, dialect: &str) -> Json {
        let mut coins = Json::new();
        let servers = match self.value("StratumServerMap") {
            Some(Value::Object(servers)) if !servers.is_empty() => servers,
            _ => {
                let accepted = "{ \"btc\": { \"URL\": \"host:port\" } } is accepted";
                self.wrong("StratumServerMap", "names no server", accepted);
                return coins;
            }
        };
        for (coin, server) in &servers {
            let key = format!("StratumServerMap.{coin}");
            let member = |name: &str| {
                let mut members = server.as_object()?.iter();
                let (_, value) = members.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
                value.as_str()
            };
            let Some(url) = member("URL").filter(|url| !url.is_empty()) else {
                self.wrong(&format!("{key}.URL"), "is missing", "\"host:port\" is accepted");
                continue;
            };
            // Without a host Go dials this machine.
            let url = match url.strip_prefix(':') {
                Some(port) => format!("127.0.0.1:{port}"),
                None => url.to_owned(),
            };
            let mut options = Json::from_iter([("extranonce".into(), "detect".into())]);
            if let Some(suffix) = member("UserSuffix").filter(|suffix| !suffix.is_empty()) {
                options.insert("user_suffix".into(), suffix.into());
            }
            let pool = json!({
                "name": coin,
                "url": url,
                "options": options,
                "pacing": { "dials_per_second": DIALS_PER_SECOND, "in_flight": IN_FLIGHT },
            });
            // All coins of a chain type speak alike, whatever they are called.
            coins.insert(coin.clone(), json!({ "dialect": dialect, "pools": [pool] }));
        }
        coins
    }

    fn zookeeper(&mut self, server_id: u64, chain_type: &str) -> Json {
        let servers = match self.value("ZKBroker") {
            Some(Value::Array(servers)) if !servers.is_empty() => Value::Array(servers),
            _ => {
                self.wrong("ZKBroker", "names no server", "[\"127.0.0.1:2181\"] is accepted");
                Value::Null
            }
        };
        let watch_dir = self.directory("ZKSwitcherWatchDir", "nothing else says who mines what");
        let mut table = Json::new();
        table.insert("servers".into(), servers);
        table.insert("watch_dir".into(), watch_dir.into());
        if server_id == 0 {
            let dir = self.directory("ZKServerIDAssignDir", "ServerID is 0");
            let number = json!({ "dir": dir, "chain_type": chain_type });
            table.insert("server_id".into(), number);
        }
        let max_waiting = self.number("AutoRegMaxWaitUsers", 1_000_000);
        if self.flag("EnableUserAutoReg") {
            let dir = self.directory("ZKAutoRegWatchDir", "EnableUserAutoReg is true");
            let registration = json!({ "dir": dir, "max_waiting": max_waiting });
            table.insert("registration".into(), registration);
        }
        let index = self.text("ZKUserCaseInsensitiveIndex");
        if self.flag("StratumServerCaseInsensitive") {
            table.insert("case_insensitive".into(), true.into());
        } else if !index.is_empty() {
            let dir = self.directory("ZKUserCaseInsensitiveIndex", "");
            table.insert("index_dir".into(), dir.into());
        }
        table
    }

    /// What the original offers for debugging is an HTTP listener, and so is ours. Without it there
    /// is none: several switchers on one machine would want the same port.
    fn admin(&mut self) -> Value {
        let listen = self.text("HTTPDebugListenAddr");
        if !self.flag("EnableHTTPDebug") {
            self.notes.push(
                "EnableHTTPDebug is not true, so there is no admin listener; to have one: \
                 --set admin.enabled=true --set admin.listen=127.0.0.1:9332"
                    .into(),
            );
            return json!({ "enabled": false });
        }
        let listen = self.address("HTTPDebugListenAddr", &listen);
        let listen = listen.map(|address| address.to_string()).unwrap_or_default();
        json!({ "enabled": true, "listen": listen })
    }
}
