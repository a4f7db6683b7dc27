//! The demonstration: the whole program with two pools and three miners of its own, all in this
//! process, on loopback. Miners really hash, pools really judge.
//!
//! It tells in plain words what happens, and ends with the books of both sides side by side. It
//! uses the same configuration, plug-ins and engine as the real thing; only what stands around the
//! switcher is made up, see `stage`.

mod books;
mod stage;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::Outcome;
use books::Books;
use stage::{ALICE, Stage, WORKERS};

/// How long anything that must happen may take. Only a failing demonstration waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shares that show that a worker has settled at a pool.
const ENOUGH: u64 = 10;

/// How often the books are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What the caller wants to see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes {
    /// Edit the file instead of asking for it.
    pub(crate) auto: bool,
    /// Ends after so long; with `auto` it ends by itself.
    pub(crate) limit: Option<Duration>,
}

/// Shows it.
///
/// # Errors
///
/// The stage cannot be set up, or the output cannot be written.
pub(crate) fn run(wishes: Wishes, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(async {
        let stage = Box::pin(Stage::set_up()).await?;
        let mut story =
            Story { began: Instant::now(), out, last: BTreeMap::new(), at: BTreeMap::new() };
        introduce(&stage, &mut story)?;
        let shown = if wishes.auto {
            let limit = wishes.limit.unwrap_or(PATIENCE * 4);
            match tokio::time::timeout(limit, perform(&stage, &mut story)).await {
                Ok(shown) => shown?,
                Err(_) => Err(format!("it was not over within {} s", limit.as_secs())),
            }
        } else {
            invite(&stage, &mut story, wishes.limit).await?;
            Ok(())
        };
        Box::pin(conclude(stage, &mut story, shown)).await
    })
}

fn introduce(stage: &Stage, story: &mut Story<'_>) -> anyhow::Result<()> {
    story.say("Two pools of our own, as different as pools are:")?;
    for (coin, size) in stage::POOLS {
        let pool = stage.pool(coin).address();
        story.say(&format!("  {coin}: {pool}, extranonce2 of {size} bytes"))?;
    }
    story.say(&format!(
        "Miners {} connect to the switcher at {}.",
        WORKERS.join(", "),
        stage.address
    ))?;
    if let Some(admin) = stage.admin {
        story.say(&format!("What it does can be watched at http://{admin}/"))?;
    }
    story.say(&format!("Who mines what stands in {}", stage.file.display()))
}

/// The play with a script: there and back again. The inner result is what went wrong in it.
async fn perform(stage: &Stage, story: &mut Story<'_>) -> anyhow::Result<Result<(), String>> {
    for (act, coin) in ["btc", "bch", "btc"].into_iter().enumerate() {
        let before = stage.books();
        if act > 0 {
            stage.assign(coin)?;
            story.say(&format!(
                "We write {ALICE} = \"{coin}\" into line {} of that file.",
                stage::line()
            ))?;
        }
        let edited = Instant::now();
        let settled = |books: &Books| {
            WORKERS.iter().all(|worker| {
                let coin = if stage::is_alices(worker) { coin } else { "bch" };
                books.accepted(coin, worker) >= before.accepted(coin, worker) + ENOUGH
            })
        };
        loop {
            let books = stage.books();
            story.tell_moves(&books)?;
            if settled(&books) {
                break;
            }
            if edited.elapsed() > PATIENCE {
                return Ok(Err(format!("{ALICE} did not come to mine {coin}")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(Ok(()))
}

/// The play without a script: whoever watches edits the file.
async fn invite(
    stage: &Stage,
    story: &mut Story<'_>,
    limit: Option<Duration>,
) -> anyhow::Result<()> {
    story.say(&format!(
        "Now it is your turn: in line {} of that file change \"btc\" to \"bch\" and save it.",
        stage::line()
    ))?;
    story.say("An editor will do, or in another terminal:")?;
    story.say(&format!("  sed -i '{}s/btc/bch/' {}", stage::line(), stage.file.display()))?;
    story.say("Back again with bch/btc. Ctrl-C ends it.")?;
    let began = Instant::now();
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        story.tell_moves(&stage.books())?;
        if limit.is_some_and(|limit| began.elapsed() > limit) {
            return Ok(());
        }
        tokio::select! {
            _ = &mut interrupted => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Ends it and compares the books.
async fn conclude(
    stage: Stage,
    story: &mut Story<'_>,
    shown: Result<(), String>,
) -> anyhow::Result<Outcome> {
    let books = stage.settle().await;
    stage.take_down().await?;
    story.say("The books:")?;
    for line in books.table() {
        story.say(&line)?;
    }
    let mut faults = books.faults();
    faults.extend(shown.err());
    for fault in &faults {
        story.say(&format!("WRONG: {fault}"))?;
    }
    if faults.is_empty() {
        story.say("Every share was accepted by the pool it was meant for, on the first connection of each miner.")?;
        return Ok(Outcome::Done);
    }
    Ok(Outcome::Failed)
}

/// Tells what happens.
struct Story<'a> {
    began: Instant,
    out: &'a mut dyn Write,
    /// Accepted shares by coin and worker at the last look.
    last: BTreeMap<(&'static str, &'static str), u64>,
    /// Where each worker was last seen.
    at: BTreeMap<&'static str, &'static str>,
}

impl Story<'_> {
    fn say(&mut self, text: &str) -> anyhow::Result<()> {
        writeln!(self.out, "{:5.1} s  {text}", self.began.elapsed().as_secs_f64())?;
        Ok(self.out.flush()?)
    }

    /// Tells which workers' shares arrive at another pool than before.
    fn tell_moves(&mut self, books: &Books) -> anyhow::Result<()> {
        for worker in WORKERS {
            for (coin, _) in stage::POOLS {
                let accepted = books.accepted(coin, worker);
                let before = self.last.insert((coin, worker), accepted).unwrap_or(0);
                if accepted <= before {
                    continue;
                }
                match self.at.insert(worker, coin) {
                    None => self.say(&format!("{worker} mines {coin}."))?,
                    Some(other) if other != coin => self.say(&format!(
                        "{worker} mines {coin}, on the connection it has had all along ({}).",
                        books.connection(worker)
                    ))?,
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}
