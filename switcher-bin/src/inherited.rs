//! Sockets inherited from a running original that has replaced itself with this program.
//!
//! The original writes their numbers into a file and names it with `-runtime`. Its sessions are not
//! carried on, so the sockets are closed at once: a miner whose connection stands and is served by
//! nobody would wait for minutes before it comes back.

use std::path::Path;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Runtime {
    #[serde(default)]
    action: String,
    #[serde(default)]
    session_datas: Option<Vec<SessionData>>,
}

#[derive(Debug, Deserialize)]
struct SessionData {
    #[serde(rename = "ClientConnFD")]
    client: i32,
    #[serde(rename = "ServerConnFD")]
    server: i32,
}

/// Closes the sockets that the file names; returns how many sessions it names. Must be called
/// before this program opens anything, since a file that was left over names sockets of the past.
pub(crate) fn close_all(path: &Path) -> usize {
    let Ok(text) = std::fs::read_to_string(path) else { return 0 };
    let Ok(runtime) = serde_json::from_str::<Runtime>(&text) else { return 0 };
    if runtime.action != "upgrade" {
        return 0;
    }
    let sessions = runtime.session_datas.unwrap_or_default();
    for number in sessions.iter().flat_map(|session| [session.client, session.server]) {
        if number > 2 && is_socket(number) {
            // It is a socket of nobody's any more; there is nothing to do about an error.
            let _ = nix::unistd::close(number);
        }
    }
    sessions.len()
}

fn is_socket(number: i32) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
    link.is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::IntoRawFd as _;
    use std::time::Duration;

    use super::*;

    #[test]
    fn inherited_sockets_are_closed_and_nothing_else_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut miner = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let inherited = listener.accept().unwrap().0.into_raw_fd();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runtime.json");
        let open_file = std::fs::File::create(folder.path().join("x")).unwrap();
        let file = std::os::fd::AsRawFd::as_raw_fd(&open_file);
        let text = format!(
            r#"{{"Action":"upgrade","ServerID":1,"SessionDatas":[
                {{"SessionID":16777344,"MiningCoin":"btc","ClientConnFD":{inherited},"ServerConnFD":{file}}}]}}"#
        );
        std::fs::write(&path, text).unwrap();

        assert_eq!(close_all(&path), 1);

        miner.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(miner.read(&mut [0]).unwrap(), 0, "the miner sees the end");
        assert!(open_file.sync_all().is_ok());
    }

    #[test]
    fn a_file_that_is_none_is_disregarded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runtime.json");
        assert_eq!(close_all(&path), 0);
        for text in ["", "[]", r#"{"Action":"","SessionDatas":null}"#] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(close_all(&path), 0, "{text}");
        }
    }
}
