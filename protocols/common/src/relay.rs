//! Legs that another program has relayed byte by byte, or shall: what is known of both streams.
//!
//! A relay looks at no line behind the login. So when it leaves its sockets to us, both streams may
//! stand in the middle of a line, and the pool owes answers under ids of the miner's own.

use jsonrpc::scan;
use serde::{Deserialize, Serialize};
use switcher_plugin::{Action, Fault, FaultKind, LegId, Millis, Outbox, Side};

/// Ids of requests on an adopted leg begin here: miners count from 1.
pub const FIRST_ID: u32 = 1 << 30;

/// How long a pool may take to answer what the relay has passed on.
const PAST_MS: u64 = 60_000;

/// What a leg has of a program that relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of two streams")]
pub struct Relay {
    /// Until then, answers to what we have not asked are for the miner.
    until: Millis,
    /// What the miner says next may be the rest of a line.
    miner_torn: bool,
    /// Likewise the pool.
    pool_torn: bool,
    /// New jobs go down as they are, too, and shares for them go up as they are.
    plain: bool,
    /// Nothing is looked at in either direction: where a binary frame begins cannot be known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unseen: bool,
}

impl Relay {
    /// Of a leg that another program has relayed until now.
    pub fn adopted(now: Millis) -> Self {
        let until = now.plus(PAST_MS);
        Self { until, miner_torn: true, pool_torn: true, plain: false, unseen: false }
    }

    /// Likewise, and nothing that is said on it will be understood.
    pub fn unseen(now: Millis) -> Self {
        Self { until: now, miner_torn: false, pool_torn: false, plain: true, unseen: true }
    }

    /// Of a leg that another program shall relay, with what was known of it before.
    pub fn returning(now: Millis, before: Option<Self>) -> Self {
        Self {
            until: now,
            miner_torn: before.is_some_and(|relay| relay.miner_torn),
            pool_torn: before.is_some_and(|relay| relay.pool_torn),
            plain: true,
            unseen: before.is_some_and(|relay| relay.unseen),
        }
    }

    /// Whether jobs and shares go as they are.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether nothing is looked at.
    pub fn is_unseen(&self) -> bool {
        self.unseen
    }

    /// Whether what this side says next may be the rest of a line. Where another program shall
    /// relay it always may: if that does not come, then perhaps at the last moment, when beginnings
    /// of lines have gone their way already.
    fn is_torn(&self, side: Side) -> bool {
        self.plain
            || match side {
                Side::Downstream => self.miner_torn,
                Side::Upstream(_) => self.pool_torn,
            }
    }

    /// Whether a frame is the rest of a line whose beginning went its way before.
    fn is_rest(&mut self, side: Side, frame: &[u8]) -> bool {
        let may_be_rest = self.is_torn(side) && !is_whole(frame);
        let torn = match side {
            Side::Downstream => &mut self.miner_torn,
            Side::Upstream(_) => &mut self.pool_torn,
        };
        // The end of a line may come behind what was in it.
        let is_rest = may_be_rest && (*torn || !frame.trim_ascii().is_empty());
        // An object within the line may end before the line does.
        *torn = is_rest && !frame.ends_with(b"\n");
        is_rest
    }

    /// The pool's stream is left. True if its line was not seen to its end.
    pub fn leave(&mut self) -> bool {
        std::mem::take(&mut self.pool_torn)
    }

    /// Whether an answer to what we have not asked is for the miner, who has asked through a relay.
    pub fn expects_answers(&self, now: Millis) -> bool {
        self.plain || now < self.until
    }
}

/// Passes the rest of a line on the way its beginning went, and counts it. `relays` are those of the
/// session's legs, `active` serves the miner. True if the frame was one.
pub fn pass_rest<'a>(
    mut relays: impl Iterator<Item = (LegId, &'a mut Relay)>,
    active: Option<LegId>,
    side: Side,
    frame: &[u8],
    out: &mut Outbox,
) -> bool {
    let is_it = |(leg, relay): &(LegId, &mut Relay)| {
        relay.is_torn(side) && (side == Side::Downstream || side == Side::Upstream(*leg))
    };
    let Some((leg, relay)) = relays.find(is_it) else { return false };
    let is_rest = relay.is_rest(side, frame);
    if is_rest {
        match side {
            Side::Downstream => out.push(Action::Forward(Side::Upstream(leg))),
            Side::Upstream(_) if active == Some(leg) => {
                out.push(Action::Forward(Side::Downstream));
            }
            Side::Upstream(_) => {}
        }
        out.push(Action::Disregard(Fault { side, kind: FaultKind::Torn }));
    }
    is_rest
}

/// Whether bytes that are not looked at have a job in them, for the engine, which gives pools up
/// that send none.
pub fn holds_job(bytes: &[u8]) -> bool {
    const NAME: &[u8] = b"mining.notify";
    bytes.windows(NAME.len()).any(|window| window == NAME)
}

/// Whether a frame is a request, a notification or an answer, and not the rest of one.
fn is_whole(frame: &[u8]) -> bool {
    frame.trim_ascii_start().first() == Some(&b'{')
        && scan(frame).is_ok_and(|message| {
            let says = message.method.is_some() || message.result.is_some();
            message.garbage.is_empty() && (says || message.error.is_some())
        })
}

#[cfg(test)]
mod tests {
    use switcher_plugin::LegId;

    use super::*;

    const WHOLE: &[u8] = b"{\"id\":1,\"method\":\"x\",\"params\":[]}\n";

    #[test]
    fn only_what_comes_first_can_be_the_rest_of_a_line() {
        let pool = Side::Upstream(LegId(1));
        for side in [Side::Downstream, pool] {
            let mut relay = Relay::adopted(Millis(0));
            assert!(relay.is_rest(side, b"sult\":true}\n"));
            assert!(!relay.is_rest(side, b"sult\":true}\n"));

            let mut relay = Relay::adopted(Millis(0));
            assert!(!relay.is_rest(side, WHOLE) && !relay.is_torn(side));
        }
        let mut relay = Relay::adopted(Millis(0));
        assert!(relay.leave() && !relay.is_torn(pool) && relay.is_torn(Side::Downstream));
    }

    #[test]
    fn a_job_is_seen_in_bytes_that_are_not_looked_at() {
        assert!(holds_job(b"\x01\x7f\n{\"method\":\"mining.notify\",\"par"));
        assert!(!holds_job(b"") && !holds_job(b"mining.notif") && !holds_job(&[0x7f; 40]));
    }

    #[test]
    fn a_line_with_objects_in_it_ends_where_the_line_does() {
        let mut relay = Relay::adopted(Millis(0));

        assert!(relay.is_rest(Side::Downstream, b"{\"a\":1}"));
        assert!(relay.is_rest(Side::Downstream, b"]}\n"));
        assert!(!relay.is_rest(Side::Downstream, b"]}\n"));
    }

    #[test]
    fn the_beginning_of_a_line_may_have_gone_when_nobody_took_over() {
        let mut relay = Relay::returning(Millis(0), None);

        for _ in 0..2 {
            assert!(!relay.is_rest(Side::Downstream, WHOLE));
            assert!(!relay.is_rest(Side::Downstream, b"\n"));
            assert!(relay.is_rest(Side::Downstream, b"x\"]}\n"));
        }
        assert!(!relay.leave(), "no line of the pool's is known to be torn");
    }
}
