//! Names of people and their addresses in the log: written out, or as a short keyed hash that is
//! the same every time, so that a miner can be followed without being known.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use sha2::{Digest as _, Sha256};

/// Fields that hold names or addresses.
pub const FIELDS: [&str; 3] = ["worker", "sub_account", "peer"];

/// How names are written.
#[derive(Clone)]
pub enum Names {
    /// As they are.
    Full,
    /// As hashes with this key.
    Hash([u8; 32]),
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full => "Full",
            Self::Hash(_) => "Hash",
        })
    }
}

impl Names {
    /// Hashes with this key, or with one that belongs to the machine: it survives restarts, and
    /// nobody outside can try names with it.
    pub fn hashed(key: Option<&str>) -> Self {
        let key = match key {
            Some(key) => key.to_owned(),
            None => std::fs::read_to_string("/etc/machine-id").unwrap_or_else(|_| {
                // No machine id: the boot's own id keeps hashes alike until the next boot.
                std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
            }),
        };
        Self::Hash(Sha256::digest(format!("stratum-switcher log names {}", key.trim())).into())
    }

    /// What is written for the value of a field.
    pub fn shown(&self, field: &str, value: &str) -> String {
        match self {
            Self::Hash(key) if FIELDS.contains(&field) => match field {
                // The two parts by themselves, so that a sub-account's workers are seen to be its.
                "worker" => match value.split_once('.') {
                    Some((sub_account, rest)) => {
                        format!("{}.{}", hash(key, sub_account), hash(key, rest))
                    }
                    None => hash(key, value),
                },
                "peer" => hash(key, &address_of(value)),
                _ => hash(key, value),
            },
            _ => value.to_owned(),
        }
    }
}

/// The address without the port, which differs with each connection.
fn address_of(peer: &str) -> String {
    let address = peer.parse::<SocketAddr>().map(|peer| peer.ip());
    match address.or_else(|_| peer.parse::<IpAddr>()) {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => peer.to_owned(),
    }
}

fn hash(key: &[u8; 32], value: &str) -> String {
    let digest = Sha256::new().chain_update(key).chain_update(value).finalize();
    digest.iter().take(5).fold(String::from("#"), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_stable_and_depend_on_the_key() {
        let (one, other) = (Names::hashed(Some("a")), Names::hashed(Some("b")));

        let shown = one.shown("sub_account", "alice");

        assert_eq!(shown.len(), 11);
        assert!(shown.starts_with('#'));
        assert_eq!(shown, Names::hashed(Some("a")).shown("sub_account", "alice"));
        assert_ne!(shown, other.shown("sub_account", "alice"));
        assert_eq!(one.shown("coin", "btc"), "btc");
    }

    #[test]
    fn worker_begins_with_the_hash_of_its_sub_account() {
        let names = Names::hashed(Some("a"));

        let worker = names.shown("worker", "alice.rig.1");

        let sub_account = names.shown("sub_account", "alice");
        assert_eq!(worker, format!("{sub_account}.{}", names.shown("sub_account", "rig.1")));
    }

    #[test]
    fn peer_is_known_again_on_another_port() {
        let names = Names::hashed(Some("a"));

        let peers = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.1", "[::ffff:192.0.2.1]:3"];

        let shown: Vec<_> = peers.iter().map(|peer| names.shown("peer", peer)).collect();
        assert!(shown.iter().all(|one| one == shown.first().unwrap()), "{shown:?}");
    }
}
