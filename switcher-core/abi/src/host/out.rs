//! What a session wants done, taken from the plug-in and looked at.

use switcher_plugin::{
    Action, Fault, FaultKind, LegId, Millis, Outbox, ReconnectHint, Side, SubAccount, WorkerName,
};

use crate::codes;
use crate::raw::{
    self, SW_CANNOT_MOVE, SW_CLOSE, SW_DISREGARD, SW_EXCESS, SW_FAILED, SW_FORWARD, SW_IDENTIFY,
    SW_JOB, SW_LEARN, SW_LEG_READY, SW_LEG_REFUSED, SW_NO_LEG, SW_OK, SW_RECALL, SW_REMEMBER,
    SW_REPLACE_LEG, SW_SHARE, SW_SUBMITTED, SW_UNSUPPORTED, SW_WAKE_AT, SwAction, SwOut, SwSide,
    SwStr,
};

/// Most bytes that one input may have sent.
const MOST_BYTES: usize = 4 << 20;

/// Most actions and pieces sent for one input.
const MOST_ACTIONS: usize = 16_384;

/// What [`SwOut`] is: lent to the plug-in for one call.
#[derive(Debug)]
pub(super) struct Out<'a> {
    outbox: &'a mut Outbox,
    /// A frame is being handled, so that it can be forwarded.
    has_frame: bool,
    bytes: usize,
    count: usize,
    /// What the plug-in did wrong.
    problem: Option<String>,
}

impl<'a> Out<'a> {
    pub(super) fn new(outbox: &'a mut Outbox, has_frame: bool) -> Self {
        Self { outbox, has_frame, bytes: 0, count: 0, problem: None }
    }

    /// What the plug-in is given.
    pub(super) fn raw(&mut self) -> *mut SwOut {
        std::ptr::from_mut(self).cast()
    }

    /// What the plug-in did wrong, if anything.
    pub(super) fn into_problem(self) -> Option<String> {
        self.problem
    }

    /// Counts one more. False if it is one too many.
    fn takes(&mut self, bytes: usize) -> bool {
        self.count += 1;
        self.bytes += bytes;
        if self.bytes > MOST_BYTES || self.count > MOST_ACTIONS {
            let (count, bytes) = (self.count, self.bytes);
            self.wrong(|| format!("wants {count} things and {bytes} bytes done for one input"));
            return false;
        }
        self.problem.is_none()
    }

    fn wrong(&mut self, problem: impl FnOnce() -> String) {
        self.problem.get_or_insert_with(problem);
    }
}

/// `SwHost.send`.
pub(super) unsafe extern "C" fn send(out: *mut SwOut, to: SwSide, bytes: SwStr) -> i32 {
    // SAFETY: the plug-in gives back what it was lent for the call; the bytes are lent to us.
    let (Some(out), bytes) =
        (unsafe { (out.cast::<Out<'_>>().as_mut(), bytes.bytes().unwrap_or_default()) })
    else {
        return SW_FAILED;
    };
    if !out.takes(bytes.len()) {
        return SW_EXCESS;
    }
    out.outbox.send(codes::side_of(to), bytes);
    SW_OK
}

/// `SwHost.push`.
pub(super) unsafe extern "C" fn push(out: *mut SwOut, action: *const SwAction) -> i32 {
    // SAFETY: the plug-in gives back what it was lent for the call, and lends its action.
    let (Some(out), Some(raw)) = (unsafe { (out.cast::<Out<'_>>().as_mut(), raw::read(action)) })
    else {
        return SW_FAILED;
    };
    // SAFETY: likewise.
    let (text, more) = unsafe { (raw.text.text(), raw.more.text()) };
    let (Ok(text), Ok(more)) = (text, more) else {
        out.wrong(|| format!("wants an action of kind {} with a text that is not UTF-8", raw.kind));
        return SW_FAILED;
    };
    if !out.takes(text.len() + more.len()) {
        return SW_EXCESS;
    }
    if raw.kind == SW_FORWARD && !out.has_frame {
        out.wrong(|| "wants to forward, and no frame is being handled".to_owned());
        return SW_FAILED;
    }
    let Some(action) = action_of(&raw, text, more) else {
        let (kind, code) = (raw.kind, raw.code);
        out.wrong(|| format!("wants an action of kind {kind} and code {code}, not known here"));
        return SW_UNSUPPORTED;
    };
    out.outbox.push(action);
    SW_OK
}

fn action_of(raw: &SwAction, text: &str, more: &str) -> Option<Action> {
    let leg = LegId(raw.side);
    let action = match raw.kind {
        SW_CANNOT_MOVE => Action::CannotMove { why: text.into() },
        SW_CLOSE => Action::Close { why: text.into() },
        SW_DISREGARD => Action::Disregard(fault_of(raw.side, raw.code)),
        SW_FORWARD => Action::Forward(codes::side_of(raw.side)),
        SW_IDENTIFY => {
            Action::Identify { sub_account: SubAccount::new(text), worker: WorkerName::new(more) }
        }
        SW_JOB => Action::Job(leg),
        SW_LEARN => Action::Learn { leg, fact: text.into() },
        SW_LEG_READY => Action::LegReady(leg, codes::rung_of(raw.code)?),
        SW_LEG_REFUSED => {
            Action::LegRefused { leg, retry: codes::retry_of(raw.code)?, why: text.into() }
        }
        SW_RECALL => Action::Recall { key: text.into() },
        SW_REMEMBER => Action::Remember { key: text.into(), note: more.into() },
        SW_REPLACE_LEG => {
            let port = u16::try_from(raw.port).ok()?;
            let is_given = !raw.more.ptr.is_null();
            let hint = is_given.then(|| ReconnectHint { host: more.into(), port });
            Action::ReplaceLeg { leg, why: text.into(), hint }
        }
        SW_SHARE => Action::Share {
            leg: (raw.side != SW_NO_LEG).then_some(leg),
            verdict: codes::verdict_of(raw.code, raw.reject_code)?,
            difficulty: raw.difficulty,
        },
        SW_SUBMITTED => Action::Submitted(leg),
        SW_WAKE_AT => Action::WakeAt(Millis(raw.when)),
        _ => return None,
    };
    Some(action)
}

/// A fault in the words of the traits; a kind that is not known is `Unexpected`.
pub(super) fn fault_of(side: SwSide, kind: u32) -> Fault {
    let kind = codes::fault_of(kind).unwrap_or(FaultKind::Unexpected);
    let side: Side = codes::side_of(side);
    Fault { side, kind }
}
