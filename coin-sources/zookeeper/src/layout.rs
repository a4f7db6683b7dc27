//! Where things stand in ZooKeeper and what the values look like: the node layout of the original,
//! to the letter. Pure; does no I/O.

use serde::{Deserialize, Serialize};
use switcher_plugin::{Coin, SessionId, SubAccount, WorkerName};

use crate::settings::Settings;

/// The longest value of a coin node, in bytes.
pub(crate) const MAX_VALUE: usize = 64;
/// Longer names than this, in bytes, are not looked up.
const MAX_NAME: usize = 255;

/// The full paths, chroot included.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// What the heartbeat asks for.
    pub(crate) root: String,
    watch_dir: String,
    index_dir: Option<String>,
    registration_dir: Option<String>,
    pub(crate) server_id_dir: Option<String>,
    pub(crate) case_insensitive: bool,
}

impl Layout {
    pub(crate) fn of(settings: &Settings) -> Self {
        let chroot = settings.chroot.as_deref().unwrap_or_default().trim_end_matches('/');
        let full = |dir: &str| format!("{chroot}{}", dir.trim_end_matches('/'));
        let index = settings.index_dir.as_deref().filter(|_| !settings.case_insensitive);
        Self {
            root: if chroot.is_empty() { "/".to_owned() } else { chroot.to_owned() },
            watch_dir: full(&settings.watch_dir),
            index_dir: index.map(full),
            registration_dir: settings.registration.as_ref().map(|r| full(&r.dir)),
            server_id_dir: settings.server_id.as_ref().map(|s| full(&s.dir)),
            case_insensitive: settings.case_insensitive,
        }
    }

    /// The node that holds the coin.
    pub(crate) fn coin_path(&self, name: &str) -> String {
        format!("{}/{name}", self.watch_dir)
    }

    /// The node that holds the canonical spelling, if there is an index.
    pub(crate) fn index_path(&self, sub_account: &SubAccount) -> Option<String> {
        let dir = self.index_dir.as_ref()?;
        Some(format!("{dir}/{}", sub_account.as_str().to_lowercase()))
    }

    /// The node that asks for registration, if that is on.
    pub(crate) fn registration_path(&self, name: &str) -> Option<String> {
        let dir = self.registration_dir.as_ref()?;
        Some(format!("{dir}/{name}"))
    }

    pub(crate) fn has_index(&self) -> bool {
        self.index_dir.is_some()
    }

    /// What a changed path concerns.
    pub(crate) fn place<'a>(&self, path: &'a str) -> Place<'a> {
        let child = |dir: &str| path.strip_prefix(dir)?.strip_prefix('/');
        if let Some(name) = child(&self.watch_dir) {
            return Place::Coin(name);
        }
        if let Some(name) = self.index_dir.as_deref().and_then(child) {
            return Place::Index(name);
        }
        if let Some(name) = self.registration_dir.as_deref().and_then(child) {
            return Place::Registration(name);
        }
        if self.server_id_dir.as_deref().and_then(child).is_some() {
            return Place::ServerId;
        }
        Place::Elsewhere
    }
}

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Coin(&'a str),
    Elsewhere,
    Index(&'a str),
    Registration(&'a str),
    ServerId,
}

/// Whether it is an absolute path of addressable names.
pub(crate) fn is_path(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        rest.is_empty() || rest.split('/').all(is_name)
    })
}

/// Whether a miner's sub-account can be the name of a node: one step of a path, of characters a
/// server accepts. Anything else is never sent there.
pub(crate) fn is_name(name: &str) -> bool {
    let forbidden = |c: char| {
        c == '/'
            || c.is_control()
            || ('\u{e000}'..='\u{f8ff}').contains(&c)
            || ('\u{fff0}'..='\u{ffff}').contains(&c)
    };
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name != "."
        && name != ".."
        && !name.contains(forbidden)
}

/// Why a value is not the name of a coin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadValue {
    #[error("has control characters")]
    Control,
    #[error("is empty")]
    Empty,
    #[error("is longer than {MAX_VALUE} bytes")]
    TooLong,
    #[error("is not UTF-8")]
    NotUtf8,
}

/// The coin in a value. White space around it is not part of it.
pub(crate) fn coin_of(value: &[u8]) -> Result<Coin, BadValue> {
    let value = value.trim_ascii();
    if value.is_empty() {
        return Err(BadValue::Empty);
    }
    if value.len() > MAX_VALUE {
        return Err(BadValue::TooLong);
    }
    let text = std::str::from_utf8(value).map_err(|_| BadValue::NotUtf8)?;
    if text.contains(char::is_control) {
        return Err(BadValue::Control);
    }
    Ok(Coin::new(text))
}

/// The canonical name in the value of an index node.
pub(crate) fn name_of(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    is_name(text).then_some(text)
}

/// The request for registration, in the form of the original. The session is named by the id that
/// pools know it by: the number of the switcher, then 24 bits of its own.
pub(crate) fn registration_request(
    session: SessionId,
    number: u8,
    worker: &WorkerName,
    sub_account: &SubAccount,
    name: &str,
) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Request<'a> {
        #[serde(rename = "SessionID")]
        session_id: u32,
        worker: &'a str,
    }
    let rest = worker.as_str().strip_prefix(sub_account.as_str()).unwrap_or_default();
    let request = Request {
        session_id: u32::from(number) << 24
            | u32::try_from(session.0 & 0x00ff_ffff).unwrap_or_default(),
        worker: &format!("{name}{rest}"),
    };
    serde_json::to_vec(&request).unwrap_or_default()
}

/// What a switcher writes into the node of its number: the members of the original, and two of
/// ours by which a switcher knows its own node again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ServerNode {
    pub(crate) chain_type: String,
    pub(crate) coins: Vec<String>,
    #[serde(rename = "IPs")]
    pub(crate) ips: Vec<String>,
    pub(crate) host_name: String,
    pub(crate) listen_addr: String,
    pub(crate) instance: String,
    /// Seconds since 1970.
    pub(crate) started_at: u64,
}

/// Whose node it is. None for a node of the original.
pub(crate) fn instance_of(node: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Owner {
        instance: String,
    }
    serde_json::from_slice::<Owner>(node).ok().map(|owner| owner.instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_original() {
        let mut settings = Settings::new(vec!["zk".into()], "/stratumSwitcher/btcbcc/");
        settings.index_dir = Some("/stratumSwitcher/bitcoin_case/".into());

        let layout = Layout::of(&settings);

        assert_eq!(layout.coin_path("alice"), "/stratumSwitcher/btcbcc/alice");
        let index = layout.index_path(&SubAccount::new("ALICE"));
        assert_eq!(index.as_deref(), Some("/stratumSwitcher/bitcoin_case/alice"));
        assert_eq!(layout.place("/stratumSwitcher/btcbcc/alice"), Place::Coin("alice"));
        assert_eq!(layout.place("/stratumSwitcher/bitcoin_case/alice"), Place::Index("alice"));
        assert_eq!(layout.place("/stratumSwitcher/btcbcc2/alice"), Place::Elsewhere);
    }

    #[test]
    fn chroot_stands_before_every_path() {
        let mut settings = Settings::new(vec!["zk".into()], "/coins");
        settings.chroot = Some("/pool/".into());

        let layout = Layout::of(&settings);

        assert_eq!(
            (layout.root.as_str(), layout.coin_path("a").as_str()),
            ("/pool", "/pool/coins/a")
        );
    }

    #[test]
    fn case_insensitive_pools_need_no_index() {
        let mut settings = Settings::new(vec!["zk".into()], "/coins");
        settings.index_dir = Some("/index".into());
        settings.case_insensitive = true;

        assert!(!Layout::of(&settings).has_index());
    }

    #[test]
    fn a_name_is_one_step_of_a_path() {
        for good in ["alice", "a", "Ali.ce", "..alice", "älice", "a b"] {
            assert!(is_name(good), "{good:?}");
        }
        for bad in ["", ".", "..", "a/b", "/", "a\0b", "a\nb", "\u{f000}", &"x".repeat(256)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn coin_is_the_trimmed_value() {
        assert_eq!(coin_of(b"  btc\n"), Ok(Coin::new("btc")));
        assert_eq!(coin_of(&[b'x'; 64]), Ok(Coin::new("x".repeat(64))));
    }

    #[test]
    fn garbage_is_no_coin() {
        assert_eq!(coin_of(b" \n"), Err(BadValue::Empty));
        assert_eq!(coin_of(&[b'x'; 65]), Err(BadValue::TooLong));
        assert_eq!(coin_of(b"b\xfft"), Err(BadValue::NotUtf8));
        assert_eq!(coin_of(b"b\x01t"), Err(BadValue::Control));
    }

    #[test]
    fn registration_request_is_that_of_the_original() {
        let (sub_account, worker) = (SubAccount::new("ALICE"), WorkerName::new("ALICE.rig1"));

        let request =
            registration_request(SessionId(0x0500_0080), 1, &worker, &sub_account, "Alice");

        let text = String::from_utf8(request).unwrap();
        assert_eq!(text, r#"{"SessionID":16777344,"Worker":"Alice.rig1"}"#);
    }

    #[test]
    fn server_node_begins_with_the_members_of_the_original() {
        let text = serde_json::to_string(&ServerNode::default()).unwrap();

        let wanted = r#"{"ChainType":"","Coins":[],"IPs":[],"HostName":"","ListenAddr":"","#;
        assert!(text.starts_with(wanted), "{text}");
    }

    #[test]
    fn only_our_kind_of_node_names_its_instance() {
        let own = ServerNode { instance: "abc".into(), ..ServerNode::default() };
        let original = br#"{"ChainType":"bitcoin","Coins":null,"HostName":"h"}"#;

        assert_eq!(instance_of(&serde_json::to_vec(&own).unwrap()).as_deref(), Some("abc"));
        assert_eq!(instance_of(original), None);
        assert_eq!(instance_of(b"\xff"), None);
    }
}
