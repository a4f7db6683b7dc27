//! What is said about accounts as their nodes come, change and go. The ensemble is a fake.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use switcher_plugin::{BoardWriter, Coin, Notice, SessionId, SubAccount, WorkerName};

use super::{Accounts, LATER, Next};
use crate::layout::Layout;
use crate::ops::ZkFault;
use crate::reading::{Cause, Found, ReadDone, ReadOrder, Trouble};
use crate::report::Report;
use crate::saved::Remembered;
use crate::settings::Settings;

const SECOND: Duration = Duration::from_secs(1);

struct World {
    accounts: Accounts,
    report: Report,
    posted: Arc<Mutex<Vec<Notice>>>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {}, false, HashMap::new())
    }

    fn with(
        change: impl Fn(&mut Settings),
        register: bool,
        remembered: HashMap<SubAccount, Remembered>,
    ) -> Self {
        let mut settings = Settings::new(vec!["zk".into()], "/coins");
        change(&mut settings);
        let posted = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&posted);
        let board = BoardWriter::new(move |notice| sink.lock().unwrap().push(notice));
        let layout = Arc::new(Layout::of(&settings));
        let now = Instant::now();
        Self {
            accounts: Accounts::new(layout, register, settings.remembered, remembered, now),
            report: Report::new(board, Arc::default()),
            posted,
            now,
        }
    }

    /// One that is connected and has alice, who mines btc since transaction 10.
    fn mining() -> Self {
        let mut world = Self::new();
        world.accounts.rearm(true);
        world.acquire("alice");
        world.find(Cause::Newcomer, value("btc", 10));
        world
    }

    fn acquire(&mut self, name: &str) {
        let (sub_account, worker) = (SubAccount::new(name), WorkerName::new(name));
        self.accounts.acquire(sub_account, SessionId(1), worker, self.now, &mut self.report);
    }

    /// The next reading finds this.
    fn find(&mut self, cause: Cause, found: Found) -> Next {
        let order = self.accounts.next_order().expect("a reading is due");
        assert_eq!(order.cause, cause);
        self.finish(order, Ok(found))
    }

    fn finish(&mut self, order: ReadOrder, result: Result<Found, Trouble>) -> Next {
        let done = ReadDone { order, indexed: None, bad_index: false, result };
        self.accounts.finish(done, self.now, &mut self.report)
    }

    /// Time passes.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.accounts.tick(self.now, time, Some(60 * SECOND), &mut self.report);
    }

    fn said(&self) -> Vec<String> {
        let posted = self.posted.lock().unwrap();
        posted
            .iter()
            .map(|notice| match notice {
                Notice::Assign(sub, assignment) => {
                    format!("{sub} {} {}", assignment.coin().unwrap(), assignment.origin)
                }
                Notice::Unknown(sub) => format!("{sub} unknown"),
                Notice::Renamed(sub, name) => format!("{sub} is {name}"),
                Notice::RegistrationRefused(sub, why) => format!("{sub} refused: {why}"),
                other => format!("{other:?}"),
            })
            .collect()
    }
}

fn value(coin: &str, mzxid: i64) -> Found {
    Found::Value { data: coin.as_bytes().to_vec(), mzxid }
}

#[test]
fn value_of_a_server_that_lags_behind_is_ignored_and_read_again() {
    let mut world = World::mining();

    world.accounts.coin_changed("alice");
    world.find(Cause::Event, value("bcc", 12));
    world.accounts.rearm(true);
    world.find(Cause::Rearm, value("btc", 10));
    world.pass(LATER);
    world.find(Cause::Later, value("dgb", 13));

    let said = world.said();
    let wanted = [
        "alice btc /coins/alice mzxid=0xa",
        "alice bcc /coins/alice mzxid=0xc",
        "alice dgb /coins/alice mzxid=0xd",
    ];
    assert_eq!(said, wanted);
    assert_eq!(world.report.counters.stale_reads.value(), 1);
}

#[test]
fn older_transaction_is_believed_if_it_stays() {
    let mut world = World::mining();

    world.accounts.rearm(true);
    world.find(Cause::Rearm, value("bcc", 3));
    for _ in 0..30 {
        world.pass(SECOND);
        world.find(Cause::Later, value("bcc", 3));
    }

    assert_eq!(world.said().last().unwrap(), "alice bcc /coins/alice mzxid=0x3");
}

#[test]
fn change_that_only_the_audit_finds_is_followed_and_counted() {
    let mut world = World::mining();

    // Its turn comes once in the audit's period.
    world.pass(60 * SECOND);
    world.find(Cause::Audit, value("bcc", 11));
    world.pass(LATER);

    assert_eq!(world.said().last().unwrap(), "alice bcc /coins/alice mzxid=0xb");
    assert_eq!(world.report.counters.missed_watches.value(), 1);
}

#[test]
fn watch_that_comes_after_the_audit_was_not_missed() {
    let mut world = World::mining();

    world.pass(60 * SECOND);
    world.find(Cause::Audit, value("bcc", 11));
    world.accounts.coin_changed("alice");
    world.pass(LATER);

    assert_eq!(world.report.counters.missed_watches.value(), 0);
}

#[test]
fn watch_that_comes_during_the_audit_was_not_missed() {
    let mut world = World::mining();

    world.pass(60 * SECOND);
    let order = world.accounts.next_order().unwrap();
    world.accounts.coin_changed("alice");
    world.finish(order, Ok(value("bcc", 11)));
    world.pass(LATER);

    assert_eq!(world.report.counters.missed_watches.value(), 0);
}

#[test]
fn audit_reads_everything_once_in_its_period() {
    let mut world = World::new();
    world.accounts.rearm(true);
    for i in 0..600 {
        world.acquire(&format!("user{i}"));
        world.find(Cause::Newcomer, value("btc", i));
    }

    for _ in 0..6 {
        world.pass(10 * SECOND);
        let mut read = 0;
        while world.accounts.next_order().is_some() {
            read += 1;
        }
        assert!((99..=101).contains(&read), "{read}");
    }
}

#[test]
fn burst_of_events_is_one_more_reading() {
    let mut world = World::mining();

    world.accounts.coin_changed("alice");
    let order = world.accounts.next_order().unwrap();
    for _ in 0..100 {
        world.accounts.coin_changed("alice");
    }
    assert!(world.accounts.next_order().is_none());
    world.finish(order, Ok(value("bcc", 11)));
    world.find(Cause::Event, value("dgb", 111));

    assert!(world.accounts.next_order().is_none());
    assert_eq!(world.said().last().unwrap(), "alice dgb /coins/alice mzxid=0x6f");
}

#[test]
fn reading_that_was_cut_off_is_repeated() {
    let mut world = World::mining();

    world.accounts.coin_changed("alice");
    let order = world.accounts.next_order().unwrap();
    let trouble = Trouble { path: "/coins/alice".into(), fault: ZkFault::Late };
    world.finish(order, Err(trouble));
    world.pass(LATER);

    world.find(Cause::Later, value("bcc", 11));
    assert_eq!(world.said().last().unwrap(), "alice bcc /coins/alice mzxid=0xb");
}

#[test]
fn late_reading_of_an_earlier_stay_is_nothing() {
    let mut world = World::mining();

    world.accounts.coin_changed("alice");
    let order = world.accounts.next_order().unwrap();
    world.accounts.release(&SubAccount::new("alice"), &mut world.report);
    world.acquire("alice");
    world.finish(order, Ok(value("bcc", 11)));

    assert_eq!(world.said().len(), 1);
}

#[test]
fn absent_node_of_a_newcomer_is_watched_only_if_it_stays() {
    let mut world = World::new();
    world.accounts.rearm(true);

    world.acquire("alice");
    let order = world.accounts.next_order().unwrap();
    assert!(!order.watch_absent);
    world.finish(order, Ok(Found::Absent));
    world.pass(LATER);

    assert!(world.accounts.next_order().unwrap().watch_absent);
    assert_eq!(world.said(), ["alice unknown"]);
}

#[test]
fn newcomer_gets_its_remembered_coin_if_the_reading_takes_long() {
    let coin = Remembered { coin: Coin::new("btc"), mzxid: 5, name: None, in_use: false };
    let saved = HashMap::from([(SubAccount::new("alice"), coin)]);
    let mut world = World::with(|_| {}, false, saved);
    world.accounts.rearm(true);

    world.acquire("alice");
    let order = world.accounts.next_order().unwrap();
    assert!(world.said().is_empty());
    world.pass(LATER);
    world.finish(order, Ok(value("btc", 5)));

    assert_eq!(world.said(), ["alice btc /coins/alice mzxid=0x5 (remembered)"]);
}

#[test]
fn resumed_sub_account_is_not_told_what_it_knows() {
    let coin = Remembered { coin: Coin::new("btc"), mzxid: 5, name: None, in_use: true };
    let names = ["alice", "bob", "carol"];
    let saved = names.map(|name| (SubAccount::new(name), coin.clone()));
    let mut world = World::with(|_| {}, false, HashMap::from(saved));
    world.accounts.rearm(true);

    world.acquire("alice");
    world.find(Cause::Newcomer, value("btc", 5));
    // Its last session went before it could ask.
    world.accounts.release(&SubAccount::new("bob"), &mut world.report);
    world.acquire("bob");
    world.find(Cause::Newcomer, value("btc", 5));
    world.pass(60 * SECOND);
    world.find(Cause::Audit, Found::Unchanged);
    world.find(Cause::Audit, Found::Unchanged);
    world.acquire("carol");
    world.find(Cause::Newcomer, value("btc", 5));

    assert_eq!(world.said(), ["bob btc /coins/bob mzxid=0x5", "carol btc /coins/carol mzxid=0x5"]);
}

#[test]
fn coin_that_was_taken_away_is_not_remembered() {
    let mut world = World::mining();

    world.accounts.coin_changed("alice");
    world.find(Cause::Event, Found::Absent);
    world.accounts.release(&SubAccount::new("alice"), &mut world.report);

    assert!(world.accounts.save().is_empty());
}

#[test]
fn remembered_coins_are_bounded() {
    let mut world = World::with(|settings| settings.remembered = 10, false, HashMap::new());
    world.accounts.rearm(true);

    for i in 0..100 {
        let name = format!("user{i}");
        world.acquire(&name);
        world.find(Cause::Newcomer, value("btc", i));
        world.accounts.release(&SubAccount::new(name), &mut world.report);
    }

    assert_eq!(world.accounts.save().len(), 10);
}

#[test]
fn comings_and_goings_during_an_outage_leave_nothing_behind() {
    let mut world = World::new();

    for i in 0..1000 {
        let name = format!("user{i}");
        world.acquire(&name);
        world.accounts.release(&SubAccount::new(name), &mut world.report);
    }
    world.pass(LATER);

    assert!(world.accounts.urgent.is_empty() && world.accounts.routine.is_empty());
    assert!(world.accounts.later.is_empty());
}

#[test]
fn only_a_newcomer_without_a_coin_is_registered() {
    let mut world = World::with(|_| {}, true, HashMap::new());
    world.accounts.rearm(true);
    world.acquire("alice");
    let sub_account = SubAccount::new("alice");

    assert_eq!(world.find(Cause::Newcomer, Found::Absent), Next::Register(sub_account.clone()));
    world.accounts.registering(&sub_account, &mut world.report);
    world.accounts.registration_answered(&sub_account);
    assert_eq!(world.find(Cause::Registered, Found::Absent), Next::Nothing);

    assert_eq!(world.said().last().unwrap(), "alice refused: answered without a coin");
}

#[test]
fn answer_to_a_registration_is_not_forgotten_over_a_reading_under_way() {
    let mut world = World::with(|_| {}, true, HashMap::new());
    world.accounts.rearm(true);
    world.acquire("alice");
    let sub_account = SubAccount::new("alice");
    world.find(Cause::Newcomer, Found::Absent);
    world.accounts.registering(&sub_account, &mut world.report);
    world.pass(LATER);

    let order = world.accounts.next_order().unwrap();
    world.accounts.registration_answered(&sub_account);
    world.finish(order, Ok(Found::Absent));
    world.find(Cause::Registered, Found::Absent);

    assert_eq!(world.said().last().unwrap(), "alice refused: answered without a coin");
}
