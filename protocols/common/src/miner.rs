//! Recognising a miner, the order of what it is answered, and what it is told if it cannot be served.

use jsonrpc::Raw;
use switcher_plugin::{Cut, Fault, FaultKind, Outbox, Recognition, Refusal, Side, Verdict};

/// Most bytes of answers that may wait behind the answer to the login.
const MAX_HELD: usize = 8 * 1024;

/// Tells by the first frame that is not blank whose a miner is.
pub fn recognise(first: &[u8], is_ours: impl Fn(&[u8]) -> bool) -> Recognition {
    let mut rest = first;
    loop {
        match Cut::object_or_line(rest) {
            Cut::Frame(end) => {
                let (frame, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                if frame.trim_ascii().is_empty() {
                    rest = after;
                    continue;
                }
                return if is_ours(frame) { Recognition::Mine } else { Recognition::NotMine };
            }
            Cut::Partial => {
                let starts_well = rest.trim_ascii_start().first().is_none_or(|b| *b == b'{');
                return if starts_well { Recognition::NeedMore } else { Recognition::NotMine };
            }
        }
    }
}

/// Sends an answer to the miner; behind the answer to its login if that is still missing, since
/// older miners take the next line for the answer to their oldest request. `held` is what waits
/// there, if so. A request without an id gets none.
///
/// # Errors
///
/// More would wait than may.
pub fn reply(
    id: &[u8],
    held: Option<&mut Raw>,
    out: &mut Outbox,
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<(), Fault> {
    match held {
        _ if id.is_empty() => Ok(()),
        None => {
            out.send_with(Side::Downstream, write);
            Ok(())
        }
        Some(held) => hold(held, write).map_err(Fault::downstream),
    }
}

/// Puts what `write` appends behind what waits for the answer to the login.
///
/// # Errors
///
/// More would wait than may.
pub fn hold(held: &mut Raw, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), FaultKind> {
    let mut bytes = std::mem::take(held).0.into_vec();
    write(&mut bytes);
    let fits = bytes.len() <= MAX_HELD;
    held.0 = bytes.into();
    if fits { Ok(()) } else { Err(FaultKind::Excess) }
}

/// Sends the answer to the login, if its `id` wants one, and all that has waited behind it.
pub fn release(id: &[u8], held: &[u8], out: &mut Outbox, write: impl FnOnce(&mut Vec<u8>)) {
    if id.is_empty() && held.is_empty() {
        return;
    }
    out.send_with(Side::Downstream, |arena| {
        if !id.is_empty() {
            write(arena);
        }
        arena.extend_from_slice(held);
    });
}

/// The error for a newcomer that is refused, with the codes of the Go original.
pub fn refusal_error(refusal: Refusal) -> (i32, &'static str) {
    match refusal {
        Refusal::NotRegistered | Refusal::UnknownSubAccount => (201, "Invalid Sub-account Name"),
        Refusal::NoSuchCoin => (301, "Stratum Server Not Found"),
        Refusal::NoPool => (302, "Connect Stratum Server Failed"),
        _ => (20, "Not possible at the moment, try again later"),
    }
}

/// What a share comes to whose leg is not there, and the error for it. `is_poolless` says that there
/// is no leg at all.
pub fn share_without_leg(is_poolless: bool) -> (Verdict, i32, &'static str) {
    if is_poolless {
        (Verdict::Poolless, 20, "No pool at the moment")
    } else {
        (Verdict::Orphan, 21, "Job not found")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_wait_behind_that_to_the_login() {
        let (mut out, mut held) = (Outbox::new(), Raw::default());
        let mut say = |id: &[u8], held: Option<&mut Raw>, text: &[u8]| {
            reply(id, held, &mut out, |to| to.extend_from_slice(text))
        };

        assert_eq!(say(b"1", None, b"one "), Ok(()));
        assert_eq!(say(b"2", Some(&mut held), b"two "), Ok(()));
        assert_eq!(say(b"", Some(&mut held), b"nobody asked "), Ok(()));
        let excess = Err(Fault::downstream(FaultKind::Excess));
        assert_eq!(say(b"3", Some(&mut held.clone()), &[b'x'; MAX_HELD]), excess);
        release(b"0", &held.0, &mut out, |to| to.extend_from_slice(b"login "));
        release(b"", &[], &mut out, |to| to.extend_from_slice(b"nobody asked "));

        assert_eq!(out.bytes().escape_ascii().to_string(), "one login two ");
    }

    #[test]
    fn the_first_frame_that_is_not_blank_decides() {
        let is_ours = |frame: &[u8]| frame.contains(&b'x');

        for (first, expected) in [
            (&b"\n\r\n{\"x\":1}\n"[..], Recognition::Mine),
            (b"{\"y\":1}{\"x\":1}", Recognition::NotMine),
            (b"\n {\"x\"", Recognition::NeedMore),
            (b"", Recognition::NeedMore),
            (b"GET ", Recognition::NotMine),
        ] {
            assert_eq!(recognise(first, is_ours), expected, "{}", first.escape_ascii());
        }
    }
}
