//! Any bytes, made into a conversation: for fuzzers, and for a bounded run of the same without one.

use super::conformance::{Limits, go_on, watched};
use super::driver::{Chunks, Driver, Mode};
use super::garbage::SplitMix64;
use super::script::{Event, Script};
use super::world::World;
use crate::dialect::{Refusal, StratumDialect};
use crate::types::{LegId, Side};

/// Inputs that one run makes at most, so that a long input is no slow one.
const MOST_INPUTS: usize = 256;

/// Makes a conversation of `data` and drives a session of one of the scripts through it.
///
/// The first two bytes choose the script, which gives the seat and the pools; the third how many of its
/// steps go first; the fourth how bytes are cut into reads, and whether the session is saved and
/// resumed before every input. Then every byte chooses one input: a frame of any of the scripts (to
/// the side it belongs to or another), raw bytes of `data`, a leg that comes, goes or is cut over to,
/// a coin, time, a resumption. What the engine would not do is left out.
///
/// # Panics
///
/// If the session panics or breaks a rule of the trait, or a script is none of these dialects.
#[expect(clippy::panic, reason = "this is an assertion for tests")]
pub fn fuzz(dialects: &[&dyn StratumDialect], scripts: &[Script], data: &[u8]) {
    if let Err(problem) = run(dialects, scripts, data) {
        panic!("{problem}");
    }
}

/// [`fuzz`] without a fuzzer: each frame of the scripts from the miner and from a pool, after every step
/// of one of them, and `seeds` made-up inputs.
///
/// # Panics
///
/// As [`fuzz`] does; the seed, if it was one, is in the message.
#[expect(clippy::panic, reason = "this is an assertion for tests")]
pub fn fuzz_seeded(dialects: &[&dyn StratumDialect], scripts: &[Script], seeds: u64) {
    let frames = scripts.iter().flat_map(Script::frames).map(|(_, _, frame)| frame.to_vec());
    for (index, frame) in frames.enumerate() {
        for side in [Side::Downstream, Side::Upstream(LegId(1))] {
            let script = index.checked_rem(scripts.len()).and_then(|index| scripts.get(index));
            let Some(script) = script else { panic!("there are no scripts to work with") };
            if let Err(problem) = line(dialects, script, side, &frame) {
                panic!("{}: {problem}: {}", script.name, frame.escape_ascii());
            }
        }
    }
    for seed in 0..seeds {
        let mut rng = SplitMix64::new(seed);
        let length = rng.below(600);
        let data: Vec<u8> = (0..length).map(|_| rng.byte()).collect();
        let patience = Limits::default().patience;
        let title = format!("fuzz, seed {seed}");
        if let Err(problem) = watched(&title, patience, || run(dialects, scripts, &data)) {
            panic!("{title}: {problem}");
        }
    }
}

fn run(dialects: &[&dyn StratumDialect], scripts: &[Script], data: &[u8]) -> Result<(), String> {
    let mut data = Data(data);
    let script = data.pick(scripts).ok_or("there are no scripts to work with")?;
    let world = World::of(script, dialects).map_err(|broken| broken.to_string())?;
    drive(&world, script, scripts, &mut data)
        .map_err(|problem| format!("{}: {problem}", script.name))
}

/// One frame after each step of a script.
fn line(
    dialects: &[&dyn StratumDialect],
    script: &Script,
    side: Side,
    frame: &[u8],
) -> Result<(), String> {
    let world = World::of(script, dialects).map_err(|broken| broken.to_string())?;
    let mut driver = Driver::open(&world, mode(&world, 0));
    for step in &script.steps {
        go_on(&mut driver, &step.event)?;
        go_on(&mut driver, &Event::Bytes(side, frame.to_vec()))?;
    }
    Ok(())
}

fn drive(
    world: &World<'_>,
    script: &Script,
    scripts: &[Script],
    data: &mut Data<'_>,
) -> Result<(), String> {
    let frames: Vec<&[u8]> = scripts.iter().flat_map(Script::frames).map(|(.., f)| f).collect();
    let steps = usize::from(data.byte()) % (script.steps.len() + 1);
    let mut driver = Driver::open(world, mode(world, data.byte()));
    for step in script.steps.iter().take(steps) {
        go_on(&mut driver, &step.event)?;
    }
    for _ in 0..MOST_INPUTS {
        if data.0.is_empty() || driver.is_over() {
            break;
        }
        if let Some(event) = input(world, &frames, data) {
            go_on(&mut driver, &event)?;
        } else {
            let version = *world.dialect.state_versions().end();
            driver.resume(version).map_err(|broken| broken.to_string())?;
            driver.describe();
        }
    }
    Ok(())
}

fn mode(world: &World<'_>, choice: u8) -> Mode {
    let chunks = match choice % 3 {
        0 => Chunks::Whole,
        1 => Chunks::Single,
        _ => Chunks::Random(SplitMix64::new(choice.into())),
    };
    let resume = (choice & 0x80 != 0).then(|| *world.dialect.state_versions().end());
    Mode { chunks, resume, bounds: Some(Limits::default().bounds()) }
}

/// The next input, `None` for saving and resuming.
fn input(world: &World<'_>, frames: &[&[u8]], data: &mut Data<'_>) -> Option<Event> {
    let choice = data.byte();
    // Legs 1 to 4 are enough for every step of a switch.
    let leg = LegId(u32::from(choice >> 6) + 1);
    let side = if choice & 0x20 == 0 { Side::Downstream } else { Side::Upstream(leg) };
    let event = match choice % 16 {
        0..=5 => Event::Bytes(side, data.pick(frames).map(|frame| frame.to_vec())?),
        6 => Event::Bytes(side, data.spoilt(frames)?),
        7 => Event::Bytes(side, data.raw()),
        8 | 9 => {
            let (name, _) = data.pick(&world.header.pools)?;
            Event::LegUp { leg, pool: Some(name.clone()), form: choice >> 5 & 1 }
        }
        10 => Event::CutOver(leg),
        11 => Event::LegDown(leg),
        12 => Event::LegGone(leg),
        13 => Event::TimePasses(u64::from(data.byte()) << (data.byte() % 16)),
        14 => {
            let (_, pool) = data.pick(&world.header.pools)?;
            Event::Assigned { coin: pool.coin.clone(), canonical_name: None }
        }
        _ if choice & 0x20 == 0 => return None,
        _ => Event::Refused(Refusal::NoPool),
    };
    Some(event)
}

/// The rest of what the fuzzer gave; zeroes behind its end.
struct Data<'a>(&'a [u8]);

impl<'a> Data<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn pick<'b, T>(&mut self, items: &'b [T]) -> Option<&'b T> {
        let choice = usize::from(self.byte()) << 8 | usize::from(self.byte());
        choice.checked_rem(items.len()).and_then(|index| items.get(index))
    }

    /// Up to 255 bytes as they are.
    fn raw(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte()).min(self.0.len());
        let (raw, rest): (&'a [u8], _) = self.0.split_at(len);
        self.0 = rest;
        raw.to_vec()
    }

    /// A frame with some of its bytes replaced by raw ones.
    fn spoilt(&mut self, frames: &[&[u8]]) -> Option<Vec<u8>> {
        let mut frame = self.pick(frames)?.to_vec();
        let at = usize::from(self.byte()).checked_rem(frame.len()).unwrap_or(0);
        let removed = usize::from(self.byte() % 8).min(frame.len() - at);
        let raw = self.raw();
        frame.splice(at..at + removed, raw);
        Some(frame)
    }
}
