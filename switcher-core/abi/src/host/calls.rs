//! What the program offers to plug-ins besides actions and notices.

use std::ffi::c_void;
use std::fmt::Arguments;

use nix::time::{ClockId, clock_gettime};
use tracing::Level;

use super::health::Health;
use super::{out, source};
use crate::raw::{
    SW_LOG_DEBUG, SW_LOG_ERROR, SW_LOG_INFO, SW_LOG_TRACE, SW_LOG_WARN, SwBuf, SwFields, SwHost,
    SwStr,
};

/// Most bytes of one result.
const MOST_BYTES: usize = 16 << 20;

/// Most names that a session may show.
const MOST_FIELDS: usize = 256;

/// The target of what plug-ins log.
const TARGET: &str = "plugin";

/// The table without what differs between plug-ins.
pub(super) fn host() -> SwHost {
    SwHost {
        log: Some(log),
        log_enabled: Some(log_enabled),
        now: Some(now),
        append: Some(append),
        send: Some(out::send),
        push: Some(out::push),
        field: Some(field),
        post: Some(source::post),
        ..SwHost::empty()
    }
}

unsafe extern "C" fn log(ctx: *mut c_void, level: u32, target: SwStr, message: SwStr) {
    // SAFETY: the context is the health of the plug-in, which stays for ever; texts are lent.
    let (health, target, message) = unsafe {
        let bytes = |text: SwStr| text.bytes().unwrap_or_default();
        (&*ctx.cast::<Health>(), bytes(target), bytes(message))
    };
    let (part, message) = (String::from_utf8_lossy(target), String::from_utf8_lossy(message));
    let plugin = health.name();
    macro_rules! at {
        ($level:expr) => {
            tracing::event!(target: TARGET, $level, plugin, %part, "{message}")
        };
    }
    match level {
        SW_LOG_ERROR => at!(Level::ERROR),
        SW_LOG_WARN => at!(Level::WARN),
        SW_LOG_INFO => at!(Level::INFO),
        SW_LOG_DEBUG => at!(Level::DEBUG),
        _ => at!(Level::TRACE),
    }
}

unsafe extern "C" fn log_enabled(_: *mut c_void, level: u32) -> u32 {
    u32::from(match level {
        SW_LOG_ERROR => tracing::enabled!(target: TARGET, Level::ERROR),
        SW_LOG_WARN => tracing::enabled!(target: TARGET, Level::WARN),
        SW_LOG_INFO => tracing::enabled!(target: TARGET, Level::INFO),
        SW_LOG_DEBUG => tracing::enabled!(target: TARGET, Level::DEBUG),
        SW_LOG_TRACE => tracing::enabled!(target: TARGET, Level::TRACE),
        _ => false,
    })
}

unsafe extern "C" fn now() -> u64 {
    millis(ClockId::CLOCK_MONOTONIC)
}

/// Milliseconds of a clock.
pub(super) fn millis(clock: ClockId) -> u64 {
    let Ok(time) = clock_gettime(clock) else { return 0 };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or_default();
    seconds * 1000 + nanos / 1_000_000
}

/// A result of unknown length.
#[derive(Debug, Default)]
pub(super) struct Buf {
    bytes: Vec<u8>,
    overflow: bool,
}

impl Buf {
    /// What the plug-in is given.
    pub(super) fn raw(&mut self) -> *mut SwBuf {
        std::ptr::from_mut(self).cast()
    }

    /// All that was written, or what is wrong with it.
    pub(super) fn into_bytes(self) -> Result<Vec<u8>, String> {
        if self.overflow {
            return Err(format!("wrote a result of more than {MOST_BYTES} bytes"));
        }
        Ok(self.bytes)
    }

    /// The same as text.
    pub(super) fn into_text(self) -> Result<String, String> {
        String::from_utf8(self.into_bytes()?).map_err(|_| "wrote a text that is not UTF-8".into())
    }
}

unsafe extern "C" fn append(buf: *mut SwBuf, bytes: SwStr) {
    // SAFETY: the plug-in gives back what it was lent for the call; the bytes are lent to us.
    let (Some(buf), bytes) =
        (unsafe { (buf.cast::<Buf>().as_mut(), bytes.bytes().unwrap_or_default()) })
    else {
        return;
    };
    if buf.bytes.len() + bytes.len() > MOST_BYTES {
        buf.overflow = true;
    } else {
        buf.bytes.extend_from_slice(bytes);
    }
}

/// Takes names and values of a session.
pub(super) struct Fields<'a> {
    pub(super) field: &'a mut dyn FnMut(&str, Arguments<'_>),
    pub(super) count: usize,
}

unsafe extern "C" fn field(fields: *mut SwFields, name: SwStr, value: SwStr) {
    // SAFETY: the plug-in gives back what it was lent for the call; the texts are lent to us.
    let (Some(fields), name, value) = (unsafe {
        let bytes = |text: SwStr| text.bytes().unwrap_or_default();
        (fields.cast::<Fields<'_>>().as_mut(), bytes(name), bytes(value))
    }) else {
        return;
    };
    fields.count += 1;
    if fields.count <= MOST_FIELDS {
        let value = String::from_utf8_lossy(value);
        (fields.field)(&String::from_utf8_lossy(name), format_args!("{value}"));
    }
}
