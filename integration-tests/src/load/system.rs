//! The systems that are measured side by side: the switcher, HAProxy, nginx, a bare relay, and no
//! proxy at all. Each has pools and miners of its own in processes of their own.
//!
//! Starts only what it needs, on loopback, and ends only what it started.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::control::{ControlError, RoleProcess};
use super::process::Watched;

/// How long a program may take until it listens.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// How long a program may take to end.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Where Debian's nginx keeps the module for plain TCP.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// What stands between miners and pools.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Nothing.
    Direct,
    /// HAProxy in TCP mode.
    Haproxy,
    /// nginx with its stream module.
    Nginx,
    /// The bare relay of the load tool.
    Relay,
    /// Another proxy that runs already: its address, its process, and where it expects its pools.
    Running {
        /// Where miners connect.
        address: SocketAddr,
        /// Its process id.
        process: u32,
        /// Where its pools have to be, one per coin.
        pools: Vec<SocketAddr>,
        /// Its coin file, if it can switch.
        coin_file: Option<PathBuf>,
    },
    /// The switcher with its first dialect on the other side of the C border.
    Plugged {
        /// The program.
        program: PathBuf,
        /// The library that brings the dialect.
        plugin: PathBuf,
    },
    /// Another build of the switcher, to compare with.
    Before(PathBuf),
    /// The switcher, started from this program.
    Switcher(PathBuf),
}

impl Kind {
    /// The name in the table.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Before(_) => "before",
            Self::Direct => "direct",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Relay => "relay",
            Self::Running { .. } => "target",
            Self::Plugged { .. } => "plugged",
            Self::Switcher(_) => "switcher",
        }
    }

    /// Why this system cannot be measured here, if it cannot.
    pub fn missing(&self) -> Option<String> {
        let lacks = |program: &str| {
            let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
                .iter()
                .any(|folder| Path::new(folder).join(program).exists());
            (!found).then(|| format!("{program} is not installed"))
        };
        match self {
            Self::Haproxy => lacks("haproxy"),
            Self::Nginx => lacks("nginx").or_else(|| {
                let absent = !Path::new(NGINX_STREAM).exists();
                absent.then(|| "nginx has no stream module (libnginx-mod-stream)".to_owned())
            }),
            Self::Plugged { plugin, .. } if !plugin.exists() => {
                Some(format!("no {}", plugin.display()))
            }
            Self::Switcher(path) | Self::Before(path) | Self::Plugged { program: path, .. }
                if !path.exists() =>
            {
                Some(format!("no {}", path.display()))
            }
            _ => None,
        }
    }

    fn coins(&self) -> usize {
        match self {
            Self::Running { pools, .. } => pools.len(),
            Self::Switcher(_) | Self::Before(_) | Self::Plugged { .. } => 2,
            _ => 1,
        }
    }
}

/// What can go wrong while a system is started.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A process of the load tool.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A file or a program.
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
    /// The program under test does not accept connections.
    #[error("{0} does not listen on {1}")]
    Deaf(&'static str, SocketAddr),
}

/// A child that is asked to end, and waited for.
#[derive(Debug)]
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.0.id()) {
            // Asked politely first: nginx's master ends its workers only then.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let end = Instant::now() + END_PATIENCE;
        while Instant::now() < end {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One system with its pools and miners.
#[derive(Debug)]
pub struct System {
    /// What it is.
    pub kind: Kind,
    /// Its miners.
    pub miners: RoleProcess,
    /// Its pools, one per coin.
    pub pools: Vec<RoleProcess>,
    /// Its process, if there is one between miners and pools.
    pub watched: Option<Watched>,
    /// The file that says which coin is mined.
    pub coin_file: Option<PathBuf>,
    _program: Option<Program>,
}

impl System {
    /// Starts everything; `folder` is for its configuration.
    ///
    /// # Errors
    ///
    /// When a part of it does not start.
    pub fn start(kind: Kind, folder: &Path) -> Result<Self, SystemError> {
        let mut pools = Vec::new();
        let mut addresses = Vec::new();
        for coin in 0..kind.coins() {
            let wanted = match &kind {
                Kind::Running { pools, .. } => pools.get(coin).copied(),
                _ => None,
            };
            let wanted = wanted.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()).to_string();
            let mark = if coin == 0 { "a" } else { "b" };
            let pool = RoleProcess::start(
                format!("pool {mark} of {}", kind.name()),
                &["role", "pool", &wanted, mark],
            )?;
            addresses.push(address_in(&pool.reply(START_PATIENCE)?)?);
            pools.push(pool);
        }
        let pool = addresses.first().copied().unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let listen = free_address()?;
        let mut coin_file = None;
        let (target, program, process) = match &kind {
            Kind::Direct => (pool, None, None),
            Kind::Running { address, process, coin_file: file, .. } => {
                coin_file.clone_from(file);
                (*address, None, Some(*process))
            }
            Kind::Haproxy => launch(listen, haproxy(listen, pool, folder)?)?,
            Kind::Nginx => launch(listen, nginx(listen, pool, folder)?)?,
            Kind::Relay => {
                let program =
                    std::env::current_exe().map_err(|error| SystemError::Io("swarm", error))?;
                let mut command = Command::new(program);
                command.args(["role", "relay", &listen.to_string(), &pool.to_string()]);
                launch(listen, command)?
            }
            Kind::Switcher(path) | Kind::Before(path) | Kind::Plugged { program: path, .. } => {
                let file = folder.join("coins.toml");
                write(&file, &coins(COINS[0]))?;
                let mut config = switcher_config(listen, &addresses, &file);
                if let Kind::Plugged { plugin, .. } = &kind {
                    config.push_str("[[plugins.load]]\noverride = true\n");
                    let _ = writeln!(config, "path = {:?}", plugin.display().to_string());
                }
                let command = switcher(path, &config, folder)?;
                coin_file = Some(file);
                launch(listen, command)?
            }
        };
        let name = kind.name();
        if TcpStream::connect(target).is_err() {
            return Err(SystemError::Deaf(name, target));
        }
        let miners = RoleProcess::start(
            format!("miners of {name}"),
            &["role", "miners", &target.to_string()],
        )?;
        miners.reply(START_PATIENCE)?;
        Ok(Self {
            kind,
            miners,
            pools,
            watched: process.map(Watched),
            coin_file,
            _program: program,
        })
    }

    /// Says in the coin file that all miners shall mine the second coin.
    ///
    /// # Errors
    ///
    /// When the file cannot be replaced.
    pub fn move_to_second_coin(&self) -> Result<(), SystemError> {
        let Some(path) = &self.coin_file else { return Ok(()) };
        let fresh = path.with_extension("fresh");
        write(&fresh, &coins(COINS[1]))?;
        fs::rename(&fresh, path).map_err(|error| SystemError::Io("coin file", error))
    }
}

/// The coins of the switcher under test, and the sub-account whose miners are moved.
const COINS: [&str; 2] = ["btc", "bch"];

/// The switcher's coin file, with all miners of the load on `coin`.
fn coins(coin: &str) -> String {
    format!("[accounts]\nload = \"{coin}\"\n")
}

/// The switcher's configuration: two coins with a pool each, no pacing and no brakes.
fn switcher_config(listen: SocketAddr, pools: &[SocketAddr], coin_file: &Path) -> String {
    let mut text = format!(
        "probe = false\n\
         [[listeners]]\nlisten = \"{listen}\"\n\
         [sources.file]\npath = \"{}\"\n\
         [admin]\nenabled = false\n\
         [log]\nfilter = \"warn\"\n",
        coin_file.display()
    );
    text.extend(COINS.iter().zip(pools).flat_map(|(coin, pool)| {
        [
            format!("[coins.{coin}]\n[[coins.{coin}.pools]]\nurl = \"stratum+tcp://{pool}\"\n"),
            format!("[coins.{coin}.pools.pacing]\ndials_per_second = 0\nin_flight = 0\n"),
        ]
    }));
    text
}

fn switcher(program: &Path, config: &str, folder: &Path) -> Result<Command, SystemError> {
    let path = folder.join("switcher.toml");
    write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("--config").arg(path);
    Ok(command)
}

fn haproxy(listen: SocketAddr, pool: SocketAddr, folder: &Path) -> Result<Command, SystemError> {
    let path = folder.join("haproxy.cfg");
    let text = format!(
        "global\n  maxconn 9900\n  nbthread 2\n\
         defaults\n  mode tcp\n  timeout connect 30s\n  timeout client 1h\n  timeout server 1h\n\
         listen load\n  bind {listen} backlog 4096\n  maxconn 9900\n  server pool {pool}\n"
    );
    write(&path, &text)?;
    let mut command = Command::new("haproxy");
    command.args(["-db", "-q", "-f"]).arg(path);
    Ok(command)
}

fn nginx(listen: SocketAddr, pool: SocketAddr, folder: &Path) -> Result<Command, SystemError> {
    let path = folder.join("nginx.conf");
    let text = format!(
        "load_module {NGINX_STREAM};\n\
         daemon off;\nworker_processes 2;\nworker_rlimit_nofile 20000;\n\
         pid {folder}/nginx.pid;\nerror_log stderr emerg;\n\
         events {{ worker_connections 20000; }}\n\
         stream {{ server {{ listen {listen} backlog=4096 reuseport; proxy_pass {pool}; \
         proxy_timeout 1h; proxy_connect_timeout 30s; }} }}\n",
        folder = folder.display()
    );
    write(&path, &text)?;
    let mut command = Command::new("nginx");
    command.arg("-e").arg("stderr").arg("-p").arg(folder).arg("-c").arg(path);
    Ok(command)
}

type Launched = (SocketAddr, Option<Program>, Option<u32>);

/// Starts a program and waits until it listens.
fn launch(listen: SocketAddr, mut command: Command) -> Result<Launched, SystemError> {
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let mut program = Program(started.map_err(|error| SystemError::Io("program", error))?);
    let end = Instant::now() + START_PATIENCE;
    while TcpStream::connect(listen).is_err() {
        let is_over = !matches!(program.0.try_wait(), Ok(None));
        if is_over || Instant::now() > end {
            return Err(SystemError::Deaf("the program", listen));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = program.0.id();
    Ok((listen, Some(program), Some(id)))
}

fn write(path: &Path, text: &str) -> Result<(), SystemError> {
    fs::write(path, text).map_err(|error| SystemError::Io("configuration", error))
}

/// A port that was free a moment ago; the programs under test take no port 0.
fn free_address() -> Result<SocketAddr, SystemError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| SystemError::Io("free port", error))
}

fn address_in(reply: &Value) -> Result<SocketAddr, SystemError> {
    let text = reply.get("address").and_then(Value::as_str).unwrap_or_default();
    text.parse().map_err(|_| SystemError::Io("pool address", io::ErrorKind::InvalidData.into()))
}
