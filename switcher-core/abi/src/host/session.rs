//! A session of a plug-in as one of the traits'.

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;

use switcher_plugin::{Cut, DialectSession, Fault, FaultKind, Input, Millis, Outbox, Saved, Side};

use super::calls::{Buf, Fields};
use super::dialect::Table;
use super::out::{Out, fault_of};
use crate::codes;
use crate::raw::{
    self, SW_ASSIGNED, SW_CUT_OVER, SW_FAULT, SW_FRAME, SW_LEG_DOWN, SW_LEG_GONE, SW_LEG_UP, SW_OK,
    SW_RECALLED, SW_REFUSED, SW_WAKE, SwError, SwInput, SwStr,
};

/// What ends a session whose plug-in has failed.
const FAILED: Fault = Fault { side: Side::Downstream, kind: FaultKind::PluginFailed };

/// See the module.
pub(super) struct ForeignSession {
    table: Arc<Table>,
    session: *mut c_void,
    /// The plug-in has failed here; it is not asked again.
    failed: Cell<bool>,
}

// SAFETY: the header says that a session may move between threads.
unsafe impl Send for ForeignSession {}

impl fmt::Debug for ForeignSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignSession").field("dialect", &self.table.name).finish_non_exhaustive()
    }
}

impl Drop for ForeignSession {
    fn drop(&mut self) {
        let close = self.table.functions.close;
        // SAFETY: given out by `open` or `resume`, and given back once.
        self.table.health.call(|| unsafe { close(self.session) });
    }
}

impl ForeignSession {
    pub(super) fn new(table: Arc<Table>, session: *mut c_void) -> Self {
        Self { table, session, failed: Cell::new(false) }
    }

    fn fail(&self, what: &str) {
        if !self.failed.replace(true) {
            self.table.health.fault(&format!("{} {what}", self.table.name));
        }
    }
}

impl DialectSession for ForeignSession {
    fn cut(&self, side: Side, bytes: &[u8]) -> Cut {
        if bytes.is_empty() {
            return Cut::Partial;
        }
        if self.failed.get() {
            return Cut::Frame(bytes.len());
        }
        let Some(cut) = self.table.functions.cut else { return Cut::line(bytes) };
        let lent = SwStr::of(bytes);
        // SAFETY: the session is open, the bytes are lent for the call.
        let len = self
            .table
            .health
            .call(|| unsafe { cut(self.session.cast_const(), codes::side_code(side), lent) });
        match len {
            0 => Cut::Partial,
            len if len <= bytes.len() => Cut::Frame(len),
            len => {
                self.fail(&format!("cut a frame of {len} bytes from {}", bytes.len()));
                // It is given to `handle`, which ends the session.
                Cut::Frame(bytes.len())
            }
        }
    }

    fn handle(&mut self, now: Millis, input: Input<'_>, out: &mut Outbox) -> Result<(), Fault> {
        if self.failed.get() {
            return Err(FAILED);
        }
        let raw = raw_input(input);
        let mut error = SwError::empty();
        let mut taking = Out::new(out, matches!(input, Input::Frame(..)));
        let lent = taking.raw();
        let handle = self.table.functions.handle;
        // SAFETY: the session is open; everything else is lent for the call.
        let code = self
            .table
            .health
            .call(|| unsafe { handle(self.session, now.0, &raw const raw, lent, &raw mut error) });
        let problem = match (taking.into_problem(), code) {
            (Some(problem), _) => problem,
            (None, SW_OK) => return Ok(()),
            (None, SW_FAULT) => {
                let fault = fault_of(error.side, error.fault);
                if fault.kind != FaultKind::PluginFailed {
                    return Err(fault);
                }
                "says that it has failed".to_owned()
            }
            (None, code) => failure(code, &error),
        };
        out.clear();
        self.fail(&problem);
        Err(FAILED)
    }

    fn save(&self, version: u16) -> Saved {
        let save = self.table.functions.save;
        let (mut state, mut error) = (Buf::default(), SwError::empty());
        let lent = state.raw();
        // SAFETY: the session is open; everything else is lent for the call.
        let code = self.table.health.call(|| unsafe {
            save(self.session.cast_const(), u32::from(version), lent, &raw mut error)
        });
        let saved = if code == SW_OK { state.into_text() } else { Err(failure(code, &error)) };
        let state = saved.unwrap_or_else(|problem| {
            self.fail(&format!("could not save a session: {problem}"));
            // Resumes nowhere, which a preflight finds out before anything is at stake.
            String::new()
        });
        Saved { version, state }
    }

    fn describe(&self, field: &mut dyn FnMut(&str, fmt::Arguments<'_>)) {
        let Some(describe) = self.table.functions.describe else { return };
        if self.failed.get() {
            return;
        }
        let mut fields = Fields { field, count: 0 };
        let lent = std::ptr::from_mut(&mut fields).cast();
        // SAFETY: the session is open, the fields are lent for the call.
        self.table.health.call(|| unsafe { describe(self.session.cast_const(), lent) });
    }
}

/// What a code that is no success says.
pub(super) fn failure(code: i32, error: &SwError) -> String {
    let problem = raw::read_text(&error.problem);
    if problem.is_empty() { format!("failed with code {code}") } else { problem }
}

fn raw_input(input: Input<'_>) -> SwInput {
    let text = |text: &str| SwStr::of(text.as_bytes());
    let mut raw = SwInput::empty();
    match input {
        Input::Assigned { coin, canonical_name } => {
            raw.kind = SW_ASSIGNED;
            raw.coin = text(coin.as_str());
            raw.canonical_name = text(canonical_name);
        }
        Input::CutOver(leg) => {
            raw.kind = SW_CUT_OVER;
            raw.side = leg.0;
        }
        Input::Frame(side, frame) => {
            raw.kind = SW_FRAME;
            raw.side = codes::side_code(side);
            raw.data = SwStr::of(frame);
        }
        Input::LegDown(leg) => {
            raw.kind = SW_LEG_DOWN;
            raw.side = leg.0;
        }
        Input::LegGone(leg) => {
            raw.kind = SW_LEG_GONE;
            raw.side = leg.0;
        }
        Input::LegUp { leg, profile, form, rungs } => {
            raw.kind = SW_LEG_UP;
            raw.side = leg.0;
            raw.data = SwStr::of(&profile.0);
            raw.form = u32::from(form);
            raw.rungs = codes::rungs_code(rungs);
        }
        Input::Recalled(note) => {
            raw.kind = SW_RECALLED;
            raw.data = SwStr::maybe(note.map(str::as_bytes));
        }
        Input::Refused(why) => {
            raw.kind = SW_REFUSED;
            raw.refusal = codes::refusal_code(why);
        }
        Input::Wake => raw.kind = SW_WAKE,
        // A kind the border has no word for is one no plug-in knows.
        _ => {}
    }
    raw
}

/// A session that could not be opened: it ends with its first frame.
#[derive(Debug)]
pub(super) struct NoSession;

impl DialectSession for NoSession {
    fn cut(&self, _: Side, bytes: &[u8]) -> Cut {
        if bytes.is_empty() { Cut::Partial } else { Cut::Frame(bytes.len()) }
    }

    fn handle(&mut self, _: Millis, _: Input<'_>, _: &mut Outbox) -> Result<(), Fault> {
        Err(FAILED)
    }

    fn save(&self, version: u16) -> Saved {
        Saved { version, state: String::new() }
    }

    fn describe(&self, _: &mut dyn FnMut(&str, fmt::Arguments<'_>)) {}
}
