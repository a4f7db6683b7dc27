//! The map itself: which coin a sub-account shall mine, read from text and checked. Does no I/O and
//! remembers nothing of earlier maps.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use sha2::{Digest, Sha256};
use switcher_plugin::Coin;

use crate::glob::Glob;
use crate::tree::{self, Format, Lines, Node, Value};

/// At most this many mistakes are told at once.
const MOST_PROBLEMS: usize = 10;

/// A coin and the line that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) coin: Coin,
    pub(crate) line: usize,
}

/// What the map says about one sub-account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision<'a> {
    /// By its name or a pattern.
    Assign(&'a Said),
    /// By the default.
    Default(&'a Said),
    Unknown,
}

/// A map that may be used: it parses and says something.
#[derive(Debug)]
pub(crate) struct CoinMap {
    accounts: HashMap<String, Said>,
    patterns: Vec<(Glob, Said)>,
    default: Option<Said>,
    case_insensitive: bool,
    hash: String,
}

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line from 1, if the mistake has one.
    pub line: Option<usize>,
    /// The key (`accounts.alice`), empty if it is about the whole file.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What would be accepted.
    pub accepted: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; accepted is {}", self.problem, self.accepted)
    }
}

const A_COIN: &str = "the name of a coin in quotes";
const A_MAP: &str = "a map with `default`, `accounts` or `patterns`";
const A_NAME: &str = "the name of a sub-account";
const PATTERN: &str = "a table with `match` and `coin`";

impl CoinMap {
    /// Reads and checks a whole text; all mistakes at once.
    pub(crate) fn parse(
        format: Format,
        text: &str,
        case_insensitive: bool,
    ) -> Result<Self, Vec<Problem>> {
        let whole = |line, problem: String| {
            vec![Problem { line, key: String::new(), problem, accepted: A_MAP }]
        };
        if text.trim().is_empty() {
            return Err(whole(None, "the file is empty".to_owned()));
        }
        let node = tree::parse(format, text)
            .map_err(|unreadable| whole(Some(unreadable.line), unreadable.why))?;
        let mut reader = Reader { lines: Lines::of(text), problems: Vec::new() };
        let mut map = Self {
            accounts: HashMap::new(),
            patterns: Vec::new(),
            default: None,
            case_insensitive,
            hash: hash(text),
        };
        map.fill(node, &mut reader);
        if !reader.problems.is_empty() {
            return Err(reader.problems);
        }
        if map.is_empty() {
            // Everybody at once would be unknown; nobody means that.
            return Err(whole(None, "the file names no coin at all".to_owned()));
        }
        Ok(map)
    }

    /// What the map says about a sub-account.
    pub(crate) fn find(&self, sub_account: &str) -> Decision<'_> {
        let folded;
        let name = if self.case_insensitive {
            folded = sub_account.to_lowercase();
            &folded
        } else {
            sub_account
        };
        let by_pattern = || self.patterns.iter().find(|(glob, _)| glob.is_match(name));
        if let Some(said) = self.accounts.get(name) {
            Decision::Assign(said)
        } else if let Some((_, said)) = by_pattern() {
            Decision::Assign(said)
        } else {
            self.default.as_ref().map_or(Decision::Unknown, Decision::Default)
        }
    }

    /// The start of the SHA-256 of the text, as `sha256sum` shows it.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.patterns.is_empty() && self.default.is_none()
    }

    fn fold(&self, name: String) -> String {
        if self.case_insensitive { name.to_lowercase() } else { name }
    }

    fn fill(&mut self, node: Node, reader: &mut Reader) {
        let mut seen = Vec::new();
        for (key, node) in reader.table("", A_MAP, node) {
            match key.as_str() {
                key if seen.iter().any(|earlier| earlier == key) => reader.twice(&node, key),
                "accounts" => self.fill_accounts(node, reader),
                "default" => self.default = reader.coin("default", node),
                "patterns" => self.fill_patterns(node, reader),
                key => reader.note(&node, key, "is no key of this file".to_owned(), A_MAP),
            }
            seen.push(key);
        }
    }

    fn fill_accounts(&mut self, node: Node, reader: &mut Reader) {
        for (name, node) in reader.table("accounts", "a table of names and coins", node) {
            let key = format!("accounts.{name}");
            let name = self.fold(name);
            if name.is_empty() {
                reader.note(&node, "accounts", "a name is empty".to_owned(), A_NAME);
                continue;
            }
            match self.accounts.entry(name) {
                Entry::Occupied(_) => reader.twice(&node, &key),
                Entry::Vacant(entry) => {
                    reader.coin(&key, node).map(|said| entry.insert(said));
                }
            }
        }
    }

    fn fill_patterns(&mut self, node: Node, reader: &mut Reader) {
        let items = match node.value {
            Value::List(items) => items,
            ref other => {
                let problem = format!("is {}", other.kind());
                return reader.note(&node, "patterns", problem, "a list of tables");
            }
        };
        for (index, item) in items.into_iter().enumerate() {
            let key = format!("patterns[{index}]");
            let place = Node { at: item.at, value: Value::Other("") };
            let (mut glob, mut coin) = (None, None);
            for (field, node) in reader.table(&key, PATTERN, item) {
                match field.as_str() {
                    "match" if glob.is_none() => glob = Some(node),
                    "coin" if coin.is_none() => coin = Some(node),
                    "match" | "coin" => reader.twice(&node, &format!("{key}.{field}")),
                    _ => {
                        let problem = "is no key of a pattern".to_owned();
                        reader.note(&node, &format!("{key}.{field}"), problem, PATTERN);
                    }
                }
            }
            let (Some(glob), Some(coin)) = (glob, coin) else {
                reader.note(&place, &key, "is not complete".to_owned(), PATTERN);
                continue;
            };
            let glob = reader.text(&format!("{key}.match"), "a name with * and ?", glob);
            let said = reader.coin(&format!("{key}.coin"), coin);
            if let (Some(glob), Some(said)) = (glob, said) {
                self.patterns.push((Glob::new(&self.fold(glob)), said));
            }
        }
    }
}

/// Says what a map holds, for logs and the API.
impl fmt::Display for CoinMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (accounts, patterns) = (self.accounts.len(), self.patterns.len());
        write!(f, "{accounts} accounts, {patterns} patterns, ")?;
        match &self.default {
            Some(said) => write!(f, "default {}", said.coin)?,
            None => f.write_str("no default")?,
        }
        write!(f, ", sha256 {}", self.hash)
    }
}

/// Takes values out of nodes and notes what is wrong with them.
struct Reader {
    lines: Lines,
    problems: Vec<Problem>,
}

impl Reader {
    fn note(&mut self, node: &Node, key: &str, problem: String, accepted: &'static str) {
        if self.problems.len() < MOST_PROBLEMS {
            let line = Some(self.lines.line(node.at));
            self.problems.push(Problem { line, key: key.to_owned(), problem, accepted });
        }
    }

    fn twice(&mut self, node: &Node, key: &str) {
        self.note(node, key, "is given twice".to_owned(), "each key once");
    }

    fn table(&mut self, key: &str, accepted: &'static str, node: Node) -> Vec<(String, Node)> {
        match node.value {
            Value::Table(entries) => entries,
            ref other => {
                self.note(&node, key, format!("is {}", other.kind()), accepted);
                Vec::new()
            }
        }
    }

    /// A text that is not empty.
    fn text(&mut self, key: &str, accepted: &'static str, node: Node) -> Option<String> {
        match node.value {
            Value::Text(text) if !text.trim().is_empty() => return Some(text),
            Value::Text(_) => self.note(&node, key, "is empty".to_owned(), accepted),
            ref other => self.note(&node, key, format!("is {}", other.kind()), accepted),
        }
        None
    }

    fn coin(&mut self, key: &str, node: Node) -> Option<Said> {
        let line = self.lines.line(node.at);
        self.text(key, A_COIN, node).map(|text| Said { coin: Coin::new(text), line })
    }
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::List(_) => "a list",
            Self::Other(kind) => kind,
            // What `alice.rig1 = "btc"` without quotes around the name becomes.
            Self::Table(_) => "a table",
            Self::Text(_) => "a text",
        }
    }
}

pub(crate) fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    hex::encode(digest.get(..6).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "default = \"btc\"\n[accounts]\nalice = \"bch\"\n[[patterns]]\n\
                        match = \"farm-*\"\ncoin = \"ltc\"\n[[patterns]]\nmatch = \"f*\"\n\
                        coin = \"doge\"\n";

    fn found(map: &CoinMap, name: &str) -> String {
        match map.find(name) {
            Decision::Assign(said) => format!("assign {} {}", said.coin, said.line),
            Decision::Default(said) => format!("default {} {}", said.coin, said.line),
            Decision::Unknown => "unknown".to_owned(),
        }
    }

    fn problems(format: Format, text: &str) -> Vec<String> {
        let problems = CoinMap::parse(format, text, false).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_go_before_patterns_and_patterns_before_the_default() {
        let map = CoinMap::parse(Format::Toml, FULL, false).unwrap();

        assert_eq!(found(&map, "alice"), "assign bch 3");
        assert_eq!(found(&map, "Alice"), "default btc 1");
        assert_eq!(found(&map, "farm-7"), "assign ltc 6");
        assert_eq!(found(&map, "farm"), "assign doge 9");
        assert_eq!(found(&map, "bob"), "default btc 1");
    }

    #[test]
    fn json_says_the_same() {
        let text = "{\"default\":\"btc\",\n\"accounts\":{\"alice\":\"bch\"},\n\
                    \"patterns\":[{\"match\":\"farm-*\",\"coin\":\"ltc\"}]}";
        let map = CoinMap::parse(Format::Json, text, false).unwrap();

        assert_eq!(found(&map, "alice"), "assign bch 2");
        assert_eq!(found(&map, "farm-7"), "assign ltc 3");
        assert_eq!(found(&map, "bob"), "default btc 1");
    }

    #[test]
    fn accounts_alone_are_a_map() {
        let map = CoinMap::parse(Format::Toml, "[accounts]\na = 'btc'", false).unwrap();

        assert_eq!(found(&map, "a"), "assign btc 2");
        assert_eq!(found(&map, "b"), "unknown");
    }

    #[test]
    fn case_is_ignored_on_request() {
        let map = CoinMap::parse(Format::Toml, &FULL.replace("farm", "Farm"), true).unwrap();

        assert_eq!(found(&map, "ALICE"), "assign bch 3");
        assert_eq!(found(&map, "fARM-1"), "assign ltc 6");
        let twice = CoinMap::parse(Format::Toml, "[accounts]\nA = 'x'\na = 'y'", true);
        assert_eq!(twice.unwrap_err()[0].problem, "is given twice");
    }

    #[test]
    fn mistakes_name_line_key_and_what_is_accepted() {
        for (text, expected) in [
            ("colour = 'x'\n", "line 1: colour: is no key of this file; accepted is a map with"),
            ("[accounts]\na = 1\n", "line 2: accounts.a: is a number; accepted is the name of a"),
            ("[accounts]\na = ''\n", "line 2: accounts.a: is empty; accepted is the name of a co"),
            ("[accounts]\n\"\" = 'x'\n", "line 2: accounts: a name is empty; accepted is the name"),
            ("[accounts]\na.b = 'x'\n", "line 2: accounts.a: is a table; accepted is the name of"),
            ("accounts = 'x'\n", "line 1: accounts: is a text; accepted is a table of names"),
            ("[patterns]\na = 'x'\n", "line 1: patterns: is a table; accepted is a list"),
            ("[[patterns]]\nmatch = '*'\n", "line 1: patterns[0]: is not complete; accepted is"),
            ("[[patterns]]\nmatch = '*'\ncoin = []\n", "line 3: patterns[0].coin: is a list; acc"),
            ("[[patterns]]\nmatch = ''\ncoin = 'x'\n", "line 2: patterns[0].match: is empty; acc"),
            (
                "[[patterns]]\nmatch = 'x'\ncoin = 'y'\nto = ''\n",
                "line 4: patterns[0].to: is no key",
            ),
            ("default = true\n", "line 1: default: is a boolean; accepted is the name of a coin"),
            (" \n", "the file is empty; accepted is a map"),
            ("[accounts]\n", "the file names no coin at all; accepted is a map"),
            ("[accounts]\na = 'b", "line 2: "),
        ] {
            let problems = problems(Format::Toml, text);

            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert!(problems[0].starts_with(expected), "{text}: {problems:?}");
        }
    }

    #[test]
    fn json_mistakes_are_told_too() {
        for (text, expected) in [
            ("{\"accounts\":{\"a\":\"x\",\n\"a\":\"y\"}}", "line 2: accounts.a: is given twice"),
            ("{\"default\":\"x\",\n\"default\":\"x\"}", "line 2: default: is given twice"),
            ("[1]", "line 1: is a list; accepted is a map"),
            ("{\"default\":null}", "line 1: default: is null"),
            ("{\"default\":\"btc\"", "line 1: EOF"),
            ("{}", "the file names no coin at all"),
        ] {
            let problems = problems(Format::Json, text);

            assert!(problems[0].starts_with(expected), "{text}: {problems:?}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_but_not_too_many() {
        let lines: Vec<String> = (0..50).map(|n| format!("a{n} = 1")).collect();
        let text = format!("[accounts]\n{}", lines.join("\n"));

        assert_eq!(problems(Format::Toml, &text).len(), MOST_PROBLEMS);
    }
}
