//! The sub-accounts in use: what is known of each, what has been said of it, and what is to be
//! read next. What a reading means is in `findings`. Pure: no call to ZooKeeper, no clock.

mod findings;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use switcher_plugin::{Assignment, Coin, Notice, SessionId, SubAccount, WorkerName};

use crate::layout::{Layout, is_name, registration_request};
use crate::reading::{Cause, ReadOrder};
use crate::report::Report;
use crate::saved::Remembered;

/// Pause before a reading is repeated, a newcomer gets its last known coin, or an absent node is
/// watched.
const LATER: Duration = Duration::from_secs(1);
/// Sessions that live on from an earlier run ask for their sub-accounts within this time. Whoever
/// asks later is a newcomer.
const RESUMING: Duration = Duration::from_secs(30);

/// The last good value of a coin node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) coin: Coin,
    pub(crate) mzxid: i64,
}

/// What was said last of a sub-account in this stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Assigned,
    Nothing,
    Refused,
    Registering,
    Unknown,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Account {
    stay: u64,
    session: SessionId,
    worker: WorkerName,
    /// Its canonical spelling, once settled.
    name: Option<Arc<str>>,
    known: Option<Known>,
    /// The last transaction seen, that of a bad value included.
    seen: Option<i64>,
    said: Said,
    absent: bool,
    bulky: bool,
    watch_absent: bool,
    lagging_since: Option<Instant>,
    /// The audit found a change; a watch may still tell of it.
    suspect: bool,
    retry: bool,
    reading: bool,
    /// What became due while a reading was under way.
    dirty: Option<Cause>,
    queued: Option<Cause>,
}

impl Account {
    /// What is worth keeping of it. A coin that was taken away is not.
    fn into_remembered(self, sub_account: &SubAccount) -> Option<Remembered> {
        let known = self.known.filter(|_| !self.absent)?;
        let name = self.name.filter(|name| **name != *sub_account.as_str());
        let in_use = self.said == Said::Assigned;
        Some(Remembered { coin: known.coin, mzxid: known.mzxid, name, in_use })
    }
}

/// What is to be done after a reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    Register(SubAccount),
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Accounts {
    layout: Arc<Layout>,
    register: bool,
    table: HashMap<SubAccount, Account>,
    /// Sub-accounts whose canonical spelling is another, by it.
    renamed: HashMap<Arc<str>, Vec<SubAccount>>,
    /// Sub-accounts not yet found in the index, by their lower case.
    unsettled: HashMap<String, Vec<SubAccount>>,
    urgent: VecDeque<SubAccount>,
    routine: VecDeque<SubAccount>,
    later: VecDeque<(Instant, SubAccount, u64)>,
    remembered: HashMap<SubAccount, Remembered>,
    remember: usize,
    resuming_until: Instant,
    stays: u64,
    online: bool,
    audit: VecDeque<SubAccount>,
    audit_due: f64,
}

impl Accounts {
    pub(crate) fn new(
        layout: Arc<Layout>,
        register: bool,
        remember: usize,
        remembered: HashMap<SubAccount, Remembered>,
        now: Instant,
    ) -> Self {
        Self {
            layout,
            register,
            table: HashMap::new(),
            renamed: HashMap::new(),
            unsettled: HashMap::new(),
            urgent: VecDeque::new(),
            routine: VecDeque::new(),
            later: VecDeque::new(),
            remembered,
            remember,
            resuming_until: now + RESUMING,
            stays: 0,
            online: false,
            audit: VecDeque::new(),
            audit_due: 0.0,
        }
    }

    /// A sub-account has its first session.
    pub(crate) fn acquire(
        &mut self,
        sub_account: SubAccount,
        session: SessionId,
        worker: WorkerName,
        now: Instant,
        report: &mut Report,
    ) {
        if self.table.contains_key(&sub_account) {
            return;
        }
        if !is_name(sub_account.as_str()) {
            report.post(Notice::Unknown(sub_account));
            return;
        }
        self.stays += 1;
        let mut account = Account {
            stay: self.stays,
            session,
            worker,
            name: self.settled_at_once(&sub_account),
            known: None,
            seen: None,
            said: Said::Nothing,
            absent: false,
            bulky: false,
            watch_absent: false,
            lagging_since: None,
            suspect: false,
            retry: false,
            reading: false,
            dirty: None,
            queued: None,
        };
        let remembered = self.remembered.remove(&sub_account);
        let resumed = now < self.resuming_until && remembered.as_ref().is_some_and(|r| r.in_use);
        if let Some(remembered) = remembered {
            account.seen = Some(remembered.mzxid);
            account.known = Some(Known { coin: remembered.coin, mzxid: remembered.mzxid });
            if resumed {
                account.said = Said::Assigned;
            }
            if resumed || !self.online {
                account.name = remembered.name.or(account.name);
            }
        }
        match &account.name {
            Some(name) if **name != *sub_account.as_str() => {
                self.renamed.entry(Arc::clone(name)).or_default().push(sub_account.clone());
                if !resumed {
                    report.post(Notice::Renamed(sub_account.clone(), (&**name).into()));
                }
            }
            Some(_) => {}
            None => {
                let lower = sub_account.as_str().to_lowercase();
                self.unsettled.entry(lower).or_default().push(sub_account.clone());
            }
        }
        self.later.push_back((now + LATER, sub_account.clone(), self.stays));
        self.table.insert(sub_account.clone(), account);
        if self.online {
            self.enqueue(&sub_account, Cause::Newcomer);
        } else {
            self.fall_back(&sub_account, report);
        }
    }

    fn settled_at_once(&self, sub_account: &SubAccount) -> Option<Arc<str>> {
        let text = sub_account.as_str();
        if self.layout.case_insensitive {
            Some(Arc::from(text.to_lowercase()))
        } else if self.layout.has_index() {
            None
        } else {
            Some(Arc::from(text))
        }
    }

    /// The last session of a sub-account is gone.
    pub(crate) fn release(&mut self, sub_account: &SubAccount, report: &mut Report) {
        let Some(account) = self.table.remove(sub_account) else {
            if let Some(remembered) = self.remembered.get_mut(sub_account) {
                remembered.in_use = false;
            }
            return;
        };
        self.forget_spelling(sub_account, account.name.as_ref());
        report
            .fine(&self.layout.coin_path(account.name.as_deref().unwrap_or(sub_account.as_str())));
        if let Some(index) = self.layout.index_path(sub_account) {
            report.fine(&index);
        }
        if let Some(what) = account.into_remembered(sub_account) {
            self.remember(sub_account.clone(), Remembered { in_use: false, ..what });
        }
    }

    fn remember(&mut self, sub_account: SubAccount, what: Remembered) {
        if self.remembered.len() >= self.remember
            && let Some(any) = self.remembered.keys().next().cloned()
        {
            self.remembered.remove(&any);
        }
        if self.remember > 0 {
            self.remembered.insert(sub_account, what);
        }
    }

    fn forget_spelling(&mut self, sub_account: &SubAccount, name: Option<&Arc<str>>) {
        if let Some(name) = name {
            drop_from(&mut self.renamed, name, sub_account);
        } else {
            let lower = sub_account.as_str().to_lowercase();
            drop_from(&mut self.unsettled, lower.as_str(), sub_account);
        }
    }

    /// Gives one that still waits its last known coin.
    fn fall_back(&mut self, sub_account: &SubAccount, report: &mut Report) {
        let Some(account) = self.table.get_mut(sub_account) else { return };
        if account.said == Said::Nothing
            && let Some(known) = &account.known
        {
            let name = account.name.as_deref().unwrap_or(sub_account.as_str());
            let path = self.layout.coin_path(name);
            report.post(assign(sub_account, known, &path, " (remembered)"));
            account.said = Said::Assigned;
        }
    }

    /// The value of the node of this name has changed.
    pub(crate) fn coin_changed(&mut self, name: &str) {
        let mut concerned = self.renamed.get(name).cloned().unwrap_or_default();
        if let Some((sub_account, _)) = self.table.get_key_value(name) {
            concerned.push(sub_account.clone());
        }
        self.changed(&concerned);
    }

    /// The index node of this lower-case name has changed.
    pub(crate) fn index_changed(&mut self, lower: &str) {
        let concerned = self.unsettled.get(lower).cloned().unwrap_or_default();
        self.changed(&concerned);
    }

    fn changed(&mut self, concerned: &[SubAccount]) {
        for sub_account in concerned {
            if let Some(account) = self.table.get_mut(sub_account) {
                account.suspect = false;
                self.enqueue(sub_account, Cause::Event);
            }
        }
    }

    /// A registration has been answered.
    pub(crate) fn registration_answered(&mut self, sub_account: &SubAccount) {
        self.enqueue(sub_account, Cause::Registered);
    }

    /// All watches are gone: everything is read anew.
    pub(crate) fn rearm(&mut self, fresh_client: bool) {
        self.online = true;
        self.urgent.clear();
        self.routine.clear();
        for (sub_account, account) in &mut self.table {
            if fresh_client {
                account.reading = false;
            }
            account.dirty = account.reading.then_some(Cause::Rearm);
            account.queued = (!account.reading).then_some(Cause::Rearm);
            if account.said == Said::Nothing {
                self.urgent.push_back(sub_account.clone());
            } else {
                self.routine.push_back(sub_account.clone());
            }
        }
    }

    /// The connection is gone: nothing is to be read.
    pub(crate) fn offline(&mut self, report: &mut Report) {
        self.online = false;
        self.urgent.clear();
        self.routine.clear();
        let mut waiting = Vec::new();
        for (sub_account, account) in &mut self.table {
            account.queued = None;
            if account.said == Said::Nothing {
                waiting.push(sub_account.clone());
            }
        }
        for sub_account in waiting {
            self.fall_back(&sub_account, report);
        }
    }

    fn enqueue(&mut self, sub_account: &SubAccount, cause: Cause) {
        let Some(account) = self.table.get_mut(sub_account) else { return };
        if !self.online {
            return;
        }
        if account.reading {
            // The audit adds nothing to a reading under way.
            if cause != Cause::Audit {
                account.dirty = account.dirty.max(Some(cause));
            }
            return;
        }
        if account.queued.is_none() {
            let queue = if cause > Cause::Later { &mut self.urgent } else { &mut self.routine };
            queue.push_back(sub_account.clone());
        }
        account.queued = account.queued.max(Some(cause));
    }

    /// The next reading, if any is due.
    pub(crate) fn next_order(&mut self) -> Option<ReadOrder> {
        loop {
            let sub_account = self.urgent.pop_front().or_else(|| self.routine.pop_front())?;
            let Some(account) = self.table.get_mut(&sub_account) else { continue };
            let Some(cause) = account.queued.take() else { continue };
            account.reading = true;
            let quiet = matches!(cause, Cause::Audit | Cause::Rearm | Cause::Later);
            return Some(ReadOrder {
                stay: account.stay,
                cause,
                name: account.name.clone(),
                seen: account.seen,
                look_first: account.bulky
                    || (quiet && account.seen.is_some())
                    || (account.absent && account.watch_absent && cause != Cause::Event),
                watch_absent: account.watch_absent || account.said == Said::Assigned,
                sub_account,
            });
        }
    }

    fn suspect(&mut self, sub_account: &SubAccount, now: Instant) {
        if let Some(account) = self.table.get_mut(sub_account) {
            account.suspect = true;
            self.later.push_back((now + LATER, sub_account.clone(), account.stay));
        }
    }

    fn try_later(&mut self, sub_account: &SubAccount, now: Instant) {
        if let Some(account) = self.table.get_mut(sub_account)
            && !std::mem::replace(&mut account.retry, true)
        {
            self.later.push_back((now + LATER, sub_account.clone(), account.stay));
        }
    }

    /// Does what has become due, and picks what the audit reads in this stretch of time.
    pub(crate) fn tick(
        &mut self,
        now: Instant,
        passed: Duration,
        audit: Option<Duration>,
        report: &mut Report,
    ) {
        while let Some((_, sub_account, stay)) = self.later.pop_front_if(|(due, ..)| *due <= now) {
            let Some(account) = self.table.get_mut(&sub_account).filter(|a| a.stay == stay) else {
                continue;
            };
            if std::mem::take(&mut account.suspect) {
                report.counters.missed_watches.add();
                tracing::warn!(%sub_account, "the audit found a change that no watch told of");
            }
            let arm = account.absent && !std::mem::replace(&mut account.watch_absent, true);
            if std::mem::take(&mut account.retry) || arm {
                self.enqueue(&sub_account, Cause::Later);
            }
            if !arm {
                self.fall_back(&sub_account, report);
            }
        }
        if let (Some(period), true) = (audit, self.online) {
            self.audit(passed, period);
        }
    }

    fn audit(&mut self, passed: Duration, period: Duration) {
        let size = u32::try_from(self.table.len()).unwrap_or(u32::MAX);
        self.audit_due += f64::from(size) * passed.as_secs_f64() / period.as_secs_f64();
        self.audit_due = self.audit_due.min(f64::from(size));
        while self.audit_due >= 1.0 {
            self.audit_due -= 1.0;
            if self.audit.is_empty() {
                self.audit.extend(self.table.keys().cloned());
            }
            if let Some(sub_account) = self.audit.pop_front() {
                self.enqueue(&sub_account, Cause::Audit);
            }
        }
    }

    /// The name under which to register, and the request.
    pub(crate) fn registration(
        &self,
        sub_account: &SubAccount,
        number: u8,
    ) -> Option<(Arc<str>, Vec<u8>)> {
        let account = self.table.get(sub_account)?;
        let name = account.name.clone().unwrap_or_else(|| Arc::from(sub_account.as_str()));
        let request =
            registration_request(account.session, number, &account.worker, sub_account, &name);
        Some((name, request))
    }

    /// It waits for its registration.
    pub(crate) fn registering(&mut self, sub_account: &SubAccount, report: &mut Report) {
        if let Some(account) = self.table.get_mut(sub_account)
            && account.said == Said::Nothing
        {
            account.said = Said::Registering;
            report.post(Notice::Registering(sub_account.clone()));
        }
    }

    /// Its registration came to nothing. Whoever has got a coin meanwhile is not concerned.
    pub(crate) fn registration_refused(
        &mut self,
        sub_account: &SubAccount,
        why: &str,
        report: &mut Report,
    ) {
        if let Some(account) = self.table.get_mut(sub_account)
            && matches!(account.said, Said::Nothing | Said::Registering)
        {
            account.said = Said::Refused;
            report.counters.registrations_refused.add();
            report.post(Notice::RegistrationRefused(sub_account.clone(), why.to_owned()));
        }
    }

    /// What the next run should know of each.
    pub(crate) fn save(self) -> HashMap<SubAccount, Remembered> {
        let mut saved = self.remembered;
        for remembered in saved.values_mut() {
            remembered.in_use = false;
        }
        for (sub_account, account) in self.table {
            if let Some(what) = account.into_remembered(&sub_account) {
                saved.insert(sub_account, what);
            }
        }
        saved
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

fn drop_from<K>(map: &mut HashMap<K, Vec<SubAccount>>, key: &str, sub_account: &SubAccount)
where
    K: std::borrow::Borrow<str> + Eq + std::hash::Hash,
{
    if let Some(list) = map.get_mut(key) {
        list.retain(|entry| entry != sub_account);
        if list.is_empty() {
            map.remove(key);
        }
    }
}

fn assign(sub_account: &SubAccount, known: &Known, path: &str, remark: &str) -> Notice {
    let origin = format!("{path} mzxid={:#x}{remark}", known.mzxid);
    Notice::Assign(sub_account.clone(), Assignment::to(known.coin.clone(), origin))
}
