//! A dialect as a table of C functions.

use std::ffi::c_void;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use switcher_plugin::{
    Coin, DialectSession, ListenerView, PoolView, Profile, Recognition, ResumeError, Saved, Seat,
    SessionId, SessionSeat, StratumDialect, UpstreamSettings,
};

use super::session::{self, Shim};
use super::{Dialect, fail, guard, lent, refuse, tell};
use crate::raw::{
    self, SW_BAD_STATE, SW_MINE, SW_NEED_MORE, SW_NOT_MINE, SW_OK, SW_SEAT_PROBE, SwBuf, SwDialect,
    SwError, SwHost, SwListener, SwSeat, SwStr, SwUpstream,
};

/// Listeners kept as they were read; one more and the oldest goes.
const MOST_VIEWS: usize = 32;

/// What [`SwDialect::data`] points to.
struct Exported {
    dialect: Box<dyn StratumDialect>,
    host: &'static SwHost,
    /// Listeners by their id.
    views: Mutex<Vec<(u64, Arc<ListenerView>)>>,
}

/// Lays a dialect out for ever.
pub(super) fn table(host: &'static SwHost, export: Dialect) -> *const SwDialect {
    let Dialect { inner: dialect, algorithm, about } = export;
    let exported: &'static Exported =
        Box::leak(Box::new(Exported { dialect, host, views: Mutex::default() }));
    let dialect = &exported.dialect;
    let (versions, ids) = (dialect.state_versions(), dialect.short_ids());
    Box::leak(Box::new(SwDialect {
        size: SwDialect::SIZE,
        reserved: 0,
        data: std::ptr::from_ref(exported).cast_mut().cast(),
        name: SwStr::of(dialect.name().as_bytes()),
        family: SwStr::of(dialect.family().as_bytes()),
        algorithm: SwStr::of(algorithm.as_bytes()),
        about: SwStr::of(about.as_bytes()),
        state_first: u32::from(*versions.start()),
        state_last: u32::from(*versions.end()),
        short_id_bits: u32::from(ids.index_bits),
        short_id_stride: ids.stride,
        recognise: Some(recognise),
        profile: Some(profile),
        check_listener: Some(check_listener),
        open: Some(open),
        resume: Some(resume),
        close: Some(session::close),
        cut: Some(session::cut),
        handle: Some(session::handle),
        save: Some(session::save),
        describe: Some(session::describe),
    }))
}

/// What stands behind a table.
///
/// # Safety
///
/// `table` is one that [`table`] made.
unsafe fn exported(table: *const SwDialect) -> &'static Exported {
    // SAFETY: as promised by the caller.
    unsafe { &*(*table).data.cast::<Exported>() }
}

unsafe extern "C" fn recognise(table: *const SwDialect, first: SwStr) -> u32 {
    // SAFETY: the host calls it as the header says.
    let (exported, first) = unsafe { (exported(table), first.bytes().unwrap_or_default()) };
    match catch_unwind(AssertUnwindSafe(|| exported.dialect.recognise(first))) {
        Ok(Recognition::Mine) => SW_MINE,
        Ok(Recognition::NeedMore) => SW_NEED_MORE,
        Ok(Recognition::NotMine) => SW_NOT_MINE,
        // No number of the header: the host takes it for the failure it is.
        Err(_) => 0,
    }
}

unsafe extern "C" fn profile(
    table: *const SwDialect,
    pool: *const SwUpstream,
    profile: *mut SwBuf,
    error: *mut SwError,
) -> i32 {
    let call = || {
        // SAFETY: the host calls it as the header says.
        let (exported, Some(pool)) = (unsafe { (exported(table), raw::read(pool)) }) else {
            // SAFETY: likewise.
            return unsafe { fail(error, "no pool was given") };
        };
        // SAFETY: likewise; all of it is lent for the call.
        let (name, coin, user, password, options) = unsafe {
            let maybe = |text: SwStr| (!text.ptr.is_null()).then(|| lent(text));
            let (user, password) = (maybe(pool.user), maybe(pool.password));
            (lent(pool.name), Coin::new(lent(pool.coin)), user, password, lent(pool.options))
        };
        let options = serde_json::from_str(options).unwrap_or_default();
        let settings = UpstreamSettings { name, coin: &coin, user, password, options: &options };
        match exported.dialect.profile(&settings) {
            Ok(made) => {
                append(exported.host, profile, &made.0);
                SW_OK
            }
            // SAFETY: the host calls it as the header says.
            Err(refused) => unsafe { refuse(error, &refused) },
        }
    };
    // SAFETY: the host calls it as the header says.
    unsafe { guard(error, call) }
}

unsafe extern "C" fn check_listener(
    table: *const SwDialect,
    options: SwStr,
    error: *mut SwError,
) -> i32 {
    let call = || {
        // SAFETY: the host calls it as the header says.
        let (exported, options) = unsafe { (exported(table), lent(options)) };
        let options = serde_json::from_str(options).unwrap_or_default();
        match exported.dialect.check_listener(&options) {
            Ok(()) => SW_OK,
            // SAFETY: as above.
            Err(refused) => unsafe { refuse(error, &refused) },
        }
    };
    // SAFETY: the host calls it as the header says.
    unsafe { guard(error, call) }
}

unsafe extern "C" fn open(
    table: *const SwDialect,
    seat: *const SwSeat,
    session: *mut *mut c_void,
    error: *mut SwError,
) -> i32 {
    let call = || {
        // SAFETY: the host calls it as the header says.
        unsafe {
            let exported = exported(table);
            match seated(exported, seat, |seat| exported.dialect.open(seat)) {
                Some(opened) => {
                    *session = shim(exported, opened);
                    SW_OK
                }
                None => fail(error, "no seat was given"),
            }
        }
    };
    // SAFETY: the host calls it as the header says.
    unsafe { guard(error, call) }
}

unsafe extern "C" fn resume(
    table: *const SwDialect,
    seat: *const SwSeat,
    version: u32,
    state: SwStr,
    session: *mut *mut c_void,
    error: *mut SwError,
) -> i32 {
    let call = || {
        // SAFETY: the host calls it as the header says.
        unsafe {
            let exported = exported(table);
            let version = u16::try_from(version).unwrap_or(u16::MAX);
            let saved = Saved { version, state: lent(state).to_owned() };
            match seated(exported, seat, |seat| exported.dialect.resume(seat, &saved)) {
                Some(Ok(resumed)) => {
                    *session = shim(exported, resumed);
                    SW_OK
                }
                Some(Err(problem)) => {
                    let problem = match problem {
                        ResumeError::Damaged(problem) => problem,
                        other @ ResumeError::Version { .. } => other.to_string(),
                    };
                    tell(error, "", &problem, "");
                    SW_BAD_STATE
                }
                None => fail(error, "no seat was given"),
            }
        }
    };
    // SAFETY: the host calls it as the header says.
    unsafe { guard(error, call) }
}

fn shim(exported: &'static Exported, session: Box<dyn DialectSession>) -> *mut c_void {
    Box::into_raw(Box::new(Shim { session, host: exported.host })).cast()
}

/// Calls `with` with the seat in the words of the traits.
///
/// # Safety
///
/// `seat` is what the header says.
unsafe fn seated<T>(
    exported: &Exported,
    seat: *const SwSeat,
    with: impl FnOnce(Seat<'_>) -> T,
) -> Option<T> {
    // SAFETY: as promised by the caller.
    let (raw, view) = unsafe {
        let raw = raw::read(seat)?;
        (raw, exported.view(raw.listener)?)
    };
    let [a, b, c, d, ..] = raw.peer;
    let peer = match raw.peer_family {
        4 => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
        6 => Some(IpAddr::V6(Ipv6Addr::from(raw.peer))),
        _ => None,
    };
    let session = SessionSeat {
        session: SessionId(raw.session),
        short_id: raw.short_id,
        entropy: raw.entropy,
        peer,
        listener: &view,
    };
    let seat = if raw.kind == SW_SEAT_PROBE { Seat::Probe(session) } else { Seat::Miner(session) };
    Some(with(seat))
}

impl Exported {
    /// The listener, read once and kept by its id.
    ///
    /// # Safety
    ///
    /// `listener` is what the header says.
    unsafe fn view(&self, listener: *const SwListener) -> Option<Arc<ListenerView>> {
        // SAFETY: as promised by the caller.
        let raw = unsafe { raw::read(listener) }?;
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, view)) = views.iter().find(|(id, _)| *id == raw.id) {
            return Some(Arc::clone(view));
        }
        // SAFETY: as promised by the caller.
        let view = Arc::new(unsafe { read_listener(&raw) });
        if views.len() >= MOST_VIEWS {
            views.remove(0);
        }
        views.push((raw.id, Arc::clone(&view)));
        Some(view)
    }
}

/// A listener in the words of the traits.
///
/// # Safety
///
/// What it points to is what the header says.
unsafe fn read_listener(raw: &SwListener) -> ListenerView {
    let mut pools = Vec::new();
    for at in 0..raw.n_pools {
        // SAFETY: as promised by the caller.
        unsafe {
            let Some(pool) = raw::read(*raw.pools.add(at)) else { continue };
            pools.push(PoolView {
                name: lent(pool.name).to_owned(),
                coin: Coin::new(lent(pool.coin)),
                profile: Profile(Arc::from(pool.profile.bytes().unwrap_or_default())),
                fact: (!pool.fact.ptr.is_null()).then(|| Arc::from(lent(pool.fact))),
            });
        }
    }
    // SAFETY: as promised by the caller.
    let (name, options) = unsafe { (lent(raw.name), lent(raw.options)) };
    ListenerView {
        name: name.to_owned(),
        options: serde_json::from_str(options).unwrap_or_default(),
        pools,
    }
}

/// Adds to a result.
pub(super) fn append(host: &SwHost, buf: *mut SwBuf, bytes: &[u8]) {
    if let Some(append) = host.append {
        // SAFETY: the host lends the buffer for the call we are in.
        unsafe { append(buf, SwStr::of(bytes)) };
    }
}
