//! What is measured, in the order in which one run does it.
//!
//! All systems do the same at the same time, so that a busy machine is equally busy for all. Rows
//! that are a time from one event to the last miner may instead be taken in turn: together they end
//! at nearly the same moment once the processors are the bottleneck.

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
    /// Whether storm and fan-out are taken by one system after the other.
    pub in_turn: bool,
}

/// Shares over a whole run, as the miners of one system count them.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    sent: u64,
    accepted: u64,
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
    totals: Vec<Totals>,
    /// Which system begins when they take turns.
    first: usize,
    /// Sentences on what went wrong.
    pub complaints: Vec<String>,
}

impl<'a> Run<'a> {
    /// A run over systems that have just been started. `number` decides who begins where they take
    /// turns.
    pub fn new(systems: &'a mut [System], load: Load, number: usize, table: &'a mut Table) -> Self {
        let totals = vec![Totals::default(); systems.len()];
        let first = number % systems.len().max(1);
        Self { systems, load, table, totals, first, complaints: Vec::new() }
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
        self.switch()?;
        self.compare_books()
    }

    /// The places of the systems in the groups that act at the same time.
    fn groups(&self) -> Vec<Vec<usize>> {
        let count = self.systems.len();
        if self.load.in_turn {
            (0..count).map(|place| vec![(place + self.first) % count]).collect()
        } else {
            vec![(0..count).collect()]
        }
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

    /// Sends a command to the miners of these systems, then collects the replies.
    fn ask_miners(
        &mut self,
        places: &[usize],
        command: &str,
        seconds: u64,
    ) -> Result<Vec<(usize, Value)>, ControlError> {
        let commands: Vec<_> = places.iter().map(|&place| (place, command.to_owned())).collect();
        self.ask_each(&commands, seconds)
    }

    fn ask_each(
        &mut self,
        commands: &[(usize, String)],
        seconds: u64,
    ) -> Result<Vec<(usize, Value)>, ControlError> {
        for (place, command) in commands {
            if let Some(system) = self.systems.get_mut(*place) {
                system.miners.send(command)?;
            }
        }
        let mut replies = Vec::new();
        for (place, _) in commands {
            if let Some(system) = self.systems.get(*place) {
                replies.push((*place, system.miners.reply(Self::patience(seconds))?));
            }
        }
        Ok(replies)
    }

    fn storm(&mut self) -> Result<(), SystemError> {
        let command = format!("connect {} {PATIENCE}", self.load.sessions);
        for places in self.groups() {
            for (place, reply) in self.ask_miners(&places, &command, PATIENCE)? {
                self.note(place, STORM_P50, figure(&reply, "p50"));
                self.note(place, STORM_LAST, figure(&reply, "last"));
                if count(&reply, "missing") > 0 {
                    self.complain(place, &format!("miners got no job: {reply}"));
                }
            }
        }
        Ok(())
    }

    /// Has the first pools of these systems send jobs and waits until their miners have the last.
    fn broadcast(
        &mut self,
        places: &[usize],
        command: &str,
        seconds: u64,
    ) -> Result<Vec<(usize, Value)>, ControlError> {
        for place in places {
            if let Some(pool) = self.systems.get_mut(*place).and_then(|one| one.pools.first_mut()) {
                pool.send(command)?;
            }
        }
        let mut commands = Vec::new();
        for place in places {
            if let Some(pool) = self.systems.get(*place).and_then(|one| one.pools.first()) {
                let sent = pool.reply(Self::patience(seconds))?;
                let marker = sent.get("marker").and_then(Value::as_str).unwrap_or_default();
                let start = count(&sent, "start");
                commands.push((*place, format!("arrivals {marker} {start} {PATIENCE}")));
            }
        }
        self.ask_each(&commands, PATIENCE)
    }

    fn everyone(&self) -> Vec<usize> {
        (0..self.systems.len()).collect()
    }

    fn fan_out(&mut self) -> Result<(), SystemError> {
        for places in self.groups() {
            for (place, reply) in self.broadcast(&places, "job", 10)? {
                self.note(place, FAN_P50, figure(&reply, "p50"));
                self.note(place, FAN_P99, figure(&reply, "p99"));
                self.note(place, FAN_LAST, figure(&reply, "last"));
                if count(&reply, "missing") > 0 {
                    self.complain(place, &format!("a job did not reach all miners: {reply}"));
                }
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
        let command = format!("jobs {jobs} {pause}");
        self.broadcast(&self.everyone(), &command, jobs * pause / 1000 + PATIENCE)?;
        self.wait_for_rest();
        self.note_cpu(CPU_JOBS, &before, jobs * self.load.sessions);
        Ok(())
    }

    fn shares(&mut self) -> Result<(), SystemError> {
        let before = self.cpu();
        let (shares, rate) = (self.load.shares, self.load.share_rate);
        let command = format!("submit {shares} {rate}");
        let replies =
            self.ask_miners(&self.everyone(), &command, shares / rate.max(1) + PATIENCE)?;
        self.wait_for_rest();
        self.note_cpu(CPU_SHARES, &before, shares * 2);
        for (place, reply) in &replies {
            let place = *place;
            self.add_up(place, reply);
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

    fn add_up(&mut self, place: usize, reply: &Value) {
        if let Some(totals) = self.totals.get_mut(place) {
            totals.sent += count(reply, "sent");
            totals.accepted += count(reply, "accepted");
        }
    }

    /// Asks the pools what they saw: each share sent must have come once, to a pool that knew it.
    fn compare_books(&mut self) -> Result<(), SystemError> {
        for place in 0..self.systems.len() {
            let mut seen = Vec::new();
            for pool in self.systems.get_mut(place).map_or(&mut [][..], |one| &mut one.pools) {
                seen.push(pool.ask("stats", Self::patience(10))?);
            }
            let sum = |name| seen.iter().map(|books| count(books, name)).sum::<u64>();
            let (accepted, strange) = (sum("accepted"), sum("foreign") + sum("malformed"));
            let totals = self.totals.get(place).copied().unwrap_or_default();
            if accepted != totals.accepted || strange > 0 {
                self.complain(place, &format!("the pools saw {seen:?}, the miners {totals:?}"));
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
        self.add_up(place, &shares);
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
