//! Drives one session as the engine does: cuts frames, keeps time, knows which legs are open, and
//! refuses to do what the engine would not do. Judges nothing but the rules of the trait.

use std::collections::{BTreeMap, BTreeSet};

use super::garbage::SplitMix64;
use super::render;
use super::script::Event;
use super::world::{Broken, World};
use crate::dialect::{DialectSession, Input, Saved};
use crate::fault::Fault;
use crate::frame::Cut;
use crate::outbox::{Action, Outbox};
use crate::types::{Coin, LegId, Millis, Retry, Side, SubAccount};

/// Sessions begin at this time, so that none can take 0 for "never".
const START: Millis = Millis(1_000_000);

/// The engine ends a side that sends this much without a frame.
const LINE_LIMIT: usize = 256 * 1024;

/// Wakes granted within one `@`. More is a session that asks to be woken at once for ever.
const MOST_WAKES: usize = 1_000;

/// Notes asked for on one input. More is a session that asks for ever.
const MOST_RECALLS: usize = 8;

/// How the same conversation is brought to a session.
#[derive(Debug, Clone, Default)]
pub(super) struct Mode {
    pub(super) chunks: Chunks,
    /// Save and resume in this version before every input.
    pub(super) resume: Option<u16>,
    pub(super) bounds: Option<Bounds>,
}

#[derive(Debug, Clone, Default)]
pub(super) enum Chunks {
    Random(SplitMix64),
    Single,
    #[default]
    Whole,
}

/// What one input may cause.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) actions: usize,
    pub(super) output: usize,
    pub(super) output_factor: usize,
}

/// What a session did about one step of a script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Observed {
    pub(super) lines: Vec<String>,
    pub(super) frames: Vec<(Side, Vec<u8>)>,
}

/// One leg as the engine sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leg {
    /// Its pool did something for which the engine ends a leg.
    Faulted,
    /// The session was told that it is closed.
    Gone,
    Open,
    /// Open, and the engine may cut over to it.
    Ready,
    /// The session refused it.
    Refused,
}

#[derive(Debug)]
pub(super) struct Driver<'a> {
    world: &'a World<'a>,
    mode: Mode,
    session: Box<dyn DialectSession>,
    out: Outbox,
    now: Millis,
    wake: Option<Millis>,
    rest: BTreeMap<Side, Vec<u8>>,
    legs: BTreeMap<LegId, Leg>,
    serving: Option<LegId>,
    served: BTreeSet<LegId>,
    /// Shares that went up on a leg and have no verdict.
    outstanding: BTreeMap<LegId, usize>,
    identified: Option<SubAccount>,
    notes: BTreeMap<String, String>,
    /// A key asked for and not yet answered.
    recalled: Option<Box<str>>,
    coin: Option<Coin>,
    is_over: bool,
    observed: Observed,
}

impl<'a> Driver<'a> {
    pub(super) fn open(world: &'a World<'a>, mode: Mode) -> Self {
        Self {
            world,
            mode,
            session: world.dialect.open(world.seat()),
            out: Outbox::new(),
            now: START,
            wake: None,
            rest: BTreeMap::new(),
            legs: BTreeMap::new(),
            serving: None,
            served: BTreeSet::new(),
            outstanding: BTreeMap::new(),
            identified: None,
            notes: world.header.notes.clone(),
            recalled: None,
            coin: None,
            is_over: false,
            observed: Observed::default(),
        }
    }

    /// Makes an event happen and tells what the session did.
    ///
    /// # Errors
    ///
    /// [`Broken::Script`] before anything has happened, or [`Broken::Rule`].
    pub(super) fn step(&mut self, event: &Event) -> Result<Observed, Broken> {
        self.check(event).map_err(Broken::Script)?;
        match event {
            Event::Assigned { coin, canonical_name } => {
                let name = canonical_name.clone().or_else(|| {
                    self.identified.as_ref().map(|sub_account| sub_account.as_str().to_owned())
                });
                let coin = Coin::new(coin);
                self.coin = Some(coin.clone());
                let canonical_name = &name.unwrap_or_default();
                self.give(Input::Assigned { coin: &coin, canonical_name })?;
            }
            Event::Bytes(side, bytes) => self.bytes(*side, bytes)?,
            Event::CutOver(leg) => {
                let left = self.serving.replace(*leg).filter(|left| left != leg);
                if let Some(left) = left.and_then(|left| self.legs.get_mut(&left))
                    && *left == Leg::Ready
                {
                    *left = Leg::Open;
                }
                self.served.insert(*leg);
                self.give(Input::CutOver(*leg))?;
            }
            Event::LegDown(leg) => {
                self.end_leg(*leg, Leg::Gone);
                self.give(Input::LegDown(*leg))?;
                self.check_books(*leg)?;
            }
            Event::LegGone(leg) => {
                self.end_leg(*leg, Leg::Gone);
                self.give(Input::LegGone(*leg))?;
                self.check_books(*leg)?;
            }
            Event::LegUp { leg, pool, form } => {
                let pool = self.world.pool(pool.as_deref(), self.coin.as_ref())?;
                self.legs.insert(*leg, Leg::Open);
                self.give(Input::LegUp {
                    leg: *leg,
                    profile: &pool.profile,
                    form: *form,
                    rungs: self.world.header.rungs,
                })?;
            }
            Event::Probe => {}
            Event::Refused(why) => self.give(Input::Refused(*why))?,
            Event::TimeIs(ms) => self.pass_time(START.plus(*ms))?,
            Event::TimePasses(ms) => self.pass_time(self.now.plus(*ms))?,
        }
        Ok(std::mem::take(&mut self.observed))
    }

    /// Saves in `version`, by way of JSON as the engine's state document does.
    pub(super) fn save(&self, version: u16) -> Result<Saved, Broken> {
        let saved = self.session.save(version);
        if saved.version > version {
            let found = saved.version;
            return Err(Broken::Rule(format!("save({version}) gave version {found}")));
        }
        serde_json::to_string(&saved)
            .and_then(|text| serde_json::from_str(&text))
            .map_err(|error| Broken::Rule(format!("the saved state is no JSON: {error}")))
    }

    /// Replaces the session by what it saves.
    pub(super) fn resume(&mut self, version: u16) -> Result<(), Broken> {
        let saved = self.save(version)?;
        let resumed = self.world.dialect.resume(self.world.seat(), &saved);
        self.session = resumed.map_err(|error| Broken::Rule(format!("resume: {error}")))?;
        Ok(())
    }

    /// Has the session describe itself; the text goes nowhere.
    pub(super) fn describe(&self) {
        self.session.describe(&mut |name, value| {
            std::hint::black_box(format!("{name}={value}"));
        });
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Legs that a pool could send on.
    pub(super) fn open_legs(&self) -> Vec<LegId> {
        self.legs.iter().filter(|(_, leg)| leg.is_open()).map(|(id, _)| *id).collect()
    }

    /// What the engine tells next about legs that were refused or ended for a fault: one that
    /// served the miner is lost, any other goes as planned.
    pub(super) fn obituaries(&self) -> Vec<Event> {
        let is_due = |leg: &Leg| matches!(leg, Leg::Faulted | Leg::Refused);
        let tell = |id: LegId| {
            if self.served.contains(&id) { Event::LegDown(id) } else { Event::LegGone(id) }
        };
        self.legs.iter().filter(|(_, leg)| is_due(leg)).map(|(id, _)| tell(*id)).collect()
    }

    fn check(&self, event: &Event) -> Result<(), String> {
        if self.is_over {
            return Err("the session is over".to_owned());
        }
        let leg = |id: &LegId| self.legs.get(id).copied();
        match event {
            Event::Assigned { .. } if self.identified.is_none() => {
                Err("nobody has identified".to_owned())
            }
            Event::Bytes(Side::Upstream(id), _) if !leg(id).is_some_and(Leg::is_open) => {
                Err(format!("leg {id} is not open"))
            }
            Event::Bytes(Side::Downstream, _) if self.world.is_probe => {
                Err("a probe has no miner".to_owned())
            }
            Event::CutOver(id) if leg(id) != Some(Leg::Ready) => {
                Err(format!("leg {id} is not ready"))
            }
            Event::LegDown(id) | Event::LegGone(id)
                if leg(id).is_none_or(|leg| leg == Leg::Gone) =>
            {
                Err(format!("there is no leg {id}"))
            }
            Event::LegUp { leg: id, .. } if leg(id).is_some() => {
                Err(format!("leg {id} was there before"))
            }
            Event::LegUp { .. } if self.coin.is_none() && !self.world.is_probe => {
                Err("no coin was assigned".to_owned())
            }
            Event::TimeIs(ms) if START.plus(*ms) < self.now => {
                Err("time does not go back".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn bytes(&mut self, side: Side, bytes: &[u8]) -> Result<(), Broken> {
        let mut left = bytes;
        while !left.is_empty() && self.listens_to(side) {
            let (chunk, rest) = left.split_at(self.chunk(left.len()));
            self.rest.entry(side).or_default().extend_from_slice(chunk);
            self.frames(side)?;
            left = rest;
        }
        Ok(())
    }

    /// Handles what whole frames have gathered from a side.
    fn frames(&mut self, side: Side) -> Result<(), Broken> {
        while self.listens_to(side) {
            let gathered = self.rest.entry(side).or_default();
            if gathered.is_empty() {
                break;
            }
            match self.session.cut(side, gathered) {
                Cut::Frame(len) if (1..=gathered.len()).contains(&len) => {
                    let frame: Vec<u8> = gathered.drain(..len).collect();
                    self.observed.frames.push((side, frame.clone()));
                    self.give(Input::Frame(side, &frame))?;
                }
                Cut::Frame(len) => {
                    let given = gathered.len();
                    return Err(Broken::Rule(format!("cut gave Frame({len}) for {given} bytes")));
                }
                Cut::Partial if gathered.len() > LINE_LIMIT => self.end_side(side),
                Cut::Partial => break,
            }
        }
        Ok(())
    }

    fn chunk(&mut self, len: usize) -> usize {
        match &mut self.mode.chunks {
            Chunks::Random(rng) => 1 + rng.below(len),
            Chunks::Single => 1,
            Chunks::Whole => len,
        }
    }

    fn listens_to(&self, side: Side) -> bool {
        !self.is_over
            && match side {
                Side::Downstream => true,
                Side::Upstream(leg) => self.legs.get(&leg).is_some_and(|leg| leg.is_open()),
            }
    }

    fn pass_time(&mut self, to: Millis) -> Result<(), Broken> {
        let mut wakes = 0;
        while let Some(when) = self.wake.filter(|when| *when <= to && !self.is_over) {
            wakes += 1;
            if wakes > MOST_WAKES {
                let problem = format!("asked to be woken {MOST_WAKES} times up to {}", to.0);
                return Err(Broken::Rule(problem));
            }
            self.wake = None;
            self.now = self.now.max(when);
            self.observed.lines.push(format!("woken {}", self.now.since(START)));
            self.give(Input::Wake)?;
        }
        self.now = to;
        Ok(())
    }

    /// Gives an input to the session, and the notes that it asks for on it.
    fn give(&mut self, input: Input<'_>) -> Result<(), Broken> {
        self.give_once(input)?;
        for _ in 0..MOST_RECALLS {
            let Some(key) = self.recalled.take().filter(|_| !self.is_over) else { return Ok(()) };
            let note = self.notes.remove(&*key);
            self.give_once(Input::Recalled(note.as_deref()))?;
        }
        match self.recalled.take() {
            Some(_) if !self.is_over => {
                Err(Broken::Rule(format!("recalls more than {MOST_RECALLS} times on one input")))
            }
            _ => Ok(()),
        }
    }

    fn give_once(&mut self, input: Input<'_>) -> Result<(), Broken> {
        if let Some(version) = self.mode.resume {
            self.resume(version)?;
        }
        let mut out = std::mem::take(&mut self.out);
        let result = self.session.handle(self.now, input, &mut out);
        let carried_out = self.carry_out(input, &out);
        out.clear();
        self.out = out;
        carried_out?;
        if let Err(fault) = result {
            self.observed.lines.push(render::fault(fault));
            self.faulted(fault)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, input: Input<'_>, out: &Outbox) -> Result<(), Broken> {
        let taken = if let Input::Frame(_, frame) = input { frame.len() } else { 0 };
        if let Some(bounds) = self.mode.bounds {
            bounds.check(taken, out).map_err(Broken::Rule)?;
        }
        for action in out.actions() {
            self.check_action(action, input, out).map_err(Broken::Rule)?;
            render::action(action, out, START, &mut self.observed.lines);
            match action {
                Action::Close { .. } => self.is_over = true,
                Action::Identify { sub_account, .. } => {
                    self.identified = Some(sub_account.clone());
                }
                Action::LegReady(leg, _) => {
                    self.legs.insert(*leg, Leg::Ready);
                }
                Action::LegRefused { leg, retry, .. } => {
                    self.end_leg(*leg, Leg::Refused);
                    if *retry == Retry::Login {
                        self.identified = None;
                    }
                }
                Action::Share { leg: Some(leg), .. } => {
                    let count = self.outstanding.entry(*leg).or_default();
                    *count = count.saturating_sub(1);
                }
                Action::Submitted(leg) => *self.outstanding.entry(*leg).or_default() += 1,
                Action::WakeAt(when) => self.wake = Some(*when),
                Action::Recall { key } => self.recalled = Some(key.clone()),
                Action::Remember { key, note } => {
                    self.notes.insert(key.to_string(), note.to_string());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_action(&self, action: &Action, input: Input<'_>, out: &Outbox) -> Result<(), String> {
        match action {
            Action::Forward(_) if !matches!(input, Input::Frame(..)) => {
                Err("forwards although no frame is being handled".to_owned())
            }
            Action::Send(_, range) if out.bytes().get(range.clone()).is_none() => {
                Err(format!("sends bytes {range:?} that are not in the outbox"))
            }
            Action::Identify { .. } if self.identified.is_some() => {
                Err("identifies a second time".to_owned())
            }
            Action::Forward(side) => self.check_reachable("forward", *side),
            Action::Send(side, _) => self.check_reachable("send", *side),
            Action::LegReady(leg, _) => self.check_reachable("ready", Side::Upstream(*leg)),
            Action::Submitted(leg) => self.check_reachable("submitted", Side::Upstream(*leg)),
            Action::Learn { leg, .. }
            | Action::LegRefused { leg, .. }
            | Action::ReplaceLeg { leg, .. }
                if !self.legs.contains_key(leg) =>
            {
                Err(format!("speaks of leg {leg}, which never was"))
            }
            Action::Share { leg: Some(leg), .. }
                if self.outstanding.get(leg).is_none_or(|count| *count == 0) =>
            {
                Err(format!("counts a share of leg {leg} that was not submitted there"))
            }
            _ => Ok(()),
        }
    }

    fn check_reachable(&self, action: &str, side: Side) -> Result<(), String> {
        match side {
            Side::Downstream if self.world.is_probe => {
                Err("a probe sends to a miner that is not there".to_owned())
            }
            Side::Upstream(leg) if !self.legs.get(&leg).is_some_and(|leg| leg.is_open()) => {
                Err(format!("`{action}` needs leg {leg}, which is not open"))
            }
            _ => Ok(()),
        }
    }

    /// Every share has a verdict by the time its leg has ended.
    fn check_books(&self, leg: LegId) -> Result<(), Broken> {
        match self.outstanding.get(&leg) {
            Some(count) if *count > 0 && !self.is_over => {
                Err(Broken::Rule(format!("leg {leg} has ended and {count} shares have no verdict")))
            }
            _ => Ok(()),
        }
    }

    fn faulted(&mut self, fault: Fault) -> Result<(), Broken> {
        if let Side::Upstream(leg) = fault.side
            && !self.legs.contains_key(&leg)
        {
            return Err(Broken::Rule(format!("blames leg {leg}, which never was")));
        }
        self.end_side(fault.side);
        Ok(())
    }

    fn end_side(&mut self, side: Side) {
        match side {
            Side::Downstream => self.is_over = true,
            Side::Upstream(leg) => self.end_leg(leg, Leg::Faulted),
        }
    }

    /// Closes a leg, or tells why it stays closed.
    fn end_leg(&mut self, id: LegId, how: Leg) {
        self.rest.remove(&Side::Upstream(id));
        if self.legs.get(&id) != Some(&Leg::Gone) {
            self.legs.insert(id, how);
        }
    }
}

impl Leg {
    fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Ready)
    }
}

impl Bounds {
    fn check(self, taken: usize, out: &Outbox) -> Result<(), String> {
        let (actions, bytes) = (out.actions().len(), out.bytes().len());
        if actions > self.actions {
            return Err(format!("{actions} actions for one input, allowed are {}", self.actions));
        }
        let allowed = self.output + self.output_factor * taken;
        if bytes > allowed {
            return Err(format!("{bytes} bytes sent for {taken} received, allowed are {allowed}"));
        }
        Ok(())
    }
}
