//! What a pool may say: its answers, its notifications, its requests.

use serde_json::value::RawValue;
use switcher_plugin::{
    Action, FaultKind, LegId, Millis, Outbox, ReconnectHint, Retry, Rung, Side, Verdict,
};

use crate::session::{Ask, Asked, Login, Session};
use crate::wire::{MAX_KEPT, Message, answer, list, quoted, text};

/// Most digits of an extranonce; one byte of the nonce at least must be left to the miner.
const MAX_EXTRANONCE: usize = 14;

/// A first job waits so long for its difficulty.
const DIFFICULTY_PATIENCE_MS: u64 = 2_000;

/// A line, whose it is, and what was read of it.
pub(crate) struct Said<'a> {
    pub(crate) now: Millis,
    pub(crate) leg: LegId,
    pub(crate) line: &'a [u8],
    pub(crate) message: &'a Message<'a>,
}

impl Session {
    /// One line from a pool.
    pub(crate) fn pool_said(&mut self, said: &Said<'_>, out: &mut Outbox) {
        let &Said { leg, message, .. } = said;
        if self.leg(leg).is_none() {
            // It was refused, and the engine is about to close it.
            return;
        }
        match message.method.as_deref() {
            None => self.answered(said, out),
            Some("mining.notify") => self.job(said, out),
            Some("mining.set_difficulty") => self.difficulty(said, out),
            Some("mining.set_extranonce" | "set_extranonce") => self.extranonce(said, out),
            Some("client.show_message") => self.pass_down(leg, out),
            Some("client.reconnect") => {
                let why = "the pool has sent client.reconnect".into();
                out.push(Action::ReplaceLeg { leg, why, hint: reconnect_hint(message) });
            }
            Some(_) => {
                Self::disregard(Side::Upstream(leg), FaultKind::Unexpected, out);
                let id = message.id.map(RawValue::get);
                answer(out, Side::Upstream(leg), id, "null", "[20,\"Not supported\",null]");
            }
        }
    }

    /// Counts a notification that does not say what it should.
    fn misread(leg: LegId, out: &mut Outbox) {
        Self::disregard(Side::Upstream(leg), FaultKind::BadParams, out);
    }

    fn answered(&mut self, said: &Said<'_>, out: &mut Outbox) {
        let &Said { now, leg: leg_id, message, .. } = said;
        let Some(leg) = self.leg(leg_id) else { return };
        let Some(asked) = leg.answered(message) else {
            return Self::disregard(Side::Upstream(leg_id), FaultKind::UnknownId, out);
        };
        match asked.ask {
            Ask::Subscribe => self.subscribed(leg_id, message, out),
            Ask::Authorize if message.is_yes() => {
                leg.welcome = Some(message.result().into());
                self.ready_if_complete(now, leg_id, out);
            }
            Ask::Authorize => self.login_refused(leg_id, message, out),
            Ask::Ignore => {}
            Ask::Share => share_answered(leg_id, &asked, message, out),
        }
    }

    /// The answer is `true`, `[true,"EthereumStratum/1.0.0"]`, or a list whose second item is the
    /// extranonce. Pools that answer without one send it by a notification later.
    fn subscribed(&mut self, leg_id: LegId, message: &Message<'_>, out: &mut Outbox) {
        if !message.is_yes() {
            return self.refuse(leg_id, Retry::Later, "the pool refuses to be subscribed to", out);
        }
        let wants_extranonce = self.extranonce_subscribed;
        let Some(leg) = self.leg(leg_id) else { return };
        if let Some(extranonce) = list(message.result()).get(1).and_then(|item| hex(item)) {
            leg.extranonce = extranonce;
        }
        if wants_extranonce {
            leg.ask(Ask::Ignore, None, "mining.extranonce.subscribe", "[]", out);
        }
        let params = format!("[{},{}]", leg.user, leg.password.0);
        leg.ask(Ask::Authorize, None, "mining.authorize", &params, out);
    }

    /// A newcomer gets the pool's own answer and may try another name; who mines stays where it is.
    fn login_refused(&mut self, leg: LegId, message: &Message<'_>, out: &mut Outbox) {
        let why = format!("the pool refuses the user: {}", message.error());
        let retry = if self.login == Login::Done { Retry::User } else { Retry::Login };
        if retry == Retry::Login {
            self.answer_login(message.result(), message.error(), Login::None, out);
        }
        self.refuse(leg, retry, &why, out);
    }

    fn refuse(&mut self, leg: LegId, retry: Retry, why: &str, out: &mut Outbox) {
        self.legs.retain(|known| known.id != leg);
        out.push(Action::LegRefused { leg, retry, why: why.into() });
    }

    /// Tells the engine once the leg could serve the miner.
    pub(crate) fn ready_if_complete(&mut self, now: Millis, leg_id: LegId, out: &mut Outbox) {
        let (told, is_active) = (self.told.clone(), self.active == Some(leg_id));
        let Some(leg) = self.leg(leg_id) else { return };
        if is_active || leg.is_ready || leg.welcome.is_none() || leg.job.is_none() {
            return;
        }
        if leg.difficulty_line.is_none() {
            let until = *leg.patient_until.get_or_insert(now.plus(DIFFICULTY_PATIENCE_MS));
            if now < until {
                return out.push(Action::WakeAt(until));
            }
        }
        let rung = match told {
            Some(told) if told != leg.extranonce => Rung::Announce,
            _ => Rung::Echo,
        };
        if leg.rungs.has(rung) {
            leg.is_ready = true;
            out.push(Action::LegReady(leg_id, rung));
        } else {
            let why = format!("needs the rung {}, which is not allowed", rung.label());
            self.refuse(leg_id, Retry::Permanent, &why, out);
        }
    }

    /// `mining.notify`: an id, then four numbers and a time or all of it in one hexadecimal text. Only
    /// the id matters here.
    fn job(&mut self, said: &Said<'_>, out: &mut Outbox) {
        let &Said { now, leg: leg_id, line, message } = said;
        let is_active = self.active == Some(leg_id);
        let Some(leg) = self.leg(leg_id) else { return };
        let Some(tagged) = tagged(line, message, leg.tag) else {
            return Self::misread(leg_id, out);
        };
        leg.job_difficulty = leg.difficulty;
        out.push(Action::Job(leg_id));
        if is_active {
            out.send(Side::Downstream, tagged.as_bytes());
        } else {
            leg.job = Some(tagged.into());
            self.ready_if_complete(now, leg_id, out);
        }
    }

    fn difficulty(&mut self, said: &Said<'_>, out: &mut Outbox) {
        let &Said { now, leg: leg_id, line, message } = said;
        let value = message.items().first().and_then(|item| item.parse::<f64>().ok());
        let value = value.filter(|value| value.is_finite() && *value > 0.0);
        let (Some(value), Some(line), Some(leg)) = (value, kept(line), self.leg(leg_id)) else {
            return Self::misread(leg_id, out);
        };
        leg.difficulty = value;
        leg.difficulty_line = Some(line);
        self.pass_down(leg_id, out);
        self.ready_if_complete(now, leg_id, out);
    }

    fn extranonce(&mut self, said: &Said<'_>, out: &mut Outbox) {
        let &Said { now, leg: leg_id, line, message } = said;
        let is_active = self.active == Some(leg_id);
        let extranonce = message.items().first().and_then(|item| hex(item));
        let (Some(extranonce), Some(line)) = (extranonce, kept(line)) else {
            return Self::misread(leg_id, out);
        };
        let Some(leg) = self.leg(leg_id) else { return };
        leg.extranonce = extranonce.clone();
        leg.extranonce_line = Some(line);
        if is_active {
            self.told = Some(extranonce);
            self.pass_down(leg_id, out);
        } else {
            // It may need another rung now.
            leg.is_ready = false;
            self.ready_if_complete(now, leg_id, out);
        }
    }

    /// Passes the line on as it is, if the miner is served by that leg.
    fn pass_down(&self, leg: LegId, out: &mut Outbox) {
        if self.active == Some(leg) {
            out.push(Action::Forward(Side::Downstream));
        }
    }
}

/// The pool's answer to a share goes to the miner as it is.
fn share_answered(leg: LegId, asked: &Asked, message: &Message<'_>, out: &mut Outbox) {
    let verdict =
        if message.is_yes() { Verdict::Accept } else { Verdict::Reject(message.error_code()) };
    out.push(Action::Share { leg: Some(leg), verdict, difficulty: asked.difficulty });
    let (result, error) = (message.result(), message.error());
    answer(out, Side::Downstream, asked.miner_id.as_deref(), result, error);
}

/// A job's line with the leg's tag in front of the job id, all else as the pool wrote it.
fn tagged(line: &[u8], message: &Message<'_>, tag: u8) -> Option<String> {
    let items = message.items();
    let (id, rest) = items.split_first()?;
    let new_id = quoted(&format!("{tag}{}", text(id)?));
    let line = std::str::from_utf8(line).ok()?;
    let params = message.params();
    let (before, behind) = line.split_once(params)?;
    let new_params = params.replacen(id, &new_id, 1);
    let is_job = !rest.is_empty() && line.len() <= MAX_KEPT;
    is_job.then(|| format!("{before}{new_params}{behind}"))
}

fn kept(line: &[u8]) -> Option<Box<str>> {
    let line = std::str::from_utf8(line).ok()?;
    (line.len() <= MAX_KEPT).then(|| line.into())
}

/// An extranonce, if the JSON text is one.
fn hex(item: &str) -> Option<Box<str>> {
    let digits = text(item)?;
    let digits = digits.strip_prefix("0x").unwrap_or(&digits);
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_hex && digits.len() <= MAX_EXTRANONCE).then(|| digits.into())
}

fn reconnect_hint(message: &Message<'_>) -> Option<ReconnectHint> {
    let items = message.items();
    let host = items.first().and_then(|item| text(item)).filter(|host| !host.is_empty())?;
    let port = items.get(1)?.trim_matches('"').parse().ok()?;
    Some(ReconnectHint { host: host.into(), port })
}
