//! What holds for every dialect, built in or loaded, whatever it speaks. Needs conversations as
//! material and no expectations.
//!
//! Each case runs on a thread named after its check, script and seed, so that even a stack overflow
//! names its case, and is watched, so that a session that never returns is told.

use std::fmt::Write as _;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::driver::{Bounds, Chunks, Driver, Mode, Observed};
use super::garbage::{SplitMix64, garbage, vary};
use super::script::{Event, Script};
use super::transcript::Run;
use super::world::{Broken, World};
use crate::dialect::{Recognition, StratumDialect};
use crate::types::Side;

/// The stack of a case: what threads of the standard library and of tokio have by default.
const STACK: usize = 2 * 1024 * 1024;

/// Bytes that one frame of a flood may add to the saved state for good.
const GROWTH: usize = 4;

/// What a session may take, and how long the suite looks.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Actions in answer to one input.
    pub actions: usize,
    /// Bytes sent in answer to one input, whatever it was …
    pub output: usize,
    /// … and per byte of the frame.
    pub output_factor: usize,
    /// Bytes of saved state, however many frames have come.
    pub saved: usize,
    /// Frames of a flood. Raise it if something is bounded by a larger number than half of this.
    pub flood: u32,
    /// Cases of garbage per script, seeds 0 to this. `CONFORM_SEED=n` runs only seed `n`.
    pub seeds: u64,
    /// A case that takes longer has hung; the process is ended after it was named.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            actions: 1_024,
            output: 64 * 1024,
            output_factor: 8,
            saved: 512 * 1024,
            flood: 3_000,
            seeds: 64,
            patience: Duration::from_mins(1),
        }
    }
}

impl Limits {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds { actions: self.actions, output: self.output, output_factor: self.output_factor }
    }
}

/// Checks that the dialects of the scripts behave as any dialect must.
///
/// * Any cutting of the bytes into reads gives the same frames and actions; `cut` gives 1 to `len`.
/// * Saving and resuming before every input changes nothing; every version it says it reads can be
///   saved and resumed.
/// * Twice the same is twice the same.
/// * Every share that was submitted to a leg has one verdict by the time the leg has ended, nothing
///   is sent to a leg that is not open, and nobody identifies twice.
/// * `recognise` decides on the first frame and does not change its mind.
/// * Garbage on any side never panics and never hangs; what is sent per input is bounded.
/// * A flood of frames does not grow the saved state without bound.
///
/// # Panics
///
/// If a check fails; the report names check, script, line and seed.
#[expect(clippy::panic, reason = "this is an assertion for tests")]
#[track_caller]
pub fn conform(dialects: &[&dyn StratumDialect], scripts: &[Script]) {
    if let Err(report) = check_conformance(dialects, scripts, &Limits::default()) {
        panic!("{report}");
    }
}

/// Like [`conform`], with limits of your own and without the panic: the number of cases run.
///
/// # Errors
///
/// The report of what failed, one failure per check and script.
pub fn check_conformance(
    dialects: &[&dyn StratumDialect],
    scripts: &[Script],
    limits: &Limits,
) -> Result<usize, String> {
    let mut report = String::new();
    let mut cases = 0;
    if scripts.is_empty() {
        return Err("there are no scripts to work with".to_owned());
    }
    for (index, script) in scripts.iter().enumerate() {
        let earlier = scripts.get(..index).unwrap_or_default();
        let world = match World::of(script, dialects) {
            Ok(world) => world,
            Err(broken) => {
                let _ = writeln!(report, "{}: {broken}", script.name);
                continue;
            }
        };
        for (check, seeds, case) in checks(limits) {
            for seed in seeds {
                cases += 1;
                let title = format!("{check}, seed {seed}, {}", script.name);
                let one = Case { script, earlier, world: &world, limits, seed };
                if let Err(problem) = watched(&title, limits.patience, || case(&one)) {
                    let _ = writeln!(report, "{title}: {}\n", problem.trim_end());
                    break;
                }
            }
        }
    }
    if report.is_empty() { Ok(cases) } else { Err(report) }
}

struct Case<'a> {
    script: &'a Script,
    /// The scripts in front of it.
    earlier: &'a [Script],
    world: &'a World<'a>,
    limits: &'a Limits,
    seed: u64,
}

type Check = fn(&Case<'_>) -> Result<(), String>;

fn checks(limits: &Limits) -> [(&'static str, std::ops::Range<u64>, Check); 6] {
    let garbage_seeds = match std::env::var("CONFORM_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..limits.seeds,
    };
    [
        ("same again", 0..1, same_again),
        ("chunks", 0..16, chunks),
        ("resume", 0..1, resume),
        ("recognise", 0..1, recognise),
        ("garbage", garbage_seeds, survives_garbage),
        ("flood", 0..1, flood),
    ]
}

impl Case<'_> {
    fn bounded(&self, chunks: Chunks, resume: Option<u16>) -> Mode {
        Mode { chunks, resume, bounds: Some(self.limits.bounds()) }
    }

    fn same_in(&self, mode: Mode) -> Result<(), String> {
        let run = |mode| Run::of(self.script, self.world, mode);
        let whole = run(self.bounded(Chunks::Whole, None)).whole()?;
        whole.compare(self.script, &run(mode))
    }
}

fn same_again(case: &Case<'_>) -> Result<(), String> {
    case.same_in(case.bounded(Chunks::Whole, None))
}

fn chunks(case: &Case<'_>) -> Result<(), String> {
    let chunks = match case.seed {
        0 => Chunks::Single,
        seed => Chunks::Random(SplitMix64::new(seed)),
    };
    case.same_in(case.bounded(chunks, None))
}

/// The newest version keeps everything; older ones, for a downgrade, must at least go on.
fn resume(case: &Case<'_>) -> Result<(), String> {
    let versions = case.world.dialect.state_versions();
    case.same_in(case.bounded(Chunks::Whole, Some(*versions.end())))?;
    for version in versions {
        let mut driver = Driver::open(case.world, case.bounded(Chunks::Whole, None));
        for step in &case.script.steps {
            let place = |broken| format!("{}:{}: {broken}", case.script.name, step.line);
            driver.resume(version).map_err(place)?;
            match driver.step(&step.event) {
                // What an older version cannot hold may change where the conversation goes.
                Ok(_) | Err(Broken::Script(_)) => {}
                Err(broken) => return Err(place(broken)),
            }
        }
    }
    Ok(())
}

fn recognise(case: &Case<'_>) -> Result<(), String> {
    let Some((_, _, first)) = case.script.frames().find(|(_, side, _)| *side == Side::Downstream)
    else {
        return Ok(());
    };
    let ask = |len: usize| case.world.dialect.recognise(first.get(..len).unwrap_or_default());
    let decision = ask(first.len());
    if decision == Recognition::NeedMore && first.ends_with(b"\n") {
        return Err("is undecided on the whole first line".to_owned());
    }
    for len in 0..first.len() {
        let early = ask(len);
        if early != Recognition::NeedMore && early != decision {
            return Err(format!("says {early:?} on {len} bytes, then {decision:?}"));
        }
    }
    Ok(())
}

/// The conversation with up to four accidents: made-up frames, lost legs, damaged lines.
fn survives_garbage(case: &Case<'_>) -> Result<(), String> {
    let mut rng = SplitMix64::new(case.seed);
    let material: Vec<&[u8]> = case.script.frames().map(|(_, _, bytes)| bytes).collect();
    let newest = *case.world.dialect.state_versions().end();
    let resume = (case.seed % 2 == 1).then_some(newest);
    let chunks = Chunks::Random(SplitMix64::new(case.seed));
    let mut driver = Driver::open(case.world, case.bounded(chunks, resume));
    let accidents: Vec<usize> =
        (0..=rng.below(4)).map(|_| rng.below(case.script.steps.len() + 1)).collect();
    let steps = case.script.steps.iter().map(|step| Some(&step.event)).chain([None]);
    for (index, event) in steps.enumerate() {
        for _ in accidents.iter().filter(|at| **at == index) {
            for event in accident(&mut rng, &driver, &material) {
                go_on(&mut driver, &event)?;
            }
        }
        let damaged = event.filter(|_| rng.below(24) == 0).and_then(|event| match event {
            Event::Bytes(side, bytes) => Some(Event::Bytes(*side, garbage(&mut rng, &[bytes]))),
            _ => None,
        });
        if let Some(event) = damaged.as_ref().or(event) {
            go_on(&mut driver, event)?;
        }
        driver.describe();
    }
    Ok(())
}

fn accident(rng: &mut SplitMix64, driver: &Driver<'_>, material: &[&[u8]]) -> Vec<Event> {
    let mut sides = vec![Side::Downstream];
    sides.extend(driver.open_legs().into_iter().map(Side::Upstream));
    let side = sides.get(rng.below(sides.len())).copied().unwrap_or(Side::Downstream);
    match (rng.below(8), side) {
        (0, Side::Upstream(leg)) => vec![Event::LegDown(leg)],
        (1, _) => vec![Event::TimePasses(rng.next_u64() % 1_000_000)],
        // Frames of the conversation itself, but on the wrong side or at the wrong time.
        (2..=3, _) => {
            let frame = material.get(rng.below(material.len())).copied().unwrap_or_default();
            vec![Event::Bytes(side, frame.to_vec())]
        }
        _ => {
            let count = 1 + rng.below(3);
            (0..count).map(|_| Event::Bytes(side, garbage(rng, material))).collect()
        }
    }
}

/// Makes an event happen unless accidents have made it impossible.
pub(super) fn go_on(driver: &mut Driver<'_>, event: &Event) -> Result<(), String> {
    expect_rules(driver.step(event))?;
    for event in driver.obituaries() {
        expect_rules(driver.step(&event))?;
    }
    Ok(())
}

fn expect_rules(result: Result<Observed, Broken>) -> Result<(), String> {
    match result {
        Ok(_) | Err(Broken::Script(_)) => Ok(()),
        Err(Broken::Rule(problem)) => Err(problem),
    }
}

/// Repeats each frame of the conversation where it stands, as it is and varied. Frames that an
/// earlier conversation had too are left out, as most begin alike.
fn flood(case: &Case<'_>) -> Result<(), String> {
    let is_known = |side: Side, frame: &[u8]| {
        let mut earlier = case.earlier.iter().flat_map(Script::frames);
        earlier.any(|(_, other, bytes)| other == side && bytes == frame)
    };
    for (index, side, frame) in case.script.frames().filter(|f| !is_known(f.1, f.2)) {
        for is_varied in [false, true] {
            flood_with(case, index, side, frame, is_varied)
                .map_err(|problem| flooded(case.script, index, is_varied, &problem))?;
        }
    }
    Ok(())
}

fn flooded(script: &Script, index: usize, is_varied: bool, problem: &str) -> String {
    let (line, text) = script.steps.get(index).map_or((0, ""), |step| (step.line, &step.text));
    let how = if is_varied { "varied" } else { "the same" };
    format!("{}:{line}: {text}\n    over and over, {how}: {problem}", script.name)
}

fn flood_with(
    case: &Case<'_>,
    index: usize,
    side: Side,
    frame: &[u8],
    is_varied: bool,
) -> Result<(), String> {
    let newest = *case.world.dialect.state_versions().end();
    let mut driver = Driver::open(case.world, case.bounded(Chunks::Whole, None));
    for step in case.script.steps.iter().take(index + 1) {
        driver.step(&step.event).map_err(|broken| broken.to_string())?;
    }
    let half = case.limits.flood / 2;
    let mut at_half = 0;
    for count in 0..case.limits.flood {
        let bytes = if is_varied { vary(frame, count) } else { frame.to_vec() };
        go_on(&mut driver, &Event::Bytes(side, bytes))?;
        if driver.is_over() {
            return Ok(());
        }
        if count == half {
            at_half = saved_bytes(&driver, newest)?;
        }
    }
    let (flood, allowed) = (case.limits.flood, case.limits.saved);
    let bytes = saved_bytes(&driver, newest)?;
    if bytes > allowed {
        return Err(format!(
            "the saved state has {bytes} bytes after {flood} frames, allowed are {allowed}"
        ));
    }
    // What is bounded has reached its bound by half; numbers in it may still gain digits.
    let growth = bytes.saturating_sub(at_half);
    if growth > usize::try_from(flood - half).unwrap_or(usize::MAX).saturating_mul(GROWTH) {
        return Err(format!(
            "the saved state still grows: {growth} bytes in the second half of {flood} frames"
        ));
    }
    Ok(())
}

fn saved_bytes(driver: &Driver<'_>, version: u16) -> Result<usize, String> {
    driver.save(version).map(|saved| saved.state.len()).map_err(|broken| broken.to_string())
}

/// Runs a case on a thread of its own name. A panic becomes an error; a hang ends the process, for
/// a thread cannot be stopped from outside.
pub(super) fn watched(
    title: &str,
    patience: Duration,
    case: impl FnOnce() -> Result<(), String> + Send,
) -> Result<(), String> {
    thread::scope(|scope| {
        let (done, finished) = mpsc::channel();
        let work = move || {
            let result = case();
            // The receiver waits as long as this thread lives.
            let _ = done.send(());
            result
        };
        let thread = thread::Builder::new()
            .name(title.to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|error| format!("no thread: {error}"))?;
        if finished.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
            give_up(title, patience);
        }
        thread.join().unwrap_or_else(|payload| {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or(payload.downcast_ref::<&str>().copied());
            Err(format!("panicked: {}", text.unwrap_or("with no message")))
        })
    })
}

#[expect(clippy::print_stderr, reason = "the process ends here, nothing else can report it")]
fn give_up(title: &str, patience: Duration) -> ! {
    eprintln!("{title}: did not return within {patience:?}");
    std::process::abort();
}
