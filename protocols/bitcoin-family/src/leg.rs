//! What is known about one pool connection: how far its handshake is, its extranonce, its latest job
//! and the requests that it has not answered. Decides nothing about the session.

use serde::{Deserialize, Serialize};
use switcher_plugin::{LegId, Millis, Profile, Rung};

use crate::adopt::Relay;
use crate::extranonce::{Own, Theirs};
use crate::raw::{Line, Raw};

/// Most requests that may be outstanding at one pool.
pub(crate) const MAX_OUTSTANDING: usize = 256;

/// Most requests besides shares that are passed on for the miner and may stay unanswered, and most of
/// ours: sserver, for one, never answers what it does not know.
const MAX_IDLE: usize = 16;

/// Most extranonces of the past that late shares may still refer to.
const MAX_OLDER_EPOCHS: usize = 7;

/// Ids of the handshake requests at an echo pool, where they go up as the original's texts.
pub(crate) const TEXT_IDS: [(u32, &[u8]); 3] =
    [(u32::MAX, b"\"configure\""), (u32::MAX - 1, b"\"subscribe\""), (u32::MAX - 2, b"\"auth\"")];

/// One connection to a pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    #[serde(with = "crate::raw::profile")]
    pub(crate) profile: Profile,
    pub(crate) flags: Flags,
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
    /// Epochs of earlier jobs, oldest first.
    older: Vec<Epoch>,
    /// The workers' names as the pool knows them, by place; empty if they are the miner's.
    pub(crate) names: Vec<Box<str>>,
    /// The pool's answer to authorize, for the miner, if it is not plainly `true`.
    pub(crate) welcome: Option<Welcome>,
    /// Another program has relayed it, or will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) relay: Option<Relay>,
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
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// The first worker's authorize.
    Authorize,
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
    pub(crate) fn new(id: LegId, profile: Profile, echo: bool) -> Self {
        Self {
            id,
            profile,
            flags: Flags { echo, ..Flags::default() },
            next_id: 1,
            mask: 0,
            patient_since: Millis(0),
            difficulty: 0.0,
            job_difficulty: 0.0,
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

    /// What it has of a program that relays.
    pub(crate) fn relay(&self) -> Option<&Relay> {
        self.rare.as_ref()?.relay.as_ref()
    }

    /// The tag that jobs of its latest epoch go down with; none if they go as they are.
    pub(crate) fn tag(&self) -> Option<u16> {
        let is_plain = self.relay().is_some_and(|relay| relay.plain);
        self.epoch.filter(|_| !is_plain).map(|epoch| epoch.tag)
    }

    fn older(&self) -> &[Epoch] {
        self.rare.as_ref().map_or(&[], |rare| &rare.older)
    }

    /// Books a request and returns its id. There is always room for what the handshake needs;
    /// whoever passes something on for the miner asks [`Leg::has_room`] first.
    pub(crate) fn ask(&mut self, ask: Ask, miner_id: &[u8]) -> u32 {
        let text_id = match ask {
            Ask::Configure => Some(0),
            Ask::Subscribe => Some(1),
            Ask::Authorize => Some(2),
            _ => None,
        };
        let text_id = text_id.filter(|_| self.flags.echo).and_then(|at: usize| TEXT_IDS.get(at));
        let id = text_id.map_or(self.next_id, |(id, _)| *id);
        if text_id.is_none() {
            self.next_id = self.next_id.wrapping_add(1) % (u32::MAX - 2);
        }
        let difficulty = self.difficulty_in_force().filter(|_| ask == Ask::Share).unwrap_or(0.0);
        self.take_oldest(|ask| ask == Ask::Ignore);
        self.outstanding.push(Outstanding { id, ask, miner_id: Raw::of(miner_id), difficulty });
        id
    }

    /// Whether a request of the miner may be passed on.
    pub(crate) fn has_room(&self) -> bool {
        self.outstanding.len() < MAX_OUTSTANDING
    }

    /// Takes the request that an answer with this id belongs to.
    pub(crate) fn answered(&mut self, id: &[u8]) -> Option<Outstanding> {
        let id = read_id(id)?;
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

    /// By which rung it serves a miner with this extranonce.
    pub(crate) fn rung(&self, own: Own) -> Option<Rung> {
        self.epoch.as_ref()?.theirs.rung(own).ok()
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
            && self.outstanding.len() <= 2 * MAX_OUTSTANDING
    }
}

/// Appends the id of a request.
pub(crate) fn write_id(out: &mut Vec<u8>, id: u32) {
    match TEXT_IDS.iter().find(|(number, _)| *number == id) {
        Some((_, text)) => out.extend_from_slice(text),
        None => out.extend_from_slice(id.to_string().as_bytes()),
    }
}

fn read_id(id: &[u8]) -> Option<u32> {
    if let Some((number, _)) = TEXT_IDS.iter().find(|(_, text)| *text == id) {
        return Some(*number);
    }
    let digits = id.iter().all(u8::is_ascii_digit);
    let number = digits.then(|| std::str::from_utf8(id).ok()?.parse().ok()).flatten();
    number.filter(|number| TEXT_IDS.iter().all(|(text, _)| text != number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(echo: bool) -> Leg {
        Leg::new(LegId(1), Profile(b"{}"[..].into()), echo)
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
    fn only_so_many_epochs_are_remembered() {
        let mut leg = leg(false);
        let theirs = Theirs::of_subscribe(br#"[[],"aabb",8]"#).unwrap();

        for tag in 0..100 {
            leg.start_epoch(Epoch { tag, theirs });
        }

        assert!(leg.epoch(99).is_some() && leg.epoch(92).is_some() && leg.epoch(91).is_none());
    }
}
