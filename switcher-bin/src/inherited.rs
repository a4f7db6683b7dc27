//! Sessions inherited from a running original that has replaced itself with this program.
//!
//! On its own USR2 the original writes a file and executes what lies at its path, with `-runtime`
//! behind its arguments. The file names two sockets for each session that it relays; they come
//! without close-on-exec. What the file says is believed of a descriptor only as far as the system
//! bears it out: a file that was left over names numbers of the past.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, IntoRawFd as _, OwnedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use socket2::{Domain, SockRef, Type};
use switcher_core::Foreign;
use switcher_plugin::Coin;
use switcher_upgrade::sockets;

/// What `Action` says in a file that is meant.
pub(crate) const UPGRADE: &str = "upgrade";

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Runtime<T> {
    #[serde(default)]
    pub(crate) action: String,
    #[serde(default, rename = "ServerID")]
    pub(crate) server_id: u8,
    #[serde(default)]
    pub(crate) session_datas: Option<Vec<T>>,
}

/// A session of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SessionData {
    #[serde(rename = "SessionID")]
    pub(crate) session_id: u32,
    pub(crate) mining_coin: String,
    #[serde(rename = "ClientConnFD")]
    pub(crate) client: i32,
    #[serde(rename = "ServerConnFD")]
    pub(crate) server: i32,
    #[serde(default)]
    pub(crate) stratum_subscribe_request: Value,
    #[serde(default)]
    pub(crate) stratum_authorize_request: Value,
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) version_mask: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_none(mask: &u32) -> bool {
    *mask == 0
}

/// What the original has left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Sessions whose sockets are ours now.
    pub(crate) sessions: Vec<Foreign>,
    /// Why others are not among them.
    pub(crate) refused: Vec<String>,
    /// The number of the original in the fleet; 0 for none.
    pub(crate) server_id: u8,
}

/// Takes the sockets that the file names. Must be called before this program opens anything.
pub(crate) fn take(path: &Path) -> Left {
    let mut left = Left::default();
    let Ok(text) = std::fs::read_to_string(path) else { return left };
    let Ok(runtime) = serde_json::from_str::<Runtime<Value>>(&text) else {
        left.refused.push(format!("{} is no state of the original's", path.display()));
        return left;
    };
    if runtime.action != UPGRADE {
        return left;
    }
    left.server_id = runtime.server_id;
    let mut sessions = Vec::new();
    for value in runtime.session_datas.unwrap_or_default() {
        match serde_json::from_value::<SessionData>(value) {
            Ok(session) => sessions.push(session),
            Err(error) => left.refused.push(format!("a session that cannot be read: {error}")),
        }
    }
    let mut named = BTreeMap::new();
    for number in sessions.iter().flat_map(|session| [session.client, session.server]) {
        *named.entry(number).or_insert(0) += 1;
    }
    // Whose it is nobody can know.
    let is_unique = |number: i32| match named.get(&number) {
        Some(1) => Ok(()),
        _ => Err(format!("descriptor {number} is named twice")),
    };
    for session in sessions {
        let (client, server) = (session.client, session.server);
        // Each of the two is taken or closed, whatever the other one is.
        let sockets = [client, server].map(|number| {
            is_unique(number)?;
            connection(number).map_err(|error| format!("descriptor {number}: {error}"))
        });
        let id = session.session_id;
        match sockets {
            [Ok(miner), Ok(pool)] => left.sessions.push(Foreign {
                short_id: id,
                coin: Coin::new(session.mining_coin),
                subscribe: session.stratum_subscribe_request.to_string(),
                authorize: session.stratum_authorize_request.to_string(),
                version_mask: session.version_mask,
                miner,
                pool,
            }),
            [Err(why), _] | [_, Err(why)] => left.refused.push(format!("session {id:08x}: {why}")),
        }
    }
    for (number, _) in named.into_iter().filter(|(_, count)| *count > 1) {
        // It would stay open and be served by nobody.
        drop(connection(number));
    }
    left
}

/// Takes a TCP socket that the original may have had; anything else is left as it is.
fn connection(number: i32) -> io::Result<OwnedFd> {
    let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    let link = std::fs::read_link(format!("/proc/self/fd/{number}"))?;
    if number < 3 || !link.to_string_lossy().starts_with("socket:") {
        return refuse("is no socket");
    }
    let socket = sockets::adopt(number)?;
    let view = SockRef::from(&socket);
    let is_tcp = matches!(view.domain()?, Domain::IPV4 | Domain::IPV6)
        && view.r#type()? == Type::STREAM
        && !view.is_listener()?;
    if !is_tcp {
        sockets::set_close_on_exec(socket.as_fd(), false)?;
        let _ = socket.into_raw_fd();
        return refuse("is no TCP connection");
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    /// A connection whose far end is kept and whose near end belongs to nobody.
    fn inherited() -> (TcpStream, i32) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (far, listener.accept().unwrap().0.into_raw_fd())
    }

    fn session(id: u32, client: i32, server: i32) -> Value {
        json!({ "SessionID": id, "MiningCoin": "btc", "ClientConnFD": client, "ServerConnFD": server,
            "StratumSubscribeRequest": null, "StratumAuthorizeRequest": { "id": 1 } })
    }

    fn take_all(sessions: &[Value]) -> Left {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runtime.json");
        let file = json!({ "Action": "upgrade", "ServerID": 7, "SessionDatas": sessions });
        std::fs::write(&path, file.to_string()).unwrap();
        take(&path)
    }

    #[test]
    fn sockets_are_taken_and_whoever_has_none_harms_nobody() {
        let [(_a, miner), (_b, pool), (mut c, twice), (mut d, lonely)] =
            [inherited(), inherited(), inherited(), inherited()];
        let file = std::fs::File::open("/dev/null").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();

        let left = take_all(&[
            session(1, twice, file.as_raw_fd()),
            session(2, miner, pool),
            session(3, lonely, listener.as_raw_fd()),
            session(4, twice, 999_999),
            session(5, -1, 0),
            json!({ "SessionID": "six" }),
        ]);

        let taken: Vec<_> =
            left.sessions.iter().map(|s| (s.short_id, s.miner.as_raw_fd())).collect();
        assert_eq!(taken, [(2, miner)]);
        assert_eq!((left.server_id, left.refused.len()), (7, 5), "{:#?}", left.refused);
        assert_eq!(c.read(&mut [0]).unwrap(), 0, "whoever is named twice is let go");
        assert_eq!(d.read(&mut [0]).unwrap(), 0, "and whose partner is none");
        assert!(file.metadata().is_ok() && listener.local_addr().is_ok());
        assert!(!sockets::inherited().contains(&miner), "it is closed on exec again");
    }

    #[test]
    fn a_file_that_is_none_is_disregarded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runtime.json");
        for text in [None, Some(""), Some("[]"), Some(r#"{"Action":"","SessionDatas":null}"#)] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            assert_eq!(take(&path).sessions.len(), 0, "{text:?}");
        }
    }
}
