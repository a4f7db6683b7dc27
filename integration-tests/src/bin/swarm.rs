//! `swarm`, the load tool: thousands of miners through the switcher and through its peers at the
//! same time, on loopback, and a table of figures and ratios.
//!
//! Reads the command line and strings the parts together; the parts are in `integration_tests::load`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use integration_tests::load::rows::{Load, Run};
use integration_tests::load::system::{Kind, System, SystemError};
use integration_tests::load::table::Table;
use integration_tests::load::{miners, pool, raise_open_files, relay, upgrades};

/// Measures the switcher and other proxies side by side under the same load.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Swarm {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    plan: Plan,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Measures how long upgrades of the switcher take, and what they lose.
    Upgrades {
        /// The switcher's program.
        #[arg(long)]
        switcher: PathBuf,
        /// Miners, one row each.
        #[arg(long, value_delimiter = ',', default_value = "100,1000,5000,9800")]
        sessions: Vec<u64>,
        /// Upgrades of each row, one behind the other.
        #[arg(long, default_value_t = 5)]
        generations: u32,
        /// Shares per second over all miners.
        #[arg(long, default_value_t = 1_000)]
        share_rate: u64,
    },
    /// Used by the tool itself: one of its processes.
    #[command(subcommand, hide = true)]
    Role(RoleName),
}

#[derive(Debug, Subcommand)]
enum RoleName {
    Miners { target: SocketAddr },
    Pool { listen: SocketAddr, mark: char },
    Relay { listen: SocketAddr, target: SocketAddr },
}

#[derive(Debug, Args)]
struct Plan {
    /// The switcher's program, started with a configuration made for the test.
    #[arg(long)]
    switcher: Option<PathBuf>,
    /// A library that brings the dialect btc: the switcher is measured with it as well, as `plugged`.
    #[arg(long, requires = "switcher")]
    plugin: Option<PathBuf>,
    /// An earlier build of the switcher, measured at the same time as `before`. Pairs of figures are
    /// compared run by run: nine runs give an interval.
    #[arg(long, requires = "switcher")]
    before: Option<PathBuf>,
    /// A proxy that runs already: where miners connect.
    #[arg(long, requires_all = ["target_pid", "target_pool"], conflicts_with = "switcher")]
    target: Option<SocketAddr>,
    /// Its process id.
    #[arg(long)]
    target_pid: Option<u32>,
    /// Where it expects its pools, the second coin's second.
    #[arg(long)]
    target_pool: Vec<SocketAddr>,
    /// Its coin file; `load` is the sub-account whose coin is changed from btc to bch.
    #[arg(long)]
    coin_file: Option<PathBuf>,
    /// What to compare with.
    #[arg(long, value_delimiter = ',', default_value = "haproxy,nginx,relay,direct")]
    peers: Vec<String>,
    /// Miners per system.
    #[arg(long, default_value_t = 5000)]
    sessions: u64,
    /// Times everything is done anew; the table shows medians.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Jobs to every miner in the burst whose processor time is taken.
    #[arg(long, default_value_t = 10)]
    jobs: u64,
    /// Milliseconds between them.
    #[arg(long, default_value_t = 500)]
    job_pause: u64,
    /// Shares per system in the burst whose processor time is taken.
    #[arg(long, default_value_t = 30_000)]
    shares: u64,
    /// Shares per second and system.
    #[arg(long, default_value_t = 3_000)]
    share_rate: u64,
    /// Takes the storm and the fan-out by one system after the other instead of all at once.
    #[arg(long)]
    in_turn: bool,
}

impl Plan {
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.switcher.iter().cloned().map(Kind::Switcher).collect();
        kinds.extend(self.before.iter().cloned().map(Kind::Before));
        if let (Some(program), Some(plugin)) = (&self.switcher, &self.plugin) {
            // The program has a folder of its own.
            let plugin = std::path::absolute(plugin).unwrap_or_else(|_| plugin.clone());
            kinds.push(Kind::Plugged { program: program.clone(), plugin });
        }
        if let (Some(address), Some(process)) = (self.target, self.target_pid) {
            let (pools, coin_file) = (self.target_pool.clone(), self.coin_file.clone());
            kinds.push(Kind::Running { address, process, pools, coin_file });
        }
        kinds.extend(self.peers.iter().filter_map(|peer| match peer.as_str() {
            "direct" => Some(Kind::Direct),
            "haproxy" => Some(Kind::Haproxy),
            "nginx" => Some(Kind::Nginx),
            "relay" => Some(Kind::Relay),
            other => {
                eprintln!("skipped: {other} is no known peer");
                None
            }
        }));
        kinds.retain(|kind| match kind.missing() {
            Some(why) => {
                eprintln!("skipped: {}: {why}", kind.name());
                false
            }
            None => true,
        });
        kinds
    }

    fn load(&self) -> Load {
        Load {
            sessions: self.sessions,
            jobs: self.jobs,
            job_pause: self.job_pause,
            shares: self.shares,
            share_rate: self.share_rate,
            in_turn: self.in_turn,
        }
    }
}

fn main() -> ExitCode {
    let swarm = Swarm::parse();
    let limit = raise_open_files();
    let outcome = match swarm.part {
        Some(Part::Role(RoleName::Miners { target })) => miners::serve(target),
        Some(Part::Role(RoleName::Pool { listen, mark })) => pool::serve(listen, mark),
        Some(Part::Role(RoleName::Relay { listen, target })) => relay::serve(listen, target),
        Some(Part::Upgrades { switcher, sessions, generations, share_rate }) => {
            return upgrade(&upgrades::Plan { switcher, sessions, generations, share_rate });
        }
        None => return measure(&swarm.plan, limit),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn upgrade(plan: &upgrades::Plan) -> ExitCode {
    match upgrades::measure(plan) {
        Ok(found) => {
            print!("{}", found.table);
            for complaint in &found.complaints {
                println!("{complaint}");
            }
            if found.complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(plan: &Plan, limit: u64) -> ExitCode {
    let kinds = plan.kinds();
    if plan.sessions.saturating_mul(3).saturating_add(200) > limit {
        eprintln!("note: {} sessions may need more than {limit} open files", plan.sessions);
    }
    let order = if plan.in_turn { "storm and fan-out in turn" } else { "all systems at once" };
    println!("{} sessions per system, {order}, {} runs", plan.sessions, plan.runs);
    let mut table = Table::new(kinds.iter().map(|kind| kind.name().to_owned()).collect());
    let mut complaints = Vec::new();
    for number in 1..=plan.runs {
        match run_once(plan, &kinds, number, &mut table) {
            Ok(found) => {
                complaints.extend(found.into_iter().map(|what| format!("run {number}: {what}")));
            }
            Err(error) => complaints.push(format!("run {number} broke off: {error}")),
        }
    }
    println!("{}", table.print());
    print!("{}", table.print_pairs(Kind::Before(PathBuf::new()).name()));
    for complaint in &complaints {
        println!("{complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_once(
    plan: &Plan,
    kinds: &[Kind],
    number: usize,
    table: &mut Table,
) -> Result<Vec<String>, SystemError> {
    let folder = tempfile::tempdir().map_err(|error| SystemError::Io("temporary folder", error))?;
    let mut systems = Vec::new();
    for kind in kinds {
        let own = folder.path().join(kind.name());
        std::fs::create_dir(&own).map_err(|error| SystemError::Io("temporary folder", error))?;
        systems.push(System::start(kind.clone(), &own)?);
    }
    let mut run = Run::new(&mut systems, plan.load(), number, table);
    run.all()?;
    Ok(run.complaints)
}
