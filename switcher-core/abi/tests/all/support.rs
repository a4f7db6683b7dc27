//! Plug-ins that are not in a library: their one function is here.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use switcher_plugin::{
    Cut, DialectSession, Fault, Input, ListenerView, Millis, Outbox, Seat, SessionId, SessionSeat,
    Side, StratumDialect,
};
use switcher_plugin_abi::host::{self, Plugin};
use switcher_plugin_abi::raw::{SwEntry, SwError, SwHost, SwPlugin};
use switcher_plugin_abi::sdk::{self, Dialect, Exports, Source};
use switcher_plugin_abi::testing::Library;
use tracing::field::{Field, Visit};
use tracing::{Subscriber, span};

/// What a plug-in of this name exports.
pub(crate) fn exports(name: &'static str, dialects: Vec<Dialect>, sources: Vec<Source>) -> Exports {
    Exports { name, version: "1.2.3", dialects, sources }
}

/// The built-in dialects as a plug-in.
pub(crate) unsafe extern "C" fn built_ins(
    host: *const SwHost,
    error: *mut SwError,
) -> *const SwPlugin {
    let exported = || {
        let btc = Dialect::new(dialect_btc::DIALECT, "sha256d").about("Bitcoin");
        let bch = Dialect::new(dialect_bch::DIALECT, "sha256d").about("Bitcoin Cash");
        let dcr = Dialect::new(dialect_dcr::DIALECT, "blake3").about("Decred");
        let eth = Dialect::new(dialect_eth::DIALECT, "ethash").about("Ethereum's kind");
        exports("built-ins", vec![btc, bch, dcr, eth], Vec::new())
    };
    // SAFETY: called as the header says.
    unsafe { sdk::enter(host, error, exported) }
}

/// Enters a plug-in.
pub(crate) fn enter(entry: SwEntry) -> Plugin {
    // SAFETY: the functions here do what the header says, and stay.
    unsafe { host::enter(entry, "this test") }.unwrap()
}

/// Its only dialect.
pub(crate) fn dialect(plugin: &Plugin) -> Arc<dyn StratumDialect> {
    Arc::clone(plugin.dialects.first().unwrap()) as Arc<dyn StratumDialect>
}

/// The library that misbehaves, each time a copy of its own.
pub(crate) fn naughty() -> (Library, Arc<Plugin>) {
    let library = Library::built("naughty");
    let plugin = host::load(&library.path(), None).unwrap();
    (library, plugin)
}

/// A session of a plug-in's dialect.
pub(crate) fn open(dialect: &Arc<dyn StratumDialect>) -> Box<dyn DialectSession> {
    with_seat(|seat| dialect.open(seat))
}

/// Calls with a seat.
pub(crate) fn with_seat<T>(call: impl FnOnce(Seat<'_>) -> T) -> T {
    let listener = ListenerView { name: "miners".to_owned(), ..ListenerView::default() };
    call(Seat::Miner(SessionSeat {
        session: SessionId(1),
        short_id: 0x0100_0002,
        entropy: [7; 16],
        peer: Some(std::net::IpAddr::from([192, 0, 2, 7])),
        listener: &listener,
    }))
}

/// Gives a session a line of its miner; what comes back.
pub(crate) fn say(session: &mut dyn DialectSession, line: &str) -> Result<String, Fault> {
    let line = format!("{line}\n");
    let Cut::Frame(len) = session.cut(Side::Downstream, line.as_bytes()) else {
        panic!("a whole line is a frame");
    };
    let mut out = Outbox::new();
    let frame = &line.as_bytes()[..len];
    let input = Input::Frame(Side::Downstream, frame);
    session.handle(Millis(1), input, &mut out)?;
    Ok(String::from_utf8(out.bytes().to_vec()).unwrap())
}

/// What was logged so far by all tests of this process.
pub(crate) fn log() -> String {
    LOG.lock().unwrap().clone()
}

static LOG: Mutex<String> = Mutex::new(String::new());

/// Keeps the log from here on.
pub(crate) fn keep_log() {
    let _ = tracing::subscriber::set_global_default(Keep);
}

struct Keep;

impl Subscriber for Keep {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                write!(self.0, " {}={value:?}", field.name()).unwrap();
            }
        }
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        LOG.lock().unwrap().push_str(&(line.0 + "\n"));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
