//! A session behind a pointer: inputs and actions between the header's words and the traits'.

use std::cell::RefCell;
use std::ffi::c_void;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use switcher_plugin::{
    Action, Coin, Cut, DialectSession, Fault, Input, Millis, Outbox, Profile, Refusal,
};

use super::dialect::append;
use super::{fail, guard, lent};
use crate::codes;
use crate::raw::{
    self, SW_ASSIGNED, SW_CANNOT_MOVE, SW_CLOSE, SW_CUT_OVER, SW_DISREGARD, SW_FAULT, SW_FORWARD,
    SW_FRAME, SW_IDENTIFY, SW_JOB, SW_LEARN, SW_LEG_DOWN, SW_LEG_GONE, SW_LEG_READY,
    SW_LEG_REFUSED, SW_LEG_UP, SW_NO_LEG, SW_OK, SW_RECALL, SW_RECALLED, SW_REFUSED, SW_REMEMBER,
    SW_REPLACE_LEG, SW_SHARE, SW_SUBMITTED, SW_UNSUPPORTED, SW_WAKE, SW_WAKE_AT, SwAction, SwBuf,
    SwError, SwFields, SwHost, SwInput, SwOut, SwSide, SwStr,
};

/// What a session pointer points to.
pub(super) struct Shim {
    pub(super) session: Box<dyn DialectSession>,
    pub(super) host: &'static SwHost,
}

thread_local! {
    /// Actions of the call in progress; what sessions of one thread keep is shared by it.
    static OUTBOX: RefCell<Outbox> = RefCell::new(Outbox::new());
}

pub(super) unsafe extern "C" fn close(session: *mut c_void) {
    // SAFETY: the host gives back once what `open` or `resume` gave out.
    let shim = unsafe { Box::from_raw(session.cast::<Shim>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(shim)));
}

pub(super) unsafe extern "C" fn cut(session: *const c_void, side: SwSide, bytes: SwStr) -> usize {
    // SAFETY: the host calls it as the header says.
    let (shim, bytes) = unsafe { (&*session.cast::<Shim>(), bytes.bytes().unwrap_or_default()) };
    let cut = || match shim.session.cut(codes::side_of(side), bytes) {
        Cut::Frame(len) => len,
        Cut::Partial => 0,
    };
    // More than there is: the host takes it for the failure it is.
    catch_unwind(AssertUnwindSafe(cut)).unwrap_or(usize::MAX)
}

pub(super) unsafe extern "C" fn handle(
    session: *mut c_void,
    now: u64,
    input: *const SwInput,
    out: *mut SwOut,
    error: *mut SwError,
) -> i32 {
    // SAFETY: the host calls it as the header says; one thread at a time uses a session.
    let shim = unsafe { &mut *session.cast::<Shim>() };
    let call = || {
        // SAFETY: likewise.
        let Some(input) = (unsafe { raw::read(input) }) else {
            // SAFETY: likewise.
            return unsafe { fail(error, "no input was given") };
        };
        OUTBOX.with_borrow_mut(|outbox| {
            // A panic may have left something.
            outbox.clear();
            // SAFETY: likewise; what the input points to is lent for the call.
            match unsafe { take(&mut *shim.session, Millis(now), &input, outbox) } {
                None => SW_OK,
                Some(result) => {
                    // What was wanted before a fault is still done.
                    let code = give(shim.host, out, outbox);
                    match result {
                        Err(Fault { side, kind }) if code == SW_OK => {
                            // SAFETY: the host's error, or null.
                            if let Some(error) = unsafe { error.as_mut() } {
                                error.side = codes::side_code(side);
                                error.fault = codes::fault_code(kind);
                            }
                            SW_FAULT
                        }
                        _ => code,
                    }
                }
            }
        })
    };
    // SAFETY: the host's error, or null.
    unsafe { guard(error, call) }
}

/// Gives an input to the session. None if it is of a kind that is not known here.
///
/// # Safety
///
/// What `raw` points to is there.
unsafe fn take(
    session: &mut dyn DialectSession,
    now: Millis,
    raw: &SwInput,
    out: &mut Outbox,
) -> Option<Result<(), Fault>> {
    let leg = switcher_plugin::LegId(raw.side);
    // SAFETY: as promised by the caller.
    let data = unsafe { raw.data.bytes() };
    let (coin, profile);
    let input = match raw.kind {
        SW_ASSIGNED => {
            // SAFETY: as promised by the caller.
            let (name, canonical_name) = unsafe { (lent(raw.coin), lent(raw.canonical_name)) };
            coin = Coin::new(name);
            Input::Assigned { coin: &coin, canonical_name }
        }
        SW_CUT_OVER => Input::CutOver(leg),
        SW_FRAME => Input::Frame(codes::side_of(raw.side), data.unwrap_or_default()),
        SW_LEG_DOWN => Input::LegDown(leg),
        SW_LEG_GONE => Input::LegGone(leg),
        SW_LEG_UP => {
            // Every leg to a pool has the same one.
            profile = Profile(out.keep(data.unwrap_or_default()));
            let form = u8::try_from(raw.form).unwrap_or(u8::MAX);
            Input::LegUp { leg, profile: &profile, form, rungs: codes::rungs_of(raw.rungs) }
        }
        // SAFETY: as promised by the caller.
        SW_RECALLED => Input::Recalled(data.map(|_| unsafe { lent(raw.data) })),
        SW_REFUSED => Input::Refused(codes::refusal_of(raw.refusal).unwrap_or(Refusal::NoPool)),
        SW_WAKE => Input::Wake,
        _ => return None,
    };
    Some(session.handle(now, input, out))
}

/// Hands all actions over. What the host says to the first it does not take.
fn give(host: &SwHost, out: *mut SwOut, outbox: &Outbox) -> i32 {
    let (Some(send), Some(push)) = (host.send, host.push) else { return SW_UNSUPPORTED };
    for action in outbox.actions() {
        let code = match action {
            Action::Send(side, range) => {
                let bytes = SwStr::of(outbox.sent(range));
                // SAFETY: the host lends `out` for the call we are in.
                unsafe { send(out, codes::side_code(*side), bytes) }
            }
            other => match raw_action(other) {
                // SAFETY: likewise; the action lives until the host has read it.
                Some(raw) => unsafe { push(out, &raw const raw) },
                None => SW_UNSUPPORTED,
            },
        };
        if code != SW_OK {
            return code;
        }
    }
    SW_OK
}

/// An action in the words of the header. None if it has none for it.
fn raw_action(action: &Action) -> Option<SwAction> {
    let text = |text: &str| SwStr::of(text.as_bytes());
    let mut raw = SwAction::empty();
    match action {
        Action::CannotMove { why } => {
            raw.kind = SW_CANNOT_MOVE;
            raw.text = text(why);
        }
        Action::Close { why } => {
            raw.kind = SW_CLOSE;
            raw.text = text(why);
        }
        Action::Disregard(fault) => {
            raw.kind = SW_DISREGARD;
            raw.side = codes::side_code(fault.side);
            raw.code = codes::fault_code(fault.kind);
        }
        Action::Forward(side) => {
            raw.kind = SW_FORWARD;
            raw.side = codes::side_code(*side);
        }
        Action::Identify { sub_account, worker } => {
            raw.kind = SW_IDENTIFY;
            raw.text = text(sub_account.as_str());
            raw.more = text(worker.as_str());
        }
        Action::Job(leg) => {
            raw.kind = SW_JOB;
            raw.side = leg.0;
        }
        Action::Learn { leg, fact } => {
            raw.kind = SW_LEARN;
            raw.side = leg.0;
            raw.text = text(fact);
        }
        Action::LegReady(leg, rung) => {
            raw.kind = SW_LEG_READY;
            raw.side = leg.0;
            raw.code = codes::rung_code(*rung);
        }
        Action::LegRefused { leg, retry, why } => {
            raw.kind = SW_LEG_REFUSED;
            raw.side = leg.0;
            raw.code = codes::retry_code(*retry);
            raw.text = text(why);
        }
        Action::Recall { key } => {
            raw.kind = SW_RECALL;
            raw.text = text(key);
        }
        Action::Remember { key, note } => {
            raw.kind = SW_REMEMBER;
            raw.text = text(key);
            raw.more = text(note);
        }
        Action::ReplaceLeg { leg, why, hint } => {
            raw.kind = SW_REPLACE_LEG;
            raw.side = leg.0;
            raw.text = text(why);
            if let Some(hint) = hint {
                raw.more = text(&hint.host);
                raw.port = u32::from(hint.port);
            }
        }
        Action::Share { leg, verdict, difficulty } => {
            raw.kind = SW_SHARE;
            raw.side = leg.map_or(SW_NO_LEG, |leg| leg.0);
            (raw.code, raw.reject_code) = codes::verdict_codes(*verdict);
            raw.difficulty = *difficulty;
        }
        Action::Submitted(leg) => {
            raw.kind = SW_SUBMITTED;
            raw.side = leg.0;
        }
        Action::WakeAt(when) => {
            raw.kind = SW_WAKE_AT;
            raw.when = when.0;
        }
        _ => return None,
    }
    Some(raw)
}

pub(super) unsafe extern "C" fn save(
    session: *const c_void,
    version: u32,
    state: *mut SwBuf,
    error: *mut SwError,
) -> i32 {
    // SAFETY: the host calls it as the header says.
    let shim = unsafe { &*session.cast::<Shim>() };
    let call = || {
        let saved = shim.session.save(u16::try_from(version).unwrap_or(u16::MAX));
        append(shim.host, state, saved.state.as_bytes());
        SW_OK
    };
    // SAFETY: the host's error, or null.
    unsafe { guard(error, call) }
}

pub(super) unsafe extern "C" fn describe(session: *const c_void, fields: *mut SwFields) {
    // SAFETY: the host calls it as the header says.
    let shim = unsafe { &*session.cast::<Shim>() };
    let Some(field) = shim.host.field else { return };
    let call = || {
        let mut text = String::new();
        shim.session.describe(&mut |name, value| {
            text.clear();
            // Writing to a String cannot fail.
            let _ = write!(text, "{value}");
            let (name, value) = (SwStr::of(name.as_bytes()), SwStr::of(text.as_bytes()));
            // SAFETY: the host lends `fields` for the call we are in.
            unsafe { field(fields, name, value) };
        });
    };
    let _ = catch_unwind(AssertUnwindSafe(call));
}
