//! A coin source of a plug-in as one of the traits'.
//!
//! One thread of ours makes all calls into it, so that a call that takes its time holds up nobody.

use std::ffi::c_void;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc as queue};

use async_trait::async_trait;
use switcher_plugin::{
    Assignment, BoardWriter, Coin, CoinSource, Notice, ProfileError, SourceContext, SourceError,
    SourceState, SubAccount, Wanted,
};
use tokio::sync::{mpsc, oneshot};

use super::calls::Buf;
use super::health::Health;
use super::loader::LoadError;
use super::session::failure;
use super::{is_name, owned};
use crate::raw::{
    self, SW_ACQUIRE, SW_ASSIGN, SW_BAD_CONFIG, SW_DEFAULT, SW_EXCESS, SW_FAILED, SW_GAVE_UP,
    SW_HEALTH, SW_OK, SW_REGISTERING, SW_REGISTRATION_REFUSED, SW_RELEASE, SW_RENAMED,
    SW_SERVER_ID, SW_UNKNOWN, SW_UNSUPPORTED, SwBuf, SwError, SwNotice, SwSink, SwSource, SwStr,
    SwWanted,
};

/// Most coins of one assignment.
const MOST_COINS: usize = 1_024;

type Start = unsafe extern "C" fn(
    *const SwSource,
    SwStr,
    SwStr,
    *mut SwSink,
    *mut *mut c_void,
    *mut SwError,
) -> i32;
type Stop = unsafe extern "C" fn(*mut c_void, *mut SwBuf, *mut SwError) -> i32;

/// A source that a plug-in offers.
pub struct SourceTable {
    this: *const SwSource,
    name: String,
    about: String,
    start: Start,
    wanted: Option<unsafe extern "C" fn(*mut c_void, *const SwWanted)>,
    stop: Stop,
    check: Option<unsafe extern "C" fn(*const SwSource, SwStr, *mut SwBuf, *mut SwError) -> i32>,
    health: Arc<Health>,
    /// Held while it runs: a run that was given up may still be stopping when the next begins.
    turn: Mutex<()>,
}

// SAFETY: the header says that the functions are callable from any thread, and that what the
// plug-in gave out at the start stays.
unsafe impl Send for SourceTable {}
// SAFETY: likewise.
unsafe impl Sync for SourceTable {}

impl fmt::Debug for SourceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceTable").field(&self.name).finish()
    }
}

impl SourceTable {
    /// Looks at a table of functions.
    ///
    /// # Safety
    ///
    /// It is what the header says, and stays for ever.
    pub(super) unsafe fn new(
        this: *const SwSource,
        health: &Arc<Health>,
    ) -> Result<Self, LoadError> {
        // SAFETY: as promised by the caller, here and below.
        let raw =
            unsafe { raw::read(this) }.ok_or(LoadError::Malformed("SwSource is too small"))?;
        // SAFETY: as above.
        let (name, about) = unsafe { (owned(raw.name)?, owned(raw.about)?) };
        if !is_name(&name) {
            return Err(LoadError::Malformed("a source lacks a name of a-z, 0-9, - and _"));
        }
        let (Some(start), Some(stop)) = (raw.start, raw.stop) else {
            return Err(LoadError::Malformed("a source lacks a function"));
        };
        let (wanted, check) = (raw.wanted, raw.check);
        let (health, turn) = (Arc::clone(health), Mutex::default());
        Ok(Self { this, name, about, start, wanted, stop, check, health, turn })
    }

    /// The key of its table in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, in a few words.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// Looks at its configuration, a JSON object, and says what is there.
    ///
    /// # Errors
    ///
    /// It cannot work with it.
    pub fn check(&self, config: &serde_json::Value) -> Result<String, ProfileError> {
        let Some(check) = self.check else { return Ok("it is not checked before it runs".into()) };
        let config = config.to_string();
        let (mut found, mut error) = (Buf::default(), SwError::empty());
        let lent = found.raw();
        // SAFETY: the table is the plug-in's own; everything else is lent for the call.
        let code = self.health.call_source(|| unsafe {
            check(self.this, SwStr::of(config.as_bytes()), lent, &raw mut error)
        });
        let failed = |problem: String| ProfileError {
            key: String::new(),
            problem,
            accepted: "see the page of the plug-in".to_owned(),
        };
        match code {
            SW_OK => found.into_text().map_err(failed),
            SW_BAD_CONFIG => Err(ProfileError {
                key: raw::read_text(&error.key),
                problem: raw::read_text(&error.problem),
                accepted: raw::read_text(&error.accepted),
            }),
            code => {
                let problem = failure(code, &error);
                self.health.fault(&format!("{} {problem}", self.name));
                Err(failed(problem))
            }
        }
    }

    /// A source that works with this configuration, a JSON object.
    pub fn source(self: &Arc<Self>, config: &serde_json::Value) -> Box<dyn CoinSource> {
        Box::new(ForeignSource { table: Arc::clone(self), config: config.to_string() })
    }
}

#[derive(Debug)]
struct ForeignSource {
    table: Arc<SourceTable>,
    config: String,
}

#[async_trait]
impl CoinSource for ForeignSource {
    fn name(&self) -> &str {
        &self.table.name
    }

    async fn run(self: Box<Self>, context: SourceContext) -> Result<SourceState, SourceError> {
        let Self { table, config } = *self;
        let SourceContext { board, mut wanted, mut stop, saved } = context;
        let (give_up, mut reasons) = mpsc::unbounded_channel();
        let sink = Sink::leak(&table, board.clone(), give_up);
        let _close = Close(sink);
        let (orders, queue) = queue::channel();
        let (done, mut finished) = oneshot::channel();
        let name = table.name.clone();
        let useless = |problem: String| {
            board.post(Notice::Health { healthy: false, detail: problem.clone() });
            SourceError { name: name.clone(), problem }
        };
        let work = move || {
            let _ = done.send(serve(&table, &config, &saved.0, sink, &queue));
        };
        let spawned = std::thread::Builder::new().name(format!("source-{name}")).spawn(work);
        if let Err(error) = spawned {
            return Err(useless(format!("the system refused a thread: {error}")));
        }
        let mut reason = None;
        loop {
            tokio::select! {
                // A stop whose sender is gone is a stop as well.
                _ = stop.wait_for(|&stop| stop) => break,
                Some(why) = reasons.recv() => {
                    reason = Some(why);
                    break;
                }
                // It did not start.
                result = &mut finished => {
                    return result.unwrap_or_else(|_| Err("its thread is gone".into())).map_err(useless);
                }
                change = wanted.recv() => match change {
                    Some(change) => {
                        let _ = orders.send(change);
                    }
                    None => break,
                },
            }
        }
        // Without senders the thread stops the source.
        drop(orders);
        let state = finished.await.unwrap_or_else(|_| Err("its thread is gone".into()));
        match reason {
            Some(why) => Err(useless(why)),
            None => state.map_err(useless),
        }
    }
}

/// The life of a source, on its thread.
fn serve(
    table: &SourceTable,
    config: &str,
    saved: &str,
    sink: &'static Sink,
    orders: &queue::Receiver<Wanted>,
) -> Result<SourceState, String> {
    let _turn = table.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut running, mut error) = (std::ptr::null_mut(), SwError::empty());
    let (config, saved) = (SwStr::of(config.as_bytes()), SwStr::of(saved.as_bytes()));
    let raw_sink = std::ptr::from_ref(sink).cast_mut().cast::<SwSink>();
    // SAFETY: the table is the plug-in's own; the sink stays, everything else is lent for the call.
    let code = table.health.call_source(|| unsafe {
        (table.start)(table.this, config, saved, raw_sink, &raw mut running, &raw mut error)
    });
    if code != SW_OK {
        let problem = failure(code, &error);
        if code != SW_BAD_CONFIG {
            table.health.fault(&format!("{} did not start: {problem}", table.name));
            return Err(problem);
        }
        let (key, accepted) = (raw::read_text(&error.key), raw::read_text(&error.accepted));
        return Err(format!("{key}: {problem}; {accepted}"));
    }
    for change in orders {
        if let Some(wanted) = table.wanted {
            let raw = raw_wanted(&change);
            // SAFETY: it runs; the change is lent for the call.
            table.health.call_source(|| unsafe { wanted(running, &raw const raw) });
        }
    }
    let (mut state, mut error) = (Buf::default(), SwError::empty());
    let lent = state.raw();
    // SAFETY: it runs, and is stopped once.
    let code = table.health.call_source(|| unsafe { (table.stop)(running, lent, &raw mut error) });
    sink.close();
    let saved = if code == SW_OK { state.into_text() } else { Err(failure(code, &error)) };
    saved.map(SourceState).or_else(|problem| {
        table.health.fault(&format!("{} did not stop well: {problem}", table.name));
        Ok(SourceState::default())
    })
}

fn raw_wanted(change: &Wanted) -> SwWanted {
    let text = |text: &str| SwStr::of(text.as_bytes());
    match change {
        Wanted::Acquire { sub_account, session, worker } => SwWanted {
            kind: SW_ACQUIRE,
            sub_account: text(sub_account.as_str()),
            worker: text(worker.as_str()),
            session: session.0,
            ..SwWanted::empty()
        },
        Wanted::Release(sub_account) => SwWanted {
            kind: SW_RELEASE,
            sub_account: text(sub_account.as_str()),
            ..SwWanted::empty()
        },
    }
}

/// What [`SwSink`] is. Stays for ever, so that a source that posts too late finds it closed.
struct Sink {
    source: String,
    /// None once it is closed.
    board: RwLock<Option<BoardWriter>>,
    give_up: mpsc::UnboundedSender<String>,
    health: Arc<Health>,
}

impl Sink {
    fn leak(
        table: &SourceTable,
        board: BoardWriter,
        give_up: mpsc::UnboundedSender<String>,
    ) -> &'static Self {
        Box::leak(Box::new(Self {
            source: table.name.clone(),
            board: RwLock::new(Some(board)),
            give_up,
            health: Arc::clone(&table.health),
        }))
    }

    fn close(&self) {
        *self.board.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Closes the sink with the run, however it ends.
struct Close(&'static Sink);

impl Drop for Close {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// `SwHost.post`.
pub(super) unsafe extern "C" fn post(sink: *mut SwSink, notice: *const SwNotice) -> i32 {
    // SAFETY: a sink stays for ever; the notice is lent to us.
    let (Some(sink), Some(raw)) = (unsafe { (sink.cast::<Sink>().as_ref(), raw::read(notice)) })
    else {
        return SW_FAILED;
    };
    let board = sink.board.read().unwrap_or_else(PoisonError::into_inner);
    let Some(board) = &*board else {
        sink.health.late(&sink.source);
        return SW_EXCESS;
    };
    // SAFETY: what the notice points to is lent to us.
    match unsafe { notice_of(&raw) } {
        Ok(Posted::Notice(notice)) => board.post(notice),
        Ok(Posted::GaveUp(why)) => {
            let _ = sink.give_up.send(why);
        }
        Err((code, problem)) => {
            sink.health.fault(&format!("{} {problem}", sink.source));
            return code;
        }
    }
    SW_OK
}

enum Posted {
    Notice(Notice),
    GaveUp(String),
}

/// A notice in the words of the traits.
///
/// # Safety
///
/// What it points to is there.
unsafe fn notice_of(raw: &SwNotice) -> Result<Posted, (i32, String)> {
    let wrong = |problem: &str| (SW_FAILED, format!("posted a notice {problem}"));
    let owned = |text: SwStr| {
        // SAFETY: as promised by the caller.
        unsafe { text.text() }.map_err(|_| wrong("with a text that is not UTF-8"))
    };
    let text = owned(raw.text)?;
    let sub_account = || match owned(raw.sub_account)? {
        "" => Err(wrong("without a sub-account")),
        name => Ok(SubAccount::new(name)),
    };
    let assignment = || {
        if raw.n_coins == 0 || raw.n_coins > MOST_COINS || raw.coins.is_null() {
            return Err(wrong("without a coin, or with too many"));
        }
        // SAFETY: as promised by the caller.
        let weights = unsafe { std::slice::from_raw_parts(raw.coins, raw.n_coins) };
        let coin = |weight: &raw::SwWeight| Ok((Coin::new(owned(weight.coin)?), weight.weight));
        let coins = weights.iter().map(coin).collect::<Result<_, _>>()?;
        Ok(Assignment { coins, origin: owned(raw.origin)?.into() })
    };
    let notice = match raw.kind {
        SW_ASSIGN => Notice::Assign(sub_account()?, assignment()?),
        SW_DEFAULT => Notice::Default(sub_account()?, assignment()?),
        SW_HEALTH => Notice::Health { healthy: raw.number != 0, detail: text.to_owned() },
        SW_REGISTERING => Notice::Registering(sub_account()?),
        SW_REGISTRATION_REFUSED => Notice::RegistrationRefused(sub_account()?, text.to_owned()),
        SW_RENAMED => Notice::Renamed(sub_account()?, text.into()),
        SW_SERVER_ID => match u8::try_from(raw.number) {
            Ok(number @ 1..) => Notice::ServerId(number),
            _ => return Err(wrong("with a number that is not 1 to 255")),
        },
        SW_UNKNOWN => Notice::Unknown(sub_account()?),
        SW_GAVE_UP => return Ok(Posted::GaveUp(text.to_owned())),
        kind => {
            return Err((
                SW_UNSUPPORTED,
                format!("posted a notice of kind {kind}, not known here"),
            ));
        }
    };
    Ok(Posted::Notice(notice))
}
