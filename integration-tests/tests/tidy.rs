//! The rules of the architecture, so that they hold after their authors are gone: who may depend on
//! whom, what may be named where, and what every file owes its reader.
//!
//! Every rule is a function from files or packages to complaints. One test holds it against the
//! project, and one shows with made-up input that it can complain at all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Most lines of a source file.
const MOST_LINES: usize = 700;

/// A text file of the project.
struct File {
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The lines without their comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let without_comment = |line: &str| {
            let mut from = 0;
            while let Some(at) = line[from..].find("//") {
                // Two slashes behind a colon belong to an address.
                if !line[..from + at].ends_with(':') {
                    return from + at;
                }
                from += at + 2;
            }
            line.len()
        };
        self.text
            .lines()
            .enumerate()
            .map(move |(at, line)| (at + 1, &line[..without_comment(line)]))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the project is here")
}

/// All files with one of these endings that belong to the project.
fn files(endings: &[&str]) -> Vec<File> {
    fn walk(root: &Path, folder: &Path, endings: &[&str], found: &mut Vec<File>) {
        for entry in std::fs::read_dir(folder).expect("a folder of the project is readable") {
            let path = entry.expect("an entry of a folder is readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    walk(root, &path, endings, found);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = std::fs::read_to_string(&path).expect("source files are text");
                let path = path.strip_prefix(root).expect("it is below the root");
                found.push(File { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    let (root, mut found) = (root(), Vec::new());
    walk(&root, &root, endings, &mut found);
    assert!(!found.is_empty(), "there are files that end in {endings:?}");
    found
}

/// The packages as cargo sees them, with paths from the root on.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo answers in JSON");
    let root = root().to_string_lossy().into_owned() + "/";
    let mut packages =
        metadata.get("packages").and_then(Value::as_array).expect("there are packages").clone();
    for package in &mut packages {
        let path = package["manifest_path"].as_str().unwrap_or_default().replace(&root, "");
        package["manifest_path"] = json!(path);
    }
    packages
}

/// Name and features of what a package needs, other than for its tests.
fn needs(package: &Value) -> Vec<(&str, Vec<&str>)> {
    fn strings(needed: &Value) -> impl Iterator<Item = &str> {
        needed["features"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }
    let all = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .filter(|needed| needed["kind"] != "dev")
        .map(|needed| (needed["name"].as_str().unwrap_or_default(), strings(needed).collect()))
        .collect()
}

fn place(package: &Value) -> &str {
    package["manifest_path"].as_str().unwrap_or_default()
}

/// Dependencies point one way.
fn wrong_dependencies(packages: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in packages {
        let (name, place) = (package["name"].as_str().unwrap_or_default(), place(package));
        for (needed, features) in needs(package) {
            let is_plug_in = needed.starts_with("dialect-") || needed.starts_with("coin-source-");
            let is_wrong = if place.starts_with("switcher-core/plugin/") {
                needed.starts_with("switcher-")
                    || is_plug_in
                    || needed == "stratum-common"
                    || needed == "stratum-jsonrpc"
                    || (needed == "tokio" && features.iter().any(|feature| *feature != "sync"))
            } else if place.starts_with("protocols/") {
                needed == "tokio" || is_plug_in || needed == "switcher-core"
            } else if place.starts_with("coin-sources/") {
                is_plug_in || needed == "switcher-core"
            } else if place.starts_with("switcher-core/") {
                is_plug_in
                    || needed == "bitcoin-family"
                    || needed == "stratum-common"
                    || needed == "stratum-jsonrpc"
            } else {
                false
            };
            if is_wrong {
                complaints.push(format!("{name} may not need {needed} {features:?}"));
            }
        }
    }
    complaints
}

/// Whether `word` stands in the line by itself, not as a part of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let goes_on = |own: Option<char>, beside: Option<char>| {
        own.is_some_and(is_part) && beside.is_some_and(is_part)
    };
    line.match_indices(word).any(|(at, _)| {
        let (before, rest) = line.split_at(at);
        let behind = rest.get(word.len()..).unwrap_or_default().chars().next();
        !goes_on(word.chars().next(), before.chars().next_back())
            && !goes_on(word.chars().next_back(), behind)
    })
}

/// Words that stand in the code of files where they may not.
fn forbidden(files: &[File], words: &[&str], may_not: impl Fn(&str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| may_not(&file.path)) {
        for (number, line) in file.code() {
            for word in words.iter().filter(|word| has_word(line, word)) {
                complaints.push(format!("{}:{number}: {word}", file.path));
            }
        }
    }
    complaints
}

/// The engine names no coin and no backend: not as a word, nor as a part of one. Its unit tests,
/// which stand last, may.
fn named_coins(files: &[File]) -> Vec<String> {
    let names = ["btc", "bch", "bitcoin", "zookeeper", "eth"];
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("switcher-core/engine/src/")) {
        let code = file.code().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
        for (number, line) in code {
            let line = line.to_ascii_lowercase();
            for word in line.split(|c: char| !c.is_ascii_alphanumeric()) {
                if names.contains(&word) {
                    complaints.push(format!("{}:{number}: {word}", file.path));
                }
            }
        }
    }
    complaints
}

/// Only the table of plug-ins and the demonstration name concrete plug-ins.
fn named_plug_ins(files: &[File]) -> Vec<String> {
    let names =
        ["dialect_btc", "dialect_bch", "dialect_dcr", "coin_source_file", "coin_source_zookeeper"];
    forbidden(files, &names, |path| {
        let may = path == "switcher-bin/src/plugins.rs"
            || path.starts_with("switcher-bin/src/demo")
            || path.contains("/tests/")
            || path.starts_with("integration-tests/")
            || path.starts_with("coin-sources/");
        !may
    })
}

/// The machine is pure: it is told the time and asks its host for everything else.
fn impure_machine(files: &[File]) -> Vec<String> {
    let words = [
        "tokio",
        "std::net",
        "socket2",
        "nix",
        "clock::now",
        "Instant",
        "SystemTime",
        "spawn",
        "async",
        "await",
        "tracing",
    ];
    forbidden(files, &words, |path| path.starts_with("switcher-core/engine/src/session/machine"))
}

/// One place of the engine reads the clock. What tokio sleeps by is never a time of a session.
fn clock_readers(files: &[File]) -> Vec<String> {
    let words = ["CLOCK_MONOTONIC", "clock_gettime", "Instant"];
    let engine = files.iter().filter(|file| file.path.starts_with("switcher-core/engine/src/"));
    let without_sleeps: Vec<File> = engine
        .map(|file| File::new(&file.path, &file.text.replace("tokio::time::Instant", "")))
        .collect();
    forbidden(&without_sleeps, &words, |path| path != "switcher-core/engine/src/clock.rs")
}

/// Two crates only do what the compiler cannot check.
fn unsafe_code(files: &[File]) -> Vec<String> {
    forbidden(files, &[concat!("un", "safe")], |path| {
        !path.starts_with("switcher-core/upgrade/") && !path.starts_with("switcher-core/abi/")
    })
}

/// Nothing is left for later, and nothing of a search for an error stays.
fn left_overs(files: &[File]) -> Vec<String> {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let calls = [concat!("db", "g!"), concat!("to", "do!")];
    let mut complaints = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            for word in words.iter().chain(&calls).filter(|word| has_word(line, word)) {
                complaints.push(format!("{}:{}: {word}", file.path, number + 1));
            }
        }
    }
    complaints
}

/// Every module says first what it is for, and none is too long.
fn untidy_modules(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        if !file.text.starts_with("//!") {
            complaints.push(format!("{} does not say what it is for", file.path));
        }
        let lines = file.text.lines().count();
        if lines > MOST_LINES {
            complaints.push(format!("{} has {lines} lines", file.path));
        }
    }
    complaints
}

/// What a document names that looks like a file of the project, from the root on.
fn mentioned(document: &File) -> BTreeSet<String> {
    let folder = document.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let below = |path: &str| {
        let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
        for part in path.split('/') {
            match part {
                "." | "" => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        parts.join("/")
    };
    let mut found = BTreeSet::new();
    for link in document.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let path = link.split('#').next().unwrap_or_default();
        if !path.is_empty() && !path.contains(':') {
            found.insert(below(path));
        }
    }
    let tops = [
        "switcher-core/",
        "protocols/",
        "coin-sources/",
        "switcher-bin/",
        "integration-tests/",
        "docs/",
        ".ci/",
    ];
    for code in document.text.split('`').skip(1).step_by(2) {
        let path = code.split_whitespace().next().unwrap_or_default();
        let is_plain = !path.contains(['*', '{', '<', '…']);
        if is_plain && tops.iter().any(|top| path.starts_with(top)) {
            found.insert(path.trim_end_matches('/').to_owned());
        }
    }
    found
}

/// Documents mention only files that exist.
fn dead_paths(documents: &[File], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for document in documents {
        for path in mentioned(document).into_iter().filter(|path| !exists(path)) {
            complaints.push(format!("{} mentions {path}", document.path));
        }
    }
    complaints
}

fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Whether a rule complains of the one and not of the other.
fn tells(rule: impl Fn(&[File]) -> Vec<String>, bad: (&str, &str), good: (&str, &str)) {
    assert!(!rule(&[File::new(bad.0, bad.1)]).is_empty(), "no complaint of {bad:?}");
    assert_eq!(rule(&[File::new(good.0, good.1)]), [""; 0], "{good:?}");
}

#[test]
fn dependencies_point_one_way() {
    none(&wrong_dependencies(&packages()));
}

#[test]
fn wrong_dependencies_are_seen() {
    let package = |place: &str, needed: &str, kind: Value, features: Value| {
        let needed = json!({"name": needed, "kind": kind, "features": features});
        json!({"name": "x", "manifest_path": place, "dependencies": [needed]})
    };
    let plugin = "switcher-core/plugin/Cargo.toml";
    for (place, needed, features) in [
        (plugin, "tokio", json!(["sync", "rt"])),
        (plugin, "switcher-core", json!([])),
        ("protocols/btc/Cargo.toml", "tokio", json!(["sync"])),
        ("protocols/btc/Cargo.toml", "dialect-bch", json!([])),
        ("protocols/jsonrpc/Cargo.toml", "switcher-core", json!([])),
        ("coin-sources/file/Cargo.toml", "switcher-core", json!([])),
        ("switcher-core/engine/Cargo.toml", "dialect-btc", json!([])),
        ("switcher-core/engine/Cargo.toml", "coin-source-zookeeper", json!([])),
    ] {
        let wrong = package(place, needed, Value::Null, features);

        assert_eq!(wrong_dependencies(&[wrong]).len(), 1, "{place} {needed}");
    }
    assert!(
        wrong_dependencies(&[package(plugin, "tokio", Value::Null, json!(["sync"]))]).is_empty()
    );
    assert!(
        wrong_dependencies(&[package(plugin, "switcher-core", json!("dev"), json!([]))]).is_empty()
    );
}

#[test]
fn the_engine_names_no_coin_and_no_backend() {
    none(&named_coins(&files(&[".rs"])));
    let path = "switcher-core/engine/src/plan.rs";
    tells(named_coins, (path, "let btc_pool = 1;"), (path, "let method = 1; // as btc does"));
}

#[test]
fn only_the_table_of_plug_ins_names_them() {
    none(&named_plug_ins(&files(&[".rs"])));
    let text = "use dialect_btc::DIALECT;";
    tells(
        named_plug_ins,
        ("switcher-bin/src/host.rs", text),
        ("switcher-bin/src/plugins.rs", text),
    );
}

#[test]
fn the_machine_is_pure() {
    none(&impure_machine(&files(&[".rs"])));
    let path = "switcher-core/engine/src/session/machine/legs.rs";
    tells(impure_machine, (path, "let now = clock::now();"), (path, "use crate::clock::millis;"));
}

#[test]
fn one_place_reads_the_clock() {
    none(&clock_readers(&files(&[".rs"])));
    let text = "clock_gettime(ClockId::CLOCK_MONOTONIC)";
    let clock = "switcher-core/engine/src/clock.rs";
    let shard = "switcher-core/engine/src/shard.rs";
    tells(clock_readers, (shard, text), (clock, text));
    tells(clock_readers, (shard, "Instant::now()"), (shard, "tokio::time::Instant::now()"));
}

#[test]
fn only_two_crates_do_what_the_compiler_cannot_check() {
    none(&unsafe_code(&files(&[".rs"])));
    let text = concat!("un", "safe { read(fd) }");
    tells(unsafe_code, ("switcher-bin/src/main.rs", text), ("switcher-core/abi/src/lib.rs", text));
}

#[test]
fn nothing_is_left_for_later() {
    none(&left_overs(&files(&[".rs", ".md", ".toml"])));
    for bad in [concat!("// TO", "DO: more"), concat!("db", "g!(x);"), concat!("to", "do!()")] {
        tells(left_overs, ("a.rs", bad), ("a.rs", "// to do it well"));
    }
}

#[test]
fn every_module_says_what_it_is_for_and_is_not_too_long() {
    none(&untidy_modules(&files(&[".rs"])));
    let long = "//! It is long.\n".repeat(MOST_LINES + 1);
    for bad in ["use std::fmt;\n", &long] {
        tells(untidy_modules, ("a.rs", bad), ("a.rs", "//! It is short.\n"));
    }
}

#[test]
fn documents_mention_only_files_that_exist() {
    let root = root();
    none(&dead_paths(&files(&[".md"]), |path| root.join(path).exists()));
}

#[test]
fn dead_paths_are_seen() {
    let text = "[a](../docs/a.md) `switcher-core/gone/` [b](https://b.example/) `x` [c](#top)";

    let complaints = dead_paths(&[File::new("docs/x.md", text)], |_| false);

    assert_eq!(
        complaints,
        ["docs/x.md mentions docs/a.md", "docs/x.md mentions switcher-core/gone"]
    );
}
