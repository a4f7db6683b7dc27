//! Older and newer minor versions on both sides: structs that end earlier or go on, and kinds that
//! one side does not know.

use std::ffi::c_void;
use std::mem::offset_of;
use std::sync::Arc;

use switcher_plugin::{Fault, FaultKind, StratumDialect, testing};
use switcher_plugin_abi::host::{self, Plugin};
use switcher_plugin_abi::raw::{
    self, Growing, SW_OK, SwAction, SwDialect, SwError, SwHost, SwInput, SwOut, SwPlugin,
};

use crate::support::{built_ins, dialect, enter, open, say};

const BITCOIN: &str = "../../protocols/bitcoin-family/tests/transcripts";

fn conforms(plugin: &Plugin) {
    testing::transcripts(&[&*plugin.dialects[0]], BITCOIN);
    assert_eq!(plugin.health.standing().faults, 0);
}

/// The built-ins with their first table changed.
///
/// # Safety
///
/// As for `switcher_plugin_v1`.
unsafe fn changed<T: 'static>(
    host: *const SwHost,
    error: *mut SwError,
    change: impl FnOnce(SwDialect) -> T,
) -> *const SwPlugin {
    // SAFETY: as promised by the caller; what comes back is as the header says.
    let (plugin, first) = unsafe {
        let plugin = *built_ins(host, error);
        (plugin, **plugin.dialects)
    };
    let table: &'static T = Box::leak(Box::new(change(first)));
    let tables: &'static [*const SwDialect] =
        vec![std::ptr::from_ref(table).cast::<SwDialect>()].leak();
    Box::leak(Box::new(SwPlugin { dialects: tables.as_ptr(), n_dialects: 1, ..plugin }))
}

unsafe extern "C" fn must_not_be_called(_: *const c_void, _: *mut raw::SwFields) {
    std::process::abort();
}

/// A plug-in from before `describe` was there: what lies behind its table is not looked at.
unsafe extern "C" fn older(host: *const SwHost, error: *mut SwError) -> *const SwPlugin {
    let older = |table: SwDialect| SwDialect {
        size: u32::try_from(offset_of!(SwDialect, describe)).unwrap(),
        describe: Some(must_not_be_called),
        ..table
    };
    // SAFETY: called as the header says.
    unsafe { changed(host, error, older) }
}

#[test]
fn older_plug_in_works_on_this_host() {
    let plugin = enter(older);

    conforms(&plugin);
    let session = open(&dialect(&plugin));
    session.describe(&mut |name, _| panic!("{name} is described"));
}

/// A table that has grown.
#[repr(C)]
struct Grown {
    table: SwDialect,
    more: [u64; 8],
}

unsafe extern "C" fn newer(host: *const SwHost, error: *mut SwError) -> *const SwPlugin {
    let newer = |table: SwDialect| {
        let size = u32::try_from(size_of::<Grown>()).unwrap();
        Grown { table: SwDialect { size, ..table }, more: [u64::MAX; 8] }
    };
    // SAFETY: called as the header says.
    unsafe { changed(host, error, newer) }
}

#[test]
fn newer_plug_in_works_on_this_host() {
    conforms(&enter(newer));
}

#[test]
fn plug_in_works_on_an_older_host_without_what_that_lacks() {
    let size = u32::try_from(offset_of!(SwHost, field)).unwrap();
    // SAFETY: it does what the header says, and stays.
    let plugin = unsafe { host::enter_as(built_ins, "an older host", size, 0) }.unwrap();

    conforms(&plugin);
    let session = open(&dialect(&plugin));
    session.describe(&mut |name, _| panic!("{name} is described"));
}

#[test]
fn plug_in_refuses_a_host_that_is_too_old() {
    let size = u32::try_from(offset_of!(SwHost, push)).unwrap();
    // SAFETY: as above.
    let refused = unsafe { host::enter_as(built_ins, "a very old host", size, 0) }.unwrap_err();

    assert!(refused.to_string().contains("too old for it"), "{refused}");
}

/// An input as a future version of this border might have it.
#[repr(C)]
#[derive(Clone, Copy)]
struct FutureInput {
    input: SwInput,
    more: u64,
}

// SAFETY: it begins with its size, and zeroes are valid.
unsafe impl Growing for FutureInput {
    const FLOOR: usize = size_of::<SwInput>();
}

#[test]
fn what_an_older_side_does_not_give_is_zero() {
    let mut input = FutureInput { input: SwInput::empty(), more: u64::MAX };
    input.input.kind = raw::SW_WAKE;

    // SAFETY: it is there, as far as its size says and further.
    let read = unsafe { raw::read(&raw const input) }.unwrap();

    assert_eq!((read.input.kind, read.more), (raw::SW_WAKE, 0));
    let small = SwInput { size: SwInput::SIZE - 1, ..SwInput::empty() };
    // SAFETY: likewise.
    assert!(unsafe { raw::read(&raw const small) }.is_none(), "less than 1.0 is nothing");
}

#[test]
fn plug_in_ignores_inputs_it_does_not_know() {
    let mut error = SwError::empty();
    let mut session = std::ptr::null_mut();
    let listener = raw::SwListener::empty();
    let seat = raw::SwSeat { kind: 1, listener: &raw const listener, ..raw::SwSeat::empty() };
    let input = SwInput { kind: 99, ..SwInput::empty() };
    let host = SwHost::empty();
    // SAFETY: called as the header says; the functions of the host that are missing are not used.
    unsafe {
        let plugin = *built_ins(&raw const host, &raw mut error);
        let table = *plugin.dialects;
        let (open, handle) = ((*table).open.unwrap(), (*table).handle.unwrap());
        assert_eq!(open(table, &raw const seat, &raw mut session, &raw mut error), SW_OK);
        let none = std::ptr::null_mut::<SwOut>();
        assert_eq!(handle(session, 1, &raw const input, none, &raw mut error), SW_OK);
        (*table).close.unwrap()(session);
    }
}

static PUSH: std::sync::OnceLock<unsafe extern "C" fn(*mut SwOut, *const SwAction) -> i32> =
    std::sync::OnceLock::new();

unsafe extern "C" fn wants_the_unknown(
    _: *mut c_void,
    _: u64,
    _: *const SwInput,
    out: *mut SwOut,
    _: *mut SwError,
) -> i32 {
    let action = SwAction { kind: 99, ..SwAction::empty() };
    // SAFETY: called as the header says.
    let said = unsafe { PUSH.get().unwrap()(out, &raw const action) };
    assert_eq!(said, raw::SW_UNSUPPORTED);
    SW_OK
}

unsafe extern "C" fn too_new(host: *const SwHost, error: *mut SwError) -> *const SwPlugin {
    // SAFETY: called as the header says.
    unsafe {
        let _ = PUSH.set((*host).push.unwrap());
        changed(host, error, |table| SwDialect { handle: Some(wants_the_unknown), ..table })
    }
}

#[test]
fn action_this_host_does_not_know_ends_the_session() {
    let plugin = enter(too_new);
    let dialect: Arc<dyn StratumDialect> = dialect(&plugin);

    let fault = say(&mut *open(&dialect), "{}").unwrap_err();

    assert_eq!(fault, Fault::downstream(FaultKind::PluginFailed));
    let told = plugin.health.standing().last_fault.unwrap();
    assert!(told.contains("an action of kind 99"), "{told}");
}
