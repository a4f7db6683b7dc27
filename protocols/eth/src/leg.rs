//! What is known about one pool connection: how far its handshake is, its extranonce, its latest job
//! and the requests that it has not answered. Decides nothing about the session.

use jsonrpc::{Line, Raw, unsigned};
use serde::{Deserialize, Serialize};
use stratum_common::pool::TextIds;
use stratum_common::relay::Relay;
use switcher_plugin::{LegId, Millis, Profile, Rungs};

use crate::extranonce::Extranonce;
use crate::profile::Way;
use crate::seed::Seed;
use crate::target::Target;
use crate::work::Hash;

/// Most requests that may be outstanding at one pool.
const MAX_OUTSTANDING: usize = 256;

/// Most requests besides shares that may stay unanswered: sserver never answers what it does not
/// know.
const MAX_IDLE: usize = 16;

/// Most epochs of the past that late shares may still refer to.
const MAX_OLDER_EPOCHS: usize = 15;

/// Most jobs that are found again by their header. Pools take shares of the last few blocks, and
/// push some jobs for each.
const MAX_ISSUED: usize = 32;

/// Ids of the handshake requests at an echo pool.
pub(crate) const IDS: TextIds = TextIds(&["subscribe", "auth"]);

/// One connection to a pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    pub(crate) profile: Profile,
    pub(crate) rungs: Rungs,
    /// How its pool is spoken to, and which try that is.
    pub(crate) way: Way,
    pub(crate) form: u8,
    /// Ways that were not tried yet.
    pub(crate) ways_left: u8,
    pub(crate) flags: Flags,
    /// The id of the next request; never 0, which is that of jobs.
    pub(crate) next_id: u32,
    /// The miner's name at this pool.
    pub(crate) user: Box<str>,
    /// What the pool is told in a `worker` member, if it is told anything.
    pub(crate) worker: Option<Box<str>>,
    /// Text that the pool wants back with each share (`EthereumStratum/2.0.0`).
    pub(crate) token: Raw,
    /// What the pool has set, for the jobs to come.
    pub(crate) next: Terms,
    pub(crate) job: Option<Job>,
    /// Number of the block of the latest job.
    pub(crate) height: Option<u64>,
    /// Since when it is waited for what may never come.
    pub(crate) patient_since: Millis,
    /// What shares of the jobs told last are made of; `None` until one was told.
    epoch: Option<Epoch>,
    /// Epochs of earlier jobs, oldest first.
    older: Vec<Epoch>,
    /// The latest jobs told, oldest first, where shares do not bear a tag or not their header.
    issued: Vec<Issued>,
    pub(crate) outstanding: Vec<Outstanding>,
    /// Another program has relayed it, or will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) relay: Option<Relay>,
}

/// Yes and no about a leg.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, all combinations occur")]
pub(crate) struct Flags {
    /// The pool has said which extranonce, or that is none.
    pub(crate) subscribed: bool,
    /// The name is tried with its suffix.
    pub(crate) suffixed: bool,
    /// The pool has accepted the miner.
    pub(crate) authorized: bool,
    /// `LegReady` was said, and it was not cut over to it since.
    pub(crate) announced: bool,
    /// It has served the miner, or does.
    pub(crate) served: bool,
    /// It can serve no longer; it stays for the answers it owes.
    pub(crate) unfit: bool,
    /// The pool takes nonces with another head than its extranonce.
    pub(crate) prefix_ignored: bool,
    /// The pool has sent something.
    pub(crate) spoken: bool,
    /// The miner has to come back for it.
    pub(crate) sends_back: bool,
}

/// What a pool sets besides jobs. Counts for the jobs behind it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) extranonce: Extranonce,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<Goal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<Seed>,
}

/// What counts as a share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// As `NiceHash`'s variant tells it.
    Difficulty(f64),
    /// As all others do.
    Target(Target),
}

impl Goal {
    /// What counts where nothing was set.
    pub(crate) const DEFAULT: Self = Self::Difficulty(1.0);

    pub(crate) fn target(self) -> Target {
        match self {
            Self::Difficulty(difficulty) => Target::of_difficulty(difficulty),
            Self::Target(target) => target,
        }
    }

    pub(crate) fn difficulty(self) -> f64 {
        match self {
            Self::Difficulty(difficulty) => difficulty,
            Self::Target(target) => target.to_difficulty(),
        }
    }
}

/// The latest job and what counted when it came.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// As the pool sent it.
    pub(crate) line: Line,
    pub(crate) terms: Terms,
    /// Earlier jobs are void.
    pub(crate) clean: bool,
}

/// The jobs of one leg that share a tag, the heads of their nonces and a difficulty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Epoch {
    pub(crate) tag: u8,
    /// The head as the miner has it.
    pub(crate) told: Extranonce,
    /// The head as the pool has it; `told` begins with it, unless the pool does not mind.
    pub(crate) theirs: Extranonce,
    /// What a share of them counts in the books.
    pub(crate) difficulty: f64,
}

/// A job that was told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Issued {
    #[serde(with = "crate::hex::serde32")]
    pub(crate) header: Hash,
    /// The pool's name for it; empty if that is the header.
    job_id: Box<str>,
    /// Of its epoch.
    tag: u8,
}

/// A request that the pool has not answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outstanding {
    id: u32,
    pub(crate) ask: Ask,
    /// The miner's id; empty if the miner does not wait for the answer.
    pub(crate) miner_id: Raw,
    /// Of a share: the difficulty of its job.
    pub(crate) difficulty: f64,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    Authorize,
    GetWork,
    Hello,
    /// Something whose answer nobody waits for.
    Ignore,
    Share,
    Subscribe,
}

impl Leg {
    pub(crate) fn new(id: LegId, profile: Profile, rungs: Rungs, way: Way, form: u8) -> Self {
        Self {
            id,
            profile,
            rungs,
            way,
            form,
            ways_left: 0,
            flags: Flags::default(),
            next_id: 1,
            user: "".into(),
            worker: None,
            token: Raw::default(),
            next: Terms::default(),
            job: None,
            height: None,
            patient_since: Millis(0),
            epoch: None,
            older: Vec::new(),
            issued: Vec::new(),
            outstanding: Vec::new(),
            relay: None,
        }
    }

    /// Books a request and returns its id. There is always room for what the handshake needs;
    /// whoever passes something on for the miner asks [`Leg::has_room`] first.
    pub(crate) fn ask(&mut self, ask: Ask, miner_id: &[u8]) -> u32 {
        let text_id = match ask {
            Ask::Subscribe => Some("subscribe"),
            Ask::Authorize => Some("auth"),
            _ => None,
        };
        let text_id = text_id.filter(|_| self.way.echo).and_then(|text| IDS.number(text));
        let id = text_id.unwrap_or(self.next_id);
        if text_id.is_none() {
            self.next_id = IDS.after(self.next_id).max(1);
        }
        let idle = |asked: &Outstanding| asked.ask == Ask::Ignore;
        if self.outstanding.iter().filter(|asked| idle(asked)).count() >= MAX_IDLE
            && let Some(oldest) = self.outstanding.iter().position(idle)
        {
            self.outstanding.remove(oldest);
        }
        self.outstanding.push(Outstanding {
            id,
            ask,
            miner_id: Raw::of(miner_id),
            difficulty: 0.0,
        });
        id
    }

    /// Whether a request of the miner may be passed on.
    pub(crate) fn has_room(&self) -> bool {
        self.outstanding.len() < MAX_OUTSTANDING
    }

    /// Whether something is asked and not answered.
    pub(crate) fn awaits(&self, ask: Ask) -> bool {
        self.outstanding.iter().any(|asked| asked.ask == ask)
    }

    /// Takes the request that an answer with this id belongs to.
    pub(crate) fn answered(&mut self, id: &[u8]) -> Option<Outstanding> {
        let id = IDS.read(id, |id| u32::try_from(unsigned(id)?).ok())?;
        let at = self.outstanding.iter().position(|asked| asked.id == id)?;
        let asked = self.outstanding.remove(at);
        if self.outstanding.is_empty() {
            self.outstanding = Vec::new();
        }
        Some(asked)
    }

    /// Notes what the request asked last counts if it is accepted.
    pub(crate) fn counts(&mut self, difficulty: f64) {
        if let Some(asked) = self.outstanding.last_mut() {
            asked.difficulty = difficulty;
        }
    }

    /// The epoch of the jobs told last.
    pub(crate) fn latest_epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// The epoch with this tag.
    pub(crate) fn epoch(&self, tag: u8) -> Option<Epoch> {
        self.epoch.iter().chain(&self.older).find(|epoch| epoch.tag == tag).copied()
    }

    /// Starts an epoch; late shares of the one before are still understood.
    pub(crate) fn start_epoch(&mut self, epoch: Epoch) {
        if let Some(before) = self.epoch.replace(epoch) {
            if self.older.len() == MAX_OLDER_EPOCHS {
                self.older.remove(0);
            }
            self.older.push(before);
        }
    }

    /// Remembers a job that was told.
    pub(crate) fn issue(&mut self, header: Hash, job_id: &str, tag: u8) {
        let is_header = crate::hex::read_hex(job_id.as_bytes()) == Some(header);
        let job_id: Box<str> = if is_header { "".into() } else { job_id.into() };
        self.issued.retain(|issued| issued.header != header || issued.job_id != job_id);
        if self.issued.len() == MAX_ISSUED {
            self.issued.remove(0);
        }
        self.issued.push(Issued { header, job_id, tag });
    }

    /// The latest job with this header that was told: its epoch and the pool's name for it.
    pub(crate) fn issued_by_header(&self, header: &Hash) -> Option<(Epoch, String)> {
        let issued = self.issued.iter().rev().find(|issued| issued.header == *header)?;
        let is_header = issued.job_id.is_empty();
        let job_id = if is_header { crate::hex::hex(header) } else { issued.job_id.to_string() };
        Some((self.epoch(issued.tag).or(self.epoch)?, job_id))
    }

    /// The header of a job by the pool's name for it.
    pub(crate) fn issued_by_id(&self, job_id: &str) -> Option<Hash> {
        let issued = self.issued.iter().rev().find(|issued| &*issued.job_id == job_id);
        issued.map(|issued| issued.header)
    }

    /// Whether the state is one that a leg can have; for state that was saved.
    pub(crate) fn is_sound(&self) -> bool {
        self.older.len() <= MAX_OLDER_EPOCHS
            && self.issued.len() <= MAX_ISSUED
            && self.outstanding.len() <= 2 * MAX_OUTSTANDING
            && self.next_id > 0
    }
}
