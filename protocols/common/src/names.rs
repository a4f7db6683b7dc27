//! Names of miners: what is kept of what they send, and what a pool is told instead.

use std::borrow::Cow;

use jsonrpc::{elements, text};
use switcher_plugin::ProfileError;

/// Longest worker name that is taken, in bytes. Whatsminer's own limit is 127, DATUM's 191.
pub const MAX_NAME: usize = 256;

/// Why a name is not taken: code and text of the Go original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameError(pub i32, pub &'static str);

/// The name that a login gives, made by `make` of what stands first among its parameters.
///
/// # Errors
///
/// There is none, or it cannot be one.
pub fn read_name(
    params: &[u8],
    make: impl FnOnce(Cow<'_, str>) -> String,
) -> Result<String, NameError> {
    let Some(first) = elements(params).next() else {
        return Err(NameError(103, "Too Few Params"));
    };
    let Some(login) = text(first) else {
        return Err(NameError(104, "Worker Name Must be a String"));
    };
    let name = make(login);
    if split(&name).0.is_empty() {
        return Err(NameError(105, "Sub-account Name Cannot be Empty"));
    }
    if name.len() > MAX_NAME {
        return Err(NameError(29, "Invalid username"));
    }
    Ok(name)
}

/// What is kept of a name: the characters that the Go original kept, because sub-accounts are looked
/// up by what it made of them.
pub fn clean(name: &str) -> String {
    let keeps = |c: &char| c.is_ascii_alphanumeric() || "._:|^/-".contains(*c);
    name.chars().filter(keeps).collect()
}

/// A text of a peer that is kept up to `most` bytes.
pub fn shortened(text: Cow<'_, str>, most: usize) -> Box<str> {
    let mut text = text.into_owned();
    while text.len() > most {
        text.pop();
    }
    text.into()
}

/// The sub-account and the rest, which begins with the dot if there is one.
pub fn split(worker: &str) -> (&str, &str) {
    worker.split_at(worker.find('.').unwrap_or(worker.len()))
}

/// How a pool wants addresses in user names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix<'a> {
    /// As the miner gave them.
    Keep,
    /// Without any of these.
    Strip(&'a [String]),
}

impl Prefix<'_> {
    fn apply(self, name: &str) -> &str {
        match self {
            Self::Keep => name,
            Self::Strip(prefixes) => prefixes
                .iter()
                .find_map(|prefix| {
                    let start = name.get(..prefix.len())?;
                    start.eq_ignore_ascii_case(prefix).then(|| name.get(prefix.len()..))?
                })
                .unwrap_or(name),
        }
    }
}

/// What the placeholders of a template stand for.
#[derive(Debug, Clone, Copy)]
pub struct Placeholders<'a> {
    /// The worker as the miner logged in.
    pub worker: &'a str,
    /// The sub-account as its source spells it, if that is known.
    pub canonical: Option<&'a str>,
    /// What is put behind the sub-account (`_btc`), or nothing.
    pub suffix: &'a str,
    /// What happens to an address prefix.
    pub prefix: Prefix<'a>,
}

impl Placeholders<'_> {
    /// Fills a template that [`check_template`] has accepted.
    pub fn fill(&self, template: &str) -> String {
        let (sub_account, rest) = split(self.worker);
        let canonical = self.canonical.unwrap_or(sub_account);
        let named = |name: &str| format!("{}{}", self.prefix.apply(name), self.suffix);
        let mut filled = String::with_capacity(template.len() + self.worker.len());
        let mut tail = template;
        while let Some((before, after)) = tail.split_once('{') {
            filled.push_str(before);
            let (key, after) = after.split_once('}').unwrap_or((after, ""));
            match key {
                "worker" => {
                    filled.push_str(&named(canonical));
                    filled.push_str(rest);
                }
                "sub_account" => filled.push_str(&named(sub_account)),
                "canonical" => filled.push_str(&named(canonical)),
                "rig" => filled.push_str(rest.strip_prefix('.').unwrap_or(rest)),
                _ => {}
            }
            tail = after;
        }
        filled.push_str(tail);
        filled
    }
}

/// Checks that a template has no unknown placeholder.
///
/// # Errors
///
/// It has one, or a bracket that does not close.
pub fn check_template(key: &str, template: &str) -> Result<(), ProfileError> {
    let mut tail = template;
    while let Some((_, after)) = tail.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or(("", after));
        if !matches!(name, "worker" | "sub_account" | "rig" | "canonical") {
            return Err(ProfileError {
                key: key.to_owned(),
                problem: format!("{template:?} has a placeholder that there is none of"),
                accepted: "{worker}, {sub_account}, {rig} and {canonical} are known".to_owned(),
            });
        }
        tail = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, worker: &str, canonical: Option<&str>, suffix: &str) -> String {
        Placeholders { worker, canonical, suffix, prefix: Prefix::Keep }.fill(template)
    }

    #[test]
    fn names_are_cleaned_as_the_original_did() {
        assert_eq!(clean("alice.rig1"), "alice.rig1");
        assert_eq!(clean("a l@i$c%e+.r,1;"), "alice.r1");
        assert_eq!(clean("\u{0}hid\u{202e}den"), "hidden");
        assert_eq!(clean("'; DROP TABLE shares;--"), "DROPTABLEshares--");
    }

    #[test]
    fn logins_without_a_name_are_told_why() {
        let read = |params: &str| read_name(params.as_bytes(), |login| clean(&login));
        let long = format!("[\"{}\"]", "a".repeat(MAX_NAME + 1));

        assert_eq!(read(r#"["a$.b","x"]"#), Ok("a.b".to_owned()));
        for (params, code) in
            [("[]", 103), ("[1]", 104), (r#"["$"]"#, 105), (r#"[".rig"]"#, 105), (&long, 29)]
        {
            assert_eq!(read(params).unwrap_err().0, code, "{params}");
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(&*shortened("ab\u{e4}".into(), 3), "ab");
        assert_eq!(&*shortened("abc".into(), 3), "abc");
    }

    #[test]
    fn the_sub_account_stands_before_the_first_dot() {
        assert_eq!(split("alice.rig1.fan2"), ("alice", ".rig1.fan2"));
        assert_eq!(split("alice"), ("alice", ""));
        assert_eq!(split(".rig"), ("", ".rig"));
        assert_eq!(split("bitcoincash:qpm2.s19").0, "bitcoincash:qpm2");
    }

    #[test]
    fn templates_are_filled() {
        assert_eq!(filled("{worker}", "alice.rig", None, ""), "alice.rig");
        assert_eq!(filled("{worker}", "ALICE.rig", Some("Alice"), ""), "Alice.rig");
        assert_eq!(filled("{worker}", "alice.rig", None, "_btc"), "alice_btc.rig");
        assert_eq!(filled("{worker}", "ALICE.rig", Some("Alice"), "_eth"), "Alice_eth.rig");
        assert_eq!(filled("0xab.{sub_account}-{rig}", "alice.r.1", None, ""), "0xab.alice-r.1");
        assert_eq!(filled("1Pool.{sub_account}-{rig}", "alice.rig", None, ""), "1Pool.alice-rig");
        assert_eq!(filled("{canonical}x{rig}", "alice", Some("A"), ""), "Ax");
    }

    #[test]
    fn an_address_prefix_is_stripped_in_any_case() {
        let prefixes = ["bitcoincash:".to_owned(), "bchtest:".to_owned()];
        let strip = |worker| {
            Placeholders { worker, canonical: None, suffix: "", prefix: Prefix::Strip(&prefixes) }
                .fill("{worker}")
        };

        assert_eq!(strip("bitcoincash:qpm2.s19"), "qpm2.s19");
        assert_eq!(strip("BITCOINCASH:QPM2.s19"), "QPM2.s19");
        assert_eq!(strip("qpm2.s19"), "qpm2.s19");
    }

    #[test]
    fn unknown_placeholders_are_refused() {
        assert!(check_template("user", "{sub_account}.{rig}").is_ok());
        assert!(check_template("user", "{name}").is_err());
        assert!(check_template("user", "{rig").is_err());
        assert!(check_template("user", "{").is_err());
    }
}
