//! What an operator can set, and the checks that need no server. Reads no file but the one that
//! holds the credentials; knows nothing of how the settings are laid over each other.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::layout::is_path;

/// Settings of the ZooKeeper coin source. All directories are absolute paths; a slash at the end
/// is allowed and means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The servers of the ensemble, `host` or `host:port` (port 2181 if none is given). Names are
    /// looked up anew for each connection.
    pub servers: Vec<String>,
    /// Put before every path below. None by default.
    #[serde(default)]
    pub chroot: Option<String>,
    /// The coin of a sub-account is the value of `<watch_dir>/<sub-account>`.
    pub watch_dir: String,
    /// `<index_dir>/<lower-case name>` holds the canonical spelling of a sub-account. No index by
    /// default. Not used if `case_insensitive` is on.
    #[serde(default)]
    pub index_dir: Option<String>,
    /// The pools do not tell upper from lower case: sub-accounts are looked up, and spelt towards
    /// pools, in lower case. Off by default.
    #[serde(default)]
    pub case_insensitive: bool,
    /// Takes a number in the fleet. Off by default.
    #[serde(default)]
    pub server_id: Option<ServerIdSettings>,
    /// The number of this switcher in its fleet if it is not taken here, 0 if it has none. It is
    /// part of the session ids in requests for registration.
    #[serde(default)]
    pub number: u8,
    /// Registers sub-accounts that have no coin. Off by default.
    #[serde(default)]
    pub registration: Option<RegistrationSettings>,
    /// `user:password` for ZooKeeper's digest scheme. None by default.
    #[serde(default)]
    pub credentials: Option<Credentials>,
    /// A file whose first line is `user:password`. Excludes `credentials`.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// Who may do what with the nodes created here. `open` by default.
    #[serde(default)]
    pub acl: AclChoice,
    /// Session timeout asked of the server, in seconds, 4 to 40. Default 10. Also the bound of
    /// every single call; a dead link is noticed within it.
    #[serde(default = "defaults::session_timeout_seconds")]
    pub session_timeout_seconds: u64,
    /// Every node in use is read again once in so many seconds, although it is watched. Default
    /// 60, 0 turns it off.
    #[serde(default = "defaults::audit_seconds")]
    pub audit_seconds: u64,
    /// Reads under way at once, 1 to 1024. Default 128.
    #[serde(default = "defaults::reads_at_once")]
    pub reads_at_once: usize,
    /// Last coins of departed sub-accounts kept for the time a server is away. Default 100,000.
    #[serde(default = "defaults::remembered")]
    pub remembered: usize,
}

/// How the number of this switcher is taken: an ephemeral node `<dir>/<1..255>`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerIdSettings {
    /// The directory of the numbers; created if absent.
    pub dir: String,
    /// Where the search for a free number starts, 1 to 255. Default 1.
    #[serde(default = "defaults::preferred")]
    pub preferred: u8,
    /// `ChainType` in the node. Default `bitcoin`.
    #[serde(default = "defaults::chain_type")]
    pub chain_type: String,
    /// `Coins` in the node. Empty by default.
    #[serde(default)]
    pub coins: Vec<String>,
    /// `ListenAddr` in the node. Empty by default.
    #[serde(default)]
    pub listen_addr: String,
}

/// How an unknown sub-account is registered: a node `<dir>/<sub-account>` is a request that
/// somebody else answers by setting the coin and removing the node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationSettings {
    /// The directory of requests. Must exist: whoever answers them makes it.
    pub dir: String,
    /// Requests of this switcher that may wait at once; one more is refused. Default 50.
    #[serde(default = "defaults::max_waiting")]
    pub max_waiting: usize,
    /// Seconds until an unanswered request is taken back and refused. Default 60.
    #[serde(default = "defaults::registration_timeout_seconds")]
    pub timeout_seconds: u64,
}

/// The rights on nodes created here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AclChoice {
    /// All rights for everybody, as the original.
    #[default]
    Open,
    /// All rights for the credentials, none for others.
    Creator,
    /// All rights for the credentials, reading for everybody.
    CreatorReadable,
}

/// A user and a password that no log shows.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Credentials(String);

impl Credentials {
    /// Takes `user:password`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// All that is wrong with the settings, each with its key and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("; "))]
pub struct SettingsFault {
    /// One entry per problem: `key: what is wanted`.
    pub problems: Vec<String>,
}

mod defaults {
    pub(super) fn session_timeout_seconds() -> u64 {
        10
    }
    pub(super) fn audit_seconds() -> u64 {
        60
    }
    pub(super) fn reads_at_once() -> usize {
        128
    }
    pub(super) fn remembered() -> usize {
        100_000
    }
    pub(super) fn preferred() -> u8 {
        1
    }
    pub(super) fn chain_type() -> String {
        "bitcoin".into()
    }
    pub(super) fn max_waiting() -> usize {
        50
    }
    pub(super) fn registration_timeout_seconds() -> u64 {
        60
    }
}

impl Settings {
    /// The defaults for these servers and this directory.
    pub fn new(servers: Vec<String>, watch_dir: impl Into<String>) -> Self {
        Self {
            servers,
            chroot: None,
            watch_dir: watch_dir.into(),
            index_dir: None,
            case_insensitive: false,
            server_id: None,
            number: 0,
            registration: None,
            credentials: None,
            credentials_file: None,
            acl: AclChoice::Open,
            session_timeout_seconds: defaults::session_timeout_seconds(),
            audit_seconds: defaults::audit_seconds(),
            reads_at_once: defaults::reads_at_once(),
            remembered: defaults::remembered(),
        }
    }

    pub(crate) fn session_timeout(&self) -> Duration {
        Duration::from_secs(self.session_timeout_seconds)
    }

    /// Checks everything, and reads the credentials file if there is one.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn check(&self) -> Result<Option<Credentials>, SettingsFault> {
        let mut problems = Vec::new();
        let mut want = |good: bool, problem: &str| {
            if !good {
                problems.push(problem.to_owned());
            }
        };
        want(
            !self.servers.is_empty() && self.servers.iter().all(|s| is_server(s)),
            "servers: a list of host or host:port is wanted",
        );
        let registration = self.registration.as_ref();
        let server_id = self.server_id.as_ref();
        let paths = [
            ("chroot", self.chroot.as_ref()),
            ("watch_dir", Some(&self.watch_dir)),
            ("index_dir", self.index_dir.as_ref()),
            ("registration.dir", registration.map(|r| &r.dir)),
            ("server_id.dir", server_id.map(|s| &s.dir)),
        ];
        for (key, path) in paths {
            want(
                path.is_none_or(|path| is_path(path)),
                &format!("{key}: an absolute path such as /stratumSwitcher/btcbcc is wanted"),
            );
        }
        want(
            server_id.is_none_or(|s| s.preferred != 0),
            "server_id.preferred: a number from 1 to 255 is wanted",
        );
        want(
            registration.is_none_or(|r| r.timeout_seconds > 0),
            "registration.timeout_seconds: at least 1 is wanted",
        );
        want(
            (4..=40).contains(&self.session_timeout_seconds),
            "session_timeout_seconds: a number from 4 to 40 is wanted",
        );
        want(
            (1..=1024).contains(&self.reads_at_once),
            "reads_at_once: a number from 1 to 1024 is wanted",
        );
        want(
            self.credentials.is_none() || self.credentials_file.is_none(),
            "credentials_file: only one of credentials and credentials_file is wanted",
        );
        let credentials = self.read_credentials().unwrap_or_else(|problem| {
            want(false, &problem);
            None
        });
        want(
            credentials.as_ref().is_none_or(|c| c.0.contains(':')),
            "credentials: user:password is wanted",
        );
        want(
            self.acl == AclChoice::Open
                || self.credentials.is_some()
                || self.credentials_file.is_some(),
            "acl: credentials are wanted for anything but open",
        );
        if problems.is_empty() { Ok(credentials) } else { Err(SettingsFault { problems }) }
    }

    fn read_credentials(&self) -> Result<Option<Credentials>, String> {
        let Some(file) = &self.credentials_file else { return Ok(self.credentials.clone()) };
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("credentials_file: {}: {error}", file.display()))?;
        Ok(Some(Credentials(text.lines().next().unwrap_or_default().trim().to_owned())))
    }
}

fn is_server(server: &str) -> bool {
    !server.is_empty() && !server.contains(|c: char| c == '/' || c == ',' || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_suffice() {
        let text = "servers = [\"zk1\", \"zk2:2182\"]\nwatch_dir = \"/stratumSwitcher/btcbcc/\"";

        let settings: Settings = toml::from_str(text).unwrap();

        let servers = vec!["zk1".into(), "zk2:2182".into()];
        assert_eq!(settings, Settings::new(servers, "/stratumSwitcher/btcbcc/"));
        assert_eq!(settings.check(), Ok(None));
    }

    #[test]
    fn unknown_key_is_refused_by_name() {
        let text = "servers = [\"zk1\"]\nwatch_dir = \"/a\"\nwatchdir = \"/b\"";

        let error = toml::from_str::<Settings>(text).unwrap_err();

        assert!(error.to_string().contains("watchdir"), "{error}");
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let mut settings = Settings::new(vec![], "btcbcc");
        settings.session_timeout_seconds = 3;
        settings.acl = AclChoice::Creator;
        settings.server_id = Some(ServerIdSettings {
            dir: "/ids".into(),
            preferred: 0,
            chain_type: "bitcoin".into(),
            coins: vec![],
            listen_addr: String::new(),
        });

        let fault = settings.check().unwrap_err();

        let keys: Vec<_> =
            fault.problems.iter().filter_map(|p| p.split(':').next()).collect::<Vec<_>>();
        assert_eq!(
            keys,
            ["servers", "watch_dir", "server_id.preferred", "session_timeout_seconds", "acl"]
        );
    }

    #[test]
    fn password_is_never_shown() {
        let mut settings = Settings::new(vec!["zk1".into()], "/a");
        settings.credentials = Some(Credentials::new("switcher:hunter2"));

        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn credentials_come_from_the_first_line_of_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "switcher:hunter2\n").unwrap();
        let mut settings = Settings::new(vec!["zk1".into()], "/a");
        settings.credentials_file = Some(file.path().to_owned());

        assert_eq!(settings.check(), Ok(Some(Credentials::new("switcher:hunter2"))));
    }
}
