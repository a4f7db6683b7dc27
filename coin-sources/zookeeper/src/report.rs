//! What is told to the outside: notices, counters, and the health of the source put into one
//! sentence that is said when it changes. Decides nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use switcher_plugin::{BoardWriter, Notice};

use crate::counters::Counters;

/// Paths named in one sentence.
const NAMED: usize = 3;
/// Paths with a problem that are kept; further ones are only counted elsewhere.
const KEPT: usize = 1000;

/// Takes everything the outside shall know.
#[derive(Debug)]
pub(crate) struct Report {
    board: BoardWriter,
    pub(crate) counters: Arc<Counters>,
    link: Result<String, String>,
    server_id: Option<String>,
    /// What is wrong with single nodes.
    denied: BTreeMap<String, String>,
    bad: BTreeMap<String, String>,
    said: Option<(bool, String)>,
}

impl Report {
    pub(crate) fn new(board: BoardWriter, counters: Arc<Counters>) -> Self {
        Self {
            board,
            counters,
            link: Err("connecting for the first time".into()),
            server_id: None,
            denied: BTreeMap::new(),
            bad: BTreeMap::new(),
            said: None,
        }
    }

    pub(crate) fn post(&self, notice: Notice) {
        self.board.post(notice);
    }

    /// The connection stands and everything is being read.
    pub(crate) fn link_up(&mut self, endpoint: &str) {
        self.link = Ok(endpoint.to_owned());
    }

    pub(crate) fn link_down(&mut self, why: &str) {
        self.link = Err(why.to_owned());
    }

    /// What keeps us from having a number in the fleet, if anything does.
    pub(crate) fn server_id(&mut self, problem: Option<String>) {
        if let (Some(problem), true) = (&problem, self.server_id != problem) {
            tracing::warn!(%problem, "no server id");
        }
        self.server_id = problem;
    }

    /// A node whose value is of no use.
    pub(crate) fn bad_value(&mut self, path: &str, why: &str) {
        self.counters.bad_values.add();
        tracing::warn!(path, why, "value of a node ignored");
        note(&mut self.bad, path, why);
    }

    /// A node that is of no use, said once.
    pub(crate) fn unusable(&mut self, path: &str, why: &str) {
        if !self.bad.contains_key(path) {
            self.bad_value(path, why);
        }
    }

    /// A node we may not read or make.
    pub(crate) fn denied(&mut self, path: &str, why: &str) {
        if self.denied.get(path).is_none_or(|known| known != why) {
            tracing::warn!(path, why, "node out of reach");
            note(&mut self.denied, path, why);
        }
    }

    /// Nothing is wrong with this node.
    pub(crate) fn fine(&mut self, path: &str) {
        self.bad.remove(path);
        self.denied.remove(path);
    }

    /// Says how things are if that has changed.
    pub(crate) fn flush(&mut self) {
        let healthy = self.link.is_ok() && self.server_id.is_none() && self.denied.is_empty();
        let mut detail = match &self.link {
            Ok(endpoint) => format!("connected to {endpoint}"),
            Err(why) => format!("not connected: {why}"),
        };
        if let Some(problem) = &self.server_id {
            write!(detail, "; {problem}").ok();
        }
        list(&mut detail, "", &self.denied);
        list(&mut detail, "unusable value: ", &self.bad);
        let now = (healthy, detail);
        if self.said.as_ref() == Some(&now) {
            return;
        }
        if self.said.as_ref().is_none_or(|(before, _)| *before != healthy) {
            tracing::info!(healthy, detail = now.1, "zookeeper");
        }
        self.post(Notice::Health { healthy, detail: now.1.clone() });
        self.said = Some(now);
    }
}

fn note(of: &mut BTreeMap<String, String>, path: &str, why: &str) {
    if of.len() < KEPT || of.contains_key(path) {
        of.insert(path.to_owned(), why.to_owned());
    }
}

fn list(detail: &mut String, lead: &str, problems: &BTreeMap<String, String>) {
    for (path, why) in problems.iter().take(NAMED) {
        write!(detail, "; {lead}{path} {why}").ok();
    }
    if let Some(more) = problems.len().checked_sub(NAMED).filter(|more| *more > 0) {
        write!(detail, "; and {more} more").ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn report() -> (Report, Arc<Mutex<Vec<Notice>>>) {
        let posted = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&posted);
        let board = BoardWriter::new(move |notice| sink.lock().unwrap().push(notice));
        (Report::new(board, Arc::default()), posted)
    }

    #[test]
    fn health_is_said_on_change_only() {
        let (mut report, posted) = report();

        report.link_up("zk1:2181");
        report.flush();
        report.flush();

        let detail = "connected to zk1:2181".to_owned();
        assert_eq!(*posted.lock().unwrap(), [Notice::Health { healthy: true, detail }]);
    }

    #[test]
    fn garbage_is_named_but_no_illness() {
        let (mut report, posted) = report();

        report.link_up("zk1");
        report.bad_value("/coins/alice", "is not UTF-8");
        report.flush();

        let detail = "connected to zk1; unusable value: /coins/alice is not UTF-8".to_owned();
        assert_eq!(posted.lock().unwrap().last(), Some(&Notice::Health { healthy: true, detail }));
    }

    #[test]
    fn denied_node_is_an_illness_until_it_is_fine() {
        let (mut report, posted) = report();

        report.link_up("zk1");
        report.denied("/coins/alice", "not authorised (NoAuth)");
        report.flush();
        report.fine("/coins/alice");
        report.flush();

        let posted = posted.lock().unwrap();
        let healthy: Vec<bool> =
            posted.iter().map(|n| matches!(n, Notice::Health { healthy: true, .. })).collect();
        assert_eq!(healthy, [false, true]);
    }

    #[test]
    fn many_problems_are_counted_not_listed() {
        let (mut report, posted) = report();

        for i in 0..2000 {
            report.denied(&format!("/coins/{i}"), "not authorised (NoAuth)");
        }
        report.flush();

        let posted = posted.lock().unwrap();
        let Some(Notice::Health { detail, .. }) = posted.last() else { panic!("no health") };
        assert!(detail.ends_with("and 997 more"), "{detail}");
    }
}
