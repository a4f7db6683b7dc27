//! The source at work: looks at the file when there is reason to, waits until it stands still, and
//! keeps the last good map. What a map means is not decided here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use switcher_plugin::{BoardWriter, Notice, SourceContext, SourceError, SourceState, Wanted};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::FileSettings;
use crate::answers::Answers;
use crate::map::CoinMap;
use crate::sight::Sight;
use crate::tree::Format;
use crate::watch::Watch;

/// A file that has not stood still for this many times the settling time is reported.
const RESTLESS: u32 = 40;

/// What survives a restart: the text of the last good file.
#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    path: PathBuf,
    sha256: String,
    text: String,
}

/// What is known about the file at the moment.
#[derive(Debug)]
struct Watched {
    sight: Sight,
    /// When the file was first seen like this.
    since: Instant,
    /// When it last stood still.
    restless_since: Instant,
    is_judged: bool,
}

#[derive(Debug)]
pub(crate) struct Work {
    settings: FileSettings,
    format: Format,
    board: BoardWriter,
    answers: Answers,
    watched: Option<Watched>,
    /// Text of the map in use.
    good: Option<String>,
    /// A text that was good in the run before this one.
    remembered: Option<String>,
    health: Option<(bool, String)>,
}

/// Runs until told to stop.
pub(crate) async fn run(
    settings: FileSettings,
    format: Format,
    context: SourceContext,
) -> Result<SourceState, SourceError> {
    let SourceContext { board, mut wanted, mut stop, saved } = context;
    let mut work = Work::new(settings, format, board, &saved);
    tokio::select! {
        // An error means that nobody is left who could stop us.
        result = stop.wait_for(|stop| *stop) => drop(result),
        result = work.serve(&mut wanted) => result?,
    }
    Ok(work.state())
}

impl Work {
    fn new(
        settings: FileSettings,
        format: Format,
        board: BoardWriter,
        saved: &SourceState,
    ) -> Self {
        // Of another file the memory is none of ours, and an unreadable one is as good as none.
        let memory: Option<Memory> = serde_json::from_str(&saved.0).ok();
        let memory = memory.filter(|memory| memory.path == settings.path);
        Self {
            answers: Answers::new(&settings.path),
            remembered: memory.map(|memory| memory.text),
            settings,
            format,
            board,
            watched: None,
            good: None,
            health: None,
        }
    }

    /// Answers and looks, for ever. The file is read beside it, so that a file system that hangs
    /// keeps nobody waiting whom the last good map could serve.
    async fn serve(
        &mut self,
        wanted: &mut mpsc::UnboundedReceiver<Wanted>,
    ) -> Result<(), SourceError> {
        let changed = Arc::new(Notify::new());
        let mut watch = Some(Watch::new(Arc::clone(&changed)));
        let mut look_at = Instant::now();
        let mut looking: Option<JoinHandle<(Watch, Option<Sight>)>> = None;
        let mut is_asked = true;
        loop {
            tokio::select! {
                wish = wanted.recv(), if is_asked => match wish {
                    Some(wish) => self.answers.want(wish, &self.board),
                    None => is_asked = false,
                },
                // An event during a look stays with `changed` until the look is over.
                () = changed.notified(), if looking.is_none() => {
                    look_at = look_at.min(Instant::now() + self.gap());
                }
                () = sleep_until(look_at), if looking.is_none() => {
                    looking = watch.take().map(|watch| self.look(watch));
                }
                seen = join(&mut looking), if looking.is_some() => {
                    looking = None;
                    let (back, sight) = seen.map_err(|error| self.ended(&error))?;
                    watch = Some(back);
                    look_at = self.take_in(sight);
                }
            }
        }
    }

    fn state(&self) -> SourceState {
        let Some(text) = self.good.as_ref().or(self.remembered.as_ref()) else {
            return SourceState::default();
        };
        let memory = Memory {
            path: self.settings.path.clone(),
            sha256: crate::map::hash(text),
            text: text.clone(),
        };
        SourceState(serde_json::to_string(&memory).unwrap_or_default())
    }

    /// The pause before an event is followed, so that a busy folder costs little.
    fn gap(&self) -> Duration {
        self.settings.settle / 6
    }

    /// Looks without blocking the runtime. No sight if the file is as it was.
    fn look(&self, mut watch: Watch) -> JoinHandle<(Watch, Option<Sight>)> {
        let path = self.settings.path.clone();
        let old = self.watched.as_ref().map(|watched| watched.sight.clone());
        // Times of files tick in steps of milliseconds, so two writes may share a stamp. Until it
        // is judged the file is read each time; by then its last change is too old for that.
        let is_judged = self.watched.as_ref().is_some_and(|watched| watched.is_judged);
        spawn_blocking(move || {
            // A folder must be watched before the file is read, or a change between is missed.
            watch.follow(&path);
            let known = old.as_ref().and_then(Sight::stamp).filter(|_| is_judged);
            let sight = Sight::of(&path, known);
            (watch, sight.filter(|sight| Some(sight) != old.as_ref()))
        })
    }

    /// Acts on a look. Returns when to look again.
    fn take_in(&mut self, seen: Option<Sight>) -> Instant {
        let now = Instant::now();
        if let Some(sight) = seen {
            self.recall(&sight);
            let restless_since = match &self.watched {
                Some(watched) if !watched.is_judged => watched.restless_since,
                _ => now,
            };
            self.watched = Some(Watched { sight, since: now, restless_since, is_judged: false });
        }
        let next = now + self.settings.poll;
        let due = match &self.watched {
            Some(watched) if !watched.is_judged => watched.since + self.settings.settle,
            _ => return next,
        };
        if now < due {
            self.report_restless(now);
            return due.min(next);
        }
        self.judge();
        next
    }

    fn ended(&self, error: &JoinError) -> SourceError {
        let path = self.settings.path.display();
        SourceError {
            name: crate::NAME.to_owned(),
            problem: format!("reading {path} ended: {error}"),
        }
    }

    /// Uses a file at once that says what was good when the run before this one ended.
    fn recall(&mut self, sight: &Sight) {
        let is_known =
            |text: &String| matches!(sight, Sight::Text { text: seen, .. } if seen == text);
        if let Some(text) = self.remembered.take_if(|text| is_known(text))
            && let Ok(map) = self.parse(&text)
        {
            self.use_map(text, map);
        }
    }

    fn judge(&mut self) {
        let Some(watched) = &mut self.watched else { return };
        watched.is_judged = true;
        let text = match &watched.sight {
            Sight::Nothing { why } => Err(why.clone()),
            Sight::Text { text, .. } => Ok(text.clone()),
        };
        match text.and_then(|text| self.parse(&text).map(|map| (text, map))) {
            Ok((text, map)) => self.use_map(text, map),
            Err(why) => self.keep_old_map(&why),
        }
    }

    fn parse(&self, text: &str) -> Result<CoinMap, String> {
        let parsed = CoinMap::parse(self.format, text, self.settings.case_insensitive);
        parsed.map_err(|problems| {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        })
    }

    fn use_map(&mut self, text: String, map: CoinMap) {
        let path = self.settings.path.display();
        self.say(true, format!("{path}: {map}"));
        if self.good.as_ref() != Some(&text) {
            tracing::info!(path = %self.settings.path.display(), %map, "coin map in use");
            self.answers.apply(map, &self.board);
            self.good = Some(text);
        }
        self.remembered = None;
    }

    fn keep_old_map(&mut self, why: &str) {
        // The map of the run before is as good as one of this run.
        if let Some(text) = self.remembered.take()
            && let Ok(map) = self.parse(&text)
        {
            self.answers.apply(map, &self.board);
            self.good = Some(text);
        }
        let path = self.settings.path.display();
        let kept = match self.answers.map() {
            Some(map) => format!("the last good map stays: {map}"),
            None => "there was no good map yet".to_owned(),
        };
        self.say(false, format!("{path}: {why} ({kept})"));
    }

    fn report_restless(&mut self, now: Instant) {
        let Some(watched) = &self.watched else { return };
        if now.duration_since(watched.restless_since) > self.settings.settle * RESTLESS {
            let path = self.settings.path.display();
            let detail = format!("{path}: the file does not stand still, so it is not applied");
            self.say(false, detail);
        }
    }

    /// Says how the source is, if that is news. Another good map is none.
    fn say(&mut self, healthy: bool, detail: String) {
        let is_news = match &self.health {
            None => true,
            Some((before, _)) if healthy => !before,
            Some((before, said)) => *before || *said != detail,
        };
        if !is_news {
            return;
        }
        if !healthy {
            tracing::warn!(detail, "coin map not usable");
        } else if self.health.is_some() {
            tracing::info!(detail, "coin map usable again");
        }
        self.health = Some((healthy, detail.clone()));
        self.board.post(Notice::Health { healthy, detail });
    }
}

/// The end of what is running; never, if nothing is.
async fn join<T>(running: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match running {
        Some(handle) => handle.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_is_wrong_is_said_once_and_another_mistake_again() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&said);
        let board = BoardWriter::new(move |notice| list.lock().unwrap().push(notice));
        let settings = FileSettings::new("m.toml");
        let mut work = Work::new(settings, Format::Toml, board, &SourceState::default());
        let map = |coin: &str| {
            let text = format!("default = '{coin}'");
            let map = CoinMap::parse(Format::Toml, &text, false).unwrap();
            (text, map)
        };

        let (text, first) = map("a");
        work.use_map(text, first);
        let (text, second) = map("b");
        work.use_map(text, second);
        for why in ["one", "one", "other", "other"] {
            work.keep_old_map(why);
        }
        let (text, third) = map("b");
        work.use_map(text, third);

        let healthy = |notice: &Notice| matches!(notice, Notice::Health { healthy: true, .. });
        let said: Vec<bool> = said.lock().unwrap().iter().map(healthy).collect();
        assert_eq!(said, [true, false, false, true]);
    }
}
