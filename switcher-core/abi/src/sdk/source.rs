//! A coin source as a table of C functions: a thread and a runtime of its own.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use switcher_plugin::{
    Assignment, BoardWriter, CoinSource, Notice, SessionId, SourceContext, SourceError,
    SourceState, SubAccount, Wanted, WorkerName,
};
use tokio::sync::{mpsc, watch};

use super::dialect::append;
use super::{Source, fail, guard, lent, panic_text, refuse};
use crate::raw::{
    self, SW_ACQUIRE, SW_ASSIGN, SW_DEFAULT, SW_GAVE_UP, SW_HEALTH, SW_OK, SW_REGISTERING,
    SW_REGISTRATION_REFUSED, SW_RELEASE, SW_RENAMED, SW_SERVER_ID, SW_UNKNOWN, SwBuf, SwError,
    SwHost, SwNotice, SwSink, SwSource, SwStr, SwWanted, SwWeight,
};

/// What [`SwSource::data`] points to.
struct Exported {
    source: Source,
    host: &'static SwHost,
}

/// A source that runs.
struct Running {
    host: &'static SwHost,
    want: mpsc::UnboundedSender<Wanted>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<Option<SourceState>>,
}

/// Lays a source out for ever.
pub(super) fn table(host: &'static SwHost, source: Source) -> *const SwSource {
    let exported: &'static Exported = Box::leak(Box::new(Exported { source, host }));
    Box::leak(Box::new(SwSource {
        size: SwSource::SIZE,
        reserved: 0,
        data: std::ptr::from_ref(exported).cast_mut().cast(),
        name: SwStr::of(exported.source.name.as_bytes()),
        about: SwStr::of(exported.source.about.as_bytes()),
        start: Some(start),
        wanted: Some(wanted),
        stop: Some(stop),
        check: Some(check),
    }))
}

/// What stands behind a table.
///
/// # Safety
///
/// `table` is one that [`table`] made.
unsafe fn exported(table: *const SwSource) -> &'static Exported {
    // SAFETY: as promised by the caller.
    unsafe { &*(*table).data.cast::<Exported>() }
}

/// Where the host takes facts.
#[derive(Clone, Copy)]
struct Board {
    host: &'static SwHost,
    sink: *mut SwSink,
}

// SAFETY: the header says that `post` may be called from any thread, and the sink stays for ever.
unsafe impl Send for Board {}
// SAFETY: likewise.
unsafe impl Sync for Board {}

impl Board {
    fn post(self, notice: &SwNotice) {
        if let Some(post) = self.host.post {
            // SAFETY: as the header says.
            unsafe { post(self.sink, notice) };
        }
    }

    fn give_up(self, why: &str) {
        self.post(&SwNotice { kind: SW_GAVE_UP, text: text(why), ..SwNotice::empty() });
    }

    fn tell(self, notice: &Notice) {
        let raw = |kind, sub_account: &SubAccount| SwNotice {
            kind,
            sub_account: text(sub_account.as_str()),
            ..SwNotice::empty()
        };
        match notice {
            Notice::Assign(sub_account, to) => self.assign(raw(SW_ASSIGN, sub_account), to),
            Notice::Default(sub_account, to) => self.assign(raw(SW_DEFAULT, sub_account), to),
            Notice::Health { healthy, detail } => self.post(&SwNotice {
                kind: SW_HEALTH,
                number: u64::from(*healthy),
                text: text(detail),
                ..SwNotice::empty()
            }),
            Notice::Registering(sub_account) => self.post(&raw(SW_REGISTERING, sub_account)),
            Notice::RegistrationRefused(sub_account, why) => self
                .post(&SwNotice { text: text(why), ..raw(SW_REGISTRATION_REFUSED, sub_account) }),
            Notice::Renamed(sub_account, name) => {
                self.post(&SwNotice { text: text(name), ..raw(SW_RENAMED, sub_account) });
            }
            Notice::ServerId(number) => self.post(&SwNotice {
                kind: SW_SERVER_ID,
                number: u64::from(*number),
                ..SwNotice::empty()
            }),
            Notice::Unknown(sub_account) => self.post(&raw(SW_UNKNOWN, sub_account)),
            _ => tracing::warn!(?notice, "the border of plug-ins has no word for it"),
        }
    }

    fn assign(self, notice: SwNotice, to: &Assignment) {
        let weight = |(coin, weight): &(switcher_plugin::Coin, f64)| SwWeight {
            coin: text(coin.as_str()),
            weight: *weight,
        };
        let coins: Vec<_> = to.coins.iter().map(weight).collect();
        let origin = text(&to.origin);
        self.post(&SwNotice { coins: coins.as_ptr(), n_coins: coins.len(), origin, ..notice });
    }
}

fn text(text: &str) -> SwStr {
    SwStr::of(text.as_bytes())
}

unsafe extern "C" fn start(
    table: *const SwSource,
    config: SwStr,
    saved: SwStr,
    sink: *mut SwSink,
    running: *mut *mut c_void,
    error: *mut SwError,
) -> i32 {
    let call = || {
        // SAFETY: the host calls it as the header says.
        let (exported, config, saved) = unsafe { (exported(table), lent(config), lent(saved)) };
        let config = serde_json::from_str(config).unwrap_or_default();
        let source = match (exported.source.make)(&config) {
            Ok(source) => source,
            // SAFETY: as above.
            Err(refused) => return unsafe { refuse(error, &refused) },
        };
        let board = Board { host: exported.host, sink };
        match run(exported.source.name, source, board, saved.to_owned()) {
            Ok(started) => {
                // SAFETY: as above.
                unsafe { *running = Box::into_raw(Box::new(started)).cast() };
                SW_OK
            }
            // SAFETY: as above.
            Err(problem) => unsafe { fail(error, &problem.to_string()) },
        }
    };
    // SAFETY: the host's error, or null.
    unsafe { guard(error, call) }
}

/// Starts the thread of a source. It inherits the blocked signals of the host's.
fn run(
    name: &str,
    source: Box<dyn CoinSource>,
    board: Board,
    saved: String,
) -> std::io::Result<Running> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (want, wanted) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let context = SourceContext {
        board: BoardWriter::new(move |notice| board.tell(&notice)),
        wanted,
        stop: stopped,
        saved: SourceState(saved),
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let run = || runtime.block_on(source.run(context));
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(state)) => Some(state),
            Ok(Err(SourceError { problem, .. })) => {
                board.give_up(&problem);
                None
            }
            Err(panic) => {
                board.give_up(&panic_text(&*panic));
                None
            }
        }
    })?;
    Ok(Running { host: board.host, want, stop, thread })
}

unsafe extern "C" fn wanted(running: *mut c_void, wanted: *const SwWanted) {
    // SAFETY: the host calls it as the header says.
    let (running, Some(raw)) = (unsafe { (&*running.cast::<Running>(), raw::read(wanted)) }) else {
        return;
    };
    // SAFETY: likewise; the texts are lent for the call.
    let (sub_account, worker) = unsafe { (lent(raw.sub_account), lent(raw.worker)) };
    let sub_account = SubAccount::new(sub_account);
    let wanted = match raw.kind {
        SW_ACQUIRE => Wanted::Acquire {
            sub_account,
            session: SessionId(raw.session),
            worker: WorkerName::new(worker),
        },
        SW_RELEASE => Wanted::Release(sub_account),
        _ => return,
    };
    // A source that has given up wants nothing.
    let _ = running.want.send(wanted);
}

unsafe extern "C" fn stop(running: *mut c_void, state: *mut SwBuf, error: *mut SwError) -> i32 {
    // SAFETY: the host gives back once what `start` gave out.
    let running = unsafe { Box::from_raw(running.cast::<Running>()) };
    let call = || {
        let Running { host, want: _want, stop, thread } = *running;
        stop.send_replace(true);
        match thread.join() {
            Ok(saved) => {
                if let Some(SourceState(saved)) = saved {
                    append(host, state, saved.as_bytes());
                }
                SW_OK
            }
            // SAFETY: the host's error, or null.
            Err(panic) => unsafe { fail(error, &panic_text(&*panic)) },
        }
    };
    // SAFETY: the host's error, or null.
    unsafe { guard(error, call) }
}

unsafe extern "C" fn check(
    table: *const SwSource,
    config: SwStr,
    found: *mut SwBuf,
    error: *mut SwError,
) -> i32 {
    let call = || {
        // SAFETY: the host calls it as the header says.
        let (exported, config) = unsafe { (exported(table), lent(config)) };
        let config = serde_json::from_str(config).unwrap_or_default();
        match (exported.source.make)(&config) {
            Ok(_) => {
                append(exported.host, found, b"its configuration can be worked with");
                SW_OK
            }
            // SAFETY: as above.
            Err(refused) => unsafe { refuse(error, &refused) },
        }
    };
    // SAFETY: the host's error, or null.
    unsafe { guard(error, call) }
}
