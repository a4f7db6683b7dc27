//! What is known about miners by the agent they name in `mining.subscribe`. One row per fact, with
//! its source; nothing else in this crate looks at an agent's name.

/// What a miner's agent implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Quirks {
    /// The smallest extranonce2 size the miner can work with.
    pub(crate) extranonce2_least: u8,
    /// The miner is known to obey `mining.set_version_mask` while it mines.
    pub(crate) obeys_version_mask: bool,
}

/// A word of an agent's name, in lower case, and what it implies.
struct Row {
    agent: &'static str,
    quirks: Quirks,
}

const NONE: Quirks = Quirks { extranonce2_least: 0, obeys_version_mask: false };

const ROWS: &[Row] = &[
    // NiceHash as a client spreads one connection over many miners and wants room for it.
    Row { agent: "nicehash/", quirks: Quirks { extranonce2_least: 4, ..NONE } },
    // BTCAgent of version 2 hands every mask on to its miners (btccom/btcagent); older ones look at
    // none after login.
    Row { agent: "btccom-agent/2", quirks: Quirks { obeys_version_mask: true, ..NONE } },
    // Avalon's controllers need 3 bytes (the avalon drivers of Canaan's cgminer).
    Row { agent: "avalon", quirks: Quirks { extranonce2_least: 3, ..NONE } },
    // cgminer reads the mask anew with every set_version_mask (parse_version_mask in util.c).
    Row { agent: "cgminer/", quirks: Quirks { obeys_version_mask: true, ..NONE } },
    // AxeOS takes it at once (stratum_v1_task.c); its agents are bitaxe and the forks' names.
    Row { agent: "bitaxe", quirks: Quirks { obeys_version_mask: true, ..NONE } },
    Row { agent: "nerdqaxe", quirks: Quirks { obeys_version_mask: true, ..NONE } },
];

impl Quirks {
    /// What is known about `agent`; all rows that fit, together.
    pub(crate) fn of(agent: &str) -> Self {
        let agent = agent.to_ascii_lowercase();
        let mut all = NONE;
        for row in ROWS.iter().filter(|row| agent.contains(row.agent)) {
            all.extranonce2_least = all.extranonce2_least.max(row.quirks.extranonce2_least);
            all.obeys_version_mask |= row.quirks.obeys_version_mask;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_known_by_a_word_of_their_name_in_any_case() {
        assert_eq!(Quirks::of("NiceHash/1.0.0").extranonce2_least, 4);
        assert!(Quirks::of("btccom-agent/2.0.1").obeys_version_mask);
        assert!(!Quirks::of("btccom-agent/0.1").obeys_version_mask);
        assert!(Quirks::of("cgminer/4.11.1").obeys_version_mask);
        assert!(!Quirks::of("bmminer/2.0.0").obeys_version_mask);
        assert_eq!(Quirks::of(""), NONE);
    }
}
