//! Shares: to which leg they belong, what they look like there, and their answers.

use std::borrow::Cow;

use jsonrpc::{
    Message, elements, error_parts, is_json, is_null, is_truthy, member, string, text,
    write_request, write_request_start, write_string,
};
use stratum_common::miner::share_without_leg;
use stratum_common::names::{shortened, split};
use stratum_common::relay::Relay;
use switcher_plugin::{Action, Fault, FaultKind, LegId, Millis, Outbox, Side, Verdict};

use crate::leg::{Ask, IDS, Leg, Outstanding};
use crate::login::{Login, Worker};
use crate::names::clean;
use crate::profile::PoolTerms;
use crate::session::BitcoinSession;

/// A share that went up so long ago will not be answered. A pool that answers nothing is the engine's
/// matter; this is about one that answers others.
const UNANSWERED_MS: u64 = 30_000;

/// Bytes that are kept of what a pool says of a share it refuses.
const MAX_REFUSAL: usize = 120;

/// The parameters of a share.
struct Share<'a> {
    user: Cow<'a, str>,
    job_id: Cow<'a, str>,
    extranonce2: &'a [u8],
    /// Time, nonce and whatever follows.
    rest: [Option<&'a [u8]>; 4],
}

impl<'a> Share<'a> {
    fn read(params: &'a [u8]) -> Option<Self> {
        let mut parts = elements(params);
        // Some miners write a slash in a name as `\/`.
        let (user, job_id) = (text(parts.next()?)?, text(parts.next()?)?);
        let mut next = || string(parts.next()?);
        let extranonce2 = next()?;
        let rest = [next(), next(), next(), next()];
        let is_whole = matches!(rest, [Some(_), Some(_), ..]);
        // Whatever a pool's parser would choke on shall not reach it.
        let is_printable = |field: &&[u8]| field.iter().all(|byte| matches!(byte, b' '..=b'~'));
        let is_sound = rest.iter().flatten().all(is_printable);
        (is_whole && is_sound).then_some(Self { user, job_id, extranonce2, rest })
    }
}

impl BitcoinSession {
    /// `mining.submit`.
    pub(crate) fn submit(
        &mut self,
        now: Millis,
        id: &[u8],
        params: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        if self.state.login != Login::Done {
            Self::disregard(out, Side::Downstream, FaultKind::Unexpected);
            return if self.state.subscribed {
                self.deny(id, 24, "Unauthorized worker", out)
            } else {
                self.deny(id, 25, "Not subscribed", out)
            };
        }
        let own = self.own();
        let share =
            Share::read(params).filter(|share| share.extranonce2.iter().all(u8::is_ascii_hexdigit));
        let Some(share) = share else {
            Self::disregard(out, Side::Downstream, FaultKind::BadParams);
            return self.deny(id, 27, "Illegal params", out);
        };
        let Some((at, epoch, job_id)) = self.state.issuer(&share.job_id) else {
            return self.submit_without_leg(id, out);
        };
        let Self { state, .. } = self;
        let Some(leg) = state.legs.get_mut(at) else { return Ok(()) };
        if leg.relay().is_some_and(Relay::is_plain) && *job_id == *share.job_id {
            // Under the miner's own id, as its answer may find another program here.
            out.send_with(Side::Upstream(leg.id), |arena| {
                write_request(arena, id, "mining.submit", params);
            });
            return Ok(());
        }
        if !own.may_send(share.extranonce2.len(), epoch.miners_size2(own)) {
            Self::disregard(out, Side::Downstream, FaultKind::BadParams);
            return self.deny(id, 27, "Illegal params", out);
        }
        let Some(name) = name_at(&state.workers, leg, &share.user) else {
            Self::disregard(out, Side::Downstream, FaultKind::BadParams);
            return self.deny(id, 24, "Unauthorized worker", out);
        };
        if !leg.has_room() {
            Self::disregard(out, Side::Downstream, FaultKind::Excess);
            return self.deny(id, 20, "Too many requests", out);
        }
        let issuer = leg.id;
        // The name may be the leg's own; it is written in front of everything else.
        let mut start = vec![b'['];
        write_string(&mut start, &name);
        Self::ask(leg, Ask::Share, id, "mining.submit", out, |arena| {
            arena.extend_from_slice(&start);
            arena.push(b',');
            write_string(arena, job_id);
            arena.extend_from_slice(b",\"");
            epoch.write_extranonce2(own, share.extranonce2, arena);
            arena.push(b'"');
            for field in share.rest.iter().flatten() {
                arena.extend_from_slice(b",\"");
                arena.extend_from_slice(field);
                arena.push(b'"');
            }
            arena.push(b']');
        });
        leg.book_share(job_id.as_bytes(), now);
        out.push(Action::Submitted(issuer));
        Ok(())
    }

    fn submit_without_leg(&mut self, id: &[u8], out: &mut Outbox) -> Result<(), Fault> {
        let (verdict, code, why) = share_without_leg(self.state.active.is_none());
        out.push(Action::Share { leg: None, verdict, difficulty: 0.0 });
        self.deny(id, code, why, out)
    }

    /// The pool's answer to a share.
    pub(crate) fn share_answered(
        &mut self,
        leg: LegId,
        asked: &Outstanding,
        line: &[u8],
        message: &Message<'_>,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let verdict = if is_positive(message) {
            Verdict::Accept
        } else {
            let why = refusal(line, message);
            if let Some(leg) = self.leg(leg) {
                leg.rare().refusal = Some(shortened(String::from_utf8_lossy(why), MAX_REFUSAL));
            }
            Verdict::Reject(error_code(why))
        };
        out.push(Action::Share { leg: Some(leg), verdict, difficulty: asked.difficulty });
        self.relay_answer(asked, line, message, out)
    }

    /// Answers shares that the pool has left out while it answered later ones, and has its leg
    /// replaced: it has lost something of this connection.
    pub(crate) fn give_up_skipped(
        &mut self,
        now: Millis,
        leg_id: LegId,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let overdue = Millis(now.0.saturating_sub(UNANSWERED_MS));
        while let Some(asked) = self.leg(leg_id).and_then(|leg| leg.take_share_before(overdue)) {
            let difficulty = asked.difficulty;
            out.push(Action::Share { leg: Some(leg_id), verdict: Verdict::Unanswered, difficulty });
            self.deny(&asked.miner_id.0, 20, "The pool does not answer", out)?;
            let Some(leg) = self.leg(leg_id) else { return Ok(()) };
            if !std::mem::replace(&mut leg.flags.owes, true) {
                let why = "the pool has left a share unanswered".into();
                out.push(Action::ReplaceLeg { leg: leg_id, why, hint: None });
            }
        }
        Ok(())
    }

    /// Passes a pool's answer on under the miner's id, with the pool's own result and error.
    pub(crate) fn relay_answer(
        &mut self,
        asked: &Outstanding,
        line: &[u8],
        message: &Message<'_>,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let id = &asked.miner_id.0;
        let (result, error) = plain_answer(message);
        // ckpool gives its reason in a member of its own, which cgminer shows to its user.
        let reason = match message.error {
            Some(error) if !is_null(error) => None,
            _ if is_positive(message) => None,
            _ => member(line, "reject-reason").filter(|reason| is_json(reason)),
        };
        self.reply(id, out, |arena| {
            arena.extend_from_slice(b"{\"id\":");
            arena.extend_from_slice(id);
            arena.extend_from_slice(b",\"result\":");
            arena.extend_from_slice(&result);
            arena.extend_from_slice(b",\"error\":");
            arena.extend_from_slice(&error);
            if let Some(reason) = reason {
                arena.extend_from_slice(b",\"reject-reason\":");
                arena.extend_from_slice(reason);
            }
            arena.extend_from_slice(b"}\n");
        })
    }

    /// Answers what a lost leg has left unanswered.
    pub(crate) fn settle(&mut self, leg: &Leg, out: &mut Outbox) -> Result<(), Fault> {
        let mut outcome = Ok(());
        for asked in &leg.outstanding {
            if asked.ask == Ask::Share {
                let verdict = Verdict::Unanswered;
                let difficulty = asked.difficulty;
                out.push(Action::Share { leg: Some(leg.id), verdict, difficulty });
            }
            outcome = outcome.and(self.deny(&asked.miner_id.0, 20, "Pool connection lost", out));
        }
        outcome
    }

    /// Answers the oldest requests that a pool seems not to know, so that they do not take the room
    /// of shares.
    pub(crate) fn give_up_oldest(&mut self, leg: LegId, out: &mut Outbox) -> Result<(), Fault> {
        while let Some(asked) = self.leg(leg).and_then(Leg::take_overdue) {
            self.deny(&asked.miner_id.0, 20, "The pool does not answer", out)?;
        }
        Ok(())
    }

    /// Sends a request of ours up; `params` appends the parameters.
    pub(crate) fn ask(
        leg: &mut Leg,
        ask: Ask,
        miner_id: &[u8],
        method: &str,
        out: &mut Outbox,
        params: impl FnOnce(&mut Vec<u8>),
    ) {
        let id = leg.ask(ask, miner_id);
        out.send_with(Side::Upstream(leg.id), |arena| {
            let mut text = Vec::with_capacity(12);
            IDS.write(&mut text, id);
            write_request_start(arena, &text, method);
            params(arena);
            arena.extend_from_slice(b"}\n");
        });
    }

    /// How a pool knows a worker, if it is not by the name that the miner uses.
    pub(crate) fn renamed(
        terms: &PoolTerms,
        worker: &str,
        canonical: Option<&str>,
        suffixed: bool,
    ) -> Option<Box<str>> {
        let name = terms.user(worker, canonical, suffixed);
        (name != worker).then(|| name.into())
    }
}

/// The name that a share goes up under: the worker's at this pool. A worker that never logged in but
/// is of the session's own sub-account keeps its name, and the pool says what it thinks of it.
fn name_at<'a>(workers: &'a [Worker], leg: &'a Leg, user: &str) -> Option<Cow<'a, str>> {
    let at = workers.iter().position(|worker| worker.name.as_str() == user);
    let cleaned = at.is_none().then(|| clean(user));
    let at = at.or_else(|| {
        workers.iter().position(|worker| Some(worker.name.as_str()) == cleaned.as_deref())
    });
    if let Some(at) = at {
        let renamed = leg.names().get(at).map(|name| &**name);
        return renamed.or(workers.get(at).map(|worker| worker.name.as_str())).map(Cow::Borrowed);
    }
    let first = workers.first()?;
    let stranger = cleaned?;
    (split(&stranger).0 == split(first.name.as_str()).0).then_some(Cow::Owned(stranger))
}

/// Whether an answer is a yes: a result that says so, and no error.
pub(crate) fn is_positive(message: &Message<'_>) -> bool {
    message.error.is_none_or(is_null) && message.result.is_some_and(is_truthy)
}

/// Result and error of an answer, both as JSON to the letter.
pub(crate) fn plain_answer(message: &Message<'_>) -> (Vec<u8>, Vec<u8>) {
    let result = message.result.filter(|result| is_json(result)).unwrap_or(b"null").to_vec();
    let error = match message.error {
        None => b"null".to_vec(),
        Some(error) if is_json(error) => error.to_vec(),
        Some(error) => {
            // Nearly JSON (`[-1,"Job not found",NULL]`): what can be read of it.
            let mut plain = format!("[{},", error_code(error)).into_bytes();
            let why = elements(error).nth(1).and_then(text);
            write_string(&mut plain, why.as_deref().unwrap_or("Unknown"));
            plain.extend_from_slice(b",null]");
            plain
        }
    };
    (result, error)
}

/// What a pool says of a share that it refuses: its error, or else the reason that ckpool gives in a
/// member of its own, or else what it has in place of both.
fn refusal<'a>(line: &'a [u8], message: &Message<'a>) -> &'a [u8] {
    let error = message.error.filter(|error| !is_null(error));
    let why = error.or_else(|| member(line, "reject-reason")).or(message.result);
    why.unwrap_or(b"null")
}

/// The code of an error in any of the forms that pools use; 0 if it has none.
pub(crate) fn error_code(error: &[u8]) -> i32 {
    let by_text = |text: &str| match text {
        // ckpool gives a text in place of a code.
        "Invalid JobID" | "Stale" => 21,
        "Duplicate" => 22,
        "Above target" => 23,
        _ => 0,
    };
    match error_parts(error) {
        (Some(code), _) => code,
        (None, Some(why)) if error.starts_with(b"\"") => by_text(&why),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use jsonrpc::scan;

    use super::*;

    #[test]
    fn error_codes_are_found_in_every_form() {
        for (error, code) in [
            (r#"[21,"Job not found",null]"#, 21),
            (r#"[-3,"Method not found",null]"#, -3),
            (r#"[23,"bad share"]"#, 23),
            (r#"{"code":22,"message":"duplicate share","data":null}"#, 22),
            (r#"[-1,"Job not found",NULL]"#, -1),
            (r#""Stale""#, 21),
            (r#""Invalid version mask""#, 0),
            ("true", 0),
            ("[]", 0),
        ] {
            assert_eq!(error_code(error.as_bytes()), code, "{error}");
        }
    }

    #[test]
    fn only_a_truthy_result_without_an_error_is_a_yes() {
        for (line, positive) in [
            (r#"{"id":1,"result":true,"error":null}"#, true),
            (r#"{"id":1,"result":true}"#, true),
            (r#"{"id":1,"result":true,"error":[20,"x",null]}"#, false),
            (r#"{"id":1,"result":false,"error":null}"#, false),
            (r#"{"id":1,"result":null,"error":null}"#, false),
            (r#"{"id":1,"error":null}"#, false),
        ] {
            assert_eq!(is_positive(&scan(line.as_bytes()).unwrap()), positive, "{line}");
        }
    }

    #[test]
    fn errors_that_are_not_quite_json_are_mended() {
        let line = br#"{"id":244,"result":false,"error":[-1,"Job not found",NULL]}"#;

        let (result, error) = plain_answer(&scan(line).unwrap());

        assert_eq!(result, b"false");
        assert_eq!(error, br#"[-1,"Job not found",null]"#);
    }
}
