//! How the coordinator and its processes talk: a command is a line of words on standard input, a
//! reply a line of JSON on standard output.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// What can go wrong with a process of the load tool.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The process could not be started or told anything.
    #[error("process {0}: {1}")]
    Broken(String, std::io::Error),
    /// The process did not answer in time.
    #[error("process {0} gave no answer within {1:?}")]
    Mute(String, Duration),
}

/// Prints a reply of this process to its coordinator.
pub fn reply(value: &Value) {
    let mut out = std::io::stdout().lock();
    // A coordinator that is gone needs no replies; standard input ends as well then.
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}

/// Another process of the load tool, started by this one and ended with it.
#[derive(Debug)]
pub struct RoleProcess {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    replies: Receiver<Value>,
}

impl RoleProcess {
    /// Starts this very program again with `arguments`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(name: impl Into<String>, arguments: &[&str]) -> Result<Self, ControlError> {
        let name = name.into();
        let broken = |error| ControlError::Broken(name.clone(), error);
        let program = std::env::current_exe().map_err(broken)?;
        Self::start_program(name.clone(), &mut Command::new(program), arguments)
    }

    /// As [`RoleProcess::start`], for another build of the program.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_program(
        name: String,
        command: &mut Command,
        arguments: &[&str],
    ) -> Result<Self, ControlError> {
        let started = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| ControlError::Broken(name.clone(), error))?;
        let input = child.stdin.take();
        let (sender, replies) = channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Ok(value) = serde_json::from_str(&line) {
                        let _ = sender.send(value);
                    }
                }
            });
        }
        Ok(Self { name, child, input, replies })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command without waiting for its reply.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn send(&mut self, command: &str) -> Result<(), ControlError> {
        let Some(input) = self.input.as_mut() else { return Ok(()) };
        writeln!(input, "{command}")
            .and_then(|()| input.flush())
            .map_err(|error| ControlError::Broken(self.name.clone(), error))
    }

    /// Waits for the next reply.
    ///
    /// # Errors
    ///
    /// When none comes within `patience`.
    pub fn reply(&self, patience: Duration) -> Result<Value, ControlError> {
        let got = self.replies.recv_timeout(patience);
        got.map_err(|_| ControlError::Mute(self.name.clone(), patience))
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    ///
    /// When the process is gone, or gives no reply within `patience`.
    pub fn ask(&mut self, command: &str, patience: Duration) -> Result<Value, ControlError> {
        self.send(command)?;
        self.reply(patience)
    }
}

impl Drop for RoleProcess {
    fn drop(&mut self) {
        // Closing its input is the polite way; killing is for one that hangs. Both are by handle.
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
