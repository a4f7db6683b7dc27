//! What is known about one pool connection: how far its handshake is, its extranonce, its latest job
//! and the requests that it has not answered. Decides nothing about the session.

use serde::{Deserialize, Serialize};
use stratum_common::pool::{TextIds, name_hash};
use stratum_common::relay::Relay;
use switcher_plugin::{LegId, Millis, Profile, Rung, Rungs};

use crate::agent::AgentLeg;
use crate::extranonce::{Own, Theirs};
use crate::raw::{Line, Raw};

/// Most requests that may be outstanding at one pool.
pub(crate) const MAX_OUTSTANDING: usize = 256;

/// Most requests besides shares that are passed on for the miner and may stay unanswered, and most of
/// ours: sserver, for one, never answers what it does not know.
const MAX_IDLE: usize = 16;

/// Most extranonces of the past that late shares may still refer to.
const MAX_OLDER_EPOCHS: usize = 7;

/// Most jobs before the latest whose difficulties are remembered.
const MAX_RECENT: usize = 8;

/// Ids of the handshake requests at an echo pool.
pub(crate) const IDS: TextIds = TextIds(&["configure", "subscribe", "auth"]);

/// One connection to a pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    #[serde(with = "crate::raw::profile")]
    pub(crate) profile: Profile,
    pub(crate) flags: Flags,
    /// What it may use.
    #[serde(default = "unseen")]
    pub(crate) rungs: Rungs,
    /// By which of them it was said to be ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ready_by: Option<Rung>,
    /// The id of the next request.
    pub(crate) next_id: u32,
    /// Version bits that the pool allows; 0 until it has allowed any.
    pub(crate) mask: u32,
    /// Since when it is waited for what may never come: the pool has accepted the first worker, or
    /// has sent its first job, whichever was later.
    pub(crate) patient_since: Millis,
    /// The latest difficulty that the pool has set; 0 if it has set none.
    pub(crate) difficulty: f64,
    /// The difficulty that was in force when the latest job came, likewise.
    pub(crate) job_difficulty: f64,
    /// Stands for the id of the latest job.
    #[serde(default)]
    job_key: u32,
    /// The latest job, as the pool sent it.
    pub(crate) job: Option<Line>,
    /// When it came.
    pub(crate) job_at: Millis,
    /// Seconds added to its time when the miner got it last; `None` if the miner never got it.
    pub(crate) job_sent_later: Option<u32>,
    /// Under which extranonce the latest job is mined; `None` until subscribe was answered.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) outstanding: Vec<Outstanding>,
    /// Which workers were sent up, by their place in the session's list.
    pub(crate) workers_sent: u64,
    /// What most legs do not have.
    rare: Option<Box<Rare>>,
}

/// What most legs do not have, so that they need not keep room for it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Rare {
    /// The extranonce from the next job on, if the pool has set another.
    pub(crate) next: Option<Theirs>,
    /// Difficulties of the jobs before the latest, oldest first, while they differ from its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recent: Vec<(u32, f64)>,
    /// Epochs of earlier jobs, oldest first.
    older: Vec<Epoch>,
    /// The workers' names as the pool knows them, by place; empty if they are the miner's.
    pub(crate) names: Vec<Box<str>>,
    /// The pool's answer to authorize, for the miner, if it is not plainly `true`.
    pub(crate) welcome: Option<Welcome>,
    /// What the pool said to the latest share that it refused, for the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<Box<str>>,
    /// Another program has relayed it, or will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) relay: Option<Relay>,
    /// What a leg of an agent has besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    btcagent: Option<Box<AgentLeg>>,
}

/// Yes and no about a leg.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, all combinations occur")]
pub(crate) struct Flags {
    /// Its pool is configured as sserver, or has proven to be.
    pub(crate) echo: bool,
    /// An extranonce1 was proposed to it.
    #[serde(default)]
    pub(crate) proposed: bool,
    /// The name is tried with its suffix.
    pub(crate) suffixed: bool,
    /// The pool has accepted the first worker.
    pub(crate) authorized: bool,
    /// `LegReady` was said, and it was not cut over to it since.
    pub(crate) announced: bool,
    /// It has served the miner, or does.
    pub(crate) served: bool,
    /// It can serve no longer; it stays for the answers it owes.
    pub(crate) unfit: bool,
    /// It was asked which version bits it allows.
    #[serde(default)]
    pub(crate) asked_mask: bool,
    /// It left a share without an answer, and is to be replaced.
    #[serde(default)]
    pub(crate) owes: bool,
}

/// Result and error of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) result: Raw,
    pub(crate) error: Raw,
}

/// The jobs of one leg that share a tag and an extranonce.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Epoch {
    pub(crate) tag: u16,
    pub(crate) theirs: Theirs,
    /// The miner mines them with the pool's extranonce, which it was told; nothing is folded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) told: bool,
}

/// The rungs that a leg may use if nothing else is known: those that the miner does not notice.
pub(crate) fn unseen() -> Rungs {
    Rungs::NONE.with(Rung::Echo).with(Rung::Fold)
}

impl Epoch {
    pub(crate) fn new(tag: u16, theirs: Theirs, told: bool) -> Self {
        Self { tag, theirs, told }
    }

    /// By which rung its jobs are mined.
    pub(crate) fn rung(&self, own: Own) -> Option<Rung> {
        if self.told { Some(Rung::Announce) } else { self.theirs.fits(own) }
    }

    /// The extranonce2 size that its shares have.
    pub(crate) fn miners_size2(&self, own: Own) -> usize {
        if self.told { usize::from(self.theirs.size2()) } else { own.size2() }
    }

    /// Appends, in hex, what stands between the pool's `coinb1` and the miner's extranonce1.
    pub(crate) fn write_insert(&self, own: Own, out: &mut Vec<u8>) {
        if !self.told {
            self.theirs.write_insert(own, out);
        }
    }

    /// Appends, in hex, the pool's extranonce2 for a miner's, which is in hex, too.
    pub(crate) fn write_extranonce2(&self, own: Own, extranonce2: &[u8], out: &mut Vec<u8>) {
        if self.told {
            out.extend_from_slice(extranonce2);
        } else {
            self.theirs.write_extranonce2(own, extranonce2, out);
        }
    }
}

/// A request that the pool has not answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outstanding {
    pub(crate) id: u32,
    pub(crate) ask: Ask,
    /// The miner's id; empty if the miner does not wait for the answer.
    pub(crate) miner_id: Raw,
    /// Of a share: the difficulty of its job.
    pub(crate) difficulty: f64,
    /// Of a share: when it went up.
    #[serde(default)]
    pub(crate) at: Millis,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// The first worker's authorize.
    Authorize,
    /// Of an agent: whether shares are answered, and whether what was sent before was read.
    Capabilities,
    Configure,
    /// Something whose answer nobody waits for.
    Ignore,
    /// A request of the miner that is passed on.
    Relay,
    /// The authorize of a worker that another leg has accepted.
    Replay(u8),
    Share,
    Subscribe,
    /// The authorize of a further worker.
    Worker(u8),
}

impl Leg {
    pub(crate) fn new(id: LegId, profile: Profile, echo: bool, rungs: Rungs) -> Self {
        Self {
            id,
            profile,
            flags: Flags { echo, ..Flags::default() },
            rungs,
            ready_by: None,
            next_id: 1,
            mask: 0,
            patient_since: Millis(0),
            difficulty: 0.0,
            job_difficulty: 0.0,
            job_key: 0,
            job: None,
            job_at: Millis(0),
            job_sent_later: None,
            epoch: None,
            outstanding: Vec::new(),
            workers_sent: 0,
            rare: None,
        }
    }

    /// What most legs do not have, to be changed.
    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// What a leg of an agent has besides, which begins here.
    pub(crate) fn start_btcagent(&mut self) -> &mut AgentLeg {
        self.rare().btcagent.get_or_insert_default()
    }

    /// What a leg of an agent has besides, to be changed.
    pub(crate) fn btcagent(&mut self) -> Option<&mut AgentLeg> {
        self.rare.as_mut()?.btcagent.as_deref_mut()
    }

    /// What a leg of an agent has besides.
    pub(crate) fn agent_part(&self) -> Option<&AgentLeg> {
        self.rare.as_ref()?.btcagent.as_deref()
    }

    /// The extranonce that the pool has set from the next job on, which is now.
    pub(crate) fn take_next(&mut self) -> Option<Theirs> {
        self.rare.as_mut()?.next.take()
    }

    /// The extranonce that the pool has set last.
    pub(crate) fn latest_theirs(&self) -> Option<Theirs> {
        let next = self.rare.as_ref().and_then(|rare| rare.next);
        next.or(self.epoch.map(|epoch| epoch.theirs))
    }

    /// The pool's answer to authorize, if it is not plainly `true`.
    pub(crate) fn take_welcome(&mut self) -> Option<Welcome> {
        self.rare.as_mut()?.welcome.take()
    }

    /// The workers' names as the pool knows them; empty if they are the miner's.
    pub(crate) fn names(&self) -> &[Box<str>] {
        self.rare.as_ref().map_or(&[], |rare| &rare.names)
    }

    /// What the pool said to the latest share that it refused.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.rare.as_ref()?.refusal.as_deref()
    }

    /// What it has of a program that relays.
    pub(crate) fn relay(&self) -> Option<&Relay> {
        self.rare.as_ref()?.relay.as_ref()
    }

    /// What it has of a program that relays, to be changed.
    pub(crate) fn relay_mut(&mut self) -> Option<&mut Relay> {
        self.rare.as_mut()?.relay.as_mut()
    }

    /// The tag that jobs of its latest epoch go down with; none if they go as they are.
    pub(crate) fn tag(&self) -> Option<u16> {
        let is_plain = self.relay().is_some_and(Relay::is_plain);
        self.epoch.filter(|_| !is_plain).map(|epoch| epoch.tag)
    }

    fn older(&self) -> &[Epoch] {
        self.rare.as_ref().map_or(&[], |rare| &rare.older)
    }

    /// Books a request and returns its id. There is always room for what the handshake needs;
    /// whoever passes something on for the miner asks [`Leg::has_room`] first.
    pub(crate) fn ask(&mut self, ask: Ask, miner_id: &[u8]) -> u32 {
        let text_id = match ask {
            Ask::Configure => Some("configure"),
            Ask::Subscribe => Some("subscribe"),
            Ask::Authorize => Some("auth"),
            _ => None,
        };
        let text_id = text_id.filter(|_| self.flags.echo).and_then(|text| IDS.number(text));
        let id = text_id.unwrap_or(self.next_id);
        if text_id.is_none() {
            self.next_id = IDS.after(self.next_id);
        }
        let (difficulty, at) = (0.0, Millis(0));
        self.take_oldest(|ask| ask == Ask::Ignore);
        self.outstanding.push(Outstanding { id, ask, miner_id: Raw::of(miner_id), difficulty, at });
        id
    }

    /// Books what is to be known about the share that was just asked: the difficulty of its job, and
    /// the time.
    pub(crate) fn book_share(&mut self, job_id: &[u8], now: Millis) {
        let difficulty = self.difficulty_of(name_hash(job_id));
        if let Some(share) = self.outstanding.last_mut() {
            (share.difficulty, share.at) = (difficulty, now);
        }
    }

    /// The difficulty of one of the latest jobs.
    fn difficulty_of(&self, job: u32) -> f64 {
        let recent = self.rare.as_ref().map_or(&[][..], |rare| &rare.recent);
        let known = recent.iter().rev().find(|(known, _)| *known == job);
        // What is older than all that is known was worth what the oldest of these was.
        let known = known.or(recent.first()).filter(|_| job != self.job_key);
        let known = known.map(|(_, difficulty)| *difficulty).filter(|known| *known > 0.0);
        known.or(self.difficulty_in_force()).unwrap_or(0.0)
    }

    /// A job has come. What those before it were worth is remembered as long as it is not what this
    /// one is, for the shares that are under way.
    pub(crate) fn new_job(&mut self, job_id: &[u8], line: Line, now: Millis) {
        let before = (self.job_key, self.job_difficulty);
        let has_recent = self.rare.as_ref().is_some_and(|rare| !rare.recent.is_empty());
        let is_other = self.job.is_some() && differs(before.1, self.difficulty);
        if is_other || has_recent {
            let difficulty = self.difficulty;
            let recent = &mut self.rare().recent;
            if recent.len() == MAX_RECENT {
                recent.remove(0);
            }
            recent.push(before);
            if recent.iter().all(|(_, known)| !differs(*known, difficulty)) {
                *recent = Vec::new();
            }
        }
        self.job = Some(line);
        self.job_key = name_hash(job_id);
        self.job_at = now;
        self.job_difficulty = self.difficulty;
        self.job_sent_later = None;
    }

    /// Takes a share that went up before this time, if there is one.
    pub(crate) fn take_share_before(&mut self, time: Millis) -> Option<Outstanding> {
        let is_late = |asked: &Outstanding| {
            asked.ask == Ask::Share && asked.at > Millis(0) && asked.at <= time
        };
        let at = self.outstanding.iter().position(is_late)?;
        Some(self.outstanding.remove(at))
    }

    /// Whether a request of the miner may be passed on.
    pub(crate) fn has_room(&self) -> bool {
        self.outstanding.len() < MAX_OUTSTANDING
    }

    /// Takes the request that an answer with this id belongs to.
    pub(crate) fn answered(&mut self, id: &[u8]) -> Option<Outstanding> {
        let id = IDS.read(id, read_number)?;
        let at = self.outstanding.iter().position(|asked| asked.id == id)?;
        let asked = self.outstanding.remove(at);
        if self.outstanding.is_empty() {
            self.outstanding = Vec::new();
        }
        Some(asked)
    }

    /// Takes the oldest request of the miner that is no share, if there are too many of them.
    pub(crate) fn take_overdue(&mut self) -> Option<Outstanding> {
        self.take_oldest(|ask| matches!(ask, Ask::Relay | Ask::Worker(_)))
    }

    fn take_oldest(&mut self, is_kind: impl Fn(Ask) -> bool) -> Option<Outstanding> {
        let mut kind = self.outstanding.iter().enumerate().filter(|(_, asked)| is_kind(asked.ask));
        let (oldest, _) = kind.next()?;
        let others = kind.count();
        (others >= MAX_IDLE).then(|| self.outstanding.remove(oldest))
    }

    /// Whether an answer is missing that should be there before the leg serves: which bits may be
    /// rolled, and whether workers behind the first are welcome.
    pub(crate) fn lacks_answers(&self) -> bool {
        self.outstanding.iter().any(|asked| matches!(asked.ask, Ask::Configure | Ask::Replay(_)))
    }

    /// The extranonce of the epoch with this tag.
    pub(crate) fn epoch(&self, tag: u16) -> Option<&Epoch> {
        self.epoch.iter().chain(self.older()).find(|epoch| epoch.tag == tag)
    }

    /// The rung by which it is ready, if the miner has to come back for it.
    pub(crate) fn sends_back(&self) -> Option<Rung> {
        let rung = self.ready_by.filter(|_| !self.flags.served)?;
        matches!(rung, Rung::Reconnect | Rung::Drop).then_some(rung)
    }

    /// Whether the miner was told the pool's extranonce for some of its jobs.
    pub(crate) fn has_told_epochs(&self) -> bool {
        self.epoch.iter().chain(self.older()).any(|epoch| epoch.told)
    }

    /// Starts an epoch; late shares of the one before are still understood.
    pub(crate) fn start_epoch(&mut self, epoch: Epoch) {
        if let Some(before) = self.epoch.replace(epoch) {
            let older = &mut self.rare().older;
            if older.len() == MAX_OLDER_EPOCHS {
                older.remove(0);
            }
            older.push(before);
        }
    }

    /// The difficulty that is in force for the latest job. A later one counts if there was none: to
    /// mine a job with too high a difficulty loses nothing, the reverse is a flood.
    pub(crate) fn difficulty_in_force(&self) -> Option<f64> {
        [self.job_difficulty, self.difficulty].into_iter().find(|difficulty| *difficulty > 0.0)
    }

    /// Whether the state is one that a leg can have; for state that was saved.
    pub(crate) fn is_sound(&self) -> bool {
        let mut epochs = self.epoch.iter().chain(self.older()).map(|epoch| &epoch.theirs);
        epochs.all(Theirs::is_sound)
            && self.latest_theirs().iter().all(Theirs::is_sound)
            && self.older().len() <= MAX_OLDER_EPOCHS
            && self.rare.iter().all(|rare| rare.recent.len() <= MAX_RECENT)
            && self.outstanding.len() <= 2 * MAX_OUTSTANDING
            && self.agent_part().is_none_or(AgentLeg::is_sound)
    }
}

/// Whether two difficulties are not the same; both come from JSON and are compared as they came.
fn differs(one: f64, other: f64) -> bool {
    one.to_bits() != other.to_bits()
}

fn read_number(id: &[u8]) -> Option<u32> {
    let digits = id.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(id).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(echo: bool) -> Leg {
        Leg::new(LegId(1), Profile(b"{}"[..].into()), echo, Rungs::ALL)
    }

    #[test]
    fn answers_find_their_request_once() {
        let mut leg = leg(false);
        let id = leg.ask(Ask::Share, b"4");

        assert_eq!(leg.answered(b"2").map(|asked| asked.id), None);
        assert_eq!(leg.answered(b"1").map(|asked| asked.miner_id), Some(Raw::of(b"4")));
        assert_eq!(leg.answered(b"1").map(|asked| asked.id), None);
        assert_eq!(id, 1);
    }

    #[test]
    fn handshake_ids_are_texts_at_echo_pools_only() {
        let mut echo = leg(true);
        echo.ask(Ask::Authorize, b"");
        assert!(echo.answered(b"\"auth\"").is_some());

        let mut own = leg(false);
        own.ask(Ask::Authorize, b"");
        assert!(own.answered(b"\"auth\"").is_none());
        assert!(own.answered(b"4294967293").is_none());
        assert!(own.answered(b"1").is_some());
    }

    #[test]
    fn late_shares_are_worth_what_their_job_is() {
        let mut leg = leg(false);
        let mut job = |id: &str, difficulty: f64| {
            leg.difficulty = difficulty;
            leg.new_job(id.as_bytes(), Line(id.as_bytes().into()), Millis(0));
            let worth = |id: &str| leg.difficulty_of(name_hash(id));
            (worth("a"), worth("b"), worth("c"), leg.rare.as_ref().map_or(0, |r| r.recent.len()))
        };

        assert_eq!(job("a", 1.0), (1.0, 1.0, 1.0, 0));
        assert_eq!(job("b", 1.0), (1.0, 1.0, 1.0, 0));
        assert_eq!(job("c", 2.0), (1.0, 1.0, 2.0, 1));
        assert_eq!(job("d", 3.0), (1.0, 1.0, 2.0, 2));
        for n in 0..100 {
            job(&format!("e{n}"), 3.0);
        }
        assert_eq!(job("f", 3.0).3, 0, "nothing is kept once all are worth the same");
    }

    #[test]
    fn only_so_many_epochs_are_remembered() {
        let mut leg = leg(false);
        let theirs = Theirs::of_subscribe(br#"[[],"aabb",8]"#).unwrap();

        for tag in 0..100 {
            leg.start_epoch(Epoch::new(tag, theirs, false));
        }

        assert!(leg.epoch(99).is_some() && leg.epoch(92).is_some() && leg.epoch(91).is_none());
    }
}
