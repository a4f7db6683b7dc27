//! Golden conversations: runs scripts in every mode and compares with what the file says.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::driver::{Chunks, Driver, Mode, Observed};
use super::garbage::SplitMix64;
use super::script::Script;
use super::world::World;
use crate::dialect::StratumDialect;

/// Seeds of the random chunkings of every transcript.
const CHUNK_SEEDS: std::ops::Range<u64> = 0..8;

/// Runs every `*.txt` below `dir` and panics with the differences. With `UPDATE=1` in the
/// environment it rewrites the files with what happened.
///
/// A relative `dir` is taken from the crate's folder, where cargo runs tests.
///
/// # Panics
///
/// If a transcript does not go as written.
#[expect(clippy::panic, reason = "this is an assertion for tests")]
#[track_caller]
pub fn transcripts(dialects: &[&dyn StratumDialect], dir: impl AsRef<Path>) {
    let update = std::env::var_os("UPDATE").is_some_and(|value| value != "0");
    if let Err(report) = check_transcripts(dialects, dir, update) {
        panic!("{report}");
    }
}

/// Like [`transcripts`], without the panic: the number of transcripts that were run.
///
/// # Errors
///
/// The report of all differences. An empty folder is an error too.
pub fn check_transcripts(
    dialects: &[&dyn StratumDialect],
    dir: impl AsRef<Path>,
    update: bool,
) -> Result<usize, String> {
    let files = files(dir.as_ref())?;
    let mut report = String::new();
    for (path, text) in &files {
        let name = path.display().to_string();
        let result = Script::parse(name, text)
            .map_err(|error| error.to_string())
            .and_then(|script| run(&script, dialects, update));
        match result {
            Ok(Some(new)) if new != *text => {
                std::fs::write(path, new).map_err(|e| format!("{}: {e}", path.display()))?;
            }
            Ok(_) => {}
            Err(problem) => {
                let _ = writeln!(report, "{}\n", problem.trim_end());
            }
        }
    }
    if report.is_empty() {
        return Ok(files.len());
    }
    report.push_str("UPDATE=1 rewrites the expected actions of transcripts.\n");
    Err(report)
}

/// All scripts of a folder, for [`conform`](super::conform).
///
/// # Panics
///
/// If there are none or one does not read.
#[expect(clippy::panic, reason = "this is an assertion for tests")]
#[track_caller]
pub fn scripts(dir: impl AsRef<Path>) -> Vec<Script> {
    let parse = |(path, text): (PathBuf, String)| {
        Script::parse(path.display().to_string(), &text).map_err(|error| error.to_string())
    };
    match files(dir.as_ref()).and_then(|files| files.into_iter().map(parse).collect()) {
        Ok(scripts) => scripts,
        Err(problem) => panic!("{problem}"),
    }
}

/// A script as far as it went, and what stopped it.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) observed: Vec<Observed>,
    stopped: Option<String>,
}

impl Run {
    pub(super) fn of(script: &Script, world: &World<'_>, mode: Mode) -> Self {
        let mut driver = Driver::open(world, mode);
        let mut observed = Vec::with_capacity(script.steps.len());
        for step in &script.steps {
            match driver.step(&step.event) {
                Ok(seen) => observed.push(seen),
                Err(broken) => {
                    let stopped = Some(format!("{}:{}: {broken}", script.name, step.line));
                    return Self { observed, stopped };
                }
            }
        }
        Self { observed, stopped: None }
    }

    /// The run, if it came to the end of its script.
    pub(super) fn whole(self) -> Result<Self, String> {
        match self.stopped {
            Some(problem) => Err(problem),
            None => Ok(self),
        }
    }

    /// Tells where another run of the script went otherwise than this whole one.
    pub(super) fn compare(&self, script: &Script, other: &Self) -> Result<(), String> {
        let pairs = self.observed.iter().zip(&other.observed);
        for (step, (one, other)) in script.steps.iter().zip(pairs) {
            let place = || format!("{}:{}: {}", script.name, step.line, step.text);
            if one.lines != other.lines {
                return Err(format!("{}\n{}", place(), difference(&one.lines, &other.lines)));
            }
            if one.frames != other.frames {
                let (one, other) = (one.frames.len(), other.frames.len());
                return Err(format!("{}\n    frames differ: {one} and {other}", place()));
            }
        }
        other.stopped.clone().map_or(Ok(()), Err)
    }
}

/// Runs a script in all modes; the new text of the file if `update`.
fn run(
    script: &Script,
    dialects: &[&dyn StratumDialect],
    update: bool,
) -> Result<Option<String>, String> {
    let world =
        World::of(script, dialects).map_err(|broken| format!("{}: {broken}", script.name))?;
    let run = |mode| Run::of(script, &world, mode);
    let whole = run(Mode::default()).whole()?;
    let newest = *world.dialect.state_versions().end();
    let resumed = run(Mode { resume: Some(newest), ..Mode::default() });
    whole
        .compare(script, &resumed)
        .map_err(|problem| format!("save and resume before every input changes it\n{problem}"))?;
    let single = ("single bytes".to_owned(), Chunks::Single);
    let random = CHUNK_SEEDS
        .map(|seed| (format!("chunks of seed {seed}"), Chunks::Random(SplitMix64::new(seed))));
    for (name, chunks) in std::iter::once(single).chain(random) {
        let chunked = run(Mode { chunks, ..Mode::default() });
        whole
            .compare(script, &chunked)
            .map_err(|problem| format!("reading by {name} changes it\n{problem}"))?;
    }
    let whole = whole.observed;
    if update {
        let lines: Vec<Vec<String>> = whole.into_iter().map(|observed| observed.lines).collect();
        return Ok(Some(script.rewrite(&lines)));
    }
    expected(script, &whole).map(|()| None)
}

/// Compares with what the file says, all inputs of it.
fn expected(script: &Script, observed: &[Observed]) -> Result<(), String> {
    let mut report = String::new();
    for (step, observed) in script.steps.iter().zip(observed) {
        if step.expected != observed.lines {
            let (name, line, text) = (&script.name, step.line, &step.text);
            let difference = difference(&step.expected, &observed.lines);
            let _ = writeln!(report, "{name}:{line}: {text}\n{difference}");
        }
    }
    if report.is_empty() { Ok(()) } else { Err(report) }
}

/// Both lists, lines that only one has marked with `-` (expected) and `+` (happened).
fn difference(expected: &[String], happened: &[String]) -> String {
    let same = |(one, other): &(&String, &String)| one == other;
    let head = expected.iter().zip(happened).take_while(same).count();
    let (left, right) = (expected.get(head..), happened.get(head..));
    let (left, right) = (left.unwrap_or_default(), right.unwrap_or_default());
    let tail = left.iter().rev().zip(right.iter().rev()).take_while(same).count();
    let cut = |list: &[String]| list.len() - tail;
    let mut text = String::new();
    let mut add = |mark: &str, lines: Option<&[String]>| {
        for line in lines.unwrap_or_default() {
            let _ = writeln!(text, "  {mark} {line}");
        }
    };
    add(" ", expected.get(..head));
    add("-", left.get(..cut(left)));
    add("+", right.get(..cut(right)));
    add(" ", left.get(cut(left)..));
    text
}

fn files(dir: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let problem = |error| format!("{}: {error}", folder.display());
        for entry in std::fs::read_dir(&folder).map_err(problem)? {
            let path = entry.map_err(problem)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "txt") {
                let text = std::fs::read_to_string(&path);
                files.push((path.clone(), text.map_err(|e| format!("{}: {e}", path.display()))?));
            }
        }
    }
    files.sort();
    if files.is_empty() { Err(format!("no transcript in {}", dir.display())) } else { Ok(files) }
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn a_difference_shows_what_is_around_it() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();

        assert_eq!(
            difference(&lines("a b d"), &lines("a c c d")),
            "    a\n  - b\n  + c\n  + c\n    d\n"
        );
        assert_eq!(difference(&[], &lines("x")), "  + x\n");
        assert_eq!(difference(&lines("x x"), &lines("x")), "    x\n  - x\n");
    }
}
