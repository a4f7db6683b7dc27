//! Whether the host is large enough for what is configured, and making use of what it offers.
//!
//! The findings are worked out from plain facts, so that tests can make them up.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use switcher_core::settings::Limits;

/// Sockets one miner and its pool need.
const PER_SESSION: u64 = 2;

/// Backlog below which a burst of newcomers is felt.
const USUAL_BACKLOG: u64 = 1024;

/// Raises the soft limit of open files to the hard one; returns the limit in force.
///
/// # Errors
///
/// The system refuses.
pub(crate) fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// What the host allows; `None` where it does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Hard limit of open files.
    open_files: Option<u64>,
    /// First and last port the system chooses for outgoing connections.
    ports: Option<(u64, u64)>,
    /// Longest queue of connections nobody accepted yet.
    backlog: Option<u64>,
    /// Connections the packet filter can follow.
    tracked: Option<u64>,
}

impl Facts {
    /// The facts of this host.
    pub(crate) fn read() -> Self {
        let numbers = |path: &str| -> Vec<u64> {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
        };
        let ports = numbers("/proc/sys/net/ipv4/ip_local_port_range");
        Self {
            open_files: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(_, hard)| hard),
            ports: <[u64; 2]>::try_from(ports).ok().map(|[first, last]| (first, last)),
            backlog: numbers("/proc/sys/net/core/somaxconn").first().copied(),
            tracked: numbers("/proc/sys/net/netfilter/nf_conntrack_max").first().copied(),
        }
    }
}

/// One thing found out about the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Whether it will do.
    pub(crate) good: bool,
    /// What was found, and what to do about it if it will not do.
    pub(crate) text: String,
}

/// Compares the host with the limits.
pub(crate) fn findings(facts: &Facts, limits: &Limits) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |good, text| findings.push(Finding { good, text });
    let kept = (limits.reserved_descriptors + limits.switch_descriptors) as u64;
    let asked = limits.sessions as u64;
    let room = facts.open_files.map(|files| files.saturating_sub(kept) / PER_SESSION);
    match (facts.open_files, room) {
        (Some(files), Some(room)) if room < asked.max(1) => {
            let needed = asked.max(1) * PER_SESSION + kept;
            add(
                false,
                format!(
                    "open files: {files} are room for {room} miners; for {} raise the hard limit to {needed} (LimitNOFILE= of a systemd unit, ulimit -Hn of a shell)",
                    asked.max(1)
                ),
            );
        }
        (Some(files), Some(room)) => {
            add(true, format!("open files: {files} are room for {room} miners"));
        }
        _ => add(true, "open files: the system does not say".into()),
    }
    // Without a number asked for, whatever is there is made use of.
    let sessions = if asked > 0 { asked } else { room.unwrap_or(0).min(1) };
    if let Some((first, last)) = facts.ports {
        let ports = (last + 1).saturating_sub(first);
        let text =
            format!("outgoing ports: {ports} ({first} to {last}) for each address of a pool");
        if ports < sessions {
            add(
                false,
                format!(
                    "{text}; for {sessions} miners at one pool widen net.ipv4.ip_local_port_range"
                ),
            );
        } else {
            add(true, text);
        }
    }
    if let Some(backlog) = facts.backlog {
        let text = format!("accept queue: {backlog}");
        if backlog < USUAL_BACKLOG {
            add(false, format!("{text}; raise net.core.somaxconn to {USUAL_BACKLOG} or more"));
        } else {
            add(true, text);
        }
    }
    if let Some(tracked) = facts.tracked {
        let text = format!("tracked connections: {tracked}");
        if tracked < sessions * PER_SESSION {
            let needed = sessions * PER_SESSION;
            add(false, format!("{text}; raise net.netfilter.nf_conntrack_max above {needed}"));
        } else {
            add(true, text);
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Facts = Facts {
        open_files: Some(20_384),
        ports: Some((32_768, 60_999)),
        backlog: Some(4096),
        tracked: Some(65_536),
    };

    #[test]
    fn large_host_will_do() {
        let found = findings(&LARGE, &Limits { sessions: 10_000, ..Limits::default() });

        let texts: Vec<_> = found.iter().map(|one| one.text.as_str()).collect();
        assert!(found.iter().all(|one| one.good), "{found:?}");
        assert_eq!(
            texts,
            [
                "open files: 20384 are room for 10000 miners",
                "outgoing ports: 28232 (32768 to 60999) for each address of a pool",
                "accept queue: 4096",
                "tracked connections: 65536",
            ]
        );
    }

    #[test]
    fn small_host_is_told_what_to_raise() {
        let small = Facts { open_files: Some(1024), backlog: Some(128), tracked: Some(9), ..LARGE };

        let found = findings(&small, &Limits { sessions: 30_000, ..Limits::default() });

        let texts: Vec<_> = found.iter().map(|one| (one.good, one.text.as_str())).collect();
        assert_eq!(
            texts,
            [
                (
                    false,
                    "open files: 1024 are room for 320 miners; for 30000 raise the hard limit to 60384 (LimitNOFILE= of a systemd unit, ulimit -Hn of a shell)"
                ),
                (
                    false,
                    "outgoing ports: 28232 (32768 to 60999) for each address of a pool; for 30000 miners at one pool widen net.ipv4.ip_local_port_range"
                ),
                (false, "accept queue: 128; raise net.core.somaxconn to 1024 or more"),
                (false, "tracked connections: 9; raise net.netfilter.nf_conntrack_max above 60000"),
            ]
        );
    }

    #[test]
    fn no_number_asked_for_is_content_with_what_is_there() {
        let facts = Facts { open_files: Some(1024), ..LARGE };

        let found = findings(&facts, &Limits::default());

        assert!(found.iter().all(|one| one.good), "{found:?}");
    }

    #[test]
    fn open_files_are_raised_to_the_hard_limit() {
        let limit = raise_open_files().unwrap();

        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (limit, limit));
    }
}
