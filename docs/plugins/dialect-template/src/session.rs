//! One miner and its connections to pools.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};
use switcher_plugin::{
    Action, Cut, DialectSession, Fault, FaultKind, Input, LegId, Millis, Outbox, Retry, Rung,
    Saved, Side, SubAccount, Verdict, WorkerName,
};

/// Everything about the miner. It is saved whole, so it lives on through an upgrade.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Session {
    worker: String,
    password: String,
    is_in: bool,
    legs: Vec<Leg>,
    active: Option<LegId>,
    /// What the miner waits for, oldest first: it takes each answer for that to its oldest request.
    waiting: VecDeque<Waiting>,
}

/// A connection to a pool.
#[derive(Debug, Serialize, Deserialize)]
struct Leg {
    id: LegId,
    is_in: bool,
    is_ready: bool,
    /// The latest work, as long as the miner has not got it.
    work: Option<String>,
    difficulty: f64,
}

/// A request of the miner's, and its answer once there is one.
#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    /// The pool that is to answer; none for a login.
    leg: Option<LegId>,
    difficulty: f64,
    answer: Option<String>,
}

/// Longest line that is taken, and most requests that may wait.
const MAX_LINE: usize = 1024;
const MAX_WAITING: usize = 64;

impl DialectSession for Session {
    fn cut(&self, _side: Side, bytes: &[u8]) -> Cut {
        Cut::line(bytes)
    }

    fn handle(&mut self, _now: Millis, input: Input<'_>, out: &mut Outbox) -> Result<(), Fault> {
        match input {
            Input::Frame(side, frame) => {
                // Whatever is no text of a sane length is counted and dropped.
                let text = std::str::from_utf8(frame).ok().filter(|text| text.len() <= MAX_LINE);
                let words: Vec<&str> = text.unwrap_or_default().split_whitespace().collect();
                match side {
                    Side::Downstream => self.miner_said(&words, out)?,
                    Side::Upstream(leg) => self.pool_said(leg, &words, out),
                }
            }
            Input::LegUp { leg, profile, .. } => {
                let configured = String::from_utf8_lossy(&profile.0);
                let user = if configured.is_empty() { &self.worker } else { &*configured };
                let line = format!("login {user} {}\n", self.password);
                out.send(Side::Upstream(leg), line.as_bytes());
                let (is_in, is_ready, work, difficulty) = (false, false, None, 0.0);
                self.legs.push(Leg { id: leg, is_in, is_ready, work, difficulty });
            }
            Input::CutOver(leg) => self.cut_over(leg, out),
            Input::LegDown(leg) | Input::LegGone(leg) => self.leg_lost(leg, out),
            Input::Refused(why) if !self.is_in => {
                self.answer(None, &format!("no {}", why.label()), out);
                out.push(Action::Close { why: why.label().into() });
            }
            // Inputs that do not matter here, and those that later versions will add.
            _ => {}
        }
        Ok(())
    }

    fn save(&self, version: u16) -> Saved {
        Saved { version, state: serde_json::to_string(self).unwrap_or_default() }
    }

    fn describe(&self, field: &mut dyn FnMut(&str, fmt::Arguments<'_>)) {
        field("waiting", format_args!("{}", self.waiting.len()));
    }
}

impl Session {
    fn miner_said(&mut self, words: &[&str], out: &mut Outbox) -> Result<(), Fault> {
        if self.waiting.len() == MAX_WAITING {
            // A fault that is returned ends its side: here, the miner's connection.
            return Err(Fault::downstream(FaultKind::Excess));
        }
        match words {
            ["login", worker, password] if self.worker.is_empty() && !worker.starts_with('.') => {
                (self.worker, self.password) = ((*worker).to_owned(), (*password).to_owned());
                self.waiting.push_back(Waiting { leg: None, difficulty: 0.0, answer: None });
                let sub_account = worker.split('.').next().unwrap_or_default();
                out.push(Action::Identify {
                    sub_account: SubAccount::new(sub_account),
                    worker: WorkerName::new(worker),
                });
            }
            ["share", job, nonce] if self.is_in => self.share(job, nonce, out),
            _ => {
                out.push(Action::Disregard(Fault::downstream(FaultKind::Unexpected)));
                self.refuse("what?", out);
            }
        }
        Ok(())
    }

    /// A share goes to the pool whose job it is of: its leg stands in front of the job's id.
    fn share(&mut self, job: &str, nonce: &str, out: &mut Outbox) {
        let tagged = job.split_once('-').and_then(|(tag, job)| {
            let id = LegId(tag.parse().ok()?);
            Some((self.legs.iter().find(|leg| leg.id == id)?, job))
        });
        let Some((leg, job)) = tagged else {
            out.push(Action::Share { leg: None, verdict: Verdict::Orphan, difficulty: 0.0 });
            return self.refuse("stale", out);
        };
        let difficulty = leg.difficulty;
        out.send(Side::Upstream(leg.id), format!("share {job} {nonce}\n").as_bytes());
        out.push(Action::Submitted(leg.id));
        self.waiting.push_back(Waiting { leg: Some(leg.id), difficulty, answer: None });
    }

    fn pool_said(&mut self, id: LegId, words: &[&str], out: &mut Outbox) {
        let is_active = self.active == Some(id);
        // A leg that was refused is not known any more.
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == id) else { return };
        match words {
            ["work", job, difficulty, data] => {
                leg.difficulty =
                    difficulty.parse().ok().filter(|d: &f64| d.is_finite()).unwrap_or(0.0);
                let work = format!("work {}-{job} {difficulty} {data}\n", id.0);
                out.push(Action::Job(id));
                if is_active {
                    out.send(Side::Downstream, work.as_bytes());
                } else {
                    leg.work = Some(work);
                }
            }
            ["ok"] if !leg.is_in => leg.is_in = true,
            ["no", why @ ..] if !leg.is_in => return self.login_refused(id, &why.join(" "), out),
            ["ok"] => return self.judged(id, Verdict::Accept, "ok", out),
            ["no", why @ ..] => {
                let answer = format!("no {}", why.join(" "));
                return self.judged(id, Verdict::Reject(0), &answer, out);
            }
            _ => {
                let (side, kind) = (Side::Upstream(id), FaultKind::BadFrame);
                out.push(Action::Disregard(Fault { side, kind }));
            }
        }
        // It can serve the miner once it has let it in and given work that the miner has not had.
        if leg.is_in && leg.work.is_some() && !leg.is_ready {
            leg.is_ready = true;
            out.push(Action::LegReady(id, Rung::Echo));
        }
    }

    /// A newcomer gets the pool's answer and may try again; who mines is not told.
    fn login_refused(&mut self, leg: LegId, why: &str, out: &mut Outbox) {
        self.legs.retain(|known| known.id != leg);
        let retry = if self.is_in { Retry::User } else { Retry::Login };
        if retry == Retry::Login {
            self.answer(None, &format!("no {why}"), out);
            self.worker.clear();
        }
        out.push(Action::LegRefused { leg, retry, why: why.into() });
    }

    fn judged(&mut self, leg: LegId, verdict: Verdict, answer: &str, out: &mut Outbox) {
        match self.answer(Some(leg), answer, out) {
            Some(difficulty) => out.push(Action::Share { leg: Some(leg), verdict, difficulty }),
            None => {
                let (side, kind) = (Side::Upstream(leg), FaultKind::UnknownId);
                out.push(Action::Disregard(Fault { side, kind }));
            }
        }
    }

    /// From here on the miner is served by this leg. All that it must be told goes down here.
    fn cut_over(&mut self, id: LegId, out: &mut Outbox) {
        if !self.is_in {
            self.is_in = true;
            self.answer(None, "ok", out);
        }
        self.active = Some(id);
        for leg in &mut self.legs {
            // Whoever was left is ready again with its next work: the miner has had the last one,
            // and would find the same shares in it.
            leg.is_ready = false;
            let work = leg.work.take();
            if let Some(work) = work.filter(|_| leg.id == id) {
                out.send(Side::Downstream, work.as_bytes());
            }
        }
    }

    /// What was asked there will never be answered, so we do.
    fn leg_lost(&mut self, id: LegId, out: &mut Outbox) {
        self.legs.retain(|leg| leg.id != id);
        self.active = self.active.filter(|active| *active != id);
        while let Some(difficulty) = self.answer(Some(id), "no pool", out) {
            let verdict = Verdict::Unanswered;
            out.push(Action::Share { leg: Some(id), verdict, difficulty });
        }
    }

    /// Answers the oldest request to this leg; gives its difficulty, or none if there is no such
    /// request. The answer goes down when all older requests have theirs.
    fn answer(&mut self, leg: Option<LegId>, answer: &str, out: &mut Outbox) -> Option<f64> {
        let oldest =
            self.waiting.iter_mut().find(|asked| asked.leg == leg && asked.answer.is_none())?;
        oldest.answer = Some(answer.to_owned());
        let difficulty = oldest.difficulty;
        self.flush(out);
        Some(difficulty)
    }

    /// Refuses the latest request without asking anybody.
    fn refuse(&mut self, why: &str, out: &mut Outbox) {
        let answer = Some(format!("no {why}"));
        self.waiting.push_back(Waiting { leg: None, difficulty: 0.0, answer });
        self.flush(out);
    }

    fn flush(&mut self, out: &mut Outbox) {
        while let Some(answer) = self.waiting.front_mut().and_then(|oldest| oldest.answer.take()) {
            self.waiting.pop_front();
            out.send(Side::Downstream, format!("{answer}\n").as_bytes());
        }
    }
}
