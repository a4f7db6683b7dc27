//! A dialect of a plug-in as one of the traits'.

use std::ffi::c_void;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use switcher_plugin::{
    DialectSession, ListenerView, Profile, ProfileError, Recognition, ResumeError, Saved, Seat,
    ShortIds, StratumDialect, UpstreamSettings,
};

use super::calls::Buf;
use super::health::Health;
use super::loader::LoadError;
use super::session::{ForeignSession, NoSession, failure};
use super::{is_name, owned};
use crate::raw::{
    self, SW_BAD_CONFIG, SW_MINE, SW_NEED_MORE, SW_NOT_MINE, SW_OK, SW_SEAT_MINER, SW_SEAT_PROBE,
    SwBuf, SwDialect, SwError, SwInput, SwListener, SwOut, SwPool, SwSeat, SwSide, SwStr,
    SwUpstream,
};

/// Listeners kept in the header's words; one more and the oldest goes.
const MOST_VIEWS: usize = 32;

/// Functions that every dialect has.
pub(super) struct Functions {
    recognise: unsafe extern "C" fn(*const SwDialect, SwStr) -> u32,
    profile:
        unsafe extern "C" fn(*const SwDialect, *const SwUpstream, *mut SwBuf, *mut SwError) -> i32,
    check_listener: unsafe extern "C" fn(*const SwDialect, SwStr, *mut SwError) -> i32,
    open: unsafe extern "C" fn(
        *const SwDialect,
        *const SwSeat,
        *mut *mut c_void,
        *mut SwError,
    ) -> i32,
    resume: unsafe extern "C" fn(
        *const SwDialect,
        *const SwSeat,
        u32,
        SwStr,
        *mut *mut c_void,
        *mut SwError,
    ) -> i32,
    pub(super) close: unsafe extern "C" fn(*mut c_void),
    pub(super) cut: Option<unsafe extern "C" fn(*const c_void, SwSide, SwStr) -> usize>,
    pub(super) handle:
        unsafe extern "C" fn(*mut c_void, u64, *const SwInput, *mut SwOut, *mut SwError) -> i32,
    pub(super) save: unsafe extern "C" fn(*const c_void, u32, *mut SwBuf, *mut SwError) -> i32,
    pub(super) describe: Option<unsafe extern "C" fn(*const c_void, *mut raw::SwFields)>,
}

/// What sessions share with their dialect.
pub(super) struct Table {
    this: *const SwDialect,
    pub(super) name: String,
    family: String,
    algorithm: String,
    about: String,
    versions: RangeInclusive<u16>,
    short_ids: ShortIds,
    pub(super) functions: Functions,
    pub(super) health: Arc<Health>,
    views: Mutex<Vec<Arc<FlatListener>>>,
}

// SAFETY: the header says that the functions are callable from any thread, and that what the
// plug-in gave out at the start stays.
unsafe impl Send for Table {}
// SAFETY: likewise.
unsafe impl Sync for Table {}

/// See the module.
pub struct ForeignDialect(Arc<Table>);

impl fmt::Debug for ForeignDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForeignDialect").field(&self.0.name).finish()
    }
}

impl ForeignDialect {
    /// Looks at a table of functions.
    ///
    /// # Safety
    ///
    /// It is what the header says, and stays for ever.
    pub(super) unsafe fn new(
        this: *const SwDialect,
        health: &Arc<Health>,
    ) -> Result<Self, LoadError> {
        // SAFETY: as promised by the caller, here and below.
        let raw =
            unsafe { raw::read(this) }.ok_or(LoadError::Malformed("SwDialect is too small"))?;
        // SAFETY: as above.
        let (name, family, algorithm, about) = unsafe {
            (owned(raw.name)?, owned(raw.family)?, owned(raw.algorithm)?, owned(raw.about)?)
        };
        if !is_name(&name) || family.is_empty() || algorithm.is_empty() {
            let problem = "a dialect lacks a name of a-z, 0-9, - and _, a family or an algorithm";
            return Err(LoadError::Malformed(problem));
        }
        let missing = LoadError::Malformed("a dialect lacks a function");
        let (Ok(first), Ok(last)) = (raw.state_first.try_into(), raw.state_last.try_into()) else {
            return Err(LoadError::Malformed("a dialect's versions of state exceed 65535"));
        };
        if first > last {
            return Err(LoadError::Malformed("a dialect has no version of state"));
        }
        let functions = (|| {
            Some(Functions {
                recognise: raw.recognise?,
                profile: raw.profile?,
                check_listener: raw.check_listener?,
                open: raw.open?,
                resume: raw.resume?,
                close: raw.close?,
                cut: raw.cut,
                handle: raw.handle?,
                save: raw.save?,
                describe: raw.describe,
            })
        })();
        let bits = raw.short_id_bits.clamp(1, u32::from(ShortIds::WIDE.index_bits));
        let short_ids = ShortIds {
            index_bits: u8::try_from(bits).unwrap_or(ShortIds::WIDE.index_bits),
            stride: raw.short_id_stride.max(1),
        };
        Ok(Self(Arc::new(Table {
            this,
            name,
            family,
            algorithm,
            about,
            versions: first..=last,
            short_ids,
            functions: functions.ok_or(missing)?,
            health: Arc::clone(health),
            views: Mutex::default(),
        })))
    }

    /// Hash algorithm of its coins unless configured otherwise.
    pub fn algorithm(&self) -> &str {
        &self.0.algorithm
    }

    /// What it is, in a few words.
    pub fn about(&self) -> &str {
        &self.0.about
    }

    /// A listener in the header's words, made once for as long as it does not change.
    fn flat(&self, listener: &ListenerView) -> Arc<FlatListener> {
        let mut views = self.0.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = views.iter().find(|known| known.view == *listener) {
            return Arc::clone(known);
        }
        let flat = Arc::new(FlatListener::new(listener.clone()));
        if views.len() >= MOST_VIEWS {
            views.remove(0);
        }
        views.push(Arc::clone(&flat));
        flat
    }

    /// Calls with a seat in the header's words.
    fn seated<T>(&self, seat: Seat<'_>, with: impl FnOnce(*const SwSeat) -> T) -> T {
        let session = seat.session();
        let flat = self.flat(session.listener);
        let pointers: Vec<*const SwPool> = flat.pools.iter().map(std::ptr::from_ref).collect();
        let listener = SwListener {
            id: flat.id,
            name: SwStr::of(flat.view.name.as_bytes()),
            options: SwStr::of(flat.options.as_bytes()),
            pools: pointers.as_ptr(),
            n_pools: pointers.len(),
            ..SwListener::empty()
        };
        let mut raw = SwSeat {
            kind: match seat {
                Seat::Miner(_) => SW_SEAT_MINER,
                Seat::Probe(_) => SW_SEAT_PROBE,
            },
            session: session.session.0,
            short_id: session.short_id,
            entropy: session.entropy,
            listener: &raw const listener,
            ..SwSeat::empty()
        };
        match session.peer {
            None => {}
            Some(IpAddr::V4(address)) => {
                raw.peer_family = 4;
                for (to, from) in raw.peer.iter_mut().zip(address.octets()) {
                    *to = from;
                }
            }
            Some(IpAddr::V6(address)) => {
                raw.peer_family = 6;
                raw.peer = address.octets();
            }
        }
        with(&raw const raw)
    }

    fn failed(&self, what: &str) {
        self.0.health.fault(&format!("{} {what}", self.0.name));
    }

    /// What a function that looks at settings said.
    fn judged(&self, code: i32, error: &SwError) -> Result<(), ProfileError> {
        match code {
            SW_OK => Ok(()),
            SW_BAD_CONFIG => Err(ProfileError {
                key: raw::read_text(&error.key),
                problem: raw::read_text(&error.problem),
                accepted: raw::read_text(&error.accepted),
            }),
            code => Err(self.unable(&failure(code, error))),
        }
    }

    fn unable(&self, problem: &str) -> ProfileError {
        self.failed(problem);
        ProfileError {
            key: "dialect".to_owned(),
            problem: format!("the plug-in {} has failed: {problem}", self.0.health.name()),
            accepted: "another version of the plug-in".to_owned(),
        }
    }
}

impl StratumDialect for ForeignDialect {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn family(&self) -> &str {
        &self.0.family
    }

    fn recognise(&self, first: &[u8]) -> Recognition {
        let Table { this, functions, health, .. } = &*self.0;
        // SAFETY: the table is the plug-in's own, the bytes are lent for the call.
        match health.call(|| unsafe { (functions.recognise)(*this, SwStr::of(first)) }) {
            SW_MINE => Recognition::Mine,
            SW_NEED_MORE => Recognition::NeedMore,
            SW_NOT_MINE => Recognition::NotMine,
            other => {
                self.failed(&format!("recognised {other}, which is no answer"));
                Recognition::NotMine
            }
        }
    }

    fn profile(&self, upstream: &UpstreamSettings<'_>) -> Result<Profile, ProfileError> {
        let text = |text: &str| SwStr::of(text.as_bytes());
        let maybe = |text: Option<&str>| SwStr::maybe(text.map(str::as_bytes));
        let options = upstream.options.to_string();
        let pool = SwUpstream {
            name: text(upstream.name),
            coin: text(upstream.coin.as_str()),
            user: maybe(upstream.user),
            password: maybe(upstream.password),
            options: text(&options),
            ..SwUpstream::empty()
        };
        let (mut profile, mut error) = (Buf::default(), SwError::empty());
        let Table { this, functions, health, .. } = &*self.0;
        let lent = profile.raw();
        // SAFETY: the table is the plug-in's own; everything else is lent for the call.
        let code = health
            .call(|| unsafe { (functions.profile)(*this, &raw const pool, lent, &raw mut error) });
        self.judged(code, &error)?;
        let bytes = profile.into_bytes().map_err(|problem| self.unable(&problem))?;
        Ok(Profile(Arc::from(bytes)))
    }

    fn check_listener(&self, options: &serde_json::Value) -> Result<(), ProfileError> {
        let options = options.to_string();
        let mut error = SwError::empty();
        let Table { this, functions, health, .. } = &*self.0;
        // SAFETY: the table is the plug-in's own; everything else is lent for the call.
        let code = health.call(|| unsafe {
            (functions.check_listener)(*this, SwStr::of(options.as_bytes()), &raw mut error)
        });
        self.judged(code, &error)
    }

    fn state_versions(&self) -> RangeInclusive<u16> {
        self.0.versions.clone()
    }

    fn short_ids(&self) -> ShortIds {
        self.0.short_ids
    }

    fn open(&self, seat: Seat<'_>) -> Box<dyn DialectSession> {
        let Table { this, functions, health, .. } = &*self.0;
        if health.is_quarantined() {
            health.refused();
            return Box::new(NoSession);
        }
        let (mut session, mut error) = (std::ptr::null_mut(), SwError::empty());
        let code = self.seated(seat, |seat| {
            // SAFETY: the table is the plug-in's own; everything else is lent for the call.
            let open =
                || unsafe { (functions.open)(*this, seat, &raw mut session, &raw mut error) };
            health.call(open)
        });
        if code != SW_OK || session.is_null() {
            self.failed(&format!("could not open a session: {}", failure(code, &error)));
            return Box::new(NoSession);
        }
        Box::new(ForeignSession::new(Arc::clone(&self.0), session))
    }

    fn resume(
        &self,
        seat: Seat<'_>,
        saved: &Saved,
    ) -> Result<Box<dyn DialectSession>, ResumeError> {
        let (first, last) = (*self.0.versions.start(), *self.0.versions.end());
        if !self.0.versions.contains(&saved.version) {
            return Err(ResumeError::Version { found: saved.version, first, last });
        }
        if saved.state.is_empty() {
            return Err(ResumeError::Damaged("its plug-in could not save it".to_owned()));
        }
        let (mut session, mut error) = (std::ptr::null_mut(), SwError::empty());
        let Table { this, functions, health, .. } = &*self.0;
        let state = SwStr::of(saved.state.as_bytes());
        let version = u32::from(saved.version);
        let code = self.seated(seat, |seat| {
            // SAFETY: the table is the plug-in's own; everything else is lent for the call.
            let resume = || unsafe {
                (functions.resume)(*this, seat, version, state, &raw mut session, &raw mut error)
            };
            health.call(resume)
        });
        if code != SW_OK || session.is_null() {
            let problem = failure(code, &error);
            if code != raw::SW_BAD_STATE {
                self.failed(&format!("could not resume a session: {problem}"));
            }
            return Err(ResumeError::Damaged(problem));
        }
        Ok(Box::new(ForeignSession::new(Arc::clone(&self.0), session)))
    }
}

/// Numbers of listeners, never used twice.
static NEXT_VIEW: AtomicU64 = AtomicU64::new(1);

/// A listener with all that the header's structs point to.
struct FlatListener {
    id: u64,
    view: ListenerView,
    options: String,
    /// They point into `view`, whose texts stay where they are.
    pools: Vec<SwPool>,
}

// SAFETY: what the pools point to belongs to the same value and does not change.
unsafe impl Send for FlatListener {}
// SAFETY: likewise.
unsafe impl Sync for FlatListener {}

impl FlatListener {
    fn new(view: ListenerView) -> Self {
        let text = |text: &str| SwStr::of(text.as_bytes());
        let pools = view
            .pools
            .iter()
            .map(|pool| SwPool {
                name: text(&pool.name),
                coin: text(pool.coin.as_str()),
                profile: SwStr::of(&pool.profile.0),
                fact: SwStr::maybe(pool.fact.as_deref().map(str::as_bytes)),
                ..SwPool::empty()
            })
            .collect();
        let id = NEXT_VIEW.fetch_add(1, Ordering::Relaxed);
        Self { id, options: view.options.to_string(), pools, view }
    }
}
