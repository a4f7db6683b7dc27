//! The books of miners and pools side by side, and what is wrong with them.

use stratum_peers::{MinerReport, PoolReport};

/// Books at one moment.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Miners by worker name.
    pub(super) miners: Vec<(&'static str, MinerReport)>,
    /// Pools by coin.
    pub(super) pools: Vec<(&'static str, PoolReport)>,
}

impl Books {
    /// Shares of a worker that the pool of a coin accepted.
    pub(super) fn accepted(&self, coin: &str, worker: &str) -> u64 {
        let pool = self.pools.iter().find(|(name, _)| *name == coin);
        pool.and_then(|(_, report)| report.accepted_by_name.get(worker)).copied().unwrap_or(0)
    }

    /// The address of a miner's connection.
    pub(super) fn connection(&self, worker: &str) -> String {
        let miner = self.miners.iter().find(|(name, _)| *name == worker);
        match miner.and_then(|(_, report)| report.local_address) {
            Some(address) => address.to_string(),
            None => "none".into(),
        }
    }

    /// Whether no share waits for its answer.
    pub(super) fn is_settled(&self) -> bool {
        self.miners.iter().all(|(_, report)| report.unanswered == 0)
    }

    /// One line per miner.
    pub(super) fn table(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (worker, report) in &self.miners {
            let at: Vec<_> = self
                .pools
                .iter()
                .map(|(coin, _)| format!("{} by {coin}", self.accepted(coin, worker)))
                .collect();
            lines.push(format!(
                "  {worker}: {} shares: {}, {} refused, {} without an answer; {} connection{}",
                report.submitted,
                at.join(", "),
                report.rejected_total(),
                report.unanswered + report.lost,
                report.connections,
                if report.connections == 1 { "" } else { "s" },
            ));
        }
        lines
    }

    /// What is wrong, in words.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (worker, report) in &self.miners {
            let by_pools: u64 =
                self.pools.iter().map(|(coin, _)| self.accepted(coin, worker)).sum();
            let checks = [
                (report.connections != 1 || !report.connected, "was disconnected"),
                (report.accepted == 0, "had no share accepted"),
                (report.rejected_total() > 0, "had shares refused"),
                (report.lost + report.unanswered > 0, "had shares without an answer"),
                (report.accepted != by_pools, "was told something else than its pools have booked"),
            ];
            let wrong = checks.iter().filter(|(wrong, _)| *wrong);
            faults.extend(wrong.map(|(_, what)| format!("{worker} {what}")));
            faults
                .extend(report.violations.iter().map(|what| format!("{worker} complains: {what}")));
        }
        for (coin, report) in &self.pools {
            let complaints = report.violations.iter();
            faults.extend(complaints.map(|what| format!("the {coin} pool complains: {what}")));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_books_have_no_faults() {
        assert_eq!(good().faults(), Vec::<String>::new());
        assert_eq!(
            good().table(),
            [
                "  alice.rig1: 7 shares: 4 by btc, 3 by bch, 0 refused, 0 without an answer; 1 connection"
            ]
        );
    }

    #[test]
    fn every_kind_of_fault_is_found() {
        type Change = fn(&mut MinerReport);
        let cases: [(Change, &str); 6] = [
            (|report| report.connections = 2, "alice.rig1 was disconnected"),
            (|report| report.connected = false, "alice.rig1 was disconnected"),
            (
                |report| {
                    report.rejected.insert(21, 1);
                },
                "alice.rig1 had shares refused",
            ),
            (|report| report.lost = 1, "alice.rig1 had shares without an answer"),
            (
                |report| report.accepted = 6,
                "alice.rig1 was told something else than its pools have booked",
            ),
            (
                |report| report.violations.push("twice answered".into()),
                "alice.rig1 complains: twice answered",
            ),
        ];

        for (change, expected) in cases {
            let mut books = good();
            change(&mut books.miners.first_mut().unwrap().1);

            assert_eq!(books.faults(), [expected]);
        }
    }

    fn good() -> Books {
        let mut miner = MinerReport::default();
        miner.connected = true;
        (miner.connections, miner.submitted, miner.accepted) = (1, 7, 7);
        let (mut btc, mut bch) = (PoolReport::default(), PoolReport::default());
        btc.accepted_by_name.insert("alice.rig1".into(), 4);
        bch.accepted_by_name.insert("alice.rig1".into(), 3);
        Books { miners: vec![("alice.rig1", miner)], pools: vec![("btc", btc), ("bch", bch)] }
    }
}
