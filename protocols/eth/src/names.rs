//! Names of miners as the Go original makes them.

use stratum_common::names::clean;

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
}
