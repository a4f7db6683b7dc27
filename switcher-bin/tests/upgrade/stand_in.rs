//! A stand-in for the Go original: it greets, looks up a coin, and relays raw bytes as that does, and
//! behaves as that does at its own exec, when it was executed and when it is started.
//!
//! It is this test program, started again by a script at the path where the original would be.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde_json::{Value, json};
use switcher_upgrade::sockets;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::RwLock;

/// Names the arguments it was started with.
const ARGUMENTS: &str = "STAND_IN_ARGUMENTS";

/// What Go says of a flag that it does not know, shortened.
const USAGE: &str = "flag provided but not defined: -preflight\nUsage of stratumSwitcher:\n  \
    -runtime string\n    \tPath of runtime file, use for zero downtime upgrade.\n";

/// Writes the script.
pub(crate) fn install(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let test = std::env::current_exe().unwrap();
    let test = test.display();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *preflight*) printf '%s' '{USAGE}' >&2; exit 2;; esac\n\
         {ARGUMENTS}=\"$0 $*\" exec {test} stand_in::stand_in --exact --ignored --nocapture\n"
    );
    let new = path.with_extension("new");
    std::fs::write(&new, script).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&new, path).unwrap();
}

struct Session {
    coin: String,
    client: Arc<TcpStream>,
    server: Arc<TcpStream>,
    subscribe: Value,
    authorize: Value,
    mask: u32,
}

struct Switcher {
    config: Value,
    is_eth: bool,
    sessions: Mutex<HashMap<u32, Session>>,
    next: AtomicU32,
    /// Held for reading by what is copied, for writing at the exec.
    copying: RwLock<()>,
}

#[test]
#[ignore = "started by the script"]
fn stand_in() {
    let arguments = std::env::var(ARGUMENTS).unwrap();
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let flag = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name));
    let config = std::fs::read_to_string(flag("-config=").unwrap()).unwrap();
    let left = flag("-runtime=").and_then(|path| std::fs::read_to_string(path).ok());
    let left: Value = left.map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default();
    let config: Value = serde_json::from_str(&config).unwrap();
    let is_eth = config["ChainType"] == "ethereum";
    let next = AtomicU32::new(if is_eth { 0x0007_0080 } else { 0x0700_0080 });
    let sessions = Mutex::default();
    let switcher =
        Arc::new(Switcher { config, is_eth, sessions, next, copying: RwLock::default() });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut upgrade = signal(SignalKind::user_defined2()).unwrap();
        let serving = tokio::spawn(Arc::clone(&switcher).serve(left));
        upgrade.recv().await;
        let _at_rest = switcher.copying.write().await;
        switcher.upgrade(&arguments);
        serving.abort();
    });
}

impl Switcher {
    async fn serve(self: Arc<Self>, left: Value) {
        for data in left["SessionDatas"].as_array().into_iter().flatten() {
            let socket = |name: &str| {
                let number = data[name].as_i64().unwrap().try_into().unwrap();
                let stream = std::net::TcpStream::from(sockets::adopt(number).unwrap());
                stream.set_nonblocking(true).unwrap();
                Arc::new(TcpStream::from_std(stream).unwrap())
            };
            let id: u32 = serde_json::from_value(data["SessionID"].clone()).unwrap();
            self.next.fetch_max(id + self.stride(), Ordering::Relaxed);
            let session = Session {
                coin: data["MiningCoin"].as_str().unwrap().to_owned(),
                client: socket("ClientConnFD"),
                server: socket("ServerConnFD"),
                subscribe: data["StratumSubscribeRequest"].clone(),
                authorize: data["StratumAuthorizeRequest"].clone(),
                mask: data["VersionMask"].as_u64().unwrap_or(0).try_into().unwrap(),
            };
            assert!(session.authorize["params"][0].is_string(), "{data}");
            let login = &session.authorize["method"];
            // With null it makes one of an ETHProxy login.
            let makes_one = session.subscribe.is_null() && login == "eth_submitLogin";
            assert!(makes_one || session.subscribe["params"].is_array(), "{data}");
            self.relay(id, session);
        }
        let address: SocketAddr = self.config["ListenAddr"].as_str().unwrap().parse().unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let _ = writeln!(std::io::stderr(), "the stand-in is Now Upgradable, address={address}");
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(Arc::clone(&self).greet(client));
        }
    }

    async fn greet(self: Arc<Self>, client: TcpStream) {
        let id = self.next.fetch_add(self.stride(), Ordering::Relaxed);
        let mut lines = tokio::io::BufReader::with_capacity(128, client);
        let (mut subscribe, mut mask) = (Value::Null, 0_u32);
        let authorize = loop {
            let Some(request) = read(&mut lines).await else { return };
            let answer = match request["method"].as_str() {
                Some("mining.configure") => {
                    let text = request["params"][1]["version-rolling.mask"].as_str().unwrap();
                    mask = u32::from_str_radix(text, 16).unwrap();
                    json!({ "version-rolling": true, "version-rolling.mask": format!("{mask:08x}") })
                }
                Some("mining.subscribe") => {
                    subscribe = request.clone();
                    self.subscribed(&request, id)
                }
                Some("mining.authorize") => break request,
                Some("eth_submitLogin") if self.is_eth => {
                    subscribe = json!({ "method": "mining.subscribe", "params": eth::PROXY });
                    break request;
                }
                _ => continue,
            };
            let answer = json!({ "id": request["id"], "result": answer, "error": null });
            write(lines.get_ref(), &answer).await;
        };
        let mut login = authorize["params"].clone();
        if let Some(rig) = authorize["worker"].as_str() {
            login[0] = json!(format!("{}.{rig}", login[0].as_str().unwrap()));
        }
        let account = login[0].as_str().unwrap().split('.').next().unwrap();
        let coin = self.config["StandIn"][account].as_str().unwrap().to_owned();
        let url = self.config["StratumServerMap"][&coin]["URL"].as_str().unwrap();
        let server = TcpStream::connect(url).await.unwrap();
        let mut pool = tokio::io::BufReader::with_capacity(128, server);
        if mask != 0 {
            let options =
                json!([["version-rolling"], { "version-rolling.mask": format!("{mask:08x}") }]);
            ask(pool.get_ref(), "configure", "mining.configure", options).await;
        }
        subscribe["params"] = self.to_server(&subscribe["params"], id);
        subscribe["id"] = json!("subscribe");
        write(pool.get_ref(), &subscribe).await;
        ask(pool.get_ref(), "auth", authorize["method"].as_str().unwrap(), login).await;
        let mut allowed = json!("00000000");
        let welcome = loop {
            let Some(line) = read(&mut pool).await else { return };
            if line["id"] == "auth" {
                break line;
            }
            if line["method"] == "mining.set_version_mask" {
                allowed = line["params"][0].clone();
            }
        };
        let mut answer =
            json!({ "id": authorize["id"], "result": welcome["result"], "error": null });
        if authorize["method"] == "eth_submitLogin" {
            answer = json!({ "id": authorize["id"], "jsonrpc": "2.0", "result": true });
        }
        write(lines.get_ref(), &answer).await;
        if mask != 0 {
            let push =
                json!({ "id": null, "method": "mining.set_version_mask", "params": [allowed] });
            write(lines.get_ref(), &push).await;
        }
        for (from, to) in [(&lines, pool.get_ref()), (&pool, lines.get_ref())] {
            write_all(to, from.buffer()).await;
        }
        let (client, server) = (Arc::new(lines.into_inner()), Arc::new(pool.into_inner()));
        self.relay(id, Session { coin, client, server, subscribe, authorize, mask });
    }

    fn relay(self: &Arc<Self>, id: u32, session: Session) {
        let (client, server) = (Arc::clone(&session.client), Arc::clone(&session.server));
        self.sessions.lock().unwrap().insert(id, session);
        for (from, to) in [(Arc::clone(&client), Arc::clone(&server)), (server, client)] {
            let this = Arc::clone(self);
            tokio::spawn(async move {
                let mut bytes = [0; 128];
                loop {
                    from.readable().await.unwrap();
                    let _copying = this.copying.read().await;
                    match from.try_read(&mut bytes) {
                        Ok(0) => break,
                        Ok(count) => write_all(&to, &bytes[..count]).await,
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Err(_) => break,
                    }
                }
                this.sessions.lock().unwrap().remove(&id);
            });
        }
    }

    /// The answer to a subscribe.
    fn subscribed(&self, request: &Value, id: u32) -> Value {
        if self.is_eth {
            return eth::subscribed(request, id);
        }
        let id = format!("{id:08x}");
        json!([[["mining.set_difficulty", id], ["mining.notify", id]], id, 8])
    }

    /// What a server is told of a miner that has said this.
    fn to_server(&self, said: &Value, id: u32) -> Value {
        let ip = 2_130_706_433;
        if self.is_eth {
            let protocol = said.get(1).cloned().unwrap_or(json!("Stratum"));
            return json!([said[0], protocol, format!("{id:06x}"), ip]);
        }
        json!([said[0], format!("{id:08x}"), ip])
    }

    /// How far the next id is.
    fn stride(&self) -> u32 {
        if self.is_eth { 256 } else { 1 }
    }

    /// As the original, but that what has been read is written: the original may lose it.
    fn upgrade(&self, arguments: &[&str]) {
        let mut datas = Vec::new();
        let mut kept: Vec<OwnedFd> = Vec::new();
        for (id, session) in &*self.sessions.lock().unwrap() {
            let mut number = |stream: &TcpStream| {
                use std::os::fd::AsFd as _;
                let socket = stream.as_fd().try_clone_to_owned().unwrap();
                fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
                // Go's `Fd` makes them block.
                socket2::SockRef::from(&socket).set_nonblocking(false).unwrap();
                let number = socket.as_raw_fd();
                kept.push(socket);
                number
            };
            datas.push(json!({
                "SessionID": id,
                "MiningCoin": session.coin,
                "ClientConnFD": number(&session.client),
                "ServerConnFD": number(&session.server),
                "StratumSubscribeRequest": session.subscribe,
                "StratumAuthorizeRequest": session.authorize,
                "VersionMask": session.mask,
            }));
        }
        let file = json!({ "Action": "upgrade", "ServerID": 7, "SessionDatas": datas });
        std::fs::write("./runtime.json", file.to_string()).unwrap();
        let (name, rest) = arguments.split_first().unwrap();
        let rest = rest.iter().filter(|argument| !argument.starts_with("-runtime="));
        let error = std::process::Command::new(name)
            .args(rest)
            .arg("-runtime=./runtime.json")
            .env_remove(ARGUMENTS)
            .exec();
        panic!("exec: {error}");
    }
}

/// What is special about miners of the ETH family.
mod eth {
    use serde_json::{Value, json};

    /// How sserver is told of an `ETHProxy` miner.
    pub(super) const PROXY: [&str; 2] = ["ETHProxy", "ETHProxy/1.0.0"];

    /// The answer to a subscribe.
    pub(super) fn subscribed(request: &Value, id: u32) -> Value {
        let said = |at: usize| request["params"][at].as_str().unwrap_or_default().to_lowercase();
        let (agent, protocol) = (said(0), said(1));
        if !protocol.starts_with("ethereumstratum/") && !agent.starts_with("btccom-agent/") {
            return json!(true);
        }
        let id = format!("{id:06x}");
        let extranonce = if agent.starts_with("nicehash/") { &id[..4] } else { &id };
        json!([["mining.notify", id, "EthereumStratum/1.0.0"], extranonce])
    }
}

async fn read(lines: &mut tokio::io::BufReader<TcpStream>) -> Option<Value> {
    let mut line = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), lines.read_line(&mut line));
    if read.await.ok()?.ok()? == 0 {
        return None;
    }
    Some(serde_json::from_str(&line).unwrap())
}

async fn ask(stream: &TcpStream, id: &str, method: &str, params: Value) {
    write(stream, &json!({ "id": id, "method": method, "params": params })).await;
}

async fn write(stream: &TcpStream, value: &Value) {
    write_all(stream, format!("{value}\n").as_bytes()).await;
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() && stream.writable().await.is_ok() {
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
