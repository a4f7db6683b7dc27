//! The state of one miner and the entry point for everything that happens to it.
//!
//! `miner` and `pool` extend [`Session`] with what the two sides may say; this module has what they
//! share, and the inputs that come from neither.

use std::fmt;

use serde::{Deserialize, Serialize};
use switcher_plugin::{
    Action, Cut, DialectSession, Fault, FaultKind, Input, LegId, Millis, Outbox, Profile, Refusal,
    ResumeError, Rungs, Saved, Side, Verdict,
};

use crate::pool::Said;
use crate::profile::Terms;
use crate::wire::{self, Message};

/// The version of saved state that is written and read.
pub(crate) const STATE_VERSION: u16 = 1;

/// Most requests that may be outstanding at one pool.
const MAX_ASKED: usize = 64;

/// The first tag of a leg, see [`Leg::tag`].
const FIRST_TAG: u8 = 10;

/// One behind the last tag.
const END_OF_TAGS: u8 = 100;

/// What a miner without a `mining.subscribe` of its own is presented as.
const OWN_SUBSCRIBE: &str = r#"["stratum-switcher","EthereumStratum/1.0.0"]"#;

/// One miner and its legs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Session {
    /// No miner: the session looks at one pool and ends.
    pub(crate) is_probe: bool,
    /// The parameters of the miner's subscribe. Pools choose the form of their jobs by them.
    pub(crate) subscribe: Option<Box<str>>,
    /// The miner has asked to be told about new extranonces, so pools are asked likewise.
    pub(crate) extranonce_subscribed: bool,
    pub(crate) login: Login,
    pub(crate) worker: Box<str>,
    pub(crate) password: Secret,
    /// The sub-account as its source spells it.
    pub(crate) canonical: Box<str>,
    /// The extranonce that the miner works with.
    pub(crate) told: Option<Box<str>>,
    pub(crate) legs: Vec<Leg>,
    pub(crate) active: Option<LegId>,
    last_tag: u8,
}

/// How far the login is.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Login {
    #[default]
    None,
    /// The miner waits for the answer to the request with this id, if it had one.
    Asked(Option<Box<str>>),
    Done,
}

/// JSON text that must not be seen in a log.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) Box<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What is known about one connection to a pool.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    /// Two digits in front of the ids of this leg's jobs, so that a late share finds home. Digits
    /// without a leading zero, since there are miners that take a job id for a number.
    pub(crate) tag: u8,
    pub(crate) rungs: Rungs,
    /// JSON text of user and password at this pool.
    pub(crate) user: Box<str>,
    pub(crate) password: Secret,
    pub(crate) asked: Vec<Asked>,
    next_id: u32,
    /// The pool's answer to authorize, once it is a yes.
    pub(crate) welcome: Option<Box<str>>,
    /// The first digits of every nonce, empty if the miner may use all of it.
    pub(crate) extranonce: Box<str>,
    /// The lines by which the pool has told extranonce and difficulty. They go down as they are: the
    /// pool knows the miner's agent and has chosen a form that it understands.
    pub(crate) extranonce_line: Option<Box<str>>,
    pub(crate) difficulty_line: Option<Box<str>>,
    /// 0 if the pool has told none.
    pub(crate) difficulty: f64,
    /// The difficulty when the latest job came.
    pub(crate) job_difficulty: f64,
    /// The latest job, tagged, as long as the miner has not got it.
    pub(crate) job: Option<Box<str>>,
    /// When a job without a difficulty will do.
    pub(crate) patient_until: Option<Millis>,
    pub(crate) is_ready: bool,
}

/// A request of ours that the pool has not answered yet.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    id: u32,
    pub(crate) ask: Ask,
    /// The miner's id of it, if it is the miner's.
    pub(crate) miner_id: Option<Box<str>>,
    /// Of the share's job.
    pub(crate) difficulty: f64,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    Subscribe,
    Authorize,
    /// Whatever the answer is.
    Ignore,
    Share,
}

impl Leg {
    /// Sends a request.
    pub(crate) fn ask(
        &mut self,
        ask: Ask,
        miner_id: Option<&str>,
        method: &str,
        params: &str,
        out: &mut Outbox,
    ) {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let miner_id = miner_id.map(Box::from);
        self.asked.push(Asked { id, ask, miner_id, difficulty: self.job_difficulty });
        wire::request(out, Side::Upstream(self.id), &id.to_string(), method, params);
    }

    pub(crate) fn has_room(&self) -> bool {
        self.asked.len() < MAX_ASKED
    }

    /// What a message is the answer to.
    pub(crate) fn answered(&mut self, message: &Message<'_>) -> Option<Asked> {
        let id: u32 = message.id?.get().parse().ok()?;
        let at = self.asked.iter().position(|asked| asked.id == id)?;
        Some(self.asked.remove(at))
    }
}

impl Session {
    pub(crate) fn open(is_probe: bool) -> Self {
        Self { is_probe, ..Self::default() }
    }

    pub(crate) fn resume(saved: &Saved) -> Result<Self, ResumeError> {
        let session: Self = serde_json::from_str(&saved.state)
            .map_err(|error| ResumeError::Damaged(error.to_string()))?;
        let is_sound = |leg: &Leg| (FIRST_TAG..END_OF_TAGS).contains(&leg.tag);
        if session.legs.iter().all(is_sound) {
            Ok(session)
        } else {
            Err(ResumeError::Damaged("the tag of a leg is out of its range".to_owned()))
        }
    }

    pub(crate) fn leg(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.id == id)
    }

    /// Counts a misdeed whose frame is dropped.
    pub(crate) fn disregard(side: Side, kind: FaultKind, out: &mut Outbox) {
        out.push(Action::Disregard(Fault { side, kind }));
    }

    /// Answers the login, if the miner waits for that.
    pub(crate) fn answer_login(
        &mut self,
        result: &str,
        error: &str,
        next: Login,
        out: &mut Outbox,
    ) {
        if let Login::Asked(id) = std::mem::replace(&mut self.login, next) {
            wire::answer(out, Side::Downstream, id.as_deref(), result, error);
        }
    }

    fn frame(&mut self, now: Millis, side: Side, frame: &[u8], out: &mut Outbox) {
        if frame.trim_ascii().is_empty() {
            return;
        }
        match (Message::read(frame), side) {
            (None, _) => Self::disregard(side, FaultKind::BadFrame, out),
            (Some(message), Side::Downstream) => self.miner_said(&message, out),
            (Some(message), Side::Upstream(leg)) => {
                self.pool_said(&Said { now, leg, line: frame, message: &message }, out);
            }
        }
    }

    fn leg_up(&mut self, id: LegId, profile: &Profile, rungs: Rungs, out: &mut Outbox) {
        if self.is_probe {
            // There is nothing about a pool that must be known before a miner meets it.
            out.push(Action::Learn { leg: id, fact: "{}".into() });
            out.push(Action::Close { why: "nothing is to be learnt".into() });
            return;
        }
        let terms = Terms::from_profile(profile);
        let user = terms.user(&self.worker, &self.canonical);
        let password = terms.password(&self.worker, &self.canonical, &self.password.0);
        let mut leg = Leg {
            id,
            tag: self.new_tag(),
            rungs,
            user: wire::quoted(&user).into(),
            password: Secret(password.into()),
            asked: Vec::new(),
            next_id: 1,
            welcome: None,
            extranonce: Box::default(),
            extranonce_line: None,
            difficulty_line: None,
            difficulty: 0.0,
            job_difficulty: 0.0,
            job: None,
            patient_until: None,
            is_ready: false,
        };
        let params = self.subscribe.as_deref().unwrap_or(OWN_SUBSCRIBE);
        leg.ask(Ask::Subscribe, None, "mining.subscribe", params, out);
        self.legs.push(leg);
    }

    /// The next tag that no living leg has.
    fn new_tag(&mut self) -> u8 {
        loop {
            let next = self.last_tag.saturating_add(1);
            let is_tag = (FIRST_TAG..END_OF_TAGS).contains(&next);
            self.last_tag = if is_tag { next } else { FIRST_TAG };
            if self.legs.iter().all(|leg| leg.tag != self.last_tag) {
                return self.last_tag;
            }
        }
    }

    /// Everything that the miner must be told about its new pool goes down in one piece, in the one
    /// order that all miners take: login, extranonce, difficulty, job.
    fn cut_over(&mut self, id: LegId, out: &mut Outbox) {
        let left = self.active.replace(id).filter(|left| *left != id);
        let Some(leg) = self.leg(id) else { return };
        leg.is_ready = false;
        leg.job_difficulty = leg.difficulty;
        let (difficulty, job) = (leg.difficulty_line.clone(), leg.job.take());
        let (extranonce, line) = (leg.extranonce.clone(), leg.extranonce_line.clone());
        let welcome = leg.welcome.clone().unwrap_or_else(|| "true".into());
        self.answer_login(&welcome, "null", Login::Done, out);
        if self.told.as_deref().unwrap_or_default() != &*extranonce {
            match line {
                Some(line) => out.send(Side::Downstream, line.as_bytes()),
                None => self.announce(&extranonce, out),
            }
        }
        let was_told = self.told.replace(extranonce).is_some();
        match difficulty {
            Some(line) => out.send(Side::Downstream, line.as_bytes()),
            // That of the pool it comes from is not this pool's.
            None if was_told => {
                wire::request(out, Side::Downstream, "null", "mining.set_difficulty", "[1]");
            }
            None => {}
        }
        if let Some(job) = job {
            out.send(Side::Downstream, job.as_bytes());
        }
        if let Some(left) = left.and_then(|left| self.leg(left)) {
            // To come back, a job is needed that the miner has not had: it would begin at the first
            // nonce again and send the same shares.
            left.is_ready = false;
            left.job = None;
        }
    }

    fn leg_lost(&mut self, id: LegId, out: &mut Outbox) {
        let Some(at) = self.legs.iter().position(|leg| leg.id == id) else { return };
        let leg = self.legs.remove(at);
        self.active = self.active.filter(|active| *active != id);
        for asked in leg.asked.iter().filter(|asked| asked.ask == Ask::Share) {
            let (verdict, difficulty) = (Verdict::Unanswered, asked.difficulty);
            out.push(Action::Share { leg: Some(id), verdict, difficulty });
            wire::deny(out, asked.miner_id.as_deref(), 20, "Pool connection lost");
        }
    }

    /// A newcomer is told and let go; who mines is never told.
    fn refused(&mut self, refusal: Refusal, out: &mut Outbox) {
        if self.login == Login::Done {
            return;
        }
        let (code, why) = match refusal {
            Refusal::NotRegistered | Refusal::UnknownSubAccount => (24, "Unauthorized worker"),
            _ => (20, "Not possible at the moment, try again later"),
        };
        let error = format!("[{code},{},null]", wire::quoted(why));
        self.answer_login("null", &error, Login::None, out);
        out.push(Action::Close { why: refusal.label().into() });
    }
}

impl DialectSession for Session {
    fn cut(&self, side: Side, bytes: &[u8]) -> Cut {
        match side {
            Side::Downstream => Cut::object_or_line(bytes),
            Side::Upstream(_) => Cut::line(bytes),
        }
    }

    fn handle(&mut self, now: Millis, input: Input<'_>, out: &mut Outbox) -> Result<(), Fault> {
        match input {
            Input::Assigned { canonical_name, .. } => self.canonical = canonical_name.into(),
            Input::CutOver(leg) => self.cut_over(leg, out),
            Input::Frame(side, frame) => self.frame(now, side, frame, out),
            Input::LegDown(leg) | Input::LegGone(leg) => self.leg_lost(leg, out),
            Input::LegUp { leg, profile, rungs, .. } => self.leg_up(leg, profile, rungs, out),
            Input::Refused(refusal) => self.refused(refusal, out),
            Input::Wake => {
                for leg in self.legs.iter().map(|leg| leg.id).collect::<Vec<_>>() {
                    self.ready_if_complete(now, leg, out);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn save(&self, _version: u16) -> Saved {
        // Plain data with finite numbers: there is nothing that could fail.
        Saved { version: STATE_VERSION, state: serde_json::to_string(self).unwrap_or_default() }
    }

    fn describe(&self, field: &mut dyn FnMut(&str, fmt::Arguments<'_>)) {
        let agent =
            self.subscribe.as_deref().and_then(|params| wire::list(params).first().copied());
        if let Some(agent) = agent.and_then(wire::text) {
            field("agent", format_args!("{agent}"));
        }
        if let Some(extranonce) = &self.told {
            field("extranonce", format_args!("{extranonce}"));
        }
        if let Some(leg) = self.legs.iter().find(|leg| Some(leg.id) == self.active) {
            field("difficulty", format_args!("{}", leg.difficulty));
            field("outstanding", format_args!("{}", leg.asked.len()));
        }
    }
}
