//! The board: sub-account → coin, in memory. Sources write it, sessions look at it.
//!
//! It outlives every source: one that is down leaves its entries standing. Shards are told which
//! sub-account has news and look for themselves, so the last word always wins. Not on the data
//! path: sessions look when they log in and when there is news.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use switcher_plugin::{
    Assignment, BoardWriter, Coin, Notice, SessionId, SubAccount, Wanted, WorkerName,
};
use tokio::sync::{mpsc, watch};

/// With so many entries, sub-accounts without a session are forgotten: a pattern of a source may
/// match any number of made-up names.
const MOST_ENTRIES: usize = 200_000;

/// What a session needs to know about its sub-account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where its sessions shall be.
    pub verdict: Known,
    /// How the sub-account is spelt towards pools, if not as the miner spelt it.
    pub canonical: Option<Box<str>>,
}

/// What the sources have said, brought to one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// To mine this, whatever it mines now.
    Assigned(Coin),
    /// To mine this if it mines nothing yet.
    Default(Coin),
    /// Nothing yet.
    Nothing,
    /// Is being registered.
    Registering,
    /// Its registration failed.
    RegistrationRefused,
    /// No source knows it.
    Unknown,
}

/// What one source has said about one sub-account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Assign(Assignment),
    Default(Assignment),
    Registering,
    RegistrationRefused(String),
    Unknown,
}

/// One sub-account's entry, as saved in the state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// By source, in order of priority.
    words: BTreeMap<usize, Word>,
    canonical: Option<Box<str>>,
    /// Changes so far.
    version: u64,
    #[serde(skip)]
    sessions: usize,
}

/// How a source is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceHealth {
    /// Its name.
    pub name: String,
    /// Whether it can do its work.
    pub healthy: bool,
    /// What it says about that.
    pub detail: String,
}

/// An entry as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct AccountView {
    /// The sub-account.
    pub sub_account: SubAccount,
    /// The coin in force.
    pub coin: Option<Coin>,
    /// `assigned`, `default`, `unknown` …
    pub standing: &'static str,
    /// Where that comes from.
    pub origin: Option<Arc<str>>,
    /// Live sessions.
    pub sessions: usize,
    /// Changes so far.
    pub version: u64,
}

/// See the module.
pub struct Board {
    inner: Mutex<Inner>,
    /// The number of this switcher in its fleet, 0 as long as it has none.
    number: watch::Sender<u8>,
    /// Told when a sub-account has news. Must not block.
    news: Box<dyn Fn(&SubAccount) + Send + Sync>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Board")
    }
}

#[derive(Default)]
struct Inner {
    entries: HashMap<SubAccount, Entry>,
    wanted: Vec<mpsc::UnboundedSender<Wanted>>,
    health: Vec<SourceHealth>,
}

impl Board {
    /// A board for these sources, with what was known before, and with a number of this switcher
    /// that is 0 if it has none yet.
    pub(crate) fn new(
        number: u8,
        sources: &[String],
        saved: BTreeMap<SubAccount, Entry>,
        news: impl Fn(&SubAccount) + Send + Sync + 'static,
    ) -> Self {
        let unspoken = |name: &String| SourceHealth {
            name: name.clone(),
            healthy: false,
            detail: "has not spoken yet".to_owned(),
        };
        // Sessions are counted, and sources asked, as they come back, in this process as in another.
        let at_rest = |(name, entry)| (name, Entry { sessions: 0, ..entry });
        let inner = Inner {
            entries: saved.into_iter().map(at_rest).collect(),
            health: sources.iter().map(unspoken).collect(),
            ..Inner::default()
        };
        Self { inner: Mutex::new(inner), number: watch::Sender::new(number), news: Box::new(news) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of a source's queue of wanted sub-accounts, in order of priority.
    pub(crate) fn connect_source(&self) -> mpsc::UnboundedReceiver<Wanted> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().wanted.push(sender);
        receiver
    }

    /// A session of this sub-account came.
    pub fn acquire(
        &self,
        sub_account: &SubAccount,
        session: SessionId,
        worker: &WorkerName,
    ) -> Standing {
        let mut inner = self.lock();
        let entry = inner.entries.entry(sub_account.clone()).or_default();
        entry.sessions += 1;
        let standing = entry.standing();
        if entry.sessions == 1 {
            for source in &inner.wanted {
                // A source that has ended wants nothing; its last word stands.
                let _ = source.send(Wanted::Acquire {
                    sub_account: sub_account.clone(),
                    session,
                    worker: worker.clone(),
                });
            }
        }
        standing
    }

    /// A session of this sub-account went.
    pub fn release(&self, sub_account: &SubAccount) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(sub_account) else { return };
        entry.sessions = entry.sessions.saturating_sub(1);
        if entry.sessions > 0 {
            return;
        }
        // Its coin is kept for when its sources are away at the next login. A name that no source
        // knows is not: strangers could fill the memory with those.
        let is_known = entry.words.values().any(|word| matches!(word, Word::Assign(_)));
        if !is_known || inner.entries.len() > MOST_ENTRIES {
            inner.entries.remove(sub_account);
        }
        for source in &inner.wanted {
            let _ = source.send(Wanted::Release(sub_account.clone()));
        }
    }

    /// What is known of a sub-account.
    pub fn standing(&self, sub_account: &SubAccount) -> Standing {
        self.lock()
            .entries
            .get(sub_account)
            .map_or_else(|| Standing { verdict: Known::Nothing, canonical: None }, Entry::standing)
    }

    /// The writer for the source of this priority.
    pub(crate) fn writer(self: &Arc<Self>, source: usize) -> BoardWriter {
        let board = Arc::clone(self);
        BoardWriter::new(move |notice| board.take(source, notice))
    }

    fn take(&self, source: usize, notice: Notice) {
        let (sub_account, word) = match notice {
            Notice::Assign(sub_account, assignment) => (sub_account, Word::Assign(assignment)),
            Notice::Default(sub_account, assignment) => (sub_account, Word::Default(assignment)),
            Notice::Registering(sub_account) => (sub_account, Word::Registering),
            Notice::RegistrationRefused(sub_account, why) => {
                (sub_account, Word::RegistrationRefused(why))
            }
            Notice::Unknown(sub_account) => (sub_account, Word::Unknown),
            Notice::Renamed(sub_account, canonical) => {
                let mut inner = self.lock();
                inner.entries.entry(sub_account).or_default().canonical = Some(canonical);
                return;
            }
            Notice::ServerId(id) => {
                self.number.send_replace(id);
                return;
            }
            Notice::Health { healthy, detail } => {
                self.set_health(source, healthy, detail);
                return;
            }
            _ => return,
        };
        let news = {
            let mut inner = self.lock();
            let entry = inner.entries.entry(sub_account.clone()).or_default();
            entry.hear(source, word).then(|| entry.view(sub_account.clone()))
        };
        if let Some(now) = news {
            tracing::info!(
                sub_account = sub_account.as_str(),
                coin = now.coin.as_ref().map(Coin::as_str),
                standing = now.standing,
                origin = now.origin.as_deref(),
                sessions = now.sessions,
                "assignment changed"
            );
            (self.news)(&sub_account);
        }
    }

    fn set_health(&self, source: usize, healthy: bool, detail: String) {
        let mut inner = self.lock();
        let Some(health) = inner.health.get_mut(source) else { return };
        if healthy {
            tracing::info!(source = health.name, detail, "coin source is well");
        } else {
            tracing::warn!(source = health.name, detail, "coin source is in trouble");
        }
        health.healthy = healthy;
        health.detail = detail;
    }

    /// How the sources are doing.
    pub fn health(&self) -> Vec<SourceHealth> {
        self.lock().health.clone()
    }

    /// The number of this switcher in its fleet, 0 if it has none.
    pub fn server_id(&self) -> u8 {
        *self.number.borrow()
    }

    /// Waits until this switcher has a number in its fleet.
    pub(crate) async fn numbered(&self) {
        // The sender lives as long as the board.
        let _ = self.number.subscribe().wait_for(|number| *number != 0).await;
    }

    /// A page of the entries, by name.
    pub fn accounts(&self, after: Option<&str>, limit: usize) -> Vec<AccountView> {
        let inner = self.lock();
        let mut names: Vec<&SubAccount> = inner
            .entries
            .keys()
            .filter(|name| after.is_none_or(|after| name.as_str() > after))
            .collect();
        names.sort_unstable();
        names.truncate(limit);
        names
            .into_iter()
            .filter_map(|name| Some(inner.entries.get(name)?.view(name.clone())))
            .collect()
    }

    /// Number of sub-accounts with live sessions.
    pub fn live_accounts(&self) -> usize {
        self.lock().entries.values().filter(|entry| entry.sessions > 0).count()
    }

    /// All entries, for the state.
    pub(crate) fn save(&self) -> BTreeMap<SubAccount, Entry> {
        self.lock().entries.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }
}

impl Entry {
    /// Takes a source's word. True if it changes what sessions should know.
    fn hear(&mut self, source: usize, word: Word) -> bool {
        let before = self.standing();
        // Absence takes nothing back from a source that has given an assignment.
        let takes_back = matches!(word, Word::Unknown | Word::Default(_));
        let had_assigned = matches!(self.words.get(&source), Some(Word::Assign(_)));
        if takes_back && had_assigned && self.sessions > 0 {
            return false;
        }
        self.words.insert(source, word);
        let changed = self.standing() != before;
        if changed {
            self.version += 1;
        }
        changed
    }

    /// The first source with an assignment decides; then the first with a default; what else was
    /// said counts only if nobody offers a coin.
    fn standing(&self) -> Standing {
        let mut verdict = Known::Nothing;
        for word in self.words.values() {
            let (known, rank) = match word {
                Word::Assign(assignment) => match assignment.coin() {
                    Some(coin) => (Known::Assigned(coin.clone()), 5),
                    None => continue,
                },
                Word::Default(assignment) => match assignment.coin() {
                    Some(coin) => (Known::Default(coin.clone()), 4),
                    None => continue,
                },
                Word::Registering => (Known::Registering, 3),
                Word::RegistrationRefused(_) => (Known::RegistrationRefused, 2),
                Word::Unknown => (Known::Unknown, 1),
            };
            let rank_so_far = match verdict {
                Known::Assigned(_) => 5,
                Known::Default(_) => 4,
                Known::Registering => 3,
                Known::RegistrationRefused => 2,
                Known::Unknown => 1,
                Known::Nothing => 0,
            };
            if rank > rank_so_far {
                verdict = known;
            }
        }
        Standing { verdict, canonical: self.canonical.clone() }
    }

    fn view(&self, sub_account: SubAccount) -> AccountView {
        let (standing, coin) = match self.standing().verdict {
            Known::Assigned(coin) => ("assigned", Some(coin)),
            Known::Default(coin) => ("default", Some(coin)),
            Known::Nothing => ("nothing", None),
            Known::Registering => ("registering", None),
            Known::RegistrationRefused => ("registration_refused", None),
            Known::Unknown => ("unknown", None),
        };
        let origin = self.words.values().find_map(|word| match word {
            Word::Assign(given) | Word::Default(given) if given.coin() == coin.as_ref() => {
                Some(Arc::clone(&given.origin))
            }
            _ => None,
        });
        AccountView {
            sub_account,
            coin,
            standing,
            origin,
            sessions: self.sessions,
            version: self.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_takes_back_no_assignment_while_sessions_live() {
        let board = board(1);
        let alice = SubAccount::new("alice");
        board.acquire(&alice, SessionId(1), &WorkerName::new("alice.1"));
        board.take(0, Notice::Assign(alice.clone(), assignment("bch")));

        board.take(0, Notice::Unknown(alice.clone()));
        board.take(0, Notice::Default(alice.clone(), assignment("btc")));

        assert_eq!(board.standing(&alice).verdict, Known::Assigned(Coin::new("bch")));
    }

    #[test]
    fn the_first_source_with_an_assignment_decides() {
        let board = board(2);
        let alice = SubAccount::new("alice");

        board.take(1, Notice::Assign(alice.clone(), assignment("btc")));
        board.take(0, Notice::Unknown(alice.clone()));
        assert_eq!(board.standing(&alice).verdict, Known::Assigned(Coin::new("btc")));

        board.take(0, Notice::Assign(alice.clone(), assignment("bch")));
        assert_eq!(board.standing(&alice).verdict, Known::Assigned(Coin::new("bch")));
    }

    #[test]
    fn names_nobody_knows_are_forgotten_with_their_last_session() {
        let board = board(1);
        let mallory = SubAccount::new("mallory");
        board.acquire(&mallory, SessionId(1), &WorkerName::new("mallory"));
        board.take(0, Notice::Unknown(mallory.clone()));
        assert_eq!(board.accounts(None, 10).len(), 1);

        board.release(&mallory);

        assert!(board.accounts(None, 10).is_empty());
    }

    #[test]
    fn a_source_hears_of_the_first_and_the_last_session_only() {
        let board = board(1);
        let mut wanted = board.connect_source();
        let alice = SubAccount::new("alice");
        let worker = WorkerName::new("alice.1");

        board.acquire(&alice, SessionId(1), &worker);
        board.acquire(&alice, SessionId(2), &worker);
        board.release(&alice);
        board.release(&alice);

        let first = Wanted::Acquire { sub_account: alice.clone(), session: SessionId(1), worker };
        assert_eq!(wanted.try_recv().ok(), Some(first));
        assert_eq!(wanted.try_recv().ok(), Some(Wanted::Release(alice)));
        assert!(wanted.try_recv().is_err());
    }

    fn board(sources: usize) -> Board {
        let names: Vec<_> = (0..sources).map(|n| n.to_string()).collect();
        Board::new(0, &names, BTreeMap::new(), |_| {})
    }

    fn assignment(coin: &str) -> Assignment {
        Assignment::to(Coin::new(coin), "test")
    }
}
