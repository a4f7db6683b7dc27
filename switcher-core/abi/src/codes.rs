//! The numbers of the header and the values of the traits, both ways.

use switcher_plugin::{FaultKind, LegId, Refusal, Retry, Rung, Rungs, Side, Verdict};

#[allow(clippy::wildcard_imports, reason = "half of the numbers there are")]
use crate::raw::*;

/// Values and their numbers; a match for one way and a search for the other.
macro_rules! coded {
    ($kind:ty, $to:ident, $from:ident, $otherwise:expr, { $($value:path = $code:ident),* $(,)? }) => {
        #[doc = concat!("The number of a [`", stringify!($kind), "`].")]
        pub(crate) fn $to(value: $kind) -> u32 {
            match value {
                $($value => $code,)*
                #[allow(unreachable_patterns, reason = "some of the enums may grow")]
                _ => $otherwise,
            }
        }

        #[doc = concat!("The [`", stringify!($kind), "`] of a number; none if it is not known.")]
        pub(crate) fn $from(code: u32) -> Option<$kind> {
            match code {
                $($code => Some($value),)*
                _ => None,
            }
        }
    };
}

coded!(FaultKind, fault_code, fault_of, SW_FAULT_UNEXPECTED, {
    FaultKind::BadFrame = SW_FAULT_BAD_FRAME,
    FaultKind::BadParams = SW_FAULT_BAD_PARAMS,
    FaultKind::Deadline = SW_FAULT_DEADLINE,
    FaultKind::Excess = SW_FAULT_EXCESS,
    FaultKind::PluginFailed = SW_FAULT_PLUGIN_FAILED,
    FaultKind::SlowReader = SW_FAULT_SLOW_READER,
    FaultKind::TooLong = SW_FAULT_TOO_LONG,
    FaultKind::Unexpected = SW_FAULT_UNEXPECTED,
    FaultKind::UnknownId = SW_FAULT_UNKNOWN_ID,
    FaultKind::UnknownDialect = SW_FAULT_UNKNOWN_DIALECT,
    FaultKind::Torn = SW_FAULT_TORN,
});

coded!(Rung, rung_code, rung_of, u32::MAX, {
    Rung::Echo = SW_RUNG_ECHO,
    Rung::Fold = SW_RUNG_FOLD,
    Rung::Announce = SW_RUNG_ANNOUNCE,
    Rung::Reconnect = SW_RUNG_RECONNECT,
    Rung::Drop = SW_RUNG_DROP,
});

coded!(Refusal, refusal_code, refusal_of, SW_REFUSAL_NO_POOL, {
    Refusal::Busy = SW_REFUSAL_BUSY,
    Refusal::NoAssignment = SW_REFUSAL_NO_ASSIGNMENT,
    Refusal::NoSuchCoin = SW_REFUSAL_NO_SUCH_COIN,
    Refusal::NoPool = SW_REFUSAL_NO_POOL,
    Refusal::NotRegistered = SW_REFUSAL_NOT_REGISTERED,
    Refusal::UnknownSubAccount = SW_REFUSAL_UNKNOWN_SUB_ACCOUNT,
});

coded!(Retry, retry_code, retry_of, SW_RETRY_LATER, {
    Retry::Login = SW_RETRY_LOGIN,
    Retry::NextForm = SW_RETRY_NEXT_FORM,
    Retry::Permanent = SW_RETRY_PERMANENT,
    Retry::Later = SW_RETRY_LATER,
    Retry::User = SW_RETRY_USER,
});

/// The numbers of a verdict: its kind and the pool's code.
pub(crate) fn verdict_codes(verdict: Verdict) -> (u32, i32) {
    match verdict {
        Verdict::Accept => (SW_VERDICT_ACCEPT, 0),
        Verdict::Orphan => (SW_VERDICT_ORPHAN, 0),
        Verdict::Poolless => (SW_VERDICT_POOLLESS, 0),
        Verdict::Reject(code) => (SW_VERDICT_REJECT, code),
        Verdict::Unanswered => (SW_VERDICT_UNANSWERED, 0),
    }
}

/// The verdict of its numbers; none if the kind is not known.
pub(crate) fn verdict_of(kind: u32, code: i32) -> Option<Verdict> {
    match kind {
        SW_VERDICT_ACCEPT => Some(Verdict::Accept),
        SW_VERDICT_ORPHAN => Some(Verdict::Orphan),
        SW_VERDICT_POOLLESS => Some(Verdict::Poolless),
        SW_VERDICT_REJECT => Some(Verdict::Reject(code)),
        SW_VERDICT_UNANSWERED => Some(Verdict::Unanswered),
        _ => None,
    }
}

/// The number of a side.
pub(crate) fn side_code(side: Side) -> SwSide {
    match side {
        Side::Downstream => SW_MINER,
        Side::Upstream(leg) => leg.0,
    }
}

/// The side of a number.
pub(crate) fn side_of(code: SwSide) -> Side {
    if code == SW_MINER { Side::Downstream } else { Side::Upstream(LegId(code)) }
}

/// The sum of `1 << rung`.
pub(crate) fn rungs_code(rungs: Rungs) -> u32 {
    Rung::ALL.into_iter().filter(|rung| rungs.has(*rung)).map(|rung| 1 << rung_code(rung)).sum()
}

/// The set of a sum; bits that are not known are left out.
pub(crate) fn rungs_of(sum: u32) -> Rungs {
    let has = |rung: &Rung| sum & 1 << rung_code(*rung) != 0;
    Rung::ALL.into_iter().filter(has).fold(Rungs::NONE, Rungs::with)
}
