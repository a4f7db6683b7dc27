//! THE table of configuration keys: name, form, default and one sentence for each.
//!
//! Reading, the check for unknown keys, the commented default file and `docs/configuration.md` are
//! all made from it. That the defaults here are the defaults in code is checked by a test.

mod sources;

use super::form::Form;
pub use sources::{
    SOURCE_FILE, SOURCE_STATIC, SOURCE_ZOOKEEPER, ZOOKEEPER_REGISTRATION, ZOOKEEPER_SERVER_ID,
};

/// A table of the configuration with its keys.
#[derive(Debug)]
pub struct Section {
    /// Its path; `<coin>` stands for any name, `[]` for a list of tables.
    pub path: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value looks like.
    pub form: Form,
    /// What holds if it is not given.
    pub fallback: Fallback,
    /// What it is for.
    pub about: &'static str,
}

/// What holds if a key is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// It is worked out, in these words; the literal is the outcome in the default file.
    Derived(&'static str, &'static str),
    /// This TOML literal.
    Is(&'static str),
    /// It must be given; the literal is an example.
    Must(&'static str),
    /// Nothing is set, with this effect; the literal is an example.
    Unset(&'static str, &'static str),
}

const fn key(name: &'static str, form: Form, fallback: Fallback, about: &'static str) -> Key {
    Key { name, form, fallback, about }
}

use Fallback::{Derived, Is, Must, Unset};

/// Keys outside all tables.
pub const ROOT: Section = Section {
    path: "",
    about: "Keys that stand before all tables.",
    keys: &[
        key(
            "shards",
            Form::Whole(0, 1024),
            Is("0"),
            "Threads that serve miners; 0 is one per core.",
        ),
        key(
            "probe",
            Form::Flag,
            Is("true"),
            "Whether a pool nothing is known about is asked once what it is like, with the configured user.",
        ),
        key(
            "algorithm_pairs",
            Form::Pairs,
            Is("[]"),
            "Pairs of algorithms a miner may be moved between although they differ.",
        ),
        key(
            "server_id",
            Form::Whole(0, 255),
            Is("0"),
            "Number of this switcher among all before the same pools; 0 is none, or the one a coin source gives.",
        ),
    ],
};

/// One listening address.
pub const LISTENER: Section = Section {
    path: "listeners[]",
    about: "Where miners connect to; at least one.",
    keys: &[
        key("listen", Form::Address, Must("\"0.0.0.0:3333\""), "Address and port."),
        key(
            "name",
            Form::Text,
            Derived("the address", "\"0.0.0.0:3333\""),
            "Name in logs, metrics and the API.",
        ),
        key(
            "dialects",
            Form::Names,
            Derived("the dialects of all coins", "[\"btc\", \"bch\"]"),
            "Dialects spoken here; the first of a family answers for it.",
        ),
        key(
            "options",
            Form::Options,
            Unset("the dialects' defaults", "{ version_mask = \"1fffe000\" }"),
            "Options of the dialects for this listener, see their own pages.",
        ),
        key(
            "rungs",
            Form::Names,
            Is("[\"echo\", \"fold\", \"announce\", \"reconnect\"]"),
            "How miners of this listener may be brought to a pool, of echo, fold, announce, reconnect and drop; what the coin allows as well is used.",
        ),
    ],
};

/// One coin.
pub const COIN: Section = Section {
    path: "coins.<coin>",
    about: "What can be mined; at least one. The name is what coin sources call it.",
    keys: &[
        key(
            "dialect",
            Form::Text,
            Derived("the coin's name", "\"btc\""),
            "Dialect its pools speak, see `stratum-switcher plugins`.",
        ),
        key(
            "algorithm",
            Form::Text,
            Derived("the dialect's", "\"sha256d\""),
            "Hash algorithm; a miner is moved only between coins of one algorithm.",
        ),
        key(
            "rungs",
            Form::Names,
            Is("[\"echo\", \"fold\", \"announce\", \"reconnect\"]"),
            "How miners may be brought to its pools, as for a listener.",
        ),
    ],
};

/// One pool.
pub const POOL: Section = Section {
    path: "coins.<coin>.pools[]",
    about: "The pools of the coin, best first; at least one.",
    keys: &[
        key("url", Form::Url, Must("\"stratum+tcp://btc.pool.example:3333\""), "Where it is."),
        key(
            "name",
            Form::Text,
            Derived("host:port", "\"btc.pool.example:3333\""),
            "Name in logs, metrics and the API.",
        ),
        key(
            "user",
            Form::Text,
            Unset("the dialect's default", "\"{worker}\""),
            "Template of the user name sent to the pool.",
        ),
        key(
            "user_file",
            Form::Path,
            Unset("what `user` says", "\"/run/secrets/btc-user\""),
            "File that holds the user name, if it is a secret.",
        ),
        key(
            "password",
            Form::Secret,
            Unset("the dialect's default", "\"x\""),
            "Template of the password sent to the pool; never shown.",
        ),
        key(
            "password_file",
            Form::Path,
            Unset("what `password` says", "\"/run/secrets/btc-password\""),
            "File that holds the password.",
        ),
        key(
            "options",
            Form::Options,
            Unset("the dialect's defaults", "{ extranonce = \"echo\" }"),
            "Options of the dialect for this pool, see its own page.",
        ),
    ],
};

/// How fast sessions may be brought to a pool.
pub const PACING: Section = Section {
    path: "coins.<coin>.pools[].pacing",
    about: "How fast miners may be brought to the pool.",
    keys: &[
        key(
            "dials_per_second",
            Form::Whole(0, 1_000_000),
            Derived("100, and 2000 for a pool with `extranonce = \"echo\"`", "100"),
            "New connections per second; 0 is no limit.",
        ),
        key(
            "in_flight",
            Form::Whole(0, 1_000_000),
            Derived("64, and 1024 for a pool with `extranonce = \"echo\"`", "64"),
            "Connections between dial and login at a time; 0 is no limit.",
        ),
    ],
};

/// Plug-ins that are not built in.
pub const PLUGINS: Section = Section {
    path: "plugins",
    about: "Plug-ins that are not built in, see docs/plugins.md. They are trusted as the program \
            itself is. A coin source of one is configured below [sources.<its name>], with keys \
            of its own.",
    keys: &[key(
        "directories",
        Form::Names,
        Is("[\"/usr/local/lib/stratum-switcher\", \"/usr/lib/stratum-switcher\"]"),
        "Where plug-ins are looked for, in this order.",
    )],
};

/// One of them.
pub const PLUGIN: Section = Section {
    path: "plugins.load[]",
    about: "A plug-in to be loaded. A dialect of it is used where it is named, as a built-in one.",
    keys: &[
        key(
            "name",
            Form::Text,
            Unset("`path` must be given", "\"kaspa\""),
            "The file is libswitcher_<name>.so in the first of the directories that has it.",
        ),
        key(
            "path",
            Form::Path,
            Unset("`name` must be given", "\"plugins/libkaspa.so\""),
            "The file, if it lies elsewhere.",
        ),
        key(
            "sha256",
            Form::Text,
            Unset("whatever the file holds is loaded", "\"9f86d081884c7d65…\""),
            "Nothing but a file with this checksum is loaded; 64 hexadecimal digits.",
        ),
        key(
            "override",
            Form::Flag,
            Is("false"),
            "Whether its dialects may take the place of others of the same name.",
        ),
    ],
};

/// Bounds on what peers may use.
pub const LIMITS: Section = Section {
    path: "limits",
    about: "Bounds on what peers may use.",
    keys: &[
        key(
            "sessions",
            Form::Whole(0, u32::MAX as u64),
            Is("0"),
            "Miners at a time; 0 is as many as the open-files limit allows.",
        ),
        key(
            "reserved_descriptors",
            Form::Whole(16, 1_000_000),
            Is("128"),
            "Descriptors kept for everything that is not a miner or its pool.",
        ),
        key(
            "switch_descriptors",
            Form::Whole(1, 1_000_000),
            Is("256"),
            "Descriptors kept for second connections while miners switch.",
        ),
        key(
            "downstream_frame",
            Form::Whole(256, 16 << 20),
            Is("16384"),
            "Longest line from a miner, in bytes.",
        ),
        key(
            "upstream_frame",
            Form::Whole(1024, 64 << 20),
            Is("65536"),
            "Longest line from a pool, in bytes.",
        ),
        key(
            "unsent",
            Form::Whole(1024, 1 << 30),
            Is("262144"),
            "Bytes that may wait for a peer that does not read.",
        ),
        key(
            "faults",
            Form::Whole(1, u32::MAX as u64),
            Is("100"),
            "Faulty lines of one miner that are disregarded before it is closed.",
        ),
    ],
};

/// Deadlines and pauses.
pub const TIMING: Section = Section {
    path: "timing",
    about: "Deadlines and pauses.",
    keys: &[
        key("first_byte", Form::Time(1), Is("\"15s\""), "Until a miner's first byte."),
        key("login", Form::Time(1), Is("\"1m\""), "From connect until a miner has logged in."),
        key(
            "assignment",
            Form::Time(1),
            Is("\"10s\""),
            "How long a newcomer waits for its coin to be known.",
        ),
        key("dial", Form::Time(1), Is("\"5s\""), "TCP connect to a pool."),
        key(
            "handshake",
            Form::Time(1),
            Is("\"15s\""),
            "From connect to a pool until it has sent difficulty and job.",
        ),
        key(
            "silence",
            Form::Time(1000),
            Is("\"2m\""),
            "A pool that says nothing for so long is gone.",
        ),
        key(
            "no_job",
            Form::Time(1000),
            Is("\"5m\""),
            "A pool that sends no job for so long is gone, whatever else it says.",
        ),
        key(
            "unanswered",
            Form::Time(1000),
            Is("\"30s\""),
            "A share unanswered for so long: the pool is gone.",
        ),
        key(
            "linger_min",
            Form::Time(0),
            Is("\"10s\""),
            "The pool a miner left is kept connected at least so long for late shares.",
        ),
        key(
            "linger_max",
            Form::Time(0),
            Is("\"30s\""),
            "And at most so long for the answers to them.",
        ),
        key(
            "hold",
            Form::Time(0),
            Is("\"1m\""),
            "How long a miner without a pool is held before it is let go to its own backup.",
        ),
        key(
            "retry_min",
            Form::Time(10),
            Is("\"1s\""),
            "Pause before the second try to reach a pool; doubles with each further one.",
        ),
        key("retry_max", Form::Time(10), Is("\"1m\""), "Longest pause between tries."),
        key(
            "drain",
            Form::Time(0),
            Is("\"10s\""),
            "An orderly stop closes the miners' connections spread over this time.",
        ),
        key(
            "user_timeout",
            Form::Time(1000),
            Is("\"90s\""),
            "A peer that acknowledges nothing for so long is gone (TCP_USER_TIMEOUT).",
        ),
        key("resolve", Form::Time(1000), Is("\"1m\""), "How often a pool's name is resolved anew."),
    ],
};

/// The admin listener.
pub const ADMIN: Section = Section {
    path: "admin",
    about: "The page, the API and the metrics for the operator.",
    keys: &[
        key("enabled", Form::Flag, Is("true"), "Whether there is an admin listener."),
        key(
            "listen",
            Form::Address,
            Is("\"127.0.0.1:9332\""),
            "Its address; it has no password, so keep it from strangers.",
        ),
    ],
};

/// The log.
pub const LOG: Section = Section {
    path: "log",
    about: "The log. An event repeated for the same pool, coin or listener is summed up every 10 s.",
    keys: &[
        key(
            "format",
            Form::Choice(&["text", "json"]),
            Is("\"text\""),
            "Lines to read, or one JSON object per line.",
        ),
        key(
            "filter",
            Form::Filter,
            Is("\"info,zookeeper_async=error\""),
            "Lowest level that is logged; may differ by part of the program: \"info,switcher_core=debug\".",
        ),
        key(
            "names",
            Form::Choice(&["full", "hash"]),
            Is("\"full\""),
            "Whether workers, sub-accounts and addresses are written out or as a short keyed hash.",
        ),
        key(
            "names_key",
            Form::Secret,
            Unset("a key of this machine", "\"a long random text\""),
            "Key of that hash; give the same to several machines to compare their logs.",
        ),
        key(
            "file",
            Form::Path,
            Unset("the log goes to standard error", "\"/var/log/stratum-switcher.log\""),
            "File the log is appended to.",
        ),
        key(
            "stderr",
            Form::Choice(&["off", "error", "warn", "all"]),
            Is("\"off\""),
            "What goes to standard error as well if `file` is given.",
        ),
    ],
};

/// Replacing the running program.
pub const UPGRADE: Section = Section {
    path: "upgrade",
    about: "Replacing the running program by a new one (SIGUSR2), see docs/upgrading.md.",
    keys: &[
        key(
            "preflight",
            Form::Time(100),
            Is("\"10s\""),
            "How long the new program may take to show that it could take over.",
        ),
        key(
            "freeze",
            Form::Time(1),
            Is("\"400ms\""),
            "What has not stopped after so long makes the upgrade be given up.",
        ),
        key(
            "runtime_file",
            Form::Path,
            Unset("none is written", "\"/run/stratum-switcher/runtime.json\""),
            "File for a readable copy of the state that was carried over, without secrets.",
        ),
    ],
};

/// All sections, in the order of the default file.
pub const SECTIONS: &[&Section] = &[
    &ROOT,
    &LISTENER,
    &COIN,
    &POOL,
    &PACING,
    &SOURCE_FILE,
    &SOURCE_ZOOKEEPER,
    &ZOOKEEPER_SERVER_ID,
    &ZOOKEEPER_REGISTRATION,
    &SOURCE_STATIC,
    &PLUGINS,
    &PLUGIN,
    &LIMITS,
    &TIMING,
    &ADMIN,
    &LOG,
    &UPGRADE,
];

impl Section {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Every name known right below: keys and the beginnings of sections.
    pub fn known(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.keys.iter().map(|key| key.name).collect();
        names.extend(below(self.path));
        names
    }

    fn segments(&self) -> Vec<&'static str> {
        segments(self.path)
    }
}

/// Names of the sections right below a path, each once.
pub fn below(path: &str) -> Vec<&'static str> {
    let above = segments(path);
    let mut names = Vec::new();
    for section in SECTIONS {
        let segments = section.segments();
        let lies_below = above.iter().zip(&segments).all(|(above, segment)| above == segment);
        if let Some(name) = segments.get(above.len()).filter(|_| lies_below)
            && !names.contains(name)
        {
            names.push(*name);
        }
    }
    names
}

/// The key at a path whose lists are written as numbers (`listeners`, `0`, `listen`).
pub fn find(path: &[String]) -> Option<&'static Key> {
    let (name, above) = path.split_last()?;
    let fits = |section: &&&Section| {
        let pattern = section.segments();
        pattern.len() == above.len()
            && pattern.iter().zip(above).all(|(pattern, name)| match *pattern {
                "<coin>" => true,
                "[]" => name.parse::<usize>().is_ok(),
                pattern => pattern == name,
            })
    };
    SECTIONS.iter().find(fits).and_then(|section| section.key(name))
}

fn segments(path: &str) -> Vec<&str> {
    path.split('.')
        .filter(|part| !part.is_empty())
        .flat_map(|part| match part.strip_suffix("[]") {
            Some(list) => vec![list, "[]"],
            None => vec![part],
        })
        .collect()
}
