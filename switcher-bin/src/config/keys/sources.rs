//! The tables of the built-in coin sources.

use super::Fallback::{Is, Must, Unset};
use super::{Form, Section, key};

/// The coin source `file`.
pub const SOURCE_FILE: Section = Section {
    path: "sources.file",
    about: "Coin source: a TOML or JSON file that says which sub-account mines what.",
    keys: &[
        key(
            "path",
            Form::Path,
            Must("\"coins.toml\""),
            "The file; a relative path starts at the folder of the configuration file that names it.",
        ),
        key(
            "settle",
            Form::Time(0),
            Is("\"300ms\""),
            "A change counts when the file has been still for so long.",
        ),
        key(
            "poll",
            Form::Time(100),
            Is("\"2s\""),
            "How often the file is looked at even if the system reports no change.",
        ),
        key(
            "case_insensitive",
            Form::Flag,
            Is("false"),
            "Whether sub-accounts that differ only in case are the same.",
        ),
    ],
};

/// The coin source `zookeeper`.
pub const SOURCE_ZOOKEEPER: Section = Section {
    path: "sources.zookeeper",
    about: "Coin source: ZooKeeper nodes as BTC.com's Go stratumSwitcher reads them. All \
            directories are absolute paths.",
    keys: &[
        key(
            "servers",
            Form::Names,
            Unset("no ZooKeeper is asked", "[\"zk1.example:2181\", \"zk2.example:2181\"]"),
            "The servers of the ensemble, each with its port if that is not 2181.",
        ),
        key(
            "watch_dir",
            Form::Text,
            Unset("must be given with `servers`", "\"/stratumSwitcher/btcbcc\""),
            "The coin of a sub-account is the value of the node of its name in here.",
        ),
        key("chroot", Form::Text, Unset("none", "\"/pool1\""), "Put before every path."),
        key(
            "index_dir",
            Form::Text,
            Unset("none", "\"/stratumSwitcher/bitcoin_case\""),
            "The node of a sub-account's name in lower case in here holds its canonical spelling.",
        ),
        key(
            "case_insensitive",
            Form::Flag,
            Is("false"),
            "Whether sub-accounts are looked up, and spelt towards pools, in lower case; `index_dir` is not used then.",
        ),
        key(
            "credentials",
            Form::Secret,
            Unset("none", "\"user:password\""),
            "User and password for ZooKeeper's digest scheme.",
        ),
        key(
            "credentials_file",
            Form::Path,
            Unset("what `credentials` says", "\"/run/secrets/zookeeper\""),
            "File whose first line they are.",
        ),
        key(
            "acl",
            Form::Choice(&["open", "creator", "creator-readable"]),
            Is("\"open\""),
            "Rights on the nodes that are created: for everybody, for the credentials, or for those with reading for everybody.",
        ),
        key(
            "session_timeout",
            Form::Time(4000),
            Is("\"10s\""),
            "A dead link is noticed within this time; whole seconds, at most 40s.",
        ),
        key(
            "audit",
            Form::Time(0),
            Is("\"1m\""),
            "Every node in use is read again once in this time although it is watched; 0 is never.",
        ),
        key("reads_at_once", Form::Whole(1, 1024), Is("128"), "Reads under way at once."),
        key(
            "remembered",
            Form::Whole(0, 10_000_000),
            Is("100000"),
            "Last coins of departed sub-accounts that are kept for the time no server answers.",
        ),
    ],
};

/// The number that `zookeeper` takes.
pub const ZOOKEEPER_SERVER_ID: Section = Section {
    path: "sources.zookeeper.server_id",
    about: "A number for this switcher, held by an ephemeral node. With it no miner is served \
            before the number is there.",
    keys: &[
        key(
            "dir",
            Form::Text,
            Unset("no number is taken", "\"/stratumSwitcher/bitcoin_swid\""),
            "Directory of the numbers; made if absent.",
        ),
        key(
            "preferred",
            Form::Whole(1, 255),
            Is("1"),
            "Where the search for a free number starts.",
        ),
        key("chain_type", Form::Text, Is("\"bitcoin\""), "What the node says for `ChainType`."),
    ],
};

/// The registration that `zookeeper` asks for.
pub const ZOOKEEPER_REGISTRATION: Section = Section {
    path: "sources.zookeeper.registration",
    about: "Registration of sub-accounts without a coin, by a node that whoever registers them \
            removes.",
    keys: &[
        key(
            "dir",
            Form::Text,
            Unset("nobody is registered", "\"/stratumSwitcher/bitcoin_autoreg\""),
            "Directory of the requests; whoever answers them makes it.",
        ),
        key(
            "max_waiting",
            Form::Whole(0, 1_000_000),
            Is("50"),
            "Requests of this switcher that may wait at once; one more is refused.",
        ),
        key(
            "timeout",
            Form::Time(1000),
            Is("\"1m\""),
            "A request that is not answered in this time is taken back and refused; whole seconds.",
        ),
    ],
};

/// The coin source `static`.
pub const SOURCE_STATIC: Section = Section {
    path: "sources.static",
    about: "Coin source: one coin for every newcomer no other source knows. \
            With a single coin and no source at all, that coin is it.",
    keys: &[key(
        "coin",
        Form::Text,
        Unset("newcomers unknown to all sources are refused", "\"btc\""),
        "The coin.",
    )],
};
