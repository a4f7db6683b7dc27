//! The numbers of the header and the values of the traits, both ways.

use switcher_plugin::{FaultKind, LegId, Refusal, Retry, Rung, Rungs, Side, Verdict};

use crate::raw::{SW_MINER, SwSide};

/// Values and their numbers; a match for one way and a search for the other.
macro_rules! coded {
    ($kind:ty, $to:ident, $from:ident, $otherwise:expr, { $($value:path = $code:literal),* $(,)? }) => {
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

coded!(FaultKind, fault_code, fault_of, 8, {
    FaultKind::BadFrame = 1,
    FaultKind::BadParams = 2,
    FaultKind::Deadline = 3,
    FaultKind::Excess = 4,
    FaultKind::PluginFailed = 5,
    FaultKind::SlowReader = 6,
    FaultKind::TooLong = 7,
    FaultKind::Unexpected = 8,
    FaultKind::UnknownId = 9,
    FaultKind::UnknownDialect = 10,
});

coded!(Rung, rung_code, rung_of, u32::MAX, {
    Rung::Echo = 0,
    Rung::Fold = 1,
    Rung::Announce = 2,
    Rung::Reconnect = 3,
    Rung::Drop = 4,
});

coded!(Refusal, refusal_code, refusal_of, 4, {
    Refusal::Busy = 1,
    Refusal::NoAssignment = 2,
    Refusal::NoSuchCoin = 3,
    Refusal::NoPool = 4,
    Refusal::NotRegistered = 5,
    Refusal::UnknownSubAccount = 6,
});

coded!(Retry, retry_code, retry_of, 4, {
    Retry::Login = 1,
    Retry::NextForm = 2,
    Retry::Permanent = 3,
    Retry::Later = 4,
    Retry::User = 5,
});

/// The numbers of a verdict: its kind and the pool's code.
pub(crate) fn verdict_codes(verdict: Verdict) -> (u32, i32) {
    match verdict {
        Verdict::Accept => (1, 0),
        Verdict::Orphan => (2, 0),
        Verdict::Poolless => (3, 0),
        Verdict::Reject(code) => (4, code),
        Verdict::Unanswered => (5, 0),
    }
}

/// The verdict of its numbers; none if the kind is not known.
pub(crate) fn verdict_of(kind: u32, code: i32) -> Option<Verdict> {
    match kind {
        1 => Some(Verdict::Accept),
        2 => Some(Verdict::Orphan),
        3 => Some(Verdict::Poolless),
        4 => Some(Verdict::Reject(code)),
        5 => Some(Verdict::Unanswered),
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
