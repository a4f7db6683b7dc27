//! `tracing` of a plug-in, whose dispatcher is its own, into the log of the program.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::raw::{
    self, SW_LOG_DEBUG, SW_LOG_ERROR, SW_LOG_INFO, SW_LOG_TRACE, SW_LOG_WARN, SwHost, SwStr,
};

/// Brings what the plug-in logs, and where it panics, to the program. Called by the macro.
///
/// # Safety
///
/// `host` is what the header says.
pub unsafe fn bridge(host: *const SwHost) {
    // SAFETY: as promised by the caller.
    let Some(host) = (unsafe { raw::read(host) }) else { return };
    let host: &'static SwHost = Box::leak(Box::new(host));
    let bridge = Bridge { host, spans: AtomicU64::new(1) };
    // A plug-in that has its own keeps it.
    let _ = tracing::subscriber::set_global_default(bridge);
    let host = Shared(host);
    std::panic::set_hook(Box::new(move |panic| {
        host.log(SW_LOG_ERROR, "panic", &panic.to_string().replace('\n', " "));
    }));
}

/// The host's table; its log may be used from any thread.
struct Shared(&'static SwHost);

// SAFETY: the header says that the log is callable from any thread.
unsafe impl Send for Shared {}
// SAFETY: likewise.
unsafe impl Sync for Shared {}

impl Shared {
    fn log(&self, level: u32, target: &str, message: &str) {
        log(self.0, level, target, message);
    }
}

fn log(host: &SwHost, level: u32, target: &str, message: &str) {
    if let Some(log) = host.log {
        let (target, message) = (SwStr::of(target.as_bytes()), SwStr::of(message.as_bytes()));
        // SAFETY: the host's own function with the host's own context.
        unsafe { log(host.ctx, level, target, message) };
    }
}

struct Bridge {
    host: &'static SwHost,
    spans: AtomicU64,
}

// SAFETY: the header says that the log is callable from any thread.
unsafe impl Send for Bridge {}
// SAFETY: likewise.
unsafe impl Sync for Bridge {}

fn number(level: Level) -> u32 {
    match level {
        Level::ERROR => SW_LOG_ERROR,
        Level::WARN => SW_LOG_WARN,
        Level::INFO => SW_LOG_INFO,
        Level::DEBUG => SW_LOG_DEBUG,
        Level::TRACE => SW_LOG_TRACE,
    }
}

impl Subscriber for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let Some(enabled) = self.host.log_enabled else { return true };
        // SAFETY: the host's own function with the host's own context.
        metadata.is_event() && unsafe { enabled(self.host.ctx, number(*metadata.level())) } != 0
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let Line { mut message, fields } = line;
        message.push_str(&fields);
        let metadata = event.metadata();
        log(self.host, number(*metadata.level()), metadata.target(), &message);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message, and the fields behind it.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
