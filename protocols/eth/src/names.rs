//! Names of miners: what is kept of what they send, and what a pool is told instead.

use switcher_plugin::ProfileError;

/// Longest name that is taken.
pub(crate) const MAX_NAME: usize = 256;

/// An address with the dot behind it, which the Go original drops.
const ADDRESS: usize = 42;

/// The name of a miner as the Go original makes it of the login and the `worker` member: both
/// cleaned and joined by a dot, and without a leading address if something follows it. Sub-accounts
/// are looked up by what comes out.
pub(crate) fn full_name(login: &str, worker: Option<&str>) -> String {
    let mut name = clean(login);
    let worker = worker.map(clean).unwrap_or_default();
    if !worker.is_empty() {
        name.push('.');
        name.push_str(&worker);
    }
    match name.split_once('.') {
        Some((address, rest)) if is_address(address) => rest.to_owned(),
        _ => name,
    }
}

fn is_address(text: &str) -> bool {
    text.len() == ADDRESS && text.starts_with("0x")
}

fn clean(name: &str) -> String {
    let keeps = |c: &char| c.is_ascii_alphanumeric() || "._:|^/-".contains(*c);
    name.chars().filter(keeps).collect()
}

/// The sub-account and the rest, which begins with the dot if there is one.
pub(crate) fn split(worker: &str) -> (&str, &str) {
    worker.split_at(worker.find('.').unwrap_or(worker.len()))
}

/// Fills a template that [`check_template`] has accepted. `suffix` is put behind the sub-account.
pub(crate) fn fill(template: &str, worker: &str, canonical: Option<&str>, suffix: &str) -> String {
    let (sub_account, rest) = split(worker);
    let canonical = canonical.unwrap_or(sub_account);
    let mut filled = String::with_capacity(template.len() + worker.len());
    let mut tail = template;
    while let Some((before, after)) = tail.split_once('{') {
        let (key, after) = after.split_once('}').unwrap_or((after, ""));
        let parts = match key {
            "worker" => [canonical, suffix, rest],
            "sub_account" => [sub_account, suffix, ""],
            "canonical" => [canonical, suffix, ""],
            "rig" => [rest.strip_prefix('.').unwrap_or(rest), "", ""],
            _ => [""; 3],
        };
        filled.push_str(before);
        filled.extend(parts);
        tail = after;
    }
    filled.push_str(tail);
    filled
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

    const ADDRESS: &str = "0x00d8c82Eb65124Ea3452CaC59B64aCC230AA3482";

    #[test]
    fn names_are_made_as_the_original_made_them() {
        for (login, worker, name) in [
            ("test", Some("aaa"), "test.aaa".to_owned()),
            ("test.aaa", Some(""), "test.aaa".to_owned()),
            (&format!("{ADDRESS}.test.aaa"), Some("eth1.0"), "test.aaa.eth1.0".to_owned()),
            (ADDRESS, Some("test.aaa"), "test.aaa".to_owned()),
            (&format!("{ADDRESS}.win"), Some("eth1.0"), "win.eth1.0".to_owned()),
            (ADDRESS, None, ADDRESS.to_owned()),
            (ADDRESS, Some("eth1.0"), "eth1.0".to_owned()),
            ("sp_nbminer", Some("53952F3B"), "sp_nbminer.53952F3B".to_owned()),
            ("a.%THIS%", Some("rig$0-x"), "a.THIS.rig0-x".to_owned()),
            ("0xshort.rig", None, "0xshort.rig".to_owned()),
        ] {
            assert_eq!(full_name(login, worker), name);
        }
    }

    #[test]
    fn templates_are_filled() {
        assert_eq!(fill("{worker}", "alice.rig", None, ""), "alice.rig");
        assert_eq!(fill("{worker}", "ALICE.rig", Some("Alice"), "_eth"), "Alice_eth.rig");
        assert_eq!(fill("0xab.{sub_account}-{rig}", "alice.r.1", None, ""), "0xab.alice-r.1");
        assert_eq!(fill("{canonical}x{rig}", "alice", Some("A"), ""), "Ax");
        assert!(check_template("user", "{sub_account}.{rig}").is_ok());
        assert!(check_template("user", "{name}").is_err());
        assert!(check_template("user", "{").is_err());
    }
}
