//! The types of `include/switcher_plugin.h`, member by member. What they mean stands there.
//!
//! A test compares sizes, offsets and numbers with those a C compiler gives.

use std::ffi::c_void;

macro_rules! numbers {
    ($($kind:ty { $($name:ident = $value:expr),* $(,)? })*) => {
        $($(#[doc = concat!("`", stringify!($name), "`.")] pub const $name: $kind = $value;)*)*

        /// Names and values, for the comparison with the header.
        #[doc(hidden)]
        pub const NUMBERS: &[(&str, i64)] = &[$($((stringify!($name), $value)),*),*];
    };
}

numbers! {
    i32 {
        SW_OK = 0, SW_FAULT = 1, SW_BAD_CONFIG = 2, SW_BAD_STATE = 3, SW_FAILED = 4, SW_PANIC = 5,
        SW_UNSUPPORTED = 6, SW_EXCESS = 7,
    }
    u32 {
        SW_ABI_MAJOR = 1, SW_ABI_MINOR = 0,
        SW_FAULT_BAD_FRAME = 1, SW_FAULT_BAD_PARAMS = 2, SW_FAULT_DEADLINE = 3,
        SW_FAULT_EXCESS = 4, SW_FAULT_PLUGIN_FAILED = 5, SW_FAULT_SLOW_READER = 6,
        SW_FAULT_TOO_LONG = 7, SW_FAULT_UNEXPECTED = 8, SW_FAULT_UNKNOWN_ID = 9,
        SW_FAULT_UNKNOWN_DIALECT = 10, SW_FAULT_TORN = 11,
        SW_RUNG_ECHO = 0, SW_RUNG_FOLD = 1, SW_RUNG_ANNOUNCE = 2, SW_RUNG_RECONNECT = 3,
        SW_RUNG_DROP = 4,
        SW_LOG_ERROR = 1, SW_LOG_WARN = 2, SW_LOG_INFO = 3, SW_LOG_DEBUG = 4, SW_LOG_TRACE = 5,
        SW_SEAT_MINER = 1, SW_SEAT_PROBE = 2,
        SW_ASSIGNED = 1, SW_CUT_OVER = 2, SW_FRAME = 3, SW_LEG_DOWN = 4, SW_LEG_GONE = 5,
        SW_LEG_UP = 6, SW_RECALLED = 7, SW_REFUSED = 8, SW_WAKE = 9,
        SW_REFUSAL_BUSY = 1, SW_REFUSAL_NO_ASSIGNMENT = 2, SW_REFUSAL_NO_SUCH_COIN = 3,
        SW_REFUSAL_NO_POOL = 4, SW_REFUSAL_NOT_REGISTERED = 5, SW_REFUSAL_UNKNOWN_SUB_ACCOUNT = 6,
        SW_CANNOT_MOVE = 1, SW_CLOSE = 2, SW_DISREGARD = 3, SW_FORWARD = 4, SW_IDENTIFY = 5,
        SW_JOB = 6, SW_LEARN = 7, SW_LEG_READY = 8, SW_LEG_REFUSED = 9, SW_RECALL = 10,
        SW_REMEMBER = 11, SW_REPLACE_LEG = 12, SW_SHARE = 13, SW_SUBMITTED = 14, SW_WAKE_AT = 15,
        SW_RETRY_LOGIN = 1, SW_RETRY_NEXT_FORM = 2, SW_RETRY_PERMANENT = 3, SW_RETRY_LATER = 4,
        SW_RETRY_USER = 5,
        SW_VERDICT_ACCEPT = 1, SW_VERDICT_ORPHAN = 2, SW_VERDICT_POOLLESS = 3,
        SW_VERDICT_REJECT = 4, SW_VERDICT_UNANSWERED = 5,
        SW_MINE = 1, SW_NEED_MORE = 2, SW_NOT_MINE = 3,
        SW_ASSIGN = 1, SW_DEFAULT = 2, SW_HEALTH = 3, SW_REGISTERING = 4,
        SW_REGISTRATION_REFUSED = 5, SW_RENAMED = 6, SW_SERVER_ID = 7, SW_UNKNOWN = 8,
        SW_GAVE_UP = 9,
        SW_ACQUIRE = 1, SW_RELEASE = 2,
    }
}

/// `SwSide`: the miner, or the number of a leg.
pub type SwSide = u32;
/// `SW_MINER`.
pub const SW_MINER: SwSide = u32::MAX;
/// `SW_NO_LEG`.
pub const SW_NO_LEG: SwSide = u32::MAX;

/// `SwStr`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SwStr {
    /// Null only for "none".
    pub ptr: *const u8,
    /// Bytes.
    pub len: usize,
}

impl SwStr {
    /// None.
    pub const NONE: Self = Self { ptr: std::ptr::null(), len: 0 };

    /// Lends bytes.
    pub const fn of(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// Lends bytes, or none.
    pub fn maybe(bytes: Option<&[u8]>) -> Self {
        bytes.map_or(Self::NONE, Self::of)
    }

    /// The bytes.
    ///
    /// # Safety
    ///
    /// They are there, and stay there as long as `'a` is used.
    pub unsafe fn bytes<'a>(self) -> Option<&'a [u8]> {
        if self.ptr.is_null() {
            return None;
        }
        // SAFETY: as promised by the caller.
        Some(unsafe { std::slice::from_raw_parts(self.ptr, self.len) })
    }

    /// The bytes as text; empty if there are none.
    ///
    /// # Errors
    ///
    /// They are not UTF-8.
    ///
    /// # Safety
    ///
    /// As for [`SwStr::bytes`].
    pub unsafe fn text<'a>(self) -> Result<&'a str, std::str::Utf8Error> {
        // SAFETY: as promised by the caller.
        std::str::from_utf8(unsafe { self.bytes() }.unwrap_or_default())
    }
}

/// A struct that begins with its size and may grow at its end.
///
/// # Safety
///
/// It is `repr(C)`, its first member is a `u32` with its size, and all zeroes are a valid value.
pub unsafe trait Growing: Copy {
    /// The size below which it is of no use.
    const FLOOR: usize;
}

/// A copy of a struct of the other side as far as that side knows it; the rest is zero. None if it
/// is null or too small.
///
/// # Safety
///
/// `from` is null or points to as many readable bytes as its first member says.
pub unsafe fn read<T: Growing>(from: *const T) -> Option<T> {
    if from.is_null() {
        return None;
    }
    // SAFETY: every growing struct begins with its size.
    let size = unsafe { from.cast::<u32>().read() } as usize;
    if size < T::FLOOR {
        return None;
    }
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: both sides hold at least as many bytes, and what is left zero is valid.
    unsafe {
        let bytes = size.min(size_of::<T>());
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), bytes);
        Some(value.assume_init())
    }
}

macro_rules! growing {
    ($name:ident from $floor:expr) => {
        // SAFETY: its members are numbers, pointers and optional functions, the first its size.
        unsafe impl Growing for $name {
            const FLOOR: usize = $floor;
        }

        impl $name {
            /// Its size for its first member.
            pub const SIZE: u32 = {
                assert!(size_of::<Self>() <= u32::MAX as usize, "structs are small");
                #[expect(clippy::cast_possible_truncation, reason = "it was just looked at")]
                let size = size_of::<Self>() as u32;
                size
            };

            /// All zero but for its size.
            pub fn empty() -> Self {
                // SAFETY: all zeroes are a valid value of a growing struct.
                let mut empty: Self = unsafe { std::mem::zeroed() };
                empty.size = Self::SIZE;
                empty
            }
        }
    };
    ($($name:ident),*) => { $(growing!($name from size_of::<$name>());)* };
}

macro_rules! mirror {
    ($($(#[$meta:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy)]
        #[expect(missing_docs, reason = "the header says what the members mean")]
        pub struct $name { $(pub $field: $kind),* }

        impl $name {
            /// Names and offsets of the members, for the comparison with the header.
            #[doc(hidden)]
            pub const OFFSETS: &[(&str, usize)] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field))),*];
        }
    )*};
}

/// An opaque thing of the host.
macro_rules! opaque {
    ($($name:ident),*) => {$(
        #[doc = concat!("`", stringify!($name), "`: a thing of the host.")]
        #[repr(C)]
        #[derive(Debug)]
        pub struct $name { _private: [u8; 0] }
    )*};
}
opaque!(SwOut, SwBuf, SwFields, SwSink);

type Entry<T> = Option<T>;

mirror! {
    /// `SwError`.
    SwError {
        size: u32, side: SwSide, fault: u32, reserved: u32,
        key: [u8; 80], problem: [u8; 256], accepted: [u8; 160],
    }
    /// `SwHost`.
    SwHost {
        size: u32,
        abi_minor: u32,
        version: SwStr,
        ctx: *mut c_void,
        log: Entry<unsafe extern "C" fn(*mut c_void, u32, SwStr, SwStr)>,
        log_enabled: Entry<unsafe extern "C" fn(*mut c_void, u32) -> u32>,
        now: Entry<unsafe extern "C" fn() -> u64>,
        append: Entry<unsafe extern "C" fn(*mut SwBuf, SwStr)>,
        send: Entry<unsafe extern "C" fn(*mut SwOut, SwSide, SwStr) -> i32>,
        push: Entry<unsafe extern "C" fn(*mut SwOut, *const SwAction) -> i32>,
        field: Entry<unsafe extern "C" fn(*mut SwFields, SwStr, SwStr)>,
        post: Entry<unsafe extern "C" fn(*mut SwSink, *const SwNotice) -> i32>,
    }
    /// `SwUpstream`.
    SwUpstream {
        size: u32, reserved: u32,
        name: SwStr, coin: SwStr, user: SwStr, password: SwStr, options: SwStr,
    }
    /// `SwPool`.
    SwPool { size: u32, reserved: u32, name: SwStr, coin: SwStr, profile: SwStr, fact: SwStr }
    /// `SwListener`.
    SwListener {
        size: u32, reserved: u32, id: u64, name: SwStr, options: SwStr,
        pools: *const *const SwPool, n_pools: usize,
    }
    /// `SwSeat`.
    SwSeat {
        size: u32, kind: u32, session: u64, short_id: u32, peer_family: u32,
        peer: [u8; 16], entropy: [u8; 16], listener: *const SwListener,
    }
    /// `SwInput`.
    SwInput {
        size: u32, kind: u32, side: SwSide, form: u32, rungs: u32, refusal: u32,
        data: SwStr, coin: SwStr, canonical_name: SwStr,
    }
    /// `SwAction`.
    SwAction {
        size: u32, kind: u32, side: SwSide, code: u32, reject_code: i32, port: u32,
        when: u64, difficulty: f64, text: SwStr, more: SwStr,
    }
    /// `SwDialect`.
    SwDialect {
        size: u32,
        reserved: u32,
        data: *mut c_void,
        name: SwStr,
        family: SwStr,
        algorithm: SwStr,
        about: SwStr,
        state_first: u32,
        state_last: u32,
        short_id_bits: u32,
        short_id_stride: u32,
        recognise: Entry<unsafe extern "C" fn(*const SwDialect, SwStr) -> u32>,
        profile: Entry<unsafe extern "C" fn(
            *const SwDialect, *const SwUpstream, *mut SwBuf, *mut SwError) -> i32>,
        check_listener: Entry<unsafe extern "C" fn(*const SwDialect, SwStr, *mut SwError) -> i32>,
        open: Entry<unsafe extern "C" fn(
            *const SwDialect, *const SwSeat, *mut *mut c_void, *mut SwError) -> i32>,
        resume: Entry<unsafe extern "C" fn(
            *const SwDialect, *const SwSeat, u32, SwStr, *mut *mut c_void, *mut SwError) -> i32>,
        close: Entry<unsafe extern "C" fn(*mut c_void)>,
        cut: Entry<unsafe extern "C" fn(*const c_void, SwSide, SwStr) -> usize>,
        handle: Entry<unsafe extern "C" fn(
            *mut c_void, u64, *const SwInput, *mut SwOut, *mut SwError) -> i32>,
        save: Entry<unsafe extern "C" fn(*const c_void, u32, *mut SwBuf, *mut SwError) -> i32>,
        describe: Entry<unsafe extern "C" fn(*const c_void, *mut SwFields)>,
    }
    /// `SwWeight`.
    SwWeight { coin: SwStr, weight: f64 }
    /// `SwNotice`.
    SwNotice {
        size: u32, kind: u32, sub_account: SwStr, coins: *const SwWeight, n_coins: usize,
        origin: SwStr, text: SwStr, number: u64,
    }
    /// `SwWanted`.
    SwWanted { size: u32, kind: u32, sub_account: SwStr, worker: SwStr, session: u64 }
    /// `SwSource`.
    SwSource {
        size: u32,
        reserved: u32,
        data: *mut c_void,
        name: SwStr,
        about: SwStr,
        start: Entry<unsafe extern "C" fn(
            *const SwSource, SwStr, SwStr, *mut SwSink, *mut *mut c_void, *mut SwError) -> i32>,
        wanted: Entry<unsafe extern "C" fn(*mut c_void, *const SwWanted)>,
        stop: Entry<unsafe extern "C" fn(*mut c_void, *mut SwBuf, *mut SwError) -> i32>,
        check: Entry<unsafe extern "C" fn(
            *const SwSource, SwStr, *mut SwBuf, *mut SwError) -> i32>,
    }
    /// `SwPlugin`.
    SwPlugin {
        size: u32, abi_minor: u32, name: SwStr, version: SwStr, build: SwStr,
        dialects: *const *const SwDialect, n_dialects: usize,
        sources: *const *const SwSource, n_sources: usize,
    }
}

growing!(
    SwError, SwUpstream, SwPool, SwListener, SwSeat, SwInput, SwAction, SwNotice, SwWanted,
    SwPlugin
);
growing!(SwHost from std::mem::offset_of!(SwHost, field));
growing!(SwDialect from std::mem::offset_of!(SwDialect, describe));
growing!(SwSource from std::mem::offset_of!(SwSource, check));

/// The type of `switcher_plugin_v1`.
pub type SwEntry = unsafe extern "C" fn(*const SwHost, *mut SwError) -> *const SwPlugin;

/// Writes a text into a member of [`SwError`], cut to its length, and ends it with a zero.
pub fn write_text(member: &mut [u8], text: &str) {
    let room = member.len().saturating_sub(1);
    let cut = (0..=room.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    for (to, from) in member.iter_mut().zip(text.as_bytes().iter().take(cut).chain([&0])) {
        *to = *from;
    }
}

/// The text of a member of [`SwError`].
pub fn read_text(member: &[u8]) -> String {
    let len = member.iter().position(|&byte| byte == 0).unwrap_or(member.len());
    String::from_utf8_lossy(member.get(..len).unwrap_or_default()).into_owned()
}
