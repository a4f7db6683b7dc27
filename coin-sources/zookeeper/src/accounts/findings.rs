//! What a reading of a sub-account means, and what is said because of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use switcher_plugin::{Notice, SubAccount};

use super::{Accounts, Known, LATER, Next, Said, assign};
use crate::layout::{BadValue, MAX_VALUE, coin_of};
use crate::reading::{Cause, Found, ReadDone, ReadOrder};
use crate::report::Report;

/// A server that lags behind for longer than this is no longer in its ensemble. What it says is
/// then taken for the truth: the data was restored from a copy or made anew.
pub(super) const LAG_LIMIT: Duration = Duration::from_secs(30);

impl Accounts {
    /// Takes in what a reading has found.
    pub(crate) fn finish(&mut self, done: ReadDone, now: Instant, report: &mut Report) -> Next {
        let sub_account = done.order.sub_account.clone();
        let Some(account) = self.table.get_mut(&sub_account) else { return Next::Nothing };
        if account.stay != done.order.stay {
            return Next::Nothing;
        }
        account.reading = false;
        if let (None, Some(path)) = (&done.order.name, self.layout.index_path(&sub_account)) {
            if done.bad_index {
                report.unusable(&path, "holds no name of a sub-account");
            } else if done.result.is_ok() {
                report.fine(&path);
            }
        }
        if let Some(name) = &done.indexed {
            self.settle(&sub_account, name, report);
        }
        let next = match done.result {
            Ok(found) => {
                report.counters.reads.add();
                self.take_in(&sub_account, &done.order, found, now, report)
            }
            Err(trouble) => {
                if trouble.fault.is_passing() {
                    self.try_later(&sub_account, now);
                } else {
                    report.denied(&trouble.path, &trouble.fault.to_string());
                }
                Next::Nothing
            }
        };
        if let Some(account) = self.table.get_mut(&sub_account)
            && let Some(cause) = account.dirty.take()
        {
            self.enqueue(&sub_account, cause);
        }
        next
    }

    fn settle(&mut self, sub_account: &SubAccount, name: &Arc<str>, report: &mut Report) {
        let Some(account) = self.table.get_mut(sub_account) else { return };
        if account.name.is_some() {
            return;
        }
        account.name = Some(Arc::clone(name));
        self.forget_spelling(sub_account, None);
        if **name != *sub_account.as_str() {
            self.renamed.entry(Arc::clone(name)).or_default().push(sub_account.clone());
            report.post(Notice::Renamed(sub_account.clone(), (&**name).into()));
        }
    }

    fn take_in(
        &mut self,
        sub_account: &SubAccount,
        order: &ReadOrder,
        found: Found,
        now: Instant,
        report: &mut Report,
    ) -> Next {
        let Some(account) = self.table.get_mut(sub_account) else { return Next::Nothing };
        // A watch that fired while the audit was reading has told of the same.
        let unheard = account.dirty.is_none();
        let was_absent = std::mem::replace(&mut account.absent, found == Found::Absent);
        let name = account.name.clone().unwrap_or_else(|| Arc::from(sub_account.as_str()));
        let path = self.layout.coin_path(&name);
        let (mzxid, value) = match found {
            Found::Absent => {
                if order.cause == Cause::Audit && unheard && !was_absent && account.seen.is_some() {
                    self.suspect(sub_account, now);
                }
                report.fine(&path);
                return self.take_absence(sub_account, order, now, report);
            }
            Found::Unchanged => {
                account.lagging_since = None;
                let good = account.known.as_ref().map(|k| k.mzxid) == account.seen;
                if good && account.said != Said::Assigned {
                    self.say_known(sub_account, &path, report);
                }
                return Next::Nothing;
            }
            Found::Bulky { length, mzxid } => (mzxid, Err((BadValue::TooLong, length))),
            Found::Value { data, mzxid } => {
                (mzxid, coin_of(&data).map_err(|why| (why, data.len())))
            }
        };
        if account.seen.is_some_and(|seen| mzxid < seen) {
            let since = *account.lagging_since.get_or_insert(now);
            report.counters.stale_reads.add();
            if now.saturating_duration_since(since) < LAG_LIMIT {
                self.try_later(sub_account, now);
                return Next::Nothing;
            }
        }
        account.lagging_since = None;
        let changed = account.seen.replace(mzxid) != Some(mzxid);
        if order.cause == Cause::Audit && unheard && changed && order.seen.is_some() {
            self.suspect(sub_account, now);
        }
        match value {
            Ok(coin) => self.take_coin(sub_account, &name, Known { coin, mzxid }, report),
            Err((why, length)) => {
                if changed {
                    report.bad_value(&path, &describe(why, length));
                }
                self.take_garbage(sub_account, length, report);
            }
        }
        Next::Nothing
    }

    fn take_coin(
        &mut self,
        sub_account: &SubAccount,
        name: &Arc<str>,
        known: Known,
        report: &mut Report,
    ) {
        let path = self.layout.coin_path(name);
        report.fine(&path);
        // A coin under its own spelling settles the spelling, whatever the index says later.
        self.settle(sub_account, name, report);
        let Some(account) = self.table.get_mut(sub_account) else { return };
        account.bulky = false;
        let news = account.said != Said::Assigned
            || account.known.as_ref().map(|k| &k.coin) != Some(&known.coin);
        account.known = Some(known);
        if news {
            self.say_known(sub_account, &path, report);
        }
    }

    fn say_known(&mut self, sub_account: &SubAccount, path: &str, report: &mut Report) {
        if let Some(account) = self.table.get_mut(sub_account)
            && let Some(known) = &account.known
        {
            report.post(assign(sub_account, known, path, ""));
            account.said = Said::Assigned;
        }
    }

    fn take_garbage(&mut self, sub_account: &SubAccount, length: usize, report: &mut Report) {
        if let Some(account) = self.table.get_mut(sub_account) {
            account.bulky = length > MAX_VALUE;
        }
        self.fall_back(sub_account, report);
        if let Some(account) = self.table.get_mut(sub_account)
            && account.said == Said::Nothing
        {
            account.said = Said::Unknown;
            report.post(Notice::Unknown(sub_account.clone()));
        }
    }

    fn take_absence(
        &mut self,
        sub_account: &SubAccount,
        order: &ReadOrder,
        now: Instant,
        report: &mut Report,
    ) -> Next {
        let Some(account) = self.table.get_mut(sub_account) else { return Next::Nothing };
        account.bulky = false;
        if !order.watch_absent && !order.look_first {
            self.later.push_back((now + LATER, sub_account.clone(), account.stay));
        }
        match account.said {
            Said::Nothing if self.register => return Next::Register(sub_account.clone()),
            Said::Assigned | Said::Nothing => {
                account.said = Said::Unknown;
                report.post(Notice::Unknown(sub_account.clone()));
            }
            Said::Registering if order.cause == Cause::Registered => {
                self.registration_refused(sub_account, "answered without a coin", report);
            }
            Said::Refused | Said::Registering | Said::Unknown => {}
        }
        Next::Nothing
    }
}

fn describe(why: BadValue, length: usize) -> String {
    format!("{why} ({length} bytes)")
}
