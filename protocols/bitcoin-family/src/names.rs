//! Worker names: what is kept of what a miner sends, and what a pool is told instead.

use switcher_plugin::ProfileError;

/// Longest worker name that is taken. Whatsminer's own limit is 127, DATUM's 191.
pub(crate) const MAX_NAME: usize = 256;

/// What is kept of a worker name: the characters that the Go original kept, because sub-accounts are
/// looked up by what it made of them. `%3A` is a colon that a firmware's web form has encoded.
pub(crate) fn clean(name: &str) -> String {
    let decoded = name.replace("%3A", ":").replace("%3a", ":");
    let keeps = |c: &char| c.is_ascii_alphanumeric() || "._:|^/-".contains(*c);
    decoded.chars().filter(keeps).collect()
}

/// The sub-account and the rest, which begins with the dot if there is one.
pub(crate) fn split(worker: &str) -> (&str, &str) {
    worker.split_at(worker.find('.').unwrap_or(worker.len()))
}

/// How a pool wants addresses in user names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefix<'a> {
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
pub(crate) struct Placeholders<'a> {
    /// The worker as the miner logged in.
    pub(crate) worker: &'a str,
    /// The sub-account as its source spells it, if that is known.
    pub(crate) canonical: Option<&'a str>,
    /// What is put behind the sub-account (`_btc`), or nothing.
    pub(crate) suffix: &'a str,
    /// What happens to an address prefix.
    pub(crate) prefix: Prefix<'a>,
}

impl Placeholders<'_> {
    /// Fills a template that [`check_template`] has accepted.
    pub(crate) fn fill(&self, template: &str) -> String {
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
pub(crate) fn check_template(key: &str, template: &str) -> Result<(), ProfileError> {
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
        assert_eq!(clean("bitcoincash%3Aqpm2.s19"), "bitcoincash:qpm2.s19");
        assert_eq!(clean("'; DROP TABLE shares;--"), "DROPTABLEshares--");
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
