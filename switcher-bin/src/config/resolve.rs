//! From values that have their form to settings: defaults that are worked out, contradictions, and
//! what the dialects say.
//!
//! Reading stops at no mistake. A value that is wrong is replaced by something harmless, and what
//! only follows from it is not told (see `Mistakes::add`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use switcher_core::Settings;
use switcher_core::settings::{
    CoinSettings, FleetNumber, Limits, ListenerSettings, Pacing, PoolSettings, Timing,
};
use switcher_plugin::{Coin, ProfileError, Rung, Rungs, StratumDialect, UpstreamSettings};
use tracing::Level;

use super::form::{Checked, quoted, sounds_secret};
use super::keys::Section;
use super::section::{Open, Place, Reader};
use super::{
    Config, FileSource, LogSettings, Secret, Sources, UpgradeSettings, ZookeeperNumber,
    ZookeeperRegistration, ZookeeperSource, keys,
};
use crate::loaded::{Loaded, find};
use crate::plugins::{Make, Plugin};

/// Dialects by name, with their algorithm.
type Dialects = BTreeMap<String, (Arc<dyn StratumDialect>, String)>;

/// How fast miners are brought to a pool that is configured as sserver.
const OWN_PACING: Pacing = Pacing { dials_per_second: 2000, in_flight: 1024 };

/// Makes settings of everything the reader holds.
pub(super) fn config(reader: &mut Reader, plugins: &[Plugin]) -> Config {
    let mut dialects: Dialects = plugins
        .iter()
        .filter_map(|plugin| match plugin.make {
            Make::Dialect { algorithm, dialect } => {
                Some((plugin.name.to_owned(), (dialect(), algorithm.to_owned())))
            }
            Make::Source { .. } => None,
        })
        .collect();
    // The table's order is the order of preference on a listener.
    let mut order: Vec<_> = plugins.iter().map(|plugin| plugin.name.to_owned()).collect();

    let mut root = reader.section(&keys::ROOT, Place::default());
    let mut settings = Settings {
        shards: root.whole("shards"),
        probe: root.flag("probe"),
        algorithm_pairs: root.pairs("algorithm_pairs"),
        ..Settings::default()
    };
    if let Some(number) = root.whole_if_given("server_id").filter(|number| *number > 0) {
        settings.number = FleetNumber::Fixed(number);
    }
    let loaded = load_plugins(reader, plugins);
    for dialect in loaded.dialects() {
        let (name, algorithm) = (dialect.name().to_owned(), dialect.algorithm().to_owned());
        if !order.contains(&name) {
            order.push(name.clone());
        }
        dialects.insert(name, (Arc::clone(dialect) as Arc<dyn StratumDialect>, algorithm));
    }
    let places = reader.map(&Place::of(&["coins"]));
    settings.coins = places
        .iter()
        .map(|place| (Coin::from(place.name()), coin(reader, place, &dialects)))
        .collect();
    settings.listeners = listeners(reader, &settings.coins, &dialects, &order);
    let is_foreign = |name: &String| loaded.dialect(name).is_some();
    let apart = settings.listeners.iter().filter(|it| it.dialects.iter().any(is_foreign));
    settings.own_shards = apart.map(|listener| listener.name.clone()).collect();
    let sources = sources(reader, &settings, plugins, &loaded);
    settings.number = fleet_number(reader, settings.number, &sources);
    settings.limits = limits(reader);
    settings.timing = timing(reader);
    settings.admin = admin(reader);
    let log = log(reader);
    let upgrade = upgrade(reader, &mut settings.timing);
    check(reader, &settings, &dialects);
    let remarks = remarks(&settings);
    let (text, effective) = (None, String::new());
    Config { settings, sources, loaded, log, upgrade, text, effective, remarks }
}

/// Loads the plug-ins that are wanted.
fn load_plugins(reader: &mut Reader, plugins: &[Plugin]) -> Loaded {
    let folder = Place::of(&["plugins"]);
    let mut open = reader.section(&keys::PLUGINS, folder.clone());
    let directories = open.names("directories").unwrap_or_default();
    let built_in: Vec<_> = plugins.iter().map(|plugin| plugin.name).collect();
    let mut loaded = Loaded::default();
    for place in reader.list(&folder.at("load")) {
        let mut open = reader.section(&keys::PLUGIN, place.clone());
        let (name, path) = (open.text("name"), open.path("path"));
        let (sha256, may_replace) = (open.text("sha256"), open.flag("override"));
        let is_sum = |sum: &String| sum.len() == 64 && sum.chars().all(|c| c.is_ascii_hexdigit());
        if sha256.as_ref().is_some_and(|sum| !is_sum(sum)) {
            open.wrong("sha256", "is no checksum", "64 hexadecimal digits, as sha256sum prints");
            continue;
        }
        let (key, path) = match (name, path) {
            (Some(_), Some(_)) => {
                open.wrong("path", "name is given as well", "give one of the two");
                continue;
            }
            // As it stands in the default file.
            (None, None) => continue,
            (Some(name), None) => match find(&directories, &name) {
                Ok(path) => ("name", path),
                Err(problem) => {
                    let accepted = "name a plug-in that is there, or its path";
                    open.wrong("name", problem, accepted);
                    continue;
                }
            },
            (None, Some(path)) => ("path", path),
        };
        if let Err(problem) = loaded.load(&path, sha256.as_deref(), may_replace, &built_in) {
            let accepted = "see docs/plugins.md for what is loaded";
            open.wrong(key, format!("{}: {problem}", path.display()), accepted);
        }
    }
    loaded
}

fn coin(reader: &mut Reader, place: &Place, dialects: &Dialects) -> CoinSettings {
    let fits = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    if !fits(place.name()) {
        let accepted = "a coin's name is a letter, then letters, digits, - and _";
        reader.wrong(place, "is no name for a coin", accepted);
    }
    let mut open = reader.section(&keys::COIN, place.clone());
    let dialect = open.text("dialect").unwrap_or_else(|| place.name().to_owned());
    open.derived("dialect", &Checked::Text(dialect.clone()));
    let known = dialects.get(dialect.as_str());
    if known.is_none() {
        let problem = format!("there is no dialect {}", quoted(&dialect));
        open.wrong("dialect", problem, &built_in(dialects));
    }
    let algorithm = open.text("algorithm");
    let algorithm =
        algorithm.or_else(|| known.map(|(_, algorithm)| algorithm.clone())).unwrap_or_default();
    open.derived("algorithm", &Checked::Text(algorithm.clone()));
    let rungs = rungs(&mut open);
    let name = Coin::from(place.name());
    let places = reader.list(&place.at("pools"));
    let pools = places
        .iter()
        .map(|place| {
            let pool = pool(reader, place, &name);
            // What is wrong already would be told twice.
            if let Some((dialect, _)) = known
                && !reader.mistakes.touch(&place.to_string())
                && let Err(error) = dialect.profile(&UpstreamSettings {
                    name: &pool.name,
                    coin: &name,
                    user: pool.user.as_deref(),
                    password: pool.password.as_deref(),
                    options: &pool.options,
                })
            {
                let hidden = hidden_user(reader, place, &pool).into_iter();
                let hidden = hidden.chain(pool.password.as_deref());
                let hidden: Vec<_> = hidden.chain(secret_options(&pool.options)).collect();
                refuse(reader, &keys::POOL, place, &error, &hidden);
            }
            pool
        })
        .collect();
    CoinSettings { dialect, algorithm, pools, rungs }
}

/// The rungs that are allowed, each by its name.
fn rungs(open: &mut Open<'_>) -> Rungs {
    let mut rungs = Rungs::NONE;
    for name in open.names("rungs").unwrap_or_default() {
        if let Some(rung) = Rung::ALL.into_iter().find(|rung| rung.label() == name) {
            rungs = rungs.with(rung);
        } else {
            let labels = Rung::ALL.map(Rung::label).join(", ");
            let problem = format!("there is no rung {}", quoted(&name));
            open.wrong("rungs", problem, &format!("rungs are {labels}"));
        }
    }
    rungs
}

fn pool(reader: &mut Reader, place: &Place, coin: &Coin) -> PoolSettings {
    let mut open = reader.section(&keys::POOL, place.clone());
    let url = open.url("url");
    let name = open.text("name").unwrap_or_else(|| match &url {
        Some((host, port)) => format!("{host}:{port}"),
        None => format!("{coin} {}", place.name()),
    });
    open.derived("name", &Checked::Text(name.clone()));
    let (host, port) = url.unwrap_or_default();
    let mut secret = |key, file| {
        let (value, content) = (open.text(key), open.content(file));
        if value.is_some() && content.is_some() {
            open.wrong(file, format!("{key} is given as well"), "give one of the two");
        }
        value.or(content)
    };
    let user = secret("user", "user_file");
    let password = secret("password", "password_file");
    let options = open.options("options");
    let mut open = reader.section(&keys::PACING, place.at("pacing"));
    // An sserver is the operator's own; a stranger's pool might take a rush for an attack.
    let usual = if sserver_is(&options, &["echo"]) { OWN_PACING } else { Pacing::default() };
    let mut limit = |name, usual: u32| {
        let given = open.whole_if_given(name);
        open.derived(name, &Checked::Whole(usual.into()));
        given.unwrap_or(usual)
    };
    let pacing = Pacing {
        dials_per_second: limit("dials_per_second", usual.dials_per_second),
        in_flight: limit("in_flight", usual.in_flight),
    };
    PoolSettings { name, host, port, user, password, options, pacing }
}

/// Whether a pool's options say one of these words about its being sserver.
fn sserver_is(options: &serde_json::Value, words: &[&str]) -> bool {
    let word = options.get("extranonce").and_then(serde_json::Value::as_str);
    word.is_some_and(|word| words.contains(&word))
}

/// The user name, if it came from a file and is therefore a secret.
fn hidden_user<'a>(reader: &Reader, place: &Place, pool: &'a PoolSettings) -> Option<&'a str> {
    pool.user.as_deref().filter(|_| reader.has(&place.at("user_file")))
}

/// Notes what a dialect does not accept, without the secrets it may quote. A key that is none of
/// the program's own is one of the dialect's options.
fn refuse(
    reader: &mut Reader,
    spec: &Section,
    place: &Place,
    error: &ProfileError,
    secrets: &[&str],
) {
    let hide = |text: &str| {
        secrets.iter().fold(text.to_owned(), |text, secret| match secret.len() {
            0 => text,
            // A short one, such as x, stands in every word; it is hidden where it is quoted.
            1..4 => text.replace(&quoted(secret), "\"***\""),
            _ => text.replace(secret, "***"),
        })
    };
    let mut names = error.key.split('.').peekable();
    let own = names.peek().is_none_or(|name| spec.key(name).is_some());
    let base = if own { place.clone() } else { place.at("options") };
    let place = names.fold(base, |place, name| place.at(name));
    reader.wrong(&place, hide(&error.problem), &hide(&error.accepted));
}

/// Texts among the options whose names sound like secrets.
fn secret_options(options: &serde_json::Value) -> impl Iterator<Item = &str> {
    let all = options.as_object().into_iter().flatten();
    all.filter(|(name, _)| sounds_secret(name)).filter_map(|(_, value)| value.as_str())
}

fn listeners(
    reader: &mut Reader,
    coins: &BTreeMap<Coin, CoinSettings>,
    dialects: &Dialects,
    order: &[String],
) -> Vec<ListenerSettings> {
    let known = order.iter().filter(|&name| dialects.contains_key(name));
    let used = |name: &&String| coins.values().any(|coin| coin.dialect == **name);
    let mut all: Vec<String> = known.clone().filter(used).cloned().collect();
    if all.is_empty() {
        // No coin names a dialect that exists, which is told already.
        all = known.cloned().collect();
    }
    let places = reader.list(&Place::of(&["listeners"]));
    let mut listeners = Vec::new();
    for place in places {
        let mut open = reader.section(&keys::LISTENER, place.clone());
        let address = open.address("listen");
        let name = open.text("name").unwrap_or_else(|| match address {
            Some(address) => address.to_string(),
            None => format!("listener {}", place.name()),
        });
        open.derived("name", &Checked::Text(name.clone()));
        let spoken = open.names("dialects").unwrap_or_else(|| all.clone());
        open.derived("dialects", &Checked::Names(spoken.clone()));
        let options = open.options("options");
        let rungs = rungs(&mut open);
        for name in &spoken {
            let Some((dialect, _)) = dialects.get(name.as_str()) else {
                let problem = format!("there is no dialect {}", quoted(name));
                reader.wrong(&place.at("dialects"), problem, &built_in(dialects));
                continue;
            };
            if let Err(error) = dialect.check_listener(&options) {
                let hidden: Vec<_> = secret_options(&options).collect();
                refuse(reader, &keys::LISTENER, &place, &error, &hidden);
            }
        }
        let address = address.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        listeners.push(ListenerSettings { name, address, dialects: spoken, options, rungs });
    }
    listeners
}

/// Notes that a source was left out of the program, if it was.
fn require_source(reader: &mut Reader, place: &Place, plugins: &[Plugin]) {
    if !plugins.iter().any(|plugin| plugin.name == place.name()) {
        let accepted = "see `stratum-switcher plugins` for those it has";
        reader.wrong(place, "the program was built without this source", accepted);
    }
}

/// A number that is given must not be taken as well.
fn fleet_number(reader: &mut Reader, given: FleetNumber, sources: &Sources) -> FleetNumber {
    if sources.zookeeper.as_ref().is_none_or(|source| source.server_id.is_none()) {
        return given;
    }
    if given != FleetNumber::None {
        let problem = "is given, and sources.zookeeper.server_id takes a number as well";
        reader.wrong(&Place::of(&["server_id"]), problem, "give one of the two");
    }
    FleetNumber::FromSource
}

fn zookeeper(reader: &mut Reader, place: &Place, settings: &Settings) -> Option<ZookeeperSource> {
    let mut open = reader.section(&keys::SOURCE_ZOOKEEPER, place.clone());
    let servers = open.names("servers");
    let watch_dir = open.text("watch_dir");
    if servers.is_none() && watch_dir.is_some() {
        open.wrong("servers", "is missing", "write servers = [\"zk1.example:2181\"]");
    }
    let mut source = ZookeeperSource {
        servers: servers?,
        chroot: open.text("chroot"),
        watch_dir: watch_dir.unwrap_or_default(),
        index_dir: open.text("index_dir"),
        case_insensitive: open.flag("case_insensitive"),
        credentials: open.text("credentials").map(Secret),
        credentials_file: open.path("credentials_file"),
        acl: open.text("acl").unwrap_or_default(),
        session_timeout: open.time("session_timeout"),
        audit: open.time("audit"),
        reads_at_once: open.whole("reads_at_once"),
        remembered: open.whole("remembered"),
        number: match settings.number {
            FleetNumber::Fixed(number) => number,
            FleetNumber::None | FleetNumber::FromSource => 0,
        },
        server_id: None,
        registration: None,
    };
    let below = place.at("server_id");
    if reader.has(&below) {
        let mut open = reader.section(&keys::ZOOKEEPER_SERVER_ID, below);
        let (dir, preferred) = (open.text("dir"), open.whole("preferred"));
        let chain_type = open.text("chain_type").unwrap_or_default();
        let coins = settings.coins.keys().map(|coin| coin.as_str().to_owned()).collect();
        let listen_addr = settings.listeners.first().map(|first| first.address.to_string());
        let listen_addr = listen_addr.unwrap_or_default();
        source.server_id =
            dir.map(|dir| ZookeeperNumber { dir, preferred, chain_type, coins, listen_addr });
    }
    let below = place.at("registration");
    if reader.has(&below) {
        let mut open = reader.section(&keys::ZOOKEEPER_REGISTRATION, below);
        let (dir, max_waiting) = (open.text("dir"), open.whole("max_waiting"));
        let timeout = open.time("timeout");
        source.registration = dir.map(|dir| ZookeeperRegistration { dir, max_waiting, timeout });
    }
    Some(source)
}

fn sources(
    reader: &mut Reader,
    settings: &Settings,
    plugins: &[Plugin],
    loaded: &Loaded,
) -> Sources {
    let coins = &settings.coins;
    let mut sources = Sources::default();
    let folder = Place::of(&["sources"]);
    let foreign: Vec<_> = loaded.sources().map(|source| source.name()).collect();
    reader.folder(&folder, &foreign);
    let place = folder.at("zookeeper");
    if reader.has(&place) {
        sources.zookeeper = zookeeper(reader, &place, settings);
        if sources.zookeeper.is_some() {
            require_source(reader, &place, plugins);
        }
    }
    let place = folder.at("file");
    if reader.has(&place) {
        require_source(reader, &place, plugins);
        let mut open = reader.section(&keys::SOURCE_FILE, place);
        sources.file = Some(FileSource {
            path: open.path("path").unwrap_or_default(),
            settle: open.time("settle"),
            poll: open.time("poll"),
            case_insensitive: open.flag("case_insensitive"),
        });
    }
    let place = folder.at("static");
    let mut open = reader.section(&keys::SOURCE_STATIC, place);
    sources.fixed = open.text("coin").map(Coin::new);
    if let Some(coin) = &sources.fixed
        && !coins.contains_key(coin)
    {
        let names: Vec<_> = coins.keys().map(Coin::as_str).collect();
        let accepted = format!("coins configured here: {}", names.join(", "));
        open.wrong("coin", format!("there is no coin {}", quoted(coin.as_str())), &accepted);
    }
    for plugin in plugins {
        let place = folder.at(plugin.name);
        if let Make::Source { make, .. } = plugin.make
            && !reader.mistakes.touch(&place.to_string())
            && let Some(Err(problem)) = make(&sources)
        {
            reader.wrong(&place, problem, "");
        }
    }
    for source in loaded.sources() {
        let place = folder.at(source.name());
        let Some(config) = reader.foreign(&place) else { continue };
        if let Err(error) = source.check(&config) {
            let names = error.key.split('.').filter(|name| !name.is_empty());
            let key = names.fold(place, |place, name| place.at(name));
            reader.wrong(&key, error.problem, &error.accepted);
        }
        sources.loaded.insert(source.name().to_owned(), config);
    }
    if sources == Sources::default() {
        match coins.keys().next() {
            Some(only) if coins.len() == 1 => {
                // `static` is the section opened last.
                reader.show("coin", &quoted(only.as_str()), "");
                sources.fixed = Some(only.clone());
            }
            // Without coins there is nothing to choose between, and that is told elsewhere.
            None => {}
            Some(_) => {
                let accepted = "write [sources.file] with path = \"coins.toml\", \
                                or [sources.static] with coin = \"btc\"";
                reader.wrong(&folder, "nothing says who mines which coin", accepted);
            }
        }
    }
    sources
}

fn limits(reader: &mut Reader) -> Limits {
    let mut open = reader.section(&keys::LIMITS, Place::of(&["limits"]));
    Limits {
        sessions: open.whole("sessions"),
        reserved_descriptors: open.whole("reserved_descriptors"),
        switch_descriptors: open.whole("switch_descriptors"),
        downstream_frame: open.whole("downstream_frame"),
        upstream_frame: open.whole("upstream_frame"),
        unsent: open.whole("unsent"),
        faults: open.whole("faults"),
    }
}

fn timing(reader: &mut Reader) -> Timing {
    let mut open = reader.section(&keys::TIMING, Place::of(&["timing"]));
    Timing {
        first_byte: open.time("first_byte"),
        login: open.time("login"),
        assignment: open.time("assignment"),
        dial: open.time("dial"),
        handshake: open.time("handshake"),
        silence: open.time("silence"),
        no_job: open.time("no_job"),
        unanswered: open.time("unanswered"),
        linger_min: open.time("linger_min"),
        linger_max: open.time("linger_max"),
        hold: open.time("hold"),
        retry_min: open.time("retry_min"),
        retry_max: open.time("retry_max"),
        drain: open.time("drain"),
        user_timeout: open.time("user_timeout"),
        resolve: open.time("resolve"),
        ..Timing::default()
    }
}

fn upgrade(reader: &mut Reader, timing: &mut Timing) -> UpgradeSettings {
    let mut open = reader.section(&keys::UPGRADE, Place::of(&["upgrade"]));
    timing.freeze = open.time("freeze");
    UpgradeSettings { preflight: open.time("preflight"), runtime_file: open.path("runtime_file") }
}

fn admin(reader: &mut Reader) -> Option<SocketAddr> {
    let mut open = reader.section(&keys::ADMIN, Place::of(&["admin"]));
    let enabled = open.flag("enabled");
    open.address("listen").filter(|_| enabled)
}

fn log(reader: &mut Reader) -> LogSettings {
    let mut open = reader.section(&keys::LOG, Place::of(&["log"]));
    LogSettings {
        json: open.text("format").is_some_and(|format| format == "json"),
        filter: open.text("filter").unwrap_or_default(),
        hash_names: open.text("names").is_some_and(|names| names == "hash"),
        names_key: open.text("names_key"),
        file: open.path("file"),
        stderr: match open.text("stderr").as_deref() {
            Some("error") => Some(Level::ERROR),
            Some("warn") => Some(Level::WARN),
            Some("all") => Some(Level::TRACE),
            _ => None,
        },
    }
}

/// Finds contradictions between values that are right by themselves.
fn check(reader: &mut Reader, settings: &Settings, dialects: &Dialects) {
    check_pools(reader, settings);
    for error in settings.check().err().unwrap_or_default() {
        let path = error.key.replace('[', ".").replace(']', "");
        let place = Place::of(&path.split('.').collect::<Vec<_>>());
        reader.wrong(&place, error.problem, &error.accepted);
    }
    check_addresses(reader, settings);
    check_families(reader, settings, dialects);
    for (at, (a, b)) in settings.algorithm_pairs.iter().enumerate() {
        let unused = |name: &&String| !settings.coins.values().any(|coin| coin.algorithm == **name);
        if let Some(name) = [a, b].into_iter().find(unused) {
            let mut known: Vec<_> =
                settings.coins.values().map(|coin| coin.algorithm.as_str()).collect();
            known.sort_unstable();
            known.dedup();
            let problem = format!("no coin has the algorithm {}", quoted(name));
            let accepted = format!("algorithms of the coins here: {}", known.join(", "));
            let place = Place::of(&["algorithm_pairs", &at.to_string()]);
            reader.wrong(&place, problem, &accepted);
        }
    }
}

fn check_addresses(reader: &mut Reader, settings: &Settings) {
    let listeners = settings.listeners.iter().enumerate().map(|(at, listener)| {
        (Place::of(&["listeners", &at.to_string(), "listen"]), listener.address)
    });
    let admin = settings.admin.map(|address| (Place::of(&["admin", "listen"]), address));
    let mut taken: BTreeMap<SocketAddr, Place> = BTreeMap::new();
    for (place, address) in listeners.chain(admin).filter(|(_, address)| address.port() != 0) {
        match taken.get(&address) {
            Some(other) => {
                let problem = format!("{address} is the address of {other} too");
                reader.wrong(&place, problem, "give each its own port");
            }
            None => {
                taken.insert(address, place);
            }
        }
    }
}

/// A coin whose family no listener speaks can never be mined.
fn check_families(reader: &mut Reader, settings: &Settings, dialects: &Dialects) {
    let family = |name: &str| dialects.get(name).map(|(dialect, _)| dialect.family().to_owned());
    let spoken: Vec<_> = settings
        .listeners
        .iter()
        .flat_map(|listener| listener.dialects.iter().filter_map(|name| family(name)))
        .collect();
    for (coin, coin_settings) in &settings.coins {
        if let Some(family) = family(&coin_settings.dialect)
            && !spoken.contains(&family)
            && !settings.listeners.is_empty()
        {
            let problem = format!("no listener speaks the family {} of this coin", quoted(&family));
            let accepted =
                format!("add {} to the dialects of a listener", quoted(&coin_settings.dialect));
            reader.wrong(&Place::of(&["coins", coin.as_str(), "dialect"]), problem, &accepted);
        }
    }
}

/// The same login at the same place cannot mine two coins, and twice for one coin is a slip.
fn check_pools(reader: &mut Reader, settings: &Settings) {
    let mut seen: BTreeMap<_, Place> = BTreeMap::new();
    for (coin, coin_settings) in &settings.coins {
        for (at, pool) in coin_settings.pools.iter().enumerate() {
            let place = Place::of(&["coins", coin.as_str(), "pools", &at.to_string()]);
            let login = (&pool.host, pool.port, &pool.user, &pool.password);
            // Two names for one coin are not unusual there, and the suffix is part of the login.
            let may_repeat = sserver_is(&pool.options, &["echo", "detect"]);
            if pool.host.is_empty() || may_repeat {
                continue;
            }
            if let Some(other) = seen.get(&login) {
                let problem = format!("is the same pool with the same login as {other}");
                reader.wrong(&place, problem, "give each pool once, for one coin");
            } else {
                seen.insert(login, place);
            }
        }
    }
}

fn remarks(settings: &Settings) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(address) = settings.admin.filter(|address| !address.ip().is_loopback()) {
        remarks
            .push(format!("admin.listen: {address} can be reached by others, without a password"));
    }
    let is_echo = |pool: &&PoolSettings| sserver_is(&pool.options, &["echo"]);
    let mut pools = settings.coins.values().flat_map(|coin| &coin.pools);
    if settings.number == FleetNumber::None
        && let Some(pool) = pools.find(is_echo)
    {
        remarks.push(format!(
            "server_id: not given; another switcher before {} would give its miners the same work",
            pool.name
        ));
    }
    let mut coins = settings.coins.iter();
    while let Some((coin, one)) = coins.next() {
        let apart = |(_, other): &(&Coin, &CoinSettings)| {
            let (a, b) = (&one.algorithm, &other.algorithm);
            let mut pairs = settings.algorithm_pairs.iter();
            a != b && !pairs.any(|(c, d)| (a, b) == (c, d) || (a, b) == (d, c))
        };
        if let Some((other, _)) = coins.clone().find(apart) {
            remarks.push(format!(
                "coins.{coin}: miners are not moved to {other}, whose algorithm is another"
            ));
        }
    }
    remarks
}

fn built_in(dialects: &Dialects) -> String {
    let names: Vec<_> = dialects.keys().map(String::as_str).collect();
    format!("dialects of this program: {}", names.join(", "))
}
