//! A dialect small enough to see through, and its defects, each of which the suite must find.
//!
//! The miner says `{"hello":"alice.rig"}`, then `{"share":n}`; the pool says `welcome`, `work …`
//! and `ok` or `no`. Every second of silence the miner is sent a `ping`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use switcher_plugin::{
    Action, Cut, DialectSession, Fault, FaultKind, Input, LegId, Millis, Outbox, Profile,
    ProfileError, Recognition, ResumeError, Retry, Rung, Saved, Seat, Side, StratumDialect,
    SubAccount, UpstreamSettings, Verdict, WorkerName,
};

/// What is wrong with a dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    Amplifies,
    BlamesNobody,
    ChangesItsMind,
    CutsEarly,
    CutsNothing,
    CutsTooMuch,
    DescribesBadly,
    Fickle,
    ForgetsOnSave,
    Hangs,
    Hoards,
    HoardsWorkers,
    OldVersionUnread,
    OverflowsTheStack,
    LosesShares,
    Overcounts,
    PanicsOnDepth,
    PanicsOnNumbers,
    PanicsOnText,
    RecallsForEver,
    SendsIntoTheVoid,
    Undecided,
    WakesForEver,
}

#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) defect: Option<Defect>,
    pub(crate) opened: AtomicU64,
}

impl Echo {
    pub(crate) fn good() -> Self {
        Self { defect: None, opened: AtomicU64::new(0) }
    }

    pub(crate) fn with(defect: Defect) -> Self {
        Self { defect: Some(defect), opened: AtomicU64::new(0) }
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct State {
    is_probe: bool,
    greeted: bool,
    leg: Option<LegId>,
    login: String,
    outstanding: BTreeMap<LegId, u32>,
    work: Option<String>,
    hoard: Vec<String>,
    fickle: u64,
}

#[derive(Debug)]
struct EchoSession {
    defect: Option<Defect>,
    state: State,
}

impl StratumDialect for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn family(&self) -> &'static str {
        "echo"
    }

    fn recognise(&self, first: &[u8]) -> Recognition {
        if self.has(Defect::Undecided) {
            return Recognition::NeedMore;
        }
        if self.has(Defect::ChangesItsMind) && first.len() == 3 {
            return Recognition::NotMine;
        }
        match first.iter().position(|byte| *byte == b'\n') {
            None => Recognition::NeedMore,
            Some(_) if first.starts_with(b"{\"hello\"") => Recognition::Mine,
            Some(_) => Recognition::NotMine,
        }
    }

    fn profile(&self, upstream: &UpstreamSettings<'_>) -> Result<Profile, ProfileError> {
        let login = upstream.user.unwrap_or("{worker}");
        Ok(Profile(Arc::from(login.as_bytes())))
    }

    fn check_listener(&self, options: &Value) -> Result<(), ProfileError> {
        if options.is_null() {
            return Ok(());
        }
        Err(ProfileError {
            key: "options".to_owned(),
            problem: "echo has none".to_owned(),
            accepted: "leave it out".to_owned(),
        })
    }

    fn state_versions(&self) -> RangeInclusive<u16> {
        1..=2
    }

    fn open(&self, seat: Seat<'_>) -> Box<dyn DialectSession> {
        let mut state = State { is_probe: matches!(seat, Seat::Probe(_)), ..State::default() };
        if self.has(Defect::Fickle) {
            state.fickle = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        }
        Box::new(EchoSession { defect: self.defect, state })
    }

    fn resume(&self, _: Seat<'_>, saved: &Saved) -> Result<Box<dyn DialectSession>, ResumeError> {
        if self.has(Defect::OldVersionUnread) && saved.version == 1 {
            return Err(ResumeError::Version { found: 1, first: 2, last: 2 });
        }
        let state = serde_json::from_str(&saved.state)
            .map_err(|error| ResumeError::Damaged(error.to_string()))?;
        Ok(Box::new(EchoSession { defect: self.defect, state }))
    }
}

impl DialectSession for EchoSession {
    fn cut(&self, _: Side, bytes: &[u8]) -> Cut {
        match self.defect {
            Some(Defect::CutsEarly) if bytes.len() >= 9 => {
                Cut::line(bytes).max_with(Cut::Frame(bytes.len()))
            }
            Some(Defect::CutsNothing) if bytes.starts_with(b"\n") => Cut::Frame(0),
            Some(Defect::CutsTooMuch) if bytes.ends_with(b"\0\n") => Cut::Frame(bytes.len() + 1),
            _ => Cut::line(bytes),
        }
    }

    fn handle(&mut self, now: Millis, input: Input<'_>, out: &mut Outbox) -> Result<(), Fault> {
        self.misbehave(input, out);
        match input {
            Input::Frame(Side::Downstream, frame) => self.on_miner(now, frame, out)?,
            Input::Frame(Side::Upstream(leg), frame) => self.on_pool(leg, frame, out)?,
            Input::LegUp { leg, profile, .. } => {
                let template = String::from_utf8_lossy(&profile.0).into_owned();
                let login = template.replace("{worker}", &self.state.login);
                out.send(Side::Upstream(leg), format!("login {login}\n").as_bytes());
            }
            Input::CutOver(leg) => {
                self.state.leg = Some(leg);
                if let Some(work) = &self.state.work {
                    out.send(Side::Downstream, work.as_bytes());
                }
            }
            Input::LegDown(leg) | Input::LegGone(leg) => self.lose(leg, out),
            Input::Recalled(_) => out.push(Action::Recall { key: "me".into() }),
            Input::Refused(why) => out.push(Action::Close { why: why.label().into() }),
            Input::Wake => {
                out.send(Side::Downstream, b"ping\n");
                let pause = if self.defect == Some(Defect::WakesForEver) { 0 } else { 1_000 };
                out.push(Action::WakeAt(now.plus(pause)));
            }
            _ => {}
        }
        if self.defect == Some(Defect::BlamesNobody) && matches!(input, Input::LegDown(_)) {
            return Err(Fault { side: Side::Upstream(LegId(99)), kind: FaultKind::BadFrame });
        }
        Ok(())
    }

    fn save(&self, version: u16) -> Saved {
        let mut state = self.state.clone();
        if self.defect == Some(Defect::ForgetsOnSave) {
            state.work = None;
        }
        Saved { version, state: serde_json::to_string(&state).unwrap() }
    }

    fn describe(&self, field: &mut dyn FnMut(&str, fmt::Arguments<'_>)) {
        assert!(self.defect != Some(Defect::DescribesBadly) || !self.state.greeted);
        field("login", format_args!("{}", self.state.login));
    }
}

impl EchoSession {
    fn misbehave(&mut self, input: Input<'_>, out: &mut Outbox) {
        let Input::Frame(_, frame) = input else { return };
        match self.defect {
            Some(Defect::Amplifies) if frame.len() > 5_000 => {
                out.send(Side::Downstream, &frame.repeat(100));
            }
            Some(Defect::Hangs) if frame.contains(&0xff) => loop {
                std::thread::yield_now();
            },
            Some(Defect::Hoards) => {
                self.state.hoard.push(String::from_utf8_lossy(frame).into_owned());
            }
            Some(Defect::HoardsWorkers) => {
                let text = String::from_utf8_lossy(frame).into_owned();
                if !self.state.hoard.contains(&text) {
                    self.state.hoard.push(text);
                }
            }
            Some(Defect::OverflowsTheStack) => {
                std::hint::black_box(descend(frame, 0));
            }
            Some(Defect::PanicsOnDepth) => {
                assert!(!frame.windows(1_000).any(|part| part == [b'['; 1_000]), "too deep");
            }
            Some(Defect::PanicsOnNumbers) => {
                if let Ok(value) = serde_json::from_slice::<Value>(frame)
                    && let Some(share) = value.get("share")
                {
                    assert!(share.as_u64().unwrap() < 1_000_000);
                }
            }
            Some(Defect::PanicsOnText) => {
                std::str::from_utf8(frame).unwrap();
            }
            _ => {}
        }
    }

    fn lose(&mut self, leg: LegId, out: &mut Outbox) {
        if self.state.leg == Some(leg) {
            self.state.leg = None;
            if self.defect == Some(Defect::SendsIntoTheVoid) {
                out.send(Side::Upstream(leg), b"bye\n");
            }
        }
        let lost = self.state.outstanding.remove(&leg).unwrap_or_default();
        for _ in 0..lost {
            if self.defect != Some(Defect::LosesShares) {
                let (leg, verdict) = (Some(leg), Verdict::Unanswered);
                out.push(Action::Share { leg, verdict, difficulty: 1.0 });
            }
            out.send(Side::Downstream, b"lost\n");
        }
    }

    fn on_miner(&mut self, now: Millis, frame: &[u8], out: &mut Outbox) -> Result<(), Fault> {
        let bad = Fault::downstream(FaultKind::BadFrame);
        let value: Value = serde_json::from_slice(frame).map_err(|_| bad)?;
        if let Some(name) = value.get("hello").and_then(Value::as_str) {
            if self.state.greeted {
                out.push(Action::Disregard(Fault::downstream(FaultKind::Unexpected)));
                return Ok(());
            }
            self.state.greeted = true;
            name.clone_into(&mut self.state.login);
            let sub_account = SubAccount::new(name.split('.').next().unwrap_or_default());
            out.push(Action::Identify { sub_account, worker: WorkerName::new(name) });
            if self.defect == Some(Defect::RecallsForEver) {
                out.push(Action::Recall { key: "me".into() });
            }
            out.push(Action::WakeAt(now.plus(1_000)));
            out.send(Side::Downstream, format!("hello {}\n", self.state.fickle).as_bytes());
            return Ok(());
        }
        let Some(leg) = self.state.leg.filter(|_| value.get("share").is_some()) else {
            out.push(Action::Disregard(Fault::downstream(FaultKind::Unexpected)));
            return Ok(());
        };
        let outstanding = self.state.outstanding.entry(leg).or_default();
        if *outstanding >= 16 {
            return Err(Fault::downstream(FaultKind::Excess));
        }
        *outstanding += 1;
        out.push(Action::Forward(Side::Upstream(leg)));
        out.push(Action::Submitted(leg));
        Ok(())
    }

    fn on_pool(&mut self, leg: LegId, frame: &[u8], out: &mut Outbox) -> Result<(), Fault> {
        let verdict = match frame {
            b"welcome\n" if self.state.is_probe => {
                out.push(Action::Learn { leg, fact: "{\"polite\":true}".into() });
                out.push(Action::Close { why: "learnt enough".into() });
                return Ok(());
            }
            b"welcome\n" => {
                out.push(Action::LegReady(leg, Rung::Echo));
                return Ok(());
            }
            b"go away\n" => {
                let (retry, why) = (Retry::Later, "was sent away".into());
                out.push(Action::LegRefused { leg, retry, why });
                return Ok(());
            }
            b"ok\n" => Verdict::Accept,
            b"no\n" => Verdict::Reject(23),
            frame if frame.starts_with(b"work ") => {
                let text = String::from_utf8_lossy(frame).into_owned();
                if self.state.leg == Some(leg) {
                    out.push(Action::Forward(Side::Downstream));
                }
                // Held for the cut over, and bounded.
                self.state.work = (text.len() < 1_000).then_some(text);
                return Ok(());
            }
            _ => return Err(Fault { side: Side::Upstream(leg), kind: FaultKind::BadFrame }),
        };
        let outstanding = self.state.outstanding.entry(leg).or_default();
        if *outstanding == 0 && self.defect != Some(Defect::Overcounts) {
            let side = Side::Upstream(leg);
            out.push(Action::Disregard(Fault { side, kind: FaultKind::UnknownId }));
            return Ok(());
        }
        *outstanding = outstanding.saturating_sub(1);
        out.push(Action::Share { leg: Some(leg), verdict, difficulty: 1.0 });
        if !self.state.is_probe {
            out.push(Action::Forward(Side::Downstream));
        }
        Ok(())
    }
}

trait Longer {
    fn max_with(self, other: Self) -> Self;
}

impl Longer for Cut {
    /// The first if it is a frame, else the other: a frame that ends where the read ended.
    fn max_with(self, other: Self) -> Self {
        if self == Self::Partial { other } else { self }
    }
}

fn descend(bytes: &[u8], depth: usize) -> usize {
    let ballast = std::hint::black_box([depth; 64]);
    match bytes.iter().position(|byte| *byte == b'[') {
        Some(at) => {
            let rest = bytes.get(at + 1..).unwrap_or_default();
            descend(rest, depth + 1) + ballast.len() % 2
        }
        None => depth,
    }
}
