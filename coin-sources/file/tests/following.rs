//! The source against real files: what it tells, and when it keeps quiet. Nothing here waits for a
//! time to pass; silence is shown by what comes next.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coin_source_file::{FileSettings, FileSource, SettingsError};
use switcher_plugin::{
    BoardWriter, CoinSource, Notice, SessionId, SourceContext, SourceError, SourceState,
    SubAccount, Wanted, WorkerName,
};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);
const NEVER: Duration = Duration::from_hours(1);
const SETTLE: Duration = Duration::from_millis(100);

/// A source at work.
struct Source {
    notices: mpsc::UnboundedReceiver<Notice>,
    wanted: mpsc::UnboundedSender<Wanted>,
    stop: watch::Sender<bool>,
    run: JoinHandle<Result<SourceState, SourceError>>,
}

impl Source {
    fn start(settings: FileSettings, saved: SourceState) -> Self {
        let (post, notices) = mpsc::unbounded_channel();
        let board = BoardWriter::new(move |notice| drop(post.send(notice)));
        let (wanted, receiver) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let context = SourceContext { board, wanted: receiver, stop: stopped, saved };
        let source = Box::new(FileSource::new(settings).unwrap());
        let run = tokio::spawn(async move { source.run(context).await });
        Self { notices, wanted, stop, run }
    }

    /// Starts with settings that leave it to file events to find a change.
    fn by_events(path: &Path) -> Self {
        Self::start(settings(path, SETTLE, NEVER), SourceState::default())
    }

    /// Starts with settings that look often.
    fn by_polls(path: &Path) -> Self {
        Self::start(settings(path, SETTLE, Duration::from_millis(50)), SourceState::default())
    }

    fn want(&self, name: &str) {
        let sub_account = SubAccount::new(name);
        let worker = WorkerName::new(format!("{name}.rig"));
        self.wanted.send(Wanted::Acquire { sub_account, session: SessionId(1), worker }).unwrap();
    }

    /// The next notice, in short.
    async fn next(&mut self) -> String {
        match self.notice().await {
            Notice::Assign(who, what) => format!("{who} shall {}", what.coin().unwrap()),
            Notice::Default(who, what) => format!("{who} may {}", what.coin().unwrap()),
            Notice::Unknown(who) => format!("{who} unknown"),
            Notice::Health { healthy: true, .. } => "healthy".to_owned(),
            Notice::Health { healthy: false, detail } => format!("unhealthy: {detail}"),
            other => panic!("{other:?}"),
        }
    }

    async fn notice(&mut self) -> Notice {
        timeout(DEADLINE, self.notices.recv()).await.expect("a notice is due").unwrap()
    }

    async fn expect(&mut self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(self.next().await, *expected);
        }
    }

    async fn expect_unhealthy(&mut self, part: &str) {
        let said = self.next().await;
        assert!(said.starts_with("unhealthy: ") && said.contains(part), "{said}");
    }

    /// Stops, and shows that nothing was told that the test did not ask for.
    async fn stop(mut self) -> SourceState {
        self.stop.send(true).unwrap();
        let state = timeout(DEADLINE, self.run).await.expect("it stops").unwrap().unwrap();
        assert_eq!(self.notices.recv().await, None, "told too much");
        state
    }
}

fn settings(path: &Path, settle: Duration, poll: Duration) -> FileSettings {
    FileSettings { settle, poll, ..FileSettings::new(path) }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("coins.toml");
    (folder, path)
}

fn accounts(pairs: &[(&str, &str)]) -> String {
    let mut text = "[accounts]\n".to_owned();
    for (name, coin) in pairs {
        writeln!(text, "{name} = \"{coin}\"").unwrap();
    }
    text
}

#[tokio::test]
async fn newcomers_are_answered_by_name_pattern_default_or_not_at_all() {
    let (_folder, path) = folder();
    let patterns = "[[patterns]]\nmatch = \"farm-*\"\ncoin = \"ltc\"\n";
    fs::write(&path, format!("default = \"btc\"\n{patterns}{}", accounts(&[("alice", "bch")])))
        .unwrap();
    let mut source = Source::by_events(&path);
    source.expect(&["healthy"]).await;

    for name in ["alice", "farm-1", "Alice"] {
        source.want(name);
    }
    source.expect(&["alice shall bch", "farm-1 shall ltc", "Alice may btc"]).await;

    fs::write(&path, accounts(&[("alice", "btc")])).unwrap();
    source.expect(&["alice shall btc"]).await;
    source.want("bob");
    source.expect(&["bob unknown"]).await;
    source.stop().await;
}

#[tokio::test]
async fn those_who_came_before_the_first_good_file_are_answered_with_it() {
    let (_folder, path) = folder();
    let mut source = Source::by_events(&path);
    source.want("alice");
    source.want("alice2");
    source.expect_unhealthy("not there (there was no good map yet)").await;

    fs::write(&path, accounts(&[("alice", "btc"), ("alice2", "btc")])).unwrap();

    source.expect(&["healthy"]).await;
    let mut both = [source.next().await, source.next().await];
    both.sort();
    assert_eq!(both, ["alice shall btc", "alice2 shall btc"]);
    source.stop().await;
}

#[tokio::test]
async fn a_json_map_works_too() {
    let (folder, _) = folder();
    let path = folder.path().join("coins.JSON");
    fs::write(&path, "{\"accounts\":{\"alice\":\"btc\"}}").unwrap();
    let mut source = Source::by_events(&path);
    source.want("alice");

    source.expect(&["healthy", "alice shall btc"]).await;
    source.stop().await;
}

#[tokio::test]
async fn names_are_folded_on_request() {
    let (_folder, path) = folder();
    fs::write(&path, accounts(&[("Alice", "btc")])).unwrap();
    let settings = FileSettings { case_insensitive: true, ..settings(&path, SETTLE, NEVER) };
    let mut source = Source::start(settings, SourceState::default());
    source.want("aLICE");

    source.expect(&["healthy", "aLICE shall btc"]).await;
    source.stop().await;
}

#[tokio::test]
async fn an_assignment_names_file_line_and_hash() {
    let (_folder, path) = folder();
    fs::write(&path, "[accounts]\nalice = 'btc'\n").unwrap();
    let mut source = Source::by_events(&path);
    source.want("alice");
    source.expect(&["healthy"]).await;

    let Notice::Assign(_, assignment) = source.notice().await else { panic!("no assignment") };

    let expected = format!("{}:2 sha256 7ad3dbca453c", path.display());
    assert_eq!(&*assignment.origin, expected);
    source.stop().await;
}

#[tokio::test]
async fn a_file_written_in_two_parts_is_applied_once_and_whole() {
    let (_folder, path) = folder();
    fs::write(&path, accounts(&[("alice", "btc")])).unwrap();
    let patient = settings(&path, Duration::from_secs(2), NEVER);
    let mut source = Source::start(patient, SourceState::default());
    source.want("alice");
    source.expect(&["healthy", "alice shall btc"]).await;

    // Truncates; the first part parses, so that only patience can tell.
    let mut file = File::create(&path).unwrap();
    file.write_all(b"[accounts]\nalice = \"ltc\"\n").unwrap();
    // The source is busy meanwhile and has seen the first part long ago when the second comes.
    let start = Instant::now();
    for count in 0.. {
        let name = format!("guest{count}");
        source.want(&name);
        source.expect(&[&format!("{name} unknown")]).await;
        source.wanted.send(Wanted::Release(SubAccount::new(&name))).unwrap();
        if start.elapsed() > Duration::from_millis(600) {
            break;
        }
    }
    file.write_all(b"zoe = \"bch\"\n").unwrap();
    drop(file);
    source.want("zoe");

    source.expect(&["zoe unknown"]).await;
    let mut both = [source.next().await, source.next().await];
    both.sort();
    assert_eq!(both, ["alice shall ltc", "zoe shall bch"]);
    source.stop().await;
}

#[tokio::test]
async fn a_file_that_never_stands_still_is_reported_and_not_applied() {
    let (_folder, path) = folder();
    fs::write(&path, accounts(&[("alice", "btc")])).unwrap();
    let hasty = settings(&path, Duration::from_millis(200), NEVER);
    let mut source = Source::start(hasty, SourceState::default());
    source.expect(&["healthy"]).await;
    source.want("alice");
    source.expect(&["alice shall btc"]).await;

    let start = Instant::now();
    let said = loop {
        fs::write(&path, accounts(&[("alice", &format!("coin{}", start.elapsed().as_micros()))]))
            .unwrap();
        assert!(start.elapsed() < DEADLINE, "not reported");
        if let Ok(said) = timeout(Duration::from_millis(20), source.next()).await {
            break said;
        }
    };

    assert!(said.contains("does not stand still"), "{said}");
    fs::write(&path, accounts(&[("alice", "bch")])).unwrap();
    source.expect(&["healthy", "alice shall bch"]).await;
    source.stop().await;
}

#[tokio::test]
async fn a_file_that_ends_in_the_middle_is_not_applied() {
    let (_folder, path) = folder();
    fs::write(&path, accounts(&[("alice", "btc")])).unwrap();
    let mut source = Source::by_events(&path);
    source.want("alice");
    source.expect(&["healthy", "alice shall btc"]).await;

    let mut file = File::create(&path).unwrap();
    file.write_all(b"[accounts]\nalice = \"bch\"\nbob = \"b").unwrap();
    source.expect_unhealthy("line 3: ").await;

    file.write_all(b"ch\"\n").unwrap();
    drop(file);
    source.expect(&["healthy", "alice shall bch"]).await;
    source.stop().await;
}

#[tokio::test]
async fn an_empty_file_keeps_the_last_good_map() {
    let (_folder, path) = folder();
    fs::write(&path, accounts(&[("alice", "btc")])).unwrap();
    let mut source = Source::by_events(&path);
    source.expect(&["healthy"]).await;

    File::create(&path).unwrap();
    source.expect_unhealthy("is empty").await;

    source.want("alice");
    source.expect(&["alice shall btc"]).await;
    source.stop().await;
}

#[tokio::test]
async fn a_broken_file_keeps_the_last_good_map_until_it_is_good_again() {
    let (_folder, path) = folder();
    fs::write(&path, accounts(&[("alice", "btc")])).unwrap();
    let mut source = Source::by_events(&path);
    source.want("alice");
    source.expect(&["healthy", "alice shall btc"]).await;

    fs::write(&path, "[accounts]\nalice = 5\n").unwrap();
    let part = "coins.toml: line 2: accounts.alice: is a number; accepted is the name of a coin";
    source.expect_unhealthy(part).await;
    source.want("bob");
    source.expect(&["bob unknown"]).await;

    // The same as before the mistake: nothing to tell but that it is well.
    fs::write(&path, accounts(&[("alice", "btc")])).unwrap();
    source.expect(&["healthy"]).await;
    fs::write(&path, accounts(&[("alice", "bch")])).unwrap();
    source.expect(&["alice shall bch"]).await;
    source.stop().await;
}

#[tokio::test]
async fn a_file_that_vanishes_and_returns_moves_nobody() {
    let (_folder, path) = folder();
    let text = accounts(&[("alice", "btc")]);
    fs::write(&path, &text).unwrap();
    let mut source = Source::by_events(&path);
    source.want("alice");
    source.expect(&["healthy", "alice shall btc"]).await;

    fs::remove_file(&path).unwrap();
    source.expect_unhealthy("the file is not there (the last good map stays: 1 accounts").await;

    fs::write(&path, &text).unwrap();
    source.expect(&["healthy"]).await;
    source.stop().await;
}

#[tokio::test]
async fn a_file_replaced_by_renaming_is_followed_again_and_again() {
    let (folder, path) = folder();
    fs::write(&path, accounts(&[("alice", "coin0")])).unwrap();
    let mut source = Source::by_events(&path);
    source.want("alice");
    source.expect(&["healthy", "alice shall coin0"]).await;

    for coin in ["coin1", "coin2", "coin3"] {
        let new = folder.path().join(".coins.toml.swp");
        fs::write(&new, accounts(&[("alice", coin)])).unwrap();
        fs::rename(&new, &path).unwrap();

        source.expect(&[&format!("alice shall {coin}")]).await;
    }
    source.stop().await;
}

/// A mounted `ConfigMap`: the file is a link into `..data`, a link to a folder per version.
#[tokio::test]
async fn a_swapped_link_to_the_folder_of_a_version_is_followed() {
    let (folder, path) = folder();
    let at = |name: &str| folder.path().join(name);
    let version = |name: &str, coin| {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("coins.toml"), accounts(&[("alice", coin)])).unwrap();
    };
    version("..v1", "btc");
    symlink("..v1", at("..data")).unwrap();
    symlink("..data/coins.toml", &path).unwrap();
    let mut source = Source::by_events(&path);
    source.want("alice");
    source.expect(&["healthy", "alice shall btc"]).await;

    for (old, new, coin) in [("..v1", "..v2", "bch"), ("..v2", "..v3", "ltc")] {
        version(new, coin);
        symlink(new, at("..tmp")).unwrap();
        fs::rename(at("..tmp"), at("..data")).unwrap();
        fs::remove_dir_all(at(old)).unwrap();

        source.expect(&[&format!("alice shall {coin}")]).await;
    }
    source.stop().await;
}

#[tokio::test]
async fn a_file_behind_a_link_is_followed_where_it_is() {
    let (folder, path) = folder();
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let real = elsewhere.join("real.toml");
    fs::write(&real, accounts(&[("alice", "btc")])).unwrap();
    symlink(&real, &path).unwrap();
    let mut source = Source::by_events(&path);
    source.want("alice");
    source.expect(&["healthy", "alice shall btc"]).await;

    fs::write(&real, accounts(&[("alice", "bch")])).unwrap();

    source.expect(&["alice shall bch"]).await;
    source.stop().await;
}

#[tokio::test]
async fn a_change_that_no_event_tells_is_found_by_looking() {
    let (folder, _) = folder();
    let at = |name: &str| folder.path().join(name);
    for (name, coin) in [("one", "btc"), ("two", "bch")] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("coins.toml"), accounts(&[("alice", coin)])).unwrap();
    }
    symlink("one", at("link")).unwrap();
    // The folder that holds the link is not watched, only the one it leads to.
    let mut source = Source::by_polls(&at("link").join("coins.toml"));
    source.want("alice");
    source.expect(&["healthy", "alice shall btc"]).await;

    symlink("two", at("new")).unwrap();
    fs::rename(at("new"), at("link")).unwrap();

    source.expect(&["alice shall bch"]).await;
    source.stop().await;
}

#[tokio::test]
async fn the_folder_may_come_later_and_be_replaced() {
    let (folder, _) = folder();
    let later = folder.path().join("later");
    let path = later.join("coins.toml");
    let mut source = Source::by_polls(&path);
    source.want("alice");
    source.expect_unhealthy("the file is not there").await;

    fs::create_dir(&later).unwrap();
    fs::write(&path, accounts(&[("alice", "btc")])).unwrap();
    source.expect(&["healthy", "alice shall btc"]).await;

    fs::rename(&later, folder.path().join("old")).unwrap();
    source.expect_unhealthy("the file is not there").await;
    fs::create_dir(&later).unwrap();
    fs::write(&path, accounts(&[("alice", "bch")])).unwrap();
    source.expect(&["healthy", "alice shall bch"]).await;
    source.stop().await;
}

#[tokio::test]
async fn absence_moves_nobody_and_a_new_default_moves_no_name() {
    let (_folder, path) = folder();
    let text = |default: &str, pairs| format!("default = \"{default}\"\n{}", accounts(pairs));
    fs::write(&path, text("btc", &[("alice", "btc"), ("mark", "one")])).unwrap();
    let mut source = Source::by_events(&path);
    source.expect(&["healthy"]).await;
    for name in ["alice", "bob", "mark"] {
        source.want(name);
    }
    source.expect(&["alice shall btc", "bob may btc", "mark shall one"]).await;

    // Alice vanishes; Mark shows that the file was applied.
    fs::write(&path, text("btc", &[("mark", "two")])).unwrap();
    source.expect(&["mark shall two"]).await;

    fs::write(&path, text("bch", &[("mark", "two")])).unwrap();
    source.expect(&["bob may bch"]).await;

    fs::write(&path, text("bch", &[("mark", "two"), ("alice", "bch")])).unwrap();
    source.expect(&["alice shall bch"]).await;
    source.stop().await;
}

#[tokio::test]
async fn a_restart_with_a_broken_file_has_the_last_good_map() {
    let (_folder, path) = folder();
    fs::write(&path, accounts(&[("alice", "btc")])).unwrap();
    let mut source = Source::by_events(&path);
    source.expect(&["healthy"]).await;
    let saved = source.stop().await;
    fs::write(&path, "[accounts").unwrap();

    // Twice, as a run that saw only the broken file must hand the map on as well.
    let mut states = vec![saved];
    for _ in 0..2 {
        let saved = states.last().unwrap().clone();
        let mut source = Source::start(settings(&path, SETTLE, NEVER), saved);
        source.want("alice");
        let mut both = [source.next().await, source.next().await];
        both.sort();
        assert_eq!(both[0], "alice shall btc");
        assert!(both[1].contains("the last good map stays"), "{both:?}");
        states.push(source.stop().await);
    }
    assert_eq!(states[0], states[2]);
}

#[tokio::test]
async fn a_restart_stopped_before_the_first_look_forgets_nothing() {
    let (_folder, path) = folder();
    fs::write(&path, accounts(&[("alice", "btc")])).unwrap();
    let mut source = Source::by_events(&path);
    source.expect(&["healthy"]).await;
    let saved = source.stop().await;
    fs::write(&path, accounts(&[("alice", "bch")])).unwrap();

    let source = Source::start(settings(&path, NEVER, NEVER), saved.clone());

    assert_eq!(source.stop().await, saved);
}

#[tokio::test]
async fn a_restart_with_the_same_file_answers_without_waiting() {
    let (_folder, path) = folder();
    fs::write(&path, accounts(&[("alice", "btc")])).unwrap();
    let mut source = Source::by_events(&path);
    source.expect(&["healthy"]).await;
    let saved = source.stop().await;

    let mut source = Source::start(settings(&path, NEVER, NEVER), saved);
    source.expect(&["healthy"]).await;
    source.want("alice");

    source.expect(&["alice shall btc"]).await;
    source.stop().await;
}

#[tokio::test]
async fn what_was_saved_of_another_file_or_is_damaged_is_not_used() {
    let (folder, path) = folder();
    fs::write(&path, accounts(&[("alice", "btc")])).unwrap();
    let mut source = Source::by_events(&path);
    source.expect(&["healthy"]).await;
    let saved = source.stop().await;

    let other = folder.path().join("other.toml");
    for saved in [saved, SourceState("nonsense".to_owned())] {
        let mut source = Source::start(settings(&other, SETTLE, NEVER), saved);
        source.want("alice");
        source.expect_unhealthy("there was no good map yet").await;
        assert_eq!(source.stop().await, SourceState::default());
    }
}

#[tokio::test]
async fn it_stops_at_once_whatever_it_waits_for() {
    let (_folder, path) = folder();
    fs::write(&path, accounts(&[("alice", "btc")])).unwrap();
    let waiting_to_settle = Source::start(settings(&path, NEVER, NEVER), SourceState::default());
    waiting_to_settle.stop().await;

    let mut waiting_for_events = Source::by_events(&path);
    waiting_for_events.expect(&["healthy"]).await;
    waiting_for_events.stop().await;

    // The engine is gone without a word: that is a stop too.
    let Source { stop, run, notices, wanted } = Source::by_events(&path);
    drop((stop, wanted));
    timeout(DEADLINE, run).await.expect("it stops").unwrap().unwrap();
    drop(notices);
}

#[tokio::test]
async fn ten_thousand_accounts_are_moved_quickly() {
    let (folder, path) = folder();
    let names: Vec<String> = (0..10_000).map(|n| format!("account-{n}")).collect();
    let map = |coin| {
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), coin)).collect();
        accounts(&pairs)
    };
    fs::write(&path, map("btc")).unwrap();
    let new = folder.path().join("new");
    fs::write(&new, map("bch")).unwrap();
    let mut source = Source::by_events(&path);
    source.expect(&["healthy"]).await;
    for name in &names {
        source.want(name);
    }
    for name in &names {
        source.expect(&[&format!("{name} shall btc")]).await;
    }

    let start = Instant::now();
    fs::rename(&new, &path).unwrap();
    let mut moved = Vec::new();
    while moved.len() < names.len() {
        moved.push(source.next().await);
    }

    // Reading takes a few hundredths of a second even unoptimised; the rest is settling and slack.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(moved.iter().all(|said| said.ends_with(" shall bch")));
    moved.sort();
    moved.dedup();
    assert_eq!(moved.len(), names.len());
    source.stop().await;
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |settings| FileSource::new(settings).unwrap_err();
    let good = FileSettings::new("coins.toml");

    let path = PathBuf::from("coins.yaml");
    assert_eq!(refused(FileSettings::new(&path)), SettingsError::Extension(path));
    let hasty = FileSettings { settle: Duration::from_millis(1), ..good.clone() };
    assert_eq!(refused(hasty), SettingsError::Settle(Duration::from_millis(1)));
    let busy = FileSettings { poll: Duration::ZERO, ..good };
    assert_eq!(refused(busy), SettingsError::NoPause);
}

#[test]
fn a_check_tells_what_a_file_is_worth() {
    let (_folder, path) = folder();
    let source = FileSource::new(FileSettings::new(&path)).unwrap();

    assert!(source.check().unwrap_err().to_string().ends_with("coins.toml: the file is not there"));
    fs::write(&path, "[accounts]\na = 1\nb = 2").unwrap();
    let report = source.check().unwrap_err().to_string();
    assert!(report.contains("line 2: accounts.a") && report.contains("line 3: accounts.b"));
    fs::write(&path, "default = 'btc'").unwrap();
    assert!(source.check().unwrap().contains("0 accounts, 0 patterns, default btc"));
}
