//! What is measured, in the order in which one run does it. All systems do the same at the same
//! time, so that a busy machine is equally busy for all.

use std::time::Duration;

use serde_json::Value;

use super::control::ControlError;
use super::now;
use super::system::{System, SystemError};
use super::table::Table;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Miners per system.
    pub sessions: u64,
    /// Jobs to every miner in the burst whose processor time is taken.
    pub jobs: u64,
    /// Milliseconds between them.
    pub job_pause: u64,
    /// Shares per system in the burst whose processor time is taken.
    pub shares: u64,
    /// Shares per second and system.
    pub share_rate: u64,
}

/// Seconds after which a step that does not come to its end is given up.
const PATIENCE: u64 = 60;

const MEMORY: &str = "user memory per idle session, KiB";
const STORM_P50: &str = "all miners at once: first job, p50 ms";
const STORM_LAST: &str = "all miners at once: last first job, ms";
const FAN_P50: &str = "one job to all: p50 ms";
const FAN_P99: &str = "one job to all: p99 ms";
const FAN_LAST: &str = "one job to all: last ms";
const CPU_JOBS: &str = "cpu per notification, us";
const CPU_SHARES: &str = "cpu per line of submits and answers, us";
const ANSWER_P50: &str = "submit to answer: p50 ms";
const ANSWER_P99: &str = "submit to answer: p99 ms";
const SWITCH_P50: &str = "switch: first new job, p50 ms";
const SWITCH_LAST: &str = "switch: last first new job, ms";
const SWITCH_BAD: &str = "switch: shares lost or refused";
const WRONG: &str = "shares lost, refused, doubled (no switch)";

/// One run of all rows over all systems.
#[derive(Debug)]
pub struct Run<'a> {
    systems: &'a mut [System],
    load: Load,
    table: &'a mut Table,
    /// Sentences on what went wrong.
    pub complaints: Vec<String>,
}

impl<'a> Run<'a> {
    /// A run over systems that have just been started.
    pub fn new(systems: &'a mut [System], load: Load, table: &'a mut Table) -> Self {
        Self { systems, load, table, complaints: Vec::new() }
    }

    /// Does all rows.
    ///
    /// # Errors
    ///
    /// When a process of the load tool is gone or mute.
    pub fn all(&mut self) -> Result<(), SystemError> {
        let empty = self.memory();
        self.storm()?;
        self.wait_for_rest();
        let full = self.memory();
        self.note_memory(&empty, &full);
        self.fan_out()?;
        self.notifications()?;
        self.shares()?;
        self.switch()
    }

    fn patience(seconds: u64) -> Duration {
        // Longer than the process itself waits, so that its own verdict arrives.
        Duration::from_secs(seconds + 30)
    }

    fn note(&mut self, place: usize, row: &str, value: Option<f64>) {
        if let (Some(system), Some(value)) = (self.systems.get(place), value) {
            self.table.note(row, system.kind.name(), value);
        }
    }

    fn complain(&mut self, place: usize, what: &str) {
        if let Some(system) = self.systems.get(place) {
            self.complaints.push(format!("{}: {what}", system.kind.name()));
        }
    }

    fn memory(&self) -> Vec<Option<f64>> {
        self.systems
            .iter()
            .map(|one| one.watched.map(super::process::Watched::memory_kib))
            .collect()
    }

    fn cpu(&self) -> Vec<Option<f64>> {
        self.systems
            .iter()
            .map(|one| one.watched.map(super::process::Watched::cpu_seconds))
            .collect()
    }

    /// Waits until the programs use no processor time, three looks in a row.
    fn wait_for_rest(&self) {
        let (mut last, mut quiet) = (self.cpu(), 0);
        for _ in 0..40 {
            std::thread::sleep(Duration::from_millis(250));
            let used = self.cpu();
            quiet = if used == last { quiet + 1 } else { 0 };
            last = used;
            if quiet == 3 {
                return;
            }
        }
    }

    fn note_memory(&mut self, empty: &[Option<f64>], full: &[Option<f64>]) {
        for (place, (empty, full)) in empty.iter().zip(full).enumerate() {
            let grown = full.zip(*empty).map(|(full, empty)| full - empty);
            self.note(place, MEMORY, grown.map(|grown| grown / as_f64(self.load.sessions)));
        }
    }

    /// Sends a command to the miners of all systems, then collects the replies.
    fn ask_miners(&mut self, command: &str, seconds: u64) -> Result<Vec<Value>, ControlError> {
        for system in self.systems.iter_mut() {
            system.miners.send(command)?;
        }
        let patience = Self::patience(seconds);
        self.systems.iter().map(|system| system.miners.reply(patience)).collect()
    }

    fn storm(&mut self) -> Result<(), SystemError> {
        let command = format!("connect {} {PATIENCE}", self.load.sessions);
        for (place, reply) in self.ask_miners(&command, PATIENCE)?.into_iter().enumerate() {
            self.note(place, STORM_P50, figure(&reply, "p50"));
            self.note(place, STORM_LAST, figure(&reply, "last"));
            let missing = count(&reply, "missing");
            if missing > 0 {
                self.complain(place, &format!("{missing} miners got no job"));
            }
        }
        Ok(())
    }

    /// Asks all miners for the arrival of what their first pools have just sent.
    fn arrivals(&mut self, sent: &[Value]) -> Result<Vec<Value>, ControlError> {
        for (system, sent) in self.systems.iter_mut().zip(sent) {
            let marker = sent.get("marker").and_then(Value::as_str).unwrap_or_default();
            let start = count(sent, "start");
            system.miners.send(&format!("arrivals {marker} {start} {PATIENCE}"))?;
        }
        let patience = Self::patience(PATIENCE);
        self.systems.iter().map(|system| system.miners.reply(patience)).collect()
    }

    fn broadcast(&mut self, command: &str, seconds: u64) -> Result<Vec<Value>, ControlError> {
        for system in self.systems.iter_mut() {
            if let Some(pool) = system.pools.first_mut() {
                pool.send(command)?;
            }
        }
        let mut sent = Vec::new();
        for system in self.systems.iter() {
            if let Some(pool) = system.pools.first() {
                sent.push(pool.reply(Self::patience(seconds))?);
            }
        }
        Ok(sent)
    }

    fn fan_out(&mut self) -> Result<(), SystemError> {
        let sent = self.broadcast("job", 10)?;
        for (place, reply) in self.arrivals(&sent)?.into_iter().enumerate() {
            self.note(place, FAN_P50, figure(&reply, "p50"));
            self.note(place, FAN_P99, figure(&reply, "p99"));
            self.note(place, FAN_LAST, figure(&reply, "last"));
            let missing = count(&reply, "missing");
            if missing > 0 {
                self.complain(place, &format!("a job did not reach {missing} miners"));
            }
        }
        Ok(())
    }

    fn note_cpu(&mut self, row: &str, before: &[Option<f64>], lines: u64) {
        for (place, (before, after)) in before.iter().zip(self.cpu()).enumerate() {
            let used = after.zip(*before).map(|(after, before)| after - before);
            self.note(place, row, used.map(|used| used * 1e6 / as_f64(lines.max(1))));
        }
    }

    fn notifications(&mut self) -> Result<(), SystemError> {
        let before = self.cpu();
        let (jobs, pause) = (self.load.jobs, self.load.job_pause);
        let sent = self.broadcast(&format!("jobs {jobs} {pause}"), jobs * pause / 1000 + 60)?;
        self.arrivals(&sent)?;
        self.wait_for_rest();
        self.note_cpu(CPU_JOBS, &before, jobs * self.load.sessions);
        Ok(())
    }

    fn shares(&mut self) -> Result<(), SystemError> {
        let before = self.cpu();
        let (shares, rate) = (self.load.shares, self.load.share_rate);
        let command = format!("submit {shares} {rate}");
        let replies = self.ask_miners(&command, shares / rate.max(1) + 30)?;
        self.wait_for_rest();
        self.note_cpu(CPU_SHARES, &before, shares * 2);
        for (place, reply) in replies.iter().enumerate() {
            self.note(place, ANSWER_P50, figure(reply, "p50"));
            self.note(place, ANSWER_P99, figure(reply, "p99"));
            let wrong = wrong_shares(reply);
            self.note(place, WRONG, Some(as_f64(wrong)));
            if wrong > 0 || count(reply, "sent") != shares {
                self.complain(place, &format!("not every share was answered once: {reply}"));
            }
        }
        Ok(())
    }

    /// Moves the miners of every system that can, while they submit.
    fn switch(&mut self) -> Result<(), SystemError> {
        for place in 0..self.systems.len() {
            self.switch_one(place)?;
        }
        Ok(())
    }

    fn switch_one(&mut self, place: usize) -> Result<(), SystemError> {
        let rate = self.load.share_rate;
        let Some(system) = self.systems.get_mut(place).filter(|one| one.coin_file.is_some()) else {
            return Ok(());
        };
        system.miners.send(&format!("submit {} {rate}", rate * PATIENCE * 2))?;
        // Shares must be under way before, during and after the switch.
        std::thread::sleep(Duration::from_secs(1));
        let start = now();
        system.move_to_second_coin()?;
        let arrived = system
            .miners
            .ask(&format!("arrivals b {start} {PATIENCE}"), Self::patience(PATIENCE))?;
        std::thread::sleep(Duration::from_secs(2));
        let shares = system.miners.ask("halt", Self::patience(PATIENCE))?;
        self.note(place, SWITCH_P50, figure(&arrived, "p50"));
        self.note(place, SWITCH_LAST, figure(&arrived, "last"));
        let (wrong, missing) = (wrong_shares(&shares), count(&arrived, "missing"));
        self.note(place, SWITCH_BAD, Some(as_f64(wrong)));
        if wrong > 0 || missing > 0 || count(&arrived, "dropped") > 0 {
            self.complain(place, &format!("the switch was not clean: {arrived} {shares}"));
        }
        Ok(())
    }
}

/// Shares that did not end with exactly one positive answer, and answers nobody waited for.
fn wrong_shares(reply: &Value) -> u64 {
    ["refused", "unanswered", "lost", "unasked"].iter().map(|name| count(reply, name)).sum()
}

fn count(reply: &Value, name: &str) -> u64 {
    reply.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn figure(reply: &Value, name: &str) -> Option<f64> {
    reply.get("spread")?.get(name)?.as_f64()
}

#[expect(clippy::cast_precision_loss, reason = "counts of a load test stay far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
