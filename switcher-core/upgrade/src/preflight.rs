//! Trying the new program out in a child, with a sample of the state, before anything is touched.
//!
//! Only a run shows a missing library or a file cut short: exec does not return for those. The
//! child inherits no socket, as close-on-exec is set on all of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::program::Program;

/// The argument that makes a program do its preflight and end.
pub const ARGUMENT: &str = "--preflight";

/// Bytes of a child's output that are looked at.
const MOST: u64 = 64 * 1024;

/// How long the last words of a child that has ended may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the child is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What a fit program says, as one line of JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fitness {
    /// Its version.
    pub version: String,
    /// Major versions of the state that it reads, first and last.
    pub schema: (u16, u16),
    /// Sessions of the sample that it could resume.
    #[serde(default)]
    pub sessions: usize,
    /// Sessions of the sample that are saved in a version it does not read.
    #[serde(default)]
    pub unread: usize,
    /// Versions of saved sessions that it reads, by dialect, first and last.
    #[serde(default)]
    pub dialects: BTreeMap<String, (u16, u16)>,
    /// What the operator should know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Why a program is not fit.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// It cannot be run at all.
    #[error("the new program cannot be run: {0}")]
    Start(io::Error),
    /// It took too long.
    #[error("the new program did not end its preflight within {0:?}")]
    TimeOut(Duration),
    /// It ended otherwise than it should.
    #[error("the new program failed its preflight ({status}): {said}")]
    Failed {
        /// How it ended.
        status: String,
        /// What it said last.
        said: String,
    },
    /// It said something else than what a preflight says.
    #[error("the new program's preflight does not read: {0:?}")]
    Answer(String),
    /// It reads other states.
    #[error("the new program reads states of schema {first} to {last}, this one writes {ours}")]
    Schema {
        /// First it reads.
        first: u16,
        /// Last it reads.
        last: u16,
        /// That of the sample.
        ours: u16,
    },
    /// It was told to stop.
    #[error("it was called off")]
    CalledOff,
}

impl PreflightError {
    /// Whether the program does not read the major version of its sample.
    pub fn is_of_schema(&self) -> bool {
        // In the words of every version; see `EnvelopeError::Schema`.
        matches!(self, Self::Failed { said, .. } if said.contains("its schema is "))
    }
}

/// Runs the preflight with a sample of the state, in this major version. Looks at `called_off` all the time.
///
/// # Errors
///
/// The program is not fit. The child is gone and reaped in any case.
pub fn run(
    program: &Program,
    sample: OwnedFd,
    schema: u16,
    limit: Duration,
    called_off: &dyn Fn() -> bool,
) -> Result<Fitness, PreflightError> {
    let mut command = Command::new(&program.path);
    if let Some((name, arguments)) = program.arguments.split_first() {
        command.arg0(name).args(arguments);
    }
    let environment = program.environment.iter().filter(|(name, _)| name != "NOTIFY_SOCKET");
    let child = command
        .arg(ARGUMENT)
        .process_group(0)
        .env_clear()
        .envs(environment.map(|(name, value)| (name, value)))
        .stdin(Stdio::from(sample))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(PreflightError::Start)?;
    let mut child = Reaped(child);
    let said = child.0.stderr.take().map(|stream| reader(stream.into()));
    let answer = child.0.stdout.take().map(|stream| reader(stream.into()));
    let status = child.wait(limit, called_off)?;
    let text = |said: Option<io::Result<Receiver<String>>>| {
        let said = said.and_then(Result::ok)?;
        // The child has ended; whoever else still holds its stream is not waited for.
        said.recv_timeout(PATIENCE).ok()
    };
    let text = |said| text(said).unwrap_or_default();
    let (answer, said) = (text(answer), text(said));
    if !status.success() {
        let status = match status.signal() {
            Some(signal) => format!("signal {signal}"),
            None => status.to_string(),
        };
        let said = said.trim().lines().map(str::trim).collect::<Vec<_>>().join("; ");
        return Err(PreflightError::Failed { status, said: last(&said, 600) });
    }
    let line = answer.trim();
    let fitness: Fitness =
        serde_json::from_str(line).map_err(|_| PreflightError::Answer(last(line, 200)))?;
    let (first, last) = fitness.schema;
    if !(first..=last).contains(&schema) {
        return Err(PreflightError::Schema { first, last, ours: schema });
    }
    Ok(fitness)
}

/// The end of a text that may be long.
fn last(text: &str, most: usize) -> String {
    let from = text.ceil_char_boundary(text.len().saturating_sub(most));
    text.get(from..).unwrap_or_default().to_owned()
}

/// Reads on a thread of its own, so that a child with much to say does not stand still. It ends
/// when the child, and whoever it started, has closed the stream.
fn reader(stream: OwnedFd) -> io::Result<Receiver<String>> {
    let (said, receiver) = channel();
    std::thread::Builder::new().name("preflight-read".into()).spawn(move || {
        let mut bytes = Vec::new();
        let mut stream = File::from(stream);
        // What was read before an error will do.
        let _ = (&mut stream).take(MOST).read_to_end(&mut bytes);
        let _ = said.send(String::from_utf8_lossy(&bytes).into_owned());
    })?;
    Ok(receiver)
}

/// A child that is killed and reaped whatever happens.
struct Reaped(Child);

impl Reaped {
    fn wait(
        &mut self,
        limit: Duration,
        called_off: &dyn Fn() -> bool,
    ) -> Result<ExitStatus, PreflightError> {
        let began = Instant::now();
        loop {
            match self.0.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) => return Err(PreflightError::Start(error)),
            }
            if called_off() {
                return Err(PreflightError::CalledOff);
            }
            if began.elapsed() >= limit {
                return Err(PreflightError::TimeOut(limit));
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        // It has a group of its own, with whoever it started. A group that is gone is an error.
        if let Ok(group) = i32::try_from(self.0.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}
