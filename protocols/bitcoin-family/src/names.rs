//! Worker names: what is kept of what a miner sends.

/// What is kept of a worker name. `%3A` is a colon that a firmware's web form has encoded.
pub(crate) fn clean(name: &str) -> String {
    stratum_common::names::clean(&name.replace("%3A", ":").replace("%3a", ":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_colon_is_kept() {
        assert_eq!(clean("bitcoincash%3Aqpm2.s19"), "bitcoincash:qpm2.s19");
        assert_eq!(clean("bitcoincash%3aqpm2.$19"), "bitcoincash:qpm2.19");
    }
}
