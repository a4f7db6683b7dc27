//! The table of keys as text: the commented default file and the page for operators.
//!
//! Both are committed and compared with the table by a test, so that they cannot drift.

use std::fmt::Write as _;

use super::keys::{Fallback, Key, SECTIONS, Section};

/// The commented default file, as `stratum-switcher config` prints it.
pub const DEFAULT_FILE: &str = include_str!("../../config/switcher.toml");

const FILE_HEAD: &str = "\
# Configuration of stratum-switcher. Every key stands here with its default.
#
# Lines that begin with `#` and no space are the defaults: remove the `#` to change one.
# The few lines without `#` have no default; put your own addresses there.
# `stratum-switcher check --config FILE` tells what is wrong with a file, all at once.
# Times are written \"10s\", \"500ms\", \"1m30s\", or as a number of seconds.
# Any key can be given as a variable (SWITCHER_TIMING__DIAL=3s, SWITCHER_LISTENERS__0__LISTEN=…)
# or a flag (--set timing.dial=3s); flags win over variables, variables over this file.
";

const SECOND_COIN: &str = "
# A second coin, with as few words as possible.
[coins.bch]
[[coins.bch.pools]]
url = \"stratum+tcp://bch.pool.example:3333\"
";

const PAGE_HEAD: &str = "\
# Configuration

Made from the table in `switcher-bin/src/config/keys.rs`; `UPDATE=1 cargo test -p switcher-bin` rewrites it.

The configuration is a TOML or JSON file (by its extension), named with `--config FILE` or the variable `SWITCHER_CONFIG`.
Above the file stand variables, above those flags:

| layer | example |
|---|---|
| file | `[timing]` `dial = \"3s\"` |
| variable | `SWITCHER_TIMING__DIAL=3s`, `SWITCHER_COINS__BTC__POOLS__0__PASSWORD=…` |
| flag | `--set timing.dial=3s`, `--set 'coins.btc.pools[0].url=pool.example:3333'` |

In a variable `__` goes one level down, and names are in lower case whatever the variable's are.
Entries of lists are numbered from 0; a number one past the last adds an entry.

`stratum-switcher config` prints a commented file with all defaults.
`stratum-switcher check --config FILE` lists everything that is wrong, or else the values in force and where each comes from.
Passwords are shown nowhere: not there, not in errors, not in the log.
The smallest file that works:

```toml
[[listeners]]
listen = \"0.0.0.0:3333\"

[[coins.btc.pools]]
url = \"stratum+tcp://btc.pool.example:3333\"
```
";

/// Writes the commented default file.
pub fn default_file() -> String {
    let mut text = String::from(FILE_HEAD);
    for section in SECTIONS {
        let path = section.path.replace("<coin>", "btc");
        text.push('\n');
        let _ = writeln!(text, "# {}", section.about);
        match (path.strip_suffix("[]"), path.is_empty()) {
            (_, true) => {}
            (Some(list), false) => {
                let _ = writeln!(text, "[[{}]]", list.replace("[]", ""));
            }
            (None, false) => {
                let _ = writeln!(text, "[{}]", path.replace("[]", ""));
            }
        }
        for key in section.keys {
            file_lines(&mut text, key);
        }
        if section.path.ends_with("pacing") {
            text.push_str(SECOND_COIN);
        }
    }
    text
}

fn file_lines(text: &mut String, key: &Key) {
    let Key { name, about, .. } = key;
    let _ = match key.fallback {
        Fallback::Derived(words, example) => {
            writeln!(text, "# {about} Default: {words}.\n#{name} = {example}")
        }
        Fallback::Is(literal) => writeln!(text, "# {about}\n#{name} = {literal}"),
        Fallback::Must(example) => writeln!(text, "# {about}\n{name} = {example}"),
        Fallback::Unset(words, example) => {
            writeln!(text, "# {about} Default: {words}.\n# {name} = {example}")
        }
    };
}

/// Writes `docs/configuration.md`.
pub fn page() -> String {
    let mut text = String::from(PAGE_HEAD);
    for section in SECTIONS {
        let _ = writeln!(text, "\n## {}\n\n{}\n", title(section), section.about);
        text.push_str("| key | default | accepted | what it is for |\n|---|---|---|---|\n");
        for key in section.keys {
            let default = match key.fallback {
                Fallback::Derived(words, _) | Fallback::Unset(words, _) => words.to_owned(),
                Fallback::Is(literal) => format!("`{literal}`"),
                Fallback::Must(_) => "must be given".into(),
            };
            let accepted = key.form.accepted().replace('|', "\\|");
            let _ = writeln!(text, "| `{}` | {default} | {accepted} | {} |", key.name, key.about);
        }
    }
    text
}

fn title(section: &Section) -> String {
    match section.path.strip_suffix("[]") {
        _ if section.path.is_empty() => "Top level".into(),
        Some(list) => format!("`[[{}]]`", list.replace("[]", "")),
        None => format!("`[{}]`", section.path.replace("[]", "")),
    }
}
