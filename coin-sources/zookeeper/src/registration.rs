//! Registrations that wait: asks for them, watches for their answer, gives up after a while and
//! then takes the request back, so that a registrar that is away does not leave a heap of them.
//! Whether a sub-account is to be registered, and what an answer means, is decided elsewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use switcher_plugin::SubAccount;

use crate::accounts::Accounts;
use crate::layout::Layout;
use crate::ops::{Lifetime, ZkFault, ZkOps};
use crate::report::Report;
use crate::settings::RegistrationSettings;

/// One step towards an answer.
#[derive(Debug)]
pub(crate) struct Step {
    name: Arc<str>,
    path: String,
    task: Task,
}

#[derive(Debug)]
enum Task {
    Ask { request: Vec<u8>, may_create: bool },
    Check,
    Withdraw,
}

/// A step that has been taken.
#[derive(Debug)]
pub(crate) struct Stepped {
    step: Step,
    result: Result<Outcome, ZkFault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The request is gone.
    Answered,
    OverLimit,
    /// The request stands; whether this step made it.
    Waiting {
        made: bool,
    },
    Withdrawn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asking,
    Waiting,
    Withdrawing,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Entry {
    request: Vec<u8>,
    waiting: Vec<SubAccount>,
    deadline: Instant,
    phase: Phase,
    /// We may make, or have made, the node. Counts against the limit, and is ours to remove.
    ours: bool,
    /// An answer to our asking was lost: if the node is there now, it is probably ours.
    asked: bool,
    busy: bool,
    due: bool,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Registrations {
    layout: Arc<Layout>,
    dir: String,
    limit: usize,
    timeout: Duration,
    table: HashMap<Arc<str>, Entry>,
}

impl Registrations {
    /// `left` are the requests an earlier run has made and not seen answered.
    pub(crate) fn new(
        layout: Arc<Layout>,
        settings: &RegistrationSettings,
        left: Vec<String>,
        now: Instant,
    ) -> Self {
        let timeout = Duration::from_secs(settings.timeout_seconds);
        let entry = |name: String| {
            let entry = Entry {
                request: Vec::new(),
                waiting: Vec::new(),
                deadline: now + timeout,
                phase: Phase::Waiting,
                ours: true,
                asked: true,
                busy: false,
                due: true,
            };
            (Arc::from(name), entry)
        };
        Self {
            dir: layout.registration_path("").unwrap_or_default(),
            layout,
            limit: settings.max_waiting,
            timeout,
            table: left.into_iter().map(entry).collect(),
        }
    }

    /// A sub-account wants to be registered under this name.
    pub(crate) fn start(
        &mut self,
        sub_account: SubAccount,
        name: Arc<str>,
        request: Vec<u8>,
        now: Instant,
    ) {
        let ours = self.table.values().filter(|entry| entry.ours).count() < self.limit;
        let deadline = now + self.timeout;
        let entry = self.table.entry(name).or_insert_with(|| Entry {
            request,
            waiting: Vec::new(),
            deadline,
            phase: Phase::Asking,
            ours,
            asked: false,
            busy: false,
            due: true,
        });
        // One that waits already is asked about again, so that the newcomer hears of it.
        entry.due = true;
        if !entry.waiting.contains(&sub_account) {
            entry.waiting.push(sub_account);
        }
    }

    /// A sub-account has no sessions any more. Its request stands until it is answered or late.
    pub(crate) fn release(&mut self, sub_account: &SubAccount) {
        for entry in self.table.values_mut() {
            entry.waiting.retain(|waiting| waiting != sub_account);
        }
    }

    /// The node of this name has changed.
    pub(crate) fn changed(&mut self, name: &str) {
        if let Some(entry) = self.table.get_mut(name) {
            entry.due = true;
        }
    }

    /// All watches are gone.
    pub(crate) fn rearm(&mut self, fresh_client: bool) {
        for entry in self.table.values_mut() {
            entry.due = true;
            entry.busy &= !fresh_client;
        }
    }

    /// Gives up on those whose time is over.
    pub(crate) fn tick(&mut self, now: Instant, accounts: &mut Accounts, report: &mut Report) {
        let why = format!("no answer within {} s", self.timeout.as_secs());
        self.table.retain(|_, entry| {
            if now < entry.deadline || entry.phase == Phase::Withdrawing {
                return true;
            }
            for sub_account in entry.waiting.drain(..) {
                accounts.registration_refused(&sub_account, &why, report);
            }
            entry.phase = Phase::Withdrawing;
            entry.due = true;
            entry.ours
        });
    }

    /// The steps due, each to be taken with [`take`].
    pub(crate) fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (name, entry) in &mut self.table {
            if !entry.due || entry.busy {
                continue;
            }
            let Some(path) = self.layout.registration_path(name) else { continue };
            entry.due = false;
            entry.busy = true;
            let task = match entry.phase {
                Phase::Asking => {
                    Task::Ask { request: entry.request.clone(), may_create: entry.ours }
                }
                Phase::Waiting => Task::Check,
                Phase::Withdrawing => Task::Withdraw,
            };
            steps.push(Step { name: Arc::clone(name), path, task });
        }
        steps
    }

    /// Takes in what a step has brought.
    pub(crate) fn finish(
        &mut self,
        stepped: &Stepped,
        accounts: &mut Accounts,
        report: &mut Report,
    ) {
        let Some(entry) = self.table.get_mut(&stepped.step.name) else { return };
        entry.busy = false;
        let outcome = match &stepped.result {
            Ok(outcome) => *outcome,
            // Asked again on the next connection, or when it is over.
            Err(fault) if fault.is_passing() => {
                entry.asked |= entry.ours;
                return;
            }
            Err(fault) => {
                let why = match fault {
                    ZkFault::NoNode => "the directory of registrations is missing".to_owned(),
                    fault => format!("{}: {fault}", stepped.step.path),
                };
                report.denied(&self.dir, &fault.to_string());
                self.refuse(&stepped.step.name, &why, accounts, report);
                return;
            }
        };
        match outcome {
            Outcome::Waiting { made } => {
                report.fine(&self.dir);
                if made {
                    report.counters.registrations.add();
                } else if matches!(stepped.step.task, Task::Ask { .. }) && !entry.asked {
                    entry.ours = false;
                }
                if entry.phase == Phase::Asking {
                    entry.phase = Phase::Waiting;
                }
                for sub_account in &entry.waiting {
                    accounts.registering(sub_account, report);
                }
            }
            Outcome::Answered => {
                let waiting = std::mem::take(&mut entry.waiting);
                self.table.remove(&stepped.step.name);
                for sub_account in waiting {
                    accounts.registering(&sub_account, report);
                    accounts.registration_answered(&sub_account);
                }
            }
            Outcome::OverLimit => {
                let why = format!("{} registrations are waiting already", self.limit);
                self.refuse(&stepped.step.name, &why, accounts, report);
            }
            Outcome::Withdrawn => {
                // Whoever has come meanwhile is told as those before.
                self.refuse(&stepped.step.name, "not answered so far", accounts, report);
            }
        }
    }

    fn refuse(&mut self, name: &str, why: &str, accounts: &mut Accounts, report: &mut Report) {
        let Some(entry) = self.table.remove(name) else { return };
        for sub_account in &entry.waiting {
            accounts.registration_refused(sub_account, why, report);
        }
    }

    /// The requests the next run shall look after.
    pub(crate) fn save(self) -> Vec<String> {
        let ours = self.table.into_iter().filter(|(_, entry)| entry.ours);
        let mut names: Vec<String> = ours.map(|(name, _)| name.to_string()).collect();
        names.sort();
        names
    }
}

/// Takes a step.
pub(crate) async fn take(ops: Arc<dyn ZkOps>, step: Step) -> Stepped {
    let result = match &step.task {
        Task::Ask { request, may_create } => ask(&*ops, &step.path, request, *may_create).await,
        Task::Check => check(&*ops, &step.path, false).await,
        Task::Withdraw => match ops.delete(&step.path, -1).await {
            Ok(()) | Err(ZkFault::NoNode) => Ok(Outcome::Withdrawn),
            Err(fault) => Err(fault),
        },
    };
    Stepped { step, result }
}

async fn ask(
    ops: &dyn ZkOps,
    path: &str,
    request: &[u8],
    may_create: bool,
) -> Result<Outcome, ZkFault> {
    // Without a watch: a refused one shall leave nothing behind.
    if ops.exists(path, false).await?.is_some() {
        return check(ops, path, false).await;
    }
    if !may_create {
        return Ok(Outcome::OverLimit);
    }
    let made = match ops.create(path, request.to_vec(), Lifetime::Persistent).await {
        Ok(()) => true,
        Err(ZkFault::NodeExists) => false,
        Err(fault) => return Err(fault),
    };
    check(ops, path, made).await
}

async fn check(ops: &dyn ZkOps, path: &str, made: bool) -> Result<Outcome, ZkFault> {
    let stands = ops.exists(path, true).await?.is_some();
    Ok(if stands { Outcome::Waiting { made } } else { Outcome::Answered })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use switcher_plugin::{BoardWriter, Notice, SessionId, WorkerName};

    use super::*;
    use crate::fake::Fake;
    use crate::reading::{Found, ReadDone};
    use crate::settings::Settings;

    struct World {
        fake: Arc<Fake>,
        registrations: Registrations,
        accounts: Accounts,
        report: Report,
        posted: Arc<Mutex<Vec<Notice>>>,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            let mut settings = Settings::new(vec!["zk".into()], "/coins");
            let registration = RegistrationSettings {
                dir: "/requests".into(),
                max_waiting: 2,
                timeout_seconds: 60,
            };
            settings.registration = Some(registration.clone());
            let layout = Arc::new(Layout::of(&settings));
            let posted = Arc::new(Mutex::new(Vec::new()));
            let sink = Arc::clone(&posted);
            let board = BoardWriter::new(move |notice| sink.lock().unwrap().push(notice));
            let now = Instant::now();
            let mut accounts = Accounts::new(Arc::clone(&layout), true, 10, HashMap::new(), now);
            accounts.rearm(true);
            Self {
                fake: Arc::default(),
                registrations: Registrations::new(layout, &registration, Vec::new(), now),
                accounts,
                report: Report::new(board, Arc::default()),
                posted,
                now,
            }
        }

        /// A newcomer without a coin.
        fn come(&mut self, name: &str) {
            let (sub_account, worker) = (SubAccount::new(name), WorkerName::new(name));
            let (session, now) = (SessionId(1), self.now);
            self.accounts.acquire(sub_account.clone(), session, worker, now, &mut self.report);
            let order = self.accounts.next_order().unwrap();
            let result = Ok(Found::Absent);
            let done = ReadDone { order, indexed: None, bad_index: false, result };
            self.accounts.finish(done, now, &mut self.report);
            let (name, request) = self.accounts.registration(&sub_account, 0).unwrap();
            self.registrations.start(sub_account, name, request, now);
        }

        /// Takes all steps due.
        async fn step(&mut self) {
            for step in self.registrations.steps() {
                let stepped = take(Arc::clone(&self.fake) as Arc<dyn ZkOps>, step).await;
                self.registrations.finish(&stepped, &mut self.accounts, &mut self.report);
            }
        }

        async fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
            self.registrations.tick(self.now, &mut self.accounts, &mut self.report);
            self.step().await;
        }

        fn last(&self) -> Notice {
            self.posted.lock().unwrap().last().unwrap().clone()
        }
    }

    #[tokio::test]
    async fn request_whose_answer_was_lost_is_ours_to_take_back() {
        let mut world = World::new();
        *world.fake.lose_answer.lock().unwrap() = true;
        world.come("alice");
        world.step().await;

        world.registrations.rearm(true);
        world.step().await;
        assert_eq!(world.last(), Notice::Registering(SubAccount::new("alice")));
        world.pass(60).await;

        assert_eq!(world.fake.value("/requests/alice"), None);
        assert!(world.registrations.table.is_empty());
    }

    #[tokio::test]
    async fn request_of_another_is_not_taken_back() {
        let mut world = World::new();
        world.fake.put("/requests/alice", b"another's", 0);
        world.come("alice");
        world.step().await;

        world.pass(60).await;

        assert!(matches!(world.last(), Notice::RegistrationRefused(..)));
        assert!(world.fake.value("/requests/alice").is_some());
        assert!(world.registrations.table.is_empty());
    }

    #[tokio::test]
    async fn one_who_comes_while_a_request_is_taken_back_is_told() {
        let mut world = World::new();
        world.come("alice");
        world.step().await;
        world.now += Duration::from_mins(1);
        world.registrations.tick(world.now, &mut world.accounts, &mut world.report);
        world.accounts.release(&SubAccount::new("alice"), &mut world.report);
        world.registrations.release(&SubAccount::new("alice"));

        world.come("alice");
        world.step().await;

        assert!(matches!(world.last(), Notice::RegistrationRefused(..)));
        assert!(world.registrations.table.is_empty());
    }

    #[tokio::test]
    async fn requests_of_the_departed_count_until_they_are_answered() {
        let mut world = World::new();
        for name in ["alice", "bob"] {
            world.come(name);
            world.step().await;
            world.accounts.release(&SubAccount::new(name), &mut world.report);
            world.registrations.release(&SubAccount::new(name));
        }

        world.come("carol");
        world.step().await;
        assert!(matches!(world.last(), Notice::RegistrationRefused(..)));
        world.fake.remove("/requests/bob");
        world.registrations.changed("bob");
        world.step().await;
        world.come("dave");
        world.step().await;

        assert_eq!(world.last(), Notice::Registering(SubAccount::new("dave")));
    }
}
