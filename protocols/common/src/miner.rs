//! Recognising a miner, and what it is told if it cannot be served.

use switcher_plugin::{Cut, Recognition, Refusal, Verdict};

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
